use std::sync::Arc;

use super::*;
use crate::model::policy::{Field, Policy, Subject, Usage};
use crate::model::quota::Book;

const POLICY: &str = r#"
timezone = "Asia/Tokyo"

[[limits]]
name = "day"
per = ["user"]
unit = "tokens"
limit = 1_000
window = "day"

[[limits]]
name = "trial"
per = ["user"]
unit = "tokens"
limit = 10
window = "day"
mode = "shadow"
"#;

/// Six in the evening in Tokyo: three quarters of the day have passed.
const EVENING: &str = "2026-11-22T09:00:00Z";
/// Six in the morning of the next day.
const MORNING: &str = "2026-11-22T21:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// How things stand after Alice used so many tokens at the time.
fn used(tokens: i64, now: &str) -> Survey {
    let policy = Arc::new(Policy::parse(POLICY).unwrap());
    let mut book = Book::new(policy.clone(), 10);
    let alice = Subject::default().with(Field::User, "alice");
    let usage = Usage {
        input: tokens,
        ..Usage::default()
    };
    book.post(&alice, &usage, at(now), at(now));
    Survey {
        policy,
        version: 1,
        standings: book.all(at(now)),
        open: 0,
    }
}

fn stand(changes: &Changes) -> BTreeMap<String, Warned> {
    let begun = changes.begun.iter().cloned();
    begun
        .map(|warned| (warned.transition.alarm.name.clone(), warned))
        .collect()
}

fn said(changes: &Changes) -> Vec<(&str, State, &str)> {
    let told = changes.transitions.iter();
    told.map(|one| (one.alarm.name.as_str(), one.to, one.reason.as_str()))
        .collect()
}

#[test]
fn a_crossing_is_told_once_with_the_pace() {
    let first = round(&used(820, EVENING), &BTreeMap::new(), at(EVENING));
    let reason = "alice used 82 % of the limit day: 820 of 1,000 tokens, at this pace 109 % by \
                  2026-11-23 00:00 (Asia/Tokyo).";
    assert_eq!(said(&first), [("quota:day/alice/80", State::Alarm, reason)]);
    let day = || Arc::from("day");
    let counted = [(day(), Level::Projection), (day(), Level::Percent(80))];
    assert_eq!(first.counted, counted);
    let again = round(&used(830, EVENING), &stand(&first), at(EVENING));
    assert_eq!(again, Changes::default());
}

#[test]
fn the_next_level_is_told_and_full_is_critical() {
    let first = round(&used(820, EVENING), &BTreeMap::new(), at(EVENING));
    let full = round(&used(1_000, EVENING), &stand(&first), at(EVENING));
    let [told] = &full.transitions[..] else {
        panic!("{full:?}");
    };
    assert_eq!(told.alarm.name, "quota:day/alice/100");
    assert_eq!(told.alarm.severity, "critical");
    assert_eq!((told.value, told.alarm.threshold), (Some(1_000.0), 1_000.0));
}

#[test]
fn a_window_that_ended_is_told_before_the_next_crossing() {
    let first = round(&used(820, EVENING), &BTreeMap::new(), at(EVENING));
    let next = round(&used(950, MORNING), &stand(&first), at(MORNING));
    let states: Vec<_> = next
        .transitions
        .iter()
        .map(|one| (one.alarm.name.as_str(), one.to))
        .collect();
    assert_eq!(
        states,
        [
            ("quota:day/alice/80", State::Ok),
            ("quota:day/alice/projection", State::Ok),
            ("quota:day/alice/90", State::Alarm),
        ]
    );
}

#[test]
fn a_warning_ends_when_there_is_room_again() {
    let first = round(&used(820, EVENING), &BTreeMap::new(), at(EVENING));
    let near = round(&used(760, EVENING), &stand(&first), at(EVENING));
    assert_eq!(near, Changes::default());
    let less = round(&used(700, EVENING), &stand(&first), at(EVENING));
    let room = "There is room again.";
    assert_eq!(said(&less), [("quota:day/alice/80", State::Ok, room)]);
}

#[test]
fn half_of_a_limit_too_early_is_a_projection() {
    let noon = "2026-11-22T03:00:00Z";
    let changes = round(&used(600, noon), &BTreeMap::new(), at(noon));
    let reason = "alice is likely to reach the limit day: 600 of 1,000 tokens, at this pace \
                  120 % by 2026-11-23 00:00 (Asia/Tokyo).";
    let told = [("quota:day/alice/projection", State::Alarm, reason)];
    assert_eq!(said(&changes), told);
    let early = "2026-11-21T18:00:00Z";
    let changes = round(&used(600, early), &BTreeMap::new(), at(early));
    assert_eq!(changes, Changes::default());
}
