//! Minutes: datapoints of one minute each, written with the commits that cause them.
//!
//! Open minutes are rows like sealed ones and grow in the transaction of the commit, so what was
//! acknowledged is in a minute exactly once, whatever happens. [`Ledger::seal`] ends a minute.

mod clock;
mod keys;
mod moments;
mod outbox;
mod rows;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Row};

pub use clock::{last_due, minute_at};
pub(super) use keys::Keys;
pub(super) use moments::{Before, Moment, Moments};
pub use moments::{LeftOut, MinuteEffects};
pub use outbox::{Oldest, OutboxState, Waiting};
pub use seal::{Outbox, Seal};

use super::{Ledger, QueryError, StoreError};
use crate::model::minute::{Datapoint, Dimension, Minute, Ready, SeriesKey};

/// Values of dimensions, by name.
pub type Values = BTreeMap<Dimension, Arc<str>>;

type Result<T> = std::result::Result<T, StoreError>;

/// Datapoints in one answer: 15 days of every metric, and some series with dimensions.
const MAX_DATAPOINTS: usize = 500_000;

/// Up to so many series are looked up by number in each minute; for more, whole minutes are read.
const MAX_LOOKUPS: usize = 32;

/// Which datapoints are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinuteQuery {
    /// Minutes since 1970, half-open.
    pub from: i64,
    pub to: i64,
    /// Empty: all.
    pub metrics: Vec<&'static str>,
    pub dimensions: Dimensions,
}

/// Which series of a metric are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimensions {
    /// Only those of everything together.
    Totals,
    /// Those with dimensions too.
    All,
}

impl Ledger {
    /// Datapoints of sealed minutes, oldest first.
    ///
    /// Fails with [`QueryError::TooLarge`] beyond half a million.
    pub async fn minutes(
        &self,
        query: MinuteQuery,
    ) -> std::result::Result<Vec<Minute>, QueryError> {
        self.read(move |reader| minutes(&reader.connection, &query))
            .await
    }

    /// The last minute that was sealed.
    pub async fn last_sealed_minute(&self) -> std::result::Result<Option<i64>, QueryError> {
        self.read(|reader| {
            let last =
                reader
                    .connection
                    .query_row("SELECT max(at) FROM minute_sealed", [], |row| row.get(0));
            Ok(last.map_err(StoreError::sql("find the last minute"))?)
        })
        .await
    }

    /// Minutes from `from` to `to`, both included, that hold something and are not sealed.
    pub async fn unsealed_minutes(
        &self,
        from: i64,
        to: i64,
    ) -> std::result::Result<Vec<i64>, QueryError> {
        self.read(move |reader| Ok(unsealed(&reader.connection, from, to)?))
            .await
    }

    /// Seals a minute for good. `None`: it was sealed before, and stays as it is.
    pub async fn seal(&self, seal: Seal) -> std::result::Result<Option<Ready>, QueryError> {
        let zeroed = self.inner.terms.load().business.zeroed();
        self.change(move |transaction| seal::seal(transaction, &seal, &zeroed))
            .await
    }

    /// Datapoints that wait for an exporter, oldest first.
    pub async fn outbox_oldest(&self, limit: usize) -> std::result::Result<Oldest, QueryError> {
        self.read(move |reader| Ok(outbox::oldest(&reader.connection, limit)?))
            .await
    }

    /// Takes datapoints out of the outbox that were delivered or given up.
    pub async fn outbox_done(&self, ids: Vec<i64>) -> std::result::Result<(), QueryError> {
        self.change(move |transaction| outbox::each(transaction, outbox::DONE, &ids))
            .await
    }

    /// Marks datapoints as under way: should tallyd end now, nobody knows whether they arrived.
    pub async fn outbox_sending(&self, ids: Vec<i64>) -> std::result::Result<(), QueryError> {
        self.change(move |transaction| outbox::each(transaction, outbox::SENDING, &ids))
            .await
    }

    /// Takes the mark of [`Ledger::outbox_sending`] back: they did not arrive and wait on.
    pub async fn outbox_waiting(&self, ids: Vec<i64>) -> std::result::Result<(), QueryError> {
        self.change(move |transaction| outbox::each(transaction, outbox::WAITING, &ids))
            .await
    }

    /// Datapoints that were under way when tallyd ended.
    pub async fn outbox_interrupted(&self) -> std::result::Result<Vec<i64>, QueryError> {
        self.read(|reader| Ok(outbox::interrupted(&reader.connection)?))
            .await
    }

    /// Combinations of dimension values that an exporter sends under their own name.
    pub async fn exported_groups(&self) -> std::result::Result<Vec<Values>, QueryError> {
        self.read(|reader| Ok(outbox::groups(&reader.connection)?))
            .await
    }

    /// The series that minutes from `from` to before `to` hold, each with its sum.
    pub async fn series_sums(
        &self,
        from: i64,
        to: i64,
    ) -> std::result::Result<Vec<(Arc<SeriesKey>, f64)>, QueryError> {
        self.read(move |reader| Ok(series_sums(&reader.connection, from, to)?))
            .await
    }

    /// Changes which combinations of dimension values are sent under their own name.
    pub async fn change_exported_groups(
        &self,
        added: Vec<Values>,
        removed: Vec<Values>,
    ) -> std::result::Result<(), QueryError> {
        self.change(move |transaction| outbox::change_groups(transaction, &added, &removed))
            .await
    }

