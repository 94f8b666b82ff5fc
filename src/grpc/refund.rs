//! Negative hits: room that a gateway gives back.
//!
//! What was used stays in the ledger as it was. A refund is a correction beside it, one for each
//! limit that concerns the subject, so that it is durable and told like corrections by hand.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tonic::Status;

use super::EnvoyDoor;
use super::call::{Group, Hits};
use crate::config::Key;
use crate::model::policy::{Unit, Usage};
use crate::model::quota::Decision;
use crate::quota::answer::Usd;
use crate::quota::{Answer, Correction, CorrectionError};

impl EnvoyDoor {
    /// Gives back under all limits of the subject, in the windows that are open now.
    pub(super) async fn give_back_hits(
        &self,
        group: &Group,
        sender: &str,
        now: Timestamp,
    ) -> Result<(), Status> {
        let ask = group.ask(&self.settings, 0);
        // Nothing was counted for what no policy or role allows, so there is nothing to refund.
        let Ok(answer) = self.quota.look(&ask, sender, now) else {
            return Ok(());
        };
        let id = match group.get(Key::EventId) {
            Some(event) => event.to_owned(),
            None => self.new_id(),
        };
        let usage = self.refunded(&group.refund, &answer, now);
        let ledger = self.recorder.ledger();
        for correction in corrections(&answer, &usage, &id, sender) {
            self.quota
                .correct(ledger, correction, now)
                .await
                .map_err(|error| refusal(&error))?;
        }
        Ok(())
    }

    /// What the hits are in all units.
    fn refunded(&self, hits: &Hits, answer: &Answer, now: Timestamp) -> Usage {
        let tokens = hits.tokens();
        let cost = self.quota.cost(&tokens, &answer.resolved.asked.sku, now);
        Usage {
            requests: i64::try_from(hits.requests()).unwrap_or(i64::MAX),
            ..Usage::of(&tokens, cost)
        }
    }
}

/// A correction for each limit under which something is given back.
fn corrections(answer: &Answer, usage: &Usage, id: &str, sender: &str) -> Vec<Correction> {
    let Answer {
        policy,
        decision,
        resolved,
        ..
    } = answer;
    let standings = match decision {
        Decision::Allowed(grant) => &grant.standings,
        Decision::Denied(denial) => &denial.standings,
    };
    let mut corrections = Vec::new();
    for standing in standings {
        let rule = &policy.limits[standing.limit];
        let grains = usage.amount(rule.unit, &policy.weights);
        // Parts of a weighted token are not given back.
        let whole = grains / policy.weights.grains(rule.unit);
        let amount = match rule.unit {
            Unit::Usd if grains > 0 => Usd(-grains).to_string(),
            Unit::Usd => continue,
            _ if whole > 0 => (-whole).to_string(),
            _ => continue,
        };
        let value = |field| (field, Box::from(resolved.subject().get(field)));
        corrections.push(Correction {
            id: format!("{id}#refund/{}", rule.name).into(),
            limit: (&*rule.name).into(),
            scope: rule
                .per
                .iter()
                .copied()
                .map(value)
                .collect::<BTreeMap<_, _>>(),
            amount: amount.into(),
            reason: "refund by the gateway".into(),
            created_by: sender.into(),
        });
    }
    corrections
}

fn refusal(error: &CorrectionError) -> Status {
    match error {
        CorrectionError::Conflict => Status::already_exists(error.to_string()),
        CorrectionError::NoPolicy
        | CorrectionError::Limit
        | CorrectionError::Scope(_)
        | CorrectionError::Amount => Status::failed_precondition(error.to_string()),
        CorrectionError::Query(_) => Status::unavailable(error.to_string()),
    }
}
