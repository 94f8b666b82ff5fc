//! Settlements: what a call really used, as a usage record that names its reservation.

use std::sync::Arc;

use jiff::Timestamp;

use super::entry::Reserved;
use super::{Claims, Quota, identity, subject};
use crate::model::identity::Identity;
use crate::model::policy::{Subject, Usage};
use crate::model::quota::{Phase, Reservation};
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Intake, Outcome, Sku, Tier, UsageRecord, Verdict, source};
use crate::record::{RecordError, Recorder};
use crate::store::{QueryError, reservation_key};

/// What a call used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    pub tokens: Tokens,
    pub outcome: Outcome,
    /// When the call ended.
    pub at: Timestamp,
    pub request_id: Option<Box<str>>,
    /// The client's session, by which its own reports of the call are recognised.
    pub session: Option<Box<str>>,
    pub duration_ms: Option<u32>,
    pub ttft_ms: Option<u32>,
    /// Who it was and which model, for a reservation that nobody knows (any more).
    pub otherwise: Option<(Claims, Box<str>, Option<Box<str>>)>,
}

/// What a settlement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub charged: Usage,
    /// What was held, if the reservation is still known.
    pub held: Option<Usage>,
    /// The lease had ended before.
    pub late: bool,
    /// It was settled with the same counts before.
    pub replayed: bool,
    /// Whose limits were charged; `None` if it was settled so long ago that only its counts are
    /// known.
    pub subject: Option<Subject>,
}

