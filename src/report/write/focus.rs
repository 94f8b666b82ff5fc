//! FOCUS 1.2: the `FinOps` Foundation's form of cost data, as CSV.
//!
//! Which column holds what is a table; a row is what was charged for one kind of token of one
//! group on one UTC day. Amounts are exact: nothing is rounded, so the file adds up to the bill to
//! the last digit. It is written from the report `cost_detail`.

mod columns;
mod line;

use std::io::{self, Write};

use columns::COLUMNS;
use line::Line;

use super::manifest::{HashWriter, Stamp};
use super::shown::Shown;
use crate::model::money::PicoUsd;
use crate::report::{Report, Request, Table};

/// What the detail of cost is to be asked, so that FOCUS can be written from it: all of it, and in
/// the ledger's currency, for FOCUS wants that of the bill.
pub(super) fn request(asked: &Request) -> Request {
    Request {
        group_by: Vec::new(),
        currency: "USD".into(),
        ..asked.clone()
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    rows: usize,
    billed: PicoUsd,
    /// Rows left out because nobody knows what they cost, and their tokens.
    unknown: usize,
    unknown_tokens: i128,
    sha256: String,
}

/// Writes header and rows.
pub(super) fn write(report: &Report, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let table = report.tables.first();
    let lines = table.into_iter().flat_map(lines);
    write_lines(lines, &shown.stamp.price_table_version, out).map(|_| ())
}

/// Writes the manifest: that of the report, with what is in the file in place of what is in the
/// report's rows.
pub(super) fn manifest(report: &Report, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let table = report.tables.first();
    let lines = table.into_iter().flat_map(lines);
    let written = write_lines(lines, &shown.stamp.price_table_version, &mut io::sink())?;
    let mut stamp = Stamp {
        report: "focus",
        title: format!("FOCUS 1.2: {}", shown.stamp.title),
        content_sha256: written.sha256,
        ..shown.stamp.clone()
    };
    if let Some(contents) = stamp.tables.first_mut() {
        contents.name = "focus";
        contents.rows = written.rows;
        contents.control_totals = vec![super::ControlTotal {
            column: "BilledCost",
            exact: written.billed.to_string(),
            shown: written.billed.to_decimal(stamp.decimals),
        }];
    }
    stamp.tables.truncate(1);
    if written.unknown > 0 {
        stamp.notes.push(format!(
            "{} rows with {} tokens are not in the file: they have neither a bill nor a price, and \
             FOCUS has no word for an unknown cost",
            written.unknown, written.unknown_tokens
        ));
    }
    writeln!(out, "{}", stamp.json())
}

fn lines(table: &Table) -> impl Iterator<Item = Line> {
    let places = line::Places::of(table);
    let mut cells = Vec::new();
    (0..table.rows.len()).filter_map(move |index| {
        table.rows.row(index, &mut cells);
        places.line(&cells)
    })
}

fn write_lines(
    lines: impl Iterator<Item = Line>,
    price_table: &str,
    out: &mut dyn Write,
) -> io::Result<Written> {
    let mut hash = HashWriter::default();
    let mut written = Written {
        rows: 0,
        billed: PicoUsd::ZERO,
        unknown: 0,
        unknown_tokens: 0,
        sha256: String::new(),
    };
    {
        let both = Both(out, &mut hash);
        let mut csv = csv::Writer::from_writer(both);
        csv.write_record(COLUMNS.iter().map(|(name, _)| *name))?;
        for line in lines {
            let Some(billed) = line.billed() else {
                written.unknown += 1;
                written.unknown_tokens += line.tokens.unwrap_or(0);
                continue;
            };
            for (_, value) in COLUMNS {
                csv.write_field(value(&line, price_table).unwrap_or_default())?;
            }
            csv.write_record(None::<&[u8]>)?;
            written.rows += 1;
            written.billed = written
                .billed
                .checked_add(billed)
                .ok_or_else(|| io::Error::other("the total is too large"))?;
        }
        csv.flush()?;
    }
    written.sha256 = hash.finish();
    Ok(written)
}

/// Writes to both.
struct Both<'a>(&'a mut dyn Write, &'a mut HashWriter);

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.write_all(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
