//! Reports as CSV (RFC 4180): one header line, no totals row, safe to open in a spreadsheet.

use std::borrow::Cow;
use std::io::{self, Write};

use super::super::Report;
use super::super::table::Cell;
use super::shown::{Shown, cell_text};
use super::{ManifestPlace, facts};

pub(super) fn write(
    report: &Report,
    shown: &Shown,
    manifest: ManifestPlace,
    out: &mut dyn Write,
) -> io::Result<()> {
    if manifest == ManifestPlace::Leading {
        for fact in facts(report, shown) {
            // A line break would end the comment.
            let value = fact.value.replace(['\r', '\n'], " ");
            writeln!(out, "# {}: {value}", fact.name)?;
        }
    }
    let Some((table, shown)) = report.tables.iter().zip(&shown.tables).next() else {
        return Ok(());
    };
    let mut writer = csv::Writer::from_writer(out);
    let names = table.columns.iter().map(|column| column.name);
    writer.write_record(names)?;
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        shown.row(table, index, &mut cells);
        for cell in &cells {
            match cell {
                Cell::Text(text) => writer.write_field(safe(text).as_bytes())?,
                cell => writer.write_field(cell_text(cell, &report.manifest.request))?,
            }
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
