use serde_json::{Value, json};

use super::*;
use crate::config::{Config, Environment};

const ROLE: &str = "arn:aws:sts::111122223333:assumed-role/ClaudeCode";

pub(crate) fn config() -> BedrockLogs {
    let config = Config::parse("", &Environment::default()).unwrap();
    config.bedrock_logs
}

/// A record of `InvokeModel` as S3 holds it.
fn invoked(id: &str) -> Value {
    json!({
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0",
        "timestamp": "2026-11-20T09:15:04Z", "accountId": "111122223333",
        "identity": {"arn": format!("{ROLE}/Alice@example.com")},
        "region": "us-east-1", "requestId": id, "operation": "InvokeModel",
        "modelId": "arn:aws:bedrock:us-east-1:111122223333:inference-profile/\
                    us.anthropic.claude-sonnet-4-6-v1:0",
        "input": {
            "inputContentType": "application/json",
            "inputBodyJson": {
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": 32000,
                "messages": [{"role": "user", "content": "a secret question"}]
            },
            "inputTokenCount": 12, "cacheReadInputTokenCount": 20_000,
            "cacheWriteInputTokenCount": 900
        },
        "output": {
            "outputContentType": "application/json",
            "outputBodyJson": {
                "id": "msg_1", "type": "message", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "a secret answer"}],
                "usage": {"input_tokens": 12, "output_tokens": 340,
                    "cache_read_input_tokens": 20_000, "cache_creation_input_tokens": 900,
                    "cache_creation": {"ephemeral_5m_input_tokens": 300,
                        "ephemeral_1h_input_tokens": 600}}
            },
            "outputTokenCount": 340
        },
        "inferenceRegion": "us-west-2"
    })
}

/// A line of a log.
pub(crate) fn record(id: &str) -> String {
    invoked(id).to_string()
}

fn read_one(value: &Value) -> Result<Entry, Skip> {
    read(value.to_string().as_bytes(), &config())
}

/// The record with some fields changed.
fn with(changes: Value) -> Value {
    let mut record = invoked("r1");
    merge(&mut record, changes);
    record
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(fields.entry(key).or_insert(Value::Null), change);
            }
        }
        (into, changes) => *into = changes,
    }
}

fn entry() -> Entry {
    Entry {
        id: "r1".to_owned(),
        at: "2026-11-20T09:15:04Z".parse().unwrap(),
        account: Some("111122223333".to_owned()),
        user: Some("alice@example.com".into()),
        device: None,
        team: None,
        project: None,
        session: None,
        model_id: "arn:aws:bedrock:us-east-1:111122223333:inference-profile/\
                   us.anthropic.claude-sonnet-4-6-v1:0"
            .to_owned(),
        region: Some("us-east-1".to_owned()),
        tier: Tier::Standard,
        tokens: Tokens {
            input: 12,
            output: 340,
            cache_read: 20_000,
            cache_write_5m: 300,
            cache_write_1h: 600,
            cache_write_unknown: 0,
        },
        outcome: Outcome::Ok,
        status_code: None,
        duration_ms: None,
        ttft_ms: None,
        counts_in: None,
    }
}

#[test]
fn a_record_tells_who_used_what_and_nothing_of_what_was_said() {
    let read = read_one(&invoked("r1")).unwrap();
    assert_eq!(read, entry());
    assert!(!format!("{read:?}").contains("secret"));
    let exported = format!("2026-11-20T09:15:05.000Z {}", record("r1"));
    assert_eq!(
        super::read(exported.as_bytes(), &config()).unwrap(),
        entry()
    );
    let record = read.record(&ModelNames::default());
    assert_eq!(
        (
            &*record.sku.provider,
            &*record.sku.model,
            &*record.sku.scope
        ),
        ("bedrock", "claude-sonnet-4-6", "us")
    );
    assert_eq!(
        (&*record.id, record.request_id.as_deref()),
        ("r1", Some("r1"))
    );
    assert_eq!(record.identity.account.as_deref(), Some("111122223333"));
}

#[test]
fn a_stream_without_counts_of_its_own_tells_them_in_its_parts() {
    let body = json!([
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 5,
                "ephemeral_1h_input_tokens": 0}, "cache_creation_input_tokens": 5}}},
        {"type": "message_delta", "delta": {"stop_reason": "refusal"},
            "usage": {"output_tokens": 9}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7,
            "outputTokenCount": 9, "invocationLatency": 812, "firstByteLatency": 301}}
    ]);
    let line = with(json!({
        "operation": "InvokeModelWithResponseStream",
        "input": {"inputTokenCount": null, "cacheReadInputTokenCount": null,
            "cacheWriteInputTokenCount": null},
        "output": {"outputTokenCount": null, "outputBodyJson": body}
    }));
    let expected = Entry {
        tokens: Tokens {
            input: 7,
            output: 9,
            cache_write_5m: 5,
            ..Tokens::default()
        },
        outcome: Outcome::Refused,
        duration_ms: Some(812),
        ttft_ms: Some(301),
        ..entry()
    };
    assert_eq!(read_one(&line), Ok(expected));
}

#[test]
fn without_a_body_the_lifetime_of_cache_writes_is_unknown() {
    let expected = Entry {
        tokens: Tokens {
            cache_write_5m: 0,
            cache_write_1h: 0,
            cache_write_unknown: 900,
            ..entry().tokens
        },
        ..entry()
    };
    let line = with(json!({"output": {"outputBodyJson": null}}));
    assert_eq!(read_one(&line), Ok(expected.clone()));
    let usage = json!({"cache_creation": {"ephemeral_1h_input_tokens": 5_000}});
    let mut line = invoked("r1");
    line["output"]["outputBodyJson"]["usage"] = usage;
    assert_eq!(read_one(&line), Ok(expected));
}

