//! FOCUS 1.2: the FinOps Foundation's form of cost data, as CSV.
//!
//! Which column holds what is a table; a row is what was charged for one kind of token on one UTC
//! day. Amounts are exact: nothing is rounded, so the file adds up to the bill to the last digit.

mod columns;
mod line;

use std::io::{self, Write};

use columns::COLUMNS;
pub use line::Line;

use super::manifest::HashWriter;
use crate::model::money::PicoUsd;

/// The version of the specification that is written.
pub const VERSION: &str = "1.2";

/// What is the same on all rows.
#[derive(Clone, Debug)]
pub struct Context {
    /// ISO 4217; the ledger's, for FOCUS keeps the currency of the bill.
    pub currency: String,
    pub price_table_version: String,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub rows: usize,
    pub billed: PicoUsd,
    /// Rows left out because nobody knows what they cost, and their tokens.
    pub unknown: usize,
    pub unknown_tokens: i128,
    pub sha256: String,
}

/// Writes header and rows.
pub fn write(
    lines: impl Iterator<Item = Line>,
    context: &Context,
    out: &mut dyn Write,
) -> io::Result<Written> {
    let mut hash = HashWriter::default();
    let mut written = Written {
        rows: 0,
        billed: PicoUsd::ZERO,
        unknown: 0,
        unknown_tokens: 0,
        sha256: String::new(),
    };
    {
        let both = Both(out, &mut hash);
        let mut csv = csv::Writer::from_writer(both);
        csv.write_record(COLUMNS.iter().map(|(name, _)| *name))?;
        for line in lines {
            let Some(billed) = line.billed() else {
                written.unknown += 1;
                written.unknown_tokens += line.tokens.unwrap_or(0);
                continue;
            };
            for (_, value) in COLUMNS {
                csv.write_field(value(&line, context).unwrap_or_default())?;
            }
            csv.write_record(None::<&[u8]>)?;
            written.rows += 1;
            written.billed = written
                .billed
                .checked_add(billed)
                .ok_or_else(|| io::Error::other("the total is too large"))?;
        }
        csv.flush()?;
    }
    written.sha256 = hash.finish();
    Ok(written)
}

/// Writes to both.
struct Both<'a>(&'a mut dyn Write, &'a mut HashWriter);

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.write_all(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
