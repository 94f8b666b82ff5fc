//! The estimate of cost for reports: by whatever it is told apart, and by kind of token.
//!
//! Roll-ups hold one sum of money for all kinds of a row. The price table splits it; where the
//! table has changed since, the stored sum is split in proportion, so that totals stay those of
//! the ledger to the pico-dollar.

mod groups;
mod split;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::query::{Reader, each_sum};
use super::span::{Spans, start_of};
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::bill::PricedKind;
use crate::model::cost::{By, CostLines, CostQuery};
use crate::model::query::{Dimension, UsageQuery};
use crate::model::window;
use groups::{Group, Keys};
use split::Prices;

/// Groups in one answer at most: 10,000 people with three models on each day of a month, or in
/// each month of two years.
const MAX_GROUPS: usize = 1_000_000;

/// Kinds of tokens that have prices of their own.
const KINDS: usize = PricedKind::ALL.len();

/// Quarter hours of a UTC day.
const QUARTERS_A_DAY: i64 = 96;

impl Ledger {
    /// The estimate of what was used in a range, by `query.by` and by kind. Whatever it is told
    /// apart by, the totals are the same.
    ///
    /// Errors: too many groups for one answer.
    pub async fn cost_lines(&self, query: CostQuery) -> Result<CostLines, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| {
            let (terms, spans) = (inner.terms.load(), &inner.spans);
            reader.at_once(|reader| reader.cost_lines(&query, &terms, spans))
        })
        .await
    }

    /// Visits the estimate of each UTC day in `[from, to)`, in order, told apart by `by`, which
    /// has no time in it. Groups keep their numbers from day to day, but are in no order. Returns
    /// what the visits made, and the groups of all days.
    ///
    /// Errors: too many groups for one answer.
    pub async fn cost_days<S: Send + 'static>(
        &self,
        (from, to): (Date, Date),
        by: Vec<By>,
        state: S,
        visit: impl FnMut(&mut S, Date, &CostLines) + Send + 'static,
    ) -> Result<(S, CostLines), QueryError> {
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
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        let edges = edges(terms);
        let mut keys = Keys::new(&query.by, &query.zone, terms, &edges);
        let mut prices = Prices::default();
        let mut groups: Vec<Group> = Vec::new();
        let usage = usage_query(query);
        each_sum(&self.connection, &usage, &spans, &edges, |place, sums| {
            let group = keys.group(self, place)? as usize;
            if group == groups.len() {
                groups.push(Group::default());
            }
            let sku = self.sku(place.sku)?;
            groups[group].add(sums, &prices.split(sums, sku, place.start, terms));
            Ok(())
        })?;
        let (names, sorted) = keys.sorted();
        let mut keys = Vec::with_capacity(sorted.len() * query.by.len());
        let mut lines = Vec::with_capacity(sorted.len() * 4);
        for (number, (key, group)) in (0..).zip(sorted) {
            keys.extend_from_slice(&key);
            groups[group as usize].lines(number, &mut lines);
        }
        Ok(CostLines::new(query.by.clone(), names, keys, lines))
    }

    fn cost_days<S>(
        &mut self,
        query: &CostQuery,
        terms: &Terms,
        spans: &Spans,
        mut state: S,
        mut visit: impl FnMut(&mut S, Date, &CostLines),
    ) -> Result<(S, CostLines), QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        let edges = edges(terms);
        let mut keys = Keys::new(&query.by, &query.zone, terms, &edges);
        let mut prices = Prices::default();
        let mut day = Day::new(&query.by);
        let usage = UsageQuery::by_day(query.from, query.to);
        each_sum(&self.connection, &usage, &spans, &edges, |place, sums| {
            let number = place.start.div_euclid(QUARTERS_A_DAY);
            if day.number != number {
                day.tell(&keys, &mut state, &mut visit);
                day.number = number;
            }
            let group = keys.group(self, place)?;
            let sku = self.sku(place.sku)?;
            let split = prices.split(sums, sku, place.start, terms);
            day.group(group).add(sums, &split);
            Ok(())
        })?;
        day.tell(&keys, &mut state, &mut visit);
        day.lines.extend_groups(keys.met());
        Ok((state, day.lines))
    }

    fn sku(&self, number: i64) -> Result<(i64, &crate::model::usage::Sku), StoreError> {
        let sku = self.skus.get(&number);
        let sku = sku.ok_or(StoreError::Dangling { id: number })?;
        Ok((number, sku))
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

/// The day that is being read.
struct Day {
    /// UTC days since 1970.
    number: i64,
    /// By number of group; `met` tells which have something.
    groups: Vec<Group>,
    is_met: Vec<bool>,
    met: Vec<u32>,
    lines: CostLines,
}

impl Day {
    fn new(by: &[By]) -> Self {
        Self {
            number: i64::MIN,
            groups: Vec::new(),
            is_met: Vec::new(),
            met: Vec::new(),
            lines: CostLines::new(by.to_vec(), Vec::new(), Vec::new(), Vec::new()),
        }
    }

    fn group(&mut self, number: u32) -> &mut Group {
        let place = number as usize;
        if place >= self.groups.len() {
            self.groups.resize(place + 1, Group::default());
            self.is_met.resize(place + 1, false);
        }
        if !self.is_met[place] {
            self.is_met[place] = true;
            self.met.push(number);
        }
        &mut self.groups[place]
    }

    /// Lets the day be visited, and forgets it.
    fn tell<S>(
        &mut self,
        keys: &Keys<'_>,
        state: &mut S,
        visit: &mut impl FnMut(&mut S, Date, &CostLines),
    ) {
        if self.met.is_empty() {
            return;
        }
        self.lines.extend_groups(keys.met());
        self.lines.lines.clear();
        self.met.sort_unstable();
        for number in self.met.drain(..) {
            let place = number as usize;
            self.groups[place].lines(number, &mut self.lines.lines);
            self.groups[place] = Group::default();
            self.is_met[place] = false;
        }
        let day = start_of(self.number * QUARTERS_A_DAY).to_zoned(TimeZone::UTC);
        visit(state, day.date(), &self.lines);
        self.lines.lines.clear();
    }
}
