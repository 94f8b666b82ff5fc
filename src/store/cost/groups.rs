//! Groups of the estimate: their keys as numbers of names, and their sums by kind.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::numbers::NumberMap;
use super::super::query::{Place, Reader};
use super::super::rollup::Sums;
use super::super::span::start_of;
use super::super::terms::Terms;
use super::super::{QueryError, StoreError};
use super::split::Split;
use super::{KINDS, MAX_GROUPS};
use crate::model::bill::PricedKind;
use crate::model::cost::{By, CostLine};
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::usage::Sku;
use crate::model::window;

/// The parts of a key that one thing tells, at their places in the key.
type Parts = Box<[(usize, u32)]>;

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

/// An identity, the edges passed, and a SKU.
type Row = (i64, usize, i64);

/// The groups of rows that were met before. Days list the same people in the same order, so the
/// row that came next the last time is looked at first.
#[derive(Debug, Default)]
struct Known {
    /// In the order in which they were met first.
    rows: Vec<(Row, u32)>,
    places: NumberMap<Row, usize>,
    next: usize,
}

impl Known {
    fn group(&mut self, row: Row) -> Option<u32> {
        let next = self.rows.get(self.next);
        if next.is_none_or(|(known, _)| *known != row) {
            self.next = *self.places.get(&row)?;
        }
        let (_, group) = self.rows[self.next];
        self.next += 1;
        Some(group)
    }

    fn add(&mut self, row: Row, group: u32) {
        self.places.insert(row, self.rows.len());
        self.rows.push((row, group));
        self.next = self.rows.len();
    }
}

/// Finds the group of a row, with a memory of what was looked up.
#[derive(Debug)]
pub(super) struct Keys<'q> {
    by: &'q [By],
    zone: &'q TimeZone,
    terms: &'q Terms,
    /// The times at which the directory or a price changes.
    edges: &'q [Timestamp],
    names: Names,
    times: NumberMap<i64, Parts>,
    /// By identity and the number of edges passed.
    people: NumberMap<(i64, usize), Parts>,
    models: NumberMap<i64, Parts>,
    /// The begin of the row before, and the number of edges passed by then.
    last: (i64, usize),
    /// Where time is no part of the key.
    known: Known,
    has_time: bool,
    key: Vec<u32>,
    groups: HashMap<Box<[u32]>, u32>,
    /// The keys of all groups, one after the other.
    keys: Vec<u32>,
}

impl<'q> Keys<'q> {
    pub(super) fn new(
        by: &'q [By],
        zone: &'q TimeZone,
        terms: &'q Terms,
        edges: &'q [Timestamp],
    ) -> Self {
        Self {
            by,
            zone,
            terms,
            edges,
            names: Names::default(),
            times: NumberMap::default(),
            people: NumberMap::default(),
            models: NumberMap::default(),
            last: (i64::MIN, 0),
            known: Known::default(),
            has_time: by
                .iter()
                .any(|by| matches!(by, By::Month | By::Day | By::Hour)),
            key: vec![0; by.len()],
            groups: HashMap::new(),
            keys: Vec::new(),
        }
    }

    /// The number of a row's group, counted from 0 in the order in which groups were met.
    pub(super) fn group(&mut self, reader: &Reader, place: Place) -> Result<u32, QueryError> {
        let Place {
            start,
            identity,
            sku,
        } = place;
        if self.last.0 != start {
            let at = start_of(start);
            self.last = (start, self.edges.partition_point(|edge| *edge <= at));
        }
        let epoch = self.last.1;
        let row = (identity, epoch, sku);
        if !self.has_time
            && let Some(group) = self.known.group(row)
        {
            return Ok(group);
        }
        let at = start_of(start);
        let dangling = |id| StoreError::Dangling { id };
        let who = reader
            .identities
            .get(&identity)
            .ok_or_else(|| dangling(identity))?;
        let what = reader.skus.get(&sku).ok_or_else(|| dangling(sku))?;
        let (by, zone, terms, names) = (self.by, self.zone, self.terms, &mut self.names);
        let time = self
            .times
            .entry(start)
            .or_insert_with(|| time_parts(by, names, at, zone));
        let person = self
            .people
            .entry((identity, epoch))
            .or_insert_with(|| person_parts(by, names, terms, who, at));
        let model = self
            .models
            .entry(sku)
            .or_insert_with(|| sku_parts(by, names, what));
        for (place, name) in time.iter().chain(person.iter()).chain(model.iter()) {
            self.key[*place] = *name;
        }
        let group = self.number()?;
        if !self.has_time {
            self.known.add(row, group);
        }
        Ok(group)
    }

