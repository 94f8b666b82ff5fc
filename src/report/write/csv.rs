//! Reports as CSV (RFC 4180): one header line, no totals row, safe to open in a spreadsheet.

use std::borrow::Cow;
use std::io::{self, Write};

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

/// Writes header and rows: what the hash in the manifest is of.
pub(super) fn write_data(
    table: &Table,
    rounding: &Rounding,
    request: &Request,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let names = table.columns.iter().map(|column| column.name);
    writer.write_record(names)?;
    let (mut cells, mut number) = (Vec::new(), String::new());
    for index in 0..table.rows.len() {
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
    writer.flush()
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