#[test]
fn an_error_counts_as_one_without_tokens() {
    let line = with(json!({
        "errorCode": "ThrottlingException", "input": {"inputTokenCount": null,
            "cacheReadInputTokenCount": null, "cacheWriteInputTokenCount": null},
        "output": null
    }));
    let expected = Entry {
        tokens: Tokens::default(),
        outcome: Outcome::Error,
        status_code: Some(429),
        ..entry()
    };
    assert_eq!(read_one(&line), Ok(expected));
}

#[test]
fn counts_are_looked_for_in_another_object_only_where_the_record_has_none() {
    let without = json!({
        "input": {"inputTokenCount": null, "cacheReadInputTokenCount": null,
            "cacheWriteInputTokenCount": null},
        "output": {"outputTokenCount": null, "outputBodyJson": null,
            "outputBodyS3Path": "s3://logs/AWSLogs/data/r1_output.json.gz"}
    });
    let found = read_one(&with(without)).unwrap();
    let path = "s3://logs/AWSLogs/data/r1_output.json.gz";
    assert_eq!(found.counts_in.as_deref(), Some(path));
    let body = invoked("r1")["output"]["outputBodyJson"].to_string();
    assert_eq!(found.clone().counted_by(body.as_bytes()), Ok(entry()));
    assert_eq!(found.counted_by(b"{}"), Err(Skip::NoTokens));
    let large = json!({"output": {"outputBodyS3Path": path}});
    assert_eq!(read_one(&with(large)).unwrap().counts_in, None);
}

#[test]
fn what_is_no_usage_is_told_by_its_reason() {
    let none = json!({
        "input": {"inputTokenCount": null}, "output": {"outputTokenCount": null,
            "outputBodyJson": null}
    });
    let cases = [
        (json!({"schemaType": "Other"}), Skip::OtherSchema),
        (
            json!({"operation": "ListFoundationModels"}),
            Skip::OtherOperation,
        ),
        (json!({"modelId": "amazon.nova-pro-v1:0"}), Skip::OtherModel),
        (json!({"requestId": ""}), Skip::BadLine),
        (json!({"timestamp": "yesterday"}), Skip::BadLine),
        (json!({"modelId": 3}), Skip::BadLine),
        (none, Skip::NoTokens),
    ];
    for (changes, expected) in cases {
        assert_eq!(read_one(&with(changes)), Err(expected));
    }
    assert_eq!(read(b"not JSON", &config()), Err(Skip::BadLine));
}

fn user(arn: &str, config: &BedrockLogs) -> Option<String> {
    let line = with(json!({"identity": {"arn": arn}})).to_string();
    let entry = read(line.as_bytes(), config).unwrap();
    entry.user.map(Into::into)
}

#[test]
fn a_principal_is_the_person_behind_it_where_there_is_one() {
    let config = BedrockLogs {
        shared_roles: vec!["Gateway".to_owned()],
        session_prefixes: vec!["ccwb-".to_owned()],
        ..config()
    };
    let sts = "arn:aws:sts::111122223333";
    let iam = "arn:aws-us-gov:iam::111122223333";
    let cases = [
        (format!("{ROLE}/Bob@Example.com"), Some("bob@example.com")),
        (
            format!("{ROLE}/ccwb-bob@example.com"),
            Some("bob@example.com"),
        ),
        (
            format!("{sts}:assumed-role/Gateway/pod-7"),
            Some("role:gateway"),
        ),
        (format!("{ROLE}/i-0abc12de"), Some("role:claudecode")),
        (
            format!("{ROLE}/botocore-session-17"),
            Some("role:claudecode"),
        ),
        (format!("{ROLE}/1700000000"), Some("role:claudecode")),
        (format!("{iam}:user/people/carol"), Some("carol")),
        (format!("{sts}:federated-user/dave"), Some("dave")),
        (format!("{iam}:root"), None),
        ("nonsense".to_owned(), None),
    ];
    for (arn, expected) in cases {
        assert_eq!(user(&arn, &config).as_deref(), expected, "{arn}");
    }
    let listed = with(json!({"identity": [{"arn": format!("{ROLE}/eve")}]}));
    assert_eq!(read_one(&listed).unwrap().user.as_deref(), Some("eve"));
}

#[test]
fn claude_code_and_gateways_tell_session_and_person() {
    let request = json!({
        "identity": {"arn": format!("{ROLE}/i-0abc12de")},
        "input": {"inputBodyJson": {"metadata": {"user_id":
            "user_ab12_account__session_2065c201"}}}
    });
    let expected = Entry {
        user: None,
        device: Some("ab12".into()),
        session: Some("2065c201".to_owned()),
        ..entry()
    };
    assert_eq!(read_one(&with(request)), Ok(expected));
    let config = BedrockLogs {
        metadata_user: "user".to_owned(),
        metadata_team: "team".to_owned(),
        metadata_session: "session".to_owned(),
        ..config()
    };
    let tagged = with(json!({"requestMetadata":
        {"user": "Frank", "team": "payments", "session": "s-9", "other": 1}}));
    let expected = Entry {
        user: Some("frank".into()),
        team: Some("payments".into()),
        session: Some("s-9".to_owned()),
        ..entry()
    };
    assert_eq!(read(tagged.to_string().as_bytes(), &config), Ok(expected));
}
