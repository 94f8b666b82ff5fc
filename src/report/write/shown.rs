//! Figures as they are shown: money rounded once, so that lines add up to their total.

use sha2::{Digest, Sha256};

use super::super::table::{Cell, Kind, Table};
use super::super::{Report, Request};
use super::hex;
use crate::model::money::{PicoUsd, apportion};

/// A table's money as shown, its totals, and what proves its content.
#[derive(Debug)]
pub struct ShownTable {
    /// For each column of money, the rounded amounts of its rows; `None` for other columns.
    money: Vec<Option<Vec<PicoUsd>>>,
    /// For each column, its sum: exact, and as shown. Empty where a sum means nothing.
    pub exact: Vec<Cell>,
    pub totals: Vec<Cell>,
}

/// A report as shown.
#[derive(Debug)]
pub struct Shown {
    pub decimals: u32,
    /// Table by table.
    pub tables: Vec<ShownTable>,
    /// SHA-256 of the exact cells of all tables, whatever the form.
    pub content: String,
}

/// Rounds a report's money and adds up its columns. `None` if a sum is beyond the range of money.
#[must_use]
pub fn show(report: &Report) -> Option<Shown> {
    let mut hash = Sha256::new();
    let request = &report.manifest.request;
    let tables = report
        .tables
        .iter()
        .map(|table| show_table(table, request, &mut hash));
    let tables = tables.collect::<Option<Vec<_>>>()?;
    Some(Shown {
        decimals: request.decimals,
        tables,
        content: hex(&hash.finalize()),
    })
}

fn show_table(table: &Table, request: &Request, hash: &mut Sha256) -> Option<ShownTable> {
    let columns = &table.columns;
    let mut money: Vec<Option<Vec<PicoUsd>>> = columns
        .iter()
        .map(|column| (column.kind == Kind::Money).then(Vec::new))
        .collect();
    let mut sums: Vec<Option<i128>> = vec![None; columns.len()];
    let mut cells = Vec::new();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    hash.update(format!("{}\n{}\n", table.name, names.join(",")));
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        for (place, cell) in cells.iter().enumerate() {
            hash_cell(hash, cell);
            let amount = match cell {
                Cell::Money(amount) => amount.0,
                Cell::Count(count) => *count,
                Cell::Decimal(value) | Cell::Ratio(value) => i128::from(*value),
                _ => 0,
            };
            if let Some(money) = &mut money[place] {
                money.push(PicoUsd(amount));
            }
            if columns[place].sums && *cell != Cell::Empty {
                sums[place] = Some(sums[place].unwrap_or(0).checked_add(amount)?);
            }
        }
    }
    for (lines, column) in money.iter_mut().zip(columns) {
        let Some(lines) = lines else { continue };
        if column.sums {
            *lines = apportion(lines, request.decimals)?;
        } else {
            // Without a total, each line is right by itself.
            for line in lines {
                *line = line.rounded(request.decimals);
            }
        }
    }
    let total = |rounded: bool| {
        let cell = |(place, sum): (usize, &Option<i128>)| match (sum, columns[place].kind) {
            (Some(sum), Kind::Money) if rounded => {
                Cell::Money(PicoUsd(*sum).rounded(request.decimals))
            }
            (Some(sum), Kind::Money) => Cell::Money(PicoUsd(*sum)),
            (Some(sum), Kind::Count) => Cell::Count(*sum),
            (Some(sum), Kind::Decimal) => i64::try_from(*sum).map_or(Cell::Empty, Cell::Decimal),
            (Some(sum), Kind::Ratio) => i64::try_from(*sum).map_or(Cell::Empty, Cell::Ratio),
            _ => Cell::Empty,
        };
        sums.iter().enumerate().map(cell).collect()
    };
    Some(ShownTable {
        exact: total(false),
        totals: total(true),
        money,
    })
}

/// Cells as exact text, each ended by a byte that no text has.
fn hash_cell(hash: &mut Sha256, cell: &Cell) {
    match cell {
        Cell::Empty => {}
        Cell::Text(text) => hash.update(text.as_bytes()),
        Cell::Count(count) => hash.update(count.to_string()),
        Cell::Money(amount) | Cell::UnitPrice(amount) => hash.update(amount.0.to_string()),
        Cell::Ratio(value) | Cell::Decimal(value) => hash.update(value.to_string()),
        Cell::Date(date) => hash.update(date.to_string()),
        Cell::Time(time) => hash.update(time.to_string()),
    }
    hash.update([0xff]);
}

impl ShownTable {
    /// Reads a row with its money as shown.
    pub fn row(&self, table: &Table, index: usize, cells: &mut Vec<Cell>) {
        table.rows.row(index, cells);
        for (cell, money) in cells.iter_mut().zip(&self.money) {
            if let (Cell::Money(amount), Some(money)) = (cell, money) {
                *amount = money[index];
            }
        }
    }
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
        Cell::Ratio(value) => decimal(*value, 6),
        Cell::Decimal(value) => decimal(*value, 3),
        Cell::Date(date) => date.to_string(),
        Cell::Time(time) => time
            .display_with_offset(request.zone.to_offset(*time))
            .to_string(),
    }
}

/// A whole number of `10^-places` as decimal text.
fn decimal(value: i64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    let width = places as usize;
    format!("{sign}{}.{:0width$}", value / unit, value % unit)
}
