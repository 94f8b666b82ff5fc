//! Business figures of the real daemon: webhooks from outside, reports out, killed in between.

use std::process::Command;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::Sha256;
use tallyd::clock::Clock;

use crate::harness::{Daemon, Place, answer, until};

const SECRET: &str = "a secret that GitHub knows";

const PULL_REQUEST: &str = include_str!("../fixtures/webhooks/github_pull_request.json");

/// A company that states its assumptions and has a webhook.
fn company() -> Arc<Place> {
    let place = Place::new();
    let file = place.write("github.secret", &format!("{SECRET}\n"));
    place.configure(&format!(
        "[business]\ngithub_secret_file = \"{}\"\nassumptions = \"survey\"\nhourly_rate = 60\n\
         minutes_saved_per_active_minute = {{low = -0.16, mid = 0.1, high = 0.4}}\n\
         realisation = {{low = 1, mid = 1, high = 1}}\n\
         headcount = 10\nheadcount_source = \"staff list\"\n\
         [[business.phases]]\nname = \"Pilot\"\nfrom = \"2026-01-01\"\nto = \"2100-01-01\"\n\
         criteria = [\"adoption_rate > 50%\", \"bugs_fixed >= 1\"]\n",
        file.display()
    ));
    place
}

async fn deliver(daemon: &Daemon, id: &str, body: &str, secret: &str) -> (u16, Value) {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let digits: Vec<String> = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let request = daemon
        .request("/api/v1/webhooks/github")
        .header("content-type", "application/json")
        .header("x-github-event", "pull_request")
        .header("x-github-delivery", id)
        .header("x-hub-signature-256", format!("sha256={}", digits.concat()))
        .body(body.to_owned());
    answer(request.send().await.unwrap()).await
}

/// A change that was merged just now.
fn merged_now() -> String {
    let now = Clock::System.now();
    PULL_REQUEST.replace("2026-11-22T03:21:18Z", &format!("{now:.0}"))
}

/// A client's counter of active time at the keyboard.
fn active(user: &str, at: Timestamp, seconds: u64) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let start = at - SignedDuration::from_secs(60);
    json!({"resourceMetrics": [{
        "resource": {"attributes": [text("service.name", "claude-code"), text("team", "payments")]},
        "scopeMetrics": [{
            "scope": {"name": "com.anthropic.claude_code"},
            "metrics": [{
                "name": "claude_code.active_time.total", "unit": "s",
                "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [{
                    "attributes": [text("type", "user"), text("user.email", user)],
                    "startTimeUnixNano": start.as_nanosecond().to_string(),
                    "timeUnixNano": at.as_nanosecond().to_string(),
                    "asDouble": seconds,
                }]},
            }],
        }],
    }]})
}

#[tokio::test]
async fn a_fix_is_counted_once_over_kills_and_replays() {
    let place = company();
    let daemon = place.start().await;
    let body = merged_now();
    assert_eq!(deliver(&daemon, "d1", &body, "another secret").await.0, 401);
    let taken = deliver(&daemon, "d1", &body, SECRET).await;
    assert_eq!(taken, (200, json!({"result": "new"})));
    let daemon = daemon.crash().await;
    let again = deliver(&daemon, "d1", &body, SECRET).await;
    assert_eq!(again, (200, json!({"result": "replayed"})));
    let scrape = daemon.scrape().await;
    let bugs = |claude| scrape.sum("claude_code_bugs_fixed_total", &[("claude", claude)]);
    assert_eq!([bugs("yes"), bugs("no")], [1.0, 0.0]);
    let delivered = [("provider", "github"), ("result", "replayed")];
    assert_eq!(
        scrape.sum("tallyd_webhook_deliveries_total", &delivered),
        1.0
    );
}

#[tokio::test]
async fn roi_and_rollout_are_told_to_finance() {
    let place = company();
    let daemon = place.start().await;
    let now = Clock::System.now();
    for number in 0..6 {
        let user = format!("p{number}@example.com");
        daemon.export("metrics", &active(&user, now, 600)).await;
    }
    assert_eq!(deliver(&daemon, "d1", &merged_now(), SECRET).await.0, 200);
    let (from, to) = (
        now - SignedDuration::from_hours(1),
        now + SignedDuration::from_hours(1),
    );
    let range = format!("from={from:.0}&to={to:.0}");
    let report = daemon.json(&format!("/api/v1/reports/roi?{range}")).await;
    let text = report.to_string();
    // Sixty minutes at the keyboard, of which a tenth is saved.
    for part in ["\"development\"", "\"6.000\"", "survey-", "METR"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let rollout = daemon.json("/api/v1/reports/rollout").await.to_string();
    assert_eq!(rollout.matches("\"met\"").count(), 2, "{rollout}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.args([
        "report",
        "rollout",
        "--format",
        "csv",
        "--url",
        &daemon.http,
    ]);
    let printed = command.env_clear().output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("adoption_rate > 0.5"), "{printed}");
}

#[tokio::test]
async fn without_assumptions_no_figure_exists() {
    let place = Place::new();
    let daemon = place.start().await;
    daemon
        .export(
            "metrics",
            &active("a@example.com", Clock::System.now(), 600),
        )
        .await;
    let scrape = daemon.scrape().await;
    let saved = ["bugs_fixed", "time_saved", "cost_savings"];
    let shown: Vec<&String> = scrape
        .0
        .keys()
        .filter(|series| saved.iter().any(|word| series.contains(word)))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
    let place = company();
    let daemon = place.start().await;
    until("the gauges of a company with assumptions", async || {
        let scrape = daemon.scrape().await;
        let has = |name: &str| scrape.0.contains_key(name);
        (has("claude_code_time_saved_seconds{end=\"mid\"}")
            && has("claude_code_cost_savings_USD{end=\"low\"}"))
        .then_some(())
    })
    .await;
}
