//! Reports as JSON: rows, totals, manifest. Money is decimal text, so that no reader rounds it.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::super::table::{Cell, Table};
use super::super::{Report, Request};
use super::rounding::Rounding;
use super::shown::{Shown, cell_text};

pub(super) fn write(report: &Report, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let head = json!({ "report": report.name, "title": report.title });
    let head = head.to_string();
    write!(out, "{},", head.trim_end_matches('}'))?;
    write!(out, "\"manifest\":{}", shown.stamp.json())?;
    let mut more = report.tables.iter().zip(&shown.tables);
    if let Some((table, rounding)) = more.next() {
        out.write_all(b",")?;
        write_table(table, rounding, &report.manifest.request, out)?;
    }
    out.write_all(b",\"tables\":[")?;
    for (number, (table, rounding)) in more.enumerate() {
        let comma = if number > 0 { "," } else { "" };
        write!(out, "{comma}{{\"name\":{},", Value::from(table.name))?;
        write_table(table, rounding, &report.manifest.request, out)?;
        out.write_all(b"}")?;
    }
    out.write_all(b"]}\n")
}

/// The manifest alone.
pub(super) fn manifest(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", shown.stamp.json())
}

/// The members of a table: columns, rows, totals.
fn write_table(
    table: &Table,
    rounding: &Rounding,
    request: &Request,
    out: &mut dyn Write,
) -> io::Result<()> {
    let columns: Vec<Value> = table
        .columns
        .iter()
        .map(|column| json!({ "name": column.name, "help": column.help }))
        .collect();
    write!(out, "\"columns\":{},\"rows\":[", Value::from(columns))?;
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        rounding.row(table, index, &mut cells);
        let comma = if index > 0 { "," } else { "" };
        write!(
            out,
            "{comma}\n{}",
            Value::from(row_value(table, &cells, request))
        )?;
    }
    let mut totals = row_value(table, &rounding.totals(), request);
    totals.retain(|_, value| !value.is_null());
    write!(out, "],\"totals\":{}", Value::from(totals))
}

fn row_value(table: &Table, cells: &[Cell], request: &Request) -> Map<String, Value> {
    let members = table.columns.iter().zip(cells);
    members
        .map(|(column, cell)| (column.name.to_owned(), value(cell, request)))
        .collect()
}

fn value(cell: &Cell, request: &Request) -> Value {
    match cell {
        Cell::Empty => Value::Null,
        Cell::Count(count) => {
            i64::try_from(*count).map_or_else(|_| Value::from(count.to_string()), Value::from)
        }
        cell => Value::from(cell_text(cell, request)),
    }
}
