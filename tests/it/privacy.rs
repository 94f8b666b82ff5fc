//! Prompts, answers and tool inputs are dropped at the door.

use serde_json::{Value, json};

use crate::harness::{Daemon, Place};

/// Stands for all that nobody may keep.
const MARKER: &str = "MARKER-c0nf1dent1al";

/// Attributes in which clients send free text when they are told to.
const TEXTS: [&str; 9] = [
    "prompt",
    "response",
    "error",
    "tool_input",
    "tool_parameters",
    "tool_result",
    "body",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
];

fn recorded(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/otlp");
    let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Puts the marker into every record: into each attribute of free text, and into the body.
fn mark(export: &mut Value) {
    for record in records(export) {
        let attributes = record["attributes"].as_array_mut().unwrap();
        let is_text = |attribute: &Value| TEXTS.iter().any(|text| attribute["key"] == *text);
        attributes.retain(|attribute| !is_text(attribute));
        for key in TEXTS {
            attributes.push(json!({"key": key, "value": {"stringValue": MARKER}}));
        }
        let nested = json!({"kvlistValue": {"values": [
            {"key": "text", "value": {"arrayValue": {"values": [{"stringValue": MARKER}]}}},
        ]}});
        attributes.push(json!({"key": "messages", "value": nested}));
        record["body"] = json!({"stringValue": MARKER});
    }
}

fn records(export: &mut Value) -> Vec<&mut Value> {
    export["resourceLogs"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|resource| resource["scopeLogs"].as_array_mut().unwrap())
        .flat_map(|scope| scope["logRecords"].as_array_mut().unwrap())
        .collect()
}

async fn send(daemon: &Daemon, path: &str, body: String) -> u16 {
    let request = daemon
        .request(path)
        .header("content-type", "application/json");
    request.body(body).send().await.unwrap().status().as_u16()
}

/// Files below a folder that hold the marker, in whatever encoding SQLite would use for it.
fn holders(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let wide: Vec<u8> = MARKER.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holders(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
        if holds(MARKER.as_bytes()) || holds(&wide) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn no_byte_of_a_prompt_reaches_disk_logs_or_metrics() {
    let place = Place::with("[log]\nlevel = \"trace\"\n");
    let daemon = place.start().await;
    for name in ["delta-json/00-logs.json", "api-errors-json/01-logs.json"] {
        let mut export = recorded(name);
        mark(&mut export);
        assert_eq!(send(&daemon, "/v1/logs", export.to_string()).await, 200);
        // What cannot be read is not repeated either.
        let mut broken = export.to_string();
        broken.truncate(broken.rfind(MARKER).unwrap() + MARKER.len());
        assert_eq!(send(&daemon, "/v1/logs", broken).await, 400);
        assert_eq!(send(&daemon, "/v1/traces", export.to_string()).await, 200);
    }
    let event = json!({"id": "1", "prompt": MARKER, "messages": [MARKER], "at": MARKER});
    assert_eq!(
        send(&daemon, "/api/v1/usage/events", event.to_string()).await,
        200
    );

    let scrape = daemon.scrape().await;
    assert_eq!(scrape.requests("ok"), 2.0, "the rest is counted");
    assert_eq!(scrape.requests("error"), 1.0);
    let sources = daemon.json("/api/v1/sources").await;
    assert!(!format!("{scrape:?}{sources}").contains(MARKER));
    let none: [&str; 0] = [];
    assert_eq!(daemon.stop().await.code(), Some(0));
    // The folder of the place holds the store, the log and the configuration.
    let found = holders(place.path("").as_path());
    assert_eq!(found, none.map(std::path::PathBuf::from));
}
