//! Any bytes as a body of the usage API: an answer or a fault, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::http::delivery::{Context, Door};
use tallyd::http::elements::Layout;
use tallyd::http::usage_events::Writing;
use tallyd::http::{litellm, usage_events};
use tallyd::model::access::Binding;
use tallyd::model::names::ModelNames;

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let (names, binding) = (ModelNames::default(), Binding::default());
    let context = Context {
        names: &names,
        binding: &binding,
        now: "2026-11-22T04:00:00Z".parse().expect("a time"),
        door: Door::Usage,
    };
    let batch = match first % 5 {
        0 => usage_events::parse(body, &Writing::Records(Layout::Json), context),
        1 => usage_events::parse(body, &Writing::Records(Layout::Lines), context),
        2 => usage_events::parse(body, &Writing::Events, context),
        3 => litellm::parse(body, Layout::Json, context),
        _ => litellm::parse(body, Layout::Lines, context),
    };
    if let Ok(batch) = batch {
        assert_eq!(batch.records.len(), batch.indices.len());
    }
});
