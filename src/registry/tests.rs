use proptest::prelude::*;

use super::*;
use crate::model::catalogue::{
    ACTIVE_USERS, API_REQUEST_DURATION, API_REQUESTS, COMMITS, COST, DISK_UTILIZATION, EVENTS,
    REGISTRY_OVERFLOW, REGISTRY_SERIES, TOKENS,
};

/// Series of one family as text and number.
fn shown(registry: &Registry, name: &str) -> Vec<(String, u128)> {
    let families = registry.snapshot();
    let Some(family) = families.iter().find(|family| family.desc.name == name) else {
        return Vec::new();
    };
    let number = |value| match value {
        Value::Counter(value) => value,
        Value::Gauge(_) | Value::Histogram(_) => panic!("not a counter"),
    };
    family
        .iter()
        .map(|(text, value)| (text.to_owned(), number(value)))
        .collect()
}

fn disk(mountpoint: &str, value: f64) -> Sample {
    Sample {
        desc: DISK_UTILIZATION,
        labels: vec![mountpoint.to_owned()],
        value,
    }
}

#[test]
fn labels_that_join_to_the_same_text_are_two_series() {
    let registry = Registry::default();
    registry.add(COMMITS, &["ab", "c"], 1);
    registry.add(COMMITS, &["a", "bc"], 2);
    registry.add(COMMITS, &["a\",team=\"bc", ""], 4);
    assert_eq!(registry.counter(COMMITS, &["ab", "c"]), Some(1));
    assert_eq!(registry.counter(COMMITS, &["a", "bc"]), Some(2));
    assert_eq!(registry.counter(COMMITS, &["a\",team=\"bc", ""]), Some(4));
    assert_eq!(registry.counter(COMMITS, &["abc", ""]), None);
}

#[test]
fn a_user_is_renamed_and_no_sum_changes() {
    let registry = Registry::default();
    registry.add(COST, &["ada", "t", "p", "m"], 1);
    registry.add(COST, &["ada \"x\"", "ada", "p", "m"], 2);
    registry.add(COST, &["forgotten-1", "t", "p", "m"], 4);
    assert_eq!(shown(&registry, COST.name).len(), 3);
    registry.rename_user("ada", "forgotten-1");
    registry.add(COST, &["bob", "t", "p", "m"], 8);
    let series = |user: &str, team: &str, value: u128| {
        let labels = format!("user=\"{user}\",team=\"{team}\",provider=\"p\",model=\"m\"");
        (format!("{}{{{labels}}} ", COST.name), value)
    };
    assert_eq!(
        shown(&registry, COST.name),
        [
            series("ada \\\"x\\\"", "ada", 2),
            series("bob", "t", 8),
            series("forgotten-1", "t", 5),
        ]
    );
}

#[test]
fn series_come_sorted_however_they_arrived() {
    let registry = Registry::default();
    registry.add(COMMITS, &["zoe", "t"], 1);
    registry.add(COMMITS, &["bob", "t"], 2);
    let line =
        |user: &str| format!("claude_code_commit_count_total{{user=\"{user}\",team=\"t\"}} ");
    let first = vec![(line("bob"), 2), (line("zoe"), 1)];
    assert_eq!(shown(&registry, COMMITS.name), first);
    registry.add(COMMITS, &["kim", "t"], 3);
    let second = vec![(line("bob"), 2), (line("kim"), 3), (line("zoe"), 1)];
    assert_eq!(shown(&registry, COMMITS.name), second);
}

#[test]
fn quotes_backslashes_and_line_breaks_are_escaped() {
    let registry = Registry::default();
    registry.add(EVENTS, &["a\"b\\c\nd"], 1);
    let text = r#"claude_code_events_total{event="a\"b\\c\nd"} "#;
    assert_eq!(shown(&registry, EVENTS.name), [(text.to_owned(), 1)]);
}

#[test]
fn money_beyond_64_bits_is_kept_exactly() {
    let registry = Registry::default();
    let labels = ["a", "t", "p", "m"];
    registry.add(COST, &labels, u128::from(u64::MAX));
    registry.add(COST, &labels, 3);
    let sum = u128::from(u64::MAX) + 3;
    assert_eq!(registry.counter(COST, &labels), Some(sum));
}

