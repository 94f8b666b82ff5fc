//! Admission: what is used and held under each limit, and the one step that decides.
//!
//! A [`Book`] is plain memory. Whoever owns it holds a lock around each call, so that a decision
//! over all limits and its effect are one step: `posted + held + asked <= bound` for every
//! limit, or nothing changes. Time is an argument. What was posted comes from the ledger alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use jiff::{SignedDuration, Timestamp};

use super::policy::{Bound, Field, Limit, Mode, OnExpiry, Policy, Span, Subject, Usage};
pub use bounds::Bounds;
use counter::{Counter, Counters};
use index::Index;
use reservation::Hold;
pub use reservation::{Asked, Phase, Request, Reservation};
pub use standing::Standing;

mod bounds;
mod counter;
mod index;
#[cfg(test)]
mod oracle;
mod reservation;
mod standing;
#[cfg(test)]
mod tests;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allowed(Grant),
    /// Some limits have no room now. Nothing was held.
    Denied(Denial),
}

/// A hold that was made, or made before under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub expires_at: Timestamp,
    pub standings: Vec<Standing>,
    /// Limits in shadow mode that would have denied, by index.
    pub shadow_denials: Vec<usize>,
    pub replayed: bool,
}

/// Why there was no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub standings: Vec<Standing>,
    /// Places in `standings` of the limits that denied.
    pub violated: Vec<usize>,
    /// True if a limit is smaller than the request itself: waiting does not help.
    pub never: bool,
    pub shadow_denials: Vec<usize>,
}

/// Why an operation on a reservation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The id was used for something else.
    #[error("the id was used with another body")]
    Conflict,
    #[error("no such reservation")]
    Unknown,
    /// It was settled, released, or its lease has ended.
    #[error("the reservation has ended")]
    Ended,
    #[error("too many reservations are open for this subject")]
    TooMany,
}

/// What a settlement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// More was used than held.
    pub overage: bool,
    /// The lease had ended before.
    pub late: bool,
    pub replayed: bool,
}

/// Ended reservations are answered from memory this long; after that the ledger knows them.
const REMEMBER: SignedDuration = SignedDuration::from_mins(10);

/// Room that is used again, so that a decision allocates little.
#[derive(Debug, Default)]
struct Scratch {
    scope: String,
    limits: Vec<usize>,
}

/// What a round ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// What the limits charge for reservations that nobody settled, with their ids.
    pub charges: Vec<(Arc<str>, Usage)>,
    /// Ids that are not known any more.
    pub forgotten: Vec<Arc<str>>,
}

/// Counters and reservations under one policy.
#[derive(Debug)]
pub struct Book {
    policy: Arc<Policy>,
    index: Index,
    /// By limit, then by scope.
    counters: Vec<Counters>,
    /// Boxed, so that the table moves little when it grows.
    reservations: HashMap<Arc<str>, Box<Reservation>>,
    /// Live ones by the end of their lease, ended ones by when they are forgotten.
    due: BTreeSet<(Timestamp, Arc<str>)>,
    /// Live ones of each user.
    open: HashMap<Box<str>, usize>,
    max_open: usize,
    scratch: Scratch,
}

