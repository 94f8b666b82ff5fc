//! Any receiver: JSON over HTTP, signed with a key that both know.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use sha2::Sha256;

use super::message;
use super::outcome::{self, Outcome};
use crate::config::Secret;
use crate::model::alarm::Transition;

/// When the message was signed, in seconds since 1970.
pub const TIMESTAMP: &str = "x-tallyd-timestamp";

/// `sha256=` and the HMAC-SHA256 over timestamp, a point, and the body, in hexadecimal.
pub const SIGNATURE: &str = "x-tallyd-signature";

/// The same for every attempt of a message.
const ID: &str = "x-tallyd-id";

/// A receiver and the key.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) target: String,
    pub(super) client: Client,
    pub(super) url: Secret<Url>,
    pub(super) secret: Secret<String>,
}

impl Webhook {
    pub(super) async fn send(&self, transitions: &[&Transition], now: Timestamp) -> Outcome {
        let body = body(&self.target, transitions).to_string();
        let timestamp = now.as_second().to_string();
        let request = self
            .client
            .post(self.url.expose().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(TIMESTAMP, &timestamp)
            .header(
                SIGNATURE,
                signature(self.secret.expose(), &timestamp, body.as_bytes()),
            )
            .header(ID, message::message_id(&self.target, transitions))
            .body(body);
        match outcome::send(request, now).await {
            Ok(answer) => answer.outcome(),
            Err(again) => Outcome::Again(again),
        }
    }
}

/// The value of the header.
pub fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length is taken");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let digits = message::hex(&mac.finalize().into_bytes());
    format!("sha256={digits}")
}

/// The document, the same for every attempt. Its form is in `docs/notifications.md`.
pub(super) fn body(target: &str, transitions: &[&Transition]) -> Value {
    let is_test = transitions
        .iter()
        .any(|one| one.alarm.name == message::TEST_ALARM);
    let transitions_json: Vec<Value> = transitions.iter().map(|one| item(target, one)).collect();
    json!({
        "version": 1,
        "id": message::message_id(target, transitions),
        "target": target,
        "test": is_test,
        "summary": message::tally(transitions),
        "transitions": transitions_json,
    })
}

fn item(target: &str, transition: &Transition) -> Value {
    let alarm = &transition.alarm;
    json!({
        "id": message::transition_id(target, transition),
        "alarm": alarm.name,
        "from": transition.from.name(),
        "to": transition.to.name(),
        "at": transition.at,
        "reason": transition.reason,
        "value": transition.value,
        "condition": message::condition(transition),
        "severity": alarm.severity,
        "runbook": alarm.runbook,
        "description": alarm.description,
        "namespace": alarm.namespace,
        "metric": alarm.metric,
        "dimensions": alarm.dimensions,
        "statistic": alarm.statistic.name(),
        "comparison": alarm.comparison.name(),
        "threshold": alarm.threshold,
        "period_seconds": alarm.period_seconds,
        "evaluation_periods": alarm.evaluation_periods,
        "datapoints_to_alarm": alarm.datapoints_to_alarm,
    })
}
