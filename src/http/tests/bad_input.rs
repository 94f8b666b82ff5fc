//! What must not be taken: each fault is named, the rest of the batch is kept.

use axum::body::Body;
use serde_json::json;

use super::{gzip, post};
use crate::http::elements::MAX_ELEMENTS;

type Headers<'h> = &'h [(&'h str, &'h str)];

const EVENTS: &str = "/api/v1/usage/events";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A record with one member replaced by JSON text.
fn with(field: &str, value: &str) -> String {
    let members = [
        ("id", r#""1""#),
        ("at", r#""2026-11-22T03:06:46Z""#),
        ("user", r#""alice""#),
        ("model", r#""claude-sonnet-4-6""#),
        ("tokens", r#"{"input": 1}"#),
    ];
    let mut texts: Vec<String> = members
        .iter()
        .map(|(name, given)| {
            let value = if *name == field { value } else { given };
            format!("\"{name}\": {value}")
        })
        .collect();
    if !members.iter().any(|(name, _)| *name == field) {
        texts.push(format!("\"{field}\": {value}"));
    }
    format!("{{{}}}", texts.join(", "))
}

/// Posts a faulty record between two good ones and gives its code and message.
async fn rejected(faulty: &str) -> (String, String) {
    let (first, last) = (with("id", "\"first\""), with("id", "\"last\""));
    let body = format!("[{first}, {faulty}, {last}]");
    let answer = post(EVENTS, &JSON, body).await;
    assert_eq!(answer.status, 200, "{faulty}");
    let json = answer.json();
    assert_eq!(json["accepted"], 2, "the good ones are kept: {faulty}");
    let [rejected] = json["rejected"].as_array().expect("an array").as_slice() else {
        panic!("one is rejected: {json}");
    };
    assert_eq!(rejected["index"], 1);
    let text = |name: &str| rejected[name].as_str().expect("a text").to_owned();
    (text("code"), text("message"))
}

/// Replaces the field by each value and compares what is said of it.
async fn assert_refused(code: &str, cases: &[(&str, &str, &str)]) {
    for (field, value, message) in cases {
        let seen = rejected(&with(field, value)).await;
        assert_eq!(seen, (code.to_owned(), (*message).to_owned()), "{field}");
    }
}

#[tokio::test]
async fn counts_that_are_none_are_named() {
    let cases = [
        (r#"{"input": -1}"#, "tokens.input", "-1"),
        (
            r#"{"input": 9007199254740993}"#,
            "tokens.input",
            "9007199254740993",
        ),
        (r#"{"cache_read": 1e300}"#, "tokens.cache_read", "1e300"),
    ];
    for (value, field, got) in cases {
        let message = format!("{field}: must be between 0 and 9007199254740992, got {got}");
        assert_refused("invalid_field", &[("tokens", value, &message)]).await;
    }
    let cases = [
        (r#"{"output": 1.5}"#, "tokens.output", "1.5"),
        (r#"{"input": "10"}"#, "tokens.input", r#"the string "10""#),
        (
            r#"{"cache_write": "NaN"}"#,
            "tokens.cache_write",
            r#"the string "NaN""#,
        ),
        (
            r#"{"cache_write_1h": true}"#,
            "tokens.cache_write_1h",
            "true or false",
        ),
    ];
    for (value, field, got) in cases {
        let message = format!("{field}: must be a whole number, got {got}");
        assert_refused("invalid_field", &[("tokens", value, &message)]).await;
    }
    let kind = "tokens.inptu: is no kind of token; the kinds are input, output, cache_read, \
                cache_write, cache_write_5m, cache_write_1h, cache_write_unknown";
    assert_refused("invalid_field", &[("tokens", r#"{"inptu": 5}"#, kind)]).await;
    assert_refused(
        "invalid_json",
        &[
            (
                "tokens",
                r#"{"input": NaN}"#,
                "input: must be a number, got NaN",
            ),
            (
                "tokens",
                r#"{"a": -Infinity}"#,
                "a: must be a number, got -Infinity",
            ),
            (
                "tokens",
                r#"{"input": 1, "output": 1e400}"#,
                "output: is too large a number: 1e400",
            ),
        ],
    )
    .await;
    let number = "duration_ms: must be between 0 and 4294967295, got 4294967296";
    assert_refused(
        "invalid_field",
        &[
            ("tokens", "7", "tokens: must be an object, got a number"),
            (
                "status_code",
                "7",
                "status_code: must be between 100 and 999",
            ),
            (
                "status_code",
                r#""200""#,
                r#"status_code: must be a whole number, got the string "200""#,
            ),
            ("duration_ms", "4294967296", number),
        ],
    )
    .await;
}

#[tokio::test]
async fn names_that_are_none_are_named() {
    let long = format!("\"{}\"", "x".repeat(10_240));
    let control = "user: must not contain control characters";
    let tier = "tier: must be one of standard, batch, fast, flex, priority";
    assert_refused(
        "invalid_field",
        &[
            ("user", r#""""#, "user: must not be empty"),
            ("user", r#"" \t""#, "user: must not be empty"),
            ("user", &long, "user: must be at most 256 bytes, got 10240"),
            ("user", r#""a\u0000b""#, control),
            ("user", r#""a\nb""#, control),
            ("model", "[]", "model: must be a string, got an array"),
            ("tier", r#""gold""#, tier),
        ],
    )
    .await;
}

#[tokio::test]
async fn times_out_of_range_are_named() {
    let times = [
        "1970-01-01T00:00:00Z",
        "2024-10-22T03:59:59Z",
        "2026-11-22T05:00:01Z",
        "9999-12-30T00:00:00Z",
    ];
    for time in times {
        let message = format!(
            "at: must be between 2024-10-22T04:00:00Z and 2026-11-22T05:00:00Z, got {time}"
        );
        let value = format!("\"{time}\"");
        assert_refused("time_out_of_range", &[("at", &value, &message)]).await;
    }
    let message =
        "at: must be between 2024-10-22T04:00:00Z and 2026-11-22T05:00:00Z, got 9999-12-31";
    let last = r#""9999-12-31T23:59:59Z""#;
    assert_refused("time_out_of_range", &[("at", last, message)]).await;
    let texts = [
        "\"2026-11-22\"",
        "\"2026-11-22T03:06:46\"",
        "\"now\"",
        "1795316806",
    ];
    for text in texts {
        let (code, message) = rejected(&with("at", text)).await;
        assert_eq!(code, "invalid_field");
        assert!(message.starts_with("at: must be a"), "{message}");
    }
}

#[tokio::test]
async fn elements_that_are_no_objects_are_named() {
    for (element, found) in [("null", "null"), ("[1]", "an array"), ("\"a\"", "a string")] {
        let message = format!("record: must be an object, got {found}");
        assert_eq!(
            rejected(element).await,
            ("invalid_field".to_owned(), message)
        );
    }
}

#[tokio::test]
async fn names_with_quotes_separators_and_other_scripts_are_kept() {
    for name in [
        r#""a\"b\\c,d;e=f|g""#,
        "\"山田 太郎\"",
        "\"O'Neill\"",
        "\"💸\"",
    ] {
        let answer = post(EVENTS, &JSON, with("user", name)).await;
        assert_eq!(
            answer.json(),
            json!({"accepted": 1, "duplicates": 0, "rejected": []})
        );
    }
}

#[tokio::test]
async fn ten_thousand_unknown_members_and_deep_ones_do_no_harm() {
    let unknown: Vec<String> = (0..10_000)
        .map(|number| format!("\"x{number}\":{number}"))
        .collect();
    let many = format!("{{{},{}", unknown.join(","), &with("id", "\"1\"")[1..]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [many, with("colour", &deep)] {
        let answer = post(EVENTS, &JSON, body).await;
        assert_eq!(answer.json()["accepted"], 1);
    }
    let (code, _) = rejected(&with("user", &deep)).await;
    assert_eq!(code, "invalid_field");
}

#[tokio::test]
async fn a_doubled_member_refuses_one_record() {
    let (code, message) = rejected(&with("user", r#""alice", "user": "bob""#)).await;
    assert_eq!(code, "invalid_json");
    assert!(message.contains("duplicate field `user`"), "{message}");
}

#[tokio::test]
async fn invalid_utf8_refuses_one_record() {
    let good = with("id", "\"good\"").into_bytes();
    let mut body = b"[".to_vec();
    body.extend_from_slice(&good);
    body.extend_from_slice(b",{\"user\": \"\xff\xfe\"}]");
    let answer = post(EVENTS, &JSON, body).await;
    let json = answer.json();
    assert_eq!((answer.status, &json["accepted"]), (200, &json!(1)));
    assert_eq!(json["rejected"][0]["code"], "invalid_json");
}

#[tokio::test]
async fn a_body_as_a_whole_is_refused_with_its_reason() {
    let gzipped = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let too_many = format!("[{}{{}}]", "{},".repeat(MAX_ELEMENTS));
    let bomb = gzip(&vec![b' '; 20_000_000]);
    let text = [("content-type", "text/plain")];
    let brotli = [
        ("content-type", "application/json"),
        ("content-encoding", "br"),
    ];
    let event = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
    ];
    let good = with("id", "\"1\"");
    let mut half = gzip(good.as_bytes());
    half.truncate(half.len() / 2);
    let cases: [(Headers<'_>, Body, u16, &str); 13] = [
        (&JSON, Body::from("{\"id\":"), 400, "invalid_body"),
        (&JSON, Body::from("[{\"id\": 1}"), 400, "invalid_body"),
        (&JSON, Body::from("nonsense"), 400, "invalid_body"),
        (&JSON, Body::from("\"text\""), 400, "invalid_body"),
        (&JSON, Body::empty(), 400, "invalid_body"),
        (&gzipped, Body::from(good.clone()), 400, "invalid_body"),
        (&gzipped, Body::from(half), 400, "invalid_body"),
        (&event, Body::from(good.clone()), 400, "invalid_body"),
        (&JSON, Body::from(too_many), 413, "too_many_records"),
        (&gzipped, Body::from(bomb), 413, "body_too_large"),
        (
            &JSON,
            Body::from(" ".repeat(1_000_001)),
            413,
            "body_too_large",
        ),
        (
            &text,
            Body::from(good.clone()),
            415,
            "unsupported_media_type",
        ),
        (&brotli, Body::from(good), 415, "unsupported_encoding"),
    ];
    for (headers, body, status, code) in cases {
        let answer = post(EVENTS, headers, body).await;
        assert_eq!(answer.problem(), (status, code.to_owned()));
    }
    let answer = post(EVENTS, &[], "{}").await;
    assert_eq!(answer.problem(), (415, "unsupported_media_type".to_owned()));
}

#[tokio::test]
async fn messages_repeat_no_text_of_the_sender() {
    let secret = "sk-ant 0123456789";
    for field in ["tier", "outcome", "at", "source", "status_code", "tokens"] {
        let (_, message) = rejected(&with(field, &format!("\"{secret}\""))).await;
        assert!(!message.contains(secret), "{message}");
    }
}

#[tokio::test]
async fn each_layout_is_taken_packed_and_plain() {
    let record = |id: &str| with("id", &format!("\"{id}\""));
    let lines = format!("{}\n{}\r\n\n", record("1"), record("2"));
    let bodies = [
        ("application/json", record("1"), 1),
        (
            "application/json; charset=utf-8",
            format!("[{},{}]", record("1"), record("2")),
            2,
        ),
        ("application/x-ndjson", lines, 2),
    ];
    for (media_type, body, accepted) in bodies {
        let zstd = zstd::encode_all(body.as_bytes(), 1).expect("memory can be packed");
        let packings = [
            ("identity", body.clone().into_bytes()),
            ("gzip", gzip(body.as_bytes())),
            ("zstd", zstd),
        ];
        for (packing, body) in packings {
            let headers = [("content-type", media_type), ("content-encoding", packing)];
            let answer = post(EVENTS, &headers, body).await;
            assert_eq!(
                answer.json(),
                json!({"accepted": accepted, "duplicates": 0, "rejected": []}),
                "{media_type} {packing}"
            );
        }
    }
}
