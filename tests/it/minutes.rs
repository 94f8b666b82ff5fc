//! Minutes of the real daemon: killed in the middle, they hold what was acknowledged, once.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tallyd::clock::Clock;
use tallyd::store::{
    Dimensions, Ledger, MinuteQuery, Outbox, Seal, Settings, Terms, last_due, minute_at,
};

use crate::harness::{Place, Scrape};

fn record(id: u64, at: Timestamp, outcome: &str) -> Value {
    json!({
        "id": id.to_string(), "at": at.to_string(), "model": "claude-sonnet-4-6",
        "user": "ada@example.com", "tokens": {"input": 100 + id, "output": 1},
        "outcome": outcome, "duration_ms": 1_000 * id,
    })
}

/// Seals what a daemon has left in its store, as its next start would, and returns the sum of
/// each metric asked for, and the number of its values.
async fn sealed(folder: &std::path::Path, metrics: &[&'static str]) -> Vec<(f64, u64)> {
    let later = Clock::System.now() + SignedDuration::from_hours(1);
    let settings = Settings {
        folder: folder.to_owned(),
        retain_raw: Duration::from_hours(90 * 24),
        zone: TimeZone::UTC,
    };
    let terms = Arc::new(arc_swap::ArcSwap::from_pointee(Terms::default()));
    let opened = Ledger::open(&settings, terms, Clock::manual(later)).unwrap();
    let (ledger, thread) = opened.start(Box::new(|_, _| {})).unwrap();
    let open = ledger.unsealed_minutes(0, last_due(later)).await.unwrap();
    for minute in open {
        let seal = Seal {
            minute,
            is_whole: false,
            gauges: Vec::new(),
            objective: 0.99,
            outbox: Outbox::Leave,
            keep_from: 0,
        };
        assert!(ledger.seal(seal).await.unwrap().is_some());
    }
    let mut sums = Vec::new();
    for metric in metrics {
        let query = MinuteQuery {
            from: 0,
            to: minute_at(later) + 1,
            metrics: vec![*metric],
            dimensions: Dimensions::Totals,
        };
        let minutes = ledger.minutes(query).await.unwrap();
        let sum = minutes.iter().map(|minute| minute.datapoint.sum).sum();
        let count = minutes.iter().map(|minute| minute.datapoint.count).sum();
        sums.push((sum, count));
    }
    ledger.close();
    thread.join();
    sums
}

#[tokio::test]
async fn a_kill_in_a_minute_loses_and_doubles_nothing() {
    let place = Place::new();
    let daemon = place.start().await;
    let now = Clock::System.now();
    let first: Value = (1..=3).map(|id| record(id, now, "ok")).collect();
    assert_eq!(daemon.report(&first).await["accepted"], 3);
    let daemon = daemon.crash().await;
    // Sent again because the answer was lost, and one more.
    assert_eq!(daemon.report(&first).await["duplicates"], 3);
    let one_more = json!([record(4, now, "error")]);
    assert_eq!(daemon.report(&one_more).await["accepted"], 1);
    daemon.kill();
    let [tokens, requests, errors, times] = sealed(
        place.store(),
        &[
            "tokens_processed",
            "requests_per_minute",
            "error_rate",
            "response_time",
        ],
    )
    .await[..] else {
        unreachable!("four metrics were asked for")
    };
    assert_eq!(tokens.0, 414.0);
    assert_eq!(requests.0, 4.0);
    assert_eq!(errors, (100.0, 4));
    assert_eq!(times, (10_000.0, 4));
}

#[tokio::test]
async fn first_tokens_and_refusals_go_on_after_a_kill() {
    let daemon = Place::new().start().await;
    let now = Clock::System.now();
    let with = |id, outcome, key: &str, value: u32| {
        let mut record = record(id, now, outcome);
        record[key] = value.into();
        record
    };
    let told = json!([
        with(1, "ok", "ttft_ms", 700),
        with(2, "ok", "ttft_ms", 70_000),
        with(3, "error", "status_code", 429),
    ]);
    assert_eq!(daemon.report(&told).await["accepted"], 3);
    let family = "claude_code_time_to_first_token_seconds";
    let seen = |scrape: &Scrape| {
        let sum = |name: &str, labels| scrape.sum(&format!("{family}_{name}"), labels);
        [
            sum("count", &[]),
            sum("sum", &[]),
            sum("bucket", &[("le", "0.75")]),
            sum("bucket", &[("le", "60.0")]),
            scrape.sum("claude_code_throttled_requests_total", &[]),
        ]
    };
    assert_eq!(seen(&daemon.scrape().await), [2.0, 70.7, 1.0, 1.0, 1.0]);
    let daemon = daemon.crash().await;
    assert_eq!(seen(&daemon.scrape().await), [2.0, 70.7, 1.0, 1.0, 1.0]);
    let one_more = json!([with(4, "ok", "ttft_ms", 100)]);
    assert_eq!(daemon.report(&one_more).await["accepted"], 1);
    assert_eq!(seen(&daemon.scrape().await), [3.0, 70.8, 2.0, 2.0, 1.0]);
}

#[tokio::test]
async fn minutes_are_asked_of_the_daemon() {
    let place = Place::new();
    let daemon = place.start().await;
    let answer = daemon.json("/api/v1/minutes?metric=error_rate").await;
    assert_eq!(answer["minutes"], json!([]));
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("tallyd_minute_left_out_total", &[]), 0.0);
    let old = Clock::System.now() - SignedDuration::from_hours(3);
    daemon.report(&json!([record(1, old, "ok")])).await;
    let scrape = daemon.scrape().await;
    let too_old = [("reason", "too_old")];
    assert_eq!(scrape.sum("tallyd_minute_left_out_total", &too_old), 1.0);
    assert_eq!(
        scrape.sum("tallyd_minute_left_out_tokens_total", &too_old),
        102.0
    );
}