    /// How much waits for an exporter.
    pub async fn outbox_state(&self) -> std::result::Result<OutboxState, QueryError> {
        self.read(|reader| Ok(outbox::state(&reader.connection)?))
            .await
    }
}

/// Adds to totals in the minute of a time, or tells why no minute takes them.
pub(super) fn add_totals(
    connection: &Connection,
    at_ms: i64,
    now_ms: i64,
    amounts: &[(&'static str, f64)],
) -> Result<std::result::Result<(), LeftOut>> {
    let minute = match clock::Gate::new(connection, now_ms).minute_of(at_ms)? {
        Ok(minute) => minute,
        Err(reason) => return Ok(Err(reason)),
    };
    for (metric, amount) in amounts {
        let series = keys::id(connection, &SeriesKey::total(metric))?;
        let before = rows::read(connection, minute, series)?.unwrap_or_default();
        let total = Datapoint::of(before.sum + amount);
        rows::write(connection, minute, series, &total)?;
    }
    Ok(Ok(()))
}

fn unsealed(connection: &Connection, from: i64, to: i64) -> Result<Vec<i64>> {
    connection
        .prepare_cached(
            "SELECT DISTINCT at FROM minute m WHERE at BETWEEN ? AND ? \
             AND NOT EXISTS (SELECT 1 FROM minute_sealed s WHERE s.at = m.at) ORDER BY at",
        )
        .and_then(|mut select| select.query_map([from, to], |row| row.get(0))?.collect())
        .map_err(StoreError::sql("find open minutes"))
}

fn minutes(
    connection: &Connection,
    query: &MinuteQuery,
) -> std::result::Result<Vec<Minute>, QueryError> {
    let wanted = wanted(connection, query)?;
    let mut found = Vec::new();
    let mut take = |row: &Row<'_>| {
        let series: i64 = row.get(1)?;
        if let Some(key) = wanted.get(&series) {
            found.push((
                series,
                Minute {
                    minute: row.get(0)?,
                    series: key.clone(),
                    datapoint: rows::datapoint_at(row, 2)?,
                },
            ));
        }
        Ok(found.len() <= MAX_DATAPOINTS)
    };
    let (from, to) = (query.from, query.to);
    if wanted.len() <= MAX_LOOKUPS {
        for series in wanted.keys() {
            each(connection, OF_SERIES, &[from, to, *series], &mut take)?;
        }
    } else {
        each(connection, OF_ALL, &[from, to], &mut take)?;
    }
    if found.len() > MAX_DATAPOINTS {
        return Err(QueryError::TooLarge(format!(
            "more than {MAX_DATAPOINTS} datapoints: ask for a shorter range or for fewer metrics"
        )));
    }
    found.sort_by_key(|(series, minute)| (minute.minute, *series));
    Ok(found.into_iter().map(|(_, minute)| minute).collect())
}

/// The series asked for, by number.
fn wanted(connection: &Connection, query: &MinuteQuery) -> Result<HashMap<i64, Arc<SeriesKey>>> {
    let mut wanted = HashMap::new();
    let mut take = |row: &Row<'_>| {
        let name: String = row.get(1)?;
        let key = keys::key_of(&name).filter(|key| {
            let is_asked = query.metrics.is_empty() || query.metrics.contains(&key.metric);
            is_asked && (query.dimensions == Dimensions::All || key.dimensions.is_empty())
        });
        if let Some(key) = key {
            wanted.insert(row.get(0)?, Arc::new(key));
        }
        Ok(true)
    };
    each(connection, "SELECT id, name FROM series", &[], &mut take)?;
    Ok(wanted)
}

fn series_sums(connection: &Connection, from: i64, to: i64) -> Result<Vec<(Arc<SeriesKey>, f64)>> {
    let mut sums = Vec::new();
    let sql = "SELECT s.name, sum(m.sum) FROM minute m JOIN series s ON s.id = m.series \
               WHERE m.at >= ? AND m.at < ? GROUP BY m.series ORDER BY s.name";
    let mut take = |row: &Row<'_>| {
        let name: String = row.get(0)?;
        if let Some(key) = keys::key_of(&name) {
            sums.push((Arc::new(key), row.get(1)?));
        }
        Ok(true)
    };
    each(connection, sql, &[from, to], &mut take)?;
    Ok(sums)
}

const OF_SERIES: &str = "SELECT m.at, m.series, m.count, m.sum, m.min, m.max, m.spread \
    FROM minute_sealed s JOIN minute m ON m.at = s.at WHERE s.at >= ? AND s.at < ? \
    AND m.series = ? ORDER BY s.at";

const OF_ALL: &str = "SELECT m.at, m.series, m.count, m.sum, m.min, m.max, m.spread \
    FROM minute_sealed s JOIN minute m ON m.at = s.at WHERE s.at >= ? AND s.at < ? \
    ORDER BY s.at";

/// Gives rows to `take` until it says no.
fn each(
    connection: &Connection,
    sql: &str,
    parameters: &[i64],
    take: &mut impl FnMut(&Row<'_>) -> rusqlite::Result<bool>,
) -> Result<()> {
    connection
        .prepare_cached(sql)
        .and_then(|mut select| {
            let mut rows = select.query(rusqlite::params_from_iter(parameters))?;
            while let Some(row) = rows.next()? {
                if !take(row)? {
                    break;
                }
            }
            Ok(())
        })
        .map_err(StoreError::sql("read minutes"))
}
