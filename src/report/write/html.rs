//! A report as one page for people: nothing is loaded from elsewhere, nothing runs, and it prints.
//!
//! A long table is shortened to its largest lines; the rest is one stated line, so that what is
//! shown still adds up to the totals.

mod chart;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io::{self, Write};
use std::sync::Arc;

use super::super::table::{Cell, Kind, Table};
use super::super::{Report, Request};
use super::heading;
use super::manifest::{Stamp, period_text};
use super::rounding::Rounding;
use super::shown::Shown;
use crate::model::bill::Standing;
use crate::model::decimal;
use crate::model::money::PicoUsd;

const STYLE: &str = include_str!("html/page.css");

/// Lines of a table that a person still reads.
const MOST_ROWS: usize = 300;

/// Totals shown in large letters.
const TILES: usize = 6;

/// Writes the page.
pub(super) fn write(report: &Report, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let stamp = &shown.stamp;
    let title = escape(&report.title);
    // Should it be opened where scripts could do harm, none runs: texts come from outside.
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n\
         <meta name=\"generator\" content=\"tallyd\">\n<title>{title}: {}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&period(report)),
    )?;
    head(report, stamp, out)?;
    if let (Some(table), Some(rounding)) = (report.tables.first(), shown.tables.first()) {
        tiles(table, rounding, stamp, out)?;
    }
    notes(report, out)?;
    out.write_all(chart::figures(report).as_bytes())?;
    for (table, rounding) in report.tables.iter().zip(&shown.tables) {
        section(table, rounding, &report.manifest.request, out)?;
    }
    foot(stamp, out)?;
    out.write_all(b"</main>\n</body>\n</html>\n")
}

fn period(report: &Report) -> String {
    let request = &report.manifest.request;
    period_text(&request.zone, request.from, request.to)
}

fn head(report: &Report, stamp: &Stamp, out: &mut dyn Write) -> io::Result<()> {
    let standing = report.manifest.standing;
    let sure = match standing {
        Standing::Provisional => "provisional: numbers still change",
        Standing::Final => "final",
        Standing::Closed => "closed",
    };
    write!(
        out,
        "<header>\n<h1>{}</h1>\n<p>{} ({})</p>\n<ul class=\"badges\">\
         <li class=\"{}\">{sure}</li><li>basis {}</li><li>money in {}</li>",
        escape(&report.title),
        escape(&period(report)),
        escape(&stamp.timezone),
        standing.name(),
        stamp.basis,
        escape(&stamp.currency),
    )?;
    if !stamp.group_by.is_empty() {
        write!(out, "<li>by {}</li>", escape(&stamp.group_by.join(", ")))?;
    }
    writeln!(out, "</ul>\n</header>")
}

/// The totals that a reader looks for first: money, then counts.
fn tiles(table: &Table, rounding: &Rounding, stamp: &Stamp, out: &mut dyn Write) -> io::Result<()> {
    let mut tiles = Vec::new();
    for kinds in [&[Kind::Money][..], &[Kind::Count, Kind::Decimal]] {
        for (at, column) in table.columns.iter().enumerate() {
            let total = rounding.shown_total(at).unwrap_or_default();
            if kinds.contains(&column.kind) && total != Cell::Empty {
                tiles.push((column, total));
            }
        }
    }
    if tiles.is_empty() {
        return Ok(());
    }
    writeln!(out, "<dl class=\"tiles\">")?;
    for (column, total) in tiles.into_iter().take(TILES) {
        let unit = match column.kind {
            Kind::Money => format!(" <small>{}</small>", escape(&stamp.currency)),
            _ => String::new(),
        };
        writeln!(
            out,
            "<div><dt title=\"{}\">{}</dt><dd>{}{unit}</dd></div>",
            escape(column.help),
            escape(&heading(column.name)),
            number(&total, rounding.decimals()),
        )?;
    }
    writeln!(out, "</dl>")
}

fn notes(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let notes = &report.manifest.notes;
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<section class=\"notes\">\n<h2>Before you use these numbers</h2>\n<ul>"
    )?;
    for note in notes {
        writeln!(out, "<li>{}</li>", escape(note))?;
    }
    writeln!(out, "</ul>\n</section>")
}

