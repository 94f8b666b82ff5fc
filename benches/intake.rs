//! Durable intake over HTTP beside bare SQLite doing the same work, in one run.
//!
//! The floor keeps a 16-byte id for deduplication, a dictionary-coded row, and roll-ups summed
//! within the commit, with the same durability (`synchronous = FULL`). tallyd gets the same
//! records in batches of 500 from 16 connections, each answered when it is on disk: through the
//! usage API as JSON, and as OTLP events of more than 20 attributes in JSON and protobuf.
//!
//! `cargo bench --bench intake [-- RECORDS ROUNDS]` prints the medians of all rounds and their
//! ratios. Floors and doors take turns, so that what else runs on the machine touches all of
//! them. It is a program of its own, not a criterion bench: what is measured is a whole daemon.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use rusqlite::Connection;
use serde_json::{Value, json};
use tallyd::app::App;
use tallyd::clock::{Clock, Stopwatch};
use tallyd::config::{Config, Environment};
use tallyd::schedule::Stop;

const BATCH: usize = 500;
const RECORDS: usize = 200_000;
const ROUNDS: usize = 3;
const CONNECTIONS: usize = 16;
/// Requests made ready at a time: those of a long run would not fit into memory.
const READY: usize = 400;
const USERS: usize = 500;
const MODELS: [&str; 3] = ["claude-opus-4-8", "claude-sonnet-4-6", "claude-haiku-4-5"];

/// How records reach the daemon.
#[derive(Clone, Copy, Debug)]
enum Door {
    Usage,
    OtlpJson,
    OtlpProtobuf,
}

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let records: usize = numbers.next().unwrap_or(RECORDS).next_multiple_of(BATCH);
    let rounds: usize = numbers.next().unwrap_or(ROUNDS);
    println!(
        "{records} records, {USERS} users, {} models, {rounds} rounds",
        MODELS.len()
    );
    let doors = [Door::Usage, Door::OtlpJson, Door::OtlpProtobuf];
    let mut floors = [(BATCH, Vec::new()), (20 * BATCH, Vec::new())];
    let mut rates = doors.map(|door| (door, Vec::new()));
    for _ in 0..rounds {
        for (per_commit, rates) in &mut floors {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("floor.sqlite");
            rates.push(floor(&path, records, *per_commit)?);
        }
        for (door, rates) in &mut rates {
            let folder = tempfile::tempdir()?;
            rates.push(daemon(folder.path(), *door, records)?);
        }
    }
    let floors = floors.map(|(per_commit, rates)| (per_commit, median(rates)));
    for (per_commit, rate) in floors {
        println!("bare SQLite, commits of {per_commit}: {rate:.0} records/s");
    }
    for (door, rates) in rates {
        let rate = median(rates);
        let ratios = floors.map(|(of, floor)| format!("{:.2} of commits of {of}", rate / floor));
        println!(
            "tallyd, {door:?}: {rate:.0} records/s, {}",
            ratios.join(", ")
        );
    }
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn tokens(i: usize) -> [i64; 4] {
    let i = i64::try_from(i).unwrap_or(0);
    [1_200 + i % 97, 40 + i % 31, 5_600 + i % 89, 340 + i % 13]
}

