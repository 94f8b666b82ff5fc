//! Counters held against requests, per scope: a session and model, a device, day and model, or
//! everyone's day and model.
//!
//! Everyone's day is the scope of counters that name neither session nor device, as gateways
//! send them: they count where they exceed all else that counted on that day for the model.

use rusqlite::{Connection, params};

use super::StoreError;
use super::fact::Hash;
use super::numbers::{NumberMap, NumberSet};
use super::published::{CLIENT_COST, COST, Difference, UNPRICED, UsageLabels, requests_of};
use super::rollup::{Key, Sums, by_kind};
use super::span::start_of;
use super::terms::Terms;
use super::write::Memory;
use crate::model::excess::{self, Amounts, Cover, Metered, excess};
use crate::model::tokens::Tokens;
use crate::model::usage::{Outcome, source};

type Result<T> = std::result::Result<T, StoreError>;

/// Quarter hours in a day.
pub(super) const QUARTERS_PER_DAY: i64 = 96;

/// Session number and model number.
type Scope = (i64, i64);

/// What a commit adds to the scopes.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    /// By scope and quarter hour: the client's events, and counted requests.
    covers: NumberMap<Scope, NumberMap<i64, [Amounts; 2]>>,
    /// By scope, then quarter hour, identity, SKU and source.
    metered: NumberMap<Scope, NumberMap<[i64; 4], Amounts>>,
    /// By day and model, then quarter hour.
    days: NumberMap<(i64, i64), NumberMap<i64, Amounts>>,
    /// Session numbers that stand for everyone's day.
    everyone: NumberSet<i64>,
    /// False while no counter ever spoke: then there is nothing to hold against requests.
    reads_counters: bool,
}

/// What holding counters against requests came to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// With the number of the source that reported them.
    pub(super) sums: Vec<(Key, i64, Sums)>,
    pub(super) published: Vec<(i64, Difference)>,
    /// Amounts that counters no longer count, by scope, with the series they were published in.
    pub(super) released: NumberMap<Scope, Vec<(i64, Amounts)>>,
}

/// A row of `metered`.
#[derive(Clone, Copy, Debug)]
struct Row {
    quarter: i64,
    identity: i64,
    sku: i64,
    source: i64,
    /// What became of its requests: the source tells.
    outcome: Outcome,
    metered: Amounts,
    counted: Amounts,
    cost: i64,
    unpriced: i64,
    pin: Option<i64>,
}

impl Row {
    fn sums(&self) -> Sums {
        Sums {
            requests: self.counted[excess::REQUESTS],
            errors: match self.outcome {
                Outcome::Error => self.counted[excess::REQUESTS],
                _ => 0,
            },
            tokens: by_kind(&tokens_of(&self.counted)),
            cost: self.cost,
            unpriced: self.unpriced,
        }
    }

    fn difference(&self) -> Difference {
        let mut difference = Difference::default();
        difference[..4].copy_from_slice(&self.counted[..4]);
        difference[COST] = self.cost;
        difference[CLIENT_COST] = self.counted[excess::CLIENT_COST];
        difference[UNPRICED] = self.unpriced;
        difference[requests_of(self.outcome)] = self.counted[excess::REQUESTS];
        difference
    }
}

impl Scopes {
    /// A client's event, counted or not.
    pub(super) fn event(&mut self, session: i64, model: i64, quarter: i64, amounts: &Amounts) {
        let cover = self.covers.entry((session, model)).or_default();
        sum(&mut cover.entry(quarter).or_default()[0], amounts, 1);
    }

    /// A counted request, or one that no longer counts.
    pub(super) fn request(
        &mut self,
        session: i64,
        model: i64,
        quarter: i64,
        amounts: &Amounts,
        sign: i64,
    ) {
        let cover = self.covers.entry((session, model)).or_default();
        sum(&mut cover.entry(quarter).or_default()[1], amounts, sign);
    }

    /// The same for everyone's day.
    pub(super) fn request_of_day(
        &mut self,
        day: i64,
        model: i64,
        quarter: i64,
        amounts: &Amounts,
        sign: i64,
    ) {
        let cover = self.days.entry((day, model)).or_default();
        sum(cover.entry(quarter).or_default(), amounts, sign);
    }

    /// What a counter counted.
    pub(super) fn meter(&mut self, (session, model): Scope, row: [i64; 4], amounts: &Amounts) {
        let rows = self.metered.entry((session, model)).or_default();
        sum(rows.entry(row).or_default(), amounts, 1);
    }

    /// Says that a session number stands for everyone's day.
    pub(super) fn is_everyone(&mut self, session: i64) {
        self.everyone.insert(session);
    }

