//! Exported bills, read from files: all of a file or nothing of it.
//!
//! What is not for Claude is left out and counted. What is wrong is told with line and column, so
//! that whoever has the file can mend it. The same file gives the same days.

mod anthropic;
mod aws;
mod plain;
mod sums;
mod table;
#[cfg(test)]
mod tests;
mod vertex;

use std::fmt;
use std::io::Read;

use jiff::Timestamp;

use super::BillDay;
use crate::model::names::ModelNames;
use crate::model::price::PriceTable;

/// Lines of one import, after rows of one day, usage type and user were added up. They are written
/// in one step, for which everything else waits.
pub const MAX_LINES: usize = 500_000;

/// Whose export a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// AWS Data Exports, CUR 2.0 as CSV.
    Aws,
    /// Google's billing export as CSV.
    Vertex,
    /// Anthropic's cost report as JSON.
    Anthropic,
    /// tallyd's own CSV.
    Csv,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Aws, Self::Vertex, Self::Anthropic, Self::Csv];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Vertex => "vertex",
            Self::Anthropic => "anthropic",
            Self::Csv => "csv",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The source under which its days are kept.
    const fn source(self) -> &'static str {
        match self {
            Self::Aws => "import:aws",
            Self::Vertex => "import:vertex",
            Self::Anthropic => "import:anthropic",
            Self::Csv => "import:csv",
        }
    }
}

/// What a file is read with.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub names: &'a ModelNames,
    pub prices: &'a PriceTable,
    pub now: Timestamp,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// By day, provider and account. A day of the file without a line for Claude is empty.
    pub days: Vec<BillDay>,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that are not for Claude.
    pub left_out: u64,
    /// Amounts that had more than twelve decimal places.
    pub rounded: u64,
}

/// What is wrong with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportError {
    /// Counted from 1; 0 where there is none.
    pub line: u64,
    /// The name of the column or field; empty where there is none.
    pub column: String,
    pub message: String,
}

impl ImportError {
    fn new(line: u64, column: &str, message: impl Into<String>) -> Self {
        Self {
            line,
            column: column.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}", self.line)?;
            f.write_str(if self.column.is_empty() { ": " } else { ", " })?;
        }
        if !self.column.is_empty() {
            write!(f, "{}: ", self.column)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ImportError {}

/// Reads a file that was unpacked.
pub fn read(format: Format, reader: impl Read, terms: &Terms<'_>) -> Result<Imported, ImportError> {
    match format {
        Format::Aws => aws::read(reader, terms),
        Format::Vertex => vertex::read(reader, terms),
        Format::Anthropic => anthropic::read(reader, terms),
        Format::Csv => plain::read(reader, terms),
    }
}
