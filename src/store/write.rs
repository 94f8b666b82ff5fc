//! One commit: everything that a group of deliveries changes, worked out in memory first.
//!
//! Reports are resolved with their neighbourhood, counters are held against requests, and only
//! the differences to what counted before are written: to the roll-ups, to the control totals
//! and to what `/metrics` publishes.

mod requests;
mod take;
mod told;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use self::take::Impersonal;
use self::told::Told;
use super::StoreError;
use super::booked::{Booked, Bookings};
use super::cover::{QUARTERS_PER_DAY, Scopes};
use super::dict::Dictionaries;
use super::fact::{Fact, Hash, State, Statements, short_of};
use super::keys::Keys;
use super::minute::{self, MinuteEffects, Moment, Moments};
use super::numbers::{NumberMap, NumberSet};
use super::published::{
    ActivityLabels, CLIENT_COST, COST, Difference, Growth, Published, SEPARATOR, UNPRICED,
    UsageLabels, requests_of,
};
use super::rollup::{self, Sums, by_kind};
use super::span::{Spans, quarter_of, time_of};
use super::terms::Terms;
use crate::model::cumulative::{CumulativePoint, Run, UNKNOWN_START_MS};
use crate::model::excess::{self, Amounts};
use crate::model::identity::Identity;
use crate::model::once;
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::{
    Activity, ActivityMetric, Counted, Intake, Labels, Outcome, Point, Reach, Receipt, Refusal,
    Sku, Temporality, UsageRecord, Verdict, source,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Reports looked at together at most. Beyond it a report is resolved without the rest: only a
/// sender that repeats one id, or one count in one session, a thousand times gets there.
const MAX_NEIGHBOURS: usize = 1_000;

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// What outlives a commit.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) dictionaries: Dictionaries,
    pub(super) published: Published,
    pub(super) minutes: minute::Keys,
    keys: Keys,
    /// The highest number given to a report.
    pub(super) last_fact: i64,
}

impl Memory {
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let last: i64 = connection
            .query_row("SELECT coalesce(max(id), 0) FROM fact", [], |row| {
                row.get(0)
            })
            .map_err(StoreError::sql("find the last report"))?;
        let keys = Keys::load(connection)?;
        Ok(Self {
            dictionaries: Dictionaries::load(connection)?,
            published: Published::load(connection)?,
            minutes: minute::Keys::default(),
            // A number that a run of keys knows is not given again, though its report is gone.
            last_fact: last.max(keys.stored_to()),
            keys,
        })
    }
}

impl Memory {
    /// True if some report has a key.
    pub(super) fn has_report(&mut self, connection: &Connection, key: i64) -> Result<bool> {
        let mut found = Vec::new();
        self.keys.find(connection, key, 1, &mut found)?;
        Ok(!found.is_empty())
    }
}

/// What a commit changed, for the registry.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    pub growth: Growth,
    /// Who was active, and when.
    pub active: Vec<(Arc<Identity>, Timestamp)>,
    /// Reports by source name and what became of them.
    pub reports: HashMap<(Arc<str>, &'static str), u64>,
    /// What quota windows count.
    pub booked: Vec<Booked>,
    pub minutes: MinuteEffects,
}

/// A commit under way.
pub(super) struct Commit<'a> {
    connection: &'a Connection,
    memory: &'a mut Memory,
    terms: &'a Terms,
    spans: &'a Spans,
    statements: Statements<'a>,
    now_ms: i64,
    received: i64,
    reach: Reach,
    /// Reports of earlier commits, as far as they were needed.
    facts: NumberMap<i64, Fact>,
    /// The reports of this commit, numbered from `first_fresh` on.
    fresh: Vec<Fact>,
    first_fresh: i64,
    /// Reports of earlier commits whose state has changed.
    changed: NumberSet<i64>,
    /// Join keys of fresh reports.
    joins: Vec<(i64, i64)>,
    /// Reports that a key led to.
    found: Vec<i64>,
    scopes: Scopes,
    sums: rollup::Differences,
    control: super::control::Totals,
    bookings: Bookings,
    published: NumberMap<i64, Difference>,
    /// By SKU: durations, and how many are taken back.
    durations: NumberMap<i64, (Vec<u32>, u64)>,
    activities: HashMap<ActivityLabels, i64>,
    activity_sums: super::activity::Sums,
    /// Activities told without persons, by metric and the address of their labels.
    impersonal: NumberMap<(usize, usize), Impersonal>,
    active: NumberMap<i64, i64>,
    reports: HashMap<(Arc<str>, &'static str), u64>,
    moments: Moments,
    /// Identities and SKUs of this commit by address: doors share them within a delivery.
    seen_identities: NumberMap<usize, i64>,
    seen_skus: NumberMap<usize, i64>,
    /// Published series by identity and SKU, while the directory knows no dates.
    series: NumberMap<(i64, i64), i64>,
    /// The scopes of identities that name a device, by identity and day.
    device_days: NumberMap<(i64, i64), Option<i64>>,
    /// Where the name of a session is put together.
    name: String,
}