    /// Writes the scopes and tells how what counts has changed.
    pub(super) fn settle(
        &mut self,
        connection: &Connection,
        memory: &mut Memory,
        terms: &Terms,
    ) -> Result<Settled> {
        let mut settled = Settled::default();
        self.reads_counters = !self.metered.is_empty() || has_counters(connection)?;
        let everyone = std::mem::take(&mut self.everyone);
        let mut scopes: Vec<Scope> = self.covers.keys().copied().collect();
        scopes.extend(self.metered.keys());
        scopes.sort_unstable();
        scopes.dedup();
        for scope in scopes {
            if !everyone.contains(&scope.0) {
                self.settle_scope(connection, memory, terms, scope, &mut settled)?;
            }
        }
        let mut last: Vec<Scope> = Vec::new();
        for ((day, model), quarters) in std::mem::take(&mut self.days) {
            let session = memory
                .dictionaries
                .session(connection, &format!("m:{day}"))?;
            let cover = self.covers.entry((session, model)).or_default();
            for (quarter, amounts) in quarters {
                sum(&mut cover.entry(quarter).or_default()[1], &amounts, 1);
            }
            last.push((session, model));
        }
        let metered = self.metered.keys().filter(|(s, _)| everyone.contains(s));
        last.extend(metered);
        last.sort_unstable();
        last.dedup();
        for scope in last {
            self.settle_scope(connection, memory, terms, scope, &mut settled)?;
        }
        Ok(settled)
    }

    fn settle_scope(
        &mut self,
        connection: &Connection,
        memory: &mut Memory,
        terms: &Terms,
        scope: Scope,
        settled: &mut Settled,
    ) -> Result<()> {
        let covers = self.covers.remove(&scope).unwrap_or_default();
        write_covers(connection, scope, &covers)?;
        if !self.reads_counters {
            return Ok(());
        }
        let mut rows = read_rows(connection, scope)?;
        for ([quarter, identity, sku, source], added) in
            self.metered.remove(&scope).unwrap_or_default()
        {
            let place = |row: &&mut Row| {
                [row.quarter, row.identity, row.sku, row.source] == [quarter, identity, sku, source]
            };
            match rows.iter_mut().find(place) {
                Some(row) => sum(&mut row.metered, &added, 1),
                None => rows.push(Row {
                    quarter,
                    identity,
                    sku,
                    source,
                    outcome: Outcome::Ok,
                    metered: added,
                    counted: Amounts::default(),
                    cost: 0,
                    unpriced: 0,
                    pin: None,
                }),
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        if let Some(errors) = memory.dictionaries.known_source(source::GENAI_ERRORS) {
            for row in rows.iter_mut().filter(|row| row.source == errors) {
                row.outcome = Outcome::Error;
            }
        }
        let metered = rows
            .iter()
            .map(|row| {
                Ok(Metered {
                    quarter: row.quarter,
                    order: order_of(memory, row)?,
                    amounts: row.metered,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let parts = excess(&read_covers(connection, scope)?, &metered);
        for (row, counted) in rows.iter_mut().zip(parts) {
            self.settle_row(connection, memory, terms, scope, row, counted, settled)?;
        }
        write_rows(connection, scope, &rows)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one commit, passed through by the only caller"
    )]
    fn settle_row(
        &mut self,
        connection: &Connection,
        memory: &mut Memory,
        terms: &Terms,
        scope: Scope,
        row: &mut Row,
        counted: Amounts,
        settled: &mut Settled,
    ) -> Result<()> {
        if row.counted == counted {
            return Ok(());
        }
        let before = *row;
        let sku = memory.dictionaries.skus.get(row.sku)?.clone();
        let tokens = tokens_of(&counted);
        let cost = terms.cost(&tokens, &sku, start_of(row.quarter));
        row.counted = counted;
        row.cost = cost.unwrap_or(0);
        row.unpriced = match cost {
            Some(_) => 0,
            None => by_kind(&tokens).iter().sum(),
        };
        let mut sums = row.sums();
        sums.add(&before.sums(), -1);
        settled
            .sums
            .push(((row.quarter, row.identity, row.sku), row.source, sums));
        let mut change = counted;
        sum(&mut change, &before.counted, -1);
        self.request_of_day(
            row.quarter.div_euclid(QUARTERS_PER_DAY),
            scope.1,
            row.quarter,
            &change,
            1,
        );
        let pin = if let Some(pin) = row.pin {
            pin
        } else {
            let at_ms = start_of(row.quarter).as_millisecond();
            let identity = memory.dictionaries.identities.get(row.identity)?;
            let (user, team) = terms.shown(identity, at_ms);
            let labels = UsageLabels {
                user,
                team,
                provider: sku.provider.to_string(),
                model: sku.model.to_string(),
            };
            memory.published.usage_series(connection, labels)?
        };
        row.pin = Some(pin);
        let mut difference = row.difference();
        for (now, then) in difference.iter_mut().zip(before.difference()) {
            *now -= then;
        }
        settled.published.push((pin, difference));
        let released = change.map(|change| (-change).max(0));
        if released != Amounts::default() {
            settled
                .released
                .entry(scope)
                .or_default()
                .push((pin, released));
        }
        Ok(())
    }
}

fn sum(sum: &mut Amounts, part: &Amounts, sign: i64) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += sign * part;
    }
}

/// Counters never tell how long a cache write lives.
fn tokens_of(amounts: &Amounts) -> Tokens {
    let count = |place: usize| amounts[place].max(0).unsigned_abs();
    Tokens {
        input: count(0),
        output: count(1),
        cache_read: count(2),
        cache_write_unknown: count(3),
        ..Tokens::default()
    }
}

/// Orders rows by what they say, not by numbers that depend on arrival.
fn order_of(memory: &Memory, row: &Row) -> Result<u64> {
    let identity = memory.dictionaries.identities.get(row.identity)?;
    let sku = memory.dictionaries.skus.get(row.sku)?;
    let mut hash = Hash::new("metered");
    hash.text(&format!("{identity:?} {sku:?}"));
    if row.outcome != Outcome::Ok {
        hash.text(row.outcome.name());
    }
    Ok(hash.short().cast_unsigned())
}

fn write_covers(
    connection: &Connection,
    (session, model): Scope,
    covers: &NumberMap<i64, [Amounts; 2]>,
) -> Result<()> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO cover (session, model, quarter, e0, e1, e2, e3, e4, e5, \
             r0, r1, r2, r3, r4, r5) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (session, model, quarter) DO UPDATE SET \
             e0 = e0 + excluded.e0, e1 = e1 + excluded.e1, e2 = e2 + excluded.e2, \
             e3 = e3 + excluded.e3, e4 = e4 + excluded.e4, e5 = e5 + excluded.e5, \
             r0 = r0 + excluded.r0, r1 = r1 + excluded.r1, r2 = r2 + excluded.r2, \
             r3 = r3 + excluded.r3, r4 = r4 + excluded.r4, r5 = r5 + excluded.r5",
        )
        .map_err(StoreError::sql("prepare a scope"))?;
    for (quarter, [e, r]) in covers {
        upsert
            .execute(params![
                session, model, quarter, e[0], e[1], e[2], e[3], e[4], e[5], r[0], r[1], r[2],
                r[3], r[4], r[5]
            ])
            .map_err(StoreError::sql("store a scope"))?;
    }
    Ok(())
}

fn has_counters(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM metered)")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .map_err(StoreError::sql("look for counters"))
}

