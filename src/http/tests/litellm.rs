//! LiteLLM's payloads become records.

use serde_json::{Value, json};

use super::{now, post};
use crate::http::delivery::{Batch, Context, Door};
use crate::http::elements::Layout;
use crate::http::litellm::parse;
use crate::model::access::Binding;
use crate::model::identity::{Identity, Origin};
use crate::model::names::ModelNames;
use crate::model::tokens::Tokens;
use crate::model::usage::{Outcome, UsageRecord};

fn read(body: &Value) -> Batch {
    let (names, binding) = (ModelNames::default(), Binding::default());
    let context = Context {
        names: &names,
        binding: &binding,
        now: now(),
        door: Door::Usage,
    };
    parse(body.to_string().as_bytes(), Layout::Json, context).expect("the body is JSON")
}

fn record(body: &Value) -> UsageRecord {
    let batch = read(body);
    assert_eq!(batch.rejected, []);
    batch.records.into_iter().next().expect("a record")
}

fn call(changes: Value) -> Value {
    let mut call = json!({
        "id": "chatcmpl-1", "trace_id": "t-1", "litellm_call_id": "c-1",
        "call_type": "acompletion", "stream": true, "status": "success", "response_cost": 0.01,
        "custom_llm_provider": "bedrock",
        "model": "bedrock/us.anthropic.claude-sonnet-4-6-v1:0", "model_group": "sonnet",
        "api_base": "https://bedrock-runtime.us-east-1.amazonaws.com/model/x/converse",
        "prompt_tokens": 7141, "completion_tokens": 42, "total_tokens": 7183,
        "startTime": 1_795_316_804.82, "completionStartTime": 1_795_316_805.23,
        "endTime": 1_795_316_806.65, "cache_hit": null, "end_user": "",
        "error_information": {"error_code": "", "error_message": ""},
        "messages": [{"role": "user", "content": "the secret prompt"}],
        "response": {"choices": [{"message": {"content": "the secret answer"}}]},
        "metadata": {
            "user_api_key_user_id": "Alice@Example.com", "user_api_key_team_id": "team-1",
            "user_api_key_team_alias": "payments", "user_api_key_project_id": "checkout",
            "user_api_key_org_id": "acme",
            "requester_metadata": {"quota_reservation_id": "01JD"},
            "usage_object": {"prompt_tokens": 7141, "cache_read_input_tokens": 5600,
                "cache_creation_input_tokens": 340,
                "prompt_tokens_details": {"cached_tokens": 5600}},
        },
    });
    let Value::Object(changes) = changes else {
        panic!("changes are an object");
    };
    for (name, value) in changes {
        call[name] = value;
    }
    call
}

fn boxed(text: &str) -> Box<str> {
    text.into()
}

