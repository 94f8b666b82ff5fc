//! The estimate of cost for reports: by whatever it is told apart, and by kind of token.
//!
//! Roll-ups hold one sum of money for all kinds of a row. The price table splits it; where the
//! table has changed since, the stored sum is split in proportion, so that totals stay those of
//! the ledger to the pico-dollar.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::query::{Place, Reader, each_sum};
use super::rollup::Sums;
use super::span::{Spans, start_of};
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::bill::PricedKind;
use crate::model::cost::{By, CostLine, CostLines, CostQuery};
use crate::model::identity::Identity;
use crate::model::money::{PicoUsd, share_out};
use crate::model::price::UnitPrices;
use crate::model::query::{Dimension, UsageQuery};
use crate::model::usage::Sku;
use crate::model::window;

/// Groups in one answer at most: 10,000 people with three models on each day of a month, or in
/// each month of two years.
const MAX_GROUPS: usize = 1_000_000;

/// Kinds of tokens that have prices of their own.
const KINDS: usize = PricedKind::ALL.len();

impl Ledger {
    /// The estimate of what was used in a range, by `query.by` and by kind. Whatever it is told
    /// apart by, the totals are the same.
    ///
    /// Errors: too many groups for one answer.
    pub async fn cost_lines(&self, query: CostQuery) -> Result<CostLines, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| reader.cost_lines(&query, &inner.terms.load(), &inner.spans))
            .await
    }
}

/// Sums of one group by kind.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    requests: i64,
    tokens: [i64; KINDS],
    estimate: [i128; KINDS],
    list: [i128; KINDS],
    unpriced: [i64; KINDS],
}

impl Reader {
    fn cost_lines(
        &mut self,
        query: &CostQuery,
        terms: &Terms,
        spans: &Spans,
    ) -> Result<CostLines, QueryError> {
        self.connection
            .execute_batch("BEGIN")
            .map_err(StoreError::sql("begin to read"))?;
        let answer = self.cost_lines_now(query, terms, spans);
        self.connection
            .execute_batch("COMMIT")
            .map_err(StoreError::sql("end reading"))?;
        answer
    }

    fn cost_lines_now(
        &mut self,
        query: &CostQuery,
        terms: &Terms,
        spans: &Spans,
    ) -> Result<CostLines, QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        let edges = terms.directory.edges();
        let mut groups = Groups::new(query, terms, &edges);
        let usage = usage_query(query);
        each_sum(&self.connection, &usage, &spans, &edges, |place, sums| {
            groups.add(self, place, sums)
        })?;
        Ok(groups.finish())
    }
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

/// Names, each once.
#[derive(Debug, Default)]
struct Names {
    places: HashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
}

impl Names {
    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.list.push(Arc::clone(&name));
        self.places.insert(name, place);
        place
    }
}

/// Collects the groups, with a memory of what was looked up.
struct Groups<'q> {
    query: &'q CostQuery,
    terms: &'q Terms,
    /// The times at which the directory changes.
    edges: &'q [Timestamp],
    names: Names,
    /// The parts of keys, at their places in `by`: by time, by identity and the number of edges
    /// passed, and by SKU.
    times: HashMap<i64, Vec<(usize, u32)>>,
    people: HashMap<(i64, usize), Vec<(usize, u32)>>,
    models: HashMap<i64, Vec<(usize, u32)>>,
    key: Vec<u32>,
    places: HashMap<Box<[u32]>, usize>,
    groups: Vec<Group>,
}

impl<'q> Groups<'q> {
    fn new(query: &'q CostQuery, terms: &'q Terms, edges: &'q [Timestamp]) -> Self {
        Self {
            query,
            terms,
            edges,
            names: Names::default(),
            times: HashMap::new(),
            people: HashMap::new(),
            models: HashMap::new(),
            key: vec![0; query.by.len()],
            places: HashMap::new(),
            groups: Vec::new(),
        }
    }

