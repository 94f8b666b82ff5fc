//! Alertmanager: alerts that are sent again while they fire, and end with a recovery.
//!
//! An alert that fires ends by itself [`HOLD`] after it was sent last, as those of Prometheus do:
//! when tallyd is gone, nobody knows any more that something is wrong, and an alert that never ends
//! would hide the next one. That tallyd is gone is for an alert on `up` to tell.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::message;
use super::outcome::{self, Outcome};
use crate::config::Secret;
use crate::model::alarm::{State, Transition};

/// Time between two messages about an alert that fires.
pub(super) const RESEND_PERIOD: Duration = Duration::from_mins(1);

/// The path of alerts.
const ALERTS: &str = "/api/v2/alerts";

/// How long an alert fires without being sent again: four messages may be lost.
const HOLD: Duration = Duration::from_mins(5);

/// An Alertmanager, and what each alert says of where it comes from.
#[derive(Debug)]
pub(super) struct Alertmanager {
    pub(super) client: Client,
    pub(super) url: Secret<Url>,
    /// The label `instance`, unless `labels` sets it.
    pub(super) instance: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl Alertmanager {
    pub(super) async fn send(&self, transitions: &[&Transition], now: Timestamp) -> Outcome {
        let alerts: Vec<Value> = transitions.iter().map(|one| self.alert(one, now)).collect();
        let request = self.client.post(self.address()).json(&alerts);
        match outcome::send(request, now).await {
            Ok(answer) => answer.outcome(),
            Err(again) => Outcome::Again(again),
        }
    }

    /// Where alerts are posted, whether or not the URL says so.
    pub(super) fn address(&self) -> String {
        let url = self.url.expose().as_str().trim_end_matches('/');
        let base = url.strip_suffix(ALERTS).unwrap_or(url);
        format!("{base}{ALERTS}")
    }

    /// One alert. Its labels are what it is known by, so they do not change while it fires.
    pub(super) fn alert(&self, transition: &Transition, now: Timestamp) -> Value {
        let alarm = &transition.alarm;
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &alarm.dimensions {
            labels.insert(label_name(name), value.clone());
        }
        labels.insert("instance".to_owned(), self.instance.clone());
        labels.extend(self.labels.clone());
        labels.insert("alertname".to_owned(), alarm.name.clone());
        labels.insert("severity".to_owned(), alarm.severity.clone());
        let mut annotations: BTreeMap<&str, String> = BTreeMap::new();
        annotations.insert("summary", message::condition(transition));
        annotations.insert("description", alarm.description.clone());
        annotations.insert("reason", transition.reason.clone());
        annotations.insert("value", message::value(transition));
        if let Some(runbook) = &alarm.runbook {
            annotations.insert("runbook_url", runbook.clone());
        }
        let mut alert = json!({"labels": labels, "annotations": annotations});
        if transition.to == State::Alarm {
            alert["startsAt"] = json!(transition.at);
            alert["endsAt"] = json!(now.saturating_add(HOLD).unwrap_or(Timestamp::MAX));
        } else {
            // Without a beginning, which Alertmanager knows.
            alert["endsAt"] = json!(transition.at.min(now));
        }
        alert
    }
}

/// A dimension's name as a label: letters, digits and `_`, and none of an alert's own.
fn label_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(allowed).collect();
    let is_digit_first = name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || is_digit_first || matches!(&*name, "alertname" | "severity" | "instance")
    {
        format!("dimension_{name}")
    } else {
        name
    }
}
