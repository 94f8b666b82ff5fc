//! Reports as aligned text for a terminal.

use std::io::{self, Write};

use super::super::table::{Cell, Kind, Table};
use super::super::{Report, Request};
use super::rounding::Rounding;
use super::shown::{Shown, cell_text};
use crate::model::decimal;
use crate::model::money::divide_half_even;

pub(super) fn write(report: &Report, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let request = &report.manifest.request;
    let time = |at| cell_text(&Cell::Time(at), request);
    writeln!(
        out,
        "{}: {} to {} ({}), {}, {}",
        report.title,
        time(request.from),
        time(request.to),
        request.zone.iana_name().unwrap_or("UTC"),
        request.basis.name(),
        report.manifest.standing.name(),
    )?;
    for note in &report.manifest.notes {
        writeln!(out, "Note: {note}")?;
    }
    for (number, (table, rounding)) in report.tables.iter().zip(&shown.tables).enumerate() {
        if number > 0 {
            write!(out, "\n{}", table.name)?;
        }
        out.write_all(b"\n")?;
        write_table(table, rounding, request, out)?;
    }
    Ok(())
}

fn write_table(
    table: &Table,
    rounding: &Rounding,
    request: &Request,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut cells = Vec::new();
    let count = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = table
        .columns
        .iter()
        .map(|column| count(column.name))
        .collect();
    let has_totals = rounding.totals().iter().any(|total| *total != Cell::Empty);
    let totals = totals_row(table, rounding, request);
    let widen = |widths: &mut [usize], texts: &mut dyn Iterator<Item = usize>| {
        for (width, text) in widths.iter_mut().zip(texts) {
            *width = (*width).max(text);
        }
    };
    for index in 0..table.rows.len() {
        rounding.row(table, index, &mut cells);
        let mut texts = cells.iter().map(|cell| count(&readable(cell, request)));
        widen(&mut widths, &mut texts);
    }
    widen(&mut widths, &mut totals.iter().map(|text| count(text)));
    let names: Vec<String> = table.columns.iter().map(|c| c.name.to_owned()).collect();
    line(table, &widths, &names, out)?;
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
    writeln!(out, "{rule}")?;
    for index in 0..table.rows.len() {
        rounding.row(table, index, &mut cells);
        let texts: Vec<String> = cells.iter().map(|cell| readable(cell, request)).collect();
        line(table, &widths, &texts, out)?;
    }
    if table.rows.is_empty() {
        writeln!(out, "nothing in this period")?;
    } else if has_totals {
        writeln!(out, "{rule}")?;
        line(table, &widths, &totals, out)?;
    }
    Ok(())
}

fn totals_row(table: &Table, rounding: &Rounding, request: &Request) -> Vec<String> {
    let mut totals: Vec<String> = rounding
        .totals()
        .iter()
        .map(|total| match total {
            Cell::Empty => String::new(),
            total => readable(total, request),
        })
        .collect();
    if let (Some(first), Some(Kind::Text)) =
        (totals.first_mut(), table.columns.first().map(|c| c.kind))
    {
        "total".clone_into(first);
    }
    totals
}

fn line(table: &Table, widths: &[usize], texts: &[String], out: &mut dyn Write) -> io::Result<()> {
    let mut text = String::new();
    for (index, (cell, wide)) in texts.iter().zip(widths).enumerate() {
        if index > 0 {
            text.push_str("  ");
        }
        let blanks = " ".repeat(wide - cell.chars().count());
        match table.columns[index].kind {
            Kind::Text | Kind::Date | Kind::Time => {
                text.push_str(cell);
                text.push_str(&blanks);
            }
            _ => {
                text.push_str(&blanks);
                text.push_str(cell);
            }
        }
    }
    writeln!(out, "{}", text.trim_end())
}

/// A cell as people read it: thousands apart, `-` where nothing is known.
fn readable(cell: &Cell, request: &Request) -> String {
    let text = cell_text(cell, request);
    match cell {
        Cell::Empty => "-".to_owned(),
        Cell::Text(text) if text.is_empty() => "-".to_owned(),
        // A control character could move the cursor.
        Cell::Text(text) => text.replace(char::is_control, "\u{fffd}"),
        Cell::Count(_) | Cell::Money(_) => decimal::grouped(&text),
        Cell::Ratio(millionths) => percent(*millionths),
        _ => text,
    }
}

/// With two places of a percent, rounded half-even.
fn percent(millionths: i64) -> String {
    let hundredths = divide_half_even(millionths.into(), 100);
    format!("{} %", decimal::fixed(hundredths, 2))
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percents_keep_their_sign_and_are_rounded() {
        let shown = [-5_000, -123_456, 0, 1_000_000, 31_166].map(percent);
        assert_eq!(
            shown,
            ["-0.50 %", "-12.35 %", "0.00 %", "100.00 %", "3.12 %"]
        );
    }
}
