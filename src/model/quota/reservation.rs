//! Reservations: what was asked, what is held for it, and what became of it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::identity::Identity;
use crate::model::policy::{Subject, Unit, Usage, Weights};
use crate::model::usage::Sku;

/// What a caller asks to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Made by the caller, unique for ever.
    pub id: Arc<str>,
    pub asked: Arc<Asked>,
    pub estimate: Usage,
    /// Output tokens that were asked for; more than the estimate has where less was granted.
    pub output: i64,
    pub lease: SignedDuration,
}

impl Request {
    /// The end of the lease, if it begins now.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.lease).unwrap_or(Timestamp::MAX)
    }
}

/// Who asks for what: calls of the same kind share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Who it is under the policy.
    pub subject: Subject,
    /// As claimed; a settlement reports it.
    pub identity: Arc<Identity>,
    pub sku: Arc<Sku>,
}

impl Asked {
    /// Somebody of whom no more is known.
    #[cfg(test)]
    #[must_use]
    pub fn by(subject: Subject) -> Arc<Self> {
        Arc::new(Self {
            subject,
            ..Self::default()
        })
    }
}

/// How a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Live,
    Settled,
    Released,
    Expired,
}

impl Phase {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Settled => "settled",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// A reservation with what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub asked: Arc<Asked>,
    pub estimate: Usage,
    /// Output tokens that were asked for.
    pub output: i64,
    pub reserved_at: Timestamp,
    pub expires_at: Timestamp,
    pub phase: Phase,
    /// What it was settled with.
    pub settled: Option<Box<Usage>>,
    /// When the phase ended; the book forgets it some time later.
    pub(super) ended_at: Option<Timestamp>,
    pub(super) holds: Box<[Hold]>,
}

/// Grains held in one counter's window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) limit: usize,
    pub(super) scope: Arc<str>,
    pub(super) amount: i128,
    /// The start of the window that is charged, whenever the settlement comes.
    pub(super) window: Timestamp,
}

impl Reservation {
    /// One that has begun.
    pub(super) fn new(
        request: &Request,
        reserved_at: Timestamp,
        expires_at: Timestamp,
        holds: Vec<Hold>,
    ) -> Self {
        Self {
            asked: request.asked.clone(),
            estimate: request.estimate,
            output: request.output,
            reserved_at,
            expires_at,
            phase: Phase::Live,
            settled: None,
            ended_at: None,
            holds: holds.into(),
        }
    }

    /// Whose limits it is under.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.asked.subject
    }

    /// More was used than is held: in tokens of all kinds together, for what was estimated as input
    /// may be written to the cache, or in money.
    pub(super) fn is_exceeded_by(&self, actual: &Usage) -> bool {
        let tokens = |usage: &Usage| usage.amount(Unit::Tokens, &Weights::default());
        tokens(actual) > tokens(&self.estimate) || actual.cost > self.estimate.cost
    }
}
