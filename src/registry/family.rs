//! One metric family: its series by exact key, their values and its bound.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::OTHER;
use super::snapshot::{Histogram, Layout, Snapshot, Value, Values};
use crate::model::catalogue::{Desc, Kind};

/// Where a value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    /// Into its own series.
    Exact,
    /// Into a series of label values `other`, or nowhere if it is a gauge.
    Overflow,
}

#[derive(Debug)]
pub(super) struct Family {
    desc: &'static Desc,
    bound: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The series' text, which is its key, to its place in `values`.
    slots: HashMap<Arc<str>, usize>,
    /// The key of each slot.
    keys: Vec<Arc<str>>,
    values: Values,
    /// Slots whose series was removed.
    free: Vec<usize>,
    /// Series that were made for others beyond the bound; they are not counted against it.
    folded: usize,
    /// The series as of the last snapshot.
    layout: Arc<Layout>,
    /// The slots of those that came since.
    fresh: Vec<usize>,
    /// Room to write a key into.
    scratch: String,
}

impl Family {
    pub(super) fn new(desc: &'static Desc, bound: usize) -> Self {
        let values = match desc.kind {
            Kind::Counter => Values::Counters(Vec::new()),
            Kind::Gauge => Values::Gauges(Vec::new()),
            Kind::Histogram(_) => Values::Histograms(Vec::new()),
        };
        Self {
            desc,
            bound,
            state: Mutex::new(State {
                slots: HashMap::new(),
                keys: Vec::new(),
                values,
                free: Vec::new(),
                folded: 0,
                layout: Arc::default(),
                fresh: Vec::new(),
                scratch: String::new(),
            }),
        }
    }

