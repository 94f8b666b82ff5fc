//! A report as a workbook: a sheet to read and print, one for pivot tables, one for each further
//! table, and the manifest.
//!
//! Numbers are numbers and dates are dates. Rows go to a temporary file as they are made, so a
//! long report needs little memory. Nothing that comes from outside becomes a formula or a link.

use std::io::{self, Cursor, Write};

use jiff::tz::TimeZone;
use rust_xlsxwriter::{
    Color, DocProperties, Format, FormatAlign, FormatBorder, Formula, Workbook, Worksheet,
    XlsxError,
};

use super::super::table::{Cell, Column, Kind, Table};
use super::super::{Report, ReportError, Request};
use super::heading;
use super::manifest::period_text;
use super::rounding::Rounding;
use super::shown::{Shown, cell_text};

/// Rows of a sheet, by the file format.
const SHEET_ROWS: usize = 1_048_576;

/// Digits that a spreadsheet keeps of a number; one with more is written as text.
const NUMBER_DIGITS: usize = 15;

/// Characters of a cell, by the file format.
const CELL_CHARS: usize = 32_767;

/// Rows above the table on a sheet that is read: title, description, an empty one.
const TITLE_ROWS: u32 = 3;

/// Characters of a column at most, and rows looked at for the width.
const WIDEST: usize = 42;
const ROWS_MEASURED: usize = 500;

/// Whether a sheet has room for each table.
///
/// Errors: [`ReportError::Parameter`].
pub(super) fn check(report: &Report) -> Result<(), ReportError> {
    let most = SHEET_ROWS - TITLE_ROWS as usize - 2;
    for table in &report.tables {
        let rows = table.rows.len();
        if rows > most {
            return Err(ReportError::Parameter(format!(
                "format: {} has {rows} rows and a sheet takes {most}; ask for csv, for a shorter \
                 period or for less in group_by",
                table.name
            )));
        }
    }
    Ok(())
}

/// Writes a workbook. It is packed in memory, which takes a tenth of its rows as text.
pub(super) fn write(report: &Report, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let book = Book {
        report,
        shown,
        styles: Styles::new(report.manifest.request.decimals),
    };
    let mut packed = Cursor::new(Vec::new());
    book.write(&mut packed).map_err(io::Error::other)?;
    out.write_all(packed.get_ref())
}

struct Book<'a> {
    report: &'a Report,
    shown: &'a Shown,
    styles: Styles,
}

/// What a sheet is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Title, headings for people, totals.
    Read,
    /// Names of columns and rows, nothing else.
    Pivot,
}

