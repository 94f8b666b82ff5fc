//! What a sender of usage is answered, and what the list of senders learns from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::delivery::{Batch, Rejected};
use super::error::Problem;
use crate::heard::{Delivery, Sender};
use crate::model::access::Grant;
use crate::model::identity::Origin;
use crate::model::usage::{Intake, Reach, Receipt, Verdict};

/// The longest name of a client program that is kept, in characters.
const MAX_AGENT_CHARS: usize = 64;

/// What became of a delivery. It is sent when everything accepted is on disk.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "accepted": 498, "duplicates": 1,
    "rejected": [{"index": 17, "code": "invalid_field",
        "message": "tokens.input: must be between 0 and 9007199254740992, got -1"}]
}))]
pub(super) struct UsageReceipt {
    /// Records that are new.
    accepted: u64,
    /// Records that were known already, with the same counts.
    duplicates: u64,
    /// Calls that use no model, such as token counting; only LiteLLM sends them.
    #[serde(skip_serializing_if = "is_zero")]
    skipped: u64,
    /// Records that were not taken, in the order of the delivery.
    rejected: Vec<RejectedRecord>,
}

/// A record that was not taken.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RejectedRecord {
    /// Position in the delivery, from 0; blank lines do not count.
    pub(super) index: usize,
    /// Stable, for programs: `missing_field`, `invalid_field`, `invalid_json`,
    /// `time_out_of_range`, `source_reserved`, `identity_not_allowed`, `id_conflict`.
    pub(super) code: &'static str,
    /// A sentence for people that names the field.
    pub(super) message: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Records a batch and answers when it is durable.
pub(super) async fn record(
    api: &Api,
    grant: &Grant,
    headers: &HeaderMap,
    batch: Batch,
    now: Timestamp,
) -> Result<Json<UsageReceipt>, Problem> {
    let (answer, news) = take(api, batch, Reach::Live).await?;
    news.tell(api, grant, headers, now);
    Ok(Json(answer))
}

/// Records a batch as history: no sender is heard by it.
pub(super) async fn record_history(api: &Api, batch: Batch) -> Result<Json<UsageReceipt>, Problem> {
    let (answer, _) = take(api, batch, Reach::Backfill).await?;
    Ok(Json(answer))
}

async fn take(api: &Api, batch: Batch, reach: Reach) -> Result<(UsageReceipt, News), Problem> {
    let Batch {
        records,
        indices,
        mut rejected,
        skipped,
    } = batch;
    let reported: Vec<(Arc<str>, Origin)> = records
        .iter()
        .map(|record| (Arc::clone(&record.source), record.identity.origin))
        .collect();
    let receipt = if records.is_empty() {
        Receipt::default()
    } else {
        let intake = Intake {
            records,
            reach,
            ..Intake::default()
        };
        api.recorder.record(intake).await?
    };
    let mut answer = UsageReceipt {
        skipped,
        ..UsageReceipt::default()
    };
    let mut news = News::default();
    for ((index, verdict), (source, origin)) in
        indices.into_iter().zip(receipt.records).zip(reported)
    {
        let delivery = news.of(&source);
        *delivery.origins.entry(origin).or_default() += 1;
        match verdict {
            Verdict::Accepted => {
                answer.accepted += 1;
                delivery.accepted += 1;
            }
            Verdict::Duplicate => {
                answer.duplicates += 1;
                delivery.duplicates += 1;
            }
            Verdict::Rejected(refusal) => rejected.push(Rejected {
                index,
                source,
                refusal,
            }),
        }
    }
    rejected.sort_by_key(|rejected| rejected.index);
    for rejected in rejected {
        let Rejected {
            index,
            source,
            refusal,
        } = rejected;
        let refused = &mut news.of(&source).refused;
        *refused.entry(refusal.code.to_owned()).or_default() += 1;
        answer.rejected.push(RejectedRecord {
            index,
            code: refusal.code,
            message: refusal.message,
        });
    }
    Ok((answer, news))
}

/// News about the senders of one delivery, by source.
#[derive(Default)]
struct News(BTreeMap<Arc<str>, Delivery>);

impl News {
    fn of(&mut self, source: &Arc<str>) -> &mut Delivery {
        if !self.0.contains_key(source) {
            self.0.insert(Arc::clone(source), Delivery::default());
        }
        self.0.get_mut(source).expect("it was inserted just before")
    }

    fn tell(self, api: &Api, grant: &Grant, headers: &HeaderMap, now: Timestamp) {
        for (source, delivery) in self.0 {
            let sender = Sender {
                client: grant.name.to_string(),
                version: agent(headers),
                signal: "usage",
                source: source.to_string(),
            };
            api.heard.note(sender, delivery, now);
        }
    }
}

/// The sending program, as the first word of its `User-Agent`.
fn agent(headers: &HeaderMap) -> String {
    headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_whitespace().next())
        .map(|word| word.chars().take(MAX_AGENT_CHARS).collect())
        .unwrap_or_default()
}
