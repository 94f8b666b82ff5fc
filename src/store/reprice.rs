//! Pricing anew: usage of past days at the prices that the table has for them now.
//!
//! Where single reports are kept, each is priced by itself, as it was when it was counted. Where
//! only sums are left, a sum is priced if all its kinds have a price, and else it stays as it is.
//! Reports, roll-ups and shifted bookings move together, a UTC day in a transaction, and each sum
//! that changes leaves a row with both figures. What `/metrics` has published does not move.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use rusqlite::{Connection, OptionalExtension as _};

use super::cover::QUARTERS_PER_DAY;
use super::dict::{SKUS_AFTER, sku_of};
use super::rollup::by_kind;
use super::span::{Spans, start_of, time_of};
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::money::PicoUsd;
use crate::model::tokens::Tokens;
use crate::model::usage::Sku;

mod apply;
mod plan;
mod rows;

use plan::Change;
use rows::{METERED_OF_QUARTERS, Metered, metered, surveyed};

type Result<T> = std::result::Result<T, StoreError>;

/// Milliseconds of a UTC day.
const DAY_MS: i64 = 86_400_000;

/// Reports and counters that one run may change: what is noted of them then stays below 100 MB.
const MAX_CHANGES: usize = 4_000_000;

/// Whether a run changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepriceMode {
    /// Only tells what would change.
    DryRun,
    Apply,
}

/// What is to be priced anew.
#[derive(Clone, Debug)]
pub struct RepriceOrder {
    /// UTC days, half-open.
    pub from: Date,
    pub to: Date,
    pub mode: RepriceMode,
    /// Price months anew that were closed, too.
    pub include_closed: bool,
    pub reason: Box<str>,
    pub by: Box<str>,
    pub at: Timestamp,
}

/// What pricing anew came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repriced {
    /// The number of the run; `None` if nothing was changed.
    pub run: Option<i64>,
    pub version: Box<str>,
    pub sha256: Box<str>,
    /// What changed, by day, provider and model.
    pub lines: Vec<RepricedLine>,
    /// Tokens in sums that stay as they are: not all of their kinds have a price.
    pub left_tokens: u64,
    /// Days that were passed over: their month is closed.
    pub closed_days: Vec<Date>,
}

/// The sums of one day and model before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepricedLine {
    pub day: Date,
    pub provider: Box<str>,
    pub model: Box<str>,
    /// Sums by identity and SKU that changed.
    pub sums: u64,
    pub old_cost: PicoUsd,
    pub new_cost: PicoUsd,
    pub old_unpriced: u64,
    pub new_unpriced: u64,
}

/// What a run is made with.
#[derive(Clone)]
struct Job {
    terms: Arc<Terms>,
    spans: Spans,
    skus: Arc<HashMap<i64, Sku>>,
    order: RepriceOrder,
}

/// What may change on one day.
#[derive(Clone, Debug, Default)]
struct Work {
    day: i64,
    facts: Vec<i64>,
    /// Keys of rows of `metered`: session, model, quarter, identity, SKU, source.
    metered: Vec<[i64; 6]>,
    /// Single reports of the day are gone: its sums are priced.
    by_sums: bool,
}

/// Cost in pico-USD and tokens without a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Money {
    cost: i64,
    unpriced: i64,
}

impl Money {
    fn of(cost: Option<i64>, tokens: &Tokens) -> Self {
        match cost {
            Some(cost) => Self { cost, unpriced: 0 },
            None => Self {
                cost: 0,
                unpriced: by_kind(tokens).iter().sum(),
            },
        }
    }

    fn add(&mut self, other: Self) {
        self.cost = self.cost.saturating_add(other.cost);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
    }

    fn less(self, other: Self) -> Self {
        Self {
            cost: self.cost.saturating_sub(other.cost),
            unpriced: self.unpriced.saturating_sub(other.unpriced),
        }
    }
}

