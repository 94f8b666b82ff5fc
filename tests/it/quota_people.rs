//! What people see of quotas: metrics, warnings, the audit log, the command line.

use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{Daemon, Place, until};
use crate::peer_notify::Taker;

const POLICY: &str = r#"
timezone = "UTC"
default_role = "developer"

[roles.developer]
allowed_models = ["claude-*"]
max_tokens_per_day = 10_000
audit_level = "standard"

[roles.auditor]
allowed_models = ["claude-*"]
audit_level = "full"

[groups.audit]
role = "auditor"
members = ["eve@example.com"]
"#;

fn place() -> Arc<Place> {
    let place = Place::new();
    let policy = place.write("policy.toml", POLICY);
    let audit = place.path("audit.jsonl");
    place.configure(&format!(
        "[quota]\npolicy = '{}'\naudit_log = '{}'\n\
         [notify.hook]\nkind = \"webhook\"\nalarms = [\"quota:*\"]\ngroup_wait = \"0s\"\n",
        policy.display(),
        audit.display(),
    ));
    place
}

async fn start(place: &Arc<Place>, taker: &Taker) -> Daemon {
    let mut command = place.command(&["run"]);
    command.env("TALLYD_NOTIFY_HOOK_URL", &taker.url);
    command.env("TALLYD_NOTIFY_HOOK_SECRET", "0123456789abcdef");
    place.spawn(&mut command).await
}

async fn reserve(daemon: &Daemon, id: &str, user: &str, tokens: u64) -> u16 {
    let body = json!({
        "id": id, "subject": {"user": user}, "model": "claude-sonnet-4-6",
        "estimate": {"input_tokens": tokens, "max_output_tokens": 1},
    });
    let (status, _) = daemon.post("/api/v1/quota/reservations", &body).await;
    status
}

async fn settle(daemon: &Daemon, id: &str, tokens: u64) {
    let path = format!("/api/v1/quota/reservations/{id}/settle");
    let body = json!({"tokens": {"input": tokens, "output": 0}});
    let (status, answer) = daemon.post(&path, &body).await;
    assert!(status < 300, "{answer}");
}

