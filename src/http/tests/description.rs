//! The OpenAPI document describes what the router does.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{get, open_router, post, send};
use crate::http::routes;

async fn document() -> Value {
    get("/api/v1/openapi.json").await.json()
}

#[tokio::test]
async fn every_route_is_described_and_every_description_has_a_route() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routed: BTreeSet<&str> = routes().into_iter().map(|(path, _)| path).collect();
    assert_eq!(described, routed);
    for (path, operations) in paths {
        for method in operations.as_object().expect("operations").keys() {
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(
                    path.replace("{user}", "alice")
                        .replace("{name}", "chargeback"),
                )
                .body(Body::empty());
            let answer = send(&open_router(), request.expect("a request")).await;
            // A route may not know what a path names; the fallback knows no path at all.
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let fallbacks = [json!("not_found"), json!("method_not_allowed")];
            assert!(!fallbacks.contains(&body["code"]), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_reference_and_operation_id_is_good() {
    let document = document().await;
    let mut names = BTreeSet::new();
    let paths = document["paths"].as_object().expect("paths");
    for operation in paths
        .values()
        .flat_map(|path| path.as_object().expect("operations").values())
    {
        let name = operation["operationId"].as_str().expect("an id");
        assert!(names.insert(name), "{name} is used once");
        assert!(
            operation["summary"].is_string() && operation["tags"].is_array(),
            "{name}"
        );
    }
    let mut waiting = vec![&document];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a local reference");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                waiting.extend(members.values());
            }
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_required_fields_of_a_record_are_described() {
    let document = document().await;
    let record = &document["components"]["schemas"]["UsageRecord"];
    assert_eq!(record["required"], json!(["id", "at", "model", "tokens"]));
}

#[tokio::test]
async fn the_examples_are_accepted() {
    let document = document().await;
    let schemas = &document["components"]["schemas"];
    let litellm = "/api/v1/usage/litellm";
    let content = &document["paths"][litellm]["post"]["requestBody"]["content"];
    let events = "/api/v1/usage/events";
    let examples = [
        (
            events,
            "application/json",
            &schemas["UsageRecord"]["example"],
        ),
        (
            events,
            "application/cloudevents+json",
            &schemas["CloudEvent"]["example"],
        ),
        (
            litellm,
            "application/json",
            &content["application/json"]["example"],
        ),
    ];
    for (path, media_type, example) in examples {
        let answer = post(path, &[("content-type", media_type)], example.to_string()).await;
        assert_eq!(
            answer.json(),
            json!({"accepted": 1, "duplicates": 0, "rejected": []}),
            "{path} {media_type}"
        );
    }
}
