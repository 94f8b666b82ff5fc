//! Adds up, request after request, what each could have cost.
//!
//! Only sums and the sessions that may still go on are in memory.
#![deny(clippy::float_arithmetic)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::offer::Offer;
use super::outcome::{
    ACHIEVED_BATCH, GroupBy, Key, Line, Opportunity, Outcomes, Reason, Sum, difference, sum,
};
use super::session::{Candidate, Evidence, Session, Sessions};
use crate::config;
use crate::model::glob::Glob;
use crate::model::money::PicoUsd;
use crate::model::policy::Policy;
use crate::model::saving::{
    Complexity, Task, at_global_endpoint, batch_limits, caching, in_batch, on_model, rule_name,
    tokens_on,
};
use crate::model::usage::{Outcome, Sku, Tier};
use crate::store::{Counted, Terms};

/// What is known of a person at a time.
#[derive(Debug)]
struct Person {
    group: usize,
    /// `None` allows all models.
    allowed: Option<Vec<Glob>>,
}

/// The same request done otherwise, for one SKU.
#[derive(Debug)]
struct Variants {
    line: usize,
    /// The request as it was.
    own: Offer,
    /// Not in a batch.
    plain: Offer,
    global: Option<Offer>,
    batch: Option<Offer>,
    /// By complexity, in the order of preference.
    models: [Vec<Offer>; 3],
}

/// Adds up requests as they come.
#[derive(Debug)]
pub(super) struct Tally {
    terms: Arc<Terms>,
    settings: config::Savings,
    policy: Option<Policy>,
    group_by: Vec<GroupBy>,
    /// The times at which the directory changes.
    edges: Vec<Timestamp>,
    /// The times at which a price changes.
    price_edges: Vec<Timestamp>,
    people: HashMap<(i64, usize), Arc<Person>>,
    group_of: HashMap<Vec<Arc<str>>, usize>,
    line_of: HashMap<Line, usize>,
    /// By SKU and the changes of prices passed.
    variants: HashMap<(i64, usize), Arc<Variants>>,
    sessions: Sessions,
    found: Outcomes,
    pending: BTreeMap<Key, Candidate>,
}

impl Tally {
    pub(super) fn new(
        terms: Arc<Terms>,
        settings: config::Savings,
        policy: Option<Policy>,
        group_by: Vec<GroupBy>,
    ) -> Self {
        Self {
            edges: terms.directory.edges(),
            price_edges: terms.prices.edges(),
            terms,
            settings,
            policy,
            group_by,
            people: HashMap::new(),
            group_of: HashMap::new(),
            line_of: HashMap::new(),
            variants: HashMap::new(),
            sessions: Sessions::default(),
            found: Outcomes::default(),
            pending: BTreeMap::new(),
        }
    }

    /// Looks at one request.
    pub(super) fn visit(&mut self, request: &Counted) {
        let variants = self.variants(request);
        let Some(cost) = variants.own.cost(&request.tokens) else {
            self.found.unpriced_requests += 1;
            let sum = Sum::one(&request.tokens, PicoUsd::ZERO, PicoUsd::ZERO);
            for opportunity in Opportunity::ALL {
                self.leave_out(opportunity, Reason::Unpriced, &sum);
            }
            return;
        };
        self.found
            .all
            .add(&Sum::one(&request.tokens, cost, PicoUsd::ZERO));
        let person = self.person(request);
        let model = self.other_model(request, &variants, &person, cost);
        let endpoint = self.other_endpoint(request, &variants, person.group, cost);
        let other = model.max(endpoint);
        let batch = self.as_batch(request, &variants, person.group, cost, other);
        if batch.is_none() {
            self.found.any_one = sum(self.found.any_one, other);
        }
        self.in_session(request, &variants, person.group, cost, batch);
    }

