//! What quota windows learn from the ledger: usage by the time at which it was booked.
//!
//! Roll-ups go by the time of the usage. Where a reservation was made in another quarter hour,
//! `booking_shift` says what moves; both together are the truth of quotas. The minute that is open
//! comes from the latest reports.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use super::StoreError;
use super::dict::Dictionaries;
use super::rollup::Sums;
use crate::model::identity::Identity;
use crate::model::policy::Usage;
use crate::model::usage::{Outcome, Sku};
use crate::model::window::QUARTER_SECONDS;

type Result<T> = std::result::Result<T, StoreError>;

/// Milliseconds of a minute, the precision of booked times.
const MINUTE_MS: i64 = 60_000;

const QUARTER_MS: i64 = QUARTER_SECONDS * 1_000;

/// Reports that are looked at for the latest minute; of those before only quarter hours are known.
/// It is 3,000 a second, and takes a moment to read.
const MAX_BY_MINUTE: i64 = 200_000;

/// Usage of one identity and SKU; negative where counting once takes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Booked {
    /// [`reservation_key`] of the reservation that this settles.
    pub reservation: Option<i64>,
    pub identity: Arc<Identity>,
    pub sku: Arc<Sku>,
    /// To the minute.
    pub at: Timestamp,
    pub usage: Usage,
}

/// The key under which the ledger knows a reservation.
#[must_use]
pub fn reservation_key(id: &str) -> i64 {
    super::write::reservation_key(id)
}

/// What a commit books, summed.
#[derive(Debug, Default)]
pub(super) struct Bookings {
    /// By identity, SKU, minute and reservation.
    sums: HashMap<(i64, i64, i64, Option<i64>), Usage>,
    /// By quarter hour, identity and SKU.
    shifts: BTreeMap<(i64, i64, i64), Usage>,
}

/// A request as quotas see it.
pub(super) struct Booking {
    pub(super) identity: i64,
    pub(super) sku: i64,
    pub(super) at_ms: i64,
    pub(super) booked_ms: i64,
    pub(super) reservation: Option<i64>,
    pub(super) usage: Usage,
}

impl Bookings {
    /// Adds a request, or takes it back.
    pub(super) fn request(&mut self, booking: &Booking, sign: i64) {
        let (identity, sku) = (booking.identity, booking.sku);
        let minute = booking.booked_ms.div_euclid(MINUTE_MS);
        let sum = self
            .sums
            .entry((identity, sku, minute, booking.reservation))
            .or_default();
        add(sum, &booking.usage, sign);
        let quarter = booking.at_ms.div_euclid(QUARTER_MS);
        let booked = booking.booked_ms.div_euclid(QUARTER_MS);
        if quarter != booked {
            let from = self.shifts.entry((quarter, identity, sku)).or_default();
            add(from, &booking.usage, -sign);
            let to = self.shifts.entry((booked, identity, sku)).or_default();
            add(to, &booking.usage, sign);
        }
    }

    /// Adds what counters saw beyond requests.
    pub(super) fn excess(&mut self, (quarter, identity, sku): (i64, i64, i64), sums: &Sums) {
        let minute = quarter * (QUARTER_MS / MINUTE_MS);
        let sum = self.sums.entry((identity, sku, minute, None)).or_default();
        add(sum, &usage_of(sums), 1);
    }

    /// Writes the shifts and tells the rest.
    pub(super) fn write(
        self,
        connection: &Connection,
        dictionaries: &Dictionaries,
    ) -> Result<Vec<Booked>> {
        let mut upsert = connection
            .prepare_cached(
                "INSERT INTO booking_shift (quarter, identity, sku, input, output, cache_read, \
                 cache_write, requests, cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET input = input + excluded.input, \
                 output = output + excluded.output, \
                 cache_read = cache_read + excluded.cache_read, \
                 cache_write = cache_write + excluded.cache_write, \
                 requests = requests + excluded.requests, cost = cost + excluded.cost",
            )
            .map_err(StoreError::sql("prepare a booking"))?;
        for ((quarter, identity, sku), usage) in self.shifts {
            upsert
                .execute(params![
                    quarter,
                    identity,
                    sku,
                    usage.input,
                    usage.output,
                    usage.cache_read,
                    usage.cache_write,
                    usage.requests,
                    usage.cost
                ])
                .map_err(StoreError::sql("book a request"))?;
        }
        let mut booked = Vec::with_capacity(self.sums.len());
        for ((identity, sku, minute, reservation), usage) in self.sums {
            // A settlement of nothing still ends its reservation.
            if usage == Usage::default() && reservation.is_none() {
                continue;
            }
            booked.push(Booked {
                reservation,
                identity: dictionaries.identities.get(identity)?.clone(),
                sku: dictionaries.skus.get(sku)?.clone(),
                at: timestamp(minute * MINUTE_MS),
                usage,
            });
        }
        Ok(booked)
    }
}

