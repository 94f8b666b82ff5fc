//! Days and months, rolled up from quarter hours once they are over.
//!
//! A day or month row is always the sum of its quarter hours. A late report makes it stale, a
//! query then reads the quarter hours instead, and the next maintenance round sums them anew.
//! Where the quarter hours are gone, late reports are added to the day and month directly.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::StoreError;
use super::rollup::Sums;

type Result<T> = std::result::Result<T, StoreError>;

/// Quarter hours are kept this long: every zone's days are exact for a quarter of a year.
const KEEP_QUARTERS_DAYS: i64 = 100;

/// Days and months are kept this long.
const KEEP_SPANS_MONTHS: i32 = 25;

/// Days and months rolled up in one maintenance round, so that intake never waits for long.
const SPANS_PER_ROUND: usize = 4;

/// Rows deleted in one maintenance round.
const ROWS_PER_ROUND: usize = 5_000;

/// Seconds in a quarter hour.
const QUARTER: i64 = 900;

/// What a row of `usage_span` covers. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    UtcDay = 0,
    ZoneDay = 1,
    UtcMonth = 2,
    ZoneMonth = 3,
}

impl Kind {
    const ALL: [Self; 4] = [Self::UtcDay, Self::ZoneDay, Self::UtcMonth, Self::ZoneMonth];

    pub(super) fn number(self) -> i64 {
        self as i64
    }
}

/// The quarter hour of a time.
pub(super) fn quarter_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(QUARTER * 1_000)
}

