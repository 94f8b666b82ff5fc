//! Reports as CSV (RFC 4180): one header line, no totals row, safe to open in a spreadsheet.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

use super::super::table::{Cell, Table};
use super::super::{Report, Request};
use super::ManifestPlace;
use super::rounding::Rounding;
use super::shown::{Shown, put_cell};

pub(super) fn write(
    report: &Report,
    shown: &Shown,
    manifest: ManifestPlace,
    out: &mut dyn Write,
) -> io::Result<()> {
    if manifest == ManifestPlace::Leading {
        out.write_all(shown.stamp.comment_lines().as_bytes())?;
    }
    match (report.tables.first(), shown.tables.first()) {
        (Some(table), Some(rounding)) => write_data(table, rounding, &report.manifest.request, out),
        _ => Ok(()),
    }
}

/// Rows that are put into text at once.
const ROWS_AT_ONCE: usize = 4_096;

/// Threads that put rows into text at most.
const MAX_THREADS: usize = 4;

/// Writes header and rows: what the hash in the manifest is of. Rows are put into text by all CPUs,
/// some thousands at a time, and written in their order.
pub(super) fn write_data(
    table: &Table,
    rounding: &Rounding,
    request: &Request,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut header = csv::Writer::from_writer(&mut *out);
    header.write_record(table.columns.iter().map(|column| column.name))?;
    header.flush()?;
    drop(header);
    let rows = table.rows.len();
    let lines = |from: usize| {
        let rows = from..rows.min(from + ROWS_AT_ONCE);
        text_of(table, rounding, request, rows)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MAX_THREADS);
    for first in (0..rows).step_by(ROWS_AT_ONCE * threads) {
        let end = rows.min(first + ROWS_AT_ONCE * threads);
        let starts: Vec<usize> = (first..end).step_by(ROWS_AT_ONCE).collect();
        let texts = std::thread::scope(|scope| {
            let others = starts[1..].iter();
            let others = others.map(|start| scope.spawn(|| lines(*start)));
            let others: Vec<_> = others.collect();
            let mut texts = vec![lines(first)];
            for other in others {
                let text = other.join();
                texts.push(text.unwrap_or_else(|_| Err(io::Error::other("rows were not written"))));
            }
            texts
        });
        for text in texts {
            out.write_all(&text?)?;
        }
    }
    out.flush()
}

/// Some rows as text.
fn text_of(
    table: &Table,
    rounding: &Rounding,
    request: &Request,
    rows: Range<usize>,
) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let (mut cells, mut number) = (Vec::new(), String::new());
    for index in rows {
        rounding.row(table, index, &mut cells);
        for cell in &cells {
            if let Cell::Text(text) = cell {
                writer.write_field(safe(text).as_bytes())?;
                continue;
            }
            number.clear();
            put_cell(&mut number, cell, request);
            writer.write_field(&number)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// A text that no spreadsheet takes for a formula (OWASP: CSV injection): an apostrophe is put
/// before a character that begins one.
pub(super) fn safe(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}