impl<'a> Commit<'a> {
    pub(super) fn begin(
        connection: &'a Connection,
        memory: &'a mut Memory,
        terms: &'a Terms,
        spans: &'a Spans,
        reach: Reach,
        now: Timestamp,
    ) -> Result<Self> {
        Ok(Self {
            statements: Statements::prepare(connection)?,
            connection,
            first_fresh: memory.last_fact + 1,
            memory,
            terms,
            spans,
            now_ms: now.as_millisecond(),
            received: now.as_millisecond().div_euclid(DAY_MS),
            reach,
            facts: NumberMap::default(),
            fresh: Vec::new(),
            changed: NumberSet::default(),
            joins: Vec::new(),
            found: Vec::new(),
            series: NumberMap::default(),
            device_days: NumberMap::default(),
            name: String::new(),
            scopes: Scopes::default(),
            sums: NumberMap::default(),
            control: NumberMap::default(),
            bookings: Bookings::default(),
            published: NumberMap::default(),
            durations: NumberMap::default(),
            activities: HashMap::new(),
            activity_sums: NumberMap::default(),
            impersonal: NumberMap::default(),
            active: NumberMap::default(),
            reports: HashMap::new(),
            moments: Moments::default(),
            seen_identities: NumberMap::default(),
            seen_skus: NumberMap::default(),
        })
    }

    /// Takes deliveries, each with its own receipt.
    pub(super) fn take(&mut self, intakes: &[Intake]) -> Result<Vec<Receipt>> {
        let records = intakes.iter().map(|intake| intake.records.len()).sum();
        self.fresh.reserve(records);
        intakes.iter().map(|intake| self.take_one(intake)).collect()
    }

