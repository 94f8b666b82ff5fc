//! Figures as they are shown: money rounded once, so that lines add up to their total.

use std::fmt::Write as _;

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
    let mut text = String::new();
    put_cell(&mut text, cell, request);
    text
}

/// Writes the same behind a text.
pub(super) fn put_cell(text: &mut String, cell: &Cell, request: &Request) {
    // Writing to a string does not fail.
    let _ = match cell {
        Cell::Empty => Ok(()),
        Cell::Text(name) => text.write_str(name),
        Cell::Count(count) => {
            decimal::put_fixed(text, *count, 0);
            Ok(())
        }
        Cell::Money(amount) => {
            amount.put_decimal(text, request.decimals);
            Ok(())
        }
        // For a million tokens: a millionth of a dollar a token is a dollar.
        Cell::UnitPrice(amount) => {
            write!(text, "{}", PicoUsd(amount.0.saturating_mul(1_000_000)))
        }
        Cell::Ratio(value) => {
            decimal::put_fixed(text, (*value).into(), 6);
            Ok(())
        }
        Cell::Decimal(value) => {
            decimal::put_fixed(text, (*value).into(), 3);
            Ok(())
        }
        Cell::Date(date) => write!(text, "{date}"),
        Cell::Time(time) => {
            let offset = request.zone.to_offset(*time);
            write!(text, "{}", time.display_with_offset(offset))
        }
    };
}
