//! Activities by quarter hour: sessions, lines, commits, active time and events.

use rusqlite::{Connection, params};

use super::StoreError;
use super::numbers::NumberMap;

/// Quarter hour, identity, metric and label number.
pub(super) type Sums = NumberMap<(i64, i64, &'static str, i64), i64>;

pub(super) fn apply(connection: &Connection, sums: Sums) -> Result<(), StoreError> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO activity_quarter (quarter, identity, metric, labels, amount) \
             VALUES (?, ?, ?, ?, ?) ON CONFLICT (quarter, identity, metric, labels) \
             DO UPDATE SET amount = amount + excluded.amount",
        )
        .map_err(StoreError::sql("prepare activities"))?;
    for ((quarter, identity, metric, labels), amount) in sums {
        upsert
            .execute(params![quarter, identity, metric, labels, amount])
            .map_err(StoreError::sql("store activities"))?;
    }
    Ok(())
}