#[test]
fn a_raised_counter_never_falls() {
    let registry = Registry::default();
    registry.raise(EVENTS, &["x"], 7);
    registry.raise(EVENTS, &["x"], 5);
    assert_eq!(registry.counter(EVENTS, &["x"]), Some(7));
}

#[test]
fn a_series_looked_up_once_is_the_same_series() {
    let registry = Registry::default();
    let id = registry.series(EVENTS, &["x"]).unwrap();
    assert_eq!(registry.counter(EVENTS, &["x"]), Some(0));
    registry.add(EVENTS, &["y"], 10);
    registry.add_to(id, 1);
    registry.add(EVENTS, &["x"], 2);
    assert_eq!(registry.counter(EVENTS, &["x"]), Some(3));
    assert_eq!(registry.series(EVENTS, &["x"]), Some(id));
}

#[test]
fn an_observation_on_a_bound_belongs_to_its_bucket() {
    let registry = Registry::default();
    let labels = ["p", "m"];
    for value in [0.1, 0.100_1, 301.0, -1.0, f64::NAN, f64::INFINITY] {
        registry.observe(API_REQUEST_DURATION, &labels, value);
    }
    let mut counts = vec![0; 19];
    counts[0] = 1;
    counts[1] = 1;
    counts[18] = 1;
    let expected = Histogram {
        counts,
        sum: 301_200,
    };
    let found = registry.histogram(API_REQUEST_DURATION, &labels);
    assert_eq!(found, Some(expected));
}

#[test]
fn a_restored_histogram_goes_on() {
    let registry = Registry::default();
    let labels = ["p", "m"];
    registry.restore_histogram(API_REQUEST_DURATION, &labels, &[2; 25], 1_500);
    registry.observe(API_REQUEST_DURATION, &labels, 0.05);
    let mut counts = vec![2; 19];
    counts[0] = 3;
    counts[18] = 14;
    let expected = Histogram { counts, sum: 1_550 };
    let found = registry.histogram(API_REQUEST_DURATION, &labels);
    assert_eq!(found, Some(expected));
}

#[test]
fn a_disk_that_vanished_vanishes_and_others_stay() {
    let registry = Registry::default();
    registry.replace("system", vec![disk("/", 0.5), disk("/usb", 0.1)]);
    registry.replace("other owner", vec![disk("/else", 0.2)]);
    registry.replace("system", vec![disk("/", 0.6), disk("/home", 0.3)]);
    let gauge = |mountpoint| registry.gauge(DISK_UTILIZATION, &[mountpoint]);
    assert_eq!(gauge("/"), Some(0.6));
    assert_eq!(gauge("/usb"), None);
    assert_eq!(gauge("/home"), Some(0.3));
    assert_eq!(gauge("/else"), Some(0.2));
    registry.replace("system", Vec::new());
    assert_eq!(gauge("/home"), None);
    assert_eq!(registry.snapshot()[0].series(), 1);
}

#[test]
fn users_beyond_the_bound_are_summed_under_other() {
    let registry = Registry::new(2);
    for user in ["a", "b", "c", "d", "a"] {
        registry.add(COMMITS, &[user, "red"], 1);
    }
    registry.add(COMMITS, &["e", "blue"], 1);
    let line =
        |user, team| format!("claude_code_commit_count_total{{user=\"{user}\",team=\"{team}\"}} ");
    let expected = vec![
        (line("a", "red"), 2),
        (line("b", "red"), 1),
        (line("other", "other"), 1),
        (line("other", "red"), 2),
    ];
    assert_eq!(shown(&registry, COMMITS.name), expected);
    assert_eq!(
        registry.counter(REGISTRY_OVERFLOW, &[COMMITS.name]),
        Some(3)
    );
}

