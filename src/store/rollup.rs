//! Sums of what counts: by quarter hour, and by day and month once those are over.

use rusqlite::{Connection, params_from_iter};

use super::StoreError;
use super::fact::signed;
use super::numbers::NumberMap;
use crate::model::tokens::Tokens;

type Result<T> = std::result::Result<T, StoreError>;

/// What one roll-up row sums. Signed, so that a difference can be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) requests: i64,
    pub(super) errors: i64,
    /// Input, output, cache reads, and cache writes of 5 minutes, 1 hour and unknown lifetime.
    pub(super) tokens: [i64; 6],
    /// Pico-USD of the priced part.
    pub(super) cost: i64,
    /// Tokens of the part without a price.
    pub(super) unpriced: i64,
}

impl Sums {
    /// Adds `other` times `sign`.
    pub(super) fn add(&mut self, other: &Self, sign: i64) {
        self.requests += sign * other.requests;
        self.errors += sign * other.errors;
        for (mine, theirs) in self.tokens.iter_mut().zip(other.tokens) {
            *mine += sign * theirs;
        }
        self.cost = self.cost.saturating_add(sign * other.cost);
        self.unpriced += sign * other.unpriced;
    }

    /// In the order in which the tables of roll-ups have them.
    pub(super) fn columns(&self) -> impl Iterator<Item = i64> {
        let counts = [self.requests, self.errors].into_iter();
        counts.chain(self.tokens).chain([self.cost, self.unpriced])
    }
}

/// Token counts in the order of [`Sums::tokens`].
pub(super) fn by_kind(tokens: &Tokens) -> [i64; 6] {
    [
        signed(tokens.input),
        signed(tokens.output),
        signed(tokens.cache_read),
        signed(tokens.cache_write_5m),
        signed(tokens.cache_write_1h),
        signed(tokens.cache_write_unknown),
    ]
}

/// Quarter hour, identity, SKU.
pub(super) type Key = (i64, i64, i64);

/// By how much sums have changed.
pub(super) type Differences = NumberMap<Key, Sums>;

/// Applies differences to the quarter hours. Days and months that had been rolled up from them
/// are marked stale.
pub(super) fn apply(
    connection: &Connection,
    spans: &super::span::Spans,
    differences: Differences,
) -> Result<()> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO usage_quarter (quarter, identity, sku, requests, errors, input, output, \
             cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, cost, unpriced) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (quarter, identity, sku) DO UPDATE SET \
             requests = requests + excluded.requests, errors = errors + excluded.errors, \
             input = input + excluded.input, output = output + excluded.output, \
             cache_read = cache_read + excluded.cache_read, \
             cache_write_5m = cache_write_5m + excluded.cache_write_5m, \
             cache_write_1h = cache_write_1h + excluded.cache_write_1h, \
             cache_write_unknown = cache_write_unknown + excluded.cache_write_unknown, \
             cost = cost + excluded.cost, unpriced = unpriced + excluded.unpriced",
        )
        .map_err(StoreError::sql("prepare a roll-up"))?;
    let mut rows: Vec<_> = differences
        .into_iter()
        .filter(|(_, sums)| *sums != Sums::default())
        .collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    let mut last_quarter = None;
    for ((quarter, identity, sku), sums) in rows {
        if spans.is_direct(quarter) {
            spans.add(connection, quarter, identity, sku, &sums)?;
        }
        if spans.quarters_are_gone(quarter) {
            continue;
        }
        upsert
            .execute(params_from_iter(
                [quarter, identity, sku].into_iter().chain(sums.columns()),
            ))
            .map_err(StoreError::sql("store a roll-up"))?;
        if last_quarter != Some(quarter) {
            last_quarter = Some(quarter);
            spans.mark_stale(connection, quarter)?;
        }
    }
    Ok(())
}
