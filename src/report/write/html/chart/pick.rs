//! What of a table is drawn: which amount, by what, and over which time.

use crate::report::table::{Cell, Kind, Table};

/// Columns of text by which lines are told apart, the most telling first.
const DIMENSIONS: [&str; 12] = [
    "team",
    "budget",
    "cost_center",
    "project",
    "model",
    "user",
    "category",
    "name",
    "criterion",
    "cause",
    "provider",
    "kind",
];

/// Columns that are time, though some are text (`2026-10`).
const TIMES: [&str; 5] = ["day", "date", "month", "period", "week"];

/// Amounts that a reader asks for first. In another currency than USD names lose their end, so it
/// is not looked at.
const MEASURES: [&str; 7] = [
    "actual_cost",
    "actual",
    "potential",
    "estimated_cost",
    "estimated",
    "est_cost",
    "cost",
];

/// What an amount is held against.
const MARKS: [(&str, &[&str]); 2] = [
    ("budget", &["budget", "limit"]),
    ("", &["estimated_cost", "estimated", "est_cost"]),
];

/// Of reports that hold amounts against each other over time: those amounts.
pub(super) fn compared(report: &str, table: &Table, measure: usize) -> Vec<usize> {
    if !["reconciliation", "trend"].contains(&report) {
        return vec![measure];
    }
    let difference = |name: &str| {
        ["delta", "variance", "adjust"]
            .iter()
            .any(|w| name.contains(w))
    };
    let columns = table.columns.iter().enumerate();
    let columns = columns.filter(|(_, column)| {
        column.kind == Kind::Money && column.sums && !difference(column.name)
    });
    columns.map(|(at, _)| at).take(2).collect()
}

pub(super) fn position(table: &Table, name: &str, kind: impl Fn(Kind) -> bool) -> Option<usize> {
    let mut columns = table.columns.iter();
    let plain = |known: &str| known.strip_suffix("_usd").unwrap_or(known) == name;
    columns.position(|column| plain(column.name) && kind(column.kind))
}

/// The amount to draw: one that sums and is not nothing everywhere.
pub(in crate::report::write::html) fn measure(table: &Table) -> Option<usize> {
    let wished = MEASURES
        .iter()
        .filter_map(|name| position(table, name, |kind| kind == Kind::Money));
    let others = table.columns.iter().enumerate();
    let others = others
        .filter(|(_, column)| column.kind == Kind::Money && column.sums)
        .map(|(at, _)| at);
    let mut candidates: Vec<usize> = wished.chain(others).collect();
    candidates.retain(|at| table.columns[*at].sums);
    let mut cells = Vec::new();
    let mut found = None;
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let rank = candidates.iter().position(|at| amount(&cells[*at]) != 0);
        let Some(rank) = rank else { continue };
        found = Some(candidates[rank]);
        candidates.truncate(rank);
        if candidates.is_empty() {
            break;
        }
    }
    found
}

pub(super) fn mark(report: &str, table: &Table, measure: usize) -> Option<usize> {
    let fit = MARKS
        .iter()
        .filter(|(of, _)| of.is_empty() || *of == report);
    let mut names = fit.flat_map(|(_, names)| names.iter());
    names
        .find_map(|name| position(table, name, |kind| kind == Kind::Money))
        .filter(|at| *at != measure)
}

pub(super) fn time(table: &Table) -> Option<usize> {
    let named = TIMES
        .iter()
        .find_map(|name| position(table, name, |kind| matches!(kind, Kind::Date | Kind::Text)));
    named.or_else(|| {
        table
            .columns
            .iter()
            .position(|column| column.kind == Kind::Date)
    })
}

/// The first column asked for, else the most telling one, that tells at least two things apart.
pub(super) fn dimension(table: &Table, asked: &[&str]) -> Option<usize> {
    let mut columns: Vec<usize> = asked
        .iter()
        .chain(&DIMENSIONS)
        .filter(|name| !TIMES.contains(name))
        .filter_map(|name| position(table, name, |kind| kind == Kind::Text))
        .collect();
    let rest = table
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.kind == Kind::Text && !TIMES.contains(&column.name));
    columns.extend(rest.map(|(at, _)| at));
    let mut first: Option<Vec<Cell>> = None;
    let mut cells = Vec::new();
    let mut best = columns.len();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let Some(first) = &first else {
            first = Some(cells.clone());
            continue;
        };
        let differs = columns[..best]
            .iter()
            .position(|at| cells[*at] != first[*at]);
        best = differs.unwrap_or(best);
        if best == 0 {
            break;
        }
    }
    columns.get(best).copied()
}

pub(super) const fn amount(cell: &Cell) -> i128 {
    match cell {
        Cell::Money(amount) => amount.0,
        _ => 0,
    }
}
