//! What a call does: admits requests, books tokens, gives back.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tonic::Status;

use super::call::Group;
use super::status::Outcome;
use super::{EnvoyDoor, refused};
use crate::config::Key;
use crate::heard::Delivery;
use crate::model::access::Grant;
use crate::model::identity::Identity;
use crate::model::policy::{Mode, Usage};
use crate::model::quota::{Decision, Denial, Standing};
use crate::model::tokens::Tokens;
use crate::model::usage::{Intake, UsageRecord, Verdict};
use crate::quota::answer::Explanation;
use crate::quota::{Answer, Kind, Refused};

/// How long an admitted request may wait for its place in the ledger.
const LEASE: SignedDuration = SignedDuration::from_mins(1);

impl EnvoyDoor {
    /// Does what a call says of one request, and tells how its limits stand then.
    pub(super) async fn count(
        self: &Arc<Self>,
        grant: &Grant,
        group: &Group,
        now: Timestamp,
    ) -> Result<Outcome, Status> {
        let sender = &*grant.name;
        let identity = self.quota.claimed(&group.claims(), sender);
        grant
            .binding
            .permits(&identity)
            .map_err(|refusal| Status::permission_denied(refusal.message))?;
        if !group.refund.is_empty() {
            self.give_back_hits(group, sender, now).await?;
        }
        if group.hits.has_tokens() {
            self.report(group, identity, sender, now).await?;
            return Ok(self.look(group, sender, now, |standing| standing.over_by() > 0));
        }
        let outcome = self.look(group, sender, now, |standing| {
            standing.remaining() == Some(0)
        });
        match outcome.answer {
            Some(before) if outcome.denied.is_none() && group.hits.requests() > 0 => {
                Ok(self.admit(group, &identity, &before, sender, now))
            }
            answer => Ok(Outcome { answer, ..outcome }),
        }
    }

    /// How limits stand. `is_over` says of an enforced limit whether it denies.
    fn look(
        &self,
        group: &Group,
        sender: &str,
        now: Timestamp,
        is_over: impl Fn(&Standing) -> bool,
    ) -> Outcome {
        let ask = group.ask(&self.settings, 0);
        let kind = match group.hits.requests() {
            0 => Kind::Check,
            _ => Kind::Reserve,
        };
        let rule = |answer| denied_where(answer, is_over);
        match self.quota.judge(kind, &ask, sender, now, rule) {
            Ok(answer) => outcome(answer, now),
            Err(refused) => self.refused(&refused),
        }
    }

    /// Holds the requests under all limits in one step, and has the ledger count them. The answer
    /// does not wait for the disk: the holds keep the places until it is done.
    fn admit(
        self: &Arc<Self>,
        group: &Group,
        identity: &Identity,
        before: &Answer,
        sender: &str,
        now: Timestamp,
    ) -> Outcome {
        let event = group.get(Key::EventId);
        let first = event.map_or_else(|| self.new_id(), str::to_owned);
        let ask = group.ask(&self.settings, 0);
        let mut held: Vec<String> = Vec::new();
        let mut last = None;
        for number in 1..=group.hits.requests() {
            let id = match number {
                1 => first.clone(),
                number => format!("{first}.{number}"),
            };
            let answer = match self.quota.reserve(&id, &ask, LEASE, sender, now) {
                Ok(answer) => answer,
                Err(refused) => {
                    self.give_back(&held, now);
                    return self.refused(&refused);
                }
            };
            if matches!(answer.decision, Decision::Denied(_)) {
                self.give_back(&held, now);
                return outcome(as_before(answer, before), now);
            }
            if matches!(&answer.decision, Decision::Allowed(grant) if !grant.replayed) {
                held.push(id);
            }
            last = Some(answer);
        }
        let records = held.iter().map(|id| {
            let record = self.record(group, identity.clone(), Tokens::default(), id, now);
            UsageRecord {
                // The report of tokens that may follow has the id itself.
                id: format!("{id}#request").into(),
                ..record
            }
        });
        let intake = Intake {
            records: records.collect(),
            ..Intake::default()
        };
        let (door, sender) = (self.clone(), sender.to_owned());
        tokio::spawn(async move {
            if let Err(error) = door.recorder.record(intake).await {
                tracing::warn!(%error, "an admitted request was not counted");
                door.note(&sender, refused("unavailable"), now);
            }
        });
        match last {
            Some(answer) => outcome(answer, now),
            None => Outcome {
                answer: None,
                denied: None,
            },
        }
    }

