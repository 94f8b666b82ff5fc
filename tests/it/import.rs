//! `tallyd import`: history counts, and nothing that is watched moves.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::harness::{Daemon, Place};

/// Stands for all that nobody may keep.
pub(crate) const MARKER: &str = "MARKER-c0nf1dent1al";

pub(crate) const ACCOUNT: &str = "111122223333";

/// A record of a streamed request as Bedrock logs it.
pub(crate) fn record(id: &str, at: Timestamp) -> Value {
    json!({
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0",
        "timestamp": format!("{at:.0}"), "accountId": ACCOUNT,
        "identity": {"arn":
            format!("arn:aws:sts::{ACCOUNT}:assumed-role/ClaudeCode/alice@example.com")},
        "region": "us-east-1", "requestId": id, "operation": "InvokeModelWithResponseStream",
        "modelId": "us.anthropic.claude-sonnet-4-6-v1:0",
        "input": {
            "inputContentType": "application/json",
            "inputBodyJson": {"messages": [{"role": "user", "content": MARKER}]},
            "inputTokenCount": 10, "cacheReadInputTokenCount": 200,
            "cacheWriteInputTokenCount": 30
        },
        "output": {
            "outputContentType": "application/json",
            "outputBodyJson": [
                {"type": "message_start", "message": {"usage": {"input_tokens": 10,
                    "cache_creation": {"ephemeral_5m_input_tokens": 10,
                        "ephemeral_1h_input_tokens": 20}}}},
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": MARKER}},
                {"type": "message_stop", "amazon-bedrock-invocationMetrics":
                    {"outputTokenCount": 4, "invocationLatency": 900}}
            ],
            "outputTokenCount": 4
        },
        "requestMetadata": {"note": MARKER}
    })
}

/// Packs records as an object of the log.
pub(crate) fn packed(records: &[Value]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    for record in records {
        writeln!(packed, "{record}").unwrap();
    }
    packed.finish().unwrap()
}

/// Where Bedrock puts what it logs in an hour.
pub(crate) fn hour_of(at: Timestamp) -> String {
    let hour = at.to_zoned(TimeZone::UTC).strftime("%Y/%m/%d/%H");
    format!("AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/us-east-1/{hour}")
}

fn old_month() -> Timestamp {
    let now = Clock::System.now().to_zoned(TimeZone::UTC);
    now.checked_sub(3.months()).unwrap().timestamp()
}

