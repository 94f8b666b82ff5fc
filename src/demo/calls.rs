//! Calls of people who work through a gateway alone: it asks before each, and settles after it.

use std::ops::Range;

use serde_json::{Value, json};

use super::company::{MARK, Person};
use super::wire;
use super::work::Session;

/// Claude Code's `max_tokens`.
const MAX_OUTPUT: u64 = 32_000;

/// What a gateway asks before a call, and says after it.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) reservation: Value,
    pub(super) settlement: Value,
}

/// The calls of turns that a gateway asks for, with what they used.
pub(super) fn calls(who: &Person, session: &Session, turns: Range<usize>) -> Vec<Call> {
    let records = wire::records(who, session, turns).into_iter();
    let call = |record: Value| {
        let tokens = &record["tokens"];
        let count = |kind: &str| tokens[kind].as_u64().unwrap_or(0);
        Call {
            id: record["id"].as_str().unwrap_or_default().to_owned(),
            reservation: json!({
                "id": record["id"], "model": record["model"], "provider": record["provider"],
                "subject": {"user": who.name, "team": who.team, "project": who.project,
                    "organization": MARK, "cost_center": who.cost_center},
                "estimate": {"input_tokens": count("input") + count("cache_write_5m"),
                    "cached_input_tokens": count("cache_read"), "max_output_tokens": MAX_OUTPUT},
            }),
            settlement: json!({
                "tokens": tokens, "outcome": record["outcome"], "occurred_at": record["at"],
                "request_id": record["request_id"], "session": record["session"],
                "duration_ms": record["duration_ms"], "ttft_ms": record["ttft_ms"],
            }),
        }
    };
    records.map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::super::company::{Way, company};
    use super::super::random::Random;
    use super::super::work;
    use super::*;

    #[test]
    fn a_call_holds_what_it_may_use_and_settles_what_it_used() {
        let people = company(10, 1);
        let person = people
            .iter()
            .position(|who| who.way == Way::Gateway)
            .unwrap();
        let start = "2026-11-22T12:00:00Z".parse().unwrap();
        let session = work::session(&people[person], person, start, &mut Random::of(1, &[]));
        let turns = 0..session.turns.len();
        let records = wire::records(&people[person], &session, turns.clone());
        let calls = calls(&people[person], &session, turns);
        assert_eq!(calls.len(), records.len());
        for (call, record) in calls.iter().zip(&records) {
            let estimate = &call.reservation["estimate"];
            let count = |kind: &str| record["tokens"][kind].as_u64().unwrap_or(0);
            assert_eq!(call.reservation["id"], record["id"]);
            assert_eq!(estimate["cached_input_tokens"], count("cache_read"));
            assert!(count("output") <= MAX_OUTPUT);
            assert_eq!(call.settlement["tokens"], record["tokens"]);
        }
    }
}