fn section(
    table: &Table,
    rounding: &Rounding,
    request: &Request,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "<section class=\"table\">\n<h2>{}</h2>",
        escape(&heading(table.name))
    )?;
    if table.rows.is_empty() {
        return writeln!(
            out,
            "<p class=\"empty\">Nothing in this period.</p>\n</section>"
        );
    }
    let shown = shown_rows(table);
    let filled = filled_columns(table, rounding, &shown);
    let common = common(table, &filled, &shown);
    explain(table, &shown, &filled, &common, out)?;
    let is_told = |at: &usize| common.iter().any(|(told, _)| told == at);
    let columns: Vec<usize> = filled.into_iter().filter(|at| !is_told(at)).collect();
    write!(out, "<div class=\"scroll\">\n<table>\n<thead><tr>")?;
    for at in &columns {
        let column = &table.columns[*at];
        write!(
            out,
            "<th scope=\"col\"{} title=\"{}\">{}</th>",
            class(column.kind),
            escape(column.help),
            escape(&heading(column.name)),
        )?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    let mut rest = Rest::new(table, rounding);
    let mut cells = Vec::with_capacity(table.columns.len());
    for index in 0..table.rows.len() {
        if !shown.includes(index) {
            continue;
        }
        rounding.row(table, index, &mut cells);
        rest.take(&cells);
        row("", &cells, table, &columns, rounding, request, out)?;
    }
    if let Some(count) = shown.left_out(table.rows.len()) {
        let mut cells = rest.cells();
        if let Some(first) = columns.first().filter(|at| !table.columns[**at].sums) {
            let text = format!("{} further rows", group(&count.to_string()));
            cells[*first] = Cell::Text(text.into());
        }
        row(
            " class=\"rest\"",
            &cells,
            table,
            &columns,
            rounding,
            request,
            out,
        )?;
    }
    writeln!(out, "</tbody>")?;
    totals(table, rounding, &columns, request, out)?;
    writeln!(out, "</table>\n</div>\n</section>")
}

fn explain(
    table: &Table,
    shown: &ShownRows,
    filled: &[usize],
    common: &[(usize, Arc<str>)],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut sentences = Vec::new();
    if let ShownRows::Largest { by, rows } = shown {
        let by = by.map_or_else(
            || "first".to_owned(),
            |at| {
                format!(
                    "with the largest {}",
                    heading(table.columns[at].name).to_lowercase()
                )
            },
        );
        sentences.push(format!(
            "The {} rows {by} of {}; the last row sums up the others. CSV and XLSX have all rows.",
            rows.len(),
            group(&table.rows.len().to_string()),
        ));
    }
    let left_out: Vec<String> = (0..table.columns.len())
        .filter(|at| !filled.contains(at))
        .map(|at| heading(table.columns[at].name).to_lowercase())
        .collect();
    if !left_out.is_empty() {
        sentences.push(format!("No value in this period: {}.", left_out.join(", ")));
    }
    let told = common
        .iter()
        .map(|(at, text)| format!("{} {text}", heading(table.columns[*at].name).to_lowercase()));
    let told: Vec<String> = told.collect();
    if !told.is_empty() {
        sentences.push(format!("In all rows: {}.", told.join(", ")));
    }
    if sentences.is_empty() {
        return Ok(());
    }
    writeln!(out, "<p>{}</p>", escape(&sentences.join(" ")))
}

/// Which rows of a table are shown.
enum ShownRows {
    All,
    /// By a column, or the first ones.
    Largest {
        by: Option<usize>,
        rows: BTreeSet<usize>,
    },
}

impl ShownRows {
    fn includes(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Largest { rows, .. } => rows.contains(&index),
        }
    }

    fn left_out(&self, all: usize) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Largest { rows, .. } => Some(all - rows.len()),
        }
    }
}

