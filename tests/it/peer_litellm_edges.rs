//! The real LiteLLM proxy where calls do not go the usual way: routes to the clouds, clients that
//! hang up, fallbacks, a spool that is full.

use std::fs;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Daemon, until};
use crate::peer_litellm::{
    Gateway, POLICY, USED_UP, agreed, free_address, place, spent_by_bob, start,
};
use crate::quota::balance;

const ALICE: &str = "alice@example.com";

const VERTEX: &str = "/vertex_ai/v1/projects/p/locations/us-east5/publishers";

/// Routes that LiteLLM passes through to the providers' own hosts, with what they take.
fn clouds() -> Vec<(String, Value)> {
    let prompt = json!([{"role": "user", "content": "Is all well?"}]);
    let claude = |stream: bool| json!({"model": "claude-sonnet-4-5", "anthropic_version": "vertex-2023-10-16", "max_tokens": 50, "messages": prompt, "stream": stream});
    let gpt = |stream: bool| json!({"model": "gpt-5", "messages": prompt, "stream": stream, "stream_options": {"include_usage": true}});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Is all well?"}]}],
        "generationConfig": {"maxOutputTokens": 50}});
    let (anthropic, google) = ("anthropic/models", "google/models/gemini-2.5-flash");
    let studio = "/gemini/v1beta/models/gemini-2.5-flash";
    vec![
        (
            format!("{VERTEX}/{anthropic}/claude-sonnet-4-5:rawPredict"),
            claude(false),
        ),
        (
            format!("{VERTEX}/{anthropic}/claude-sonnet-4-5:streamRawPredict"),
            claude(true),
        ),
        (format!("{VERTEX}/{google}:generateContent"), gemini.clone()),
        (
            format!("{VERTEX}/{google}:streamGenerateContent"),
            gemini.clone(),
        ),
        (format!("{studio}:generateContent"), gemini.clone()),
        (format!("{studio}:streamGenerateContent"), gemini),
        ("/openai/v1/chat/completions".to_owned(), gpt(false)),
        ("/openai/v1/chat/completions".to_owned(), gpt(true)),
        ("/anthropic/v1/messages".to_owned(), claude(true)),
    ]
}

/// Asks with the gateway's key beside that of the cloud, where a client has one of its own.
async fn ask(gateway: &Gateway, who: &str, path: &str, body: &Value) -> Response {
    let request = gateway.client.post(format!("{}{path}", gateway.url));
    let key = format!("Bearer sk-{who}");
    let request = match path.split('/').nth(1) {
        Some("gemini") => request.header("x-goog-api-key", format!("sk-{who}")),
        Some("vertex_ai") => request
            .header("x-litellm-api-key", key)
            .bearer_auth("ya29.own"),
        _ => request.header("x-litellm-api-key", key),
    };
    request.json(body).send().await.unwrap()
}

#[tokio::test]
#[ignore = "needs litellm"]
async fn routes_that_are_passed_through_to_the_clouds_are_limited_and_charged_once() {
    let address = free_address();
    let place = place();
    let daemon = start(&place, &address).await;
    spent_by_bob(&daemon).await;
    // The providers' own hosts, since LiteLLM reads usage by their names.
    let hosts = [
        ("TALLYD_DEADLINE_MS", "5000"),
        ("ANTHROPIC_API_BASE", ""),
        ("OPENAI_API_BASE", ""),
    ];
    let gateway = Gateway::start(&place, &address, &hosts).await;
    for (path, body) in clouds() {
        let response = ask(&gateway, "alice", &path, &body).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {text}");
    }
    let counts = [
        format!("{VERTEX}/anthropic/models/count-tokens:rawPredict"),
        "/gemini/v1beta/models/gemini-2.5-flash:countTokens".to_owned(),
    ];
    for (path, (_, body)) in counts.iter().zip([&clouds()[0], &clouds()[2]]) {
        for who in ["alice", "bob"] {
            assert_eq!(ask(&gateway, who, path, body).await.status(), 200, "{path}");
        }
    }
    agreed(&daemon, &gateway, ALICE).await;
    until("the end of all holds", async || {
        (balance(&daemon, ALICE).await[2] == 0).then_some(())
    })
    .await;

    let before = gateway.told().await;
    for (path, body) in clouds() {
        let response = ask(&gateway, "bob", &path, &body).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(response.headers()["x-should-retry"], "false", "{path}");
        let text = response.text().await.unwrap();
        assert!(text.contains(USED_UP), "{path}: {text}");
    }
    assert_eq!(gateway.told().await, before);
}

/// Hangs up after the first piece of a stream.
async fn hang_up(gateway: &Gateway, path: &str, body: &Value) {
    let mut response = gateway.ask("alice", path, body).await;
    assert_eq!(response.status(), 200, "{path}");
    assert!(response.chunk().await.unwrap().is_some());
}

async fn expired(daemon: &Daemon) -> f64 {
    daemon
        .scrape()
        .await
        .sum("tallyd_quota_expired_unsettled_total", &[])
}

