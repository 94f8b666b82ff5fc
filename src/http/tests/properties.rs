//! Whatever comes in, what goes out is an answer.

use axum::body::Body;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{gzip, open_router, send};
use crate::http::delivery::{Context, Door};
use crate::http::elements::Layout;
use crate::http::{litellm, usage_events};
use crate::model::access::Binding;
use crate::model::names::ModelNames;

fn context<'c>(names: &'c ModelNames, binding: &'c Binding) -> Context<'c> {
    Context {
        names,
        binding,
        now: super::now(),
        door: Door::Usage,
    }
}

/// Values that writers get wrong.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(json!("2026-11-22T03:06:46Z")),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let name = prop_oneof![
            Just("tokens"),
            Just("input"),
            Just("metadata"),
            Just("usage_object"),
            Just("id"),
            Just("at"),
            Just("user"),
            Just("model"),
            Just("usage"),
            Just("subject"),
            Just("data"),
            Just("startTime"),
            Just("endTime"),
            Just("prompt_tokens"),
            Just("cache_write"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_taken_or_named(value in any_json()) {
        let (names, binding) = (ModelNames::default(), Binding::default());
        let body = value.to_string().into_bytes();
        let elements = value.as_array().map_or(1, Vec::len);
        for layout in [Layout::Json, Layout::Lines] {
            let writing = usage_events::Writing::Records(layout);
            let batches = [
                usage_events::parse(&body, &writing, context(&names, &binding)),
                usage_events::parse(&body, &usage_events::Writing::Events, context(&names, &binding)),
                litellm::parse(&body, layout, context(&names, &binding)),
            ];
            for batch in batches.into_iter().flatten() {
                prop_assert_eq!(batch.records.len(), batch.indices.len());
                let told = batch.records.len() + batch.rejected.len()
                    + usize::try_from(batch.skipped).expect("few");
                prop_assert!(told == elements || told == 1);
            }
        }
    }

    #[test]
    fn any_bytes_are_no_error_of_ours(body: Vec<u8>, media_type in 0..5_usize, packed: bool) {
        let media_types = [
            "application/json", "application/x-ndjson", "application/cloudevents+json",
            "application/cloudevents-batch+json", "text/plain",
        ];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        for path in ["/api/v1/usage/events", "/api/v1/usage/litellm", "/api/v1/store/backup"] {
            let request = axum::http::Request::post(path)
                .header("content-type", media_types[media_type])
                .header("content-encoding", if packed { "gzip" } else { "identity" })
                .body(Body::from(if packed { gzip(&body) } else { body.clone() }))
                .expect("a request");
            let answer = runtime.block_on(send(&open_router(), request));
            prop_assert!(answer.status < 500);
        }
    }

    #[test]
    fn any_query_is_no_error_of_ours(query in "[ -~]{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        for path in ["/api/v1/usage", "/api/v1/usage/control", "/api/v1/users/a/usage"] {
            let Ok(request) = axum::http::Request::get(format!("{path}?{query}")).body(Body::empty()) else {
                continue;
            };
            let answer = runtime.block_on(send(&open_router(), request));
            prop_assert!(answer.status < 500);
        }
    }
}
