//! The recorded sessions of a real client give their exact totals, however they arrive.
//!
//! The recordings are posted as they are; tallyd takes reports of the last 25 months.

use std::path::PathBuf;

use crate::harness::{Daemon, Place, Scrape, answer};

/// All sessions that used tokens, two requests each.
const COMPLETE: [&str; 5] = [
    "delta-json",
    "delta-protobuf-gzip",
    "cumulative-json",
    "bedrock-json",
    "vertex-json",
];

const FAILED: &str = "api-errors-json";

/// Input, output, cache reads and cache writes of each complete session.
const TOKENS: [f64; 4] = [2403.0, 84.0, 11200.0, 680.0];

fn exports(session: &str) -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/otlp");
    let files = std::fs::read_dir(format!("{folder}/{session}")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2);
    files
}

fn of_signal(session: &str, signal: &str) -> Vec<PathBuf> {
    let mut files = exports(session);
    files.retain(|file| file.to_str().unwrap().contains(signal));
    files
}

/// Sends files in the form in which the client sent them.
async fn send(daemon: &Daemon, files: impl IntoIterator<Item = PathBuf>) {
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let signal = name.split(['-', '.']).nth(1).unwrap();
        let request = daemon.request(&format!("/v1/{signal}"));
        let body = std::fs::read(&file).unwrap();
        let request = if name.ends_with(".pb.gz") {
            let request = request.header("content-type", "application/x-protobuf");
            request.header("content-encoding", "gzip")
        } else {
            request.header("content-type", "application/json")
        };
        let (status, text) = answer(request.body(body).send().await.unwrap()).await;
        assert_eq!(status, 200, "{name}: {text}");
        assert!(
            ["", "{}"].contains(&text.to_string().trim_matches('"')),
            "{text}"
        );
    }
}

/// Sends a whole recorded session.
pub(crate) async fn send_all(daemon: &Daemon, session: &str) {
    send(daemon, exports(session)).await;
}

fn assert_complete(scrape: &Scrape, session: &str, times: f64) {
    assert_eq!(scrape.tokens(), TOKENS.map(|n| n * times), "{session}");
    assert_eq!(scrape.requests("ok"), 2.0 * times, "{session}");
    assert_eq!(scrape.requests("error"), 0.0, "{session}");
}

fn assert_failed(scrape: &Scrape) {
    assert_eq!(scrape.tokens(), [0.0; 4]);
    assert_eq!(
        (scrape.requests("ok"), scrape.requests("error")),
        (0.0, 1.0)
    );
}

fn assert_session(scrape: &Scrape, session: &str) {
    if session == FAILED {
        return assert_failed(scrape);
    }
    assert_complete(scrape, session, 1.0);
    if session == "delta-json" {
        let lines = scrape.sum(
            "claude_code_lines_of_code_count_total",
            &[("type", "added")],
        );
        let sessions = scrape.sum("claude_code_session_count_total", &[]);
        assert_eq!((sessions, lines), (1.0, 5.0));
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    COMPLETE.into_iter().chain([FAILED])
}

#[tokio::test]
async fn each_session_gives_its_exact_totals_also_when_sent_again_and_after_a_crash() {
    for session in all() {
        let daemon = Place::new().start().await;
        send(&daemon, exports(session)).await;
        let first = daemon.scrape().await;
        assert_session(&first, session);
        send(&daemon, exports(session)).await;
        assert_eq!(
            daemon.scrape().await.lasting(),
            first.lasting(),
            "{session}"
        );
        let daemon = daemon.crash().await;
        assert_eq!(
            daemon.scrape().await.lasting(),
            first.lasting(),
            "{session}"
        );
        send(&daemon, exports(session).into_iter().rev()).await;
        assert_session(&daemon.scrape().await, session);
    }
}

#[tokio::test]
async fn each_session_gives_the_same_totals_in_the_other_order_with_a_crash_between() {
    for session in all() {
        let mut daemon = Place::new().start().await;
        for file in exports(session).into_iter().rev() {
            send(&daemon, [file]).await;
            daemon.scrape().await;
            daemon = daemon.crash().await;
        }
        assert_session(&daemon.scrape().await, session);
    }
}

#[tokio::test]
async fn the_events_alone_give_the_same_totals() {
    for session in COMPLETE {
        let daemon = Place::new().start().await;
        send(&daemon, of_signal(session, "logs")).await;
        assert_complete(&daemon.scrape().await, session, 1.0);
    }
}

#[tokio::test]
async fn the_metrics_alone_give_the_same_tokens() {
    for session in COMPLETE {
        let daemon = Place::new().start().await;
        send(&daemon, of_signal(session, "metrics")).await;
        assert_eq!(daemon.scrape().await.tokens(), TOKENS, "{session}");
    }
}

#[tokio::test]
async fn all_sessions_together_give_the_sum() {
    let daemon = Place::new().start().await;
    for session in all() {
        send(&daemon, exports(session)).await;
    }
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.tokens(), TOKENS.map(|n| 5.0 * n));
    assert_eq!(
        (scrape.requests("ok"), scrape.requests("error")),
        (10.0, 1.0)
    );
    let usage = daemon
        .json("/api/v1/usage?from=2026-11-22&to=2026-11-23")
        .await;
    let totals = &usage["totals"];
    assert_eq!(totals["requests"], 11);
    assert_eq!(totals["errors"], 1);
    assert_eq!(totals["tokens"]["total"], 5 * 14_367);
}
