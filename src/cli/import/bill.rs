//! `tallyd import bill`: exported bills from files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;

use super::Remote;
use crate::cli::out;
use crate::model::label::grouped;

#[derive(Args, Debug)]
pub struct BillImport {
    /// Whose export the files are.
    #[arg(long, value_enum)]
    pub provider: BillProvider,
    /// Files as the provider exports them, packed with gzip or not. Those of one month belong into
    /// one import: each day is put in place of what was known of it.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BillProvider {
    /// AWS Data Exports: CUR 2.0 as CSV.
    Aws,
    /// Google's billing export as CSV.
    Vertex,
    /// Anthropic's cost report as JSON.
    Anthropic,
    /// tallyd's own CSV, see docs/cost.md.
    Csv,
}

#[derive(Debug, Deserialize)]
struct Answer {
    rows: u64,
    left_out: u64,
    rounded: u64,
    days: u64,
    changed: u64,
    first: Option<String>,
    last: Option<String>,
    totals: BTreeMap<String, String>,
    unclassified: BTreeMap<String, String>,
    changed_after_final: Vec<String>,
}

pub(super) async fn import(wanted: BillImport) -> anyhow::Result<()> {
    let provider = match wanted.provider {
        BillProvider::Aws => "aws",
        BillProvider::Vertex => "vertex",
        BillProvider::Anthropic => "anthropic",
        BillProvider::Csv => "csv",
    };
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for file in &wanted.files {
        pack(file, &mut packed)?;
    }
    let packed = packed.finish().context("cannot pack the files")?;
    let parameters = [("provider", provider)];
    let answer: Answer = wanted
        .remote
        .post_bytes("/api/v1/bills", &parameters, "application/gzip", packed)
        .await?;
    out::print(text(&answer))?;
    if answer.days == 0 {
        bail!("the files hold no day");
    }
    Ok(())
}

/// Appends a file, unpacked, to what is sent. Each begins on a new line.
fn pack(path: &Path, packed: &mut GzEncoder<Vec<u8>>) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(File::open(path).with_context(cannot)?);
    let is_packed = file
        .fill_buf()
        .with_context(cannot)?
        .starts_with(&[0x1f, 0x8b]);
    let mut unpacked: Box<dyn Read> = if is_packed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    std::io::copy(&mut unpacked, packed).with_context(cannot)?;
    packed.write_all(b"\n").with_context(cannot)
}

fn text(answer: &Answer) -> String {
    let list = |amounts: &BTreeMap<String, String>| {
        let shown = amounts
            .iter()
            .map(|(currency, amount)| format!("{amount} {currency}"));
        shown.collect::<Vec<_>>().join(", ")
    };
    let Answer {
        rows,
        left_out,
        days,
        changed,
        ..
    } = answer;
    let mut text = format!(
        "{} rows, {} of them not for Claude; {days} billed days, {changed} of them new or changed\n",
        grouped(*rows),
        grouped(*left_out)
    );
    if let (Some(first), Some(last)) = (&answer.first, &answer.last) {
        let _ = writeln!(
            text,
            "from {first} to {last}, total {}",
            list(&answer.totals)
        );
    }
    if !answer.unclassified.is_empty() {
        let _ = writeln!(text, "not understood: {}", list(&answer.unclassified));
    }
    if answer.rounded > 0 {
        let rounded = grouped(answer.rounded);
        let _ = writeln!(text, "{rounded} amounts had more than 12 decimal places");
    }
    if !answer.changed_after_final.is_empty() {
        let days = answer.changed_after_final.join(", ");
        let _ = writeln!(text, "changed although they had been final: {days}");
    }
    text
}