    /// The number of the group with the key that was put together.
    fn number(&mut self) -> Result<u32, QueryError> {
        if let Some(group) = self.groups.get(self.key.as_slice()) {
            return Ok(*group);
        }
        if self.groups.len() >= MAX_GROUPS {
            return Err(QueryError::TooLarge(format!(
                "the report has more than {MAX_GROUPS} groups: ask for a shorter period, or \
                 group_by less"
            )));
        }
        let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.keys.extend_from_slice(&self.key);
        let key = self.key.clone().into_boxed_slice();
        self.groups.insert(key, group);
        Ok(group)
    }

    /// The names and keys so far, in the order in which they were met.
    pub(super) fn met(&self) -> (&[Arc<str>], &[u32]) {
        (&self.names.list, &self.keys)
    }

    /// Names in their own order, and the groups in the order of their keys: each key with the
    /// number that the group had.
    pub(super) fn sorted(self) -> (Vec<Arc<str>>, Vec<Numbered>) {
        let list = &self.names.list;
        let mut order: Vec<u32> = (0..).take(list.len()).collect();
        order.sort_by(|a, b| list[*a as usize].cmp(&list[*b as usize]));
        let mut rank = vec![0; order.len()];
        for (place, name) in (0..).zip(&order) {
            rank[*name as usize] = place;
        }
        let names = order.iter().map(|name| Arc::clone(&list[*name as usize]));
        let names = names.collect();
        let mut sorted: Vec<Numbered> = self.groups.into_iter().collect();
        for (key, _) in &mut sorted {
            for name in key {
                *name = rank[*name as usize];
            }
        }
        sorted.sort_unstable();
        (names, sorted)
    }
}

/// A key, and the number of its group.
pub(super) type Numbered = (Box<[u32]>, u32);

/// The parts of a key that `name` tells, with their places.
fn parts<T: AsRef<str>>(by: &[By], names: &mut Names, name: impl Fn(By) -> Option<T>) -> Parts {
    let named = by.iter().enumerate().filter_map(|(place, by)| {
        let text = name(*by)?;
        Some((place, names.place(text.as_ref())))
    });
    named.collect()
}

fn time_parts(by: &[By], names: &mut Names, at: Timestamp, zone: &TimeZone) -> Parts {
    parts(by, names, |by| match by {
        By::Month => Some(window::month_key(at, zone)),
        By::Day => Some(window::day_key(at, zone)),
        By::Hour => Some(window::hour_key(at, zone)),
        _ => None,
    })
}

fn person_parts(
    by: &[By],
    names: &mut Names,
    terms: &Terms,
    who: &Identity,
    at: Timestamp,
) -> Parts {
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

fn sku_parts(by: &[By], names: &mut Names, sku: &Sku) -> Parts {
    parts(by, names, |by| match by {
        By::Provider => Some(&*sku.provider),
        By::Model => Some(&*sku.model),
        By::Scope => Some(&*sku.scope),
        By::Region => Some(sku.region.as_deref().unwrap_or_default()),
        By::Tier => Some(sku.tier.name()),
        By::Context => Some(sku.band.name()),
        _ => None,
    })
}

/// Sums of one group by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    requests: i64,
    tokens: [i64; KINDS],
    estimate: [i128; KINDS],
    list: [i128; KINDS],
    unpriced: [i64; KINDS],
}

impl Group {
    pub(super) fn add(&mut self, sums: &Sums, split: &Split) {
        self.requests += sums.requests;
        for kind in 0..KINDS {
            self.tokens[kind] += sums.tokens[kind];
            self.estimate[kind] += split.estimate[kind];
            self.list[kind] += split.list[kind];
            self.unpriced[kind] += split.unpriced[kind];
        }
    }

    /// A line for each kind that was used; the first one tells the requests.
    pub(super) fn lines(&self, group: u32, lines: &mut Vec<CostLine>) {
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