fn floor(path: &Path, records: usize, per_commit: usize) -> anyhow::Result<f64> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
         PRAGMA wal_autocheckpoint = 16000;
         CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID;
         CREATE TABLE record (id INTEGER PRIMARY KEY, at INTEGER, user INTEGER, model INTEGER,
             session INTEGER, input INTEGER, output INTEGER, cache_read INTEGER,
             cache_write INTEGER);
         CREATE TABLE sums (quarter INTEGER, user INTEGER, model INTEGER, requests INTEGER,
             input INTEGER, output INTEGER, cache_read INTEGER, cache_write INTEGER,
             PRIMARY KEY (quarter, user, model)) WITHOUT ROWID;",
    )?;
    let watch = Stopwatch::start();
    let mut next = 0;
    while next < records {
        db.execute_batch("BEGIN IMMEDIATE")?;
        let mut seen = db.prepare_cached("INSERT OR IGNORE INTO seen VALUES (?)")?;
        let mut insert =
            db.prepare_cached("INSERT INTO record VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        let mut sums: HashMap<(i64, usize, usize), [i64; 5]> = HashMap::new();
        for i in next..records.min(next + per_commit) {
            let key = (i as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            if seen.execute([key.to_le_bytes()])? == 0 {
                continue;
            }
            let [a, b, c, d] = tokens(i);
            let (user, model) = (i * 7 % USERS, i % MODELS.len());
            let at = 1_795_000_000_000_i64 + i64::try_from(i)?;
            insert.execute((at, user, model, user * 3 + i % 3, a, b, c, d))?;
            let row = sums.entry((at / 900_000, user, model)).or_default();
            for (sum, part) in row.iter_mut().zip([1, a, b, c, d]) {
                *sum += part;
            }
        }
        let mut upsert = db.prepare_cached(
            "INSERT INTO sums VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (quarter, user, model)
             DO UPDATE SET requests = requests + excluded.requests,
             input = input + excluded.input, output = output + excluded.output,
             cache_read = cache_read + excluded.cache_read,
             cache_write = cache_write + excluded.cache_write",
        )?;
        for ((quarter, user, model), [n, a, b, c, d]) in sums {
            upsert.execute((quarter, user, model, n, a, b, c, d))?;
        }
        db.execute_batch("COMMIT")?;
        next += per_commit;
    }
    Ok(records as f64 / watch.elapsed().as_secs_f64())
}

fn usage(batch: usize, start_ms: i64) -> anyhow::Result<String> {
    let mut text = String::from("[");
    for i in batch * BATCH..(batch + 1) * BATCH {
        let [a, b, c, d] = tokens(i);
        let (user, model) = (i * 7 % USERS, MODELS[i % MODELS.len()]);
        let at = jiff::Timestamp::from_millisecond(start_ms + i64::try_from(i)?)?;
        if i % BATCH > 0 {
            text.push(',');
        }
        write!(
            text,
            "{{\"id\":\"01JD{i:022}\",\"request_id\":\"req_011C{i:020}\",\"at\":\"{at}\",\
             \"user\":\"user{user}@example.com\",\"team\":\"team{}\",\
             \"session\":\"2065c201-8a98-4fdf-b177-{:012}\",\"provider\":\"bedrock\",\
             \"model\":\"us.anthropic.{model}\",\"tokens\":{{\"input\":{a},\"output\":{b},\
             \"cache_read\":{c},\"cache_write_5m\":{d},\"cache_write_1h\":0}},\
             \"outcome\":\"ok\",\"status_code\":200,\"duration_ms\":1830}}",
            user % 20,
            user * 3 + i % 3,
        )?;
    }
    text.push(']');
    Ok(text)
}

/// Attributes that every event of Claude Code has besides those that tell of the request.
const COMMON: [(&str, &str); 12] = [
    ("department", "platform"),
    ("team.id", "payments"),
    ("cost_center", "cc-42"),
    ("terminal.type", "dumb"),
    ("event.name", "api_request"),
    ("event.timestamp", "2026-11-22T03:06:46.650Z"),
    ("prompt.id", "0131b291-0ca9-45f7-b7f9-ee23ff15a4ab"),
    ("speed", "normal"),
    ("query_source", "sdk"),
    ("effort", "high"),
    ("app.version", "2.1.197"),
    ("organization.id", "7d7ee0f4-1c7f-4d1c-9f0c-3f9d5d1c2b6a"),
];

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A delivery of `api_request` events, as a collector sends them.
fn events(batch: usize, start_ms: i64) -> anyhow::Result<ExportLogsServiceRequest> {
    let event = |i: usize| -> anyhow::Result<LogRecord> {
        let [a, b, c, d] = tokens(i);
        let (user, model) = (i * 7 % USERS, MODELS[i % MODELS.len()]);
        let at = u64::try_from(start_ms + i64::try_from(i)?)? * 1_000_000;
        let mut attributes: Vec<_> = COMMON.map(|(key, value)| text(key, value)).into();
        attributes.extend([
            text("user.id", format!("{user:064x}")),
            text("user.email", format!("user{user}@example.com")),
            text(
                "session.id",
                format!("2065c201-8a98-4fdf-b177-{:012}", user * 3 + i % 3),
            ),
            text("model", model),
            text("request_id", format!("req_011C{i:020}")),
        ]);
        let whole = |key, value| attribute(key, any_value::Value::IntValue(value));
        attributes.extend([
            whole("event.sequence", i64::try_from(i)?),
            whole("input_tokens", a),
            whole("output_tokens", b),
            whole("cache_read_tokens", c),
            whole("cache_creation_tokens", d),
            whole("cost_usd_micros", 11_980),
            whole("duration_ms", 1_830),
        ]);
        Ok(LogRecord {
            time_unix_nano: at,
            observed_time_unix_nano: at,
            body: text("", "claude_code.api_request").value,
            attributes,
            ..LogRecord::default()
        })
    };
    let events = (batch * BATCH..(batch + 1) * BATCH).map(event);
    let scope = ScopeLogs {
        log_records: events.collect::<anyhow::Result<_>>()?,
        ..ScopeLogs::default()
    };
    Ok(ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![scope],
            ..ResourceLogs::default()
        }],
    })
}

