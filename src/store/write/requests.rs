//! From reports to requests: which reports tell of one, and what it adds to which sums.

use crate::model::policy::Usage;
use crate::store::booked::Booking;

use super::minute::Before;
use super::{
    Amounts, Arc, CLIENT_COST, COST, Commit, DAY_MS, Difference, Fact, HashMap, Identity,
    MAX_NEIGHBOURS, Moment, NumberMap, NumberSet, Outcome, Result, State, Sums, Tokens, UNPRICED,
    UsageLabels, add, by_kind, excess, once, quarter_of, requests_of, time_of,
};

/// A request that begins to count and has no published series yet.
pub(super) struct Newcomer {
    fact: i64,
    scope: Option<(i64, i64)>,
    difference: Difference,
    identity: i64,
    sku: i64,
    at_ms: i64,
}

/// What one request adds.
pub(super) struct Contribution {
    quarter: i64,
    identity: i64,
    sku: i64,
    model: i64,
    session: Option<i64>,
    device_day: Option<i64>,
    at_ms: i64,
    booked_ms: i64,
    reservation: Option<i64>,
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

    /// What quotas count; a request that failed is none.
    fn booking(&self) -> Booking {
        let failed = i64::from(self.outcome == Outcome::Error);
        Booking {
            identity: self.identity,
            sku: self.sku,
            at_ms: self.at_ms,
            booked_ms: self.booked_ms,
            reservation: self.reservation,
            usage: Usage {
                requests: 1 - failed,
                ..Usage::of(&self.tokens, self.cost)
            },
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

impl Commit<'_> {
    /// The reports that may be about common requests with a fresh one.
    pub(super) fn neighbourhood(
        &mut self,
        first: i64,
        placed: &mut NumberSet<i64>,
    ) -> Result<Vec<i64>> {
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
                for neighbour in self.find(join, room)? {
                    if placed.insert(neighbour) {
                        members.push(neighbour);
                    }
                }
            }
        }
        Ok(members)
    }

    pub(super) fn resolve(&mut self, ids: &[i64], newcomers: &mut Vec<Newcomer>) -> Result<()> {
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
            // Without one it is history: neither minutes nor series have heard of it.
            if let Some(pin) = first.state.pin {
                let before = Before {
                    tokens: by_kind(&old.tokens).iter().sum(),
                    has_duration: members.iter().any(|fact| fact.duration_ms.is_some()),
                    has_ttft: members.iter().any(|fact| fact.ttft_ms.is_some()),
                };
                self.moments.reopen(first.id, before);
                add(
                    self.published.entry(pin).or_default(),
                    &old.difference(),
                    -1,
                );
                pins.insert(first.id, pin);
                if first.duration_ms.is_some() {
                    self.duration(&old).1 += 1;
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
    pub(super) fn count_group(
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
            let cost = self.terms.cost(&best.tokens, &sku, time_of(best.at_ms));
            let contribution = self.contribution(members, cost)?;
            self.count(&contribution, 1);
            let moment = moment_of(members, &contribution);
            let reports = members.iter().map(|fact| fact.id);
            self.moments.count(reports, moment);
            state.counted_as = Some(contribution.identity);
            state.cost = cost;
            state.pin = members.iter().find_map(|fact| pins.get(&fact.id)).copied();
            if let Some(millis) = best.duration_ms {
                self.duration(&contribution).0.push(millis);
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
        } else {
            self.moments.drop(members.iter().map(|fact| fact.id));
        }
        Ok(state)
    }

    /// Publishes a new request: in the series of the counters that told of it before, if they
    /// did, else in its own.
    pub(super) fn publish(
        &mut self,
        newcomer: &Newcomer,
        released: &mut NumberMap<(i64, i64), Vec<(i64, Amounts)>>,
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
        if let Some(fact) = self.fact_mut(newcomer.fact) {
            fact.state.pin = Some(pin);
            if newcomer.fact < self.first_fresh {
                self.changed.insert(newcomer.fact);
            }
        }
        Ok(())
    }

    /// The series of a request's own labels.
    pub(super) fn own_series(&mut self, newcomer: &Newcomer) -> Result<i64> {
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
    pub(super) fn contribution(
        &mut self,
        members: &[&Fact],
        cost: Option<i64>,
    ) -> Result<Contribution> {
        let best = members[0];
        // In an order of their own: what is taken back must be what was counted, however the
        // reports were found.
        let mut sorted;
        let mut members = members;
        let mut identity = best.identity;
        if members.len() > 1 {
            sorted = members.to_vec();
            sorted[1..].sort_by_key(|fact| (fact.control, fact.rank, fact.at_ms, fact.key));
            members = &sorted;
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
        let day = best.at_ms.div_euclid(DAY_MS);
        let device_day = self.device_day_of(identity, day)?;
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
            booked_ms: members
                .iter()
                .find_map(|fact| fact.booked_ms)
                .unwrap_or(best.at_ms),
            reservation: members.iter().find_map(|fact| fact.reservation),
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
    pub(super) fn count(&mut self, counted: &Contribution, sign: i64) {
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
        self.bookings.request(&counted.booking(), sign);
        if sign > 0 {
            self.note_active(counted.identity, counted.at_ms);
        }
    }

    fn duration(&mut self, counted: &Contribution) -> &mut (Vec<u32>, u64) {
        self.durations.entry(counted.sku).or_default()
    }
}

/// What a request adds to minutes, told by its reports, best first.
fn moment_of(members: &[&Fact], counted: &Contribution) -> Moment {
    Moment {
        at_ms: counted.at_ms,
        identity: counted.identity,
        sku: Some(counted.sku),
        model: None,
        tokens: by_kind(&counted.tokens).iter().sum(),
        unpriced: counted.unpriced(),
        requests: 1,
        outcome: Some(counted.outcome),
        status_code: members.iter().find_map(|fact| fact.status_code),
        duration_ms: members.iter().find_map(|fact| fact.duration_ms),
        ttft_ms: members.iter().find_map(|fact| fact.ttft_ms),
        lines: 0,
        saved: 0,
    }
}