fn shown_rows(table: &Table) -> ShownRows {
    if table.rows.len() <= MOST_ROWS {
        return ShownRows::All;
    }
    let Some(by) = chart::measure(table) else {
        let rows = (0..MOST_ROWS).collect();
        return ShownRows::Largest { by: None, rows };
    };
    // The smallest of the largest is on top, to make room for a larger one; a later one goes first.
    let mut largest: BinaryHeap<(Reverse<u128>, usize)> = BinaryHeap::new();
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let size = match &cells[by] {
            Cell::Money(amount) => amount.0.unsigned_abs(),
            _ => 0,
        };
        largest.push((Reverse(size), index));
        if largest.len() > MOST_ROWS {
            largest.pop();
        }
    }
    ShownRows::Largest {
        by: Some(by),
        rows: largest.into_iter().map(|(_, index)| index).collect(),
    }
}

/// The columns in which a shown row, or the rest, has a value.
fn filled_columns(table: &Table, rounding: &Rounding, shown: &ShownRows) -> Vec<usize> {
    let total = |at| rounding.shown_total(at).unwrap_or_default() != Cell::Empty;
    let mut filled: Vec<bool> = (0..table.columns.len()).map(total).collect();
    let mut cells = Vec::new();
    for index in (0..table.rows.len()).filter(|index| shown.includes(*index)) {
        table.rows.row(index, &mut cells);
        for (filled, cell) in filled.iter_mut().zip(&cells) {
            *filled |=
                !matches!(cell, Cell::Empty) && !matches!(cell, Cell::Text(t) if t.is_empty());
        }
    }
    let columns = filled.iter().enumerate();
    columns
        .filter(|(_, filled)| **filled)
        .map(|(at, _)| at)
        .collect()
}

/// Columns in which all rows say the same: told once, so that there is room for those that tell
/// rows apart. One column of texts stays.
fn common(table: &Table, filled: &[usize], shown: &ShownRows) -> Vec<(usize, Arc<str>)> {
    if table.rows.len() < 2 || !matches!(shown, ShownRows::All) {
        return Vec::new();
    }
    let mut cells = Vec::new();
    table.rows.row(0, &mut cells);
    let texts = filled.iter().filter_map(|at| match &cells[*at] {
        Cell::Text(text) => Some((*at, text.clone())),
        _ => None,
    });
    let texts: Vec<(usize, Arc<str>)> = texts.collect();
    let mut common = texts.clone();
    for index in 1..table.rows.len() {
        table.rows.row(index, &mut cells);
        common.retain(|(at, text)| matches!(&cells[*at], Cell::Text(other) if other == text));
    }
    if common.len() == texts.len() {
        common.pop();
    }
    common
}

/// What is left of the totals when the shown rows are taken from them.
struct Rest(Vec<Option<Cell>>);

impl Rest {
    fn new(table: &Table, rounding: &Rounding) -> Self {
        let columns = 0..table.columns.len();
        Self(columns.map(|at| rounding.shown_total(at)).collect())
    }

    fn take(&mut self, cells: &[Cell]) {
        for (left, cell) in self.0.iter_mut().zip(cells) {
            let Some(left) = left else { continue };
            match (left, cell) {
                (Cell::Money(left), Cell::Money(one)) => {
                    *left = PicoUsd(left.0.saturating_sub(one.0));
                }
                (Cell::Count(left), Cell::Count(one)) => *left = left.saturating_sub(*one),
                (Cell::Decimal(left), Cell::Decimal(one))
                | (Cell::Ratio(left), Cell::Ratio(one)) => {
                    *left = left.saturating_sub(*one);
                }
                _ => {}
            }
        }
    }

    fn cells(self) -> Vec<Cell> {
        self.0.into_iter().map(Option::unwrap_or_default).collect()
    }
}

fn totals(
    table: &Table,
    rounding: &Rounding,
    columns: &[usize],
    request: &Request,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut cells = rounding.totals();
    if cells.iter().all(|cell| *cell == Cell::Empty) {
        return Ok(());
    }
    if let Some(first) = columns.first().filter(|at| !table.columns[**at].sums) {
        cells[*first] = Cell::Text("Total".into());
    }
    writeln!(out, "<tfoot>")?;
    row("", &cells, table, columns, rounding, request, out)?;
    writeln!(out, "</tfoot>")
}