    pub(super) fn desc(&self) -> &'static Desc {
        self.desc
    }

    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    pub(super) fn add(&self, labels: &[&str], amount: u128) -> Landing {
        self.change(labels, |values, slot| {
            if let Values::Counters(values) = values {
                values[slot] = values[slot].saturating_add(amount);
            }
        })
    }

    pub(super) fn raise(&self, labels: &[&str], total: u128) -> Landing {
        self.change(labels, |values, slot| {
            if let Values::Counters(values) = values {
                values[slot] = values[slot].max(total);
            }
        })
    }

    pub(super) fn set(&self, labels: &[&str], value: f64) -> Landing {
        self.change(labels, |values, slot| {
            if let Values::Gauges(values) = values {
                values[slot] = value;
            }
        })
    }

    pub(super) fn observe(&self, labels: &[&str], value: f64) -> Landing {
        let Kind::Histogram(bounds) = self.desc.kind else {
            debug_assert!(false, "{} is not a histogram", self.desc.name);
            return Landing::Exact;
        };
        if !value.is_finite() || value < 0.0 {
            return Landing::Exact;
        }
        let bucket = bounds.partition_point(|bound| *bound < value);
        let amount = to_scale(value, self.desc.scale);
        self.change(labels, |values, slot| {
            if let Values::Histograms(values) = values {
                let histogram = &mut values[slot];
                histogram.counts[bucket] = histogram.counts[bucket].saturating_add(1);
                histogram.sum = histogram.sum.saturating_add(amount);
            }
        })
    }

    pub(super) fn restore_histogram(&self, labels: &[&str], buckets: &[u64], sum: u128) -> Landing {
        self.change(labels, |values, slot| {
            if let Values::Histograms(values) = values {
                let histogram = &mut values[slot];
                let last = histogram.counts.len() - 1;
                for (bucket, count) in buckets.iter().enumerate() {
                    let bucket = &mut histogram.counts[bucket.min(last)];
                    *bucket = bucket.saturating_add(*count);
                }
                histogram.sum = histogram.sum.saturating_add(sum);
            }
        })
    }

    /// The slot of a counter's series. It stays for as long as the registry lives.
    pub(super) fn counter_slot(&self, labels: &[&str]) -> Option<(usize, Landing)> {
        debug_assert_eq!(self.desc.kind, Kind::Counter, "{}", self.desc.name);
        if self.desc.kind != Kind::Counter {
            return None;
        }
        self.slot(&mut self.lock(), labels)
    }

    pub(super) fn add_to(&self, slot: usize, amount: u128) {
        if let Values::Counters(values) = &mut self.lock().values {
            values[slot] = values[slot].saturating_add(amount);
        }
    }

    pub(super) fn read(&self, labels: &[&str]) -> Option<Value> {
        let mut key = String::new();
        write_key(self.desc, labels, &mut key);
        let state = self.lock();
        let slot = *state.slots.get(key.as_str())?;
        Some(match &state.values {
            Values::Counters(values) => Value::Counter(values[slot]),
            Values::Gauges(values) => Value::Gauge(values[slot]),
            Values::Histograms(values) => Value::Histogram(values[slot].clone()),
        })
    }

    /// Removes a gauge's series. Counters only move, histograms never lose any.
    pub(super) fn remove(&self, labels: &[&str]) {
        let mut key = String::new();
        write_key(self.desc, labels, &mut key);
        let mut state = self.lock();
        if let Some(slot) = state.slots.remove(key.as_str()) {
            state.layout = Arc::new(state.layout.without(slot));
            state.fresh.retain(|fresh| *fresh != slot);
            state.free.push(slot);
        }
    }

    /// Moves what stands under one user to another, adding to what is there. Families without a
    /// `user` label, and gauges, whose owners set them anew, stay.
    pub(super) fn rename_user(&self, old: &str, new: &str) {
        if !self.desc.labels.contains(&"user") || self.desc.kind != Kind::Counter {
            return;
        }
        let quoted = |user: &str| {
            let mut text = String::from("user=\"");
            escape(user, &mut text);
            text + "\""
        };
        let (old, new) = (quoted(old), quoted(new));
        let mut state = self.lock();
        let is_named = |key: &Arc<str>| {
            key.match_indices(&*old)
                .any(|(at, _)| key[..at].ends_with(['{', ',']))
        };
        let keys: Vec<Arc<str>> = state
            .slots
            .keys()
            .filter(|k| is_named(k))
            .cloned()
            .collect();
        for key in keys {
            let value = state.take_counter(&key);
            let key = key.replacen(&*old, &new, 1);
            let slot = match state.slots.get(key.as_str()) {
                Some(slot) => *slot,
                None => state.insert(&key, self.desc.kind),
            };
            if let Values::Counters(values) = &mut state.values {
                values[slot] = values[slot].saturating_add(value);
            }
        }
    }

    /// The family as it is now. Formatting happens outside the lock: all that is done within is
    /// a copy of the values, and of the layout if series are new since the last time.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut state = self.lock();
        state.lay_out();
        Snapshot {
            desc: self.desc,
            layout: Arc::clone(&state.layout),
            values: state.values.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves numbers that are as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, labels: &[&str], change: impl FnOnce(&mut Values, usize)) -> Landing {
        let mut state = self.lock();
        let Some((slot, landing)) = self.slot(&mut state, labels) else {
            return Landing::Overflow;
        };
        change(&mut state.values, slot);
        landing
    }

    /// Finds or makes the series for these labels. `None` if it is a gauge beyond the bound: a
    /// sum of gauges means nothing.
    fn slot(&self, state: &mut State, labels: &[&str]) -> Option<(usize, Landing)> {
        let mut key = std::mem::take(&mut state.scratch);
        let found = self.slot_by(state, labels, &mut key);
        state.scratch = key;
        found
    }

    fn slot_by(
        &self,
        state: &mut State,
        labels: &[&str],
        key: &mut String,
    ) -> Option<(usize, Landing)> {
        write_key(self.desc, labels, key);
        if let Some(slot) = state.slots.get(key.as_str()) {
            return Some((*slot, Landing::Exact));
        }
        if state.slots.len() - state.folded < self.bound {
            return Some((state.insert(key, self.desc.kind), Landing::Exact));
        }
        if self.desc.kind == Kind::Gauge {
            return None;
        }
        let slot = self.folded_slot(state, labels, key);
        Some((slot, Landing::Overflow))
    }

    fn folded_slot(&self, state: &mut State, labels: &[&str], key: &mut String) -> usize {
        let mut labels = labels.to_vec();
        if let Some(user) = self.desc.labels.iter().position(|label| *label == "user") {
            labels[user] = OTHER;
            write_key(self.desc, &labels, key);
            if let Some(slot) = state.slots.get(key.as_str()) {
                return *slot;
            }
            if state.folded < (self.bound / 10).max(1) {
                state.folded += 1;
                return state.insert(key, self.desc.kind);
            }
        }
        labels.fill(OTHER);
        write_key(self.desc, &labels, key);
        if let Some(slot) = state.slots.get(key.as_str()) {
            return *slot;
        }
        state.folded += 1;
        state.insert(key, self.desc.kind)
    }
}