    fn take_one(&mut self, intake: &Intake) -> Result<Receipt> {
        self.seen_identities.clear();
        self.seen_skus.clear();
        let mut receipt = Receipt::default();
        // A delivery mostly comes from one source, with one result.
        let mut alike: Option<(&Arc<str>, &'static str, u64)> = None;
        for record in &intake.records {
            let verdict = self.take_record(record)?;
            let result = match &verdict {
                Verdict::Accepted => "accepted",
                Verdict::Duplicate => "duplicate",
                Verdict::Rejected(_) => "conflict",
            };
            receipt.records.push(verdict);
            match &mut alike {
                Some((source, same, count)) if **source == record.source && *same == result => {
                    *count += 1;
                }
                _ => self.tell(alike.replace((&record.source, result, 1))),
            }
        }
        self.tell(alike);
        for point in &intake.points {
            receipt.points.push(self.take_point(point)?);
        }
        let mut told = Told::of(&intake.records, &receipt.records, &intake.activities);
        for activity in &intake.activities {
            let verdict = self.take_activity(activity, told.take(activity))?;
            receipt.activities.push(verdict);
        }
        Ok(receipt)
    }

    fn tell(&mut self, reports: Option<(&Arc<str>, &'static str, u64)>) {
        if let Some((source, result, count)) = reports {
            *self.reports.entry((source.clone(), result)).or_default() += count;
        }
    }

    /// The report with this key, if there is one.
    fn known(&mut self, key: &[u8; 16]) -> Result<Option<i64>> {
        for id in self.find(short_of(key), MAX_NEIGHBOURS)? {
            if self.fact(id)?.is_some_and(|fact| fact.key == *key) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The reports with half a key, or with a join key, `limit` at most.
    fn find(&mut self, key: i64, limit: usize) -> Result<Vec<i64>> {
        let keys = &mut self.memory.keys;
        keys.find(self.connection, key, limit, &mut self.found)?;
        Ok(self.found.clone())
    }

    /// Works out what changed, writes it, and tells the effects. The caller commits.
    pub(super) fn settle(mut self) -> Result<Effects> {
        let mut newcomers = Vec::with_capacity(self.fresh.len());
        let mut placed = NumberSet::default();
        for first in self.join()? {
            if placed.contains(&first) {
                continue;
            }
            let neighbourhood = self.neighbourhood(first, &mut placed)?;
            self.resolve(&neighbourhood, &mut newcomers)?;
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        let pins = HashMap::new();
        for alone in &mut fresh {
            if placed.is_empty() || !placed.contains(&alone.id) {
                alone.state = self.count_group(&[alone], !alone.control, &pins, &mut newcomers)?;
            }
        }
        self.fresh = fresh;
        let excess = self
            .scopes
            .settle(self.connection, self.memory, self.terms)?;
        for (key, source, sums) in excess.sums {
            self.sums.entry(key).or_default().add(&sums, 1);
            self.control_counted(key, source, &sums);
            self.bookings.excess(key, &sums);
            self.note_excess(key, &sums)?;
        }
        let mut released = excess.released;
        for (series, difference) in excess.published {
            add(self.published.entry(series).or_default(), &difference, 1);
        }
        match self.reach {
            Reach::Live => {
                for newcomer in newcomers {
                    self.publish(&newcomer, &mut released)?;
                }
            }
            Reach::Backfill => self.keep_from_view(),
        }
        self.write()
    }

    /// Lets go of what would be published. A request without a published series gets one when a
    /// report tells of it that is no history.
    fn keep_from_view(&mut self) {
        self.published.clear();
        self.durations.clear();
        self.activities.clear();
        self.impersonal.clear();
        self.moments = Moments::default();
    }

    /// Stores the join keys and returns the fresh reports that share one with another report.
    fn join(&mut self) -> Result<Vec<i64>> {
        let mut neighbours = Vec::new();
        for (join, id) in std::mem::take(&mut self.joins) {
            let keys = &mut self.memory.keys;
            keys.find(self.connection, join, 1, &mut self.found)?;
            if !self.found.is_empty() {
                neighbours.push(id);
            }
            keys.insert(join, id);
        }
        Ok(neighbours)
    }

    fn set_state(&mut self, id: i64, state: State) {
        if let Some(fact) = self.fact_mut(id)
            && fact.state != state
        {
            fact.state = state;
            if id < self.first_fresh {
                self.changed.insert(id);
            }
        }
    }

    fn write(mut self) -> Result<Effects> {
        self.statements.insert(&self.fresh)?;
        for id in &self.changed {
            self.statements.update(*id, &self.facts[id].state)?;
        }
        rollup::apply(self.connection, self.spans, self.sums)?;
        super::control::apply(self.connection, self.control)?;
        let booked = self
            .bookings
            .write(self.connection, &self.memory.dictionaries)?;
        super::activity::apply(self.connection, self.activity_sums)?;
        self.memory
            .keys
            .settle(self.connection, self.memory.last_fact)?;
        let mut durations: HashMap<_, (Vec<u32>, u64)> = HashMap::new();
        for (sku, (millis, taken_back)) in self.durations {
            let sku = self.memory.dictionaries.skus.get(sku)?;
            let labels = (sku.provider.to_string(), sku.model.to_string());
            let sum = durations.entry(labels).or_default();
            sum.0.extend(millis);
            sum.1 += taken_back;
        }
        for told in self.impersonal.into_values() {
            *self.activities.entry(told.labels).or_default() += told.amount;
        }
        let published = &mut self.memory.published;
        let mut growth = Growth {
            usage: published.apply_usage(self.connection, self.published)?,
            activities: published.apply_activities(self.connection, self.activities)?,
            durations: published.apply_durations(self.connection, durations)?,
            first_tokens: Vec::new(),
        };
        let Memory {
            minutes: keys,
            dictionaries,
            ..
        } = &mut *self.memory;
        let minutes =
            self.moments
                .write(self.connection, keys, dictionaries, self.terms, self.now_ms)?;
        let published = &mut self.memory.published;
        growth.first_tokens = published.apply_first_tokens(self.connection, &minutes)?;
        let mut active = Vec::with_capacity(self.active.len());
        for (identity, at_ms) in self.active {
            let dictionaries = &mut self.memory.dictionaries;
            dictionaries.active(self.connection, identity, at_ms)?;
            if let Ok(at) = Timestamp::from_millisecond(at_ms) {
                active.push((dictionaries.identities.get(identity)?.clone(), at));
            }
        }
        Ok(Effects {
            growth,
            active,
            reports: self.reports,
            booked,
            minutes,
        })
    }

    fn fact(&mut self, id: i64) -> Result<Option<&Fact>> {
        if id < self.first_fresh && !self.facts.contains_key(&id) {
            let Some(fact) = self.statements.select(id)? else {
                return Ok(None);
            };
            self.facts.insert(id, fact);
        }
        Ok(self.fact_mut(id).map(|fact| &*fact))
    }

    /// A report that is in memory.
    fn fact_mut(&mut self, id: i64) -> Option<&mut Fact> {
        match usize::try_from(id - self.first_fresh) {
            Ok(place) => self.fresh.get_mut(place),
            Err(_) => self.facts.get_mut(&id),
        }
    }

    fn identity(&mut self, identity: &Arc<Identity>) -> Result<i64> {
        let address = Arc::as_ptr(identity).addr();
        if let Some(id) = self.seen_identities.get(&address) {
            return Ok(*id);
        }
        let id = self
            .memory
            .dictionaries
            .identity(self.connection, identity)?;
        self.seen_identities.insert(address, id);
        Ok(id)
    }

    fn sku(&mut self, sku: &Arc<Sku>) -> Result<i64> {
        let address = Arc::as_ptr(sku).addr();
        if let Some(id) = self.seen_skus.get(&address) {
            return Ok(*id);
        }
        let id = self.memory.dictionaries.sku(self.connection, sku)?;
        self.seen_skus.insert(address, id);
        Ok(id)
    }

    fn session(&mut self, session: &str) -> Result<i64> {
        self.scope(format_args!("s:{session}"))
    }

    /// The scope of a device's UTC day.
    fn device_day(&mut self, device: &str, day: i64) -> Result<i64> {
        self.scope(format_args!("d:{device}@{day}"))
    }

    /// The scope of an identity's device on a UTC day, if it names one.
    fn device_day_of(&mut self, identity: i64, day: i64) -> Result<Option<i64>> {
        if let Some(scope) = self.device_days.get(&(identity, day)) {
            return Ok(*scope);
        }
        let who = self.memory.dictionaries.identities.get(identity)?.clone();
        let scope = match &who.device {
            Some(device) => Some(self.device_day(device, day)?),
            None => None,
        };
        self.device_days.insert((identity, day), scope);
        Ok(scope)
    }

    fn scope(&mut self, name: std::fmt::Arguments<'_>) -> Result<i64> {
        self.name.clear();
        // Writing to a string never fails.
        let _ = self.name.write_fmt(name);
        let dictionaries = &mut self.memory.dictionaries;
        dictionaries.session(self.connection, &self.name)
    }

    fn label(&mut self, text: Option<&str>) -> Result<Option<i64>> {
        text.map(|text| self.memory.dictionaries.label(self.connection, text))
            .transpose()
    }

    /// Counters count in quarter hours: in the present one now, in one before at its end.
    fn note_excess(&mut self, (quarter, identity, sku): rollup::Key, sums: &Sums) -> Result<()> {
        let start = super::span::start_of(quarter).as_millisecond();
        let end = super::span::start_of(quarter + 1).as_millisecond() - 1;
        let moment = Moment {
            at_ms: self.now_ms.clamp(start, end),
            identity,
            sku: Some(sku),
            tokens: sums.tokens.iter().sum(),
            unpriced: sums.unpriced,
            requests: sums.requests,
            ..Moment::default()
        };
        let model = &self.memory.dictionaries.skus.get(sku)?.model;
        self.moments.excess(moment, model);
        Ok(())
    }

    fn note_active(&mut self, identity: i64, at_ms: i64) {
        let last = self.active.entry(identity).or_insert(at_ms);
        *last = at_ms.max(*last);
    }
}

/// The key under which reports with a reservation are found.
pub(super) fn reservation_key(id: &str) -> i64 {
    let mut hash = Hash::new("reservation");
    hash.text(id);
    hash.short()
}

fn add(sum: &mut Difference, difference: &Difference, sign: i64) {
    for (sum, part) in sum.iter_mut().zip(difference) {
        *sum = sum.saturating_add(sign * part);
    }
}

fn fact_signed(value: u64) -> i64 {
    super::fact::signed(value)
}

fn micros_of(cost: crate::model::money::PicoUsd) -> i64 {
    i64::try_from(cost.0 / 1_000_000).unwrap_or(i64::MAX)
}