#[tokio::test]
#[ignore = "needs litellm"]
async fn a_client_that_hangs_up_is_charged_for_what_was_told_and_holds_nothing() {
    let address = free_address();
    let place = place();
    let charging = format!("{POLICY}on_expiry = \"charge_estimate\"\n");
    place.write("policy.toml", &charging);
    let daemon = start(&place, &address).await;
    let settings = [
        ("TALLYD_DEADLINE_MS", "5000"),
        ("TALLYD_LEASE_SECONDS", "10"),
    ];
    let gateway = Gateway::start(&place, &address, &settings).await;
    let prompt = json!([{"role": "user", "content": "Is all well?"}]);
    let settled = async |used: u64| {
        until("the settlement", async || {
            let [_, now, held, _] = balance(&daemon, ALICE).await;
            (held == 0 && now > used).then_some(now)
        })
        .await
    };
    let mut used = 0;
    for path in ["/v1/messages", "/chat/completions"] {
        let body =
            json!({"model": "claude-slow", "max_tokens": 50, "messages": prompt, "stream": true});
        hang_up(&gateway, path, &body).await;
        used = settled(used).await;
        let told = gateway.told().await["tokens"]["input"].as_u64().unwrap();
        assert!(used >= told, "{path}: {used} of {told}");
    }
    // In the middle of a silence, before the model has said anything.
    gateway.model_process.signal("STOP");
    let body =
        json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": prompt, "stream": true});
    let asked = gateway.ask("alice", "/v1/messages", &body);
    let held = until("the hold", async || {
        (balance(&daemon, ALICE).await[2] > 0).then_some(())
    });
    tokio::select! {
        response = asked => panic!("the model is asleep: {response:?}"),
        () = held => {}
    }
    gateway.model_process.signal("CONT");
    used = settled(used).await;
    assert_eq!(expired(&daemon).await, 0.0);

    // Of these LiteLLM tells no usage: the lease ends the hold, and the policy says what it costs.
    let body = json!({"model": "claude-slow", "input": "Is all well?", "stream": true, "max_output_tokens": 500});
    hang_up(&gateway, "/v1/responses", &body).await;
    let charged = settled(used).await - used;
    assert!((500..600).contains(&charged), "{charged}");
    assert_eq!(expired(&daemon).await, 1.0);
}

#[tokio::test]
#[ignore = "needs litellm"]
async fn a_fallback_is_charged_once_as_the_model_that_was_asked_for() {
    let address = free_address();
    let place = place();
    let daemon = start(&place, &address).await;
    let patient = [("TALLYD_DEADLINE_MS", "5000")];
    let gateway = Gateway::start(&place, &address, &patient).await;
    for stream in [false, true] {
        // One attempt, and the two that follow it.
        gateway.fail(3).await;
        let body = json!({"model": "claude-opus-4-5", "stream": stream,
            "messages": [{"role": "user", "content": "Is all well?"}]});
        let response = gateway.ask("alice", "/chat/completions", &body).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status == 200 && text.contains("gpt-5"), "{status}: {text}");
    }
    agreed(&daemon, &gateway, ALICE).await;
    let by_model = daemon.json("/api/v1/usage?group_by=model").await;
    let rows = by_model["rows"].as_array().unwrap();
    let models: Vec<_> = rows
        .iter()
        .map(|row| (&row["model"], &row["requests"]))
        .collect();
    assert_eq!(models, [(&json!("claude-opus-4-5"), &json!(2))]);
    assert_eq!(balance(&daemon, ALICE).await[2], 0);

    let body = json!({"model": "claude-sonnet-4-5", "fallbacks": ["gpt-5"],
        "messages": [{"role": "user", "content": "Is all well?"}]});
    let response = gateway.ask("alice", "/chat/completions", &body).await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
#[ignore = "needs litellm"]
async fn a_full_spool_says_how_much_is_lost_and_the_rest_is_charged() {
    let address = free_address();
    let place = place();
    let daemon = start(&place, &address).await;
    let small = [
        ("TALLYD_ON_ERROR", "open"),
        ("TALLYD_DEADLINE_MS", "5000"),
        ("TALLYD_SPOOL_MAX_BYTES", "1000"),
    ];
    let gateway = Gateway::start(&place, &address, &small).await;
    daemon.kill();
    let body = json!({"model": "gpt-5", "messages": [{"role": "user", "content": "Is all well?"}]});
    for _ in 0..6 {
        let response = gateway.ask("alice", "/chat/completions", &body).await;
        assert_eq!(response.status(), 200);
    }
    let lost = until("six calls in the spool or in the log", async || {
        let log = fs::read_to_string(place.path("litellm.log")).unwrap();
        let spool = fs::read_dir(place.path("spool")).unwrap();
        let kept = spool.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        let kept: usize = kept.map(|lines| lines.lines().count()).sum();
        let lost = log.matches("the spool takes no more, ").count();
        let is_told = log.contains(&format!("{lost} lost so far"));
        (kept + lost == 6 && is_told).then_some(lost)
    })
    .await;
    assert!((1..6).contains(&lost), "{lost}");
    let daemon = start(&place, &address).await;
    until("the calls that were kept", async || {
        let usage = daemon.json("/api/v1/usage").await;
        (usage["totals"]["requests"] == 6 - lost).then_some(())
    })
    .await;
}
