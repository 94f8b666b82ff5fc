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
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::cover::QUARTERS_PER_DAY;
use super::dict::{SKUS_AFTER, sku_of};
use super::fact::{Fact, State, Statements};
use super::numbers::{NumberMap, NumberSet};
use super::rollup::{self, Differences, Key, Sums, by_kind};
use super::span::{Spans, quarter_of, start_of, time_of};
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::money::PicoUsd;
use crate::model::tokens::Tokens;
use crate::model::usage::Sku;

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

/// What changes on one day.
#[derive(Debug, Default)]
struct Plan {
    facts: Vec<(i64, State)>,
    metered: Vec<([i64; 6], Money)>,
    /// By quarter hour, identity and SKU.
    deltas: NumberMap<Key, Money>,
    /// What reservations moved to another quarter hour.
    shifts: Vec<(Key, i64)>,
    changes: Vec<Change>,
    left_tokens: u64,
}

/// Cost in pico-USD and tokens without a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Money {
    cost: i64,
    unpriced: i64,
}

#[derive(Debug)]
struct Change {
    identity: i64,
    sku: i64,
    old: Money,
    new: Money,
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

    /// Works out what changes on a day.
    fn plan(&self, connection: &Connection, work: &Work) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut whole = NumberSet::default();
        if work.by_sums {
            self.plan_sums(connection, work.day, &mut plan, &mut whole)?;
        }
        let moves = |key: &Key| !work.by_sums || whole.contains(key);
        self.plan_facts(connection, work, &moves, &mut plan)?;
        self.plan_metered(connection, work, &moves, &mut plan)?;
        plan.changes = changes(connection, work.day, &plan.deltas)?;
        Ok(plan)
    }

    /// Prices the sums of a day as they are.
    fn plan_sums(
        &self,
        connection: &Connection,
        day: i64,
        plan: &mut Plan,
        whole: &mut NumberSet<Key>,
    ) -> Result<()> {
        let doing = "read the sums of a day";
        let quarters = quarters(&(day..day + 1));
        let mut select = connection
            .prepare_cached(
                "SELECT quarter, identity, sku, cost, unpriced, input, output, cache_read, \
                 cache_write_5m, cache_write_1h, cache_write_unknown FROM usage_quarter \
                 WHERE quarter >= ? AND quarter < ?",
            )
            .map_err(StoreError::sql(doing))?;
        let mut rows = select
            .query([quarters.start, quarters.end])
            .map_err(StoreError::sql(doing))?;
        while let Some(row) = rows.next().map_err(StoreError::sql(doing))? {
            let (key, old, tokens) = sum_of(row).map_err(StoreError::sql(doing))?;
            let (quarter, _, sku) = key;
            let Some(cost) = self.cost(sku, &tokens, start_of(quarter)) else {
                plan.left_tokens = plan.left_tokens.saturating_add(tokens.total());
                continue;
            };
            whole.insert(key);
            let new = Money { cost, unpriced: 0 };
            if new != old {
                plan.deltas.insert(key, new.less(old));
            }
        }
        Ok(())
    }

    fn plan_facts(
        &self,
        connection: &Connection,
        work: &Work,
        moves: &dyn Fn(&Key) -> bool,
        plan: &mut Plan,
    ) -> Result<()> {
        let mut statements = Statements::prepare(connection)?;
        for id in &work.facts {
            // Since the survey it may have gone, or count no more.
            let Some(fact) = statements.select(*id)? else {
                continue;
            };
            let Some(identity) = fact.state.counted_as else {
                continue;
            };
            let cost = self.cost(fact.sku, &fact.tokens, time_of(fact.at_ms));
            let key = (quarter_of(fact.at_ms), identity, fact.sku);
            if cost == fact.state.cost || !moves(&key) {
                continue;
            }
            let old = Money::of(fact.state.cost, &fact.tokens);
            let delta = Money::of(cost, &fact.tokens).less(old);
            if !work.by_sums {
                plan.deltas.entry(key).or_default().add(delta);
            }
            let booked = quarter_of(booked_ms(connection, &fact)?);
            if booked != key.0 {
                plan.shifts.push((key, -delta.cost));
                plan.shifts.push(((booked, key.1, key.2), delta.cost));
            }
            plan.facts.push((*id, State { cost, ..fact.state }));
        }
        Ok(())
    }

    fn plan_metered(
        &self,
        connection: &Connection,
        work: &Work,
        moves: &dyn Fn(&Key) -> bool,
        plan: &mut Plan,
    ) -> Result<()> {
        let mut select = connection
            .prepare_cached(METERED_OF_KEY)
            .map_err(StoreError::sql("read counters"))?;
        for key in &work.metered {
            let row = select
                .query_row(*key, metered)
                .optional()
                .map_err(StoreError::sql("read counters"))?;
            let Some(row) = row else { continue };
            let [_, _, quarter, identity, sku, _] = row.key;
            let (new, sum) = (self.money_of(&row), (quarter, identity, sku));
            if new == row.money || !moves(&sum) {
                continue;
            }
            if !work.by_sums {
                plan.deltas.entry(sum).or_default().add(new.less(row.money));
            }
            plan.metered.push((row.key, new));
        }
        Ok(())
    }

    /// Writes what changes. Returns the number of the run, once it has one.
    fn apply(
        &self,
        connection: &Connection,
        work: &Work,
        plan: &Plan,
        run: Option<i64>,
    ) -> Result<Option<i64>> {
        let mut statements = Statements::prepare(connection)?;
        for (id, state) in &plan.facts {
            statements.update(*id, state)?;
        }
        let execute = |sql: &str, values: &[i64]| {
            connection
                .prepare_cached(sql)
                .and_then(|mut update| update.execute(rusqlite::params_from_iter(values)))
                .map(drop)
                .map_err(StoreError::sql("price anew"))
        };
        for ([session, model, quarter, identity, sku, source], money) in &plan.metered {
            execute(
                "UPDATE metered SET cost = ?, unpriced = ? WHERE session = ? AND model = ? \
                 AND quarter = ? AND identity = ? AND sku = ? AND source = ?",
                &[
                    money.cost,
                    money.unpriced,
                    *session,
                    *model,
                    *quarter,
                    *identity,
                    *sku,
                    *source,
                ],
            )?;
        }
        for ((quarter, identity, sku), cost) in &plan.shifts {
            execute(
                "UPDATE booking_shift SET cost = cost + ? \
                 WHERE quarter = ? AND identity = ? AND sku = ?",
                &[*cost, *quarter, *identity, *sku],
            )?;
        }
        let mut differences = Differences::default();
        for (key, money) in &plan.deltas {
            let sums = Sums {
                cost: money.cost,
                unpriced: money.unpriced,
                ..Sums::default()
            };
            differences.insert(*key, sums);
        }
        rollup::apply(connection, &self.spans.reload(connection)?, differences)?;
        if plan.changes.is_empty() {
            return Ok(run);
        }
        let run = match run {
            Some(run) => run,
            None => self.begin(connection)?,
        };
        Self::note(connection, work.day, run, &plan.changes)?;
        Ok(Some(run))
    }

    fn begin(&self, connection: &Connection) -> Result<i64> {
        let (order, prices) = (&self.order, &self.terms.prices);
        connection
            .prepare_cached(
                "INSERT INTO reprice_run (at, first_day, end_day, version, sha256, reason, \
                 created_by) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| {
                insert.insert(params![
                    order.at.as_millisecond(),
                    day_number(order.from),
                    day_number(order.to),
                    prices.version(),
                    prices.sha256(),
                    &*order.reason,
                    &*order.by,
                ])
            })
            .map_err(StoreError::sql("begin a run of prices"))
    }

    fn note(connection: &Connection, day: i64, run: i64, changes: &[Change]) -> Result<()> {
        let old_version: Option<String> = connection
            .prepare_cached(
                "SELECT version FROM (SELECT at, version FROM reprice_run \
                 WHERE id < ?1 AND first_day <= ?2 AND end_day > ?2 UNION ALL \
                 SELECT at, version FROM price_table_use WHERE at < ?3) ORDER BY at DESC LIMIT 1",
            )
            .and_then(|mut select| {
                let end = (day + 1) * DAY_MS;
                select
                    .query_row([run, day, end], |row| row.get(0))
                    .optional()
            })
            .map_err(StoreError::sql("find the prices of a day"))?;
        let old_version = old_version.unwrap_or_default();
        let mut insert = connection
            .prepare_cached(
                "INSERT INTO price_adjustment (day, run, identity, sku, old_cost, new_cost, \
                 old_unpriced, new_unpriced, old_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .map_err(StoreError::sql("prepare an adjustment"))?;
        for change in changes {
            insert
                .execute(params![
                    day,
                    run,
                    change.identity,
                    change.sku,
                    change.old.cost,
                    change.new.cost,
                    change.old.unpriced,
                    change.new.unpriced,
                    old_version,
                ])
                .map_err(StoreError::sql("note an adjustment"))?;
        }
        Ok(())
    }
}

