//! Reports as files. Every form shows the same rounded figures.

mod csv;
mod focus;
mod html;
mod json;
mod manifest;
#[cfg(test)]
mod peer_tests;
mod rounding;
mod shown;
#[cfg(test)]
mod tests;
mod text;
mod xlsx;

use std::io::{self, Write};

use sha2::{Digest, Sha256};

pub use manifest::{Contents, ControlTotal, Stamp, Watermark, period_label};
pub use rounding::Rounding;
pub use shown::{Shown, cell_text, show};

use super::{Name, Report, ReportError, Request};

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Aligned text for a terminal.
    #[default]
    Table,
    Csv,
    Json,
    /// A workbook.
    Xlsx,
    /// A page.
    Html,
    /// FOCUS 1.2, as CSV.
    Focus,
}

impl Form {
    pub const ALL: [Self; 6] = [
        Self::Table,
        Self::Csv,
        Self::Json,
        Self::Xlsx,
        Self::Html,
        Self::Focus,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Xlsx => "xlsx",
            Self::Html => "html",
            Self::Focus => "focus",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Csv | Self::Focus => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// Of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Table => "txt",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Xlsx => "xlsx",
            Self::Html => "html",
            Self::Focus => "focus.csv",
        }
    }

    /// True if the file itself has no place for the manifest.
    #[must_use]
    pub const fn has_manifest_beside(self) -> bool {
        matches!(self, Self::Focus)
    }

    /// What has to be asked in place of a report, to write it in this form; `None` if the report
    /// itself will do.
    ///
    /// Errors: [`ReportError::Parameter`] if the report has no such form.
    pub fn instead(
        self,
        name: Name,
        request: &Request,
    ) -> Result<Option<(Name, Request)>, ReportError> {
        match (self, name) {
            (Self::Focus, Name::Chargeback | Name::CostDetail) => {
                Ok(Some((Name::CostDetail, focus::request(request))))
            }
            (Self::Focus, _) => Err(ReportError::Parameter(
                "format: focus is a form of chargeback and cost_detail only".to_owned(),
            )),
            _ => Ok(None),
        }
    }

    /// Whether a report can be written in this form.
    ///
    /// Errors: [`ReportError::Parameter`] if a sheet has no room for it.
    pub fn check(self, report: &Report) -> Result<(), ReportError> {
        match self {
            Self::Xlsx => xlsx::check(report),
            Self::Table | Self::Csv | Self::Json | Self::Html | Self::Focus => Ok(()),
        }
    }
}

/// Where the manifest of a CSV file goes; other forms have a place of their own for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestPlace {
    /// As leading lines that begin with `#`.
    #[default]
    Leading,
    /// Not in the file: it is asked for by itself.
    Separate,
    /// The manifest alone, as JSON, whatever the form.
    Only,
}

impl ManifestPlace {
    pub const ALL: [Self; 3] = [Self::Leading, Self::Separate, Self::Only];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leading => "leading",
            Self::Separate => "separate",
            Self::Only => "only",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }
}

/// Writes a report, row by row.
///
/// Errors: what `out` says.
pub fn write(
    report: &Report,
    shown: &Shown,
    form: Form,
    manifest: ManifestPlace,
    out: &mut dyn Write,
) -> io::Result<()> {
    match (manifest, form) {
        (ManifestPlace::Only, Form::Focus) => focus::manifest(report, shown, out),
        (ManifestPlace::Only, _) => json::manifest(shown, out),
        (_, Form::Table) => text::write(report, shown, out),
        (place, Form::Csv) => csv::write(report, shown, place, out),
        (_, Form::Json) => json::write(report, shown, out),
        (_, Form::Xlsx) => xlsx::write(report, shown, out),
        (_, Form::Html) => html::write(report, shown, out),
        (_, Form::Focus) => focus::write(report, shown, out),
    }
}

/// The name of a column or table as people read it: `cost_center` is `Cost center`,
/// `actual_cost_usd` is `Actual cost`.
fn heading(name: &str) -> String {
    let name = name.strip_suffix("_usd").unwrap_or(name);
    let mut text = name.replace(['_', '-'], " ");
    if text.starts_with("est ") {
        text.replace_range(..3, "estimated");
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(digest.len() * 2);
    for byte in digest {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