/// The time of a count of milliseconds.
pub(super) fn time_of(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The start of a quarter hour.
pub(super) fn start_of(quarter: i64) -> Timestamp {
    Timestamp::from_second(quarter * QUARTER).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What is rolled up so far.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    zone: TimeZone,
    /// Quarter hours before this one are gone.
    quarters_from: i64,
    /// Reports before this quarter hour are added to a day or month directly.
    direct_before: i64,
    /// Per kind: spans that start before this quarter hour have a row.
    rolled: [i64; 4],
    /// Days and months of the zone that start before this quarter hour have none: another zone was
    /// configured then, and the quarter hours are gone.
    zone_from: i64,
}

impl Spans {
    /// Reads the state; an empty store begins with the quarter hours of the last 100 days.
    pub(super) fn load(connection: &Connection, zone: &TimeZone, now: Timestamp) -> Result<Self> {
        let first = oldest_kept(zone, now);
        let quarters_from = setting(connection, "quarters_from")?.unwrap_or(first);
        let mut spans = Self {
            zone: zone.clone(),
            quarters_from: 0,
            direct_before: 0,
            rolled: [0; 4],
            zone_from: i64::MIN,
        };
        spans.keep_from(quarters_from);
        spans.forget_other_zone(connection)?;
        if let Some(quarter) = setting(connection, "zone_from")? {
            spans.zone_from = quarter;
        }
        for kind in Kind::ALL {
            let span = spans.span(kind, quarters_from);
            let begin = if span.start < quarters_from {
                span.end
            } else {
                span.start
            };
            let known = setting(connection, &spans.setting_name(kind))?;
            spans.rolled[kind as usize] = known.unwrap_or(begin);
        }
        spans.save(connection)?;
        Ok(spans)
    }

    /// Rows of a zone that is no longer configured answer no question.
    fn forget_other_zone(&self, connection: &Connection) -> Result<()> {
        let name = self.zone.iana_name().unwrap_or("UTC");
        let known: Option<String> = connection
            .query_row("SELECT value FROM setting WHERE name = 'zone'", [], |row| {
                row.get(0)
            })
            .optional()
            .map_err(StoreError::sql("read the zone"))?;
        if known.as_deref() == Some(name) {
            return Ok(());
        }
        let change = || {
            connection.execute("DELETE FROM usage_span WHERE span IN (1, 3)", [])?;
            connection.execute("DELETE FROM stale_span WHERE span IN (1, 3)", [])?;
            connection.execute("DELETE FROM setting WHERE name LIKE 'rolled Zone%'", [])?;
            let set = "INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)";
            if known.is_some() {
                connection.execute(set, ["zone_from", &self.quarters_from.to_string()])?;
            }
            connection.execute(set, ["zone", name])
        };
        change()
            .map(drop)
            .map_err(StoreError::sql("change the zone"))
    }

    /// The state as another connection sees it, within that connection's transaction.
    pub(super) fn reload(&self, connection: &Connection) -> Result<Self> {
        let mut spans = self.clone();
        if let Some(quarter) = setting(connection, "quarters_from")? {
            spans.keep_from(quarter);
        }
        for kind in Kind::ALL {
            if let Some(rolled) = setting(connection, &spans.setting_name(kind))? {
                spans.rolled[kind as usize] = rolled;
            }
        }
        Ok(spans)
    }

    /// The next quarter hour at which a day may begin in UTC or in the zone.
    pub(super) fn next_edge(&self, quarter: i64) -> i64 {
        let utc = self.span(Kind::UtcDay, quarter).end;
        utc.min(self.span(Kind::ZoneDay, quarter).end)
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The day or month of a kind that holds a quarter hour, as quarter hours.
    pub(super) fn span(&self, kind: Kind, quarter: i64) -> Range<i64> {
        let utc = TimeZone::UTC;
        let zone = match kind {
            Kind::UtcDay | Kind::UtcMonth => &utc,
            Kind::ZoneDay | Kind::ZoneMonth => &self.zone,
        };
        let at = start_of(quarter).to_zoned(zone.clone());
        let first = match kind {
            Kind::UtcDay | Kind::ZoneDay => at.start_of_day(),
            Kind::UtcMonth | Kind::ZoneMonth => {
                at.first_of_month().and_then(|first| first.start_of_day())
            }
        };
        let next = first.clone().and_then(|first| match kind {
            Kind::UtcDay | Kind::ZoneDay => first.tomorrow()?.start_of_day(),
            Kind::UtcMonth | Kind::ZoneMonth => first.checked_add(1.month())?.start_of_day(),
        });
        let number = |edge: std::result::Result<Zoned, jiff::Error>, fallback: i64| {
            edge.map_or(fallback, |edge| {
                quarter_of(edge.timestamp().as_millisecond())
            })
        };
        number(first, quarter)..number(next, quarter + 1)
    }

    /// The time from which quarter hours are kept.
    pub(super) fn first_kept(&self) -> Timestamp {
        start_of(self.quarters_from)
    }

    pub(super) fn quarters_are_gone(&self, quarter: i64) -> bool {
        quarter < self.quarters_from
    }

    /// True if a day or month of this quarter hour can no longer be summed from quarter hours.
    pub(super) fn is_direct(&self, quarter: i64) -> bool {
        quarter < self.direct_before
    }

    /// Lets go of the quarter hours before one.
    fn keep_from(&mut self, quarter: i64) {
        self.quarters_from = quarter;
        self.direct_before = Kind::ALL
            .into_iter()
            .map(|kind| self.span(kind, quarter))
            .filter(|span| span.start < quarter)
            .map(|span| span.end)
            .max()
            .unwrap_or(quarter);
    }

    /// True if the day or month of a kind that starts with this quarter hour has a row.
    pub(super) fn is_rolled(&self, kind: Kind, start: i64) -> bool {
        self.is_told(kind, start) && start < self.rolled[kind as usize]
    }

    /// True if days and months of a kind were kept at this quarter hour.
    pub(super) fn is_told(&self, kind: Kind, quarter: i64) -> bool {
        matches!(kind, Kind::UtcDay | Kind::UtcMonth) || quarter >= self.zone_from
    }

    /// Adds to the days and months that can no longer be summed from quarter hours.
    pub(super) fn add(
        &self,
        connection: &Connection,
        quarter: i64,
        identity: i64,
        sku: i64,
        sums: &Sums,
    ) -> Result<()> {
        let mut upsert = connection
            .prepare_cached(
                "INSERT INTO usage_span (span, start, identity, sku, requests, errors, input, \
                 output, cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, cost, \
                 unpriced) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (span, start, identity, sku) DO UPDATE SET \
                 requests = requests + excluded.requests, errors = errors + excluded.errors, \
                 input = input + excluded.input, output = output + excluded.output, \
                 cache_read = cache_read + excluded.cache_read, \
                 cache_write_5m = cache_write_5m + excluded.cache_write_5m, \
                 cache_write_1h = cache_write_1h + excluded.cache_write_1h, \
                 cache_write_unknown = cache_write_unknown + excluded.cache_write_unknown, \
                 cost = cost + excluded.cost, unpriced = unpriced + excluded.unpriced",
            )
            .map_err(StoreError::sql("prepare a day"))?;
        for kind in Kind::ALL {
            let span = self.span(kind, quarter);
            if span.start >= self.quarters_from {
                continue;
            }
            upsert
                .execute(params_from_iter(
                    [kind.number(), span.start, identity, sku]
                        .into_iter()
                        .chain(sums.columns()),
                ))
                .map_err(StoreError::sql("store a day"))?;
        }
        Ok(())
    }

    /// Marks the rolled-up days and months of a quarter hour that has changed.
    pub(super) fn mark_stale(&self, connection: &Connection, quarter: i64) -> Result<()> {
        if self.rolled.iter().all(|rolled| quarter >= *rolled) {
            return Ok(());
        }
        for kind in Kind::ALL {
            let start = self.span(kind, quarter).start;
            if start < self.quarters_from || !self.is_rolled(kind, start) {
                continue;
            }
            connection
                .prepare_cached("INSERT OR IGNORE INTO stale_span (span, start) VALUES (?, ?)")
                .and_then(|mut insert| insert.execute([kind.number(), start]))
                .map_err(StoreError::sql("mark a day stale"))?;
        }
        Ok(())
    }

    /// The stale spans of a kind.
    pub(super) fn stale(connection: &Connection, kind: Kind) -> Result<BTreeSet<i64>> {
        connection
            .prepare_cached("SELECT start FROM stale_span WHERE span = ?")
            .and_then(|mut select| {
                select
                    .query_map([kind.number()], |row| row.get(0))?
                    .collect()
            })
            .map_err(StoreError::sql("read stale days"))
    }

    /// One round of upkeep, in its own transaction. Returns true if more is due.
    pub(super) fn round(&mut self, connection: &Connection, now: Timestamp) -> Result<bool> {
        let mut left = SPANS_PER_ROUND;
        // An hour's grace lets the usual stragglers in before a span is summed.
        let over = quarter_of(now.as_millisecond()) - 4;
        for kind in Kind::ALL {
            for start in Self::stale(connection, kind)? {
                if left == 0 {
                    return Ok(true);
                }
                self.roll(connection, kind, start)?;
                left -= 1;
            }
            loop {
                let span = self.span(kind, self.rolled[kind as usize]);
                if span.end > over {
                    break;
                }
                if left == 0 {
                    self.save(connection)?;
                    return Ok(true);
                }
                self.roll(connection, kind, span.start)?;
                self.rolled[kind as usize] = span.end;
                left -= 1;
            }
        }
        self.keep_from(self.quarters_from.max(oldest_kept(&self.zone, now)));
        self.save(connection)?;
        let deleted = connection
            .prepare_cached(
                "DELETE FROM usage_quarter WHERE (quarter, identity, sku) IN (SELECT quarter, \
                 identity, sku FROM usage_quarter WHERE quarter < ? LIMIT ?)",
            )
            .and_then(|mut delete| delete.execute(params![self.quarters_from, ROWS_PER_ROUND]))
            .map_err(StoreError::sql("prune quarter hours"))?;
        let horizon = now
            .to_zoned(TimeZone::UTC)
            .checked_sub(KEEP_SPANS_MONTHS.months())
            .map_or(i64::MIN, |at| quarter_of(at.timestamp().as_millisecond()));
        let expired = connection
            .prepare_cached(
                // All kinds are named so that the key finds the rows: else all are read.
                "DELETE FROM usage_span WHERE (span, start, identity, sku) IN (SELECT span, \
                 start, identity, sku FROM usage_span WHERE span IN (0, 1, 2, 3) AND start < ? \
                 LIMIT ?)",
            )
            .and_then(|mut delete| delete.execute(params![horizon, ROWS_PER_ROUND]))
            .map_err(StoreError::sql("prune days"))?;
        Ok(deleted + expired > 0)
    }

    fn roll(&self, connection: &Connection, kind: Kind, start: i64) -> Result<()> {
        let span = self.span(kind, start);
        let number = kind.number();
        let run = |sql: &str, values: &[i64]| {
            connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute(params_from_iter(values.iter())))
                .map(drop)
                .map_err(StoreError::sql("roll up a day"))
        };
        run(
            "DELETE FROM usage_span WHERE span = ? AND start = ?",
            &[number, start],
        )?;
        run(
            "INSERT INTO usage_span (span, start, identity, sku, requests, errors, input, output, \
             cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, cost, unpriced) \
             SELECT ?1, ?2, identity, sku, sum(requests), sum(errors), sum(input), sum(output), \
             sum(cache_read), sum(cache_write_5m), sum(cache_write_1h), \
             sum(cache_write_unknown), sum(cost), sum(unpriced) FROM usage_quarter \
             WHERE quarter >= ?2 AND quarter < ?3 GROUP BY identity, sku",
            &[number, start, span.end],
        )?;
        run(
            "DELETE FROM stale_span WHERE span = ? AND start = ?",
            &[number, start],
        )
    }

    fn save(&self, connection: &Connection) -> Result<()> {
        let mut save = connection
            .prepare_cached("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)")
            .map_err(StoreError::sql("prepare a setting"))?;
        save.execute(params!["quarters_from", self.quarters_from.to_string()])
            .map_err(StoreError::sql("store a setting"))?;
        for kind in Kind::ALL {
            let value = self.rolled[kind as usize].to_string();
            save.execute(params![self.setting_name(kind), value])
                .map_err(StoreError::sql("store a setting"))?;
        }
        Ok(())
    }

    fn setting_name(&self, kind: Kind) -> String {
        let zone = match kind {
            Kind::UtcDay | Kind::UtcMonth => "UTC",
            Kind::ZoneDay | Kind::ZoneMonth => self.zone.iana_name().unwrap_or("UTC"),
        };
        format!("rolled {kind:?} {zone}")
    }
}

/// The first quarter hour to keep: the beginning of the month, in UTC or the zone whichever is
/// earlier, of the day 100 days ago. Whole months stay, so that each can be summed again.
fn oldest_kept(zone: &TimeZone, now: Timestamp) -> i64 {
    let hundred_days = (KEEP_QUARTERS_DAYS * 24).hours();
    let day = now
        .checked_sub(hundred_days)
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let start = |zone: &TimeZone| {
        day.to_zoned(zone.clone())
            .first_of_month()
            .and_then(|first| first.start_of_day())
            .map_or(0, |first| quarter_of(first.timestamp().as_millisecond()))
    };
    start(zone).min(start(&TimeZone::UTC))
}

fn setting(connection: &Connection, name: &str) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT value FROM setting WHERE name = ?")
        .and_then(|mut select| {
            select
                .query_row([name], |row| row.get::<_, String>(0))
                .optional()
        })
        .map(|value| value.and_then(|value| value.parse().ok()))
        .map_err(StoreError::sql("read a setting"))
}