    /// Judges what is still open and tells everything.
    pub(super) fn finish(mut self) -> Outcomes {
        for session in self.sessions.take_all() {
            self.judge(session);
        }
        self.found.judged_early = self.sessions.judged_early;
        let mut requests: BTreeMap<usize, u64> = BTreeMap::new();
        for (key, candidate) in &self.pending {
            *requests.entry(key.line).or_default() += candidate.sum.requests;
        }
        for (key, candidate) in std::mem::take(&mut self.pending) {
            let provider = &*self.found.lines[key.line].provider;
            let least = batch_limits(provider).map_or(1, |limits| limits.least_requests);
            if requests[&key.line] < least {
                self.leave_out(Opportunity::Batch, Reason::FewerThanABatch, &candidate.sum);
                self.found.any_one = sum(self.found.any_one, candidate.other);
                continue;
            }
            self.found.any_one = sum(self.found.any_one, candidate.best);
            let batches = self.found.batches.entry(key.line).or_default();
            batches.add(&candidate.sum);
            self.found.sums.entry(key).or_default().add(&candidate.sum);
        }
        self.found
    }

    /// Adds a request to a potential if it would have cost less. Returns what it would have saved.
    fn note(
        &mut self,
        request: &Counted,
        opportunity: Opportunity,
        (group, line): (usize, usize),
        (rule, instead): (&'static str, &str),
        (cost, other): (PicoUsd, PicoUsd),
    ) -> PicoUsd {
        let key = Key {
            group,
            opportunity,
            line,
            rule,
            instead: instead.into(),
        };
        let sum = Sum::one(&request.tokens, cost, other);
        self.found.sums.entry(key).or_default().add(&sum);
        sum.saving()
    }

    fn leave_out(&mut self, opportunity: Opportunity, reason: Reason, sum: &Sum) {
        let left = self.found.left_out.entry((opportunity, reason));
        left.or_default().add(sum);
    }

    fn other_model(
        &mut self,
        request: &Counted,
        variants: &Variants,
        person: &Person,
        cost: PicoUsd,
    ) -> PicoUsd {
        let task = Task::of(&request.tokens, request.tools);
        let complexity = self.settings.rules.complexity(&task);
        let choice = match request.outcome {
            Outcome::Ok => cheapest(request, &variants.models[complexity as usize], person),
            _ => Err(Reason::NotOk),
        };
        match choice {
            Ok((model, other)) if other < cost => self.note(
                request,
                Opportunity::Model,
                (person.group, variants.line),
                (rule_name(complexity, &task), model),
                (cost, other),
            ),
            Ok(_) => self.not_saved(request, Opportunity::Model, Reason::NotCheaper, cost),
            Err(reason) => self.not_saved(request, Opportunity::Model, reason, cost),
        }
    }

    fn not_saved(
        &mut self,
        request: &Counted,
        opportunity: Opportunity,
        reason: Reason,
        cost: PicoUsd,
    ) -> PicoUsd {
        self.leave_out(
            opportunity,
            reason,
            &Sum::one(&request.tokens, cost, PicoUsd::ZERO),
        );
        PicoUsd::ZERO
    }

    fn other_endpoint(
        &mut self,
        request: &Counted,
        variants: &Variants,
        group: usize,
        cost: PicoUsd,
    ) -> PicoUsd {
        let Some(global) = &variants.global else {
            return PicoUsd::ZERO;
        };
        let place = (group, variants.line);
        match global.cost(&request.tokens) {
            Some(other) if other < cost => self.note(
                request,
                Opportunity::Endpoint,
                place,
                ("regional_premium", "global"),
                (cost, other),
            ),
            Some(_) => self.not_saved(request, Opportunity::Endpoint, Reason::NotCheaper, cost),
            None => self.not_saved(request, Opportunity::Endpoint, Reason::NoPrice, cost),
        }
    }

    /// The request as part of a batch. Whether it could have waited, its session tells.
    fn as_batch(
        &mut self,
        request: &Counted,
        variants: &Variants,
        group: usize,
        cost: PicoUsd,
        other: PicoUsd,
    ) -> Option<Candidate> {
        if request.sku.tier == Tier::Batch {
            self.note_batch_tier(request, variants, group, cost);
            return None;
        }
        let Some(batch) = &variants.batch else {
            self.not_saved(request, Opportunity::Batch, Reason::NotPlain, cost);
            return None;
        };
        if request.outcome != Outcome::Ok {
            self.not_saved(request, Opportunity::Batch, Reason::NotOk, cost);
            return None;
        }
        let price = batch.cost(&request.tokens);
        let sum = Sum::one(&request.tokens, cost, price.unwrap_or_default());
        Some(Candidate {
            group,
            line: variants.line,
            is_priced: price.is_some(),
            other,
            best: price.map_or(other, |_| other.max(sum.saving())),
            sum,
        })
    }

    /// What requests saved that were in a batch.
    fn note_batch_tier(
        &mut self,
        request: &Counted,
        variants: &Variants,
        group: usize,
        cost: PicoUsd,
    ) {
        let place = (group, variants.line);
        let Some(alone) = variants.plain.cost(&request.tokens) else {
            self.not_saved(request, Opportunity::Batch, Reason::NoPrice, cost);
            return;
        };
        let names = (ACHIEVED_BATCH, "");
        self.note(request, Opportunity::Batch, place, names, (cost, alone));
    }

    fn in_session(
        &mut self,
        request: &Counted,
        variants: &Variants,
        group: usize,
        cost: PicoUsd,
        batch: Option<Candidate>,
    ) {
        let names = [&request.entrypoint, &request.query_source];
        let evidence = Evidence::of(
            names.into_iter().flatten().map(|name| &**name),
            &self.settings,
        );
        let (line, own) = (variants.line, &variants.own);
        let cached = caching(&request.tokens, &own.prices, own.write);
        let mut written = None;
        match cached {
            Some(cached) => {
                let without = difference(sum(cost, cached.saved_by_reads), cached.write_premium);
                let names = ("reads_and_writes", "");
                self.note(
                    request,
                    Opportunity::Cache,
                    (group, line),
                    names,
                    (cost, without),
                );
                written = Some(cached.write_premium);
            }
            None => {
                self.not_saved(request, Opportunity::Cache, Reason::NoPrice, cost);
            }
        }
        let Some(id) = request.session else {
            let mut alone = Session::default();
            alone.add(evidence, batch);
            self.judge(alone);
            return;
        };
        let session = self.sessions.open(id);
        session.add(evidence, batch);
        if let Some(premium) = written {
            session.cache(group, line, &request.tokens, cost, premium);
        }
        for session in self.sessions.make_room() {
            self.judge(session);
        }
    }

    /// A session is over: now it is known whether somebody waited, and what was never read.
    fn judge(&mut self, session: Session) {
        let reason = match session.evidence {
            Evidence::Interactive => Some(Reason::Interactive),
            Evidence::None => Some(Reason::SourceNotTold),
            Evidence::Headless => None,
        };
        let rule = match session.requests {
            1 => "single_request",
            _ => "one_after_another",
        };
        for mut candidate in session.candidates {
            let reason = reason.or((!candidate.is_priced).then_some(Reason::NoBatchPrice));
            if let Some(reason) = reason {
                self.leave_out(Opportunity::Batch, reason, &candidate.sum);
                self.found.any_one = sum(self.found.any_one, candidate.other);
                continue;
            }
            candidate.sum.sessions = 1;
            let key = Key {
                group: candidate.group,
                opportunity: Opportunity::Batch,
                line: candidate.line,
                rule,
                instead: "batch".into(),
            };
            match self.pending.get_mut(&key) {
                Some(pending) => pending.join(&candidate),
                None => drop(self.pending.insert(key, candidate)),
            }
        }
        for cache in session.caches {
            if cache.read > 0 || cache.premium.0 <= 0 {
                continue;
            }
            let key = Key {
                group: cache.group,
                opportunity: Opportunity::UnreadWrites,
                line: cache.line,
                rule: "written_never_read",
                instead: "".into(),
            };
            let mut sum = cache.sum;
            sum.sessions = 1;
            sum.instead = difference(sum.cost, cache.premium);
            self.found.sums.entry(key).or_default().add(&sum);
        }
    }

    fn variants(&mut self, request: &Counted) -> Arc<Variants> {
        let epoch = self.price_edges.partition_point(|edge| *edge <= request.at);
        let key = (request.sku_id, epoch);
        if let Some(variants) = self.variants.get(&key) {
            return variants.clone();
        }
        let sku = &*request.sku;
        let elsewhere = sku.region.as_ref().filter(|_| *sku.scope == *"base");
        let line = Line {
            provider: sku.provider.clone(),
            scope: elsewhere.unwrap_or(&sku.scope).clone(),
            model: sku.model.clone(),
        };
        let line = number(&mut self.line_of, &mut self.found.lines, line);
        let rules = &self.settings.rules;
        let offer = |sku: Sku| Offer::new(sku, request.at, &self.terms);
        let plain = Sku {
            tier: Tier::Standard,
            ..sku.clone()
        };
        let variants = Arc::new(Variants {
            line,
            own: offer(sku.clone()),
            plain: offer(plain),
            global: at_global_endpoint(sku).map(offer),
            batch: in_batch(sku).map(offer),
            models: Complexity::ALL.map(|complexity| {
                let models = rules.models(complexity).iter();
                models.map(|model| offer(on_model(sku, model))).collect()
            }),
        });
        self.variants.insert(key, variants.clone());
        variants
    }

    fn person(&mut self, request: &Counted) -> Arc<Person> {
        let epoch = self.edges.partition_point(|edge| *edge <= request.at);
        let key = (request.identity_id, epoch);
        if let Some(person) = self.people.get(&key) {
            return person.clone();
        }
        let who = self
            .terms
            .directory
            .attribute(&request.identity, request.at);
        let names = self.group_by.iter().map(|by| match by {
            GroupBy::Team => who.team.unwrap_or_default().into(),
            GroupBy::CostCenter => who.cost_center.unwrap_or_default().into(),
            GroupBy::Project => who.project.unwrap_or_default().into(),
            GroupBy::User => (*who.user).into(),
        });
        let names: Vec<Arc<str>> = names.collect();
        let allowed = self.policy.as_ref().and_then(|policy| {
            let role = policy.role(who.role, &who.user)?;
            policy.roles.get(role)?.allowed_models.clone()
        });
        let group = number(&mut self.group_of, &mut self.found.groups, names);
        let person = Arc::new(Person { group, allowed });
        self.people.insert(key, person.clone());
        person
    }
}

/// The cheapest of the models that the person's role allows; of equal ones the first.
fn cheapest<'s>(
    request: &Counted,
    models: &'s [Offer],
    person: &Person,
) -> Result<(&'s str, PicoUsd), Reason> {
    if models.is_empty() {
        return Err(Reason::NoModelNamed);
    }
    let mut reason = Reason::NotAllowed;
    let mut best: Option<(&str, PicoUsd)> = None;
    for offer in models {
        let model = &*offer.sku.model;
        let allows = |allowed: &Vec<Glob>| allowed.iter().any(|glob| glob.matches(model));
        if !person.allowed.as_ref().is_none_or(allows) {
            continue;
        }
        let Some(cost) = offer.cost(&tokens_on(model, &request.tokens)) else {
            reason = Reason::NoPrice;
            continue;
        };
        if best.is_none_or(|(_, least)| cost < least) {
            best = Some((model, cost));
        }
    }
    best.ok_or(reason)
}

/// The place of a value in a list, where it is put if it is new.
fn number<T: Clone + Eq + std::hash::Hash>(
    known: &mut HashMap<T, usize>,
    all: &mut Vec<T>,
    value: T,
) -> usize {
    if let Some(place) = known.get(&value) {
        return *place;
    }
    all.push(value.clone());
    known.insert(value, all.len() - 1);
    all.len() - 1
}