/// The same in JSON.
fn json(request: &ExportLogsServiceRequest) -> Value {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => json!({ "stringValue": text }),
        Some(any_value::Value::IntValue(number)) => json!({ "intValue": number }),
        _ => json!({}),
    };
    let record = |record: &LogRecord| {
        let attributes = record.attributes.iter();
        let attributes = attributes.map(|a| json!({ "key": a.key, "value": value(&a.value) }));
        json!({
            "timeUnixNano": record.time_unix_nano.to_string(),
            "observedTimeUnixNano": record.observed_time_unix_nano.to_string(),
            "body": value(&record.body),
            "attributes": attributes.collect::<Vec<_>>(),
        })
    };
    let records = &request.resource_logs[0].scope_logs[0].log_records;
    let records: Vec<Value> = records.iter().map(record).collect();
    json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] })
}

fn body(door: Door, batch: usize, start_ms: i64) -> anyhow::Result<Vec<u8>> {
    Ok(match door {
        Door::Usage => usage(batch, start_ms)?.into_bytes(),
        Door::OtlpJson => json(&events(batch, start_ms)?).to_string().into_bytes(),
        Door::OtlpProtobuf => events(batch, start_ms)?.encode_to_vec(),
    })
}

/// Sends all records through a door of a new daemon. Returns records a second.
#[tokio::main]
async fn daemon(folder: &Path, door: Door, records: usize) -> anyhow::Result<f64> {
    let text = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\notlp_http = \"127.0.0.1:0\"\ngrpc = \"\"\n\
         [store]\npath = \"{}\"\n",
        folder.join("store").display()
    );
    let config = Config::parse(&text, &Environment::default())?;
    let app = App::build(config, Clock::System).await?;
    let addresses = app.addresses();
    let (address, path, content_type) = match door {
        Door::Usage => (addresses.http, "api/v1/usage/events", "application/json"),
        Door::OtlpJson => (addresses.otlp_http, "v1/logs", "application/json"),
        Door::OtlpProtobuf => (addresses.otlp_http, "v1/logs", "application/x-protobuf"),
    };
    let address = address.ok_or_else(|| anyhow::anyhow!("no listener"))?;
    let url = format!("http://{address}/{path}");
    let stop = Stop::new();
    let running = tokio::spawn(app.run(None, stop.clone()));
    let client = reqwest::Client::builder()
        .timeout(Duration::from_mins(1))
        .build()?;
    let start_ms = Clock::System.now().as_millisecond() - 3_600_000;
    let mut seconds = 0.0;
    let batches: Vec<usize> = (0..records / BATCH).collect();
    for ready in batches.chunks(READY) {
        let bodies = ready.iter().map(|batch| body(door, *batch, start_ms));
        let bodies = bodies.collect::<anyhow::Result<Vec<_>>>()?;
        let bodies = Arc::new(Mutex::new(bodies));
        let watch = Stopwatch::start();
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (bodies, client, url) = (bodies.clone(), client.clone(), url.clone());
            senders.spawn(async move {
                let next = || bodies.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(body) = next() {
                    let request = client
                        .post(&url)
                        .header("content-type", content_type)
                        .body(body);
                    let answer = request.send().await?.error_for_status()?.text().await?;
                    let whole = match door {
                        Door::Usage => answer.contains("\"accepted\":500"),
                        Door::OtlpJson | Door::OtlpProtobuf => !answer.contains("ejected"),
                    };
                    anyhow::ensure!(whole, "{answer}");
                }
                Ok(())
            });
        }
        while let Some(sender) = senders.join_next().await {
            sender??;
        }
        seconds += watch.elapsed().as_secs_f64();
    }
    stop.stop();
    running.await??;
    Ok(records as f64 / seconds)
}
