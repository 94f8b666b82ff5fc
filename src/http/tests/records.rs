//! Bodies of `usage/events` become records.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::now;
use crate::http::delivery::{Batch, Context, Door};
use crate::http::elements::BodyFault;
use crate::http::usage_events::{Writing, parse};
use crate::model::access::Binding;
use crate::model::identity::{Identity, Origin};
use crate::model::names::ModelNames;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Outcome, Tier, UsageRecord};

fn writing(headers: &[(&'static str, &str)]) -> Writing {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a header value");
        map.insert(HeaderName::from_static(name), value);
    }
    Writing::of(&map).expect("the headers are understood")
}

fn read_as(
    body: &str,
    headers: &[(&'static str, &str)],
    binding: &Binding,
) -> Result<Batch, BodyFault> {
    let names = ModelNames::default();
    let context = Context {
        names: &names,
        binding,
        now: now(),
        door: Door::Usage,
    };
    parse(body.as_bytes(), &writing(headers), context)
}

fn read(body: &Value) -> Batch {
    let json = [("content-type", "application/json")];
    read_as(&body.to_string(), &json, &Binding::default()).expect("the body is JSON")
}

/// The only record of a body.
fn record(body: &Value) -> UsageRecord {
    let batch = read(body);
    assert_eq!(batch.rejected, []);
    batch.records.into_iter().next().expect("a record")
}

/// Code and message of the refusal of a body's only record.
fn refusal(body: &Value) -> (&'static str, String) {
    let batch = read(body);
    assert_eq!(batch.records, []);
    let rejected = batch.rejected.into_iter().next().expect("a refusal");
    (rejected.refusal.code, rejected.refusal.message)
}

/// The least that a record needs, with some members replaced.
fn least_with(changes: Value) -> Value {
    let mut body = json!({
        "id": "1", "at": "2026-11-22T03:06:46.650Z", "user": "alice@example.com",
        "model": "claude-sonnet-4-6", "tokens": {"input": 1, "output": 2},
    });
    let Value::Object(changes) = changes else {
        panic!("changes are an object");
    };
    for (name, value) in changes {
        body[name] = value;
    }
    body
}

fn boxed(text: &str) -> Box<str> {
    text.into()
}

#[test]
fn a_full_record_keeps_every_field() {
    let body = json!({
        "id": "01JD8Q", "request_id": "req_011C", "source": "gateway",
        "at": "2026-11-22T12:06:46.650+09:00", "user": "Alice@Example.com", "team": "payments",
        "project": "checkout", "cost_center": "cc-42", "department": "retail",
        "organization": "acme", "device": "d1", "session": "2065c201",
        "client_request_id": "c-1", "provider": "bedrock", "model": "claude-sonnet-4-6",
        "tokens": {"input": 1201, "output": 42, "cache_read": 5600, "cache_write_5m": 340,
                   "cache_write_1h": 0},
        "outcome": "ok", "status_code": 200, "duration_ms": 1830, "ttft_ms": 410,
        "region": "us-east-1", "tier": "batch", "query_source": "main", "tools": 3,
        "entrypoint": "cli", "reservation": "01JD8P", "colour": {"unknown": ["is ignored"]},
    });
    let at: Timestamp = "2026-11-22T03:06:46.650Z".parse().expect("a time");
    let record = record(&body);
    assert_eq!(record.sku.band, Band::UpTo100k);
    assert_eq!(
        (&*record.sku.model, &*record.sku.provider, record.sku.tier),
        ("claude-sonnet-4-6", "bedrock", Tier::Batch)
    );
    assert_eq!(record.sku.region, Some(boxed("us-east-1")));
    let expected = UsageRecord {
        source: "gateway".into(),
        id: "01JD8Q".into(),
        request_id: Some(boxed("req_011C")),
        client_request_id: Some(boxed("c-1")),
        session: Some("2065c201".into()),
        reservation: Some(boxed("01JD8P")),
        at,
        booked_at: at,
        identity: Identity {
            user: Some(boxed("alice@example.com")),
            origin: Origin::Gateway,
            device: Some(boxed("d1")),
            account: None,
            organization: Some(boxed("acme")),
            team: Some(boxed("payments")),
            project: Some(boxed("checkout")),
            department: Some(boxed("retail")),
            cost_center: Some(boxed("cc-42")),
            role: None,
        }
        .into(),
        sku: record.sku.clone(),
        tokens: Tokens {
            input: 1201,
            output: 42,
            cache_read: 5600,
            cache_write_5m: 340,
            ..Tokens::default()
        },
        outcome: Outcome::Ok,
        status_code: Some(200),
        duration_ms: Some(1830),
        ttft_ms: Some(410),
        tools: Some(3),
        query_source: Some("main".into()),
        entrypoint: Some("cli".into()),
        client_cost: None,
    };
    assert_eq!(record, expected);
}

#[test]
fn five_fields_are_enough() {
    let record = record(&least_with(json!({"team": "", "session": null})));
    assert_eq!(&*record.source, "gateway");
    assert_eq!(record.outcome, Outcome::Ok);
    assert_eq!((record.session, record.identity.team.clone()), (None, None));
    for field in ["id", "at", "user", "model", "tokens"] {
        let seen = refusal(&least_with(json!({field: null})));
        assert_eq!(seen, ("missing_field", format!("{field}: is required")));
    }
}

#[test]
fn cache_writes_of_unknown_lifetime_are_what_the_parts_do_not_explain() {
    let writes = |tokens: Value| {
        let tokens = record(&least_with(json!({"tokens": tokens}))).tokens;
        (
            tokens.cache_write_5m,
            tokens.cache_write_1h,
            tokens.cache_write_unknown,
        )
    };
    assert_eq!(writes(json!({"cache_write": 9})), (0, 0, 9));
    assert_eq!(
        writes(json!({"cache_write": 9, "cache_write_5m": 4, "cache_write_1h": 5})),
        (4, 5, 0)
    );
    assert_eq!(
        writes(json!({"cache_write": 9, "cache_write_5m": 4})),
        (4, 0, 5)
    );
    let less = least_with(json!({"tokens": {"cache_write": 3, "cache_write_5m": 4}}));
    assert_eq!(
        refusal(&less),
        (
            "invalid_field",
            "tokens.cache_write: must be at least the sum of its parts, 4, got 3".to_owned()
        )
    );
}

#[test]
fn the_outcome_is_said_or_told_by_the_status() {
    let outcome = |changes| record(&least_with(changes)).outcome;
    assert_eq!(outcome(json!({"status_code": 529})), Outcome::Error);
    assert_eq!(outcome(json!({"status_code": 200})), Outcome::Ok);
    assert_eq!(outcome(json!({"outcome": "success"})), Outcome::Ok);
    for expected in Outcome::ALL {
        assert_eq!(outcome(json!({"outcome": expected.name()})), expected);
    }
    assert_eq!(
        refusal(&least_with(json!({"outcome": "fine"}))),
        (
            "invalid_field",
            "outcome: must be one of ok, error, cancelled, refused, unknown".to_owned()
        )
    );
}

#[test]
fn tallyds_own_sources_are_not_for_others() {
    for name in ["events", "metrics", "events_retries", "genai"] {
        assert_eq!(
            refusal(&least_with(json!({"source": name}))),
            (
                "source_reserved",
                format!("source: {name} is one of tallyd's own")
            )
        );
    }
    let long = "x".repeat(65);
    for name in ["Gate way", "gäteway", "a/b", &long] {
        let (code, message) = refusal(&least_with(json!({"source": name})));
        assert_eq!(code, "invalid_field");
        assert!(message.starts_with("source: "), "{message}");
    }
    assert_eq!(
        &*record(&least_with(json!({"source": "envoy-1.eu"}))).source,
        "envoy-1.eu"
    );
}

#[test]
fn a_bound_token_reports_only_its_own_team() {
    let binding = Binding {
        users: Vec::new(),
        teams: vec!["payments".into()],
    };
    let body = json!([
        least_with(json!({"team": "payments"})),
        least_with(json!({"team": "fraud"})),
        least_with(json!({})),
    ]);
    let json = [("content-type", "application/json")];
    let batch = read_as(&body.to_string(), &json, &binding).expect("JSON");
    assert_eq!(batch.indices, [0]);
    let refused: Vec<_> = batch
        .rejected
        .iter()
        .map(|rejected| (rejected.index, rejected.refusal.code))
        .collect();
    assert_eq!(
        refused,
        [(1, "identity_not_allowed"), (2, "identity_not_allowed")]
    );
}

#[test]
fn repeated_values_are_shared() {
    let batch = read(&json!([
        least_with(json!({"session": "s"})),
        least_with(json!({"session": "s"}))
    ]));
    let [first, second] = &batch.records[..] else {
        panic!("two records");
    };
    assert!(std::sync::Arc::ptr_eq(&first.identity, &second.identity));
    assert!(std::sync::Arc::ptr_eq(&first.sku, &second.sku));
    assert!(std::sync::Arc::ptr_eq(&first.source, &second.source));
}

fn event(changes: &Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "type": "llm.usage", "source": "//gateway/EU", "id": "7",
        "time": "2026-11-22T03:06:46.650Z",
        "data": {"user": "alice@example.com", "model": "claude-sonnet-4-6",
                 "tokens": {"input": 1201, "output": 42}},
    });
    for (name, value) in changes.as_object().expect("changes are an object") {
        event[name] = value.clone();
    }
    event
}

fn events(body: &Value) -> Vec<Result<(String, String, u64), String>> {
    let headers = [(
        "content-type",
        "application/cloudevents-batch+json; charset=utf-8",
    )];
    let batch = read_as(&body.to_string(), &headers, &Binding::default()).expect("JSON");
    let records = batch.records.into_iter().map(|record| {
        Ok((
            record.source.to_string(),
            record.id.to_string(),
            record.tokens.total(),
        ))
    });
    let rejected = batch.rejected.into_iter();
    records
        .chain(rejected.map(|rejected| Err(rejected.refusal.message)))
        .collect()
}

#[test]
fn events_give_their_envelope_to_the_record() {
    let fault = |text: &str| Err(text.to_owned());
    let plain = Ok(("gateway-eu".to_owned(), "7".to_owned(), 1243));
    assert_eq!(events(&event(&json!({}))), std::slice::from_ref(&plain));
    let body = json!([
        event(&json!({})),
        event(&json!({"specversion": "0.3"})),
        event(&json!({"data": null})),
        event(&json!({"data": "text"})),
        event(&json!({"data_base64": "e30="})),
        event(&json!({"source": null})),
        event(&json!({"id": null})),
        event(&json!({"time": "soon"})),
        event(&json!({"time": null})),
    ]);
    let seen = events(&body);
    assert_eq!(
        seen[..7],
        [
            plain,
            fault("specversion: must be 1.0"),
            fault("data: is required"),
            fault("data: must be an object, got a string"),
            fault("data_base64: is not taken, send `data` as JSON"),
            fault("source: is required"),
            fault("id: is required"),
        ]
    );
    assert!(
        seen[7..]
            .iter()
            .all(|seen| matches!(seen, Err(fault) if fault.starts_with("time: ")))
    );
}

#[test]
fn an_event_may_hold_a_quota_settlement() {
    let data = json!({
        "subject": {"user": "u42", "team": "ml", "project": "chat"},
        "model": "claude-sonnet-4-6", "reservation_id": "01JD",
        "usage": {"input_tokens": 1180, "output_tokens": 903, "cached_input_tokens": 7,
                  "cache_creation_input_tokens": 10,
                  "cache_creation": {"ephemeral_1h_input_tokens": 4}, "reasoning_tokens": 100},
    });
    let headers = [("content-type", "application/cloudevents+json")];
    let body = event(&json!({"data": data})).to_string();
    let batch = read_as(&body, &headers, &Binding::default()).expect("JSON");
    assert_eq!(batch.rejected, []);
    let record = &batch.records[0];
    assert_eq!(
        record.tokens,
        Tokens {
            input: 1180,
            output: 903,
            cache_read: 7,
            cache_write_1h: 4,
            cache_write_unknown: 6,
            ..Tokens::default()
        }
    );
    assert_eq!(record.reservation, Some(boxed("01JD")));
    assert_eq!(
        (
            &record.identity.user,
            &record.identity.team,
            &record.identity.project
        ),
        (
            &Some(boxed("u42")),
            &Some(boxed("ml")),
            &Some(boxed("chat"))
        )
    );
}

#[test]
fn an_event_in_binary_mode_has_its_envelope_in_headers() {
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "llm.usage"),
        ("ce-id", "a%20b"),
        ("ce-source", "envoy"),
        ("ce-time", "2026-11-22T03:00:00Z"),
    ];
    let body = event(&json!({}))["data"].to_string();
    let batch = read_as(&body, &headers, &Binding::default()).expect("JSON");
    assert_eq!(batch.rejected, []);
    let record = &batch.records[0];
    assert_eq!((&*record.id, &*record.source), ("a b", "envoy"));
    assert_eq!(record.at.to_string(), "2026-11-22T03:00:00Z");
}
