//! The manifest: what a file holds, of what it was made, and how to check it.
//!
//! It is the same in all forms of a report: lines with `#` in CSV, a member in JSON, a sheet in a
//! workbook, the foot of a page, a second file beside FOCUS.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::super::table::{Cell, Table};
use super::super::{Manifest, Report, Request};
use super::hex;
use super::rounding::Rounding;
use super::shown::cell_text;

/// Everything a reader needs to check a file, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// Name, period and a hash: the same numbers have the same id, whenever they were worked out.
    pub report_id: String,
    pub report: &'static str,
    pub title: String,
    pub made_at: String,
    /// Half-open.
    pub from: String,
    pub to: String,
    pub timezone: String,
    pub group_by: Vec<String>,
    pub basis: &'static str,
    pub currency: String,
    /// Units of the currency for one USD; empty for USD itself.
    pub exchange_rate: String,
    pub exchange_rate_source: String,
    pub decimals: u32,
    pub price_table_version: String,
    pub price_table_sha256: String,
    pub status: &'static str,
    pub watermarks: Vec<Watermark>,
    /// The report's own table first.
    pub tables: Vec<Contents>,
    /// Of the data as CSV: of the header and all rows, without the lines that begin with `#`.
    pub content_sha256: String,
    pub notes: Vec<String>,
}

/// How far a source was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watermark {
    pub source: String,
    pub read_to: String,
}

/// What one table holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contents {
    pub name: &'static str,
    pub rows: usize,
    pub control_totals: Vec<ControlTotal>,
}

/// The sum of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlTotal {
    pub column: &'static str,
    /// Every digit; the same in every grouping of one period.
    pub exact: String,
    /// What the lines shown add up to.
    pub shown: String,
}

impl Stamp {
    /// Stamps a report, with the hash of the content of its first table.
    #[must_use]
    pub fn new(report: &Report, roundings: &[Rounding], content_sha256: String) -> Self {
        let manifest = &report.manifest;
        let request = &manifest.request;
        let time = |at| cell_text(&Cell::Time(at), request);
        let (rate, rate_source) = manifest.rate.clone().unwrap_or_default();
        let watermarks = manifest.watermarks.iter().map(|(source, at)| Watermark {
            source: source.clone(),
            read_to: time(*at),
        });
        let mut stamp = Self {
            report_id: String::new(),
            report: manifest.report,
            title: report.title.clone(),
            made_at: time(manifest.made_at),
            from: time(request.from),
            to: time(request.to),
            timezone: zone_name(&request.zone),
            group_by: request.group_by.iter().map(ToString::to_string).collect(),
            basis: request.basis.name(),
            currency: request.currency.to_string(),
            exchange_rate: rate,
            exchange_rate_source: rate_source,
            decimals: request.decimals,
            price_table_version: manifest.prices.0.clone(),
            price_table_sha256: manifest.prices.1.clone(),
            status: manifest.standing.name(),
            watermarks: watermarks.collect(),
            tables: report
                .tables
                .iter()
                .zip(roundings)
                .map(|(table, rounding)| Contents::new(table, rounding, request))
                .collect(),
            content_sha256,
            notes: manifest.notes.clone(),
        };
        stamp.report_id = stamp.id(manifest);
        stamp
    }

    /// Over all that makes the numbers what they are, and nothing that changes by itself.
    fn id(&self, manifest: &Manifest) -> String {
        let mut hash = Sha256::new();
        for part in [
            self.report,
            &self.from,
            &self.to,
            &self.timezone,
            &self.group_by.join(","),
            self.basis,
            &self.currency,
            &self.exchange_rate,
            &self.price_table_sha256,
            self.status,
            &self.content_sha256,
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digits = hex(&hash.finalize());
        let period = period_label(
            &manifest.request.zone,
            manifest.request.from,
            manifest.request.to,
        );
        format!("{}-{period}-{}", self.report, &digits[..12])
    }

    /// Names and values in the order in which they are shown.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = [
            ("report_id", self.report_id.clone()),
            ("report", self.report.to_owned()),
            ("title", self.title.clone()),
            ("made_at", self.made_at.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("timezone", self.timezone.clone()),
            ("group_by", self.group_by.join(",")),
            ("basis", self.basis.to_owned()),
            ("currency", self.currency.clone()),
            ("exchange_rate", self.exchange_rate.clone()),
            ("exchange_rate_source", self.exchange_rate_source.clone()),
            ("decimals", self.decimals.to_string()),
            ("price_table_version", self.price_table_version.clone()),
            ("price_table_sha256", self.price_table_sha256.clone()),
            ("status", self.status.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for one in &self.watermarks {
            fields.push((format!("watermark.{}", one.source), one.read_to.clone()));
        }
        for Contents {
            name: table,
            rows,
            control_totals,
        } in &self.tables
        {
            fields.push((format!("rows.{table}"), rows.to_string()));
            for total in control_totals {
                let column = total.column;
                let name = format!("control_total.{table}.{column}");
                fields.push((name, total.exact.clone()));
                if total.shown != total.exact {
                    let name = format!("shown_total.{table}.{column}");
                    fields.push((name, total.shown.clone()));
                }
            }
        }
        fields.push(("content_sha256".to_owned(), self.content_sha256.clone()));
        for note in &self.notes {
            fields.push(("note".to_owned(), note.clone()));
        }
        fields.retain(|(_, value)| !value.is_empty());
        fields
    }

    /// The fields as lines that begin with `#`.
    #[must_use]
    pub fn comment_lines(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.fields() {
            let value = value.replace(['\r', '\n'], " ");
            let _ = writeln!(text, "# {name}: {value}");
        }
        text
    }

    /// The object as JSON, over several lines.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers, texts and lists can always be written")
    }
}

impl Contents {
    fn new(table: &Table, rounding: &Rounding, request: &Request) -> Self {
        let columns = table.columns.iter().enumerate();
        let totals = columns.filter_map(|(at, column)| {
            Some(ControlTotal {
                column: column.name,
                exact: exact_text(rounding.exact_total(at)?, request),
                shown: cell_text(&rounding.shown_total(at)?, request),
            })
        });
        Self {
            name: table.name,
            rows: rounding.rows(),
            control_totals: totals.collect(),
        }
    }
}

/// A sum with every digit; empty where nothing was known.
fn exact_text(cell: &Cell, request: &Request) -> String {
    match cell {
        Cell::Money(amount) => amount.to_string(),
        other => cell_text(other, request),
    }
}

/// The name of a zone as it was asked for.
fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => zone
            .to_fixed_offset()
            .map_or_else(|_| "UTC".to_owned(), |offset| offset.to_string()),
    }
}