fn usage_of(sums: &Sums) -> Usage {
    Usage {
        input: sums.tokens[0],
        output: sums.tokens[1],
        cache_read: sums.tokens[2],
        cache_write: sums.tokens[3] + sums.tokens[4] + sums.tokens[5],
        requests: sums.requests - sums.errors,
        cost: sums.cost,
    }
}

/// All that was booked from a quarter hour on, by quarter hour, for counters that begin anew. With
/// `minutes_from` what was booked from that minute on is by minute.
pub(super) fn since(
    connection: &Connection,
    dictionaries: &Dictionaries,
    from: Timestamp,
    minutes_from: Option<Timestamp>,
    visit: &mut dyn FnMut(Option<Booked>),
) -> Result<()> {
    let mut tell = |identity, sku, at_ms, usage| {
        visit(Some(Booked {
            reservation: None,
            identity: dictionaries.identities.get(identity)?.clone(),
            sku: dictionaries.skus.get(sku)?.clone(),
            at: timestamp(at_ms),
            usage,
        }));
        Ok(())
    };
    let first = from.as_millisecond().div_euclid(QUARTER_MS);
    for sql in [
        "SELECT quarter, identity, sku, input, output, cache_read, \
         cache_write_5m + cache_write_1h + cache_write_unknown, requests - errors, cost \
         FROM usage_quarter WHERE quarter >= ? ORDER BY quarter",
        "SELECT quarter, identity, sku, input, output, cache_read, cache_write, requests, cost \
         FROM booking_shift WHERE quarter >= ? ORDER BY quarter",
    ] {
        each(
            connection,
            sql,
            [first],
            |(quarter, identity, sku, usage)| tell(identity, sku, quarter * QUARTER_MS, usage),
        )?;
    }
    if let Some(minute) = minutes_from {
        let from_ms = minute.as_millisecond().div_euclid(MINUTE_MS) * MINUTE_MS;
        let failed = Outcome::ALL.iter().position(|o| *o == Outcome::Error);
        let parameters = params![from_ms, MAX_BY_MINUTE, failed];
        // Moved within a quarter hour, which changes nothing for longer windows.
        each(connection, BY_MINUTE, parameters, |row| {
            let (booked_ms, identity, sku, usage) = row;
            let mut back = Usage::default();
            add(&mut back, &usage, -1);
            let quarter_ms = booked_ms.div_euclid(QUARTER_MS) * QUARTER_MS;
            tell(identity, sku, quarter_ms, back)?;
            tell(identity, sku, booked_ms, usage)
        })?;
    }
    visit(None);
    Ok(())
}

/// The latest requests that were booked since a time, each when the first of its reports that
/// tells a time of booking tells.
const BY_MINUTE: &str = "SELECT booked, counted_as, sku, input, output, cache_read, \
     cache_write_5m + cache_write_1h + cache_write_unknown, outcome <> ?3, coalesce(cost, 0) FROM \
     (SELECT *, coalesce(booked_at, (SELECT told.booked_at FROM fact AS told \
      WHERE told.grp = fact.grp AND told.booked_at IS NOT NULL \
      ORDER BY flags & 1, rank, at, key LIMIT 1), at) AS booked FROM fact \
      WHERE id > (SELECT max(id) FROM fact) - ?2 AND counted_as IS NOT NULL) \
     WHERE booked >= ?1";

/// A booked quarter hour or request: the time, identity, SKU and usage.
type Line = (i64, i64, i64, Usage);

fn each(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut visit: impl FnMut(Line) -> Result<()>,
) -> Result<()> {
    let mut select = connection
        .prepare(sql)
        .map_err(StoreError::sql("prepare the bookings"))?;
    let mut rows = select
        .query(parameters)
        .map_err(StoreError::sql("read the bookings"))?;
    while let Some(row) = rows.next().map_err(StoreError::sql("read the bookings"))? {
        visit(booking(row).map_err(StoreError::sql("read a booking"))?)?;
    }
    Ok(())
}

fn booking(row: &Row<'_>) -> rusqlite::Result<Line> {
    let usage = Usage {
        input: row.get(3)?,
        output: row.get(4)?,
        cache_read: row.get(5)?,
        cache_write: row.get(6)?,
        requests: row.get(7)?,
        cost: row.get(8)?,
    };
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, usage))
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn add(sum: &mut Usage, usage: &Usage, sign: i64) {
    let pairs = [
        (&mut sum.input, usage.input),
        (&mut sum.output, usage.output),
        (&mut sum.cache_read, usage.cache_read),
        (&mut sum.cache_write, usage.cache_write),
        (&mut sum.requests, usage.requests),
        (&mut sum.cost, usage.cost),
    ];
    for (sum, part) in pairs {
        *sum = sum.saturating_add(sign * part);
    }
}