impl State {
    fn insert(&mut self, key: &str, kind: Kind) -> usize {
        let key: Arc<str> = key.into();
        let slot = if let Some(slot) = self.free.pop() {
            self.keys[slot] = Arc::clone(&key);
            slot
        } else {
            self.keys.push(Arc::clone(&key));
            match &mut self.values {
                Values::Counters(values) => values.push(0),
                Values::Gauges(values) => values.push(0.0),
                Values::Histograms(values) => values.push(empty(kind)),
            }
            self.keys.len() - 1
        };
        self.slots.insert(key, slot);
        self.fresh.push(slot);
        slot
    }

    /// Removes a counter's series and returns its value.
    fn take_counter(&mut self, key: &str) -> u128 {
        let Some(slot) = self.slots.remove(key) else {
            return 0;
        };
        self.layout = Arc::new(self.layout.without(slot));
        self.fresh.retain(|fresh| *fresh != slot);
        self.free.push(slot);
        match &mut self.values {
            Values::Counters(values) => std::mem::take(&mut values[slot]),
            Values::Gauges(_) | Values::Histograms(_) => 0,
        }
    }

    /// Brings the layout up to date.
    fn lay_out(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let keys = &self.keys;
        self.fresh.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
        let fresh = self.fresh.drain(..).map(|slot| (&*keys[slot], slot));
        self.layout = Arc::new(self.layout.with(fresh.collect()));
    }
}

fn empty(kind: Kind) -> Histogram {
    let buckets = match kind {
        Kind::Histogram(bounds) => bounds.len() + 1,
        Kind::Counter | Kind::Gauge => 0,
    };
    Histogram {
        counts: vec![0; buckets],
        sum: 0,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has checked that the value is finite and not negative; the cast saturates"
)]
fn to_scale(value: f64, scale: u8) -> u128 {
    (value * 10_f64.powi(scale.into())).round() as u128
}

/// Writes a series' text, which is its key too: escaping keeps different values different.
fn write_key(desc: &Desc, labels: &[&str], key: &mut String) {
    debug_assert_eq!(desc.labels.len(), labels.len(), "labels of {}", desc.name);
    key.clear();
    let whole = !matches!(desc.kind, Kind::Histogram(_));
    if whole {
        key.push_str(desc.name);
    }
    if whole && !labels.is_empty() {
        key.push('{');
    }
    for (index, (name, value)) in desc.labels.iter().zip(labels).enumerate() {
        if index > 0 {
            key.push(',');
        }
        key.push_str(name);
        key.push_str("=\"");
        escape(value, key);
        key.push('"');
    }
    if whole {
        key.push_str(if labels.is_empty() { " " } else { "} " });
    }
}

/// Writes a label value as both exposition formats want it.
fn escape(value: &str, out: &mut String) {
    let mut rest = value;
    let special = |byte| matches!(byte, b'\\' | b'"' | b'\n');
    while let Some(at) = rest.bytes().position(special) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'"' => "\\\"",
            _ => "\\n",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}
