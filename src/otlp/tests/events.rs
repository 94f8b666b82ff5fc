//! Events beyond the recorded ones.

use serde_json::{Value, json};

use super::support::{log, pairs, read_json, record};
use crate::model::usage::{ActivityMetric, Intake, Outcome, Tier};
use crate::otlp::Signal;

fn read(attributes: &Value) -> Intake {
    let (intake, refused, reasons) = read_json(Signal::Logs, &log(attributes));
    assert_eq!((refused, reasons.as_str()), (0, ""));
    intake
}

#[test]
fn cowork_events_count_like_those_of_the_terminal() {
    let request = json!({
        "event.name": "api_request", "model": "claude-opus-4-8", "input_tokens": "7",
        "output_tokens": "1", "cache_read_tokens": "3", "duration_ms": "12", "status_code": "200",
    });
    let failure = json!({
        "event.name": "error", "error.type": "overloaded", "error.message": "text",
    });
    let outcomes: Vec<_> = [request, failure]
        .iter()
        .map(|attributes| {
            let mut body = log(attributes);
            let resource = &mut body["resourceLogs"][0]["resource"]["attributes"];
            *resource = pairs(&json!({ "service.name": "claude-cowork" }));
            let (intake, refused, _) = read_json(Signal::Logs, &body);
            assert_eq!(refused, 0);
            (intake.records[0].outcome, intake.records[0].tokens.total())
        })
        .collect();
    assert_eq!(outcomes, [(Outcome::Ok, 11), (Outcome::Error, 0)]);
}

#[test]
fn a_refusal_is_a_request_only_if_it_names_one() {
    let mut refusal = json!({ "event.name": "api_refusal", "model": "m", "request_id": "req_1" });
    assert_eq!(read(&refusal).records[0].outcome, Outcome::Refused);
    refusal["request_id"] = json!("");
    let intake = read(&refusal);
    assert_eq!((intake.records.len(), intake.activities.len()), (0, 1));
}

#[test]
fn fast_mode_is_a_tier() {
    let request = json!({ "event.name": "api_request", "model": "m", "speed": "fast" });
    assert_eq!(read(&request).records[0].sku.tier, Tier::Fast);
}

#[test]
fn a_status_below_http_is_no_status() {
    let failure = json!({ "event.name": "api_error", "model": "m", "status_code": "ECONNRESET" });
    assert_eq!(read(&failure).records[0].status_code, None);
}

#[test]
fn unknown_events_are_counted_by_name() {
    let intake = read(&json!({ "event.name": "brand_new" }));
    assert!(intake.records.is_empty());
    let activity = &intake.activities[0];
    assert_eq!(activity.metric, ActivityMetric::Events);
    assert_eq!(&*activity.labels[0], "brand_new");
}

#[test]
fn events_without_sequence_are_told_apart_by_their_content() {
    let first = json!({ "event.name": "api_request", "model": "m", "input_tokens": 1 });
    let mut second = first.clone();
    second["input_tokens"] = json!(2);
    let mut body = log(&first);
    let records = [record(&first), record(&second), record(&first)];
    body["resourceLogs"][0]["scopeLogs"][0]["logRecords"] = json!(records);
    let (intake, _, _) = read_json(Signal::Logs, &body);
    let ids: Vec<_> = intake.records.iter().map(|record| &record.id).collect();
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_resumed_session_that_counts_from_zero_again_has_other_events() {
    let event = |time: &str| {
        let event = json!({
            "event.name": "api_request", "model": "m", "session.id": "s", "event.sequence": 1,
            "event.timestamp": time,
        });
        read(&event).records[0].id.clone()
    };
    assert_ne!(event("2026-11-22T03:00:00Z"), event("2026-11-22T04:00:00Z"));
}
