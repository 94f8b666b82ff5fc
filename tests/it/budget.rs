//! Budgets, fixed cost and closing a month, from outside.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::harness::{Daemon, Place, answer, until};

const SETTINGS: &str = r#"
[[cost.budgets]]
name = "all"
amount = "100"
[[cost.budgets]]
name = "data"
amount = "50"
scope = {team = "data"}
[[cost.fixed]]
name = "seats"
amount = "10.01"
users = 3
from = 2020-01-01
allocate = "even_users"
"#;

fn today() -> Date {
    Clock::System.now().to_zoned(TimeZone::UTC).date()
}

fn at(day: Date, hour: i8) -> String {
    let time = day.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    time.timestamp().to_string()
}

/// The first day of the month before this one.
fn last_month() -> Date {
    today().first_of_month().saturating_sub(1.month())
}

/// A million tokens of input at three dollars each: `millions * 3` dollars.
fn used(id: &str, at: &str, user: &str, team: &str, millions: u64) -> Value {
    json!({
        "source": "gateway", "id": id, "at": at, "user": user, "team": team,
        "provider": "anthropic", "model": "claude-sonnet-4-6",
        "tokens": {"input": millions * 1_000_000},
    })
}

async fn chargeback(daemon: &Daemon, parameters: &str) -> Value {
    let path = format!("/api/v1/reports/chargeback?{parameters}");
    daemon.json(&path).await
}

/// Status, team and estimate of each line that was used.
fn lines(report: &Value) -> Vec<[String; 3]> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["charge"] == "Usage")
        .map(|row| {
            ["status", "team", "estimated_cost_usd"]
                .map(|key| row[key].as_str().unwrap_or_default().to_owned())
        })
        .collect()
}

fn owned(lines: &[[&str; 3]]) -> Vec<[String; 3]> {
    lines.iter().map(|line| line.map(str::to_owned)).collect()
}

async fn close(daemon: &Daemon, month: &str, force: bool) -> (u16, Value) {
    let body = json!({"month": month, "force": force});
    daemon.post("/api/v1/reports/month-close", &body).await
}

#[tokio::test]
async fn a_closed_month_stays_and_late_usage_is_an_adjustment() {
    let place = Place::new();
    let daemon = place.start().await;
    let noon = at(last_month(), 12);
    let records = [
        used("1", &noon, "ann", "platform", 2),
        used("2", &noon, "bob", "data", 1),
    ];
    daemon.report(&json!(records)).await;
    let (status, refused) = close(&daemon, "last", false).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("month_provisional"))
    );
    let (status, refused) = close(&daemon, "this", false).await;
    assert_eq!((status, &refused["code"]), (409, &json!("month_open")));
    let (status, closed) = close(&daemon, "last", true).await;
    assert_eq!((status, &closed["lines"]), (201, &json!(2)));
    let (status, again) = close(&daemon, "last", false).await;
    assert_eq!(status, 200);
    assert_eq!(again["already_closed"], true);
    assert_eq!(again["sha256"], closed["sha256"]);

    let late = [used("3", &noon, "ann", "platform", 4)];
    daemon.report(&json!(late)).await;
    let daemon = daemon.crash().await;
    let report = chargeback(&daemon, "month=last&group_by=team").await;
    assert_eq!(
        lines(&report),
        owned(&[
            ["closed", "data", "3.00"],
            ["closed", "platform", "6.00"],
            ["adjustment", "platform", "12.00"],
        ])
    );
    assert_eq!(report["totals"]["estimated_cost_usd"], "21.00");
    let by_user = chargeback(&daemon, "month=last&group_by=user").await;
    assert_eq!(by_user["totals"], report["totals"]);
    let by_day = chargeback(&daemon, "month=last&group_by=day").await;
    assert_eq!(by_day["totals"], report["totals"]);

    // The next month that is closed books what changed, and it stays booked.
    let (status, next) = close(&daemon, "this", true).await;
    assert_eq!((status, &next["corrections"]), (201, &json!(1)));
    let months = daemon.json("/api/v1/reports/month-close?month=last").await;
    let month = &months["rows"][0];
    assert_eq!(month["opening_estimated_usd"], "9.00");
    assert_eq!(month["booked_estimated_usd"], "12.00");
    assert_eq!(month["pending_estimated_usd"], Value::Null);
    assert_eq!(month["closing_estimated_usd"], "21.00");
    let report = chargeback(&daemon, "month=last&group_by=team").await;
    assert_eq!(report["totals"]["estimated_cost_usd"], "21.00");
}

