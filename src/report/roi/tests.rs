use proptest::prelude::*;

use super::*;
use crate::config::{Config, Environment};
use crate::model::business::{MICRO, Span};

fn business(text: &str) -> Business {
    let config = Config::parse(&format!("[business]\n{text}"), &Environment::default());
    config.unwrap_or_else(|faults| panic!("{faults}")).business
}

/// Ten hours at the keyboard, nine pull requests, four fixes of which three were merged.
fn measured() -> Measured {
    Measured {
        people: people("p", 10),
        user_ms: 10 * 3_600_000,
        machine_ms: 99 * 3_600_000,
        pull_requests: 9,
        commits: 20,
        fixes_with_claude: 4,
        merged_fixes_with_claude: 3,
        reviews: 2,
        ..Measured::default()
    }
}

fn people(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

const DOLLAR: i128 = 1_000_000_000_000;

/// Name, whether it counts, minutes at the low end, and why not.
fn told(categories: &[Category]) -> Vec<(&'static str, bool, Option<i128>, &'static str)> {
    let told = categories.iter().map(|one| {
        let low = one.time.map(|time| time.low / MICRO);
        (one.name, one.counts, low, one.reason)
    });
    told.collect()
}

const NO_SOURCE: &str = "not measured: nothing tells of it";
const UNSTATED: &str = "not measured: no assumption is stated";

#[test]
fn without_assumptions_nothing_is_worth_anything() {
    let business = business("events = true\n");
    let categories = categories(&measured(), &business);
    assert_eq!(
        told(&categories),
        [
            ("development", false, None, UNSTATED),
            ("bug_fixing", false, None, UNSTATED),
            ("code_review", false, None, UNSTATED),
            ("operations", false, None, UNSTATED),
        ]
    );
    assert_eq!(
        worth(&categories, &business.assumptions, PicoUsd(DOLLAR)),
        Worth::default()
    );
}

#[test]
fn time_at_the_keyboard_is_not_added_to_what_was_done_in_it() {
    let business = business(
        "value_from = \"active_time\"\nevents = true\nhourly_rate = 100\n\
         minutes_saved_per_active_minute = {low = -0.1, mid = 0.2, high = 0.5}\n\
         minutes_saved_per_bug_fixed = {low = 10, high = 60}\n",
    );
    let categories = categories(&measured(), &business);
    let contained = "the time at the keyboard contains it already";
    assert_eq!(
        told(&categories),
        [
            ("development", true, Some(-60), ""),
            ("bug_fixing", false, Some(40), contained),
            ("code_review", false, None, UNSTATED),
            ("operations", false, None, UNSTATED),
        ]
    );
    let worth = worth(&categories, &business.assumptions, PicoUsd(50 * DOLLAR));
    let span = |low, mid, high| {
        Some(Span {
            low,
            mid: Some(mid),
            high,
        })
    };
    assert_eq!(
        worth,
        Worth {
            time: span(-60 * MICRO, 120 * MICRO, 300 * MICRO),
            value: span(-100 * DOLLAR, 100 * DOLLAR, 500 * DOLLAR),
            roi: span(-3 * MICRO, MICRO, 9 * MICRO),
        }
    );
}

#[test]
fn a_merged_fix_counts_as_a_fix_and_not_as_a_pull_request_too() {
    let business = business(
        "events = true\naccepted_unit = \"pull_request\"\n\
         minutes_saved_per_accepted_unit = {low = 30, high = 60}\n\
         review_minutes_per_accepted_unit = 10\n\
         minutes_saved_per_bug_fixed = {low = 50, high = 60}\n\
         minutes_saved_per_code_review = {low = 5, high = 6}\n",
    );
    let categories = categories(&measured(), &business);
    assert_eq!(
        told(&categories),
        [
            // Six pull requests that were no fixes.
            ("development", true, Some(6 * 20), ""),
            ("bug_fixing", true, Some(4 * 50), ""),
            ("code_review", true, Some(2 * 5), ""),
            ("operations", false, None, UNSTATED),
        ]
    );
    let worth = worth(&categories, &business.assumptions, PicoUsd(DOLLAR));
    assert_eq!(
        worth.time.map(|time| (time.low / MICRO, time.mid)),
        Some((330, None))
    );
    assert_eq!(worth.value, None, "no hourly rate is stated");
}

#[test]
fn commits_hold_those_of_fixes_already() {
    let business = business(
        "events = true\naccepted_unit = \"commit\"\n\
         minutes_saved_per_accepted_unit = {low = 1, high = 2}\n\
         minutes_saved_per_bug_fixed = {low = 50, high = 60}\n",
    );
    let told = told(&categories(&measured(), &business));
    let contained = "the accepted units contain it already";
    assert_eq!(told[0], ("development", true, Some(20), ""));
    assert_eq!(told[1], ("bug_fixing", false, Some(200), contained));
}

#[test]
fn what_nothing_tells_of_is_not_measured_and_not_zero() {
    let business = business("minutes_saved_per_operation = {low = 1, high = 2}\n");
    let categories = categories(
        &Measured {
            reviews: 0,
            ..measured()
        },
        &business,
    );
    let told = told(&categories);
    assert_eq!(told[1], ("bug_fixing", false, None, NO_SOURCE));
    assert_eq!(told[2], ("code_review", false, None, NO_SOURCE));
    assert_eq!(told[3], ("operations", false, None, NO_SOURCE));
    assert_eq!(categories[3].quantity, None);
}

fn teams(sizes: &[(&str, usize)]) -> BTreeMap<String, Measured> {
    let team = |(name, size): &(&str, usize)| {
        let measured = Measured {
            people: people(name, *size),
            commits: 1,
            ..Measured::default()
        };
        ((*name).to_owned(), measured)
    };
    sizes.iter().map(team).collect()
}

fn groups(sizes: &[(&str, usize)]) -> Vec<(String, u64)> {
    let groups = grouped(&teams(sizes)).into_iter();
    let told = groups.map(|group| (group.name, group.measured.headcount()));
    told.collect()
}

#[test]
fn small_teams_are_told_together_or_not_at_all() {
    let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        let list = list.iter();
        list.map(|(name, size)| ((*name).to_owned(), *size))
            .collect()
    };
    assert_eq!(
        groups(&[("a", 5), ("b", 9), ("c", 3), ("d", 2), ("", 4)]),
        named(&[("a", 5), ("b", 9), (REST, 9)])
    );
    // The rest would be the whole less the teams: one small team takes a large one with it.
    assert_eq!(
        groups(&[("a", 5), ("b", 9), ("c", 1)]),
        named(&[("b", 9), (REST, 6)])
    );
    assert_eq!(groups(&[("a", 5), ("b", 6)]), named(&[("a", 5), ("b", 6)]));
    assert_eq!(groups(&[("a", 2), ("b", 2)]), named(&[(REST, 4)]));
    assert_eq!(groups(&[]), []);
}