    fn add(&mut self, reader: &Reader, place: Place, sums: &Sums) -> Result<(), QueryError> {
        let Place {
            start,
            identity,
            sku,
        } = place;
        let dangling = |id| StoreError::Dangling { id };
        let who = reader
            .identities
            .get(&identity)
            .ok_or_else(|| dangling(identity))?;
        let what = reader.skus.get(&sku).ok_or_else(|| dangling(sku))?;
        let at = start_of(start);
        let epoch = self.edges.partition_point(|edge| *edge <= at);
        let (by, names) = (&self.query.by, &mut self.names);
        let time = self.times.entry(start).or_insert_with(|| {
            let zone = &self.query.zone;
            parts(by, names, |by| match by {
                By::Month => Some(window::month_key(at, zone)),
                By::Day => Some(window::day_key(at, zone)),
                By::Hour => Some(window::hour_key(at, zone)),
                _ => None,
            })
        });
        let person = self
            .people
            .entry((identity, epoch))
            .or_insert_with(|| person_parts(by, names, self.terms, who, at));
        let model = self
            .models
            .entry(sku)
            .or_insert_with(|| sku_parts(by, names, what));
        for (place, name) in time.iter().chain(person.iter()).chain(model.iter()) {
            self.key[*place] = *name;
        }
        let group = match self.places.get(self.key.as_slice()) {
            Some(group) => *group,
            None if self.groups.len() >= MAX_GROUPS => {
                return Err(QueryError::TooLarge(format!(
                    "the report has more than {MAX_GROUPS} lines: ask for a shorter period or \
                     group_by less"
                )));
            }
            None => {
                let key = self.key.clone().into_boxed_slice();
                self.places.insert(key, self.groups.len());
                self.groups.push(Group::default());
                self.groups.len() - 1
            }
        };
        self.groups[group].add(sums, &split(sums, what, self.terms));
        Ok(())
    }

    /// Sorts the groups by their keys.
    fn finish(self) -> CostLines {
        let by = self.query.by.clone();
        let mut order: Vec<u32> = (0..).take(self.names.list.len()).collect();
        order.sort_by(|a, b| self.names.list[*a as usize].cmp(&self.names.list[*b as usize]));
        let mut rank = vec![0; order.len()];
        for (place, name) in (0..).zip(&order) {
            rank[*name as usize] = place;
        }
        let names = order
            .iter()
            .map(|name| Arc::clone(&self.names.list[*name as usize]))
            .collect();
        let mut sorted: Vec<(Box<[u32]>, usize)> = self.places.into_iter().collect();
        for (key, _) in &mut sorted {
            for name in key {
                *name = rank[*name as usize];
            }
        }
        sorted.sort_unstable();
        let mut keys = Vec::with_capacity(sorted.len() * by.len());
        let mut lines = Vec::with_capacity(sorted.len() * 4);
        for (number, (key, group)) in (0..).zip(sorted) {
            keys.extend_from_slice(&key);
            self.groups[group].lines(number, &mut lines);
        }
        CostLines::new(by, names, keys, lines)
    }
}

/// The parts of a key that `name` tells, with their places.
fn parts<T: AsRef<str>>(
    by: &[By],
    names: &mut Names,
    mut name: impl FnMut(By) -> Option<T>,
) -> Vec<(usize, u32)> {
    let mut parts = Vec::new();
    for (place, by) in by.iter().enumerate() {
        if let Some(text) = name(*by) {
            parts.push((place, names.place(text.as_ref())));
        }
    }
    parts
}

fn person_parts(
    by: &[By],
    names: &mut Names,
    terms: &Terms,
    who: &Identity,
    at: Timestamp,
) -> Vec<(usize, u32)> {
    let attributed = terms.attribute(who, at);
    parts(by, names, |by| match by {
        By::User => Some(attributed.user.as_ref()),
        By::Team => Some(attributed.team.unwrap_or_default()),
        By::Project => Some(attributed.project.unwrap_or_default()),
        By::CostCenter => Some(attributed.cost_center.unwrap_or_default()),
        By::Role => Some(attributed.role.unwrap_or_default()),
        By::Account => Some(who.account.as_deref().unwrap_or_default()),
        _ => None,
    })
}