impl Book {
    /// An empty book. A user has at most `max_open` live reservations.
    #[must_use]
    pub fn new(policy: Arc<Policy>, max_open: usize) -> Self {
        Self {
            index: Index::new(&policy.limits),
            counters: policy.limits.iter().map(|_| Counters::default()).collect(),
            policy,
            reservations: HashMap::new(),
            due: BTreeSet::new(),
            open: HashMap::new(),
            max_open,
            scratch: Scratch::default(),
        }
    }

    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Live reservations.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.values().sum()
    }

    /// How all limits of a subject stand. Holds nothing.
    pub fn check(&mut self, subject: &Subject, estimate: &Usage, now: Timestamp) -> Decision {
        let standings = self.standings(subject, now);
        match self.judge(&standings, |rule| self.amount(estimate, rule)) {
            Ok(shadow_denials) => Decision::Allowed(Grant {
                expires_at: now,
                standings,
                shadow_denials,
                replayed: false,
            }),
            Err(verdict) => Decision::Denied(verdict.denial(standings)),
        }
    }

    /// Holds the estimate under every limit that applies, or under none. The same request again
    /// gets its hold again.
    pub fn reserve(&mut self, request: &Request, now: Timestamp) -> Result<Decision, QuotaError> {
        if let Some(known) = self.reservations.get(&request.id) {
            if known.subject() != &request.asked.subject || known.estimate != request.estimate {
                return Err(QuotaError::Conflict);
            }
            return Ok(Decision::Allowed(Grant {
                expires_at: known.expires_at,
                standings: self.standings(&request.asked.subject, now),
                shadow_denials: Vec::new(),
                replayed: true,
            }));
        }
        let user = request.asked.subject.get(Field::User);
        if self.open.get(user).copied().unwrap_or(0) >= self.max_open {
            return Err(QuotaError::TooMany);
        }
        let mut standings = self.standings(&request.asked.subject, now);
        let shadow_denials =
            match self.judge(&standings, |rule| self.amount(&request.estimate, rule)) {
                Ok(shadow_denials) => shadow_denials,
                Err(verdict) => return Ok(Decision::Denied(verdict.denial(standings))),
            };
        let mut holds = Vec::with_capacity(standings.len());
        for standing in &mut standings {
            let amount = self.amount(&request.estimate, &self.policy.limits[standing.limit]);
            if let Some(counter) = self.counters[standing.limit].known(&standing.scope) {
                counter.held += amount;
            }
            standing.held += amount;
            holds.push(Hold {
                limit: standing.limit,
                scope: standing.scope.clone(),
                amount,
                window: standing.window.start,
            });
        }
        let expires_at = request.until(now);
        let reservation = Reservation::new(request, now, expires_at, holds);
        self.keep(request.id.clone(), reservation);
        Ok(Decision::Allowed(Grant {
            expires_at,
            standings,
            shadow_denials,
            replayed: false,
        }))
    }

    fn keep(&mut self, id: Arc<str>, reservation: Reservation) {
        let user = reservation.subject().get(Field::User);
        match self.open.get_mut(user) {
            Some(open) => *open += 1,
            None => {
                self.open.insert(user.into(), 1);
            }
        }
        self.due.insert((reservation.expires_at, id.clone()));
        self.reservations.insert(id, Box::new(reservation));
    }

    /// Puts a live reservation back that was made before a restart, in the windows it was made in.
    pub fn restore(&mut self, request: &Request, reserved_at: Timestamp, expires_at: Timestamp) {
        if self.reservations.contains_key(&request.id) {
            return;
        }
        let mut holds = Vec::new();
        for standing in self.standings(&request.asked.subject, reserved_at) {
            let rule = &self.policy.limits[standing.limit];
            // The counter may have gone on: what was held in a window that is over, is over.
            let is_over =
                matches!(rule.span, Span::Calendar(_)) && !standing.window.contains(&reserved_at);
            if is_over {
                continue;
            }
            let amount = self.amount(&request.estimate, rule);
            if let Some(counter) = self.counters[standing.limit].known(&standing.scope) {
                counter.held += amount;
            }
            holds.push(Hold {
                limit: standing.limit,
                scope: standing.scope,
                amount,
                window: standing.window.start,
            });
        }
        let reservation = Reservation::new(request, reserved_at, expires_at, holds);
        self.keep(request.id.clone(), reservation);
    }

    /// Takes a hold back as if it had never been asked for.
    pub fn forget(&mut self, id: &str) {
        let Some(reservation) = self.reservations.get(id) else {
            return;
        };
        self.end(id, Phase::Released, None, reservation.reserved_at);
        self.reservations.remove(id);
    }

    /// Live reservations by id.
    pub fn live(&self) -> impl Iterator<Item = (&Arc<str>, &Reservation)> {
        self.reservations
            .iter()
            .filter(|(_, known)| known.phase == Phase::Live)
            .map(|(id, known)| (id, &**known))
    }

    /// A reservation, live or ended a short while ago.
    #[must_use]
    pub fn reservation(&self, id: &str) -> Option<&Reservation> {
        self.reservations.get(id).map(|known| &**known)
    }

    /// Frees a hold and remembers what it was settled with. The charge itself is posted by the
    /// ledger in the same step of the caller.
    pub fn settle(
        &mut self,
        id: &str,
        actual: &Usage,
        now: Timestamp,
    ) -> Result<Settlement, QuotaError> {
        let known = self.reservations.get(id).ok_or(QuotaError::Unknown)?;
        if let Some(settled) = &known.settled {
            if **settled != *actual {
                return Err(QuotaError::Conflict);
            }
            return Ok(Settlement {
                overage: known.is_exceeded_by(actual),
                late: false,
                replayed: true,
            });
        }
        let late = known.phase == Phase::Expired;
        if known.phase == Phase::Released {
            return Err(QuotaError::Ended);
        }
        let overage = known.is_exceeded_by(actual);
        self.end(id, Phase::Settled, Some(*actual), now);
        Ok(Settlement {
            overage,
            late,
            replayed: false,
        })
    }

    /// Frees a hold without a charge. Releasing twice is releasing once.
    pub fn release(&mut self, id: &str, now: Timestamp) -> Result<(), QuotaError> {
        let known = self.reservations.get(id).ok_or(QuotaError::Unknown)?;
        match known.phase {
            Phase::Settled => Err(QuotaError::Ended),
            Phase::Released | Phase::Expired => Ok(()),
            Phase::Live => {
                self.end(id, Phase::Released, None, now);
                Ok(())
            }
        }
    }

    /// Moves the end of a lease; never to an earlier time. Returns the end, and whether every
    /// enforced limit still has room for what the hold does not cover.
    pub fn extend(
        &mut self,
        id: &str,
        lease: SignedDuration,
        so_far: &Usage,
        now: Timestamp,
    ) -> Result<(Timestamp, bool), QuotaError> {
        let known = self.reservations.get_mut(id).ok_or(QuotaError::Unknown)?;
        if known.phase != Phase::Live {
            return Err(QuotaError::Ended);
        }
        let until = now.saturating_add(lease).unwrap_or(Timestamp::MAX);
        if until > known.expires_at {
            let id: Arc<str> = id.into();
            self.due.remove(&(known.expires_at, id.clone()));
            known.expires_at = until;
            self.due.insert((until, id));
        }
        let expires_at = known.expires_at;
        let asked = known.asked.clone();
        let held = known.estimate;
        let standings = self.standings(&asked.subject, now);
        let beyond = |rule: &Limit| (self.amount(so_far, rule) - self.amount(&held, rule)).max(0);
        let goes_on = self.judge(&standings, beyond).is_ok();
        Ok((expires_at, goes_on))
    }

    /// Ends leases that are over and forgets what ended long ago.
    pub fn expire(&mut self, now: Timestamp) -> Expired {
        let mut expired = Expired::default();
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else {
                break;
            };
            let Some(reservation) = self.reservations.get(&id) else {
                continue;
            };
            if reservation.ended_at.is_some() {
                self.reservations.remove(&id);
                expired.forgotten.push(id);
                continue;
            }
            let charge = self.charge_of(reservation);
            self.end(&id, Phase::Expired, None, now);
            expired.charges.push((id, charge));
        }
        expired
    }

    /// What the strictest of its limits charges for a lease that ended.
    fn charge_of(&self, reservation: &Reservation) -> Usage {
        let strictest = reservation
            .holds
            .iter()
            .map(|hold| self.policy.limits[hold.limit].on_expiry)
            .max_by_key(|on_expiry| match on_expiry {
                OnExpiry::Release => 0,
                OnExpiry::ChargeInput => 1,
                OnExpiry::ChargeEstimate => 2,
            });
        match strictest {
            Some(OnExpiry::ChargeEstimate) => reservation.estimate,
            Some(OnExpiry::ChargeInput) => Usage {
                output: 0,
                ..reservation.estimate
            },
            _ => Usage::default(),
        }
    }

    fn end(&mut self, id: &str, phase: Phase, settled: Option<Usage>, now: Timestamp) {
        let Some(reservation) = self.reservations.get_mut(id) else {
            return;
        };
        let was_live = reservation.phase == Phase::Live;
        reservation.phase = phase;
        reservation.settled = settled.map(Box::new);
        reservation.ended_at = Some(now);
        if was_live {
            let id: Arc<str> = id.into();
            let forget = now.saturating_add(REMEMBER).unwrap_or(Timestamp::MAX);
            self.due.remove(&(reservation.expires_at, id.clone()));
            self.due.insert((forget, id));
            for hold in std::mem::take(&mut reservation.holds) {
                if let Some(counter) = self.counters[hold.limit].known(&hold.scope) {
                    counter.free(hold.window, hold.amount);
                }
            }
            let user = reservation.subject().get(Field::User);
            if let Some(open) = self.open.get_mut(user) {
                *open -= 1;
                if *open == 0 {
                    self.open.remove(user);
                }
            }
        }
    }

    /// Adds what the ledger counted, or takes back what it corrected, to the windows of `booked`.
    pub fn post(&mut self, subject: &Subject, usage: &Usage, booked: Timestamp, now: Timestamp) {
        let weights = self.policy.weights;
        self.each_counter(subject, now, |_, rule, counter| {
            counter.post(usage.amount(rule.unit, &weights), booked);
        });
    }

    /// Visits the counters of a subject, in the policy's order; those that are missing are made.
    fn each_counter(
        &mut self,
        subject: &Subject,
        now: Timestamp,
        mut visit: impl FnMut(usize, &Limit, &mut Counter),
    ) {
        let Scratch { scope, limits } = &mut self.scratch;
        self.index.candidates_into(subject, limits);
        for limit in limits {
            let rule = &self.policy.limits[*limit];
            if !rule.applies(subject) {
                continue;
            }
            rule.scope_into(subject, scope);
            let zone = &self.policy.zone;
            let counter = self.counters[*limit].of(scope, rule.span, zone, now);
            visit(*limit, rule, counter);
        }
    }

    /// Adds to one counter, or takes back, in the window of `at`.
    pub fn adjust(
        &mut self,
        limit: usize,
        scope: &str,
        amount: i128,
        at: Timestamp,
        now: Timestamp,
    ) {
        let rule = &self.policy.limits[limit];
        let zone = &self.policy.zone;
        self.counters[limit]
            .of(scope, rule.span, zone, now)
            .post(amount, at);
    }

    /// How one counter stands.
    pub fn standing(&mut self, limit: usize, scope: &str, now: Timestamp) -> Standing {
        let rule = &self.policy.limits[limit];
        let zone = &self.policy.zone;
        let counter = self.counters[limit].of(scope, rule.span, zone, now);
        standing::of(limit, counter, &self.policy, now)
    }

    /// Every counter that has something, for metrics and for `verify`.
    pub fn all(&mut self, now: Timestamp) -> Vec<Standing> {
        let mut standings = Vec::new();
        for (limit, counters) in self.counters.iter_mut().enumerate() {
            let rule = &self.policy.limits[limit];
            for counter in counters.all(rule.span, &self.policy.zone, now) {
                standings.push(standing::of(limit, counter, &self.policy, now));
            }
        }
        standings
    }

    /// Forgets counters that hold and count nothing.
    pub fn prune(&mut self, now: Timestamp) {
        for (limit, counters) in self.counters.iter_mut().enumerate() {
            let span = self.policy.limits[limit].span;
            counters.prune(span, &self.policy.zone, now);
        }
    }

    /// How the limits of a subject stand, in the policy's order.
    pub fn standings(&mut self, subject: &Subject, now: Timestamp) -> Vec<Standing> {
        let mut standings = Vec::with_capacity(4);
        let policy = self.policy.clone();
        self.each_counter(subject, now, |limit, _, counter| {
            standings.push(standing::of(limit, counter, &policy, now));
        });
        standings
    }

    /// What a usage is under a limit, in grains.
    fn amount(&self, usage: &Usage, rule: &Limit) -> i128 {
        usage.amount(rule.unit, &self.policy.weights)
    }

    /// Which limits have no room for what is asked of them. `Ok` tells those in shadow mode that have none.
    fn judge(
        &self,
        standings: &[Standing],
        asked: impl Fn(&Limit) -> i128,
    ) -> Result<Vec<usize>, Verdict> {
        let mut verdict = Verdict::default();
        for (place, standing) in standings.iter().enumerate() {
            let Bound::At(bound) = standing.bound else {
                continue;
            };
            let rule = &self.policy.limits[standing.limit];
            let amount = asked(rule);
            if standing.used + standing.held + amount <= bound {
                continue;
            }
            if rule.mode == Mode::Shadow {
                verdict.shadow_denials.push(standing.limit);
                continue;
            }
            verdict.violated.push(place);
            verdict.never |= amount > bound;
        }
        if verdict.violated.is_empty() {
            Ok(verdict.shadow_denials)
        } else {
            Err(verdict)
        }
    }
}

#[derive(Default)]
struct Verdict {
    violated: Vec<usize>,
    shadow_denials: Vec<usize>,
    never: bool,
}

impl Verdict {
    fn denial(self, standings: Vec<Standing>) -> Denial {
        Denial {
            standings,
            violated: self.violated,
            never: self.never,
            shadow_denials: self.shadow_denials,
        }
    }
}
