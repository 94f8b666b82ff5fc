//! Current numbers, by exact key.
//!
//! A series is known by its label values themselves, never by a hash of them: `["ab", "c"]` and
//! `["a", "bc"]` are two series. Counters and sums are integers in the family's scale; floats
//! begin at the exporter. Writers add, readers take [`Registry::snapshot`]s, and neither waits
//! for the other longer than a copy of one family's values takes.
//!
//! Every family has a bound. What happens beyond it is told at [`Registry::new`].

mod family;
mod snapshot;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::model::catalogue::{self, Desc};
use family::{Family, Landing};
pub use snapshot::{Histogram, Snapshot, Value};

/// Series that a family has at most, unless the configuration says otherwise.
pub const DEFAULT_BOUND: usize = 50_000;

/// The label value under which series beyond the bound are summed.
pub const OTHER: &str = "other";

/// The numbers that `/metrics` shows.
#[derive(Debug)]
pub struct Registry {
    /// Sorted by name.
    families: Vec<Family>,
    /// By name.
    places: hashbrown::HashMap<&'static str, usize>,
    /// The gauge series that each owner set last.
    owned: Mutex<HashMap<&'static str, Vec<Sample>>>,
}

/// The value of one gauge series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub desc: &'static Desc,
    /// In the order of the family's label names.
    pub labels: Vec<String>,
    pub value: f64,
}

/// A series of a counter that was looked up once, for paths that add to it often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesId {
    family: usize,
    slot: usize,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(DEFAULT_BOUND)
    }
}