/// A row of `metered`, as far as its price needs it.
#[derive(Debug)]
struct Metered {
    key: [i64; 6],
    tokens: Tokens,
    money: Money,
}

const METERED_OF_QUARTERS: &str = "SELECT session, model, quarter, identity, sku, source, x0, x1, \
    x2, x3, cost, unpriced FROM metered WHERE quarter >= ? AND quarter < ?";

const METERED_OF_KEY: &str = "SELECT session, model, quarter, identity, sku, source, x0, x1, x2, \
    x3, cost, unpriced FROM metered WHERE session = ? AND model = ? AND quarter = ? \
    AND identity = ? AND sku = ? AND source = ?";

fn metered(row: &Row<'_>) -> rusqlite::Result<Metered> {
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
type Surveyed = (i64, i64, i64, Option<i64>, Tokens);

fn surveyed(row: &Row<'_>) -> rusqlite::Result<Surveyed> {
    let tokens = tokens_from(row, 4)?;
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, tokens))
}

fn sum_of(row: &Row<'_>) -> rusqlite::Result<(Key, Money, Tokens)> {
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

/// When a request was booked: the time of the first of its reports that tells one, best first.
fn booked_ms(connection: &Connection, fact: &Fact) -> Result<i64> {
    let Some(group) = fact.state.group.filter(|_| fact.booked_ms.is_none()) else {
        return Ok(fact.booked_ms.unwrap_or(fact.at_ms));
    };
    let booked: Option<i64> = connection
        .prepare_cached(
            "SELECT booked_at FROM fact WHERE grp = ? AND booked_at IS NOT NULL \
             ORDER BY flags & 1, rank, at, key LIMIT 1",
        )
        .and_then(|mut select| select.query_row([group], |row| row.get(0)).optional())
        .map_err(StoreError::sql("find a reservation's time"))?;
    Ok(booked.unwrap_or(fact.at_ms))
}

/// The sums of a day, identity and SKU before and after.
fn changes(
    connection: &Connection,
    day: i64,
    deltas: &NumberMap<Key, Money>,
) -> Result<Vec<Change>> {
    let mut by_sku: BTreeMap<(i64, i64), Money> = BTreeMap::new();
    for ((_, identity, sku), delta) in deltas {
        by_sku.entry((*identity, *sku)).or_default().add(*delta);
    }
    by_sku.retain(|_, delta| *delta != Money::default());
    if by_sku.is_empty() {
        return Ok(Vec::new());
    }
    let quarters = quarters(&(day..day + 1));
    let doing = "sum a day";
    let mut select = connection
        .prepare_cached(
            "SELECT identity, sku, sum(cost), sum(unpriced) FROM usage_quarter \
             WHERE quarter >= ? AND quarter < ? GROUP BY identity, sku",
        )
        .map_err(StoreError::sql(doing))?;
    let mut rows = select
        .query([quarters.start, quarters.end])
        .map_err(StoreError::sql(doing))?;
    let mut changes = Vec::with_capacity(by_sku.len());
    while let Some(row) = rows.next().map_err(StoreError::sql(doing))? {
        let (identity, sku, old) = (|| {
            let money = Money {
                cost: row.get(2)?,
                unpriced: row.get(3)?,
            };
            Ok((row.get(0)?, row.get(1)?, money))
        })()
        .map_err(StoreError::sql(doing))?;
        if let Some(delta) = by_sku.get(&(identity, sku)) {
            let mut new = old;
            new.add(*delta);
            changes.push(Change {
                identity,
                sku,
                old,
                new,
            });
        }
    }
    Ok(changes)
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
