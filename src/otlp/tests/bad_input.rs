//! What is wrong costs as little as possible and is told by name.

use serde_json::{Value, json};

use super::support::{delta_sum, log, metric, pairs, point, read, read_json, record, try_read};
use crate::model::usage::{Counted, Temporality};
use crate::otlp::{Encoding, Malformed, Signal};

fn request() -> Value {
    json!({
        "event.name": "api_request", "session.id": "s", "event.sequence": 1,
        "model": "claude-opus-4-8", "input_tokens": 10, "output_tokens": 2,
    })
}

fn request_with(key: &str, value: Value) -> Value {
    let mut request = request();
    request[key] = value;
    request
}

/// One token point with this value.
fn tokens(value: &Value) -> Value {
    let attributes = json!({ "type": "input", "model": "claude-opus-4-8" });
    let point = point(&attributes, value);
    metric("claude_code.token.usage", "sum", delta_sum(), &[point])
}

fn reason(signal: Signal, body: &Value) -> String {
    let (intake, refused, reasons) = read_json(signal, body);
    assert_eq!(refused, 1, "{body}");
    assert!(intake.records.is_empty() && intake.points.is_empty());
    assert!(
        intake.activities.is_empty(),
        "nothing of a refused item is kept"
    );
    reasons
}

#[test]
fn bad_numbers_in_events_are_refused_by_name() {
    let rows = [
        ("input_tokens", json!(-1), "input_tokens: is negative"),
        ("input_tokens", json!("-1"), "input_tokens: is negative"),
        (
            "output_tokens",
            json!("NaN"),
            "output_tokens: is not a finite number",
        ),
        (
            "output_tokens",
            json!("Infinity"),
            "output_tokens: is not a finite number",
        ),
        (
            "cache_read_tokens",
            json!(1.5),
            "cache_read_tokens: is not a whole number",
        ),
        (
            "cache_creation_tokens",
            json!(9_007_199_254_740_994_u64),
            "cache_creation_tokens: is larger than 2^53",
        ),
        (
            "input_tokens",
            json!(u64::MAX),
            "input_tokens: is larger than 2^53",
        ),
        (
            "input_tokens",
            json!("many"),
            "input_tokens: is not a number",
        ),
        ("cost_usd", json!(-0.5), "cost_usd: is negative"),
        (
            "duration_ms",
            json!(1e300),
            "duration_ms: is larger than 2^53",
        ),
        (
            "duration_ms",
            json!(5e9),
            "duration_ms: is larger than 2^32",
        ),
        ("event.sequence", json!(-7), "event.sequence: is negative"),
    ];
    for (key, value, expected) in rows {
        let body = log(&request_with(key, value));
        assert_eq!(reason(Signal::Logs, &body), expected);
    }
}

#[test]
fn bad_names_in_events_are_refused_by_name() {
    let long = "x".repeat(10_000);
    for key in [
        "model",
        "session.id",
        "user.id",
        "user.email",
        "request_id",
        "query_source",
    ] {
        let body = log(&request_with(key, json!(long)));
        let expected = format!("{key}: is longer than 256 bytes");
        assert_eq!(reason(Signal::Logs, &body), expected);
    }
    let body = log(&request_with("model", json!("")));
    assert_eq!(reason(Signal::Logs, &body), "model: is missing");
}

#[test]
fn an_empty_user_name_is_no_user() {
    let body = log(&request_with("user.email", json!("")));
    let (intake, refused, _) = read_json(Signal::Logs, &body);
    assert_eq!(refused, 0);
    assert_eq!(intake.records[0].identity.user, None);
}

#[test]
fn separators_in_names_are_kept_and_newlines_replaced() {
    let body = log(&request_with(
        "session.id",
        json!(" a\"b\\c\nd,e=f;g\u{1f} "),
    ));
    let (intake, _, _) = read_json(Signal::Logs, &body);
    let session = intake.records[0].session.as_deref();
    assert_eq!(session, Some("a\"b\\c_d,e=f;g_"));
}

#[test]
fn an_event_without_a_time_is_refused() {
    let mut body = log(&request());
    body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["timeUnixNano"] = json!(0);
    assert_eq!(reason(Signal::Logs, &body), "timeUnixNano: is missing");
    for bad in [json!("soon"), json!(-1), json!({ "a": [1] }), json!("1e99")] {
        body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["timeUnixNano"] = bad;
        let reason = reason(Signal::Logs, &body);
        assert_eq!(reason, "timeUnixNano: is not a time in nanoseconds");
    }
}

