//! Figures as they are shown: money rounded once, so that lines add up to their total.

use super::super::table::Cell;
use super::super::{Report, Request};
use super::csv;
use super::manifest::{HashWriter, Stamp};
use super::rounding::Rounding;
use crate::model::decimal;
use crate::model::money::PicoUsd;

/// A report as shown.
#[derive(Debug)]
pub struct Shown {
    /// Table by table.
    pub tables: Vec<Rounding>,
    pub stamp: Stamp,
}

/// Rounds a report's money, adds up its columns and stamps it. `None` if a sum is beyond the range
/// of money.
#[must_use]
pub fn show(report: &Report) -> Option<Shown> {
    let request = &report.manifest.request;
    let tables = report.tables.iter();
    let tables: Option<Vec<_>> = tables
        .map(|table| Rounding::of(table, request.decimals))
        .collect();
    let tables = tables?;
    let mut hash = HashWriter::default();
    if let (Some(table), Some(rounding)) = (report.tables.first(), tables.first()) {
        let written = csv::write_data(table, rounding, request, &mut hash);
        written.expect("a hash takes everything");
    }
    let stamp = Stamp::new(report, &tables, hash.finish());
    Some(Shown { tables, stamp })
}

/// A cell as text: numbers without separators, times with the offset of the zone.
#[must_use]
pub fn cell_text(cell: &Cell, request: &Request) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => text.to_string(),
        Cell::Count(count) => count.to_string(),
        Cell::Money(amount) => amount.to_decimal(request.decimals),
        // For a million tokens: a millionth of a dollar a token is a dollar.
        Cell::UnitPrice(amount) => PicoUsd(amount.0.saturating_mul(1_000_000)).to_string(),
        Cell::Ratio(value) => decimal::fixed((*value).into(), 6),
        Cell::Decimal(value) => decimal::fixed((*value).into(), 3),
        Cell::Date(date) => date.to_string(),
        Cell::Time(time) => time
            .display_with_offset(request.zone.to_offset(*time))
            .to_string(),
    }
}
