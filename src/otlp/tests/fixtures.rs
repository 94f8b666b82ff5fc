//! The recorded sessions of a real client.

use std::collections::BTreeSet;

use super::support::{fixture, logs_to_json, metrics_to_json, read};
use crate::model::identity::{Identity, Origin};
use crate::model::money::PicoUsd;
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::{
    ActivityMetric, Counted, Intake, Outcome, Temporality, UsageRecord, source,
};
use crate::otlp::{Encoding, Signal};

const SESSIONS: [(&str, &str, &str); 5] = [
    ("delta-json", "00-logs.json", "01-metrics.json"),
    ("cumulative-json", "00-logs.json", "01-metrics.json"),
    ("bedrock-json", "00-logs.json", "01-metrics.json"),
    ("vertex-json", "00-logs.json", "01-metrics.json"),
    ("delta-protobuf-gzip", "00-logs.pb.gz", "01-metrics.pb.gz"),
];

fn intake(signal: Signal, folder: &str, file: &str) -> Intake {
    let encoding = if file.contains(".pb") {
        Encoding::Protobuf
    } else {
        Encoding::Json
    };
    let body = fixture(&format!("{folder}/{file}"));
    let (intake, refused, reasons) = read(signal, encoding, &body);
    assert_eq!((refused, reasons.as_str()), (0, ""), "{folder}/{file}");
    intake
}

fn tokens_of_records(records: &[UsageRecord]) -> [u64; 4] {
    TokenKind::ALL.map(|kind| records.iter().map(|record| record.tokens.of(kind)).sum())
}

fn tokens_of_points(intake: &Intake) -> [u64; 4] {
    TokenKind::ALL.map(|wanted| {
        let points = intake.points.iter().filter_map(|point| match &point.what {
            Counted::Tokens { kind, .. } if *kind == wanted => Some(point.value),
            _ => None,
        });
        points.sum()
    })
}

fn activity(intake: &Intake, wanted: ActivityMetric) -> Vec<(Vec<&str>, u64)> {
    let points = intake.points.iter().filter_map(|point| match &point.what {
        Counted::Activity { metric, labels } if *metric == wanted => {
            Some((labels.iter().map(AsRef::as_ref).collect(), point.value))
        }
        _ => None,
    });
    points.collect()
}

#[test]
fn the_events_of_each_session_give_its_tokens() {
    for (folder, logs, _) in SESSIONS {
        let intake = intake(Signal::Logs, folder, logs);
        assert_eq!(intake.records.len(), 2, "{folder}");
        let tokens = tokens_of_records(&intake.records);
        assert_eq!(tokens, [2403, 84, 11200, 680], "{folder}");
    }
}

#[test]
fn the_metrics_of_each_session_give_its_tokens() {
    for (folder, _, metrics) in SESSIONS {
        let intake = intake(Signal::Metrics, folder, metrics);
        let tokens = tokens_of_points(&intake);
        assert_eq!(tokens, [2403, 84, 11200, 680], "{folder}");
        assert!(intake.points.iter().all(|point| point.session.is_some()));
        let expected = match folder {
            "cumulative-json" => Temporality::Cumulative,
            _ => Temporality::Delta,
        };
        let mut points = intake.points.iter();
        assert!(points.all(|point| point.temporality == expected));
    }
}

#[test]
fn an_api_request_is_read_whole() {
    let intake = intake(Signal::Logs, "delta-json", "00-logs.json");
    let record = &intake.records[0];
    let expected = UsageRecord {
        source: source::EVENTS.into(),
        id: record.id.clone(),
        request_id: Some("req_d00001".into()),
        client_request_id: None,
        session: Some("2065c201-8a98-4fdf-b177-8ef0e2787931".into()),
        reservation: None,
        at: "2026-11-22T03:06:46.650Z".parse().expect("a time"),
        booked_at: "2026-11-22T03:06:46.650Z".parse().expect("a time"),
        identity: Identity {
            origin: Origin::Device,
            device: Some("0351e97f2fdf91c75c6e45949253b62a126a6db29551acc52a6704310ec1afba".into()),
            team: Some("payments".into()),
            department: Some("platform".into()),
            cost_center: Some("cc-42".into()),
            ..Identity::default()
        }
        .into(),
        sku: record.sku.clone(),
        tokens: Tokens {
            input: 1201,
            output: 42,
            cache_read: 5600,
            cache_write_unknown: 340,
            ..Tokens::default()
        },
        outcome: Outcome::Ok,
        status_code: None,
        duration_ms: Some(18),
        ttft_ms: None,
        tools: None,
        query_source: Some("sdk".into()),
        entrypoint: None,
        client_cost: Some(PicoUsd(11_980_000_000)),
    };
    assert_eq!(record, &expected);
    assert_eq!(record.id.len(), 32);
    assert_eq!(&*record.sku.raw_model, "claude-opus-4-8");
}

