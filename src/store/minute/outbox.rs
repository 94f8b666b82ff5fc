//! What waits for an exporter.

use rusqlite::Connection;

use super::{Result, StoreError, Values, keys, rows};
use crate::model::minute::Minute;

/// A datapoint that no exporter has delivered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Its number, for [`Ledger::outbox_done`](crate::store::Ledger::outbox_done).
    pub id: i64,
    pub minute: Minute,
}

/// What waits longest, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Oldest {
    pub waiting: Vec<Waiting>,
    /// Rows of series that this build does not know: a newer one wrote them.
    pub unknown: Vec<i64>,
    /// Whether more waits than was read; the last minute may then lack some of its series.
    pub is_cut: bool,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Datapoints.
    pub waiting: u64,
    /// Minutes since 1970.
    pub oldest_minute: Option<i64>,
}

pub(super) fn oldest(connection: &Connection, limit: usize) -> Result<Oldest> {
    let read = |select: &mut rusqlite::CachedStatement<'_>| {
        let mut rows = select.query([limit])?;
        let mut oldest = Oldest::default();
        while let Some(row) = rows.next()? {
            let name: String = row.get(2)?;
            let id = row.get(0)?;
            let Some(key) = keys::key_of(&name) else {
                oldest.unknown.push(id);
                continue;
            };
            oldest.waiting.push(Waiting {
                id,
                minute: Minute {
                    minute: row.get(1)?,
                    series: key.into(),
                    datapoint: rows::datapoint_at(row, 3)?,
                },
            });
        }
        oldest.is_cut = oldest.waiting.len() + oldest.unknown.len() >= limit;
        Ok(oldest)
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

pub(super) const DONE: &str = "DELETE FROM outbox WHERE id = ?";

pub(super) const SENDING: &str = "UPDATE outbox SET sending = 1 WHERE id = ?";

pub(super) const WAITING: &str = "UPDATE outbox SET sending = 0 WHERE id = ?";

/// Does one of the statements above for each row.
pub(super) fn each(connection: &Connection, statement: &str, ids: &[i64]) -> Result<()> {
    let mut change = connection
        .prepare_cached(statement)
        .map_err(StoreError::sql("prepare the outbox"))?;
    for id in ids {
        change
            .execute([id])
            .map_err(StoreError::sql("change the outbox"))?;
    }
    Ok(())
}

pub(super) fn interrupted(connection: &Connection) -> Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT id FROM outbox WHERE sending = 1 ORDER BY id")
        .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
        .map_err(StoreError::sql("find what was being sent"))
}

pub(super) fn groups(connection: &Connection) -> Result<Vec<Values>> {
    let names: Vec<String> = connection
        .prepare_cached("SELECT name FROM exported_group ORDER BY name")
        .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
        .map_err(StoreError::sql("read what is exported"))?;
    let mut groups = Vec::with_capacity(names.len());
    groups.extend(names.iter().filter_map(|name| keys::values_of(name)));
    Ok(groups)
}

pub(super) fn change_groups(
    connection: &Connection,
    added: &[Values],
    removed: &[Values],
) -> Result<()> {
    let steps = [
        (
            "INSERT OR IGNORE INTO exported_group (name) VALUES (?)",
            added,
        ),
        ("DELETE FROM exported_group WHERE name = ?", removed),
    ];
    for (statement, groups) in steps {
        for group in groups {
            connection
                .prepare_cached(statement)
                .and_then(|mut change| change.execute([keys::name_of_values(group)]))
                .map_err(StoreError::sql("change what is exported"))?;
        }
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
