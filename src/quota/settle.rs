//! Settlements: what a call really used, as a usage record that names its reservation.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::who::is_trusted;
use super::{Claims, Quota, identity, subject};
use crate::model::identity::Identity;
use crate::model::policy::{Subject, Usage};
use crate::model::quota::{Asked, Phase};
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Intake, Outcome, Sku, Tier, UsageRecord, Verdict, source};
use crate::record::{RecordError, Recorder};
use crate::store::{QueryError, reservation_key};

/// Expired reservations that are charged at once at most.
const CHARGED_AT_ONCE: usize = 1_000;

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

/// What a settlement has to know of its reservation.
struct Held {
    asked: Arc<Asked>,
    estimate: Usage,
    reserved_at: Timestamp,
    phase: Phase,
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
        let known = self.held(id);
        if known.as_ref().map(|known| known.phase) == Some(Phase::Released) {
            let message = "the reservation was released".to_owned();
            return Err(SettleError::Conflict(message));
        }
        let tokens = &settle.tokens;
        let (identity, sku, booked_at) = match (&known, &settle.otherwise) {
            (Some(known), _) => {
                let Asked { identity, sku, .. } = &*known.asked;
                (identity.clone(), banded(sku, tokens), known.reserved_at)
            }
            (None, Some((claims, model, provider))) => {
                let identity = self.claimed(claims, sender);
                let sku = self.sku(model, provider.as_deref(), tokens);
                (Arc::new(identity), Arc::new(sku), settle.at)
            }
            (None, None) => {
                let key = reservation_key(id);
                if recorder.ledger().settled(vec![key]).await?.is_empty() {
                    return Err(SettleError::Unknown);
                }
                // Only its counts are compared with what the ledger has.
                let sku = self.sku("unknown", None, tokens);
                (Arc::default(), Arc::new(sku), settle.at)
            }
        };
        let terms = self.inner.terms.load_full();
        let charged = Usage::of(&settle.tokens, terms.cost(&settle.tokens, &sku, settle.at));
        let subject = match (&known, &settle.otherwise) {
            (Some(known), _) => Some(known.asked.subject.clone()),
            (None, Some(_)) => self
                .policy()
                .map(|(policy, _)| subject(&policy, &terms, &identity, &sku, booked_at)),
            (None, None) => None,
        };
        let record = UsageRecord {
            request_id: settle.request_id.clone(),
            session: settle.session.as_deref().map(Arc::from),
            reservation: Some(id.into()),
            booked_at,
            outcome: settle.outcome,
            duration_ms: settle.duration_ms,
            ttft_ms: settle.ttft_ms,
            ..UsageRecord::new(source::GATEWAY, id, settle.at, identity, sku, *tokens)
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
            held: known.as_ref().map(|known| known.estimate),
            late: known.is_some_and(|known| known.phase == Phase::Expired),
            replayed,
            subject,
        })
    }

    /// Charges what the policy says for reservations that nobody settled. A settlement that comes
    /// late is the better report of the same call and takes the charge's place. All are tried;
    /// the first error is told.
    pub async fn charge_expired(
        &self,
        recorder: &Recorder,
        charges: Vec<(Arc<str>, Usage)>,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let mut outcome = Ok(());
        for some in charges.chunks(CHARGED_AT_ONCE) {
            // Each by itself: the ledger commits together what it can, and one that it cannot
            // take holds back no other.
            let charged = some.iter().filter_map(|(id, usage)| {
                let intake = Intake {
                    records: vec![self.charge(id, usage, now)?],
                    ..Intake::default()
                };
                Some(recorder.record(intake))
            });
            for done in join_all(charged).await {
                outcome = outcome.and(done.map(drop));
            }
        }
        outcome
    }

    fn charge(&self, id: &str, usage: &Usage, now: Timestamp) -> Option<UsageRecord> {
        let known = self.held(id)?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let tokens = Tokens {
            input: count(usage.input),
            output: count(usage.output),
            cache_read: count(usage.cache_read),
            cache_write_unknown: count(usage.cache_write),
            ..Tokens::default()
        };
        let Asked { identity, sku, .. } = &*known.asked;
        let (identity, sku) = (identity.clone(), banded(sku, &tokens));
        Some(UsageRecord {
            reservation: Some(id.into()),
            booked_at: known.reserved_at,
            outcome: Outcome::Unknown,
            ..UsageRecord::new(source::EXPIRED, id, now, identity, sku, tokens)
        })
    }

    /// Tokens with what they cost on a reservation's terms; without a cost if nobody knows it.
    #[must_use]
    pub fn priced(&self, id: &str, tokens: &Tokens, at: Timestamp) -> Usage {
        let cost = self.held(id).and_then(|known| {
            let sku = banded(&known.asked.sku, tokens);
            self.inner.terms.load().cost(tokens, &sku, at)
        });
        Usage::of(tokens, cost)
    }

    /// For whom a reservation was made, as claimed; `None` if it is not known (any more).
    #[must_use]
    pub fn reserved_for(&self, id: &str) -> Option<Arc<Asked>> {
        self.held(id).map(|known| known.asked)
    }

    fn held(&self, id: &str) -> Option<Held> {
        let state = self.state();
        let known = state.book.as_ref()?.reservation(id)?;
        Some(Held {
            asked: known.asked.clone(),
            estimate: known.estimate,
            reserved_at: known.reserved_at,
            phase: known.phase,
        })
    }

    /// Who a sender says it is about, under the policy in force.
    #[must_use]
    pub fn claimed(&self, claims: &Claims, sender: &str) -> Identity {
        self.policy().map_or_else(
            || Identity {
                user: claims.user.clone(),
                ..Identity::default()
            },
            |(policy, _)| identity(&policy, claims, is_trusted(&policy, sender)),
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

/// The same model, with the price band of what was used.
fn banded(sku: &Arc<Sku>, tokens: &Tokens) -> Arc<Sku> {
    let band = Band::of(tokens);
    if band == sku.band {
        return sku.clone();
    }
    Arc::new(Sku {
        band,
        ..Sku::clone(sku)
    })
}
