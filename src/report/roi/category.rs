//! The four kinds of work: what was measured of each, what is assumed, and what follows.

use crate::config::Business;
use crate::model::business::{
    AcceptedUnit, Assumptions, MINUTE_MS, Range, Span, ValueFrom, return_on, value_of,
};
use crate::model::money::PicoUsd;
use crate::report::business::Measured;

/// One kind of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    pub name: &'static str,
    /// What is measured; its number is `None` without a source.
    pub input: &'static str,
    pub source: &'static str,
    /// In thousandths.
    pub quantity: Option<i64>,
    /// The setting of the assumption, and its value if it is stated.
    pub setting: &'static str,
    pub assumed: Option<Range>,
    /// Millionths of minutes.
    pub time: Option<Span>,
    /// In pico-USD.
    pub value: Option<Span>,
    /// Whether it is in the total.
    pub counts: bool,
    /// Why there is no figure, or why it is not in the total.
    pub reason: &'static str,
}

/// The total and what it means beside the cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    pub time: Option<Span>,
    pub value: Option<Span>,
    /// In millionths: 3,000,000 is 300 %.
    pub roi: Option<Span>,
}

/// A measured number of things.
struct Input {
    name: &'static str,
    source: &'static str,
    /// Without a source `None`; else the number, and the parts of which it counts.
    count: Option<(u64, i128)>,
}

/// The four categories of what some people did.
#[must_use]
pub fn categories(measured: &Measured, business: &Business) -> Vec<Category> {
    let assumed = &business.assumptions;
    let by_units = assumed.value_from == ValueFrom::Units;
    let in_time = "the time at the keyboard contains it already";
    let event = |kind: &'static str, count: u64| Input {
        name: kind,
        source: "events of trackers",
        // Without a source none was told, which is not none.
        count: (business.events || count > 0).then_some((count, 1)),
    };
    let fixes = Input {
        name: "bugs_fixed_with_claude",
        source: "merged changes and events of trackers",
        count: business
            .tells_bugs()
            .then_some((measured.fixes_with_claude, 1)),
    };
    vec![
        development(measured, assumed),
        category(
            "bug_fixing",
            &fixes,
            ("minutes_saved_per_bug_fixed", assumed.bug_fixed),
            assumed,
            if !by_units {
                in_time
            } else if assumed.counts_bugs() {
                ""
            } else {
                "the accepted units contain it already"
            },
        ),
        category(
            "code_review",
            &event("code_reviews_with_claude", measured.reviews),
            ("minutes_saved_per_code_review", assumed.code_review),
            assumed,
            if by_units { "" } else { in_time },
        ),
        category(
            "operations",
            &event("operations_with_claude", measured.operations),
            ("minutes_saved_per_operation", assumed.operation),
            assumed,
            if by_units { "" } else { in_time },
        ),
    ]
}

fn development(measured: &Measured, assumed: &Assumptions) -> Category {
    if assumed.value_from == ValueFrom::ActiveTime {
        let active = Input {
            name: "user_active_minutes",
            source: "Claude Code's telemetry",
            count: Some((measured.user_ms, MINUTE_MS)),
        };
        let setting = ("minutes_saved_per_active_minute", assumed.active_minute);
        return category("development", &active, setting, assumed, "");
    }
    let setting = "minutes_saved_per_accepted_unit";
    let Some(accepted) = assumed.accepted else {
        let input = Input {
            name: "accepted_units",
            source: "Claude Code's telemetry",
            count: None,
        };
        return category("development", &input, (setting, None), assumed, "");
    };
    let (name, count) = match accepted.unit {
        // A merged fix counts as a fix, not as a pull request too.
        AcceptedUnit::PullRequest if assumed.bug_fixed.is_some() => (
            "pull_requests_without_fixes",
            measured
                .pull_requests
                .saturating_sub(measured.merged_fixes_with_claude),
        ),
        AcceptedUnit::PullRequest => ("pull_requests", measured.pull_requests),
        AcceptedUnit::Commit => ("commits", measured.commits),
        AcceptedUnit::Edit => ("edits_accepted_by_people", measured.edits_accepted),
        AcceptedUnit::Line => ("lines_added", measured.lines_added),
    };
    let input = Input {
        name,
        source: "Claude Code's telemetry",
        count: Some((count, 1)),
    };
    // What checking costs is part of what a unit saves.
    let less = |minutes: i64| minutes - accepted.review;
    let each = Range {
        low: less(accepted.minutes.low),
        mid: accepted.minutes.mid.map(less),
        high: less(accepted.minutes.high),
    };
    category("development", &input, (setting, Some(each)), assumed, "")
}

fn category(
    name: &'static str,
    input: &Input,
    (setting, each): (&'static str, Option<Range>),
    assumed: &Assumptions,
    left_out: &'static str,
) -> Category {
    let time = input
        .count
        .zip(each)
        .map(|((count, parts), each)| Span::of(count, parts, each));
    let value = time
        .zip(assumed.hourly_rate)
        .map(|(time, rate)| value_of(time, rate, assumed.realisation));
    let reason = match (input.count, each) {
        (None, _) => "not measured: nothing tells of it",
        (Some(_), None) => "not measured: no assumption is stated",
        _ => left_out,
    };
    Category {
        name,
        input: input.name,
        source: input.source,
        quantity: input.count.map(|(count, parts)| {
            let thousandths = i128::from(count) * 1_000 / parts;
            i64::try_from(thousandths).unwrap_or(i64::MAX)
        }),
        setting,
        assumed: each,
        time,
        value,
        counts: time.is_some() && left_out.is_empty(),
        reason,
    }
}

/// Adds the categories that count, and holds them against the cost.
#[must_use]
pub fn worth(categories: &[Category], assumed: &Assumptions, cost: PicoUsd) -> Worth {
    let times = categories.iter().filter(|one| one.counts);
    let time = times.filter_map(|one| one.time).reduce(Span::plus);
    // Once on the sum: rounding each category would not add up to it.
    let value = time
        .zip(assumed.hourly_rate)
        .map(|(time, rate)| value_of(time, rate, assumed.realisation));
    Worth {
        time,
        value,
        roi: value.and_then(|value| return_on(value, cost)),
    }
}
