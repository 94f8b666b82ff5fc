//! Prices from outside: what lacks one is told, a new table prices past days anew, once.

use std::process::Stdio;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _, Unit};
use serde_json::{Value, json};

use tallyd::clock::Clock;

use crate::harness::{Daemon, Place, until};

const DIRECTORY: &str = "identity,person,team\nada@example.com,,payments\n";

fn place() -> Arc<Place> {
    let place = Place::new();
    let directory = place.write("people.csv", DIRECTORY);
    place.configure(&settings(&directory.display().to_string(), ""));
    place
}

fn settings(directory: &str, cost: &str) -> String {
    format!("[identity]\ndirectory = '{directory}'\n[cost]\n{cost}\n")
}

/// What `tallyd` prints with arguments, asking the daemon.
fn printed(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut command = daemon.place.command(arguments);
    command.env("TALLYD_URL", &daemon.http);
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", daemon.place.log());
    String::from_utf8(output.stdout).unwrap()
}

fn record(id: &str, user: &str, model: &str, at: Timestamp) -> Value {
    json!({"source": "gateway", "id": id, "at": at.to_string(), "user": user, "model": model,
        "tokens": {"input": 1_000_000, "output": 10_000}})
}

async fn cost_usd(daemon: &Daemon, from: Timestamp) -> (Value, Value) {
    let path = format!("/api/v1/usage?timezone=UTC&from={from}");
    let answer = daemon.json(&path).await;
    let totals = &answer["totals"];
    (
        totals["cost_usd"].clone(),
        totals["unpriced_tokens"].clone(),
    )
}

#[tokio::test]
async fn a_price_that_was_missing_is_added_and_past_days_follow_once() {
    let place = place();
    let daemon = place.start().await;
    let now = Clock::System.now().round(Unit::Second).unwrap();
    let yesterday = now.checked_sub(24.hours()).unwrap();
    let from = now.checked_sub(72.hours()).unwrap();
    let records = json!([
        record("1", "ada@example.com", "claude-next", yesterday),
        record("2", "ada@example.com", "claude-opus-4-8", yesterday),
        record("3", "bob@example.com", "claude-next", now),
    ]);
    daemon.report(&records).await;
    assert_eq!(
        cost_usd(&daemon, from).await,
        (json!("5.25"), json!(2_020_000))
    );
    let missing = printed(&daemon, &["prices", "missing"]);
    assert!(missing.contains("anthropic base claude-next"), "{missing}");
    assert!(
        missing.contains("{ model = \"claude-next\", provider = \"anthropic\", scope = \"base\", input = \"?\", output = \"?\" }"),
        "{missing}"
    );
    let before = daemon.scrape().await;

    let prices = place.write(
        "prices.toml",
        "schema_version = 1\nversion = \"ours 1\"\ncurrency = \"USD\"\n\
         unit = \"1000000 tokens\"\nprice = [{ model = \"claude-next\", provider = \"anthropic\", \
         scope = \"base\", input = \"2\", output = \"10\" }]\n",
    );
    let directory = place.path("people.csv").display().to_string();
    let cost = format!("prices = '{}'", prices.display());
    place.configure(&settings(&directory, &cost));
    daemon.signal("HUP");
    until("the new price table", async || {
        let path = "/api/v1/prices/missing";
        let version = daemon.json(path).await["price_table_version"].clone();
        (version == "litellm-1.109.1 + ours 1").then_some(())
    })
    .await;
    let day = |at: Timestamp| at.to_string()[..10].to_owned();
    let (start, end) = (day(from), day(now.checked_add(24.hours()).unwrap()));
    let missing = printed(&daemon, &["prices", "missing"]);
    assert!(
        missing.contains("tallyd prices reprice --from"),
        "{missing}"
    );

    let arguments = ["prices", "reprice", "--from", &start, "--to", &end];
    let tried = printed(&daemon, &[&arguments[..], &["--dry-run"]].concat());
    assert!(tried.contains("a dry run, nothing was changed"), "{tried}");
    assert_eq!(cost_usd(&daemon, from).await.0, json!("5.25"));
    let done = printed(
        &daemon,
        &[&arguments[..], &["--reason", "a new model"]].concat(),
    );
    assert!(
        done.contains("run 1; price table litellm-1.109.1 + ours 1"),
        "{done}"
    );
    assert_eq!(cost_usd(&daemon, from).await, (json!("9.45"), json!(0)));
    assert_eq!(printed(&daemon, &arguments), "nothing changes\n");

    let after = daemon.scrape().await;
    for family in [
        "claude_code_cost_usage_USD_total",
        "claude_code_unpriced_tokens_total",
    ] {
        assert_eq!(after.sum(family, &[]), before.sum(family, &[]), "{family}");
    }
    let adjusted = daemon.json("/api/v1/prices/adjustments").await;
    let rows = adjusted["adjustments"].as_array().unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                &row["user"],
                &row["old_cost_usd"],
                &row["new_cost_usd"],
                &row["reason"],
            )
        })
        .collect();
    let (old, new, reason) = (json!("0.00"), json!("2.10"), json!("a new model"));
    let (ada, bob) = (json!("ada@example.com"), json!("bob@example.com"));
    assert_eq!(
        told,
        [(&ada, &old, &new, &reason), (&bob, &old, &new, &reason)]
    );
    // Quotas, queries and counters are read from the same figures after a restart.
    let daemon = daemon.crash().await;
    assert_eq!(cost_usd(&daemon, from).await.0, json!("9.45"));
    daemon.scrape().await;
}