/// Why a settlement was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error("no such reservation")]
    Unknown,
    /// It was released, or settled with other counts.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Quota {
    /// Charges a call once. `Ok` comes when the charge is on disk and posted; limits never refuse
    /// it.
    pub async fn settle(
        &self,
        recorder: &Recorder,
        id: &str,
        settle: &Settle,
        sender: &str,
    ) -> Result<Settled, SettleError> {
        let known = self.known(id);
        if let Some((reservation, _)) = &known
            && reservation.phase == Phase::Released
        {
            let message = "the reservation was released".to_owned();
            return Err(SettleError::Conflict(message));
        }
        let reserved = known.as_ref().map(|(_, reserved)| reserved);
        let (identity, model, provider, booked_at) = match (reserved, &settle.otherwise) {
            (Some(reserved), _) => {
                let (model, provider) = reserved.model();
                let identity = reserved.identity();
                (identity, model.into(), Some(provider.into()), reserved.at())
            }
            (None, Some((claims, model, provider))) => {
                let identity = self.claimed(claims, sender);
                (identity, model.clone(), provider.clone(), settle.at)
            }
            (None, None) => {
                let key = reservation_key(id);
                if recorder.ledger().settled(vec![key]).await?.is_empty() {
                    return Err(SettleError::Unknown);
                }
                // Only its counts are compared with what the ledger has.
                (Identity::default(), "unknown".into(), None, settle.at)
            }
        };
        let sku = self.sku(&model, provider.as_deref(), &settle.tokens);
        let terms = self.inner.terms.load_full();
        let charged = Usage::of(&settle.tokens, terms.cost(&settle.tokens, &sku, settle.at));
        let subject = match (&known, &settle.otherwise) {
            (Some((reservation, _)), _) => Some(reservation.subject.clone()),
            (None, Some(_)) => self
                .policy()
                .map(|(policy, _)| subject(&policy, &terms, &identity, &sku, booked_at)),
            (None, None) => None,
        };
        let record = UsageRecord {
            source: Arc::from(source::GATEWAY),
            id: id.into(),
            request_id: settle.request_id.clone(),
            client_request_id: None,
            session: settle.session.as_deref().map(Arc::from),
            reservation: Some(id.into()),
            at: settle.at,
            booked_at,
            identity: Arc::new(identity),
            sku: Arc::new(sku),
            tokens: settle.tokens,
            outcome: settle.outcome,
            status_code: None,
            duration_ms: settle.duration_ms,
            ttft_ms: settle.ttft_ms,
            tools: None,
            query_source: None,
            entrypoint: None,
            client_cost: None,
        };
        let receipt = recorder
            .record(Intake {
                records: vec![record],
                ..Intake::default()
            })
            .await?;
        let replayed = match receipt.records.into_iter().next() {
            Some(Verdict::Accepted) => false,
            Some(Verdict::Rejected(refusal)) if refusal.code == "id_conflict" => {
                return Err(SettleError::Conflict(refusal.message));
            }
            Some(Verdict::Rejected(refusal)) => return Err(SettleError::Refused(refusal.message)),
            Some(Verdict::Duplicate) | None => true,
        };
        Ok(Settled {
            charged,
            held: known.as_ref().map(|(reservation, _)| reservation.estimate),
            late: known.is_some_and(|(reservation, _)| reservation.phase == Phase::Expired),
            replayed,
            subject,
        })
    }

    /// Charges what the policy says for a reservation that nobody settled. A settlement that comes
    /// late is the better report of the same call and takes its place.
    pub async fn charge_expired(
        &self,
        recorder: &Recorder,
        id: &str,
        usage: &Usage,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let Some((_, reserved)) = self.known(id) else {
            return Ok(());
        };
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let tokens = Tokens {
            input: count(usage.input),
            output: count(usage.output),
            cache_read: count(usage.cache_read),
            cache_write_unknown: count(usage.cache_write),
            ..Tokens::default()
        };
        let (model, provider) = reserved.model();
        let record = UsageRecord {
            source: Arc::from(source::EXPIRED),
            id: id.into(),
            request_id: None,
            client_request_id: None,
            session: None,
            reservation: Some(id.into()),
            at: now,
            booked_at: reserved.at(),
            identity: Arc::new(reserved.identity()),
            sku: Arc::new(self.sku(model, Some(provider), &tokens)),
            tokens,
            outcome: Outcome::Unknown,
            status_code: None,
            duration_ms: None,
            ttft_ms: None,
            tools: None,
            query_source: None,
            entrypoint: None,
            client_cost: None,
        };
        let intake = Intake {
            records: vec![record],
            ..Intake::default()
        };
        recorder.record(intake).await.map(drop)
    }

    /// Tokens with what they cost on a reservation's terms; without a cost if nobody knows it.
    #[must_use]
    pub fn priced(&self, id: &str, tokens: &Tokens, at: Timestamp) -> Usage {
        let state = self.state();
        let Some(reserved) = state.kept.get(id).cloned() else {
            return Usage::of(tokens, None);
        };
        drop(state);
        let (model, provider) = reserved.model();
        let sku = self.sku(model, Some(provider), tokens);
        Usage::of(tokens, self.inner.terms.load().cost(tokens, &sku, at))
    }

    /// For whom a reservation was made, as claimed; `None` if it is not known (any more).
    #[must_use]
    pub fn reserved_for(&self, id: &str) -> Option<Identity> {
        let state = self.state();
        state.kept.get(id).map(Reserved::identity)
    }

    fn known(&self, id: &str) -> Option<(Reservation, Reserved)> {
        let state = self.state();
        let reservation = state.book.as_ref()?.reservation(id)?.clone();
        Some((reservation, state.kept.get(id)?.clone()))
    }

    /// Who a sender says it is about, under the policy in force.
    #[must_use]
    pub fn claimed(&self, claims: &Claims, sender: &str) -> Identity {
        let state = self.state();
        state.book.as_ref().map_or_else(
            || Identity {
                user: claims.user.clone(),
                ..Identity::default()
            },
            |book| identity(book.policy(), claims, sender),
        )
    }

    /// What tokens cost in pico-USD, if they have a price.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens, sku: &Sku, at: Timestamp) -> Option<i64> {
        self.inner.terms.load().cost(tokens, sku, at)
    }

    /// What was used, by the name that a gateway has for it.
    #[must_use]
    pub fn sku(&self, model: &str, provider: Option<&str>, tokens: &Tokens) -> Sku {
        let name = self.inner.names.load().resolve(model, provider);
        Sku {
            provider: name.provider,
            model: name.model,
            raw_model: model.into(),
            scope: name.scope,
            region: None,
            tier: Tier::default(),
            band: Band::of(tokens),
        }
    }
}
