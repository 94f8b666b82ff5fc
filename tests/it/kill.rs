//! Power cuts under load: what was acknowledged is there once, and nothing else.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use serde_json::{Value, json};
use tallyd::clock::Clock;
use tokio::task::JoinSet;

use crate::harness::{Daemon, Place};

const ROUNDS: u64 = 50;

const SENDERS: u64 = 4;

/// Records of one delivery.
const BATCH: u64 = 20;

/// A round's load lasts up to this long.
const LONGEST_ROUND_MS: u64 = 400;

/// A delivery and whether it was acknowledged.
#[derive(Debug)]
struct Sent {
    body: Value,
    acknowledged: bool,
}

/// Input tokens are different in each record, so that a wrong set cannot have the right sum by
/// the number of its records alone.
fn delivery(next: &AtomicU64, at: Timestamp) -> Value {
    let first = next.fetch_add(BATCH, Ordering::Relaxed);
    let records = (first..first + BATCH).map(|id| {
        json!({
            "id": id.to_string(), "at": at.to_string(), "model": "claude-sonnet-4-6",
            "user": format!("user-{}@example.com", id % 7),
            "tokens": {"input": 1 + id, "output": 1},
        })
    });
    records.collect()
}

async fn post(client: &Client, url: &str, body: &Value) -> Option<Value> {
    let response = client.post(url).json(body).send().await.ok()?;
    assert_eq!(response.status(), 200);
    // Killed in the middle of the answer: not acknowledged.
    response.json().await.ok()
}

/// Sends deliveries until the daemon is gone.
async fn load(
    url: String,
    next: Arc<AtomicU64>,
    at: Timestamp,
    stop: Arc<AtomicBool>,
) -> Vec<Sent> {
    let client = Client::builder().no_proxy().build().unwrap();
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let body = delivery(&next, at);
        let answer = post(&client, &url, &body).await;
        let acknowledged = answer.is_some();
        if let Some(answer) = answer {
            assert_eq!(answer["accepted"], BATCH);
        }
        sent.push(Sent { body, acknowledged });
        if !acknowledged {
            break;
        }
    }
    sent
}

/// Requests and input tokens in the ledger and at `/metrics`.
async fn totals(daemon: &Daemon) -> [(u64, u64); 2] {
    let from = Clock::System.now() - SignedDuration::from_hours(72);
    let to = Clock::System.now() + SignedDuration::from_hours(24);
    let answer = daemon
        .json(&format!("/api/v1/usage?from={from}&to={to}"))
        .await;
    let totals = &answer["totals"];
    let ledger = (
        totals["requests"].as_u64().unwrap(),
        totals["tokens"]["input"].as_u64().unwrap(),
    );
    let scrape = daemon.scrape().await;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers far below 2^53"
    )]
    let published = (scrape.requests("ok") as u64, scrape.tokens()[0] as u64);
    [ledger, published]
}

/// Records and input tokens of deliveries.
fn sum<'a>(sent: impl Iterator<Item = &'a Sent>) -> (u64, u64) {
    let mut sum = (0, 0);
    for record in sent.flat_map(|sent| sent.body.as_array().unwrap()) {
        sum.0 += 1;
        sum.1 += record["tokens"]["input"].as_u64().unwrap();
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: kills the daemon 50 times"]
async fn fifty_kills_under_load_lose_nothing_and_count_nothing_twice() {
    let place = Place::new();
    let at = Clock::System.now() - SignedDuration::from_hours(1);
    let next = Arc::new(AtomicU64::new(0));
    let random = RandomState::new();
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        let daemon = place.start().await;
        let url = format!("{}/api/v1/usage/events", daemon.http);
        let stop = Arc::new(AtomicBool::new(false));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(load(url.clone(), next.clone(), at, stop.clone()));
        }
        // The moment of the kill is the subject, not a wait for something.
        let moment = random.hash_one(round) % LONGEST_ROUND_MS;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        daemon.kill();
        stop.store(true, Ordering::Relaxed);
        sent.extend(senders.join_all().await.into_iter().flatten());
    }
    let daemon = place.start().await;
    let [ledger, published] = totals(&daemon).await;
    let acknowledged = sum(sent.iter().filter(|sent| sent.acknowledged));
    let all = sum(sent.iter());
    assert!(
        acknowledged.0 > ROUNDS * BATCH,
        "too little load: {acknowledged:?}"
    );
    assert_eq!(ledger, published);
    assert!((acknowledged.0..=all.0).contains(&ledger.0));
    assert!((acknowledged.1..=all.1).contains(&ledger.1));

    let found = resend(&daemon, &sent).await;
    // What was found is exactly what was there: each delivery whole or absent.
    assert_eq!(found, ledger);
    assert_eq!(totals(&daemon).await, [all, all]);
}

/// Sends everything again, and returns the sum of what the ledger had.
async fn resend(daemon: &Daemon, sent: &[Sent]) -> (u64, u64) {
    let mut found = (0, 0);
    for delivery in sent {
        let answer = daemon.report(&delivery.body).await;
        assert_eq!(answer["rejected"], json!([]));
        let known = answer["duplicates"].as_u64().unwrap();
        assert!(
            known == BATCH || (known == 0 && !delivery.acknowledged),
            "{answer}"
        );
        if known == BATCH {
            let this = sum(std::iter::once(delivery));
            found = (found.0 + this.0, found.1 + this.1);
        }
    }
    found
}