#[test]
fn every_event_is_counted_by_name() {
    let intake = intake(Signal::Logs, "delta-json", "00-logs.json");
    let named: Vec<_> = intake
        .activities
        .iter()
        .map(|activity| (activity.metric, activity.labels.join(",")))
        .collect();
    let event = |name: &str| (ActivityMetric::Events, name.to_owned());
    assert_eq!(
        named,
        [
            event("user_prompt"),
            event("api_request"),
            event("tool_decision"),
            event("tool_result"),
            (ActivityMetric::ToolResults, "Write,true".to_owned()),
            event("api_request"),
            event("assistant_response"),
        ]
    );
    let ids: BTreeSet<_> = intake.activities.iter().map(|a| a.id).collect();
    assert_eq!(ids.len(), named.len());
}

#[test]
fn the_other_counters_are_read() {
    let intake = intake(Signal::Metrics, "delta-json", "01-metrics.json");
    let sessions = activity(&intake, ActivityMetric::Sessions);
    assert_eq!(sessions, [(vec!["fresh"], 1)]);
    let lines = activity(&intake, ActivityMetric::Lines);
    let model = "claude-opus-4-8";
    assert_eq!(
        lines,
        [(vec!["added", model], 5), (vec!["removed", model], 0)]
    );
    let decisions = activity(&intake, ActivityMetric::EditDecisions);
    assert_eq!(
        decisions,
        [(vec!["Write", "accept", "config", "Python"], 1)]
    );
    let active = activity(&intake, ActivityMetric::ActiveTime);
    assert_eq!(active, [(vec!["cli"], 197)]);
    let cost: Vec<_> = intake
        .points
        .iter()
        .filter(|point| matches!(point.what, Counted::ClientCost { .. }))
        .map(|point| point.value)
        .collect();
    assert_eq!(cost, [23_965]);
}

#[test]
fn a_failed_request_is_told_by_two_sources() {
    let intake = intake(Signal::Logs, "api-errors-json", "01-logs.json");
    let told: Vec<_> = intake
        .records
        .iter()
        .map(|record| (&*record.source, record.outcome, record.status_code))
        .collect();
    assert_eq!(
        told,
        [
            (source::EVENTS, Outcome::Error, Some(529)),
            (source::RETRIES, Outcome::Error, Some(529)),
        ]
    );
    assert_eq!(tokens_of_records(&intake.records), [0; 4]);
}

#[test]
fn reading_twice_gives_the_same_facts() {
    for (folder, logs, metrics) in SESSIONS {
        for (signal, file) in [(Signal::Logs, logs), (Signal::Metrics, metrics)] {
            assert_eq!(intake(signal, folder, file), intake(signal, folder, file));
        }
    }
}

#[test]
fn the_same_export_in_json_gives_the_same_facts() {
    use prost::Message;
    let logs = fixture("delta-protobuf-gzip/00-logs.pb.gz");
    let json = logs_to_json(&Message::decode(&logs[..]).expect("protobuf")).to_string();
    assert_eq!(
        read(Signal::Logs, Encoding::Json, json.as_bytes()),
        read(Signal::Logs, Encoding::Protobuf, &logs)
    );
    let metrics = fixture("delta-protobuf-gzip/01-metrics.pb.gz");
    let json = metrics_to_json(&Message::decode(&metrics[..]).expect("protobuf")).to_string();
    assert_eq!(
        read(Signal::Metrics, Encoding::Json, json.as_bytes()),
        read(Signal::Metrics, Encoding::Protobuf, &metrics)
    );
}
