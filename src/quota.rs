//! The quota backend: who asks, what the policy says, and the one book that decides.
//!
//! Usage is posted by the ledger's commits alone ([`Quota::booked`]), so what gateways settle and
//! what clients report counts once. Live reservations are in the book and in the journal; a
//! settlement is a usage record like any other, with the reservation as its id.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};

use crate::model::adjustment::Adjustment;
use crate::model::identity::{Identity, Origin};
use crate::model::names::ModelNames;
use crate::model::output::max_output;
use crate::model::policy::{Field, Policy, Span, Subject, Usage};
use crate::model::quota::{Book, Decision, Grant, QuotaError, Request, Reservation, Standing};
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Sku, Tier};
use crate::store::{Booked, Journal, Ledger, QueryError, StoreError, Terms, reservation_key};
pub use adjust::{Correction, CorrectionError};
pub use balance::Balances;
use cap::Fit;
use entry::{Entry, Reserved};
pub use replay::{Difference, Simulated, Stopped, Verified};
pub use settle::{Settle, SettleError, Settled};
pub use survey::Survey;
pub use watch::Watch;

mod adjust;
pub mod answer;
pub mod audit;
mod balance;
mod cap;
mod entry;
mod replay;
mod settle;
mod survey;
#[cfg(test)]
mod tests;
pub mod warning;
mod watch;

/// Live reservations of one user at most.
const MAX_OPEN_PER_USER: usize = 1_000;

/// The shortest and longest lease.
const MIN_LEASE: SignedDuration = SignedDuration::from_secs(1);
const MAX_LEASE: SignedDuration = SignedDuration::from_hours(24);

/// Time between two looks for counters that hold and count nothing: those that a question made,
/// and those of windows that are over.
const PRUNE_PERIOD: SignedDuration = SignedDuration::from_mins(10);

/// Who wants to use what, as the caller said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub user: Option<Box<str>>,
    pub team: Option<Box<str>>,
    pub project: Option<Box<str>>,
    pub organization: Option<Box<str>>,
    pub cost_center: Option<Box<str>>,
    /// Believed only from senders that the policy names in `claims_from`.
    pub roles: Vec<Box<str>>,
    pub groups: Vec<Box<str>>,
}

/// A question about one model call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub claims: Claims,
    /// As the gateway names it.
    pub model: Box<str>,
    pub provider: Option<Box<str>>,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    /// Above the model's maximum, that is what counts.
    pub max_output_tokens: u64,
}

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

/// Who asks, resolved under the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub subject: Subject,
    pub identity: Identity,
    pub sku: Sku,
    pub estimate: Usage,
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
    state: Mutex<State>,
    watch: OnceLock<Watch>,
}