#[test]
fn times_of_long_ago_and_far_ahead_are_left_to_the_recorder() {
    for time in ["1970-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
        let body = log(&request_with("event.timestamp", json!(time)));
        let (intake, refused, _) = read_json(Signal::Logs, &body);
        assert_eq!(refused, 0);
        assert_eq!(intake.records[0].at.to_string(), time);
    }
}

#[test]
fn ten_thousand_attributes_are_refused() {
    let many: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let expected = "attributes: more than 256 of them";
    assert_eq!(
        reason(Signal::Logs, &log(&Value::Object(many.clone()))),
        expected
    );
    let mut body = log(&request());
    body["resourceLogs"][0]["resource"]["attributes"] = pairs(&Value::Object(many));
    assert_eq!(reason(Signal::Logs, &body), expected);
}

#[test]
fn the_good_items_of_a_batch_are_kept() {
    let mut body = log(&request());
    let records = [
        record(&request()),
        record(&request_with("input_tokens", json!(-1))),
        json!("not a record"),
        record(&request_with("event.sequence", json!(2))),
    ];
    body["resourceLogs"][0]["scopeLogs"][0]["logRecords"] = json!(records[..2]);
    let (intake, refused, _) = read_json(Signal::Logs, &body);
    assert_eq!((intake.records.len(), refused), (1, 1));
    body["resourceLogs"][0]["scopeLogs"][0]["logRecords"] = json!([records[1], records[3]]);
    let (intake, refused, reasons) = read_json(Signal::Logs, &body);
    assert_eq!((intake.records.len(), refused), (1, 1));
    assert_eq!(reasons, "input_tokens: is negative");
}

#[test]
fn bad_values_of_points_are_refused_by_name() {
    let rows = [
        (json!(-1), "value: is negative"),
        (json!("NaN"), "value: is not a finite number"),
        (json!("-Infinity"), "value: is not a finite number"),
        (json!(1.5), "value: is not a whole number"),
        (
            json!(9_007_199_254_740_994_u64),
            "value: is larger than 2^53",
        ),
        (json!(null), "value: is missing"),
        (json!([1]), "value: is not a number"),
    ];
    for (value, expected) in rows {
        assert_eq!(reason(Signal::Metrics, &tokens(&value)), expected);
    }
}

#[test]
fn values_of_points_may_be_text() {
    let (intake, refused, _) = read_json(Signal::Metrics, &tokens(&json!("2403")));
    assert_eq!((intake.points[0].value, refused), (2403, 0));
}

#[test]
fn points_that_cannot_be_added_up_are_refused() {
    let attributes = json!({ "type": "input", "model": "claude-opus-4-8" });
    let point = [point(&attributes, &json!(1))];
    let name = "claude_code.token.usage";
    let falling = json!({ "aggregationTemporality": 1 });
    let rows = [
        metric(name, "gauge", json!({}), &point),
        metric(name, "sum", falling, &point),
        metric(
            name,
            "histogram",
            json!({ "aggregationTemporality": 1 }),
            &point,
        ),
    ];
    for body in rows {
        let expected = "claude_code.token.usage: is not a monotonic sum";
        assert_eq!(reason(Signal::Metrics, &body), expected);
    }
    let body = metric(name, "sum", json!({ "isMonotonic": true }), &point);
    let expected = "aggregationTemporality: is neither delta nor cumulative";
    assert_eq!(reason(Signal::Metrics, &body), expected);
}

#[test]
fn points_must_name_kind_and_model() {
    let name = "claude_code.token.usage";
    let rows = [
        (json!({ "model": "m" }), "type: is missing"),
        (json!({ "type": "input" }), "model: is missing"),
        (
            json!({ "type": "all", "model": "m" }),
            "type: is no known kind of token",
        ),
    ];
    for (attributes, expected) in rows {
        let point = point(&attributes, &json!(1));
        let body = metric(name, "sum", delta_sum(), &[point]);
        assert_eq!(reason(Signal::Metrics, &body), expected);
    }
}

#[test]
fn an_agents_view_is_not_a_session_and_not_an_error() {
    let point = point(&json!({ "start_type": "agents_view" }), &json!(1));
    let body = metric("claude_code.session.count", "sum", delta_sum(), &[point]);
    let (intake, refused, _) = read_json(Signal::Metrics, &body);
    assert_eq!((intake.points.len(), refused), (0, 0));
}