#[tokio::test]
async fn who_is_not_known_is_listed_and_who_is_forgotten_leaves_no_name() {
    let place = place();
    let daemon = place.start().await;
    let now = Clock::System.now().round(Unit::Second).unwrap();
    let records = json!([
        record("1", "ada@example.com", "claude-opus-4-8", now),
        record("2", "bob@example.com", "claude-opus-4-8", now),
    ]);
    daemon.report(&records).await;
    let unknown = printed(&daemon, &["identity", "list-unknown"]);
    assert!(unknown.contains("bob@example.com  no_row"), "{unknown}");
    assert!(!unknown.contains("ada@example.com"), "{unknown}");

    let row = printed(
        &daemon,
        &["identity", "remap", "bob@example.com", "ada@example.com"],
    );
    assert_eq!(row, "bob@example.com,ada@example.com,\n");
    until("the new row of the directory", async || {
        let path = "/api/v1/usage?group_by=user";
        let rows = daemon.json(path).await["rows"].clone();
        (rows.as_array().unwrap().len() == 1).then_some(())
    })
    .await;

    let forgotten = printed(&daemon, &["identity", "forget", "Ada@Example.com"]);
    assert!(
        forgotten.starts_with("2 identities stand as forgotten-1"),
        "{forgotten}"
    );
    let usage = daemon.json("/api/v1/usage?group_by=user").await;
    assert_eq!(usage["rows"][0]["user"], "forgotten-1");
    assert_eq!(usage["totals"]["cost_usd"], "10.50");
    let metrics = daemon.get("/metrics").await.text().await.unwrap();
    assert!(!metrics.contains("example.com"));
    assert!(metrics.contains("user=\"forgotten-1\""));
    let body = json!({"user": "nobody@example.com"});
    let (status, answer) = daemon.post("/api/v1/identities/forget", &body).await;
    assert_eq!((status, &answer["code"]), (404, &json!("unknown_identity")));
}

#[tokio::test]
async fn price_files_are_checked_listed_and_imported_without_a_daemon() {
    let place = Place::new();
    let map = place.write(
        "map.json",
        r#"{"claude-next": {"litellm_provider": "anthropic", "input_cost_per_token": 2e-06,
            "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 3e-07},
            "azure_ai/claude-next": {"litellm_provider": "azure_ai"}, "gpt-5": {}}"#,
    );
    let out = place.path("prices.toml");
    let (map, out) = (map.display().to_string(), out.display().to_string());
    let import = ["prices", "import", "--litellm", &map, "--output", &out];
    assert_eq!(place.run(&import).await.0, Some(0));
    let (code, log) = place.run(&import).await;
    assert_eq!(code, Some(1));
    assert!(log.contains("exists already"), "{log}");
    let run = |arguments: &[&str]| {
        let output = place.command(arguments).stdout(Stdio::piped()).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, checked) = run(&["prices", "check", &out]);
    assert_eq!(code, Some(0));
    assert!(
        checked
            .contains("anthropic base claude-next: cache_read is 0.15 times input, usual is 0.1"),
        "{checked}"
    );
    place.configure(&format!("[cost]\nprices = '{out}'"));
    let (code, listed) = run(&["prices", "list", "--model", "claude-next"]);
    assert_eq!(code, Some(0));
    let line = listed.lines().nth(2).unwrap_or_default();
    let cells: Vec<&str> = line.split_whitespace().collect();
    let cost = ["2", "10", "0.3", "-", "-"];
    let name = ["claude-next", "anthropic", "base", "standard", "-", "-"];
    assert_eq!(cells, [&name[..], &cost[..]].concat());

    let bad = place.write("bad.toml", "schema_version = 1\nprice = []\n");
    let bad = bad.display().to_string();
    let (code, log) = place.run(&["prices", "check", &bad]).await;
    assert_eq!(code, Some(64));
    assert!(log.contains("currency: must be \"USD\""), "{log}");
}