/// Runs `tallyd import` against a daemon: its exit code, its summary, and what it said.
pub(crate) async fn import(daemon: &Daemon, command: Command) -> (Option<i32>, String, String) {
    let mut command = command;
    command.env("TALLYD_URL", &daemon.http);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    let ended = ended.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// What a summary tells: numbers by their names.
pub(crate) fn numbers(summary: &str) -> BTreeMap<String, u64> {
    let lines = summary.lines().filter_map(|line| {
        let (name, number) = line.trim().split_once(' ')?;
        let number = number.trim().replace(',', "");
        Some((name.to_owned(), number.parse().ok()?))
    });
    lines.collect()
}

fn contains(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap();
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

async fn requests_since(daemon: &Daemon, at: Timestamp) -> Value {
    let from = at.to_zoned(TimeZone::UTC).date();
    let to = from.checked_add(1.day()).unwrap();
    let path = format!("/api/v1/usage?from={from}&to={to}&group_by=user,model");
    daemon.json(&path).await["rows"].clone()
}

#[tokio::test]
async fn an_old_month_of_logs_moves_no_rate_and_counts_once() {
    let settings = format!("[bedrock_logs]\ncounted_accounts = [\"{ACCOUNT}\"]");
    let place = Place::with(&settings);
    let daemon = place.start().await;
    let at = old_month();
    let folder = place.path("logs");
    let hour = folder.join("copy").join(hour_of(at));
    std::fs::create_dir_all(hour.join("data")).unwrap();
    let records: Vec<_> = (0..2_500).map(|n| record(&format!("r{n}"), at)).collect();
    std::fs::write(hour.join("a.json.gz"), packed(&records)).unwrap();
    let whole = packed(&records[..10]);
    std::fs::write(hour.join("b.json.gz"), &whole[..whole.len() - 9]).unwrap();
    std::fs::write(hour.join("data/r1_input.json.gz"), packed(&[json!({})])).unwrap();

    // Something live, so that there are rates that could move.
    let live = json!({"id": "live", "at": Clock::System.now(), "user": "bob",
        "model": "claude-sonnet-4-6", "tokens": {"input": 5}});
    daemon.report(&live).await;
    let before = daemon.scrape().await;
    let minutes = |scrape: &crate::harness::Scrape| {
        let families = ["tallyd_minute_left_out_total", "tallyd_published_debt"];
        families.map(|family| scrape.sum(family, &[]))
    };

    let arguments = ["import", "bedrock-logs", folder.to_str().unwrap()];
    let (code, summary, said) = import(&daemon, place.command(&arguments)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("b.json.gz: it breaks off after"), "{said}");
    assert!(
        said.ends_with("not all was imported: 1 objects are damaged\n"),
        "{said}"
    );
    let told = numbers(&summary);
    assert_eq!((told["objects"], told["accepted"]), (2, 2_500), "{summary}");

    let after = daemon.scrape().await;
    assert_eq!(after.lasting(), before.lasting());
    assert_eq!(minutes(&after), minutes(&before));
    let rows = requests_since(&daemon, at).await;
    assert_eq!(rows[0]["requests"], 2_500);
    assert_eq!(rows[0]["user"], "alice@example.com");
    let tokens = &rows[0]["tokens"];
    assert_eq!(
        (&tokens["input"], &tokens["output"]),
        (&json!(25_000), &json!(10_000))
    );
    assert_eq!(tokens["cache_write_1h"], 50_000);

    let (_, summary, _) = import(&daemon, place.command(&arguments)).await;
    let told = numbers(&summary);
    assert_eq!((told["accepted"], told["refused"]), (0, 0), "{summary}");
    assert_eq!(requests_since(&daemon, at).await, rows);
    // Senders that are heard are those that report what happens.
    let sources = daemon.json("/api/v1/sources").await.to_string();
    assert!(!sources.contains("bedrock_logs"), "{sources}");

    let daemon = daemon.crash().await;
    assert_eq!(daemon.scrape().await.lasting(), before.lasting());
    daemon.stop().await;
    assert!(!contains(&place.ledger(), MARKER));
    assert!(!place.log().contains(MARKER) && !said.contains(MARKER));
}

#[tokio::test]
async fn records_of_the_past_come_from_a_file_and_bad_ones_are_named() {
    let place = Place::new();
    let daemon = place.start().await;
    let at = old_month();
    let line = |id: &str, tokens: Value| {
        json!({"id": id, "source": "gateway", "at": at, "user": "carol",
            "model": "claude-sonnet-4-6", "tokens": tokens})
        .to_string()
    };
    let lines = [
        format!("\u{feff}{}", line("a", json!({"input": 7}))),
        String::new(),
        line("b", json!({"input": -7})),
        "not a record".to_owned(),
        line("c", json!({"input": 8})),
    ];
    let file = place.write("usage.jsonl", &lines.join("\r\n"));
    let arguments = ["import", "usage", file.to_str().unwrap()];
    let (code, summary, said) = import(&daemon, place.command(&arguments)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.ends_with("not all was imported: 2 records were refused\n"),
        "{said}"
    );
    assert_eq!(
        summary,
        "accepted             2\nknown                0\nrefused              2\n  invalid_field 1, \
         such as record 2: tokens.input: must be between 0 and 9007199254740992, got -7\n  \
         invalid_json 1, such as record 3: not valid JSON: expected ident at line 1 column 2\n"
    );
    let rows = requests_since(&daemon, at).await;
    assert_eq!(
        (&rows[0]["user"], &rows[0]["requests"]),
        (&json!("carol"), &json!(2))
    );
    assert_eq!(daemon.scrape().await.tokens(), [0.0; 4]);
}

#[tokio::test]
async fn a_place_without_logs_is_told() {
    let place = Place::new();
    let daemon = place.start().await;
    std::fs::create_dir(place.path("empty")).unwrap();
    let cases = [
        ("empty", "there are no logs"),
        ("absent", "cannot read"),
        ("logs:group", "a log group cannot be imported"),
    ];
    for (name, expected) in cases {
        let path = place.path(name);
        let named = if name.contains(':') {
            name
        } else {
            path.to_str().unwrap()
        };
        let command = place.command(&["import", "bedrock-logs", named]);
        let mut command = command;
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let (code, _, said) = import(&daemon, command).await;
        assert_eq!(code, Some(1));
        assert!(said.contains(expected), "{said}");
    }
}