#[test]
fn a_point_without_start_begins_when_it_ends() {
    let mut body = tokens(&json!(1));
    let points = &mut body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"];
    points["dataPoints"][0]["startTimeUnixNano"] = json!("0");
    let (intake, _, _) = read_json(Signal::Metrics, &body);
    assert_eq!(intake.points[0].start, intake.points[0].at);
    assert_eq!(intake.points[0].temporality, Temporality::Delta);
    let points = &mut body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"];
    points["aggregationTemporality"] = json!(2);
    let (intake, _, _) = read_json(Signal::Metrics, &body);
    let temporality = intake.points[0].temporality;
    assert_eq!(temporality, Temporality::CumulativeFromUnknown);
}

#[test]
fn unknown_metrics_are_counted_by_name_once_per_delivery() {
    let points = [
        point(&json!({}), &json!(-5)),
        point(&json!({ "a": 1 }), &json!(1)),
    ];
    let body = metric("http.server.duration", "gauge", json!({}), &points);
    let (intake, refused, _) = read_json(Signal::Metrics, &body);
    assert_eq!((intake.points.len(), refused), (0, 0));
    let activity = &intake.activities[0];
    assert_eq!(
        (&*activity.labels[0], activity.amount),
        ("http.server.duration", 2)
    );
}

#[test]
fn zero_tokens_are_a_fact_too() {
    let (intake, _, _) = read_json(Signal::Metrics, &tokens(&json!(0)));
    assert!(matches!(intake.points[0].what, Counted::Tokens { .. }));
}

#[test]
fn truncated_protobuf_is_malformed_at_every_length() {
    let body = super::support::fixture("delta-protobuf-gzip/00-logs.pb.gz");
    for length in 1..body.len() {
        let result = try_read(Signal::Logs, Encoding::Protobuf, &body[..length]);
        assert!(matches!(result, Err(Malformed::Protobuf(_))), "{length}");
    }
}

#[test]
fn truncated_json_is_malformed() {
    let body = super::support::fixture("bedrock-json/01-metrics.json");
    for length in (0..body.len() - 2).step_by(97) {
        let result = try_read(Signal::Metrics, Encoding::Json, &body[..length]);
        assert!(matches!(result, Err(Malformed::Json { .. })), "{length}");
    }
}

#[test]
fn deep_json_is_malformed_and_harmless() {
    let open = r#"{"arrayValue":{"values":["#.repeat(10_000);
    let body = format!(
        r#"{{"resourceLogs":[{{"resource":{{}},"scopeLogs":[{{"scope":{{}},"logRecords":[{{"attributes":[{{"key":"k","value":{open}"#
    );
    let result = try_read(Signal::Logs, Encoding::Json, body.as_bytes());
    assert!(matches!(result, Err(Malformed::Json { .. })));
    let unknown = format!(
        r#"{{"later":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let result = try_read(Signal::Logs, Encoding::Json, unknown.as_bytes());
    assert!(
        result.is_ok(),
        "what is not known is passed over without recursion"
    );
}

#[test]
fn deep_protobuf_is_malformed_and_harmless() {
    // AnyValue { array_value { values [ AnyValue ... ] } }, built from the inside.
    fn wrap(number: u8, content: &[u8]) -> Vec<u8> {
        let mut message = vec![number << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut message).expect("memory");
        message.extend_from_slice(content);
        message
    }
    let mut value = Vec::new();
    for _ in 0..2_000 {
        value = wrap(5, &wrap(1, &value));
    }
    let pair = [wrap(1, b"k"), wrap(2, &value)].concat();
    let body = wrap(1, &wrap(2, &wrap(2, &wrap(6, &pair))));
    let result = try_read(Signal::Logs, Encoding::Protobuf, &body);
    let expected = Malformed::Protobuf("values are nested too deeply");
    assert_eq!(result.expect_err("too deep"), expected);
}

#[test]
fn invalid_utf8_in_protobuf_costs_the_item_that_is_read() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use prost::Message;
    let body = super::support::fixture("delta-protobuf-gzip/00-logs.pb.gz");
    let request = ExportLogsServiceRequest::decode(&body[..]).expect("protobuf");
    let mut bytes = request.encode_to_vec();
    let model = b"claude-opus-4-8";
    let at = bytes.windows(model.len()).position(|part| part == model);
    bytes[at.expect("a model")] = 0xff;
    let (intake, refused, reasons) = read(Signal::Logs, Encoding::Protobuf, &bytes);
    assert_eq!((intake.records.len(), refused), (1, 1));
    assert_eq!(reasons, "model: is not valid text");
}

