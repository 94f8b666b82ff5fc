//! What waits for an exporter.

use rusqlite::Connection;

use super::{Result, StoreError, keys, rows};
use crate::model::minute::Minute;

/// A datapoint that no exporter has delivered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Its number, for [`Ledger::outbox_done`](crate::store::Ledger::outbox_done).
    pub id: i64,
    pub minute: Minute,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Datapoints.
    pub waiting: u64,
    /// Minutes since 1970.
    pub oldest_minute: Option<i64>,
}

pub(super) fn oldest(connection: &Connection, limit: usize) -> Result<Vec<Waiting>> {
    let read = |select: &mut rusqlite::CachedStatement<'_>| {
        let mut rows = select.query([limit])?;
        let mut waiting = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(2)?;
            // One of a newer build, which this one cannot export.
            let Some(key) = keys::key_of(&name) else {
                continue;
            };
            waiting.push(Waiting {
                id: row.get(0)?,
                minute: Minute {
                    minute: row.get(1)?,
                    series: key.into(),
                    datapoint: rows::datapoint_at(row, 3)?,
                },
            });
        }
        Ok(waiting)
    };
    connection
        .prepare_cached(
            "SELECT o.id, o.at, s.name, m.count, m.sum, m.min, m.max, m.spread FROM outbox o \
             JOIN minute m ON m.at = o.at AND m.series = o.series JOIN series s ON s.id = o.series \
             ORDER BY o.at, o.id LIMIT ?",
        )
        .and_then(|mut select| read(&mut select))
        .map_err(StoreError::sql("read the outbox"))
}

pub(super) fn done(connection: &Connection, ids: &[i64]) -> Result<()> {
    let mut delete = connection
        .prepare_cached("DELETE FROM outbox WHERE id = ?")
        .map_err(StoreError::sql("prepare the outbox"))?;
    for id in ids {
        delete
            .execute([id])
            .map_err(StoreError::sql("empty the outbox"))?;
    }
    Ok(())
}

pub(super) fn state(connection: &Connection) -> Result<OutboxState> {
    connection
        .prepare_cached("SELECT count(*), min(at) FROM outbox")
        .and_then(|mut select| {
            select.query_row([], |row| {
                Ok(OutboxState {
                    waiting: row.get(0)?,
                    oldest_minute: row.get(1)?,
                })
            })
        })
        .map_err(StoreError::sql("look at the outbox"))
}