#[test]
fn a_call_becomes_a_record_with_disjoint_tokens() {
    let record = record(&call(json!({})));
    assert_eq!(
        (
            &*record.sku.provider,
            &*record.sku.raw_model,
            &record.sku.region
        ),
        (
            "bedrock",
            "us.anthropic.claude-sonnet-4-6-v1:0",
            &Some(boxed("us-east-1"))
        )
    );
    let at = "2026-11-22T03:06:46.650Z".parse().expect("a time");
    let expected = UsageRecord {
        source: "litellm".into(),
        id: "chatcmpl-1".into(),
        request_id: None,
        client_request_id: None,
        session: None,
        reservation: Some(boxed("01JD")),
        at,
        booked_at: at,
        identity: Identity {
            user: Some(boxed("alice@example.com")),
            origin: Origin::Gateway,
            team: Some(boxed("payments")),
            project: Some(boxed("checkout")),
            organization: Some(boxed("acme")),
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
        duration_ms: Some(1830),
        ttft_ms: Some(410),
        tools: None,
        query_source: None,
        entrypoint: None,
        client_cost: None,
    };
    assert_eq!(record, expected);
    let kept = format!("{record:?}");
    assert!(!kept.contains("secret"), "no message is kept");
}

#[test]
fn cache_counts_are_found_wherever_litellm_puts_them() {
    let tokens = |usage: Value| record(&call(json!({"metadata": {"usage_object": usage}}))).tokens;
    let plain = Tokens {
        input: 7141,
        output: 42,
        ..Tokens::default()
    };
    assert_eq!(tokens(Value::Null), plain);
    assert_eq!(tokens(json!("text")), plain);
    assert_eq!(
        tokens(
            json!({"prompt_tokens_details": {"cached_tokens": 41, "cache_creation_tokens": 100,
            "cache_creation_token_details": {"ephemeral_5m_input_tokens": 60,
                "ephemeral_1h_input_tokens": 40}}})
        ),
        Tokens {
            input: 7000,
            cache_read: 41,
            cache_write_5m: 60,
            cache_write_1h: 40,
            ..plain
        }
    );
    assert_eq!(
        tokens(json!({"cache_read_input_tokens": 9000,
            "cache_creation": {"ephemeral_1h_input_tokens": 5}})),
        Tokens {
            input: 0,
            cache_read: 9000,
            cache_write_1h: 5,
            ..plain
        }
    );
}

#[test]
fn a_hit_in_the_proxys_own_cache_is_a_request_without_tokens() {
    for hit in [json!(true), json!("True")] {
        let record = record(&call(json!({"cache_hit": hit})));
        assert_eq!(
            (record.tokens, record.outcome),
            (Tokens::default(), Outcome::Ok)
        );
    }
}

#[test]
fn a_failure_keeps_its_status_and_not_its_text() {
    let record = record(&call(json!({
        "id": null, "status": "failure", "prompt_tokens": 0, "completion_tokens": 0,
        "error_information": {"error_code": "429", "error_message": "the secret text"},
        "metadata": {}, "model": "", "completionStartTime": null,
    })));
    assert_eq!(
        (record.outcome, record.status_code),
        (Outcome::Error, Some(429))
    );
    assert_eq!((&*record.id, &*record.sku.raw_model), ("c-1", "sonnet"));
    assert_eq!(record.identity.origin, Origin::Unknown);
    assert!(!format!("{record:?}").contains("secret"));
}

#[test]
fn the_user_is_the_most_exact_one_told() {
    let user = |end_user: Value, metadata: Value| {
        record(&call(json!({"end_user": end_user, "metadata": metadata})))
            .identity
            .user
            .clone()
    };
    let all = json!({
        "user_api_key_end_user_id": "END", "user_api_key_user_email": "mail@x",
        "user_api_key_user_id": "id", "user_api_key_alias": "alias",
    });
    assert_eq!(user(json!("e"), all), Some(boxed("end")));
    assert_eq!(
        user(json!("e"), json!({"user_api_key_user_id": "id"})),
        Some(boxed("e"))
    );
    assert_eq!(
        user(
            Value::Null,
            json!({"user_api_key_user_email": "mail@x", "user_api_key_user_id": "id"})
        ),
        Some(boxed("mail@x"))
    );
    assert_eq!(
        user(
            json!(""),
            json!({"user_api_key_user_id": "default_user_id", "user_api_key_alias": "ci"})
        ),
        Some(boxed("ci"))
    );
    assert_eq!(user(Value::Null, Value::Null), None);
}

#[test]
fn what_claude_code_sends_as_user_is_a_device_and_a_session() {
    let forms = [
        "user_d1_account_a1_session_s1".to_owned(),
        json!({"device_id": "d1", "account_uuid": "a1", "session_id": "s1"}).to_string(),
    ];
    for form in forms {
        let record = record(&call(json!({
            "end_user": form, "metadata": {"user_api_key_alias": "alice-key"},
        })));
        assert_eq!(record.session.as_deref(), Some("s1"));
        assert_eq!(
            *record.identity,
            Identity {
                user: Some(boxed("alice-key")),
                origin: Origin::Gateway,
                device: Some(boxed("d1")),
                account: Some(boxed("a1")),
                ..Identity::default()
            }
        );
    }
    let nobody = json!({"end_user": "user_d1_account__session_s1", "metadata": {}});
    let record = record(&call(nobody));
    assert_eq!(record.identity.origin, Origin::Device);
}

#[test]
fn times_keep_their_milliseconds() {
    let at = |end: &str| {
        let body = call(json!({"startTime": null})).to_string();
        let body = body.replace("1795316806.65", end);
        let (names, binding) = (ModelNames::default(), Binding::default());
        let context = Context {
            names: &names,
            binding: &binding,
            now: now(),
            door: Door::Usage,
        };
        let batch = parse(body.as_bytes(), Layout::Json, context).expect("JSON");
        match batch.records.first() {
            Some(record) => record.at.to_string(),
            None => batch.rejected[0].refusal.message.clone(),
        }
    };
    let seen = [
        "1795316806",
        "1795316806.001",
        "1795316806.6499999",
        "1795316806.0005",
        "1795316806.9996",
        "\"2026-11-22T03:06:46.650Z\"",
    ]
    .map(at);
    assert_eq!(
        seen,
        [
            "2026-11-22T03:06:46Z",
            "2026-11-22T03:06:46.001Z",
            "2026-11-22T03:06:46.65Z",
            "2026-11-22T03:06:46.001Z",
            "2026-11-22T03:06:47Z",
            "2026-11-22T03:06:46.65Z",
        ]
    );
    for faulty in ["-1.5", "true", "\"soon\"", "[]", "99999999999999999999"] {
        assert_eq!(at(faulty), "endTime: must be seconds since 1970");
    }
    assert_eq!(at("null"), "endTime: is required");
}

#[tokio::test]
async fn each_log_format_is_taken_and_token_counting_is_skipped() {
    let calls = [
        call(json!({})),
        call(json!({"id": "2", "call_type": "acount_tokens"})),
        call(json!({"id": "3", "prompt_tokens": -1})),
    ];
    let lines: Vec<String> = calls.iter().map(Value::to_string).collect();
    let lines = lines.join("\n");
    let bodies = [
        ("application/json", json!(calls).to_string()),
        ("application/x-ndjson", lines.clone()),
        ("application/json", lines),
    ];
    for (media_type, body) in bodies {
        let answer = post(
            "/api/v1/usage/litellm",
            &[("content-type", media_type)],
            body,
        )
        .await;
        assert_eq!(
            answer.json(),
            json!({"accepted": 1, "duplicates": 0, "skipped": 1, "rejected": [
                {"index": 2, "code": "invalid_field",
                 "message": "prompt_tokens: must be between 0 and 9007199254740992, got -1"}]})
        );
    }
    let answer = post(
        "/api/v1/usage/litellm",
        &[("content-type", "application/json")],
        call(json!({})).to_string(),
    )
    .await;
    assert_eq!(answer.json()["accepted"], 1);
}