    /// Takes back holds of a call that was denied as a whole.
    fn give_back(&self, held: &[String], now: Timestamp) {
        for id in held {
            // An error means that nothing is held any more.
            let _ = self.quota.release(id, now);
        }
    }

    /// Has the ledger book tokens. They were used, so no limit refuses them.
    async fn report(
        &self,
        group: &Group,
        identity: Identity,
        sender: &str,
        now: Timestamp,
    ) -> Result<(), Status> {
        let tokens = group.hits.tokens();
        let event = group.get(Key::EventId).map(str::to_owned);
        let id = event.unwrap_or_else(|| self.new_id());
        let record = self.record(group, identity, tokens, &id, now);
        let intake = Intake {
            records: vec![record],
            ..Intake::default()
        };
        let verdict = match self.recorder.record(intake).await {
            Ok(receipt) => receipt.records.into_iter().next(),
            Err(error) => {
                self.note(sender, refused("unavailable"), now);
                return Err(Status::unavailable(error.to_string()));
            }
        };
        let heard = match &verdict {
            Some(Verdict::Rejected(refusal)) => refused(refusal.code),
            verdict => Delivery {
                accepted: u64::from(*verdict == Some(Verdict::Accepted)),
                duplicates: u64::from(*verdict == Some(Verdict::Duplicate)),
                ..Delivery::default()
            },
        };
        self.note(sender, heard, now);
        match verdict {
            Some(Verdict::Rejected(refusal)) if refusal.code == "id_conflict" => {
                Err(Status::already_exists(refusal.message))
            }
            Some(Verdict::Rejected(refusal)) => Err(Status::invalid_argument(refusal.message)),
            Some(Verdict::Accepted | Verdict::Duplicate) | None => Ok(()),
        }
    }

    /// A usage record of a request. It books when the request was admitted, if that is known.
    fn record(
        &self,
        group: &Group,
        identity: Identity,
        tokens: Tokens,
        id: &str,
        now: Timestamp,
    ) -> UsageRecord {
        let reservation = self.quota.reservation(id);
        let get = |key| group.said.get(&key).cloned();
        let model = group.model(&self.settings);
        let provider = group.get(Key::Provider);
        let (source, sku) = (
            &*self.settings.source,
            self.quota.sku(model, provider, &tokens),
        );
        let (identity, sku) = (Arc::new(identity), Arc::new(sku));
        UsageRecord {
            request_id: get(Key::RequestId),
            client_request_id: get(Key::ClientRequestId),
            session: group.get(Key::Session).map(Arc::from),
            reservation: Some(id.into()),
            booked_at: reservation.map_or(now, |known| known.reserved_at),
            ..UsageRecord::new(source, id, now, identity, sku, tokens)
        }
    }

    fn refused(&self, refused: &Refused) -> Outcome {
        if matches!(refused, Refused::Store { open: true }) {
            return Outcome {
                answer: None,
                denied: None,
            };
        }
        let policy = self.quota.policy();
        let contact = policy
            .as_ref()
            .and_then(|(policy, _)| policy.contact.as_deref());
        Outcome {
            answer: None,
            denied: Some(Explanation::of_refused(refused, contact)),
        }
    }
}

fn outcome(answer: Answer, now: Timestamp) -> Outcome {
    Outcome {
        denied: answer.explanation(now),
        answer: Some(answer),
    }
}

/// A denial with the standings that there were before the call held anything.
fn as_before(mut answer: Answer, before: &Answer) -> Answer {
    if let (Decision::Denied(denial), Decision::Allowed(grant)) =
        (&mut answer.decision, &before.decision)
        && answer.version == before.version
    {
        denial.standings.clone_from(&grant.standings);
    }
    answer
}

/// Makes an admission a denial where an enforced limit is over.
fn denied_where(mut answer: Answer, is_over: impl Fn(&Standing) -> bool) -> Answer {
    let Decision::Allowed(grant) = &answer.decision else {
        return answer;
    };
    let enforced = |standing: &Standing| answer.policy.limits[standing.limit].mode == Mode::Enforce;
    let violated: Vec<_> = grant
        .standings
        .iter()
        .enumerate()
        .filter(|(_, standing)| enforced(standing) && is_over(standing))
        .map(|(place, _)| place)
        .collect();
    if violated.is_empty() {
        return answer;
    }
    let denial = Denial {
        standings: grant.standings.clone(),
        violated,
        never: false,
        shadow_denials: grant.shadow_denials.clone(),
    };
    answer.decision = Decision::Denied(denial);
    // The least that a request to a model can need.
    answer.resolved.estimate = Usage {
        input: 1,
        output: 1,
        requests: 1,
        ..Usage::default()
    };
    answer
}