/// A body with one good record, and one whose attribute holds these bytes.
fn with_raw(key: &str, raw: &[u8]) -> Vec<u8> {
    let mut body = log(&request());
    let bad = request_with(key, json!("PLACE"));
    let records = json!([
        record(&bad),
        record(&request_with("event.sequence", json!(2)))
    ]);
    body["resourceLogs"][0]["scopeLogs"][0]["logRecords"] = records;
    let body = body.to_string();
    let (before, after) = body.split_once("PLACE").expect("a place");
    [before.as_bytes(), raw, after.as_bytes()].concat()
}

#[test]
fn text_cut_within_a_character_costs_nothing_where_it_is_dropped() {
    for raw in [&br"cut \ud83d"[..], br"\ude00 cut", b"cut \xf0\x9f"] {
        let body = with_raw("prompt", raw);
        let (intake, refused, reasons) = read(Signal::Logs, Encoding::Json, &body);
        assert_eq!((intake.records.len(), refused), (2, 0), "{reasons}");
    }
}

#[test]
fn half_a_pair_in_a_name_is_read_as_the_replacement_character() {
    let body = with_raw("session.id", b"s\\ud83d");
    let (intake, refused, _) = read(Signal::Logs, Encoding::Json, &body);
    let sessions: Vec<_> = intake
        .records
        .iter()
        .map(|r| r.session.as_deref())
        .collect();
    assert_eq!((sessions, refused), (vec![Some("s\u{fffd}"), Some("s")], 0));
}

#[test]
fn invalid_utf8_in_protobuf_that_tells_the_user_costs_the_item() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use prost::Message;
    let body = super::support::fixture("delta-protobuf-gzip/00-logs.pb.gz");
    let request = ExportLogsServiceRequest::decode(&body[..]).expect("protobuf");
    let mut bytes = request.encode_to_vec();
    let key = b"user.id";
    let keys: Vec<_> = (0..bytes.len() - key.len())
        .filter(|at| bytes[*at..].starts_with(key))
        .collect();
    // The key is followed by the heads of the value and of its text.
    bytes[keys[0] + key.len() + 4] = 0xff;
    let (_, refused, reasons) = read(Signal::Logs, Encoding::Protobuf, &bytes);
    assert_eq!((refused, &*reasons), (1, "user.id: is not valid text"));
}

#[test]
fn invalid_utf8_in_json_costs_the_item_that_is_read() {
    for key in ["model", "session.id", "input_tokens", "user.email"] {
        let body = with_raw(key, b"\xff");
        let (intake, refused, reasons) = read(Signal::Logs, Encoding::Json, &body);
        assert_eq!((intake.records.len(), refused), (1, 1), "{key}");
        let told = reasons.strip_prefix(key).expect("the field is named");
        assert!(told.starts_with(": is not "), "{reasons}");
    }
}

#[test]
fn what_is_wrong_besides_cut_text_is_told_at_its_place() {
    let body = b"{\"resourceLogs\":[{\"\xff\":\"\\ud83d\"},\n{no]}";
    let error = try_read(Signal::Logs, Encoding::Json, body).expect_err("not JSON");
    assert_eq!(error, Malformed::Json { line: 2, column: 2 });
}

#[test]
fn a_malformed_body_is_never_quoted() {
    let body = br#"{"resourceLogs":"my secret prompt"}"#;
    let error = try_read(Signal::Logs, Encoding::Json, body).expect_err("not a list");
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn a_body_of_tiny_items_needs_no_memory_for_each() {
    let items = vec!["{}"; 200_000].join(",");
    let body = format!(
        r#"{{"resourceLogs":[{{"resource":{{}},"scopeLogs":[{{"logRecords":[{items}]}}]}}]}}"#
    );
    let (intake, refused, reasons) = read(Signal::Logs, Encoding::Json, body.as_bytes());
    assert_eq!((intake.records.len(), refused), (0, 200_000));
    assert_eq!(reasons, "timeUnixNano: is missing");
}
