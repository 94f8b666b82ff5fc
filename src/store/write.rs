//! One commit: everything that a group of deliveries changes, worked out in memory first.
//!
//! Reports are resolved with their neighbourhood, counters are held against requests, and only
//! the differences to what counted before are written: to the roll-ups, to the control totals
//! and to what `/metrics` publishes.

mod requests;
mod take;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::StoreError;
use super::booked::{Booked, Bookings};
use super::cover::{QUARTERS_PER_DAY, Scopes};
use super::dict::Dictionaries;
use super::fact::{Fact, Hash, State, Statements};
use super::minute::{self, MinuteEffects, Moment, Moments};
use super::published::{
    ActivityLabels, CLIENT_COST, COST, Difference, Growth, Published, SEPARATOR, UNPRICED,
    UsageLabels, requests_of,
};
use super::rollup::{self, Sums, by_kind};
use super::span::{Spans, quarter_of};
use super::terms::Terms;
use crate::model::cumulative::{CumulativePoint, Run};
use crate::model::excess::{self, Amounts};
use crate::model::identity::Identity;
use crate::model::once;
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::{
    Activity, ActivityMetric, Counted, Intake, Outcome, Point, Receipt, Refusal, Sku, Temporality,
    UsageRecord, Verdict, source,
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
        Ok(Self {
            dictionaries: Dictionaries::load(connection)?,
            published: Published::load(connection)?,
            minutes: minute::Keys::default(),
            last_fact: last,
        })
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
    facts: HashMap<i64, Fact>,
    fresh: Vec<i64>,
    changed: HashSet<i64>,
    /// Join keys of fresh reports.
    joins: Vec<(i64, i64)>,
    scopes: Scopes,
    sums: HashMap<rollup::Key, Sums>,
    control: HashMap<(i64, i64, i64), [i64; 14]>,
    bookings: Bookings,
    published: HashMap<i64, Difference>,
    durations: HashMap<(String, String), (Vec<u32>, u64)>,
    activities: HashMap<ActivityLabels, i64>,
    activity_sums: HashMap<(i64, i64, &'static str, i64), i64>,
    active: HashMap<i64, i64>,
    reports: HashMap<(Arc<str>, &'static str), u64>,
    moments: Moments,
    /// Identities and SKUs of this commit by address: doors share them within a delivery.
    seen_identities: HashMap<usize, i64>,
    seen_skus: HashMap<usize, i64>,
    /// Published series by identity and SKU, while the directory knows no dates.
    series: HashMap<(i64, i64), i64>,
}

/// The number and key of a record, and whether the key was free.
struct Claim {
    key: [u8; 16],
    id: i64,
    fresh: bool,
}

impl<'a> Commit<'a> {
    pub(super) fn begin(
        connection: &'a Connection,
        memory: &'a mut Memory,
        terms: &'a Terms,
        spans: &'a Spans,
        now: Timestamp,
    ) -> Result<Self> {
        Ok(Self {
            statements: Statements::prepare(connection)?,
            connection,
            memory,
            terms,
            spans,
            now_ms: now.as_millisecond(),
            received: now.as_millisecond().div_euclid(DAY_MS),
            facts: HashMap::new(),
            fresh: Vec::new(),
            changed: HashSet::new(),
            joins: Vec::new(),
            series: HashMap::new(),
            scopes: Scopes::default(),
            sums: HashMap::new(),
            control: HashMap::new(),
            bookings: Bookings::default(),
            published: HashMap::new(),
            durations: HashMap::new(),
            activities: HashMap::new(),
            activity_sums: HashMap::new(),
            active: HashMap::new(),
            reports: HashMap::new(),
            moments: Moments::default(),
            seen_identities: HashMap::new(),
            seen_skus: HashMap::new(),
        })
    }

    /// Takes deliveries, each with its own receipt.
    pub(super) fn take(&mut self, intakes: &[Intake]) -> Result<Vec<Receipt>> {
        let mut claims = self.claim(intakes)?.into_iter();
        let mut receipts = Vec::with_capacity(intakes.len());
        for intake in intakes {
            receipts.push(self.take_one(intake, &mut claims)?);
        }
        Ok(receipts)
    }

    /// Claims the keys of all records. In key order each page of the tree is visited once, which
    /// halves the time; of equal keys the first record gets it.
    fn claim(&mut self, intakes: &[Intake]) -> Result<Vec<Claim>> {
        let records = intakes.iter().flat_map(|intake| &intake.records);
        let mut claims: Vec<Claim> = records
            .map(|record| {
                let mut key = Hash::new("fact");
                key.text(&record.source).text(&record.id);
                self.memory.last_fact += 1;
                Claim {
                    key: key.long(),
                    id: self.memory.last_fact,
                    fresh: false,
                }
            })
            .collect();
        let mut order: Vec<usize> = (0..claims.len()).collect();
        order.sort_unstable_by_key(|i| (claims[*i].key, claims[*i].id));
        for i in order {
            let claim = &mut claims[i];
            claim.fresh = self.statements.claim(&claim.key, claim.id)?;
        }
        Ok(claims)
    }

    fn take_one(
        &mut self,
        intake: &Intake,
        claims: &mut impl Iterator<Item = Claim>,
    ) -> Result<Receipt> {
        self.seen_identities.clear();
        self.seen_skus.clear();
        let mut receipt = Receipt::default();
        for (record, claim) in intake.records.iter().zip(claims) {
            let verdict = if claim.fresh {
                self.take_record(record, &claim)?
            } else {
                self.recognise(&claim.key, record)?
            };
            let result = match &verdict {
                Verdict::Accepted => "accepted",
                Verdict::Duplicate => "duplicate",
                Verdict::Rejected(_) => "conflict",
            };
            *self
                .reports
                .entry((record.source.clone(), result))
                .or_default() += 1;
            receipt.records.push(verdict);
        }
        for point in &intake.points {
            receipt.points.push(self.take_point(point)?);
        }
        for activity in &intake.activities {
            receipt.activities.push(self.take_activity(activity)?);
        }
        Ok(receipt)
    }

    /// Works out what changed, writes it, and tells the effects. The caller commits.
    pub(super) fn settle(mut self) -> Result<Effects> {
        let mut newcomers = Vec::with_capacity(self.fresh.len());
        let mut placed: HashSet<i64> = HashSet::new();
        for first in self.join()? {
            if placed.contains(&first) {
                continue;
            }
            let neighbourhood = self.neighbourhood(first, &mut placed)?;
            self.resolve(&neighbourhood, &mut newcomers)?;
        }
        for id in self.fresh.clone() {
            if placed.contains(&id) {
                continue;
            }
            if let Some(alone) = self.facts.remove(&id) {
                let (counts, pins) = (!alone.control, HashMap::new());
                let state = self.count_group(&[&alone], counts, &pins, &mut newcomers)?;
                self.facts.insert(id, Fact { state, ..alone });
            }
        }
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
        for newcomer in newcomers {
            self.publish(&newcomer, &mut released)?;
        }
        self.write()
    }

    /// Stores the join keys and returns the fresh reports that share one with another report.
    fn join(&mut self) -> Result<Vec<i64>> {
        let mut neighbours = Vec::new();
        let mut joins = std::mem::take(&mut self.joins);
        joins.sort_unstable();
        for (hash, fact) in joins {
            if self.statements.join(hash, fact)? {
                neighbours.push(fact);
            }
        }
        Ok(neighbours)
    }

    fn set_state(&mut self, id: i64, state: State) {
        if let Some(fact) = self.facts.get_mut(&id)
            && fact.state != state
        {
            fact.state = state;
            self.changed.insert(id);
        }
    }

    fn write(mut self) -> Result<Effects> {
        for id in &self.fresh {
            let fact = &self.facts[id];
            self.statements.insert(fact)?;
            self.changed.remove(id);
        }
        for id in &self.changed {
            self.statements.update(*id, &self.facts[id].state)?;
        }
        rollup::apply(self.connection, self.spans, self.sums)?;
        super::control::apply(self.connection, self.control)?;
        let booked = self
            .bookings
            .write(self.connection, &self.memory.dictionaries)?;
        super::activity::apply(self.connection, self.activity_sums)?;
        let published = &mut self.memory.published;
        let growth = Growth {
            usage: published.apply_usage(self.connection, self.published)?,
            activities: published.apply_activities(self.connection, self.activities)?,
            durations: published.apply_durations(self.connection, self.durations)?,
        };
        let Memory {
            minutes: keys,
            dictionaries,
            ..
        } = &mut *self.memory;
        let minutes =
            self.moments
                .write(self.connection, keys, dictionaries, self.terms, self.now_ms)?;
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
        if !self.facts.contains_key(&id) {
            let Some(fact) = self.statements.select(id)? else {
                return Ok(None);
            };
            self.facts.insert(id, fact);
        }
        Ok(self.facts.get(&id))
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

    fn session(&mut self, name: &str) -> Result<i64> {
        self.memory.dictionaries.session(self.connection, name)
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