#[test]
fn families_without_users_fold_all_labels() {
    let registry = Registry::new(1);
    registry.add(API_REQUESTS, &["p", "m", "ok"], 1);
    registry.add(API_REQUESTS, &["p", "n", "ok"], 2);
    registry.add(API_REQUESTS, &["p", "o", "error"], 3);
    let folded = registry.counter(API_REQUESTS, &["other", "other", "other"]);
    assert_eq!(folded, Some(5));
    registry.observe(API_REQUEST_DURATION, &["p", "m"], 1.0);
    registry.observe(API_REQUEST_DURATION, &["p", "n"], 1.0);
    let folded = registry.histogram(API_REQUEST_DURATION, &["other", "other"]);
    assert_eq!(folded.map(|histogram| histogram.sum), Some(1_000));
}

#[test]
fn gauges_beyond_the_bound_are_dropped_and_counted() {
    let registry = Registry::new(1);
    registry.set(ACTIVE_USERS, &["5m"], 1.0);
    registry.set(ACTIVE_USERS, &["1h"], 2.0);
    assert_eq!(registry.gauge(ACTIVE_USERS, &["5m"]), Some(1.0));
    assert_eq!(registry.gauge(ACTIVE_USERS, &["1h"]), None);
    let overflow = registry.counter(REGISTRY_OVERFLOW, &[ACTIVE_USERS.name]);
    assert_eq!(overflow, Some(1));
}

#[test]
fn the_registry_tells_its_own_size() {
    let registry = Registry::default();
    registry.add(COMMITS, &["a", "t"], 1);
    registry.add(COMMITS, &["b", "t"], 1);
    let _ = registry.snapshot();
    assert_eq!(registry.gauge(REGISTRY_SERIES, &[COMMITS.name]), Some(2.0));
    assert_eq!(registry.gauge(REGISTRY_SERIES, &[EVENTS.name]), None);
}

#[test]
fn adding_from_many_threads_loses_nothing() {
    let registry = Registry::new(50);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let registry = &registry;
            scope.spawn(move || {
                for round in 0..1_000_u32 {
                    let user = format!("u{}", (round * (thread + 1)) % 100);
                    registry.add(COMMITS, &[&user, "t"], 1);
                    if round % 100 == 0 {
                        let _ = registry.snapshot();
                    }
                }
            });
        }
    });
    let sum: u128 = shown(&registry, COMMITS.name).iter().map(|s| s.1).sum();
    assert_eq!(sum, 4_000);
}

proptest! {
    #[test]
    fn sums_stay_true_and_the_bound_holds(
        bound in 0_usize..20,
        facts in prop::collection::vec(("[a-f]{1,2}", "[a-c]", 0_u64..1_000), 0..200),
    ) {
        let registry = Registry::new(bound);
        for (user, kind, amount) in &facts {
            let labels = [user.as_str(), "team", "p", "m", kind.as_str()];
            registry.add(TOKENS, &labels, u128::from(*amount));
        }
        let series = shown(&registry, TOKENS.name);
        let sum: u128 = series.iter().map(|s| s.1).sum();
        prop_assert_eq!(sum, facts.iter().map(|fact| u128::from(fact.2)).sum::<u128>());
        prop_assert!(series.len() <= bound + (bound / 10).max(1) + 1);
        prop_assert!(series.is_sorted());
    }

    #[test]
    fn series_that_come_and_go_are_shown_sorted_with_their_own_values(
        rounds in prop::collection::vec(
            prop::collection::btree_map("[a-c]{0,3}", 0_u32..1_000, 0..8),
            1..12,
        ),
    ) {
        let registry = Registry::default();
        for disks in rounds {
            let samples = disks.iter().map(|(name, value)| disk(name, f64::from(*value)));
            registry.replace("system", samples.collect());
            let families = registry.snapshot();
            let found = families.iter().find(|f| f.desc.name == DISK_UTILIZATION.name);
            let shown: Vec<_> = found
                .iter()
                .flat_map(|family| family.iter())
                .map(|(text, value)| (text.to_owned(), value))
                .collect();
            let line = |name| format!("{}{{mountpoint=\"{name}\"}} ", DISK_UTILIZATION.name);
            let mut expected: Vec<_> = disks
                .iter()
                .map(|(name, value)| (line(name), Value::Gauge(f64::from(*value))))
                .collect();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(shown, expected);
        }
    }
}
