//! Reports as files. Every form shows the same rounded figures.

mod csv;
mod json;
mod manifest;
mod shown;
mod text;

use std::io::{self, Write};

use sha2::{Digest, Sha256};

pub use manifest::{Fact, facts};
pub use shown::{Shown, cell_text, show};

use super::Report;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Aligned text for a terminal.
    #[default]
    Table,
    Csv,
    Json,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Table, Self::Csv, Self::Json];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
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
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
        }
    }

    /// Of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Table => "txt",
            Self::Csv => "csv",
            Self::Json => "json",
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
        (ManifestPlace::Only, _) => json::manifest(report, shown, out),
        (_, Form::Table) => text::write(report, shown, out),
        (place, Form::Csv) => csv::write(report, shown, place, out),
        (_, Form::Json) => json::write(report, shown, out),
    }
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
