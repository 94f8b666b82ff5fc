//! Quotas while the disk is full.

use serde_json::{Value, json};

use crate::harness::{Daemon, answer, until};
use crate::operation::{limited, set_limit};
use crate::quota::{act, ask, balance, place, refusal, reserve, used};

/// Omar's calls pass while tallyd cannot write, Ann's do not.
const POLICY: &str = r#"
[[limits]]
name = "user-month"
per = ["user"]
match = { user = "ann" }
unit = "tokens"
limit = 10_000
window = "month"

[[limits]]
name = "open-month"
per = ["user"]
match = { user = "omar" }
unit = "tokens"
limit = 10_000
window = "month"
on_store_error = "open"
"#;

/// Status, code, what the policy wants, and the status for the client.
async fn unavailable(daemon: &Daemon, id: &str, user: &str) -> (u16, Value, Value, Value) {
    let (status, body) = reserve(daemon, &ask(id, user, 0, 100)).await;
    let field = |path: &str| body.pointer(path).cloned().unwrap_or_default();
    (
        status,
        field("/code"),
        field("/fail_mode"),
        field("/client_answer/status"),
    )
}

#[tokio::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    let place = place(POLICY);
    let daemon = place.spawn(&mut limited(&place, ":")).await;
    for id in ["held", "settled"] {
        assert_eq!(reserve(&daemon, &ask(id, "ann", 0, 1_000)).await.0, 201);
    }
    let (status, body) = act(&daemon, "settled", "settle", &used(300)).await;
    assert_eq!(status, 200, "{body}");
    let before = [10_000, 300, 1_000, 8_700];
    assert_eq!(balance(&daemon, "ann").await, before);

    set_limit(&daemon, "0");
    let code = json!("store_unavailable");
    let closed = (503, code.clone(), json!("closed"), json!(503));
    let open = (503, code.clone(), json!("open"), Value::Null);
    for _ in 0..2 {
        assert_eq!(unavailable(&daemon, "new", "ann").await, closed);
        assert_eq!(unavailable(&daemon, "passed", "omar").await, open);
        let path = "/api/v1/quota/reservations/held/settle";
        let response = daemon.request(path).json(&used(700)).send().await.unwrap();
        assert!(response.headers().contains_key("retry-after"));
        let (status, body) = answer(response).await;
        assert_eq!((status, &body["code"]), (503, &code));
    }
    // Questions that write nothing are answered as ever.
    let mut check = ask("", "ann", 8_701, 0);
    let full = daemon.post("/api/v1/quota/check", &check).await;
    assert_eq!(refusal(&full), (429, "quota_exceeded", 429));
    check["estimate"]["input_tokens"] = 8_700.into();
    assert_eq!(daemon.post("/api/v1/quota/check", &check).await.0, 200);
    assert_eq!(balance(&daemon, "ann").await, before);

    set_limit(&daemon, "unlimited");
    until("room", async || {
        let (status, _) = act(&daemon, "held", "settle", &used(700)).await;
        (status == 200).then_some(())
    })
    .await;
    let new = ask("new", "ann", 0, 100);
    assert_eq!(reserve(&daemon, &new).await.0, 201);
    let after = [10_000, 1_000, 100, 8_900];
    assert_eq!(balance(&daemon, "ann").await, after);

    // Killed while the disk is full again.
    set_limit(&daemon, "0");
    assert_eq!(unavailable(&daemon, "newer", "ann").await, closed);
    let daemon = daemon.crash().await;
    assert_eq!(balance(&daemon, "ann").await, after);
    let (_, again) = reserve(&daemon, &new).await;
    assert_eq!(again["replayed"], true);
    // What the gateway let pass meanwhile comes with its subject.
    let mut passed = used(50);
    passed["subject"] = json!({"user": "omar"});
    passed["model"] = "claude-haiku-4-5".into();
    let (status, body) = act(&daemon, "passed", "settle?upsert=true", &passed).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(balance(&daemon, "omar").await, [10_000, 50, 0, 9_950]);
}
