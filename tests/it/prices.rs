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

/// Prints what the price map has that the installed LiteLLM ships, read by another parser: the
/// file, the number of keys, and of each key the prices of a million tokens.
const READ_MAP: &str = r#"
import decimal, importlib.util, json, pathlib
place = pathlib.Path(importlib.util.find_spec("litellm").origin)
place = place.parent / "model_prices_and_context_window_backup.json"
number = decimal.Decimal
prices = json.loads(place.read_text(), parse_float=number, parse_int=number)
def text(entry, name):
    price = entry.get(name)
    return None if price is None else format((price * 1_000_000).normalize(), "f")
kinds = {"input": "input_cost_per_token", "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost", "cache_write_5m": "cache_creation_input_token_cost"}
print(json.dumps({"file": str(place), "prices": {
    key: {kind: text(entry, name) for kind, name in kinds.items()}
    for key, entry in prices.items() if "claude" in key.lower()}, "keys": len(prices)}))
"#;

/// The rows of a price file by provider, scope and model.
fn rows(text: &str) -> std::collections::BTreeMap<[String; 3], toml::Table> {
    let file: toml::Table = toml::from_str(text).unwrap();
    let rows = file["price"].as_array().unwrap().iter();
    rows.map(|row| {
        let row = row.as_table().unwrap();
        let key = ["provider", "scope", "model"].map(|name| row[name].as_str().unwrap().to_owned());
        (key, row.clone())
    })
    .collect()
}

#[tokio::test]
#[ignore = "needs LiteLLM"]
async fn each_key_of_the_map_that_litellm_ships_is_taken_exactly_or_told() {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap();
    let mut python = std::process::Command::new(target.join("peers/litellm/bin/python"));
    let read = python.args(["-c", READ_MAP]).output().unwrap();
    let map: Value = serde_json::from_slice(&read.stdout).unwrap();
    let place = Place::new();
    let output = place.path("litellm.toml");
    let path = output.to_str().unwrap();
    let map_file = map["file"].as_str().unwrap();
    let import = [
        "prices",
        "import",
        "--litellm",
        map_file,
        "--all",
        "--output",
        path,
    ];
    let (code, said) = place.run(&import).await;
    assert_eq!(code, Some(0), "{said}");

    let text = std::fs::read_to_string(&output).unwrap();
    let taken = rows(&text);
    let mut keys = 0;
    for row in taken.values() {
        for key in row["keys"].as_array().unwrap() {
            let prices = &map["prices"][key.as_str().unwrap()];
            for (kind, price) in prices.as_object().unwrap() {
                let ours = row.get(kind).and_then(toml::Value::as_str);
                // Where keys stand for one row, one of them may tell more than another.
                assert!(
                    price.is_null() || price.as_str() == ours,
                    "{key} {kind}: {price} {ours:?}"
                );
            }
            keys += 1;
        }
    }
    let left_out: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("left out: "))
        .collect();
    let summary = said.lines().last().unwrap();
    let claude = map["prices"].as_object().unwrap().len();
    assert_eq!(
        keys + left_out.len(),
        claude,
        "a key is neither taken nor told"
    );
    let others = map["keys"].as_u64().unwrap() - claude as u64;
    let told = format!(
        "{} rows; {} keys of Claude were left out; {others} keys are of other models; ",
        taken.len(),
        left_out.len()
    );
    assert!(summary.starts_with(&told), "{summary}");
    for (key, why) in [
        (
            "openrouter/anthropic/claude-opus-4.8",
            "the provider \"openrouter\" is not one of Claude's own",
        ),
        (
            "bedrock/us-east-1/1-month-commitment/anthropic.claude-v1",
            "provisioned throughput is not priced by token",
        ),
    ] {
        assert!(
            left_out.contains(&&*format!("left out: {key}: {why}")),
            "{key}"
        );
    }

    // The built-in table is of another version of the source, in which one price is another one.
    let built_in = rows(include_str!("../../prices/claude.toml"));
    let kinds = [
        "input",
        "output",
        "cache_read",
        "cache_write_5m",
        "cache_write_1h",
    ];
    let both = built_in
        .iter()
        .filter_map(|(key, row)| Some((key, row, taken.get(key)?)));
    let both: Vec<_> = both.collect();
    assert!(both.len() > 150, "{}", both.len());
    for (key, ours, theirs) in &both {
        for kind in kinds {
            let is_known = key[2] == "claude-sonnet-5-5" && kind == "cache_read";
            assert!(
                is_known || ours.get(kind) == theirs.get(kind),
                "{key:?} {kind}"
            );
        }
    }

    place.configure(&format!("[cost]\nprices = '{path}'\n"));
    let (code, said) = place.run(&["check"]).await;
    assert_eq!(code, Some(0), "{said}");
}