#[derive(Debug)]
struct State {
    /// `None` until a policy is there.
    book: Option<Book>,
    version: u64,
    journal: Journal,
    /// Reservations by the key under which the ledger tells of them.
    by_key: HashMap<i64, Box<str>>,
    /// What a settlement has to say of each reservation, and its line in the journal.
    kept: HashMap<Box<str>, Reserved>,
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
            journal,
            by_key: HashMap::new(),
            kept: HashMap::new(),
            adjustments: BTreeMap::new(),
            pruned: Timestamp::MIN,
        };
        let inner = Inner {
            terms,
            names,
            state: Mutex::new(state),
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

    /// The policy in force and its version.
    #[must_use]
    pub fn policy(&self) -> Option<(Arc<Policy>, u64)> {
        let state = self.state();
        let book = state.book.as_ref()?;
        Some((book.policy().clone(), state.version))
    }

    /// Puts a policy in force: counters are filled from the ledger between two commits, live
    /// reservations move over. Until that is done the policy before decides.
    pub async fn load(
        &self,
        policy: Policy,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        let from = earliest(&policy, now);
        let since = now.saturating_sub(adjust::CONCERN).unwrap_or(from);
        let mut adjustments = Some(ledger.adjustments(since).await?);
        let policy = Arc::new(policy);
        let mut filling = Some(Book::new(policy.clone(), MAX_OPEN_PER_USER));
        let quota = self.clone();
        let visit = move |booked: Option<Booked>| match (booked, &mut filling) {
            (Some(booked), Some(book)) => quota.post(book, &booked, now),
            (None, filling) => {
                if let Some(book) = filling.take() {
                    quota.swap(book, adjustments.take().unwrap_or_default(), now);
                }
            }
            (Some(_), None) => {}
        };
        ledger.rebook(from, Box::new(visit)).await
    }

    /// Replaces the book by one that has all the ledger knows; live holds go with it.
    fn swap(&self, mut book: Book, adjustments: Vec<Adjustment>, now: Timestamp) {
        let mut state = self.state();
        let fresh = |adjustment: Adjustment| (adjustment.id.clone(), adjustment);
        state.adjustments.extend(adjustments.into_iter().map(fresh));
        let since = now
            .saturating_sub(adjust::CONCERN)
            .unwrap_or(Timestamp::MIN);
        state.adjustments.retain(|_, known| known.at >= since);
        let policy = book.policy().clone();
        for adjustment in state.adjustments.values() {
            if let Some((limit, scope, amount)) = adjustment.under(&policy) {
                book.adjust(limit, &scope, amount, adjustment.at, now);
            }
        }
        if let Some(old) = &state.book {
            for (id, reservation) in old.live() {
                book.restore(
                    &request_of(id, reservation),
                    reservation.reserved_at,
                    reservation.expires_at,
                );
            }
        }
        book.prune(now);
        state.book = Some(book);
        state.version += 1;
    }

    /// Puts back the reservations of the journal that are live and that nobody settled.
    pub async fn restore(
        &self,
        lines: &[String],
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<usize, QueryError> {
        let live = entry::live(lines, now);
        let keys = live.keys().map(|id| reservation_key(id)).collect();
        let settled = ledger.settled(keys).await?;
        let mut state = self.state();
        let mut kept = Vec::new();
        for (id, reservation) in live {
            let key = reservation_key(&id);
            if settled.contains(&key) {
                continue;
            }
            kept.push(Entry::Reserve(reservation.clone()).line());
            if let Some(book) = &mut state.book {
                let (request, reserved_at, expires_at) = reservation.parts();
                book.restore(&request, reserved_at, expires_at);
            }
            state.by_key.insert(key, id.clone());
            state.kept.insert(id, *reservation);
        }
        state.journal.compact(&kept)?;
        Ok(kept.len())
    }

    /// Who asks for what under the policy; refuses models and project types that the role does
    /// not allow.
    pub fn resolve(&self, ask: &Ask, sender: &str, now: Timestamp) -> Result<Resolved, Refused> {
        let (policy, _) = self.policy().ok_or(Refused::NoPolicy)?;
        let terms = self.inner.terms.load();
        let name = self
            .inner
            .names
            .load()
            .resolve(&ask.model, ask.provider.as_deref());
        let identity = identity(&policy, &ask.claims, sender);
        let sku = Sku {
            provider: name.provider,
            model: name.model,
            raw_model: ask.model.clone(),
            scope: name.scope,
            region: None,
            tier: Tier::default(),
            band: Band::default(),
        };
        let subject = subject(&policy, &terms, &identity, &sku, now);
        admit(&policy, &subject)?;
        let tokens = Tokens {
            input: ask.input_tokens.min(Tokens::MAX),
            cache_read: ask.cached_input_tokens.min(Tokens::MAX),
            output: ask.max_output_tokens.min(max_output(&sku.model)),
            ..Tokens::default()
        };
        let sku = Sku {
            band: Band::of(&tokens),
            ..sku
        };
        let estimate = Usage::of(&tokens, terms.cost(&tokens, &sku, now));
        Ok(Resolved {
            subject,
            identity,
            sku,
            estimate,
        })
    }

    fn decide_check(&self, ask: &Ask, sender: &str, now: Timestamp) -> Result<Answer, Refused> {
        let resolved = self.resolve(ask, sender, now)?;
        let mut state = self.state();
        let version = state.version;
        let book = state.book.as_mut().ok_or(Refused::NoPolicy)?;
        let decision = book.check(&resolved.subject, &resolved.estimate, now);
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
        let mut state = self.state();
        let State {
            book,
            journal,
            by_key,
            kept,
            version,
            ..
        } = &mut *state;
        let book = book.as_mut().ok_or(Refused::NoPolicy)?;
        let asked_output = resolved.estimate.output;
        if fit == Fit::Cap {
            let smaller = match kept.get(id) {
                Some(known) => known.capped(asked_output),
                None => match book.check(&resolved.subject, &resolved.estimate, now) {
                    Decision::Allowed(_) => None,
                    Decision::Denied(_) => {
                        cap::largest(book, &resolved, &self.inner.terms.load(), now)
                    }
                },
            };
            resolved.estimate = smaller.unwrap_or(resolved.estimate);
        }
        let request = Request {
            id: id.into(),
            subject: resolved.subject.clone(),
            estimate: resolved.estimate,
            lease: lease.clamp(MIN_LEASE, MAX_LEASE),
        };
        let decision = book.reserve(&request, now)?;
        if let Decision::Allowed(Grant {
            replayed: false,
            expires_at,
            standings,
            ..
        }) = &decision
        {
            let capped = request.estimate.output < asked_output;
            let reserved = Reserved::new(&request, &resolved, now, *expires_at)
                .asked(capped.then_some(asked_output));
            let line = Entry::Reserve(Box::new(reserved.clone())).line();
            if journal.append(&line).is_err() {
                let open = opens(book.policy(), standings);
                book.forget(id);
                return Err(Refused::Store { open });
            }
            by_key.insert(reservation_key(id), id.into());
            kept.insert(id.into(), reserved);
        }
        Ok(Answer {
            policy: book.policy().clone(),
            version: *version,
            resolved,
            decision,
        })
    }

    /// Frees a hold without a charge.
    pub fn release(&self, id: &str, now: Timestamp) -> Result<(), Refused> {
        let mut state = self.state();
        let State { book, journal, .. } = &mut *state;
        let book = book.as_mut().ok_or(Refused::NoPolicy)?;
        book.release(id, now)?;
        // If the line is lost, the lease ends the hold.
        let _ = journal.append(&Entry::End(id.into()).line());
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
        let State { book, journal, .. } = &mut *state;
        let book = book.as_mut().ok_or(Refused::NoPolicy)?;
        let lease = lease.clamp(MIN_LEASE, MAX_LEASE);
        let (expires_at, goes_on) = book.extend(id, lease, so_far, now)?;
        let line = Entry::Extend(id.into(), expires_at).line();
        journal
            .append(&line)
            .map_err(|_| Refused::Store { open: false })?;
        Ok((expires_at, goes_on))
    }

    /// A reservation, live or ended a short while ago.
    #[must_use]
    pub fn reservation(&self, id: &str) -> Option<Reservation> {
        let state = self.state();
        state.book.as_ref()?.reservation(id).cloned()
    }

    /// How the limits of a subject stand.
    pub fn standings(&self, subject: &Subject, now: Timestamp) -> Vec<Standing> {
        let mut state = self.state();
        let Some(book) = &mut state.book else {
            return Vec::new();
        };
        match book.check(subject, &Usage::default(), now) {
            Decision::Allowed(grant) => grant.standings,
            Decision::Denied(denial) => denial.standings,
        }
    }

    /// Takes what a commit booked, before the commit is acknowledged: a settlement's hold is
    /// freed and its charge posted in one step.
    pub fn booked(&self, booked: &[Booked], now: Timestamp) {
        let mut state = self.state();
        let State {
            book,
            journal,
            by_key,
            ..
        } = &mut *state;
        let Some(book) = book else {
            return;
        };
        for booking in booked {
            let id = booking.reservation.and_then(|key| by_key.get(&key));
            let Some(id) = id.cloned() else {
                self.post(book, booking, now);
                continue;
            };
            let Some(known) = book.reservation(&id).cloned() else {
                self.post(book, booking, now);
                continue;
            };
            // A better report of the same request later corrects the charge.
            self.note_settled(book.settle(&id, &booking.usage, now));
            book.post(&known.subject, &booking.usage, booking.at, now);
            let _ = journal.append(&Entry::End(id).line());
        }
    }

    fn post(&self, book: &mut Book, booking: &Booked, now: Timestamp) {
        let policy = book.policy().clone();
        let terms = self.inner.terms.load();
        let subject = subject(&policy, &terms, &booking.identity, &booking.sku, booking.at);
        book.post(&subject, &booking.usage, booking.at, now);
    }

    /// One round: ends leases that are over, flushes the journal, forgets what is empty.
    pub fn round(&self, now: Timestamp) -> Result<Vec<(Box<str>, Subject, Usage)>, StoreError> {
        let mut state = self.state();
        let State {
            book,
            journal,
            by_key,
            kept,
            pruned,
            ..
        } = &mut *state;
        let mut charges = Vec::new();
        if let Some(book) = book {
            charges = book.expire(now);
            if now.duration_since(*pruned) >= PRUNE_PERIOD {
                book.prune(now);
                *pruned = now;
            }
            for (id, _, _) in &charges {
                journal.append(&Entry::End(id.clone()).line())?;
            }
            by_key.retain(|_, id| book.reservation(id).is_some());
            kept.retain(|id, _| book.reservation(id).is_some());
            if journal.is_large() {
                let lines = book.live().filter_map(|(id, known)| {
                    let reserved = kept.get(id)?.clone().until(known.expires_at);
                    Some(Entry::Reserve(Box::new(reserved)).line())
                });
                journal.compact(&lines.collect::<Vec<_>>())?;
            }
        }
        journal.flush()?;
        Ok(charges)
    }
}

fn request_of(id: &str, reservation: &Reservation) -> Request {
    Request {
        id: id.into(),
        subject: reservation.subject.clone(),
        estimate: reservation.estimate,
        lease: SignedDuration::ZERO,
    }
}

/// The begin of the earliest window that is open now.
fn earliest(policy: &Policy, now: Timestamp) -> Timestamp {
    let starts = policy.limits.iter().map(|limit| match limit.span {
        Span::Calendar(window) => window.containing(now, &policy.zone).start,
        Span::Rolling { seconds } => now
            .saturating_sub(SignedDuration::from_secs(seconds))
            .unwrap_or(Timestamp::MIN),
    });
    starts.min().unwrap_or(now)
}

/// The identity of a caller's claims. A role is taken from senders that may state one only.
fn identity(policy: &Policy, claims: &Claims, sender: &str) -> Identity {
    let trusted = policy.claims_from.iter().any(|name| **name == *sender);
    let mut role = None;
    let mut team = claims.team.clone();
    let mut cost_center = claims.cost_center.clone();
    if trusted {
        let mut roles = claims.roles.iter();
        role = roles
            .find(|role| policy.roles.contains_key(&***role))
            .cloned();
        for group in claims.groups.iter().filter_map(|g| policy.groups.get(g)) {
            role = role.or_else(|| group.role.clone());
            team = team.or_else(|| group.team.clone());
            cost_center = cost_center.or_else(|| group.cost_center.clone());
        }
    }
    Identity {
        origin: match claims.user {
            Some(_) => Origin::Gateway,
            None => Origin::Unknown,
        },
        user: claims.user.clone(),
        team,
        project: claims.project.clone(),
        organization: claims.organization.clone(),
        cost_center,
        role,
        ..Identity::default()
    }
}

/// Who somebody is under a policy: as the directory has it, else as the policy's groups say, else
/// as reported.
fn subject(
    policy: &Policy,
    terms: &Terms,
    identity: &Identity,
    sku: &Sku,
    at: Timestamp,
) -> Subject {
    let who = terms.directory.attribute(identity, at);
    let group = policy.group_of(&who.user);
    let team = who.team.or(group.and_then(|group| group.team.as_deref()));
    let center = group.and_then(|group| group.cost_center.as_deref());
    let role = policy.role(who.role, &who.user);
    Subject::default()
        .with(Field::User, &who.user)
        .with(Field::Role, role.unwrap_or_default())
        .with(Field::Team, team.unwrap_or_default())
        .with(Field::Project, who.project.unwrap_or_default())
        .with(
            Field::CostCenter,
            who.cost_center.or(center).unwrap_or_default(),
        )
        .with(
            Field::Organization,
            identity.organization.as_deref().unwrap_or_default(),
        )
        .with(Field::Provider, &sku.provider)
        .with(Field::Model, &sku.model)
}

/// What a role allows at all. A project that the policy does not list is internal.
fn admit(policy: &Policy, subject: &Subject) -> Result<(), Refused> {
    if policy.roles.is_empty() {
        return Ok(());
    }
    let name = subject.get(Field::Role);
    let role = policy.roles.get(name).ok_or(Refused::NoPolicy)?;
    let model = subject.get(Field::Model);
    if let Some(allowed) = &role.allowed_models
        && !allowed.iter().any(|pattern| pattern.matches(model))
    {
        return Err(Refused::Model {
            role: name.into(),
            allowed: allowed.iter().map(|glob| glob.as_str().into()).collect(),
        });
    }
    let kind = policy
        .projects
        .get(subject.get(Field::Project))
        .copied()
        .unwrap_or(crate::model::policy::ProjectType::Internal);
    if let Some(allowed) = &role.allowed_project_types
        && !allowed.contains(&kind)
    {
        return Err(Refused::ProjectType {
            role: name.into(),
            kind: kind.name(),
        });
    }
    Ok(())
}

/// True if every limit that applies lets calls pass when tallyd cannot decide.
fn opens(policy: &Policy, standings: &[Standing]) -> bool {
    standings.iter().all(|standing| {
        policy.limits[standing.limit].on_store_error == crate::model::policy::OnStoreError::Open
    })
}
