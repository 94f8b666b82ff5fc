//! Sealing: a minute gets what only its end can tell, and no longer changes.

use rusqlite::{Connection, Transaction};

use super::clock::is_sealed;
use super::{Result, StoreError, keys, rows};
use crate::model::minute::{Datapoint, Finished, Ready, SLOW_MINUTES, SeriesKey};

/// Totals that are 0 in a minute in which nothing happened. The others have values only where
/// their source is configured.
const ZEROED: [&str; 5] = [
    "requests_per_minute",
    "tokens_processed",
    "unpriced_tokens",
    "throttled_requests",
    "code_lines_generated",
];

/// Minutes let go with each seal, so that pruning catches up slowly and intake does not wait.
const PRUNED_PER_SEAL: i64 = 5;

/// What a minute gets when it is sealed.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Minutes since 1970.
    pub minute: i64,
    /// True if tallyd ran from its begin to its end: only then nothing seen is nothing done.
    pub is_whole: bool,
    /// What gauges showed, by metric.
    pub gauges: Vec<(&'static str, Datapoint)>,
    /// The share of requests that should work, between 0 and 1.
    pub objective: f64,
    /// Whether its datapoints wait for an exporter.
    pub outbox: Outbox,
    /// Sealed minutes before this one may go, unless they wait for an exporter.
    pub keep_from: i64,
}

/// What becomes of sealed datapoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbox {
    /// They wait until an exporter has delivered them.
    Fill,
    /// Nobody exports. What waits from before stays until it is pruned.
    Leave,
}

/// Seals a minute; `None` if it was sealed before. `zeroed` are further totals that are 0 in a
/// minute in which nothing happened.
pub(super) fn seal(
    transaction: &Transaction<'_>,
    seal: &Seal,
    zeroed: &[&'static str],
) -> Result<Option<Ready>> {
    if is_sealed(transaction, seal.minute)? {
        return Ok(None);
    }
    if seal.is_whole {
        for metric in ZEROED.iter().chain(zeroed) {
            let series = keys::id(transaction, &SeriesKey::total(metric))?;
            if rows::read(transaction, seal.minute, series)?.is_none() {
                rows::write(transaction, seal.minute, series, &Datapoint::of(0.0))?;
            }
        }
    }
    let ready = ready(transaction, seal)?;
    let of_requests = ready.minute_values();
    let gauges = seal
        .gauges
        .iter()
        .map(|(name, value)| (*name, value.clone()));
    for (metric, datapoint) in gauges.chain(of_requests) {
        let series = keys::id(transaction, &SeriesKey::total(metric))?;
        rows::write(transaction, seal.minute, series, &datapoint)?;
    }
    transaction
        .prepare_cached("INSERT INTO minute_sealed (at) VALUES (?)")
        .and_then(|mut insert| insert.execute([seal.minute]))
        .map_err(StoreError::sql("seal a minute"))?;
    if seal.outbox == Outbox::Fill {
        transaction
            .prepare_cached(
                "INSERT INTO outbox (at, series) \
                 SELECT at, series FROM minute WHERE at = ? ORDER BY series",
            )
            .and_then(|mut insert| insert.execute([seal.minute]))
            .map_err(StoreError::sql("fill the outbox"))?;
    }
    prune(transaction, seal)?;
    Ok(Some(ready))
}

/// The gauges that follow from the requests of the last hours, this minute included.
fn ready(connection: &Connection, seal: &Seal) -> Result<Ready> {
    let Some(series) = keys::total(connection, "error_rate")? else {
        return Ok(Ready::default());
    };
    let mut finished = finished(connection, series, seal.minute)?;
    if let Some(last) = rows::read(connection, seal.minute, series)? {
        finished.push(Finished::of(seal.minute, last.count, last.sum));
    }
    Ok(Ready::of(&finished, seal.minute, seal.objective))
}

/// Requests that finished in sealed minutes.
fn finished(connection: &Connection, series: i64, minute: i64) -> Result<Vec<Finished>> {
    connection
        .prepare_cached(
            "SELECT m.at, m.count, m.sum FROM minute_sealed s \
             JOIN minute m ON m.at = s.at AND m.series = ? WHERE s.at > ? AND s.at < ?",
        )
        .and_then(|mut select| {
            select
                .query_map([series, minute - SLOW_MINUTES, minute], |row| {
                    Ok(Finished::of(row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect()
        })
        .map_err(StoreError::sql("read finished requests"))
}

/// Lets go of a few of the oldest minutes.
fn prune(transaction: &Transaction<'_>, seal: &Seal) -> Result<()> {
    let steps: &[&str] = match seal.outbox {
        Outbox::Fill => &[MINUTES, SEALS],
        // Nobody will deliver what waits from the time of an exporter.
        Outbox::Leave => &[WAITING, MINUTES, SEALS],
    };
    for step in steps {
        transaction
            .prepare_cached(step)
            .and_then(|mut delete| delete.execute([seal.keep_from, PRUNED_PER_SEAL]))
            .map_err(StoreError::sql("prune minutes"))?;
    }
    Ok(())
}

const WAITING: &str = "DELETE FROM outbox WHERE at IN \
    (SELECT at FROM minute_sealed WHERE at < ? ORDER BY at LIMIT ?)";

/// What an exporter has not delivered stays, and all that is younger.
const MINUTES: &str = "DELETE FROM minute WHERE at IN (SELECT at FROM minute_sealed \
    WHERE at < min(?1, coalesce((SELECT min(at) FROM outbox), ?1)) ORDER BY at LIMIT ?2)";

const SEALS: &str = "DELETE FROM minute_sealed WHERE at IN (SELECT at FROM minute_sealed \
    WHERE at < min(?1, coalesce((SELECT min(at) FROM outbox), ?1)) ORDER BY at LIMIT ?2)";
