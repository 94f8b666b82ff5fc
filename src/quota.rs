//! The quota backend: who asks, what the policy says, and the one book that decides.
//!
//! Usage is posted by the ledger's commits alone ([`Quota::booked`]), so what gateways settle and
//! what clients report counts once. Live reservations are in the book and in the journal; a
//! settlement is a usage record like any other, with the reservation as its id.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::{SignedDuration, Timestamp};

use crate::model::adjustment::Adjustment;
use crate::model::names::ModelNames;
use crate::model::policy::{OnStoreError, Policy, Subject, Usage};
use crate::model::quota::{Book, Decision, QuotaError, Request, Reservation, Standing};
use crate::store::{Booked, Journal, StoreError, Terms, reservation_key};
pub use adjust::{Correction, CorrectionError};
pub use balance::Balances;
use cap::Fit;
use entry::{Entry, Reserved};
use known::Known;
pub use replay::{Difference, Simulated, Stopped, Verified};
pub use settle::{Settle, SettleError, Settled};
pub use survey::Survey;
pub use watch::{Kind, Watch};
pub use who::{Ask, Claims, Resolved};
use who::{identity, subject};

mod adjust;
pub mod answer;
pub mod audit;
mod balance;
mod cap;
mod entry;
mod known;
mod replay;
mod settle;
mod survey;
#[cfg(test)]
mod tests;
mod upkeep;
pub mod warning;
mod watch;
mod who;

/// Live reservations of one user at most.
const MAX_OPEN_PER_USER: usize = 1_000;

/// The shortest and longest lease.
const MIN_LEASE: SignedDuration = SignedDuration::from_secs(1);
const MAX_LEASE: SignedDuration = SignedDuration::from_hours(24);

/// Why a call is not admitted, besides having no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No policy file, or no role for this user and no default.
    #[error("no policy applies")]
    NoPolicy,
    #[error("the model is not allowed for the role {role}")]
    Model {
        role: Box<str>,
        allowed: Vec<Box<str>>,
    },
    #[error("projects of the type {kind} are not allowed for the role {role}")]
    ProjectType { role: Box<str>, kind: &'static str },
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The hold could not be written; the policy says what the gateway should do.
    #[error("the journal of reservations cannot be written")]
    Store { open: bool },
}

/// An answer with the policy that it was made under.
#[derive(Clone, Debug)]
pub struct Answer {
    pub policy: Arc<Policy>,
    /// Counts up with each policy that was loaded.
    pub version: u64,
    pub resolved: Resolved,
    pub decision: Decision,
}

/// The backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Quota {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    terms: Arc<ArcSwap<Terms>>,
    names: Arc<ArcSwap<ModelNames>>,
    /// That of the book, to be read without its lock.
    in_force: ArcSwapOption<InForce>,
    known: Known,
    state: Mutex<State>,
    /// Taken after the state, and kept when that is let go: lines come in the order of decisions,
    /// and the next decision is made beside the write.
    journal: Mutex<Journal>,
    watch: OnceLock<Watch>,
}

#[derive(Debug)]
struct InForce {
    policy: Arc<Policy>,
    version: u64,
}

#[derive(Debug)]
struct State {
    /// `None` until a policy is there.
    book: Option<Book>,
    version: u64,
    /// Reservations by the key under which the ledger tells of them.
    by_key: hashbrown::HashMap<i64, Arc<str>>,
    /// Corrections by hand that may concern a window, by id.
    adjustments: BTreeMap<Box<str>, Adjustment>,
    /// When empty counters were forgotten last.
    pruned: Timestamp,
}

