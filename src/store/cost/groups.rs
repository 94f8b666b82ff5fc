//! Groups of the estimate: their keys as numbers of names.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::numbers::NumberMap;
use super::super::query::Reader;
use super::super::span::start_of;
use super::super::sums::Place;
use super::super::terms::Terms;
use super::super::{QueryError, StoreError};
use crate::model::cost::{By, CostGroups, Room, ranks};
use crate::model::identity::Identity;
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

/// An identity and a SKU.
type Row = (i64, i64);

/// The members of rows that were met before. Days list the same people in the same order, so the
/// row that came next the last time is looked at first.
#[derive(Debug, Default)]
struct Known {
    /// In the order in which they were met first.
    rows: Vec<(Row, u32)>,
    places: NumberMap<Row, usize>,
    next: usize,
}

impl Known {
    fn member(&mut self, row: Row) -> Option<u32> {
        let next = self.rows.get(self.next);
        if next.is_none_or(|(known, _)| *known != row) {
            self.next = *self.places.get(&row)?;
        }
        let (_, member) = self.rows[self.next];
        self.next += 1;
        Some(member)
    }

    fn add(&mut self, row: Row, member: u32) {
        self.places.insert(row, self.rows.len());
        self.rows.push((row, member));
        self.next = self.rows.len();
    }
}

/// Keys, each with a number from 0 on.
#[derive(Debug, Default)]
struct Numbered {
    numbers: HashMap<Box<[u32]>, u32>,
    /// All keys, one after the other.
    keys: Vec<u32>,
    room: Room,
}

impl Numbered {
    fn of(&mut self, key: &[u32]) -> Result<u32, QueryError> {
        if let Some(number) = self.numbers.get(key) {
            return Ok(*number);
        }
        if !self.room.take() {
            return Err(QueryError::too_many_groups());
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        self.keys.extend_from_slice(key);
        self.numbers.insert(key.into(), number);
        Ok(number)
    }
}

/// Where a member has no group yet.
const NO_GROUP: u32 = u32::MAX;

/// Finds the group of a row, with a memory of what was looked up. Rows come in order of time.
#[derive(Debug)]
pub(super) struct Keys<'q> {
    by: &'q [By],
    zone: &'q TimeZone,
    terms: &'q Terms,
    /// The times at which the directory or a price changes.
    edges: &'q [Timestamp],
    names: Names,
    /// The begin of the row before, the number of edges passed by then, and what it tells.
    last: (i64, usize),
    time: Parts,
    /// Since the last edge.
    people: NumberMap<i64, Parts>,
    models: NumberMap<i64, Parts>,
    known: Known,
    /// What keys tell besides time.
    members: Numbered,
    /// By member: its group at the time.
    at: Vec<u32>,
    groups: Numbered,
    key: Vec<u32>,
}

impl<'q> Keys<'q> {
    pub(super) fn new(
        by: &'q [By],
        zone: &'q TimeZone,
        terms: &'q Terms,
        edges: &'q [Timestamp],
        room: Room,
    ) -> Self {
        Self {
            by,
            zone,
            terms,
            edges,
            names: Names::default(),
            last: (i64::MIN, 0),
            time: Parts::default(),
            people: NumberMap::default(),
            models: NumberMap::default(),
            known: Known::default(),
            members: Numbered::default(),
            at: Vec::new(),
            groups: Numbered {
                room,
                ..Numbered::default()
            },
            key: vec![0; by.len()],
        }
    }

    /// Moves to the time of a row. Returns true if it is told under other keys than the row before.
    pub(super) fn turn(&mut self, place: Place) -> bool {
        if self.last.0 == place.start {
            return false;
        }
        let at = start_of(place.start);
        let epoch = self.edges.partition_point(|edge| *edge <= at);
        if epoch != self.last.1 {
            self.known = Known::default();
            self.people.clear();
        }
        self.last = (place.start, epoch);
        let time = time_parts(self.by, &mut self.names, at, self.zone);
        if time == self.time {
            return false;
        }
        self.time = time;
        self.at.clear();
        true
    }

    /// The number of a row's group, counted from 0 in the order in which groups were met. The
    /// time of the row is that of the last [`turn`](Self::turn).
    pub(super) fn group(&mut self, reader: &Reader, place: Place) -> Result<u32, QueryError> {
        let row = (place.identity, place.sku);
        let member = match self.known.member(row) {
            Some(member) => member,
            None => self.learn(reader, row)?,
        };
        let at = member as usize;
        if at >= self.at.len() {
            self.at.resize(at + 1, NO_GROUP);
        }
        if self.at[at] == NO_GROUP {
            let width = self.by.len();
            self.key.clear();
            let key = &self.members.keys[at * width..(at + 1) * width];
            self.key.extend_from_slice(key);
            for (place, name) in &self.time {
                self.key[*place] = *name;
            }
            self.at[at] = self.groups.of(&self.key)?;
        }
        Ok(self.at[at])
    }

    /// Learns the member of a row.
    fn learn(&mut self, reader: &Reader, row: Row) -> Result<u32, QueryError> {
        let (identity, sku) = row;
        let dangling = |id| StoreError::Dangling { id };
        let who = reader
            .identities
            .get(&identity)
            .ok_or_else(|| dangling(identity))?;
        let what = reader.skus.get(&sku).ok_or_else(|| dangling(sku))?;
        let (by, terms, names) = (self.by, self.terms, &mut self.names);
        let at = start_of(self.last.0);
        let person = self
            .people
            .entry(identity)
            .or_insert_with(|| person_parts(by, names, terms, who, at));
        let model = self
            .models
            .entry(sku)
            .or_insert_with(|| sku_parts(by, names, what));
        self.key.clear();
        self.key.resize(by.len(), 0);
        for (place, name) in person.iter().chain(model.iter()) {
            self.key[*place] = *name;
        }
        let member = self.members.of(&self.key)?;
        self.known.add(row, member);
        Ok(member)
    }

    /// The names and keys so far, in the order in which they were met.
    pub(super) fn met(&self) -> (&[Arc<str>], &[u32]) {
        (&self.names.list, &self.groups.keys)
    }
}

/// The groups in the order of their keys, with names in their own order; and by the number that a
/// group had the one that it has now.
pub(super) fn sorted(by: Vec<By>, groups: &CostGroups) -> (CostGroups, Vec<u32>) {
    let list = groups.names();
    let mut order: Vec<u32> = (0..).take(list.len()).collect();
    order.sort_unstable_by(|a, b| list[*a as usize].cmp(&list[*b as usize]));
    let rank = ranks(&order);
    let names = order.iter().map(|name| Arc::clone(&list[*name as usize]));
    let key = |group: u32| {
        let places = groups.places(group).iter();
        places.map(|name| rank[*name as usize])
    };
    let mut sorted: Vec<u32> = (0..groups.count()).collect();
    sorted.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
    let keys = sorted.iter().flat_map(|group| key(*group)).collect();
    (CostGroups::new(by, names.collect(), keys), ranks(&sorted))
}

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
