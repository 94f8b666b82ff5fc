//! What changes on a day, worked out and not written yet.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};

use super::rows::{METERED_OF_KEY, metered, sum_of};
use super::{Job, Money, Result, Work, quarters};
use crate::store::StoreError;
use crate::store::fact::{Fact, State, Statements};
use crate::store::numbers::{NumberMap, NumberSet};
use crate::store::rollup::Key;
use crate::store::span::{quarter_of, start_of, time_of};

/// What changes on one day.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) facts: Vec<(i64, State)>,
    pub(super) metered: Vec<([i64; 6], Money)>,
    /// By quarter hour, identity and SKU.
    pub(super) deltas: NumberMap<Key, Money>,
    /// What reservations moved to another quarter hour.
    pub(super) shifts: Vec<(Key, i64)>,
    pub(super) changes: Vec<Change>,
    pub(super) left_tokens: u64,
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) identity: i64,
    pub(super) sku: i64,
    pub(super) old: Money,
    pub(super) new: Money,
}

impl Job {
    /// Works out what changes on a day.
    pub(super) fn plan(&self, connection: &Connection, work: &Work) -> Result<Plan> {
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