proptest! {
    #[test]
    fn no_group_of_less_than_five_can_be_worked_out(
        sizes in prop::collection::vec(0_usize..9, 0..8),
    ) {
        let names: Vec<String> = (0..sizes.len()).map(|number| format!("t{number}-")).collect();
        let list: Vec<(&str, usize)> = names.iter().map(String::as_str).zip(sizes.iter().copied()).collect();
        let groups = groups(&list);
        let whole: usize = sizes.iter().sum();
        prop_assert_eq!(groups.iter().map(|(_, size)| *size).sum::<u64>(), whole as u64);
        let told = groups.iter().filter(|(_, size)| *size >= SMALLEST_GROUP);
        let left = whole as u64 - told.map(|(_, size)| size).sum::<u64>();
        prop_assert!(left == 0 || left == whole as u64, "{:?}", groups);
    }

    #[test]
    fn teams_add_up_to_the_whole(
        sizes in prop::collection::vec(0_usize..9, 0..8),
    ) {
        let names: Vec<String> = (0..sizes.len()).map(|number| format!("t{number}")).collect();
        let list: Vec<(&str, usize)> = names.iter().map(String::as_str).zip(sizes.iter().copied()).collect();
        let commits: u64 = grouped(&teams(&list)).iter().map(|group| group.measured.commits).sum();
        prop_assert_eq!(commits, sizes.len() as u64);
    }
}
