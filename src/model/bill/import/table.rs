//! A CSV file with a header, read cell by cell, so that every error tells where it is.

use std::collections::HashMap;
use std::io::Read;

use csv::{Reader, ReaderBuilder, StringRecord};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::ImportError;
use crate::model::money::{DecimalError, PicoUsd};

/// What a spreadsheet puts before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Characters of a cell that an error repeats.
const SHOWN: usize = 40;

/// A file whose header was read.
pub(super) struct Table<R> {
    reader: Reader<R>,
    header: Header,
    record: StringRecord,
    pub(super) rows: u64,
    pub(super) rounded: u64,
}

/// Columns by their names in one spelling.
struct Header {
    columns: HashMap<String, usize>,
    cells: StringRecord,
}

impl Header {
    fn of(cells: StringRecord) -> Self {
        let columns = cells.iter().enumerate();
        Self {
            columns: columns.map(|(place, name)| (plain(name), place)).collect(),
            cells,
        }
    }
}

impl<R: Read> Table<R> {
    /// Reads the header. All of `needed` must be there.
    pub(super) fn open(reader: R, needed: &[&str]) -> Result<Self, ImportError> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(reader);
        let mut cells = StringRecord::new();
        let is_there = reader
            .read_record(&mut cells)
            .map_err(|error| broken(&error))?;
        if !is_there {
            return Err(ImportError::new(0, "", "the file is empty"));
        }
        let header = Header::of(cells);
        let missing: Vec<&str> = needed
            .iter()
            .filter(|name| !header.columns.contains_key(**name))
            .copied()
            .collect();
        if !missing.is_empty() {
            let has = header.cells.iter().take(8).collect::<Vec<_>>().join(", ");
            let message = format!(
                "the header lacks {}; it begins with {}",
                missing.join(", "),
                cut(&has)
            );
            return Err(ImportError::new(1, "", message));
        }
        Ok(Self {
            reader,
            header,
            record: StringRecord::new(),
            rows: 0,
            rounded: 0,
        })
    }

    /// Goes to the next row. Empty lines and further copies of the header, as files that were put
    /// together have them, are passed over.
    pub(super) fn next(&mut self) -> Result<bool, ImportError> {
        loop {
            let read = self.reader.read_record(&mut self.record);
            if !read.map_err(|error| broken(&error))? {
                return Ok(false);
            }
            if self.record.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            let first = self.record.get(0).unwrap_or_default();
            let is_header = plain(first) == plain(self.header.cells.get(0).unwrap_or_default());
            if is_header && self.record.len() > 1 {
                self.header = Header::of(self.record.clone());
                continue;
            }
            let (has, wanted) = (self.record.len(), self.header.cells.len());
            if has != wanted {
                let message = format!("has {has} cells where the header has {wanted}");
                return Err(self.error("", message));
            }
            self.rows += 1;
            return Ok(true);
        }
    }

    /// A cell without spaces around it; empty if there is no such column.
    pub(super) fn cell(&self, column: &str) -> &str {
        let place = self.header.columns.get(column);
        let cell = place.and_then(|place| self.record.get(*place));
        cell.unwrap_or_default().trim()
    }

    /// A cell that is not empty.
    pub(super) fn given(&self, column: &str) -> Option<&str> {
        Some(self.cell(column)).filter(|cell| !cell.is_empty())
    }

    /// The first column that is none of these, as the file writes it.
    pub(super) fn unknown(&self, known: &[&str]) -> Option<String> {
        let mut names = self.header.cells.iter();
        let other = names.find(|name| !known.contains(&&*plain(name)));
        other.map(|name| cut(name).to_owned())
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.header.columns.contains_key(column)
    }

    /// A cell that must not be empty.
    pub(super) fn needed(&self, column: &str) -> Result<&str, ImportError> {
        self.given(column)
            .ok_or_else(|| self.error(column, "is empty"))
    }

    /// An amount, rounded to twelve decimal places; `None` if the cell is empty.
    pub(super) fn amount(&mut self, column: &str) -> Result<Option<PicoUsd>, ImportError> {
        let Some(cell) = self.given(column) else {
            return Ok(None);
        };
        match PicoUsd::parse(cell) {
            Ok(amount) => Ok(Some(amount)),
            Err(DecimalError::TooFine { .. }) => {
                let amount = PicoUsd::parse_rounded(cell);
                let amount = amount.map_err(|error| self.wrong(column, error))?;
                self.rounded += 1;
                Ok(Some(amount))
            }
            Err(error) => Err(self.wrong(column, error)),
        }
    }

    /// What is wrong with a number, and the mend.
    fn wrong(&self, column: &str, error: DecimalError) -> ImportError {
        let cell = cut(self.cell(column));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let is_grouped =
            cell.contains(',') && cell.trim_start_matches('-').split([',', '.']).all(digits);
        let message = if is_grouped {
            let mend = "write numbers without thousands separators, with a point for decimals";
            format!("`{cell}` has a comma; {mend}")
        } else {
            format!("`{cell}` is no number: {error}")
        };
        self.error(column, message)
    }

    /// A whole number.
    pub(super) fn count(&self, column: &str) -> Result<Option<u64>, ImportError> {
        let Some(cell) = self.given(column) else {
            return Ok(None);
        };
        let message = || format!("`{}` is no whole number", cut(cell));
        cell.parse()
            .map(Some)
            .map_err(|_| self.error(column, message()))
    }

    /// The UTC day of a date or time. A time without an offset is in UTC.
    pub(super) fn day(&self, column: &str) -> Result<Date, ImportError> {
        let cell = self.needed(column)?;
        day(cell).ok_or_else(|| {
            let message = format!("`{}` is no date such as 2026-11-22", cut(cell));
            self.error(column, message)
        })
    }

    /// An ISO 4217 code.
    pub(super) fn currency(&self, column: &str) -> Result<&str, ImportError> {
        let cell = self.needed(column)?;
        if cell.len() == 3 && cell.bytes().all(|b| b.is_ascii_uppercase()) {
            return Ok(cell);
        }
        let message = format!("`{}` is no ISO 4217 code such as USD", cut(cell));
        Err(self.error(column, message))
    }

    /// An error of this row.
    pub(super) fn error(&self, column: &str, message: impl Into<String>) -> ImportError {
        let line = self.record.position().map_or(0, csv::Position::line);
        ImportError::new(line, column, message)
    }
}

/// Reads a date, or a time as exports write it: RFC 3339, or `2026-11-22 07:00:00 UTC`.
pub(super) fn day(text: &str) -> Option<Date> {
    if text.len() == 10 {
        return text.parse().ok();
    }
    let plain = text.trim_end_matches("UTC").trim_end();
    let zoned = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let time = plain.parse::<Timestamp>().ok().map(zoned);
    time.or_else(|| {
        plain
            .parse::<jiff::civil::DateTime>()
            .ok()
            .map(jiff::civil::DateTime::date)
    })
}

/// The part of a text that an error repeats.
pub(super) fn cut(text: &str) -> &str {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// One spelling for `lineItem/UsageStartDate`, `line_item_usage_start_date` and
/// `usage.pricing_unit`.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len() + 8);
    let mut before = '_';
    for letter in name.trim().trim_start_matches(BYTE_ORDER_MARK).chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            plain.push('_');
        }
        before = letter;
        plain.push(if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '_'
        });
    }
    plain
}

fn broken(error: &csv::Error) -> ImportError {
    let line = error.position().map_or(0, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8; export the file as UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => format!("the file cannot be read: {error}"),
        _ => format!("is no CSV: {error}"),
    };
    ImportError::new(line, "", message)
}