/// What `tallyd` prints with arguments.
fn printed(place: &Place, arguments: &[&str]) -> String {
    let mut command = place.command(arguments);
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", place.log());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn decisions_are_counted_and_written_at_the_level_of_the_role() {
    let (place, taker) = (place(), Taker::start().await);
    let daemon = start(&place, &taker).await;
    assert_eq!(reserve(&daemon, "r1", "ada@example.com", 100).await, 201);
    assert_eq!(reserve(&daemon, "r2", "eve@example.com", 100).await, 201);
    assert_eq!(reserve(&daemon, "r3", "ada@example.com", 9_950).await, 429);
    let scrape = daemon.scrape().await;
    let of = |labels: &str| scrape.0[&format!("tallyd_quota_decisions_total{{{labels}}}")];
    assert_eq!(of(r#"decision="allow",reason="room",limit="""#), 2.0);
    let denied = r#"decision="deny",reason="quota_exceeded",limit="role-developer-day""#;
    assert_eq!(of(denied), 1.0);
    assert_eq!(scrape.0["tallyd_quota_decision_seconds_count"], 3.0);
    // Written before the answer: neither a kill nor a restart loses or renumbers a line.
    daemon.kill();
    let daemon = start(&place, &taker).await;
    assert_eq!(reserve(&daemon, "r4", "ada@example.com", 1).await, 201);
    let text = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["seq"].as_u64().unwrap(),
                line["decision"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [(1, "allow"), (2, "allow"), (3, "deny"), (4, "allow")]
    );
    let [ada, eve, denied, _] = &lines[..] else {
        panic!("{text}");
    };
    assert_eq!(
        (&ada["user"], &ada["model"]),
        (&json!("ada@example.com"), &Value::Null)
    );
    assert_eq!(
        (&eve["input_tokens"], &eve["model"]),
        (&json!(100), &json!("claude-sonnet-4-6"))
    );
    assert_eq!(denied["limit"], "role-developer-day");
}

#[tokio::test]
async fn a_crossing_is_told_once_even_over_a_restart() {
    let (place, taker) = (place(), Taker::start().await);
    let daemon = start(&place, &taker).await;
    assert_eq!(reserve(&daemon, "r1", "ada@example.com", 9_500).await, 201);
    settle(&daemon, "r1", 9_500).await;
    daemon.kill();
    let daemon = start(&place, &taker).await;
    let told = taker.first().await.to_string();
    assert!(
        told.contains("quota:role-developer-day/ada@example.com/90"),
        "{told}"
    );
    assert!(
        told.contains("used 95 % of the limit role-developer-day"),
        "{told}"
    );
    daemon.kill();
    let daemon = start(&place, &taker).await;
    let used = r#"tallyd_quota_used{limit="role-developer-day",subject="ada@example.com",unit="weighted_tokens"}"#;
    until("the gauge", async || {
        let scrape = daemon.scrape().await;
        (scrape.0.get(used) == Some(&9_500.0)).then_some(())
    })
    .await;
    assert_eq!(taker.bodies.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn people_see_and_mend_their_limits_on_the_command_line() {
    let (place, taker) = (place(), Taker::start().await);
    let daemon = start(&place, &taker).await;
    assert_eq!(reserve(&daemon, "r1", "ada@example.com", 6_000).await, 201);
    settle(&daemon, "r1", 6_000).await;
    let url = ["--url", daemon.http.as_str()];
    let ada = "ada@example.com";
    let line = printed(&place, &[&["statusline", "--user", ada], &url[..]].concat());
    assert_eq!(line, "60% of today's 10k, resets 00:00\n");
    let shown = printed(&place, &[&["quota", "show", ada], &url[..]].concat());
    assert!(
        shown.contains("[######----]  60%  6,000 of 10,000 weighted tokens"),
        "{shown}"
    );
    let top = printed(&place, &[&["quota", "top"], &url[..]].concat());
    assert!(
        top.contains("ada@example.com  [######----]  6,000"),
        "{top}"
    );
    assert_eq!(reserve(&daemon, "r2", ada, 1_000).await, 201);
    let held = printed(&place, &[&["quota", "reservations"], &url[..]].concat());
    assert!(
        held.contains("r2           ada@example.com  claude-sonnet-4-6   1,001"),
        "{held}"
    );
    let raise = ["quota", "raise", ada, "--limit", "role-developer-day"];
    let more = ["--by", "2_000", "--reason", "release", "--id", "ticket-1"];
    let raised = printed(&place, &[&raise, &more[..], &url[..]].concat());
    assert!(raised.contains("4,000 of 10,000"), "{raised}");
    let again = printed(&place, &[&raise, &more[..], &url[..]].concat());
    assert!(
        again.starts_with("The correction was kept before as ticket-1"),
        "{again}"
    );
    let list = ["quota", "adjustments", "--rows", "1"];
    let listed = printed(&place, &[&list, &url[..]].concat());
    assert!(
        listed.contains("ada@example.com   -2000  weighted tokens  anonymous  release  ticket-1"),
        "{listed}"
    );
}

#[tokio::test]
async fn counters_are_verified_and_a_tighter_policy_is_tried() {
    let (place, taker) = (place(), Taker::start().await);
    let daemon = start(&place, &taker).await;
    assert_eq!(reserve(&daemon, "r1", "ada@example.com", 6_000).await, 201);
    settle(&daemon, "r1", 6_000).await;
    let url = ["--url", daemon.http.as_str()];
    let verified = printed(&place, &[&["verify"], &url[..]].concat());
    assert_eq!(verified, "All 1 counters are as the ledger says.\n");
    let tighter = place.write("tighter.toml", &POLICY.replace("10_000", "500"));
    let try_it = ["quota", "simulate", "--policy", tighter.to_str().unwrap()];
    let listed = printed(&place, &[&try_it, &url[..]].concat());
    assert!(listed.contains("ada@example.com"), "{listed}");
    assert!(listed.contains("6,000  500  weighted tokens"), "{listed}");
    let policy = place.path("policy.toml");
    let same = ["quota", "simulate", "--policy", policy.to_str().unwrap()];
    let listed = printed(&place, &[&same, &url[..]].concat());
    assert_eq!(listed, "The policy would have stopped nobody.\n");
}

#[test]
fn a_status_line_is_empty_when_nobody_answers() {
    let place = Place::new();
    let nobody = ["statusline", "--user", "ada", "--url", "http://127.0.0.1:9"];
    assert_eq!(printed(&place, &nobody), "");
    assert_eq!(printed(&place, &["statusline"]), "");
}
