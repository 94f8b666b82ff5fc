//! Histograms of gateways.

use serde_json::{Value, json};

use super::support::{metric, pairs, read_json};
use crate::model::tokens::TokenKind;
use crate::model::usage::{Counted, Intake, source};
use crate::otlp::Signal;

const USAGE: &str = "gen_ai.client.token.usage";

fn histogram(attributes: &Value, sum: u64) -> Value {
    let mut attributes = attributes.clone();
    attributes["gen_ai.request.model"] = json!("claude-sonnet-4-6");
    attributes["gen_ai.provider.name"] = json!("aws.bedrock");
    json!({
        "attributes": pairs(&attributes),
        "startTimeUnixNano": "1795316806000000000",
        "timeUnixNano": "1795316866000000000",
        "count": "3",
        "sum": sum,
        "bucketCounts": ["0", "3"],
        "explicitBounds": [1],
    })
}

fn usage(kind: &str, sum: u64) -> Value {
    histogram(&json!({ "gen_ai.token.type": kind }), sum)
}

/// Kinds and values, and whether the input includes them.
fn tokens(intake: &Intake) -> Vec<(TokenKind, u64, bool)> {
    let mut tokens: Vec<_> = intake
        .points
        .iter()
        .map(|point| match point.what {
            Counted::Tokens { kind, .. } => (kind, point.value, false),
            Counted::IncludedTokens { kind, .. } => (kind, point.value, true),
            _ => panic!("only tokens were sent"),
        })
        .collect();
    tokens.sort();
    tokens
}

fn read(points: &[Value]) -> Intake {
    let delta = json!({ "aggregationTemporality": 1 });
    let body = metric(USAGE, "histogram", delta, points);
    let (intake, refused, reasons) = read_json(Signal::Metrics, &body);
    assert_eq!((refused, reasons.as_str()), (0, ""));
    intake
}

#[test]
fn what_the_input_includes_is_told_apart() {
    let intake = read(&[
        usage("cached_input", 700),
        usage("input", 1000),
        usage("output", 50),
        usage("cache_creation_input", 100),
        usage("reasoning", 20),
        usage("total", 1050),
    ]);
    assert_eq!(
        tokens(&intake),
        [
            (TokenKind::Input, 1000, false),
            (TokenKind::Output, 50, false),
            (TokenKind::CacheRead, 700, true),
            (TokenKind::CacheCreation, 100, true),
        ]
    );
    assert!(
        intake
            .points
            .iter()
            .all(|point| &*point.source == source::GENAI)
    );
}

#[test]
fn requests_are_counted_by_the_duration_histogram() {
    let delta = json!({ "aggregationTemporality": 1 });
    let points = [histogram(
        &json!({ "gen_ai.response.model": "claude-opus-4-8" }),
        0,
    )];
    let body = metric(
        "gen_ai.client.operation.duration",
        "histogram",
        delta,
        &points,
    );
    let (intake, _, _) = read_json(Signal::Metrics, &body);
    let Counted::Requests { sku } = &intake.points[0].what else {
        panic!("requests were sent");
    };
    assert_eq!(intake.points[0].value, 3);
    assert_eq!(&*sku.raw_model, "claude-opus-4-8");
}

#[test]
fn failed_requests_have_a_source_of_their_own() {
    let delta = json!({ "aggregationTemporality": 1 });
    let points = [
        histogram(&json!({}), 0),
        histogram(&json!({ "error.type": "429" }), 0),
    ];
    let name = "gen_ai.client.operation.duration";
    let body = metric(name, "histogram", delta, &points);
    let (intake, _, _) = read_json(Signal::Metrics, &body);
    let sources: Vec<&str> = intake.points.iter().map(|point| &*point.source).collect();
    assert_eq!(sources, [source::GENAI, source::GENAI_ERRORS]);
}