/// A half-open period in few characters: `2026-10` for a month, `2026-10-05` for a day, else the
/// first and the last day with `_` between.
#[must_use]
pub fn period_label(zone: &TimeZone, from: Timestamp, to: Timestamp) -> String {
    match Span::of(zone, from, to) {
        Span::Month(first) => first.strftime("%Y-%m").to_string(),
        Span::Days(first, last) if first == last => first.to_string(),
        Span::Days(first, last) => format!("{first}_{last}"),
        Span::Times(start, end) => {
            let compact = |at: &jiff::Zoned| at.strftime("%Y-%m-%dT%H%M").to_string();
            format!("{}_{}", compact(&start), compact(&end))
        }
    }
}

/// A half-open period as people say it: `October 2026`, `5 October 2026 to 11 October 2026`.
#[must_use]
pub(super) fn period_text(zone: &TimeZone, from: Timestamp, to: Timestamp) -> String {
    let day = |day: jiff::civil::Date| day.strftime("%-d %B %Y").to_string();
    match Span::of(zone, from, to) {
        Span::Month(first) => first.strftime("%B %Y").to_string(),
        Span::Days(first, last) if first == last => day(first),
        Span::Days(first, last) => format!("{} to {}", day(first), day(last)),
        Span::Times(start, end) => {
            let time = |at: &jiff::Zoned| at.strftime("%-d %B %Y %H:%M").to_string();
            format!("{} until before {}", time(&start), time(&end))
        }
    }
}

/// What a period is in the calendar.
enum Span {
    /// A whole month, by its first day.
    Month(jiff::civil::Date),
    /// Whole days, the last one included.
    Days(jiff::civil::Date, jiff::civil::Date),
    Times(jiff::Zoned, jiff::Zoned),
}

impl Span {
    fn of(zone: &TimeZone, from: Timestamp, to: Timestamp) -> Self {
        let (start, end) = (from.to_zoned(zone.clone()), to.to_zoned(zone.clone()));
        let midnight = |at: &jiff::Zoned| at.start_of_day().is_ok_and(|start| start == *at);
        let (first, after) = (start.date(), end.date());
        let last = after.yesterday().ok().filter(|last| *last >= first);
        let Some(last) = last.filter(|_| midnight(&start) && midnight(&end)) else {
            return Self::Times(start, end);
        };
        if first.day() == 1 && last == first.last_of_month() {
            return Self::Month(first);
        }
        Self::Days(first, last)
    }
}

/// SHA-256 in hexadecimal of what is written to it.
#[derive(Debug, Default)]
pub(super) struct HashWriter(Sha256);

impl HashWriter {
    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

impl std::io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_named_as_people_name_it() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let named = |from: &str, to: &str| {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            (
                period_label(&berlin, from, to),
                period_text(&berlin, from, to),
            )
        };
        let of = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        assert_eq!(
            [
                named("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
                named("2026-10-04T22:00:00Z", "2026-10-11T22:00:00Z"),
                named("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
                named("2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z"),
            ],
            [
                of("2026-10", "October 2026"),
                of("2026-10-05_2026-10-11", "5 October 2026 to 11 October 2026"),
                of("2026-10-25", "25 October 2026"),
                of(
                    "2026-10-25T0000_2026-10-25T2300",
                    "25 October 2026 00:00 until before 25 October 2026 23:00"
                ),
            ],
            "the 25th has 25 hours"
        );
    }
}