fn read_covers(connection: &Connection, (session, model): Scope) -> Result<Vec<Cover>> {
    connection
        .prepare_cached(
            "SELECT quarter, e0, e1, e2, e3, e4, e5, r0, r1, r2, r3, r4, r5 FROM cover \
             WHERE session = ? AND model = ?",
        )
        .and_then(|mut select| {
            select
                .query_map([session, model], |row| {
                    Ok(Cover {
                        quarter: row.get(0)?,
                        events: amounts_at(row, 1)?,
                        requests: amounts_at(row, 7)?,
                    })
                })?
                .collect()
        })
        .map_err(StoreError::sql("read a scope"))
}

fn read_rows(connection: &Connection, (session, model): Scope) -> Result<Vec<Row>> {
    connection
        .prepare_cached(
            "SELECT quarter, identity, sku, m0, m1, m2, m3, m4, m5, x0, x1, x2, x3, x4, x5, \
             cost, unpriced, pin, source FROM metered WHERE session = ? AND model = ?",
        )
        .and_then(|mut select| {
            select
                .query_map([session, model], |row| {
                    Ok(Row {
                        quarter: row.get(0)?,
                        identity: row.get(1)?,
                        sku: row.get(2)?,
                        metered: amounts_at(row, 3)?,
                        counted: amounts_at(row, 9)?,
                        cost: row.get(15)?,
                        unpriced: row.get(16)?,
                        pin: row.get(17)?,
                        source: row.get(18)?,
                        outcome: Outcome::Ok,
                    })
                })?
                .collect()
        })
        .map_err(StoreError::sql("read counters"))
}

fn write_rows(connection: &Connection, (session, model): Scope, rows: &[Row]) -> Result<()> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT OR REPLACE INTO metered (session, model, quarter, identity, sku, \
             m0, m1, m2, m3, m4, m5, x0, x1, x2, x3, x4, x5, cost, unpriced, pin, source) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .map_err(StoreError::sql("prepare counters"))?;
    for row in rows {
        let (m, x) = (&row.metered, &row.counted);
        upsert
            .execute(params![
                session,
                model,
                row.quarter,
                row.identity,
                row.sku,
                m[0],
                m[1],
                m[2],
                m[3],
                m[4],
                m[5],
                x[0],
                x[1],
                x[2],
                x[3],
                x[4],
                x[5],
                row.cost,
                row.unpriced,
                row.pin,
                row.source
            ])
            .map_err(StoreError::sql("store counters"))?;
    }
    Ok(())
}

fn amounts_at(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Amounts> {
    let mut amounts = Amounts::default();
    for (place, amount) in amounts.iter_mut().enumerate() {
        *amount = row.get(first + place)?;
    }
    Ok(amounts)
}