impl Book<'_> {
    fn write(&self, out: &mut Cursor<Vec<u8>>) -> Result<(), XlsxError> {
        let mut workbook = Workbook::new();
        let mut properties = DocProperties::new()
            .set_title(&self.report.title)
            .set_subject(&self.shown.stamp.report_id)
            .set_author("tallyd");
        let made = self.report.manifest.made_at.to_zoned(TimeZone::UTC);
        if let Ok(made) =
            rust_xlsxwriter::ExcelDateTime::from_timestamp(made.timestamp().as_second())
        {
            // Not the time of writing: the same report gives the same file.
            properties = properties.set_creation_datetime(&made);
        }
        workbook.set_properties(&properties);
        let mut names = Names::default();
        for (at, (table, rounding)) in self
            .report
            .tables
            .iter()
            .zip(&self.shown.tables)
            .enumerate()
        {
            let sheet = workbook.add_worksheet_with_constant_memory()?;
            sheet.set_name(names.take(&heading(table.name)))?;
            self.sheet(sheet, table, rounding, Use::Read)?;
            if at == 0 {
                let sheet = workbook.add_worksheet_with_constant_memory()?;
                sheet.set_name(names.take("Data"))?;
                self.sheet(sheet, table, rounding, Use::Pivot)?;
            }
        }
        let sheet = workbook.add_worksheet();
        sheet.set_name(names.take("Manifest"))?;
        self.manifest(sheet)?;
        workbook.save_to_writer(out)
    }

    fn sheet(
        &self,
        sheet: &mut Worksheet,
        table: &Table,
        rounding: &Rounding,
        purpose: Use,
    ) -> Result<(), XlsxError> {
        let last_column = column_number(table.columns.len().saturating_sub(1));
        for (at, width) in widths(table, rounding, purpose).into_iter().enumerate() {
            sheet.set_column_width(column_number(at), width)?;
        }
        let header = match purpose {
            Use::Read => TITLE_ROWS,
            Use::Pivot => 0,
        };
        if purpose == Use::Read {
            sheet.write_string_with_format(0, 0, &self.report.title, &self.styles.title)?;
            sheet.write_string_with_format(1, 0, self.description(table), &self.styles.dim)?;
        }
        for (at, column) in table.columns.iter().enumerate() {
            let (text, style) = match purpose {
                Use::Read if is_number(column.kind) => {
                    (heading(column.name), &self.styles.header_number)
                }
                Use::Read => (heading(column.name), &self.styles.header),
                Use::Pivot => (column.name.to_owned(), &self.styles.header),
            };
            sheet.write_string_with_format(header, column_number(at), text, style)?;
        }
        sheet.set_freeze_panes(header + 1, 0)?;
        let rows = u32::try_from(table.rows.len()).unwrap_or(u32::MAX);
        let first = header + 1;
        let mut cells = Vec::with_capacity(table.columns.len());
        for row in 0..rows {
            let index = row as usize;
            rounding.row(table, index, &mut cells);
            for (at, cell) in cells.iter().enumerate() {
                self.cell(sheet, (first + row, column_number(at)), cell)?;
            }
        }
        if rows > 0 {
            sheet.autofilter(header, 0, first + rows - 1, last_column)?;
        }
        if purpose == Use::Read {
            self.totals(sheet, table, rounding, (first, first + rows))?;
            sheet.set_landscape();
            sheet.set_paper_size(9);
            sheet.set_print_fit_to_pages(1, 0);
            sheet.set_repeat_rows(header, header)?;
            sheet.set_footer("&L&8&F&R&8&P / &N");
        }
        Ok(())
    }

    /// What a reader has to know, in one line.
    fn description(&self, table: &Table) -> String {
        let request = &self.report.manifest.request;
        format!(
            "{}: {} ({}), {}, basis {}, money in {}",
            heading(table.name),
            period_text(&request.zone, request.from, request.to),
            self.shown.stamp.timezone,
            self.shown.stamp.status,
            self.shown.stamp.basis,
            self.shown.stamp.currency,
        )
    }

    fn cell(
        &self,
        sheet: &mut Worksheet,
        (row, column): (u32, u16),
        cell: &Cell,
    ) -> Result<(), XlsxError> {
        let styles = &self.styles;
        let request = &self.report.manifest.request;
        match cell {
            Cell::Empty => {}
            Cell::Text(text) => {
                sheet.write_string(row, column, clipped(text))?;
            }
            Cell::Date(date) => {
                sheet.write_datetime_with_format(row, column, date, &styles.date)?;
            }
            Cell::Time(at) => {
                let civil = at.to_zoned(request.zone.clone()).datetime();
                sheet.write_datetime_with_format(row, column, civil, &styles.time)?;
            }
            Cell::Count(_)
            | Cell::Money(_)
            | Cell::UnitPrice(_)
            | Cell::Ratio(_)
            | Cell::Decimal(_) => {
                let style = styles.number(cell);
                match number(cell, request) {
                    Ok(number) => {
                        sheet.write_number_with_format(row, column, number, style)?;
                    }
                    Err(text) => {
                        sheet.write_string_with_format(row, column, text, &styles.long)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The sums below the rows. They follow the filter; their stored value is the exact one.
    fn totals(
        &self,
        sheet: &mut Worksheet,
        table: &Table,
        rounding: &Rounding,
        (first, end): (u32, u32),
    ) -> Result<(), XlsxError> {
        let labelled = table.columns.first().is_some_and(|column| !column.sums);
        let sums = table.columns.iter().any(|column| column.sums);
        if !sums || first == end {
            return Ok(());
        }
        for at in 0..table.columns.len() {
            let column = column_number(at);
            let Some(total) = rounding.shown_total(at) else {
                let text = if at == 0 && labelled { "Total" } else { "" };
                sheet.write_string_with_format(end, column, text, &self.styles.total_text)?;
                continue;
            };
            match number(&total, &self.report.manifest.request) {
                Ok(value) => {
                    let range =
                        rust_xlsxwriter::utility::cell_range(first, column, end - 1, column);
                    let formula = Formula::new(format!("=SUBTOTAL(109,{range})"));
                    let formula = formula.set_result(value.to_string());
                    let style = self.styles.total(&total);
                    sheet.write_formula_with_format(end, column, formula, style)?;
                }
                Err(text) => {
                    sheet.write_string_with_format(end, column, text, &self.styles.total_text)?;
                }
            }
        }
        Ok(())
    }

    fn manifest(&self, sheet: &mut Worksheet) -> Result<(), XlsxError> {
        sheet.set_column_width(0, 34)?;
        sheet.set_column_width(1, 14)?;
        sheet.set_column_width(2, 90)?;
        sheet.write_string_with_format(0, 0, "Manifest", &self.styles.title)?;
        let mut row = 2;
        for (name, value) in self.shown.stamp.fields() {
            sheet.write_string_with_format(row, 0, clipped(&name), &self.styles.label)?;
            sheet.write_string(row, 1, clipped(&value))?;
            row += 1;
        }
        row += 1;
        sheet.write_string_with_format(row, 0, "Columns", &self.styles.title)?;
        row += 1;
        for (at, text) in (0_u16..).zip(["column", "sheet", "meaning"]) {
            sheet.write_string_with_format(row, at, text, &self.styles.header)?;
        }
        for table in &self.report.tables {
            for column in &table.columns {
                row += 1;
                sheet.write_string(row, 0, column.name)?;
                sheet.write_string(row, 1, heading(table.name))?;
                sheet.write_string(row, 2, meaning(column))?;
            }
        }
        sheet.set_landscape();
        sheet.set_paper_size(9);
        sheet.set_print_fit_to_pages(1, 0);
        Ok(())
    }
}

/// The formats of cells.
struct Styles {
    title: Format,
    dim: Format,
    label: Format,
    header: Format,
    header_number: Format,
    date: Format,
    time: Format,
    /// A number with more digits than a spreadsheet keeps, as text.
    long: Format,
    total_text: Format,
    count: Format,
    money: Format,
    price: Format,
    ratio: Format,
    decimal: Format,
    total_count: Format,
    total_money: Format,
    total_price: Format,
    total_ratio: Format,
    total_decimal: Format,
}

impl Styles {
    fn new(decimals: u32) -> Self {
        let ink = Color::RGB(0x0017_324D);
        let places = "0".repeat(decimals as usize);
        let money = format!("#,##0.{places};[Red]-#,##0.{places}");
        let [count, price, ratio, decimal] = ["#,##0", "#,##0.00####", "0.0###%", "#,##0.###"];
        let plain = |code: &str| Format::new().set_num_format(code);
        let total = |format: Format| {
            format
                .set_bold()
                .set_border_top(FormatBorder::Thin)
                .set_border_bottom(FormatBorder::Double)
        };
        let header = Format::new()
            .set_bold()
            .set_font_color(Color::White)
            .set_background_color(ink)
            .set_text_wrap()
            .set_align(FormatAlign::VerticalCenter);
        Self {
            title: Format::new()
                .set_bold()
                .set_font_size(14)
                .set_font_color(ink),
            dim: Format::new().set_font_color(Color::RGB(0x005F_6B7A)),
            label: Format::new().set_bold(),
            header_number: header.clone().set_align(FormatAlign::Right),
            header,
            date: plain("yyyy-mm-dd"),
            time: plain("yyyy-mm-dd hh:mm:ss"),
            long: Format::new().set_align(FormatAlign::Right),
            total_text: total(Format::new()),
            count: plain(count),
            money: plain(&money),
            price: plain(price),
            ratio: plain(ratio),
            decimal: plain(decimal),
            total_count: total(plain(count)),
            total_money: total(plain(&money)),
            total_price: total(plain(price)),
            total_ratio: total(plain(ratio)),
            total_decimal: total(plain(decimal)),
        }
    }

    const fn number(&self, cell: &Cell) -> &Format {
        match cell {
            Cell::Money(_) => &self.money,
            Cell::UnitPrice(_) => &self.price,
            Cell::Ratio(_) => &self.ratio,
            Cell::Decimal(_) => &self.decimal,
            _ => &self.count,
        }
    }

    const fn total(&self, cell: &Cell) -> &Format {
        match cell {
            Cell::Money(_) => &self.total_money,
            Cell::UnitPrice(_) => &self.total_price,
            Cell::Ratio(_) => &self.total_ratio,
            Cell::Decimal(_) => &self.total_decimal,
            _ => &self.total_count,
        }
    }
}

/// The number of a cell, or its text if a spreadsheet would lose digits of it.
fn number(cell: &Cell, request: &Request) -> Result<f64, String> {
    let text = cell_text(cell, request);
    let significant = if text.contains('.') {
        text.trim_end_matches('0')
    } else {
        &text
    };
    let digits = significant.bytes().filter(u8::is_ascii_digit);
    if digits.skip_while(|digit| *digit == b'0').count() > NUMBER_DIGITS {
        return Err(text);
    }
    text.parse().map_err(|_| text)
}

const fn is_number(kind: Kind) -> bool {
    !matches!(kind, Kind::Text | Kind::Date | Kind::Time)
}

/// Kinds whose unit the name of a column does not tell.
fn meaning(column: &Column) -> String {
    match column.kind {
        Kind::UnitPrice => format!("{} Per million tokens.", column.help),
        _ => column.help.to_owned(),
    }
}

fn column_number(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

/// What a cell takes of a text.
fn clipped(text: &str) -> &str {
    let mut units = 0;
    for (at, c) in text.char_indices() {
        units += c.len_utf16();
        if units > CELL_CHARS {
            return &text[..at];
        }
    }
    text
}

/// Widths of columns in characters, from the heading, the total and the first rows.
fn widths(table: &Table, rounding: &Rounding, purpose: Use) -> Vec<f64> {
    let mut widest: Vec<usize> = table
        .columns
        .iter()
        .map(|column| match purpose {
            // The heading may take two lines; room for the arrow of the filter.
            Use::Read => {
                let heading = heading(column.name);
                heading.split(' ').map(str::len).max().unwrap_or(0) + 4
            }
            Use::Pivot => column.name.len() + 4,
        })
        .collect();
    let decimals = rounding.decimals();
    let mut cells = Vec::new();
    for index in 0..table.rows.len().min(ROWS_MEASURED) {
        table.rows.row(index, &mut cells);
        for (width, cell) in widest.iter_mut().zip(&cells) {
            *width = (*width).max(shown_chars(cell, decimals) + 1);
        }
    }
    for (at, width) in widest.iter_mut().enumerate() {
        if let Some(total) = rounding.shown_total(at) {
            *width = (*width).max(shown_chars(&total, decimals) + 2);
        }
    }
    let widths = widest
        .into_iter()
        .map(|width| width.clamp(8, WIDEST) as f64);
    widths.collect()
}

fn shown_chars(cell: &Cell, decimals: u32) -> usize {
    let grouped = |digits: usize| digits + digits.saturating_sub(1) / 3;
    match cell {
        Cell::Empty => 0,
        Cell::Text(text) => text.chars().count(),
        Cell::Date(_) => 10,
        Cell::Time(_) => 19,
        Cell::Ratio(_) => 9,
        Cell::Count(count) => grouped(count.to_string().len()),
        Cell::Money(amount) => {
            let text = amount.to_decimal(decimals);
            let places = decimals as usize + 1;
            grouped(text.len().saturating_sub(places)) + places
        }
        Cell::UnitPrice(_) | Cell::Decimal(_) => 12,
    }
}

/// Names of sheets: up to 31 characters, none twice, without what the file format forbids.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn take(&mut self, wanted: &str) -> String {
        let allowed = |c: &char| !matches!(c, '[' | ']' | ':' | '*' | '?' | '/' | '\\' | '\'');
        let base: String = wanted.chars().filter(allowed).take(28).collect();
        let mut name = base.clone();
        let mut number = 2;
        while self.0.iter().any(|taken| taken.eq_ignore_ascii_case(&name)) {
            name = format!("{base} {number}");
            number += 1;
        }
        self.0.push(name.clone());
        name
    }
}
