//! One commit: everything that a group of deliveries changes, worked out in memory first.
//!
//! Reports are resolved with their neighbourhood, counters are held against requests, and only
//! the differences to what counted before are written: to the roll-ups, to the control totals
//! and to what `/metrics` publishes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::StoreError;
use super::cover::{QUARTERS_PER_DAY, Scopes};
use super::dict::Dictionaries;
use super::fact::{Fact, Hash, State, Statements};
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
}

/// A commit under way.
pub(super) struct Commit<'a> {
    connection: &'a Connection,
    memory: &'a mut Memory,
    terms: &'a Terms,
    spans: &'a Spans,
    statements: Statements<'a>,
    received: i64,
    facts: HashMap<i64, Fact>,
    fresh: Vec<i64>,
    changed: HashSet<i64>,
    /// Join keys of fresh reports.
    joins: Vec<(i64, i64)>,
    scopes: Scopes,
    sums: HashMap<rollup::Key, Sums>,
    control: HashMap<(i64, i64, i64), [i64; 14]>,
    published: HashMap<i64, Difference>,
    durations: HashMap<(String, String), (Vec<u32>, u64)>,
    activities: HashMap<ActivityLabels, i64>,
    activity_sums: HashMap<(i64, i64, &'static str, i64), i64>,
    active: HashMap<i64, i64>,
    reports: HashMap<(Arc<str>, &'static str), u64>,
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

/// A request that begins to count and has no published series yet.
struct Newcomer {
    fact: i64,
    scope: Option<(i64, i64)>,
    difference: Difference,
    identity: i64,
    sku: i64,
    at_ms: i64,
}

/// What one request adds.
struct Contribution {
    quarter: i64,
    identity: i64,
    sku: i64,
    model: i64,
    session: Option<i64>,
    device_day: Option<i64>,
    at_ms: i64,
    source: i64,
    tokens: Tokens,
    outcome: Outcome,
    amounts: Amounts,
    cost: Option<i64>,
}

impl Contribution {
    fn sums(&self) -> Sums {
        Sums {
            requests: 1,
            errors: i64::from(self.outcome == Outcome::Error),
            tokens: by_kind(&self.tokens),
            cost: self.cost.unwrap_or(0),
            unpriced: self.unpriced(),
        }
    }

    fn unpriced(&self) -> i64 {
        match self.cost {
            Some(_) => 0,
            None => by_kind(&self.tokens).iter().sum(),
        }
    }

    fn difference(&self) -> Difference {
        let mut difference = Difference::default();
        difference[..4].copy_from_slice(&self.amounts[..4]);
        difference[COST] = self.cost.unwrap_or(0);
        difference[CLIENT_COST] = self.amounts[excess::CLIENT_COST];
        difference[UNPRICED] = self.unpriced();
        difference[requests_of(self.outcome)] = 1;
        difference
    }
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
            received: now.as_millisecond().div_euclid(DAY_MS),
            facts: HashMap::new(),
            fresh: Vec::new(),
            changed: HashSet::new(),
            joins: Vec::new(),
            series: HashMap::new(),
            scopes: Scopes::default(),
            sums: HashMap::new(),
            control: HashMap::new(),
            published: HashMap::new(),
            durations: HashMap::new(),
            activities: HashMap::new(),
            activity_sums: HashMap::new(),
            active: HashMap::new(),
            reports: HashMap::new(),
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

    fn take_record(&mut self, record: &UsageRecord, claim: &Claim) -> Result<Verdict> {
        let (id, key) = (claim.id, claim.key);
        let identity = self.identity(&record.identity)?;
        let sku = self.sku(&record.sku)?;
        let at_ms = record.at.as_millisecond();
        let session = match &record.session {
            Some(session) => Some(self.session(&format!("s:{session}"))?),
            None => None,
        };
        let hashed = |domain: &str, id: &Option<Box<str>>| {
            id.as_ref().map(|id| {
                let mut hash = Hash::new(domain);
                hash.text(id);
                hash.short()
            })
        };
        let booked_ms = record.booked_at.as_millisecond();
        let fact = Fact {
            id,
            key,
            received: self.received,
            source: self
                .memory
                .dictionaries
                .source(self.connection, &record.source)?,
            rank: self.terms.rank(&record.source),
            control: self.terms.is_control(record),
            provider_form: record
                .request_id
                .as_ref()
                .is_some_and(|id| id.starts_with("req_")),
            client: matches!(&*record.source, source::EVENTS | source::RETRIES),
            at_ms,
            booked_ms: (booked_ms != at_ms).then_some(booked_ms),
            identity,
            sku,
            model: self.memory.dictionaries.model_of(sku)?,
            session,
            request: hashed("request", &record.request_id),
            client_request: hashed("client request", &record.client_request_id),
            reservation: hashed("reservation", &record.reservation),
            tokens: record.tokens,
            outcome: record.outcome,
            status_code: record.status_code,
            duration_ms: record.duration_ms,
            ttft_ms: record.ttft_ms,
            tools: record.tools,
            query_source: self.label(record.query_source.as_deref())?,
            entrypoint: self.label(record.entrypoint.as_deref())?,
            client_cost: record.client_cost.map(micros_of),
            state: State::default(),
        };
        self.joins.extend(fact.joins().map(|join| (join, id)));
        self.control_reported(&fact);
        if &*record.source == source::EVENTS {
            self.cover_event(&fact, &record.identity)?;
        }
        self.fresh.push(id);
        self.facts.insert(id, fact);
        Ok(Verdict::Accepted)
    }

    /// A known key: the same fact again, or another one under its name.
    fn recognise(&mut self, key: &[u8; 16], record: &UsageRecord) -> Result<Verdict> {
        let id = self.statements.by_key(key)?;
        let Some(known) = self.fact(id)? else {
            return Ok(Verdict::Duplicate);
        };
        if known.tokens == record.tokens {
            return Ok(Verdict::Duplicate);
        }
        Ok(Verdict::Rejected(Refusal {
            code: "id_conflict",
            message: "id: known already with other token counts".to_owned(),
        }))
    }

    fn take_point(&mut self, point: &Point) -> Result<Verdict> {
        let start_ms = point.start.as_millisecond();
        let at_ms = point.at.as_millisecond();
        let increases = match point.temporality {
            Temporality::Delta => {
                let mut key = Hash::new("delta");
                key.bytes(&point.series).number(start_ms).number(at_ms);
                if !self.first_seen(key.long())? {
                    return Ok(Verdict::Duplicate);
                }
                vec![(start_ms, fact_signed(point.value))]
            }
            Temporality::Cumulative => match self.cumulative(point)? {
                Some(increases) => increases,
                None => return Ok(Verdict::Duplicate),
            },
        };
        let identity = self.identity(&point.identity)?;
        self.note_active(identity, at_ms);
        for (at_ms, amount) in increases {
            self.take_increase(point, identity, at_ms, amount)?;
        }
        Ok(Verdict::Accepted)
    }

    /// Adds a point to its cumulative run and returns how the increases changed.
    fn cumulative(&mut self, point: &Point) -> Result<Option<Vec<(i64, i64)>>> {
        let start_ms = point.start.as_millisecond();
        let stored = self
            .connection
            .prepare_cached("SELECT points FROM cumulative WHERE series = ? AND start = ?")
            .and_then(|mut select| {
                let mut rows = select.query(params![point.series, start_ms])?;
                rows.next()?.map(|row| row.get(0)).transpose()
            })
            .map_err(StoreError::sql("read a cumulative counter"))?;
        let mut run = match stored {
            Some(points) => {
                let points: Vec<u8> = points;
                Run::from_bytes(start_ms, &points)
            }
            None => Run::new(start_ms),
        };
        let before = run.increases();
        let inserted = run.insert(CumulativePoint {
            at_ms: point.at.as_millisecond(),
            value: point.value,
        });
        if !inserted {
            return Ok(None);
        }
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO cumulative (series, start, received, points) \
                 VALUES (?, ?, ?, ?)",
            )
            .and_then(|mut upsert| {
                upsert.execute(params![
                    point.series,
                    start_ms,
                    self.received,
                    run.to_bytes()
                ])
            })
            .map_err(StoreError::sql("store a cumulative counter"))?;
        let mut changes: HashMap<i64, i64> = HashMap::new();
        for (at_ms, added) in run.increases() {
            *changes.entry(at_ms).or_default() += fact_signed(added);
        }
        for (at_ms, added) in before {
            *changes.entry(at_ms).or_default() -= fact_signed(added);
        }
        changes.retain(|_, change| *change != 0);
        Ok(Some(changes.into_iter().collect()))
    }

    fn take_increase(
        &mut self,
        point: &Point,
        identity: i64,
        at_ms: i64,
        amount: i64,
    ) -> Result<()> {
        let mut amounts = Amounts::default();
        let sku = match &point.what {
            Counted::Tokens { kind, sku } => {
                let place = TokenKind::ALL.iter().position(|k| k == kind);
                amounts[place.unwrap_or(0)] = amount;
                sku
            }
            Counted::ClientCost { sku } => {
                amounts[excess::CLIENT_COST] = amount;
                sku
            }
            Counted::Requests { sku } => {
                amounts[excess::REQUESTS] = amount;
                sku
            }
            Counted::Activity { metric, labels } => {
                return self.add_activity(
                    *metric,
                    labels,
                    identity,
                    &point.identity,
                    at_ms,
                    amount,
                );
            }
        };
        let sku = self.sku(sku)?;
        let model = self.memory.dictionaries.model_of(sku)?;
        let day = at_ms.div_euclid(DAY_MS);
        let everyone = self.session(&format!("m:{day}"))?;
        let scope = match (&point.session, &point.identity.device) {
            (Some(session), _) => self.session(&format!("s:{session}"))?,
            (None, Some(device)) => self.session(&format!("d:{device}@{day}"))?,
            (None, None) => everyone,
        };
        let quarter = quarter_of(at_ms);
        let source = self
            .memory
            .dictionaries
            .source(self.connection, &point.source)?;
        self.scopes
            .meter((scope, model), [quarter, identity, sku, source], &amounts);
        self.scopes.is_everyone(everyone);
        let row = self.control.entry((day, source, sku)).or_default();
        row[0] += amounts[excess::REQUESTS];
        row[2] += amounts[0];
        row[3] += amounts[1];
        row[4] += amounts[2];
        row[7] += amounts[3];
        Ok(())
    }

    fn take_activity(&mut self, activity: &Activity) -> Result<Verdict> {
        let mut key = Hash::new("activity");
        key.text(&activity.source)
            .text(activity.metric.name())
            .bytes(&activity.id);
        if !self.first_seen(key.long())? {
            return Ok(Verdict::Duplicate);
        }
        let identity = self.identity(&activity.identity)?;
        let at_ms = activity.at.as_millisecond();
        self.note_active(identity, at_ms);
        self.add_activity(
            activity.metric,
            &activity.labels,
            identity,
            &activity.identity,
            at_ms,
            fact_signed(activity.amount),
        )?;
        Ok(Verdict::Accepted)
    }

    fn add_activity(
        &mut self,
        metric: ActivityMetric,
        labels: &[Box<str>],
        identity: i64,
        who: &Identity,
        at_ms: i64,
        amount: i64,
    ) -> Result<()> {
        let text = labels.join(&SEPARATOR.to_string());
        let label = self.memory.dictionaries.label(self.connection, &text)?;
        let key = (quarter_of(at_ms), identity, metric.name(), label);
        *self.activity_sums.entry(key).or_default() += amount;
        let personal = !matches!(
            metric,
            ActivityMetric::Events | ActivityMetric::UnknownMetrics | ActivityMetric::ToolResults
        );
        let (user, team) = if personal {
            self.terms.shown(who, at_ms)
        } else {
            (String::new(), String::new())
        };
        let labels = ActivityLabels {
            metric: metric.name(),
            user,
            team,
            labels: text,
        };
        *self.activities.entry(labels).or_default() += amount;
        Ok(())
    }

    fn first_seen(&mut self, key: [u8; 16]) -> Result<bool> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO seen (key, received) VALUES (?, ?)")
            .and_then(|mut insert| insert.execute(params![key, self.received]))
            .map(|changed| changed == 1)
            .map_err(StoreError::sql("recognise a point"))
    }

    /// Holds an event against counters: per session, and per device and day.
    fn cover_event(&mut self, fact: &Fact, identity: &Identity) -> Result<()> {
        let amounts = fact.amounts();
        let quarter = quarter_of(fact.at_ms);
        if let Some(session) = fact.session {
            self.scopes.event(session, fact.model, quarter, &amounts);
        }
        if let Some(device) = &identity.device {
            let day = fact.at_ms.div_euclid(DAY_MS);
            let scope = self.session(&format!("d:{device}@{day}"))?;
            self.scopes.event(scope, fact.model, quarter, &amounts);
        }
        Ok(())
    }

    /// Notes how the counted part of a source's counters has changed.
    fn control_counted(&mut self, (quarter, _, sku): rollup::Key, source: i64, sums: &Sums) {
        let day = quarter.div_euclid(QUARTERS_PER_DAY);
        let row = self.control.entry((day, source, sku)).or_default();
        row[1] += sums.requests;
        for (sum, count) in row[8..].iter_mut().zip(sums.tokens) {
            *sum += count;
        }
    }

    fn control_reported(&mut self, fact: &Fact) {
        let day = fact.at_ms.div_euclid(DAY_MS);
        let row = self
            .control
            .entry((day, fact.source, fact.sku))
            .or_default();
        row[0] += 1;
        for (sum, count) in row[2..8].iter_mut().zip(by_kind(&fact.tokens)) {
            *sum += count;
        }
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

    /// The reports that may be about common requests with a fresh one.
    fn neighbourhood(&mut self, first: i64, placed: &mut HashSet<i64>) -> Result<Vec<i64>> {
        let mut members = vec![first];
        placed.insert(first);
        let mut next = 0;
        while let Some(member) = members.get(next).copied() {
            next += 1;
            let Some(fact) = self.fact(member)? else {
                continue;
            };
            for join in fact.joins() {
                let room = MAX_NEIGHBOURS.saturating_sub(members.len());
                for neighbour in self.statements.joined(join, room)? {
                    if placed.insert(neighbour) {
                        members.push(neighbour);
                    }
                }
            }
        }
        Ok(members)
    }

    fn resolve(&mut self, ids: &[i64], newcomers: &mut Vec<Newcomer>) -> Result<()> {
        let mut facts = Vec::with_capacity(ids.len());
        for id in ids {
            facts.extend(self.fact(*id)?.cloned());
        }
        let reports: Vec<_> = facts.iter().map(Fact::report).collect();
        let groups = once::resolve(&reports);
        let mut before: HashMap<i64, Vec<&Fact>> = HashMap::new();
        for fact in &facts {
            let group = fact.state.group.unwrap_or(fact.id);
            before.entry(group).or_default().push(fact);
        }
        let mut pins: HashMap<i64, i64> = HashMap::new();
        for (best, mut members) in before {
            members.sort_by_key(|fact| fact.id != best);
            let Some(first) = members.first().filter(|f| f.state.counted_as.is_some()) else {
                continue;
            };
            let old = self.contribution(&members, first.state.cost)?;
            self.count(&old, -1);
            if let Some(pin) = first.state.pin {
                add(
                    self.published.entry(pin).or_default(),
                    &old.difference(),
                    -1,
                );
                pins.insert(first.id, pin);
                if first.duration_ms.is_some() {
                    self.duration(&old)?.1 += 1;
                }
            }
        }
        for group in groups {
            let members: Vec<&Fact> = group.members.iter().map(|m| &facts[*m]).collect();
            let best = self.count_group(&members, group.counts, &pins, newcomers)?;
            let other = State {
                group: best.group,
                ..State::default()
            };
            self.set_state(members[0].id, best);
            for member in &members[1..] {
                self.set_state(member.id, other);
            }
        }
        Ok(())
    }

    /// Counts one request, in the series where one of its reports was first counted. Returns the
    /// state of its best report.
    fn count_group(
        &mut self,
        members: &[&Fact],
        counts: bool,
        pins: &HashMap<i64, i64>,
        newcomers: &mut Vec<Newcomer>,
    ) -> Result<State> {
        let best = members[0];
        let mut state = State {
            group: (members.len() > 1).then_some(best.id),
            ..State::default()
        };
        if counts {
            let sku = self.memory.dictionaries.skus.get(best.sku)?.clone();
            let cost = self.terms.cost(&best.tokens, &sku);
            let contribution = self.contribution(members, cost)?;
            self.count(&contribution, 1);
            state.counted_as = Some(contribution.identity);
            state.cost = cost;
            state.pin = members.iter().find_map(|fact| pins.get(&fact.id)).copied();
            if let Some(millis) = best.duration_ms {
                self.duration(&contribution)?.0.push(millis);
            }
            if let Some(pin) = state.pin {
                let difference = contribution.difference();
                add(self.published.entry(pin).or_default(), &difference, 1);
            } else {
                newcomers.push(Newcomer {
                    fact: best.id,
                    scope: contribution
                        .session
                        .or(contribution.device_day)
                        .map(|scope| (scope, contribution.model)),
                    difference: contribution.difference(),
                    identity: contribution.identity,
                    sku: contribution.sku,
                    at_ms: contribution.at_ms,
                });
            }
        }
        Ok(state)
    }

    /// Publishes a new request: in the series of the counters that told of it before, if they
    /// did, else in its own.
    fn publish(
        &mut self,
        newcomer: &Newcomer,
        released: &mut HashMap<(i64, i64), Vec<(i64, Amounts)>>,
    ) -> Result<()> {
        let told_before = newcomer
            .scope
            .and_then(|scope| released.get_mut(&scope))
            .and_then(|parts| {
                parts.iter_mut().find(|(_, left)| {
                    let needed = newcomer.difference[..4].iter().zip(&left[..4]);
                    left[..4].iter().any(|left| *left > 0)
                        && needed.clone().all(|(needed, left)| needed <= left)
                })
            });
        let pin = if let Some((pin, left)) = told_before {
            for (left, taken) in left.iter_mut().zip(&newcomer.difference[..4]) {
                *left -= taken;
            }
            *pin
        } else {
            self.own_series(newcomer)?
        };
        add(
            self.published.entry(pin).or_default(),
            &newcomer.difference,
            1,
        );
        if let Some(fact) = self.facts.get_mut(&newcomer.fact) {
            fact.state.pin = Some(pin);
            self.changed.insert(newcomer.fact);
        }
        Ok(())
    }

    /// The series of a request's own labels.
    fn own_series(&mut self, newcomer: &Newcomer) -> Result<i64> {
        let key = (newcomer.identity, newcomer.sku);
        if let Some(series) = self.series.get(&key) {
            return Ok(*series);
        }
        let dictionaries = &self.memory.dictionaries;
        let identity = dictionaries.identities.get(newcomer.identity)?;
        let sku = dictionaries.skus.get(newcomer.sku)?;
        let (user, team) = self.terms.shown(identity, newcomer.at_ms);
        let labels = UsageLabels {
            user,
            team,
            provider: sku.provider.to_string(),
            model: sku.model.to_string(),
        };
        let published = &mut self.memory.published;
        let series = published.usage_series(self.connection, labels)?;
        if self.terms.directory.is_empty() {
            self.series.insert(key, series);
        }
        Ok(series)
    }

    /// What a request adds, told by its reports, best first.
    fn contribution(&mut self, members: &[&Fact], cost: Option<i64>) -> Result<Contribution> {
        let best = members[0];
        // In an order of their own: what is taken back must be what was counted, however the
        // reports were found.
        let mut members = members.to_vec();
        members[1..].sort_by_key(|fact| (fact.control, fact.rank, fact.at_ms, fact.key));
        let mut identity = best.identity;
        if members.len() > 1 {
            let dictionaries = &self.memory.dictionaries;
            let mut merged = Identity::clone(dictionaries.identities.get(best.identity)?);
            for other in &members[1..] {
                merged = merged.filled_from(dictionaries.identities.get(other.identity)?);
            }
            identity = self
                .memory
                .dictionaries
                .identity(self.connection, &Arc::new(merged))?;
        }
        let device = self
            .memory
            .dictionaries
            .identities
            .get(identity)?
            .device
            .clone();
        let day = best.at_ms.div_euclid(DAY_MS);
        let device_day = match device {
            Some(device) => Some(self.session(&format!("d:{device}@{day}"))?),
            None => None,
        };
        let mut amounts = best.amounts();
        amounts[excess::CLIENT_COST] = members
            .iter()
            .filter(|fact| fact.client)
            .find_map(|fact| fact.client_cost)
            .or(best.client_cost)
            .unwrap_or(0);
        let refused = members.iter().any(|f| f.outcome == Outcome::Refused);
        Ok(Contribution {
            quarter: quarter_of(best.at_ms),
            identity,
            sku: best.sku,
            model: best.model,
            session: members.iter().find_map(|fact| fact.session),
            device_day,
            at_ms: best.at_ms,
            source: best.source,
            tokens: best.tokens,
            outcome: if refused && best.outcome == Outcome::Ok {
                Outcome::Refused
            } else {
                best.outcome
            },
            amounts,
            cost,
        })
    }

    /// Adds a request to, or takes it from, everything but the published series.
    fn count(&mut self, counted: &Contribution, sign: i64) {
        let key = (counted.quarter, counted.identity, counted.sku);
        let sums = counted.sums();
        self.sums.entry(key).or_default().add(&sums, sign);
        let day = counted.at_ms.div_euclid(DAY_MS);
        let row = self
            .control
            .entry((day, counted.source, counted.sku))
            .or_default();
        row[1] += sign;
        for (sum, count) in row[8..].iter_mut().zip(sums.tokens) {
            *sum += sign * count;
        }
        let quarter = counted.quarter;
        for scope in [counted.session, counted.device_day].into_iter().flatten() {
            self.scopes
                .request(scope, counted.model, quarter, &counted.amounts, sign);
        }
        self.scopes
            .request_of_day(day, counted.model, quarter, &counted.amounts, sign);
        if sign > 0 {
            self.note_active(counted.identity, counted.at_ms);
        }
    }

    fn duration(&mut self, counted: &Contribution) -> Result<&mut (Vec<u32>, u64)> {
        let sku = self.memory.dictionaries.skus.get(counted.sku)?;
        let labels = (sku.provider.to_string(), sku.model.to_string());
        Ok(self.durations.entry(labels).or_default())
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
        super::activity::apply(self.connection, self.activity_sums)?;
        let published = &mut self.memory.published;
        let growth = Growth {
            usage: published.apply_usage(self.connection, self.published)?,
            activities: published.apply_activities(self.connection, self.activities)?,
            durations: published.apply_durations(self.connection, self.durations)?,
        };
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

    fn note_active(&mut self, identity: i64, at_ms: i64) {
        let last = self.active.entry(identity).or_insert(at_ms);
        *last = at_ms.max(*last);
    }
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
