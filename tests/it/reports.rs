//! Reports through the front door: usage in, money out, the same in every form.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::harness::{Daemon, Place};

fn record(id: u32, user: &str, team: &str, at: Timestamp) -> Value {
    json!({
        "id": id.to_string(), "at": at, "user": user, "team": team, "provider": "bedrock",
        "model": "us.anthropic.claude-sonnet-4-6-v1:0",
        "tokens": {"input": 1_000 + id, "output": 333, "cache_read": 77},
    })
}

/// Usage of two teams today and the day before, and the range of both days.
async fn used(daemon: &Daemon) -> String {
    let now = Clock::System.now();
    let ago = |hours| now - SignedDuration::from_hours(hours);
    let records: Vec<Value> = (0..40)
        .map(|id| match id % 3 {
            0 => record(id, "alice@example.com", "payments", ago(1)),
            1 => record(id, "=cmd()", "+search", ago(25)),
            _ => record(id, "carol@example.com", "+search", ago(2)),
        })
        .collect();
    assert_eq!(daemon.report(&json!(records)).await["accepted"], 40);
    format!(
        "from={}&to={}",
        ago(48),
        now + SignedDuration::from_hours(1)
    )
}

/// The column of a CSV answer as texts, without the manifest.
fn column(text: &str, name: &str) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let place = headers.iter().position(|header| header == name).unwrap();
    let rows = reader.records();
    rows.map(|row| row.unwrap()[place].to_owned()).collect()
}

/// A decimal text in millionths.
fn millionths(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap();
    let digits = format!("{whole}{part:0<6}");
    digits.parse().unwrap()
}

#[tokio::test]
async fn every_grouping_and_form_has_the_same_total() {
    let place = Place::new();
    let daemon = place.start().await;
    let range = used(&daemon).await;
    let usage = daemon.json(&format!("/api/v1/usage?{range}")).await;
    let exact = usage["totals"]["cost_usd"].as_str().unwrap().to_owned();
    for group_by in [
        "",
        "team",
        "user,day",
        "period,model,context",
        "cost_center",
    ] {
        let path = format!("/api/v1/reports/chargeback?{range}&group_by={group_by}");
        let report = daemon.json(&path).await;
        let control = &report["manifest"]["control_totals"];
        assert!(report.to_string().contains(&exact), "{group_by}: {control}");
        let total = report["totals"]["estimated_cost_usd"].as_str().unwrap();
        let rows = report["rows"].as_array().unwrap();
        let lines = rows.iter().map(|row| row["estimated_cost_usd"].as_str());
        let sum: i64 = lines.map(|cost| millionths(cost.unwrap())).sum();
        assert_eq!(sum, millionths(total), "{group_by}");
        let text = daemon.get(&format!("{path}&format=csv&decimals=6")).await;
        let text = text.text().await.unwrap();
        let costs = column(&text, "estimated_cost_usd");
        let sum: i64 = costs.iter().map(|cost| millionths(cost)).sum();
        let rounded = (sum + 5_000) / 10_000 * 10_000;
        assert!((rounded - millionths(total)).abs() <= 10_000, "{group_by}");
    }
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_file_is_written_that_no_spreadsheet_takes_for_a_program() {
    let place = Place::new();
    let daemon = place.start().await;
    used(&daemon).await;
    let file = place.path("chargeback.csv");
    let file = file.to_str().unwrap();
    let now = Clock::System.now();
    let from = (now - SignedDuration::from_hours(48)).to_string();
    let to = (now + SignedDuration::from_hours(1)).to_string();
    let arguments = [
        "report",
        "chargeback",
        "--from",
        &from,
        "--to",
        &to,
        "--group-by",
        "team,user",
        "--format",
        "csv",
        "--output",
        file,
        "--url",
        &daemon.http,
    ];
    let (code, said) = place.run(&arguments).await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.starts_with("# "), "{text}");
    let mut users = column(&text, "user");
    users.dedup();
    assert_eq!(users, ["'=cmd()", "carol@example.com", "alice@example.com"]);
    assert!(!place.path("chargeback.csv.part").exists());
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_wrong_question_is_told_what_would_be_right() {
    let place = Place::new();
    let daemon = place.start().await;
    for (question, status, words) in [
        ("chargebak", 404, "chargeback"),
        (
            "chargeback?group_by=tema",
            400,
            "group_by: must be a list of",
        ),
        ("chargeback?month=11/2026", 400, "month: must be a month"),
        (
            "chargeback?month=last&from=2026-11-01",
            400,
            "month: may not",
        ),
        ("chargeback?decimals=13", 400, "decimals: must be a number"),
        ("chargeback?basis=list", 400, "basis: must be one of"),
        ("chargeback?format=pdf", 400, "format: must be one of"),
        ("chargeback?timezone=Mars", 400, "timezone: must be"),
        ("cost_detail?group_by=team", 400, "group_by: cost_detail"),
        ("reconciliation?group_by=user", 400, "group_by: must be"),
    ] {
        let answer = daemon.get(&format!("/api/v1/reports/{question}")).await;
        assert_eq!(answer.status(), status, "{question}");
        let problem: Value = answer.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{question}: {detail}");
    }
    let file = place.path("none.csv");
    let file = file.to_str().unwrap();
    let arguments = ["report", "nothing", "--output", file, "--url", &daemon.http];
    let (code, said) = place.run(&arguments).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("the reports are chargeback"), "{said}");
    assert!(!std::path::Path::new(file).exists());
    assert_eq!(daemon.stop().await.code(), Some(0));
}