fn row(
    attributes: &str,
    cells: &[Cell],
    table: &Table,
    columns: &[usize],
    rounding: &Rounding,
    request: &Request,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "<tr{attributes}>")?;
    for at in columns {
        let kind = table.columns[*at].kind;
        let cell = &cells[*at];
        let text = match cell {
            Cell::Empty => String::new(),
            Cell::Text(text) => escape(text).into_owned(),
            Cell::Date(date) => date.to_string(),
            Cell::Time(time) => {
                let local = time.to_zoned(request.zone.clone());
                local.strftime("%Y-%m-%d %H:%M").to_string()
            }
            other => number(other, rounding.decimals()),
        };
        if is_negative(cell) {
            write!(out, "<td class=\"n neg\">{text}</td>")?;
        } else if kind != Kind::Text {
            write!(out, "<td{}>{text}</td>", class(kind))?;
        } else if is_day(&text) {
            // Days and months of some reports are text; they must not break, either.
            write!(out, "<td class=\"d\">{text}</td>")?;
        } else if text.len() >= SENTENCE {
            write!(out, "<td class=\"w\">{text}</td>")?;
        } else if text.contains('-') && !text.contains(' ') {
            // Names of models would stand on three lines.
            write!(out, "<td class=\"k\">{text}</td>")?;
        } else {
            write!(out, "<td>{text}</td>")?;
        }
    }
    writeln!(out, "</tr>")
}

/// Text from which on a cell is kept wide, in bytes: a narrow one would be many lines high.
const SENTENCE: usize = 40;

/// Digits with a hyphen between: `2026-10`, `2026-10-05`.
fn is_day(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_digit() || c == '-';
    text.contains('-') && text.chars().all(fits)
}

const fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "",
        Kind::Date | Kind::Time => " class=\"d\"",
        Kind::Count | Kind::Money | Kind::UnitPrice | Kind::Ratio | Kind::Decimal => " class=\"n\"",
    }
}

const fn is_negative(cell: &Cell) -> bool {
    match cell {
        Cell::Money(amount) | Cell::UnitPrice(amount) => amount.0 < 0,
        Cell::Count(value) => *value < 0,
        Cell::Ratio(value) | Cell::Decimal(value) => *value < 0,
        Cell::Empty | Cell::Text(_) | Cell::Date(_) | Cell::Time(_) => false,
    }
}

/// A number as people read it: thousands apart, ratios in percent, prices for a million tokens.
fn number(cell: &Cell, decimals: u32) -> String {
    match cell {
        Cell::Money(amount) => group(&amount.to_decimal(decimals)),
        Cell::Count(count) => group(&count.to_string()),
        // A pico-USD for one token is a micro-USD for a million.
        Cell::UnitPrice(price) => {
            let text = decimal::short(price.0, 6);
            let places = text.split_once('.').map_or(0, |(_, places)| places.len());
            match places {
                0 => group(&format!("{text}.00")),
                1 => group(&format!("{text}0")),
                _ => group(&text),
            }
        }
        Cell::Decimal(thousandths) => group(&decimal::short((*thousandths).into(), 3)),
        Cell::Ratio(millionths) => {
            // One place of a percent: 1,000 millionths.
            let tenths =
                (i128::from(*millionths) + if *millionths < 0 { -500 } else { 500 }) / 1_000;
            format!("{} %", group(&decimal::short(tenths, 1)))
        }
        Cell::Empty | Cell::Text(_) | Cell::Date(_) | Cell::Time(_) => String::new(),
    }
}

/// A decimal number with its thousands apart and a sign of minus.
fn group(number: &str) -> String {
    decimal::grouped(number).replacen('-', "\u{2212}", 1)
}

fn foot(stamp: &Stamp, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<footer>\n<h2>Manifest</h2>\n<dl>")?;
    for (name, value) in stamp.fields() {
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&value))?;
    }
    writeln!(out, "</dl>\n</footer>")
}

/// Text that is nothing but text in HTML and in its attributes.
fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || is_control(c);
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if is_control(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// What a page must not have, and what turns the direction of the text around it.
fn is_control(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
