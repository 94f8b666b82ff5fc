//! The estimate of cost for reports: by whatever it is told apart, and by kind of token.
//!
//! Roll-ups hold one sum of money for all kinds of a row. The price table splits it; where the
//! table has changed since, the stored sum is split in proportion, so that totals stay those of
//! the ledger to the pico-dollar.

mod day;
mod groups;
mod split;
mod step;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::query::Reader;
use super::span::Spans;
use super::sums::each_sum;
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::bill::PricedKind;
use crate::model::cost::{By, CostDay, CostGroups, CostLines, CostQuery, MAX_GROUPS, Room};
use crate::model::query::{Dimension, UsageQuery};
use crate::model::window;
use day::Day;
use groups::{Keys, sorted};
use split::Prices;
use step::Step;

/// Kinds of tokens that have prices of their own.
const KINDS: usize = PricedKind::ALL.len();

impl Ledger {
    /// The estimate of what was used in a range, by `query.by` and by kind. Whatever it is told
    /// apart by, the totals are the same.
    ///
    /// Errors: more than [`MAX_GROUPS`] groups.
    pub async fn cost_lines(&self, query: CostQuery) -> Result<CostLines, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| {
            let (terms, spans) = (inner.terms.load(), &inner.spans);
            reader.at_once(|reader| reader.cost_lines(&query, &terms, spans))
        })
        .await
    }

    /// Visits the same, a step of time after the other, with the groups so far and the lines of the
    /// step, which are in no order. A group may have lines in several steps. Returns what the
    /// visits made.
    ///
    /// Errors: more than [`MAX_GROUPS`] groups.
    pub async fn cost_steps<S: Send + 'static>(
        &self,
        query: CostQuery,
        room: Room,
        state: S,
        visit: impl FnMut(&mut S, &CostLines) + Send + 'static,
    ) -> Result<S, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| {
            let on = (&**inner.terms.load(), &inner.spans);
            reader.at_once(|reader| reader.cost_steps(&query, on, room, state, visit))
        })
        .await
    }

    /// Visits the estimate of each UTC day in `[from, to)`, in order, told apart by `by`, which
    /// has no time in it, with the groups so far: they keep their numbers from day to day, but are
    /// in no order. Returns what the visits made.
    ///
    /// Errors: more than [`MAX_GROUPS`] groups.
    pub async fn cost_days<S: Send + 'static>(
        &self,
        (from, to): (Date, Date),
        by: Vec<By>,
        state: S,
        visit: impl FnMut(&mut S, &CostDay, &CostGroups) + Send + 'static,
    ) -> Result<S, QueryError> {
        let inner = self.inner.clone();
        let start = |day| window::day_start(day, &TimeZone::UTC);
        let query = CostQuery {
            from: start(from),
            to: start(to),
            zone: TimeZone::UTC,
            by,
        };
        self.read(move |reader| {
            let (terms, spans) = (inner.terms.load(), &inner.spans);
            reader.at_once(|reader| reader.cost_days(&query, &terms, spans, state, visit))
        })
        .await
    }
}

impl Reader {
    /// Asks within one view of the ledger.
    fn at_once<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        self.connection
            .execute_batch("BEGIN")
            .map_err(StoreError::sql("begin to read"))?;
        let answer = ask(self);
        self.connection
            .execute_batch("COMMIT")
            .map_err(StoreError::sql("end reading"))?;
        answer
    }

    fn cost_lines(
        &mut self,
        query: &CostQuery,
        terms: &Terms,
        spans: &Spans,
    ) -> Result<CostLines, QueryError> {
        let all = CostLines {
            groups: CostGroups::new(query.by.clone(), Vec::new(), Vec::new()),
            lines: Vec::new(),
        };
        let CostLines { groups, mut lines } =
            self.cost_steps(query, (terms, spans), Room::default(), all, |all, step| {
                all.groups.extend(step.groups.met());
                all.lines.extend_from_slice(&step.lines);
            })?;
        let (groups, now) = sorted(query.by.clone(), &groups);
        for line in &mut lines {
            line.group = now[line.group as usize];
        }
        lines.sort_by_key(|line| (line.group, line.kind));
        lines.dedup_by(|next, line| line.take(next));
        Ok(CostLines { groups, lines })
    }

    fn cost_steps<S>(
        &mut self,
        query: &CostQuery,
        (terms, spans): (&Terms, &Spans),
        room: Room,
        mut state: S,
        mut visit: impl FnMut(&mut S, &CostLines),
    ) -> Result<S, QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        let edges = edges(terms);
        let mut keys = Keys::new(&query.by, &query.zone, terms, &edges, room);
        let mut prices = Prices::default();
        let mut step = Step::new(&query.by);
        let usage = usage_query(query);
        each_sum(&self.connection, &usage, &spans, &edges, |place, sums| {
            if keys.turn(place) {
                step.tell(&keys, &mut state, &mut visit);
            }
            let group = keys.group(self, place)?;
            let sku = self.sku(place.sku)?;
            let split = prices.split(sums, sku, place.start, terms);
            step.group(group).add(sums, &split);
            Ok(())
        })?;
        step.tell(&keys, &mut state, &mut visit);
        Ok(state)
    }

    fn cost_days<S>(
        &mut self,
        query: &CostQuery,
        terms: &Terms,
        spans: &Spans,
        mut state: S,
        mut visit: impl FnMut(&mut S, &CostDay, &CostGroups),
    ) -> Result<S, QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        let edges = edges(terms);
        let mut keys = Keys::new(&query.by, &query.zone, terms, &edges, Room::default());
        let mut groups = CostGroups::new(query.by.clone(), Vec::new(), Vec::new());
        let mut day = Day::default();
        let mut tell = |day: &mut Day, keys: &Keys<'_>| -> Result<(), StoreError> {
            if let Some(day) = day.take(self, terms)? {
                groups.extend(keys.met());
                visit(&mut state, day, &groups);
            }
            Ok(())
        };
        let usage = UsageQuery::by_day(query.from, query.to);
        each_sum(&self.connection, &usage, &spans, &edges, |place, sums| {
            if day.is_over(place) {
                tell(&mut day, &keys)?;
            }
            keys.turn(place);
            day.push(place, keys.group(self, place)?, sums);
            Ok(())
        })?;
        tell(&mut day, &keys)?;
        Ok(state)
    }

    fn sku(&self, number: i64) -> Result<(i64, &crate::model::usage::Sku), StoreError> {
        let sku = self.skus.get(&number);
        let sku = sku.ok_or(StoreError::Dangling { id: number })?;
        Ok((number, sku))
    }
}

impl QueryError {
    /// More than [`MAX_GROUPS`].
    #[must_use]
    pub fn too_many_groups() -> Self {
        Self::TooLarge(format!(
            "the report has more than {MAX_GROUPS} groups: ask for a shorter period, or group_by \
             less"
        ))
    }
}

/// The times at which the directory or a price changes: a sum across one is of two prices.
fn edges(terms: &Terms) -> Vec<Timestamp> {
    let mut edges = terms.directory.edges();
    edges.extend(terms.prices.edges());
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// The question to the roll-ups: only what limits their size counts there.
fn usage_query(query: &CostQuery) -> UsageQuery {
    let time = |by: &By| match by {
        By::Month => Some(Dimension::Month),
        By::Day => Some(Dimension::Day),
        By::Hour => Some(Dimension::Hour),
        _ => None,
    };
    UsageQuery {
        from: query.from,
        to: query.to,
        group_by: query.by.iter().filter_map(time).collect(),
        zone: query.zone.clone(),
        user: None,
    }
}