impl Ledger {
    /// Prices usage of past days anew. A second run with the same table changes nothing.
    ///
    /// Errors: [`QueryError::TooLarge`] where the days reach back to what is kept by day only, or
    /// too much would change at once.
    pub async fn reprice(&self, order: RepriceOrder) -> std::result::Result<Repriced, QueryError> {
        let (terms, spans) = (self.inner.terms.load_full(), self.inner.spans.clone());
        let retain_raw = self.inner.retain_raw;
        let (job, works, closed_days) = self
            .read(move |reader| {
                let connection = &reader.connection;
                let spans = spans.reload(connection)?;
                refuse_old(&spans, order.from)?;
                let job = Job {
                    skus: Arc::new(skus(connection)?),
                    terms,
                    spans,
                    order,
                };
                let retain = i64::try_from(retain_raw.as_secs()).unwrap_or(i64::MAX / 2);
                let kept = first_whole_day(connection, job.order.at.as_second() - retain)?;
                let closed = closed(connection, &job.order)?;
                let works = job.survey(connection, kept, &closed)?;
                Ok((job, works, closed))
            })
            .await?;
        let mut done = Repriced {
            version: job.terms.prices.version().into(),
            sha256: job.terms.prices.sha256().into(),
            closed_days: closed_days.into_iter().map(date_of).collect(),
            ..Repriced::default()
        };
        for work in works {
            let (job, day) = (job.clone(), work.day);
            let run = done.run;
            let skus = Arc::clone(&job.skus);
            let plan = match job.order.mode {
                RepriceMode::DryRun => {
                    let planned = self.read(move |reader| Ok(job.plan(&reader.connection, &work)?));
                    planned.await?
                }
                RepriceMode::Apply => {
                    let applied = self.change(move |transaction| {
                        let plan = job.plan(transaction, &work)?;
                        let run = job.apply(transaction, &work, &plan, run)?;
                        Ok((plan, run))
                    });
                    let (plan, run) = applied.await?;
                    done.run = run;
                    plan
                }
            };
            done.left_tokens = done.left_tokens.saturating_add(plan.left_tokens);
            done.lines.extend(lines(day, &plan.changes, &skus));
        }
        Ok(done)
    }
}

impl Job {
    /// Finds what may change, by day. Days in `closed` are passed over.
    fn survey(
        &self,
        connection: &Connection,
        kept: i64,
        closed: &[i64],
    ) -> std::result::Result<Vec<Work>, QueryError> {
        let days = day_number(self.order.from)..day_number(self.order.to);
        let mut works: BTreeMap<i64, Work> = BTreeMap::new();
        let mut found = 0_usize;
        let mut note = |day: i64, add: &mut dyn FnMut(&mut Work)| {
            if closed.contains(&day) {
                return Ok(());
            }
            found += 1;
            if found > MAX_CHANGES {
                let message = format!("more than {MAX_CHANGES} reports change: choose fewer days");
                return Err(QueryError::TooLarge(message));
            }
            add(works.entry(day).or_default());
            Ok(())
        };
        let doing = "survey what is to be priced";
        let mut select = connection
            .prepare(
                "SELECT id, at, sku, cost, input, output, cache_read, cache_write_5m, \
                 cache_write_1h, cache_write_unknown FROM fact \
                 WHERE counted_as IS NOT NULL AND at >= ? AND at < ?",
            )
            .map_err(StoreError::sql(doing))?;
        let mut rows = select
            .query([days.start * DAY_MS, days.end * DAY_MS])
            .map_err(StoreError::sql(doing))?;
        while let Some(row) = rows.next().map_err(StoreError::sql(doing))? {
            let (id, at_ms, sku, cost, tokens) = surveyed(row).map_err(StoreError::sql(doing))?;
            if self.cost(sku, &tokens, time_of(at_ms)) != cost {
                let day = at_ms.div_euclid(DAY_MS);
                note(day, &mut |work| work.facts.push(id))?;
            }
        }
        let mut select = connection
            .prepare(METERED_OF_QUARTERS)
            .map_err(StoreError::sql(doing))?;
        let quarters = quarters(&days);
        let mut rows = select
            .query([quarters.start, quarters.end])
            .map_err(StoreError::sql(doing))?;
        while let Some(row) = rows.next().map_err(StoreError::sql(doing))? {
            let metered = metered(row).map_err(StoreError::sql(doing))?;
            if self.money_of(&metered) != metered.money {
                let day = metered.key[2].div_euclid(QUARTERS_PER_DAY);
                note(day, &mut |work| work.metered.push(metered.key))?;
            }
        }
        for day in days.start..days.end.min(kept) {
            note(day, &mut |work| work.by_sums = true)?;
        }
        Ok(works
            .into_iter()
            .map(|(day, work)| Work { day, ..work })
            .collect())
    }

    fn cost(&self, sku: i64, tokens: &Tokens, at: Timestamp) -> Option<i64> {
        self.terms.cost(tokens, self.skus.get(&sku)?, at)
    }

