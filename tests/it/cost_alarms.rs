//! Cost that alarms watch: what is brought from the past moves none of it.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::harness::{Daemon, Place, until};
use crate::import::import;

/// A budget that a single dollar of this month would burst.
const BUDGET: &str = "
[[cost.budgets]]
name = \"company\"
amount = \"1\"
";

/// The gauges that alarms of cost look at.
const WATCHED: [&str; 6] = [
    "claude_code_cost_month_to_date_usd",
    "tallyd_budget_used_ratio",
    "tallyd_budget_forecast_ratio",
    "tallyd_budget_burn_rate",
    "tallyd_cost_anomalies",
    "tallyd_reconciliation_delta_ratio",
];

/// The lines of the watched gauges, once they are worked out.
async fn watched(daemon: &Daemon) -> BTreeMap<String, String> {
    until("the gauges of cost", async || {
        let text = daemon.get("/metrics").await.text().await.unwrap();
        let lines = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let family = name.split('{').next()?;
            let is_watched = WATCHED.contains(&family);
            is_watched.then(|| (name.to_owned(), value.to_owned()))
        });
        let lines: BTreeMap<_, _> = lines.collect();
        let has = |family: &str| lines.keys().any(|name| name.starts_with(family));
        (has("tallyd_budget_used_ratio") && has("claude_code_cost_month")).then_some(lines)
    })
    .await
}

fn request(id: &str, at: Timestamp) -> Value {
    json!({"id": id, "source": "gateway", "at": at, "user": "alice", "team": "core",
        "model": "claude-opus-4-8", "tokens": {"input": 20_000, "output": 2_000}})
}

#[tokio::test]
async fn an_old_month_that_is_imported_moves_no_gauge_of_cost_and_fires_no_alarm() {
    let place = Place::with(BUDGET);
    let daemon = place.start().await;
    let now = Clock::System.now();
    daemon.report(&request("live", now)).await;
    // The gauges are worked out at each start.
    let daemon = daemon.crash().await;
    let before = watched(&daemon).await;
    assert!(
        before.contains_key("tallyd_budget_used_ratio{budget=\"company\"}"),
        "{before:?}"
    );

    // 75 times the budget.
    let past = now.to_zoned(TimeZone::UTC).checked_sub(2.months()).unwrap();
    let lines: Vec<_> = (0..500)
        .map(|n| request(&format!("old{n}"), past.timestamp()).to_string())
        .collect();
    let file = place.write("old.jsonl", &lines.join("\n"));
    let arguments = ["import", "usage", file.to_str().unwrap()];
    let (code, summary, said) = import(&daemon, place.command(&arguments)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(summary.contains("500"), "{summary}");

    let daemon = daemon.crash().await;
    let after = watched(&daemon).await;
    // A burn rate is of the hours before now, so it falls with time and never rises.
    for (name, value) in &before {
        let [was, is] = [value, &after[name]].map(|value| value.parse::<f64>().unwrap());
        let falls = name.starts_with("tallyd_budget_burn_rate");
        assert!(is == was || (falls && is < was), "{name}: {was}, then {is}");
    }
    // History makes a forecast possible; it is of this month, which is far from its budget.
    for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        assert!(value.parse::<f64>().unwrap() < 0.5, "{name}: {value}");
    }
    let alarms = daemon.json("/api/v1/alarms").await.to_string();
    assert!(alarms.contains("ClaudeCode-CostBudgetBurnFast"), "{alarms}");
    assert!(!alarms.contains("\"ALARM\""), "{alarms}");
}
