//! The tables of the report.

use super::{Category, Found, Group, Worth};
use crate::config::Business;
use crate::model::business::{MICRO_DIGITS, Range, Span};
use crate::model::decimal;
use crate::model::money::{PicoUsd, divide_half_even};
use crate::report::business::Measured;
use crate::report::table::{Cell, Column, Kind, Table};

/// The tables, the asked one first.
pub(super) fn all(found: &Found, business: &Business, by_team: bool) -> Vec<Table> {
    let id = business.assumptions.id();
    let mut tables = vec![
        categories(found, &id),
        teams(found, &id),
        costs(found),
        economics(found),
    ];
    if by_team {
        tables.swap(0, 1);
    }
    tables
}

const WORTH: [Column; 9] = [
    Column::of(
        "time_saved_minutes_low",
        Kind::Decimal,
        "Working minutes saved, by the low end of the assumption.",
    ),
    Column::of(
        "time_saved_minutes_mid",
        Kind::Decimal,
        "By its middle; empty where none is stated.",
    ),
    Column::of("time_saved_minutes_high", Kind::Decimal, "By its high end."),
    Column::of(
        "value_usd_low",
        Kind::Money,
        "What the time is worth at the hourly rate, after realisation.",
    ),
    Column::of("value_usd_mid", Kind::Money, "By the middle."),
    Column::of("value_usd_high", Kind::Money, "By the high end."),
    Column::of(
        "roi_percent_low",
        Kind::Decimal,
        "(value - cost) / cost; negative where the cost is not earned.",
    ),
    Column::of("roi_percent_mid", Kind::Decimal, "By the middle."),
    Column::of("roi_percent_high", Kind::Decimal, "By the high end."),
];

fn worth_cells(worth: &Worth) -> Vec<Cell> {
    let minutes = |micro: i128| thousandths(micro, 1_000);
    let money = |pico: i128| Cell::Money(PicoUsd(pico));
    let mut cells = triple(worth.time, minutes);
    cells.extend(triple(worth.value, money));
    // Thousandths of a percent, of millionths of the whole.
    cells.extend(triple(worth.roi, |roi| thousandths(roi, 10)));
    cells
}

fn ratio(micro: i128) -> Cell {
    Cell::Ratio(i64::try_from(micro).unwrap_or(if micro < 0 { i64::MIN } else { i64::MAX }))
}

fn triple(span: Option<Span>, cell: impl Fn(i128) -> Cell) -> Vec<Cell> {
    let Some(span) = span else {
        return vec![Cell::Empty, Cell::Empty, Cell::Empty];
    };
    vec![
        cell(span.low),
        span.mid.map_or(Cell::Empty, &cell),
        cell(span.high),
    ]
}

/// Thousandths of what is counted in `parts` of a thousandth.
fn thousandths(amount: i128, parts: i128) -> Cell {
    i64::try_from(divide_half_even(amount, parts)).map_or(Cell::Empty, Cell::Decimal)
}

fn text(text: &str) -> Cell {
    if text.is_empty() {
        Cell::Empty
    } else {
        Cell::Text(text.into())
    }
}

/// The four categories, and the total with the return.
fn categories(found: &Found, id: &str) -> Table {
    let mut columns = vec![
        Column::of("category", Kind::Text, "Kind of work, or the total."),
        Column::of("input", Kind::Text, "What is measured."),
        Column::of("quantity", Kind::Decimal, "How much of it was measured."),
        Column::of("source", Kind::Text, "Who tells it."),
        Column::of("assumption", Kind::Text, "The setting of what is assumed."),
        Column::of(
            "assumed_minutes",
            Kind::Text,
            "Minutes saved by each: low, mid and high.",
        ),
        Column::of("assumptions", Kind::Text, "Id of the set of assumptions."),
        Column::of(
            "in_total",
            Kind::Text,
            "yes or no; what is in another category already is not.",
        ),
        Column::of("remark", Kind::Text, "Why a figure is missing or left out."),
        Column::of(
            "cost_usd",
            Kind::Money,
            "All costs of the range, of the total only.",
        ),
    ];
    columns.extend(WORTH);
    let mut rows: Vec<Vec<Cell>> = found
        .whole
        .categories
        .iter()
        .map(|category| category_row(category, id))
        .collect();
    rows.push(total_row(&found.whole, id));
    Table {
        name: "roi",
        columns,
        rows: Box::new(rows),
    }
}

fn category_row(category: &Category, id: &str) -> Vec<Cell> {
    let assumed = category.assumed.map(shown).unwrap_or_default();
    let has_figure = category.time.is_some();
    let mut row = vec![
        text(category.name),
        text(category.input),
        category.quantity.map_or(Cell::Empty, Cell::Decimal),
        text(category.source),
        text(category.setting),
        text(&assumed),
        text(if has_figure { id } else { "" }),
        text(if category.counts { "yes" } else { "no" }),
        text(category.reason),
        Cell::Empty,
    ];
    let worth = Worth {
        time: category.time,
        value: category.value,
        roi: None,
    };
    row.extend(worth_cells(&worth));
    row
}

fn total_row(whole: &Group, id: &str) -> Vec<Cell> {
    let worth = &whole.worth;
    let remark = match worth {
        Worth { time: None, .. } => "not measured: no assumption is stated",
        Worth { value: None, .. } => "no value: business.hourly_rate is not stated",
        Worth { roi: None, .. } => "no return: nothing was spent",
        _ => "",
    };
    let mut row = vec![
        text("total"),
        Cell::Empty,
        Cell::Empty,
        Cell::Empty,
        Cell::Empty,
        Cell::Empty,
        text(if worth.time.is_some() { id } else { "" }),
        Cell::Empty,
        text(remark),
        Cell::Money(whole.cost),
    ];
    row.extend(worth_cells(worth));
    row
}

