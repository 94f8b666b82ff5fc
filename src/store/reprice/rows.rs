//! Rows of the ledger as pricing anew reads them.

use rusqlite::Row;

use super::Money;
use crate::model::tokens::Tokens;
use crate::store::rollup::Key;

/// A row of `metered`, as far as its price needs it.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) key: [i64; 6],
    pub(super) tokens: Tokens,
    pub(super) money: Money,
}

pub(super) const METERED_OF_QUARTERS: &str = "SELECT session, model, quarter, identity, sku, source, x0, x1, \
    x2, x3, cost, unpriced FROM metered WHERE quarter >= ? AND quarter < ?";

pub(super) const METERED_OF_KEY: &str = "SELECT session, model, quarter, identity, sku, source, x0, x1, x2, \
    x3, cost, unpriced FROM metered WHERE session = ? AND model = ? AND quarter = ? \
    AND identity = ? AND sku = ? AND source = ?";

pub(super) fn metered(row: &Row<'_>) -> rusqlite::Result<Metered> {
    let mut key = [0; 6];
    for (place, number) in key.iter_mut().enumerate() {
        *number = row.get(place)?;
    }
    Ok(Metered {
        key,
        tokens: Tokens {
            input: count(row, 6)?,
            output: count(row, 7)?,
            cache_read: count(row, 8)?,
            cache_write_unknown: count(row, 9)?,
            ..Tokens::default()
        },
        money: Money {
            cost: row.get(10)?,
            unpriced: row.get(11)?,
        },
    })
}

/// A report's number, time, SKU, cost and tokens.
pub(super) type Surveyed = (i64, i64, i64, Option<i64>, Tokens);

pub(super) fn surveyed(row: &Row<'_>) -> rusqlite::Result<Surveyed> {
    let tokens = tokens_from(row, 4)?;
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, tokens))
}

pub(super) fn sum_of(row: &Row<'_>) -> rusqlite::Result<(Key, Money, Tokens)> {
    let key = (row.get(0)?, row.get(1)?, row.get(2)?);
    let money = Money {
        cost: row.get(3)?,
        unpriced: row.get(4)?,
    };
    Ok((key, money, tokens_from(row, 5)?))
}

/// Token counts of six columns in the order of the kinds.
fn tokens_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Tokens> {
    Ok(Tokens {
        input: count(row, first)?,
        output: count(row, first + 1)?,
        cache_read: count(row, first + 2)?,
        cache_write_5m: count(row, first + 3)?,
        cache_write_1h: count(row, first + 4)?,
        cache_write_unknown: count(row, first + 5)?,
    })
}

fn count(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(place)?;
    Ok(count.max(0).unsigned_abs())
}