impl Registry {
    /// An empty registry for the whole catalogue with at most `bound` series a family.
    ///
    /// Beyond the bound, new series of a family with a `user` label are summed under
    /// `user="other"`, a tenth of the bound at most; what is beyond that too, and new series of
    /// all other families, are summed in one series whose labels are all `other`. New gauge series
    /// are dropped. `tallyd_registry_overflow_total` counts what went this way.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self::with_families(catalogue::CATALOGUE, bound)
    }

    /// A registry for other families than the catalogue's.
    #[must_use]
    pub fn with_families(families: &[&'static Desc], bound: usize) -> Self {
        let own = [catalogue::REGISTRY_SERIES, catalogue::REGISTRY_OVERFLOW];
        // The families about families have one series for each family, which is a bound already.
        let bound_of = |desc: &Desc| {
            let is_own = own.iter().any(|own| own.name == desc.name);
            if is_own { usize::MAX } else { bound }
        };
        let mut families: Vec<_> = families.iter().copied().chain(own).collect();
        families.sort_by_key(|desc| desc.name);
        families.dedup_by_key(|desc| desc.name);
        let places = families.iter().enumerate();
        Self {
            places: places.map(|(place, desc)| (desc.name, place)).collect(),
            families: families
                .into_iter()
                .map(|desc| Family::new(desc, bound_of(desc)))
                .collect(),
            owned: Mutex::default(),
        }
    }

    /// Adds to a counter; `amount` is in the family's scale. Adding 0 makes the series appear.
    pub fn add(&self, desc: &'static Desc, labels: &[&str], amount: u128) {
        if let Some(family) = self.family(desc) {
            let landing = family.add(labels, amount);
            self.note(family, landing);
        }
    }

    /// Puts a counter back to what was published before a restart, in the family's scale.
    ///
    /// Call it once for each series, in the order in which they first appeared: so the same
    /// series are summed under `other` as before.
    pub fn restore_counter(&self, desc: &'static Desc, labels: &[&str], value: u128) {
        self.add(desc, labels, value);
    }

    /// Lifts a counter to a total that is kept elsewhere, in the family's scale. A total below
    /// the present value changes nothing.
    pub fn raise(&self, desc: &'static Desc, labels: &[&str], total: u128) {
        if let Some(family) = self.family(desc) {
            let landing = family.raise(labels, total);
            self.note(family, landing);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, desc: &'static Desc, labels: &[&str], value: f64) {
        if let Some(family) = self.family(desc) {
            let landing = family.set(labels, value);
            self.note(family, landing);
        }
    }

    /// Adds one observation to a histogram, in the family's unit. What is negative or not finite
    /// is not an observation and changes nothing.
    pub fn observe(&self, desc: &'static Desc, labels: &[&str], value: f64) {
        if let Some(family) = self.family(desc) {
            let landing = family.observe(labels, value);
            self.note(family, landing);
        }
    }

    /// Adds to a histogram what was published before a restart: the numbers of observations in
    /// each bucket (not cumulative, the last one above all bounds) and their sum in the family's
    /// scale. Where an older release had more buckets, the surplus goes into the last one.
    pub fn restore_histogram(
        &self,
        desc: &'static Desc,
        labels: &[&str],
        buckets: &[u64],
        sum: u128,
    ) {
        if let Some(family) = self.family(desc) {
            let landing = family.restore_histogram(labels, buckets, sum);
            self.note(family, landing);
        }
    }

    /// Sets gauges, and removes those that the same owner set the last time and not now.
    ///
    /// A series belongs to one owner; a collector gives its own name.
    pub fn replace(&self, owner: &'static str, samples: Vec<Sample>) {
        for sample in &samples {
            let labels: Vec<_> = sample.labels.iter().map(String::as_str).collect();
            self.set(sample.desc, &labels, sample.value);
        }
        let mut series_of = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |sample: &Sample| (sample.desc.name, sample.labels.clone());
        let kept: HashSet<_> = samples.iter().map(key).collect();
        for gone in series_of.remove(owner).unwrap_or_default() {
            if kept.contains(&key(&gone)) {
                continue;
            }
            if let Some(family) = self.family(gone.desc) {
                let labels: Vec<_> = gone.labels.iter().map(String::as_str).collect();
                family.remove(&labels);
            }
        }
        series_of.insert(owner, samples);
    }

    /// Moves the counters of one user to another, so that a name disappears and no sum changes.
    pub fn rename_user(&self, old: &str, new: &str) {
        for family in &self.families {
            family.rename_user(old, new);
        }
    }

    /// Looks a counter's series up for [`Registry::add_to`], and makes it appear. `None` if the
    /// registry has no such counter.
    pub fn series(&self, desc: &'static Desc, labels: &[&str]) -> Option<SeriesId> {
        let index = self.index(desc)?;
        let family = &self.families[index];
        let (slot, landing) = family.counter_slot(labels)?;
        self.note(family, landing);
        Some(SeriesId {
            family: index,
            slot,
        })
    }

    /// Adds to a counter that was looked up before; `amount` is in the family's scale.
    pub fn add_to(&self, id: SeriesId, amount: u128) {
        self.families[id.family].add_to(id.slot, amount);
    }

    /// The value of a counter's series, in the family's scale.
    pub fn counter(&self, desc: &'static Desc, labels: &[&str]) -> Option<u128> {
        match self.family(desc)?.read(labels)? {
            Value::Counter(value) => Some(value),
            Value::Gauge(_) | Value::Histogram(_) => None,
        }
    }

    /// The value of a gauge's series.
    pub fn gauge(&self, desc: &'static Desc, labels: &[&str]) -> Option<f64> {
        match self.family(desc)?.read(labels)? {
            Value::Gauge(value) => Some(value),
            Value::Counter(_) | Value::Histogram(_) => None,
        }
    }

    /// The largest value of a gauge's series whose text (`name{label="value"} `) holds `text`.
    #[must_use]
    pub fn highest(&self, desc: &'static Desc, text: &str) -> Option<f64> {
        let family = self.family(desc)?.snapshot();
        let gauge = |(series, value): (&str, Value<&Histogram>)| match value {
            Value::Gauge(value) if series.contains(text) => Some(value),
            _ => None,
        };
        family.iter().filter_map(gauge).reduce(f64::max)
    }

    /// The value of a histogram's series.
    pub fn histogram(&self, desc: &'static Desc, labels: &[&str]) -> Option<Histogram> {
        match self.family(desc)?.read(labels)? {
            Value::Histogram(value) => Some(value),
            Value::Counter(_) | Value::Gauge(_) => None,
        }
    }

    /// All families that have series, sorted by name, each as it was at one moment.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Snapshot> {
        for family in &self.families {
            let (name, series) = (family.desc().name, family.len());
            if series > 0 && name != catalogue::REGISTRY_SERIES.name {
                self.set(catalogue::REGISTRY_SERIES, &[name], series as f64);
            }
        }
        self.families
            .iter()
            .filter(|family| family.len() > 0)
            .map(Family::snapshot)
            .collect()
    }

    fn index(&self, desc: &Desc) -> Option<usize> {
        let found = self.places.get(desc.name).copied();
        debug_assert!(found.is_some(), "{} is not in the catalogue", desc.name);
        found
    }

    fn family(&self, desc: &Desc) -> Option<&Family> {
        self.index(desc).map(|index| &self.families[index])
    }

    fn note(&self, family: &Family, landing: Landing) {
        if landing == Landing::Overflow {
            let name = family.desc().name;
            self.add(catalogue::REGISTRY_OVERFLOW, &[name], 1);
        }
    }
}

#[cfg(test)]
mod tests;