#[tokio::test]
async fn a_wrong_wish_to_close_is_refused_with_the_mend() {
    let place = Place::new();
    let daemon = place.start().await;
    let (status, problem) = close(&daemon, "2026", true).await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().starts_with("month: "));
    let future = today().saturating_add(2.months()).first_of_month();
    let future = format!("{:04}-{:02}", future.year(), future.month());
    let (status, problem) = close(&daemon, &future, true).await;
    assert_eq!(status, 400);
    let detail = format!("month: {future} has not begun");
    assert_eq!(problem["detail"], detail);
    let (status, problem) = daemon
        .post("/api/v1/reports/chargeback", &json!({"month": "last"}))
        .await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown_report")));
    let (status, problem) = answer(daemon.get("/api/v1/reports/budget").await).await;
    assert_eq!((status, &problem["code"]), (409, &json!("not_configured")));
    let path = "/api/v1/reports/chargeback?currency=EUR";
    let (status, problem) = answer(daemon.get(path).await).await;
    assert_eq!((status, &problem["code"]), (409, &json!("not_configured")));
}

#[tokio::test]
async fn fixed_cost_is_shared_exactly_whatever_is_asked() {
    let place = Place::with(SETTINGS);
    let daemon = place.start().await;
    let first = last_month();
    let records = [
        used("1", &at(first, 3), "ann", "platform", 2),
        used("2", &at(first, 4), "bob", "data", 1),
        used("3", &at(first, 5), "ann", "data", 1),
        used("4", &at(first.last_of_month(), 20), "eve", "", 1),
    ];
    daemon.report(&json!(records)).await;
    let mut totals = Vec::new();
    for group_by in ["team", "user,team", "day", "period,cost_center", "provider"] {
        let path = format!("month=last&decimals=6&group_by={group_by}");
        totals.push(chargeback(&daemon, &path).await["totals"].clone());
    }
    assert_eq!(totals[0]["actual_cost_usd"], "30.030000");
    assert_eq!(totals[0]["estimated_cost_usd"], "15.000000");
    for other in &totals[1..] {
        assert_eq!(*other, totals[0]);
    }
    let by_user = chargeback(&daemon, "month=last&group_by=user").await;
    let fees = by_user["rows"].as_array().unwrap().iter();
    let fees: Vec<_> = fees
        .filter(|row| row["charge"] == "Fee")
        .map(|row| {
            [
                &row["user"],
                &row["actual_cost_usd"],
                &row["allocation_method"],
            ]
        })
        .collect();
    let fee = |user: &str| [json!(user), json!("10.01"), json!("even_users")];
    let expected = ["ann", "bob", "eve"].map(fee);
    assert_eq!(fees, expected.each_ref().map(<[Value; 3]>::each_ref));
}

#[tokio::test]
async fn gauges_are_the_figures_of_the_reports_and_an_old_month_moves_none() {
    let place = Place::with(SETTINGS);
    let daemon = place.start().await;
    let now = (Clock::System.now() - SignedDuration::from_secs(1)).to_string();
    let records = [
        used("1", &now, "ann", "platform", 5),
        used("2", &now, "bob", "data", 1),
    ];
    daemon.report(&json!(records)).await;
    // The gauges are worked out at the start, and then once a minute.
    let daemon = daemon.crash().await;
    let seen = gauges(&daemon).await;
    let report = chargeback(&daemon, "month=this&group_by=team&decimals=6").await;
    for team in ["platform", "data"] {
        let rows = report["rows"].as_array().unwrap().iter();
        let sum: f64 = rows
            .filter(|row| row["team"] == team && row["charge"] == "Usage")
            .map(|row| row["estimated_cost_usd"].as_str().unwrap())
            .map(|text| text.parse::<f64>().unwrap())
            .sum();
        let series = format!("{MONTH_TO_DATE}{{basis=\"estimate\",team=\"{team}\"}}");
        let told = seen.iter().find(|(name, _)| *name == series);
        assert_eq!(told.map(|(_, value)| *value), Some(sum), "{seen:?}");
    }
    let old = [used("9", &at(last_month(), 12), "ann", "platform", 500)];
    daemon.report(&json!(old)).await;
    let daemon = daemon.crash().await;
    assert_eq!(gauges(&daemon).await, seen);
}