    fn money_of(&self, metered: &Metered) -> Money {
        let [_, _, quarter, _, sku, _] = metered.key;
        let cost = self.cost(sku, &metered.tokens, start_of(quarter));
        Money::of(cost, &metered.tokens)
    }
}

/// Sums changes by provider and model.
fn lines(day: i64, changes: &[Change], skus: &HashMap<i64, Sku>) -> Vec<RepricedLine> {
    let mut lines: BTreeMap<(Box<str>, Box<str>), RepricedLine> = BTreeMap::new();
    for change in changes {
        let sku = skus.get(&change.sku);
        let name = |name: fn(&Sku) -> &Box<str>| sku.map(name).cloned().unwrap_or_default();
        let (provider, model) = (name(|sku| &sku.provider), name(|sku| &sku.model));
        let key = (provider.clone(), model.clone());
        let line = lines.entry(key).or_insert_with(|| RepricedLine {
            day: date_of(day),
            provider,
            model,
            sums: 0,
            old_cost: PicoUsd::ZERO,
            new_cost: PicoUsd::ZERO,
            old_unpriced: 0,
            new_unpriced: 0,
        });
        line.sums += 1;
        line.old_cost.0 += i128::from(change.old.cost);
        line.new_cost.0 += i128::from(change.new.cost);
        line.old_unpriced += change.old.unpriced.max(0).unsigned_abs();
        line.new_unpriced += change.new.unpriced.max(0).unsigned_abs();
    }
    lines.into_values().collect()
}

fn skus(connection: &Connection) -> Result<HashMap<i64, Sku>> {
    connection
        .prepare_cached(SKUS_AFTER)
        .and_then(|mut select| {
            let rows = select.query_map([0], |row| Ok((row.get(0)?, sku_of(row)?)))?;
            rows.collect()
        })
        .map_err(StoreError::sql("read the models"))
}

/// Days before this one may lack reports, which were let go.
fn first_whole_day(connection: &Connection, kept_since: i64) -> Result<i64> {
    let first: Option<(i64, i64)> = connection
        .query_row(
            "SELECT id, received FROM fact ORDER BY id LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(StoreError::sql("find the first report"))?;
    let by_time = kept_since.div_euclid(86_400) + 1;
    Ok(match first {
        Some((id, received)) if id > 1 => by_time.max(received + 1),
        _ => by_time,
    })
}

/// The UTC days of an order that lie in closed months, unless those are asked for.
fn closed(connection: &Connection, order: &RepriceOrder) -> Result<Vec<i64>> {
    if order.include_closed {
        return Ok(Vec::new());
    }
    let months: Vec<(String, String)> = connection
        .prepare_cached("SELECT month, zone FROM closed_month")
        .and_then(|mut select| {
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .map_err(StoreError::sql("read closed months"))?;
    let ranges: Vec<Range<Timestamp>> = months
        .iter()
        .filter_map(|(month, zone)| month_range(month, zone))
        .collect();
    let days = day_number(order.from)..day_number(order.to);
    Ok(days
        .filter(|day| {
            let (start, end) = (time_of(day * DAY_MS), time_of((day + 1) * DAY_MS));
            ranges
                .iter()
                .any(|range| range.start < end && start < range.end)
        })
        .collect())
}

/// A month such as `2026-10` in a zone.
fn month_range(month: &str, zone: &str) -> Option<Range<Timestamp>> {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let first: Date = format!("{month}-01").parse().ok()?;
    let start = |date: Date| Some(date.to_zoned(zone.clone()).ok()?.timestamp());
    Some(start(first)?..start(first.checked_add(1.month()).ok()?)?)
}

fn refuse_old(spans: &Spans, from: Date) -> std::result::Result<(), QueryError> {
    let quarter = day_number(from) * QUARTERS_PER_DAY;
    if !spans.quarters_are_gone(quarter) {
        return Ok(());
    }
    Err(QueryError::TooLarge(format!(
        "from: usage before {} is kept by day and month only and cannot be priced anew",
        spans.first_kept().to_zoned(TimeZone::UTC).date()
    )))
}

fn quarters(days: &Range<i64>) -> Range<i64> {
    days.start * QUARTERS_PER_DAY..days.end * QUARTERS_PER_DAY
}

/// Days since 1970.
pub(super) fn day_number(date: Date) -> i64 {
    let midnight = date.to_zoned(TimeZone::UTC);
    midnight.map_or(0, |at| at.timestamp().as_second().div_euclid(86_400))
}

pub(super) fn date_of(day: i64) -> Date {
    time_of(day * DAY_MS).to_zoned(TimeZone::UTC).date()
}
