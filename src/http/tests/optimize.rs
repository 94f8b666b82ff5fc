//! Advice on models and batches.

use serde_json::json;

use super::*;
use crate::model::price::{EMBEDDED, PriceTable};
use crate::store::Terms;

/// Asks an API that knows prices.
async fn ask(path: &str, body: Value) -> Answer {
    let api = api();
    let prices = PriceTable::parse(EMBEDDED).expect("the embedded table");
    api.reports.terms.store(Arc::new(Terms {
        prices,
        ..Terms::default()
    }));
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request");
    send(&router(Arc::new(api), Router::new()), request).await
}

#[tokio::test]
async fn a_complexity_is_answered_with_a_model() {
    let body = json!({"task": {"complexity": "simple"}});
    let answer = ask("/api/v1/optimize/model", body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({
            "model": "claude-haiku-5-5", "reason": null,
            "complexity": "simple", "rule": "as_stated",
            "provider": "anthropic", "scope": "base",
            "saving_usd": null, "current": null,
            "candidates": [
                {"model": "claude-haiku-5-5", "allowed": true, "input_usd_per_million": "0.10",
                 "output_usd_per_million": "0.50", "cost_usd": null},
                {"model": "claude-haiku-4-5", "allowed": true, "input_usd_per_million": "1.00",
                 "output_usd_per_million": "5.00", "cost_usd": null},
            ],
        })
    );
}

#[tokio::test]
async fn sizes_are_judged_and_priced_at_the_endpoint_in_use() {
    let body = json!({
        "task": {"context_tokens": 20_000, "output_tokens": 300, "cache_read_tokens": 18_000},
        "model": "us.anthropic.claude-opus-4-8",
    });
    let answer = ask("/api/v1/optimize/model", body).await.json();
    let told = ["model", "rule", "provider", "scope", "saving_usd"].map(|key| answer[key].clone());
    assert_eq!(
        told,
        [
            "claude-haiku-5-5",
            "simple_by_size",
            "bedrock",
            "us",
            "0.028567"
        ]
    );
    assert_eq!(answer["current"]["cost_usd"], "0.02915");
}

#[tokio::test]
async fn requests_become_batches_with_both_prices() {
    let request = |id: &str, temperature: f64| {
        json!({"id": id, "model": "claude-haiku-4-5", "bytes": 900,
               "tokens": {"input": 1_000, "output": 100},
               "parameters": {"temperature": temperature, "max_tokens": 50}})
    };
    let body = json!({"requests": [
        request("a", 0.0), request("b", 1.0), request("c", 0.0),
        {"model": "us.anthropic.claude-haiku-4-5"},
    ]});
    let answer = ask("/api/v1/optimize/batch", body).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    let first = &answer["batches"][0];
    assert_eq!(
        *first,
        json!({
            "provider": "anthropic", "scope": "base", "model": "claude-haiku-4-5",
            "parameters": {"max_tokens": 50, "temperature": 0.0},
            "requests": ["a", "c"], "bytes": 1_800,
            "cost_usd": "0.003", "batch_cost_usd": "0.0015", "saving_usd": "0.0015",
            "limits": {"least_requests": 1, "most_requests": 100_000, "most_bytes": 256_000_000},
        })
    );
    assert_eq!(answer["batches"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        answer["left_out"],
        json!([{"id": "3", "reason": "fewer_than_a_batch"}])
    );
}

#[tokio::test]
async fn what_cannot_be_understood_is_named() {
    let questions = [
        ("model", json!({})),
        ("model", json!({"task": {}})),
        ("model", json!({"task": "simple"})),
        ("model", json!({"task": {"complexity": "hard"}})),
        (
            "model",
            json!({"task": {"context_tokens": -1, "output_tokens": 1}}),
        ),
        (
            "model",
            json!({"task": {"context_tokens": 1, "output_tokens": 1, "cache_read_tokens": 2}}),
        ),
        (
            "model",
            json!({"task": {"complexity": "simple"}, "role": "developer"}),
        ),
        (
            "batch",
            json!({"requests": [{"model": "claude-haiku-4-5"}, {"id": "x"}]}),
        ),
        (
            "batch",
            json!({"requests": [{"model": "m", "tokens": {"input": "many"}}]}),
        ),
        ("batch", json!({"requests": ["all of them"]})),
        ("batch", json!([])),
    ];
    let mut details = Vec::new();
    for (route, body) in questions {
        let answer = ask(&format!("/api/v1/optimize/{route}"), body).await;
        assert_eq!(answer.problem().0, 400);
        details.push(answer.json()["detail"].as_str().expect("a text").to_owned());
    }
    assert_eq!(
        details,
        [
            "task: is required",
            "task: needs complexity, or context_tokens and output_tokens",
            "task: must be an object, got a string",
            "task.complexity: must be simple, medium or complex",
            "task.context_tokens: must be between 0 and 9007199254740992, got -1",
            "task.context_tokens: must not be less than cache_read_tokens and \
             cache_write_tokens, its parts",
            "role: there is no policy that knows roles",
            "requests[1].model: is required",
            "requests[0].tokens.input: must be a whole number, got a string",
            "requests[0]: must be an object, got a string",
            "the body must be a JSON object with a list of requests",
        ]
    );
}

#[tokio::test]
async fn nothing_to_batch_makes_no_batch() {
    let answer = ask("/api/v1/optimize/batch", json!({"requests": []})).await;
    assert_eq!(answer.json(), json!({"batches": [], "left_out": []}));
}