const MONTH_TO_DATE: &str = "claude_code_cost_month_to_date_usd";

/// The gauges of cost once they are there, without what a new day of fixed cost may move.
async fn gauges(daemon: &Daemon) -> Vec<(String, f64)> {
    until("the gauges of cost", async || {
        let scrape = daemon.scrape().await;
        let kept = [
            "estimate",
            "tallyd_budget_burn_rate",
            "tallyd_cost_anomalies",
        ];
        let found: Vec<_> = scrape
            .0
            .into_iter()
            .filter(|(name, _)| kept.iter().any(|kept| name.contains(kept)))
            .filter(|(name, _)| name.starts_with(MONTH_TO_DATE) || name.starts_with("tallyd_"))
            .collect();
        found
            .iter()
            .any(|(name, _)| name == "tallyd_cost_anomalies")
            .then_some(found)
    })
    .await
}

#[tokio::test]
async fn who_is_forgotten_is_gone_from_closed_months_and_their_sums_stay() {
    let place = Place::new();
    let daemon = place.start().await;
    let noon = at(last_month(), 12);
    let records = [
        used("1", &noon, "ann.somebody", "platform", 2),
        used("2", &noon, "bob", "data", 1),
    ];
    daemon.report(&json!(records)).await;
    let bill = format!(
        "day,provider,currency,unblended,model,kind,user\n\
         {day},anthropic,USD,5.5,claude-sonnet-4-6,input,arn:aws:sts::1:assumed-role/Dev/Ann.Somebody\n\
         {day},anthropic,USD,3.1,claude-sonnet-4-6,input,\n",
        day = last_month()
    );
    let request = daemon.request("/api/v1/bills?provider=csv");
    let request = request.header("content-type", "text/csv").body(bill);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let (status, closed) = close(&daemon, "last", true).await;
    assert_eq!((status, &closed["lines"]), (201, &json!(2)));
    let before = chargeback(&daemon, "month=last&group_by=user,team").await;

    let forget = json!({"user": "Ann.Somebody"});
    let (status, forgotten) = daemon.post("/api/v1/identities/forget", &forget).await;
    assert_eq!(
        (status, forgotten),
        (
            200,
            json!({"stand_in": "forgotten-1", "identities": 1, "closed_lines": 1})
        )
    );
    let after = chargeback(&daemon, "month=last&group_by=user,team").await;
    assert_eq!(after["totals"], before["totals"]);
    let renamed = |row: &Value| {
        let mut row = row.clone();
        if row["user"] == "ann.somebody" {
            row["user"] = json!("forgotten-1");
        }
        row.to_string()
    };
    let rows = |report: &Value, change: &dyn Fn(&Value) -> String| {
        let rows = report["rows"].as_array().unwrap().iter();
        let mut rows: Vec<String> = rows.map(change).collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(&after, &Value::to_string), rows(&before, &renamed));
    let notes = after["manifest"]["notes"].to_string();
    assert!(
        notes.contains("before a person in them was forgotten"),
        "{notes}"
    );
    assert_eq!(daemon.stop().await.code(), Some(0));
    let stored = std::fs::read(place.ledger()).unwrap().to_ascii_lowercase();
    let name = b"ann.somebody";
    assert!(!stored.windows(name.len()).any(|found| found == name));
}