/// A range as text, in whole units.
fn shown(range: Range) -> String {
    let number = |micro: i64| decimal::short(micro.into(), MICRO_DIGITS);
    let mid = range.mid.map_or_else(|| "not stated".to_owned(), number);
    format!("{} / {mid} / {}", number(range.low), number(range.high))
}

/// Groups of five people or more.
fn teams(found: &Found, id: &str) -> Table {
    let mut columns = vec![
        Column::of("team", Kind::Text, "Of five people or more."),
        Column::of("people", Kind::Count, "Distinct people who were active."),
        Column::of(
            "user_active_minutes",
            Kind::Decimal,
            "At the keyboard, from telemetry.",
        ),
        Column::of("pull_requests", Kind::Count, "Made by Claude Code."),
        Column::of("commits", Kind::Count, "Made by Claude Code."),
        Column::of(
            "bugs_fixed_with_claude",
            Kind::Count,
            "Merged fixes in which Claude Code took part.",
        ),
        Column::of(
            "cost_usd",
            Kind::Money,
            "Usage as billed or estimated, and the shared costs by people.",
        ),
        Column::of("assumptions", Kind::Text, "Id of the set of assumptions."),
    ];
    columns.extend(WORTH);
    let rows = found.teams.iter().map(|(name, team)| {
        let measured = &team.measured;
        let has_figure = team.worth.time.is_some();
        let mut row = vec![
            text(name),
            count(measured.headcount()),
            thousandths(i128::from(measured.user_ms), 60),
            count(measured.pull_requests),
            count(measured.commits),
            count(measured.fixes_with_claude),
            Cell::Money(team.cost),
            text(if has_figure { id } else { "" }),
        ];
        row.extend(worth_cells(&team.worth));
        row
    });
    Table {
        name: "teams",
        columns,
        rows: Box::new(rows.collect::<Vec<_>>()),
    }
}

fn count(number: u64) -> Cell {
    Cell::Count(number.into())
}

fn costs(found: &Found) -> Table {
    let columns = vec![
        Column::of("item", Kind::Text, "What was paid for."),
        Column::summed("cost_usd", Kind::Money, "In the range."),
        Column::of("source", Kind::Text, "Where the number comes from."),
    ];
    let rows = found.costs.iter().map(|item| {
        vec![
            text(item.name),
            Cell::Money(item.amount),
            text(&item.source),
        ]
    });
    Table {
        name: "costs",
        columns,
        rows: Box::new(rows.collect::<Vec<_>>()),
    }
}

/// What needs no assumption.
fn economics(found: &Found) -> Table {
    let columns = vec![
        Column::of("active_people", Kind::Count, "Distinct people."),
        Column::of("cost_per_active_person_usd", Kind::Money, "All costs."),
        Column::of("cost_per_pull_request_usd", Kind::Money, "All costs."),
        Column::of("cost_per_commit_usd", Kind::Money, "All costs."),
        Column::of("sessions", Kind::Count, "Sessions started."),
        Column::of(
            "code_lines_generated",
            Kind::Count,
            "Lines added; activity, not value.",
        ),
        Column::of("pull_requests", Kind::Count, "Made by Claude Code."),
        Column::of("commits", Kind::Count, "Made by Claude Code."),
        Column::of("user_active_minutes", Kind::Decimal, "At the keyboard."),
        Column::of("cli_active_minutes", Kind::Decimal, "Of tools and models."),
        Column::of(
            "acceptance_rate",
            Kind::Ratio,
            "Accepted edits of those that a person decided over.",
        ),
        Column::of(
            "unasked_share",
            Kind::Ratio,
            "Edits that a setting or a hook decided over; they are not in the rate.",
        ),
        Column::of("merged_changes", Kind::Count, "From webhooks."),
        Column::of("merged_changes_with_claude", Kind::Count, "From webhooks."),
        Column::of(
            "bugs_fixed_with_claude",
            Kind::Count,
            "Claude Code took part.",
        ),
        Column::of("bugs_fixed_without_claude", Kind::Count, "It did not."),
        Column::of(
            "bugs_fixed_unknown",
            Kind::Count,
            "The tracker does not say.",
        ),
    ];
    let whole = &found.whole;
    Table {
        name: "unit_economics",
        columns,
        rows: Box::new(vec![economics_row(&whole.measured, whole.cost)]),
    }
}

fn economics_row(measured: &Measured, cost: PicoUsd) -> Vec<Cell> {
    let each = |number: u64| {
        if number == 0 {
            return Cell::Empty;
        }
        Cell::Money(PicoUsd(divide_half_even(cost.0, number.into())))
    };
    let share = |part: u64, whole: u64| {
        if whole == 0 {
            return Cell::Empty;
        }
        ratio(divide_half_even(i128::from(part) * 1_000_000, whole.into()))
    };
    let asked = measured.edits_accepted + measured.edits_refused;
    vec![
        count(measured.headcount()),
        each(measured.headcount()),
        each(measured.pull_requests),
        each(measured.commits),
        count(measured.sessions),
        count(measured.lines_added),
        count(measured.pull_requests),
        count(measured.commits),
        thousandths(i128::from(measured.user_ms), 60),
        thousandths(i128::from(measured.machine_ms), 60),
        share(measured.edits_accepted, asked),
        share(measured.edits_unasked, asked + measured.edits_unasked),
        count(measured.changes),
        count(measured.changes_with_claude),
        count(measured.fixes_with_claude),
        count(measured.fixes_without),
        count(measured.fixes_unknown),
    ]
}
