//! Durable intake over HTTP beside bare SQLite doing the same work, in one run.
//!
//! The floor keeps a 16-byte id for deduplication, a dictionary-coded row, and roll-ups summed
//! within the commit, with the same durability (`synchronous = FULL`). tallyd gets the same
//! records as JSON in batches of 500 from 16 connections, each answered when it is on disk.
//!
//! `cargo bench --bench intake` prints both rates and their ratio. It is a program of its own,
//! not a criterion bench: what is measured is a whole daemon.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tallyd::app::App;
use tallyd::clock::{Clock, Stopwatch};
use tallyd::config::{Config, Environment};
use tallyd::schedule::Stop;

const BATCH: usize = 500;
const BATCHES: usize = 800;
const CONNECTIONS: usize = 16;
const USERS: usize = 500;
const MODELS: [&str; 3] = ["claude-opus-4-8", "claude-sonnet-4-6", "claude-haiku-4-5"];

fn main() -> anyhow::Result<()> {
    let records = BATCH * BATCHES;
    println!("{records} records, {USERS} users, {} models", MODELS.len());
    let folder = tempfile::tempdir()?;
    let mut rates = Vec::new();
    for per_commit in [BATCH, 20 * BATCH] {
        let path = folder.path().join(format!("floor-{per_commit}.sqlite"));
        let rate = floor(&path, records, per_commit)?;
        println!("bare SQLite, commits of {per_commit}: {rate:.0} records/s");
        rates.push(rate);
    }
    let rate = daemon(folder.path())?;
    println!("tallyd over HTTP, {CONNECTIONS} connections: {rate:.0} records/s");
    for (floor, per_commit) in rates.iter().zip([BATCH, 20 * BATCH]) {
        println!("ratio to commits of {per_commit}: {:.2}", rate / floor);
    }
    Ok(())
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

fn body(batch: usize, start_ms: i64) -> anyhow::Result<String> {
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

#[tokio::main]
async fn daemon(folder: &Path) -> anyhow::Result<f64> {
    let text = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\notlp_http = \"\"\ngrpc = \"\"\n[store]\npath = \"{}\"\n",
        folder.join("store").display()
    );
    let config = Config::parse(&text, &Environment::default())?;
    let app = App::build(config, Clock::System).await?;
    let address = app
        .addresses()
        .http
        .ok_or_else(|| anyhow::anyhow!("no listener"))?;
    let stop = Stop::new();
    let running = tokio::spawn(app.run(None, stop.clone()));
    let start_ms = Clock::System.now().as_millisecond() - 3_600_000;
    let bodies = (0..BATCHES)
        .map(|batch| body(batch, start_ms))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let url = format!("http://{address}/api/v1/usage/events");
    let mut bodies: Vec<Vec<String>> = bodies
        .chunks(BATCHES / CONNECTIONS)
        .map(<[String]>::to_vec)
        .collect();
    let watch = Stopwatch::start();
    let mut senders = tokio::task::JoinSet::new();
    while let Some(own) = bodies.pop() {
        let url = url.clone();
        senders.spawn(async move {
            let client = reqwest::Client::builder()
                .timeout(Duration::from_mins(1))
                .build()?;
            for body in own {
                let request = client
                    .post(&url)
                    .header("content-type", "application/json")
                    .body(body);
                let answer = request.send().await?.error_for_status()?.text().await?;
                anyhow::ensure!(answer.contains("\"accepted\":500"), "{answer}");
            }
            Ok(())
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    let rate = (BATCH * BATCHES) as f64 / watch.elapsed().as_secs_f64();
    stop.stop();
    running.await??;
    Ok(rate)
}