fn sku_parts(by: &[By], names: &mut Names, sku: &Sku) -> Vec<(usize, u32)> {
    parts(by, names, |by| match by {
        By::Provider => Some(&*sku.provider),
        By::Model => Some(&*sku.model),
        By::Scope => Some(&*sku.scope),
        By::Region => Some(sku.region.as_deref().unwrap_or_default()),
        By::Tier => Some(sku.tier.name()),
        _ => None,
    })
}

/// The money of one row by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Split {
    estimate: [i128; KINDS],
    list: [i128; KINDS],
    unpriced: [i64; KINDS],
}

/// Splits the money of a row by kind with the price table; what the table does not explain any
/// more is split in proportion.
fn split(sums: &Sums, sku: &Sku, terms: &Terms) -> Split {
    let prices = by_kind(terms.prices.unit(sku).unwrap_or_default(), terms);
    let mut split = Split::default();
    for (kind, price) in prices.iter().enumerate() {
        let tokens = sums.tokens[kind];
        match price {
            Some(price) => split.estimate[kind] = i128::from(*price) * i128::from(tokens),
            None => split.unpriced[kind] = tokens,
        }
    }
    split.list = split.estimate;
    let tokens = sums.tokens.map(i128::from);
    let stored = i128::from(sums.cost);
    if split.estimate.iter().sum::<i128>() != stored {
        split.estimate = shared(stored, &[split.estimate, tokens]);
    }
    if split.unpriced.iter().sum::<i64>() != sums.unpriced {
        let unpriced = split.unpriced.map(i128::from);
        let unpriced = shared(i128::from(sums.unpriced), &[unpriced, tokens]);
        split.unpriced = unpriced.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    }
    split
}

/// Shares an amount out in proportion to the first weights that are not all zero.
fn shared(amount: i128, weights: &[[i128; KINDS]]) -> [i128; KINDS] {
    let mut parts = [0; KINDS];
    for weights in weights {
        if let Some(shares) = share_out(amount, weights) {
            parts.copy_from_slice(&shares);
            return parts;
        }
    }
    parts[0] = amount;
    parts
}

/// The prices in the order of the kinds.
fn by_kind(prices: UnitPrices, terms: &Terms) -> [Option<u64>; KINDS] {
    use crate::model::price::WriteLifetime::{FiveMinutes, OneHour};
    [
        prices.input,
        prices.output,
        prices.cache_read,
        prices.cache_write_5m,
        prices.cache_write_1h,
        match terms.unknown_write {
            FiveMinutes => prices.cache_write_5m,
            OneHour => prices.cache_write_1h,
        },
    ]
}

impl Group {
    fn add(&mut self, sums: &Sums, split: &Split) {
        self.requests += sums.requests;
        for kind in 0..KINDS {
            self.tokens[kind] += sums.tokens[kind];
            self.estimate[kind] += split.estimate[kind];
            self.list[kind] += split.list[kind];
            self.unpriced[kind] += split.unpriced[kind];
        }
    }

    /// A line for each kind that was used; the first one tells the requests.
    fn lines(&self, group: u32, lines: &mut Vec<CostLine>) {
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let mut requests = count(self.requests);
        for (place, kind) in PricedKind::ALL.into_iter().enumerate() {
            let used = self.tokens[place] != 0 || self.estimate[place] != 0;
            let last = place + 1 == KINDS;
            if used || (last && requests > 0) {
                lines.push(CostLine {
                    group,
                    // Requests without any tokens are told with the input.
                    kind: if used { kind } else { PricedKind::Input },
                    tokens: count(self.tokens[place]),
                    requests: std::mem::take(&mut requests),
                    estimate: PicoUsd(self.estimate[place]),
                    list: PicoUsd(self.list[place]),
                    unpriced: count(self.unpriced[place]),
                });
            }
        }
    }
}