impl Quota {
    /// Opens the journal; the policy and what is live come with [`Quota::load`].
    pub fn open(
        folder: &Path,
        terms: Arc<ArcSwap<Terms>>,
        names: Arc<ArcSwap<ModelNames>>,
    ) -> Result<(Self, Vec<String>), StoreError> {
        let (journal, lines) = Journal::open(folder)?;
        let state = State {
            book: None,
            version: 0,
            by_key: hashbrown::HashMap::new(),
            adjustments: BTreeMap::new(),
            pruned: Timestamp::MIN,
        };
        let inner = Inner {
            terms,
            names,
            in_force: ArcSwapOption::empty(),
            known: Known::default(),
            state: Mutex::new(state),
            journal: Mutex::new(journal),
            watch: OnceLock::new(),
        };
        let quota = Self {
            inner: Arc::new(inner),
        };
        Ok((quota, lines))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal, for lines of what was decided in `state`, which is let go.
    fn journal(&self, state: MutexGuard<'_, State>) -> MutexGuard<'_, Journal> {
        let journal = self.inner.journal.lock();
        let journal = journal.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        journal
    }

    /// The policy in force and its version.
    #[must_use]
    pub fn policy(&self) -> Option<(Arc<Policy>, u64)> {
        let in_force = self.inner.in_force.load();
        let InForce { policy, version } = &**in_force.as_ref()?;
        Some((policy.clone(), *version))
    }

    fn decide_check(&self, ask: &Ask, sender: &str, now: Timestamp) -> Result<Answer, Refused> {
        let resolved = self.resolve(ask, sender, now)?;
        let mut state = self.state();
        let version = state.version;
        let book = state.book.as_mut().ok_or(Refused::NoPolicy)?;
        let decision = book.check(resolved.subject(), &resolved.estimate, now);
        Ok(Answer {
            policy: book.policy().clone(),
            version,
            resolved,
            decision,
        })
    }

    fn decide_reserve(
        &self,
        id: &str,
        ask: &Ask,
        lease: SignedDuration,
        sender: &str,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let resolved = self.resolve(ask, sender, now)?;
        self.hold(id, resolved, Fit::Strict, lease, now)
    }

    fn decide_capped(
        &self,
        id: &str,
        ask: &Ask,
        lease: SignedDuration,
        sender: &str,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let resolved = self.resolve(ask, sender, now)?;
        self.hold(id, resolved, Fit::Cap, lease, now)
    }

    fn hold(
        &self,
        id: &str,
        mut resolved: Resolved,
        fit: Fit,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let key = reservation_key(id);
        let mut request = Request {
            id: id.into(),
            asked: resolved.asked.clone(),
            estimate: resolved.estimate,
            output: resolved.estimate.output,
            lease: lease.clamp(MIN_LEASE, MAX_LEASE),
        };
        let line = |request: &Request| {
            let until = request.until(now);
            Entry::Reserve(Box::new(Reserved::of(request, now, until))).line()
        };
        // What is capped is known only under the lock; all else is written out before.
        let mut written = (fit == Fit::Strict).then(|| line(&request));
        let mut state = self.state();
        let State {
            book,
            by_key,
            version,
            ..
        } = &mut *state;
        let version = *version;
        let book = book.as_mut().ok_or(Refused::NoPolicy)?;
        if fit == Fit::Cap {
            let terms = self.inner.terms.load();
            resolved.estimate = cap::fitting(book, id, &resolved, &terms, now);
            request.estimate = resolved.estimate;
        }
        let decision = book.reserve(&request, now)?;
        let policy = book.policy().clone();
        if let Decision::Allowed(grant) = &decision {
            let is_new = !grant.replayed;
            if is_new {
                by_key.insert(key, request.id.clone());
            }
            let line = written.take().unwrap_or_else(|| line(&request));
            // A call that is answered again waits for the line of the first answer.
            let mut journal = self.journal(state);
            if is_new && journal.append(&line).is_err() {
                drop(journal);
                self.take_back(id, key);
                let open = opens(&policy, &grant.standings);
                return Err(Refused::Store { open });
            }
        }
        Ok(Answer {
            policy,
            version,
            resolved,
            decision,
        })
    }

    fn take_back(&self, id: &str, key: i64) {
        let mut state = self.state();
        if let Some(book) = &mut state.book {
            book.forget(id);
        }
        state.by_key.remove(&key);
    }

    /// Frees a hold without a charge.
    pub fn release(&self, id: &str, now: Timestamp) -> Result<(), Refused> {
        let mut state = self.state();
        let book = state.book.as_mut().ok_or(Refused::NoPolicy)?;
        book.release(id, now)?;
        // If the line is lost, the lease ends the hold.
        let _ = self.journal(state).append(&Entry::End(id.into()).line());
        Ok(())
    }

    /// Lengthens a lease; the flag tells whether there is room to go on.
    pub fn extend(
        &self,
        id: &str,
        lease: SignedDuration,
        so_far: &Usage,
        now: Timestamp,
    ) -> Result<(Timestamp, bool), Refused> {
        let mut state = self.state();
        let book = state.book.as_mut().ok_or(Refused::NoPolicy)?;
        let lease = lease.clamp(MIN_LEASE, MAX_LEASE);
        let (expires_at, goes_on) = book.extend(id, lease, so_far, now)?;
        let line = Entry::Extend(id.into(), expires_at).line();
        let appended = self.journal(state).append(&line);
        appended.map_err(|_| Refused::Store { open: false })?;
        Ok((expires_at, goes_on))
    }

    /// A reservation, live or ended a short while ago.
    #[must_use]
    pub fn reservation(&self, id: &str) -> Option<Reservation> {
        let state = self.state();
        state.book.as_ref()?.reservation(id).cloned()
    }

    /// How the limits of a subject stand; `None` without a policy.
    pub fn standings(&self, subject: &Subject, now: Timestamp) -> Option<Balances> {
        let mut state = self.state();
        let version = state.version;
        let book = state.book.as_mut()?;
        Some(Balances {
            policy: book.policy().clone(),
            version,
            standings: book.standings(subject, now),
        })
    }

    /// Takes what a commit booked, before the commit is acknowledged: a settlement's hold is
    /// freed and its charge posted in one step.
    pub fn booked(&self, booked: &[Booked], now: Timestamp) {
        let mut state = self.state();
        let State { book, by_key, .. } = &mut *state;
        let Some(book) = book else {
            return;
        };
        let mut ended = Vec::new();
        for booking in booked {
            let id = booking.reservation.and_then(|key| by_key.get(&key));
            let known = id.and_then(|id| Some((id, book.reservation(id)?.asked.clone())));
            let Some((id, asked)) = known else {
                self.post(book, booking, now);
                continue;
            };
            // A better report of the same request later corrects the charge.
            self.note_settled(book.settle(id, &booking.usage, now));
            book.post(&asked.subject, &booking.usage, booking.at, now);
            ended.push(id.clone());
        }
        let lines = entry::ends(&ended);
        // If the lines are lost, the ledger tells at the next start what was settled.
        let _ = self.journal(state).append(&lines);
    }

    fn post(&self, book: &mut Book, booking: &Booked, now: Timestamp) {
        let policy = book.policy().clone();
        let terms = self.inner.terms.load();
        let subject = subject(&policy, &terms, &booking.identity, &booking.sku, booking.at);
        book.post(&subject, &booking.usage, booking.at, now);
    }
}

/// True if every limit that applies lets calls pass when tallyd cannot decide.
fn opens(policy: &Policy, standings: &[Standing]) -> bool {
    standings
        .iter()
        .all(|standing| policy.limits[standing.limit].on_store_error == OnStoreError::Open)
}
