//! `tallyd import`: history into the ledger of a running daemon.
//!
//! What is imported counts in the ledger and in reports; no counter of `/metrics` moves. All
//! records go through the daemon in bounded batches, and are known by their ids: an import that
//! broke off is run again.

mod bedrock_logs;
mod bill;
mod usage;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use anyhow::bail;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::{Remote, block_on};
use crate::cli::out;
use crate::model::label::grouped;

use bedrock_logs::BedrockLogsImport;
use bill::BillImport;
use usage::UsageImport;

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Imports model invocation logs of Amazon Bedrock from a file, a folder or S3. Prompts and
    /// answers do not leave this host.
    BedrockLogs(BedrockLogsImport),
    /// Imports what a provider billed, all of the files or nothing.
    Bill(BillImport),
    /// Imports usage records, one JSON object a line.
    Usage(UsageImport),
}

pub(super) fn execute(command: ImportCommand) -> anyhow::Result<()> {
    match command {
        ImportCommand::BedrockLogs(wanted) => block_on(Box::pin(bedrock_logs::import(wanted)))?,
        ImportCommand::Bill(wanted) => block_on(Box::pin(bill::import(wanted)))?,
        ImportCommand::Usage(wanted) => block_on(Box::pin(usage::import(wanted)))?,
    }
}

/// Records of one call.
const BATCH: usize = 1_000;

/// Bytes of one call, far below what a daemon takes (`limits.body`).
const BATCH_BYTES: usize = 4 << 20;

/// Things that are told one by one; the sums have all.
const MAX_TOLD: usize = 20;

/// What the daemon says of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Receipt {
    accepted: u64,
    duplicates: u64,
    rejected: Vec<Rejected>,
}

#[derive(Debug, Deserialize)]
struct Rejected {
    index: u64,
    code: String,
    message: String,
}

/// Sends records and sums up what became of them.
#[derive(Debug)]
struct Sender {
    remote: Remote,
    body: String,
    waiting: usize,
    /// Records that were sent in batches before this one.
    sent: u64,
    accepted: u64,
    duplicates: u64,
    /// By code, with the first sentence.
    refused: BTreeMap<String, (u64, String)>,
}

impl Sender {
    fn new(remote: Remote) -> Self {
        Self {
            remote,
            body: String::new(),
            waiting: 0,
            sent: 0,
            accepted: 0,
            duplicates: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Adds a record, a JSON object on one line, and sends a batch if it is full.
    async fn add(&mut self, record: &str) -> anyhow::Result<()> {
        if self.body.len() + record.len() >= BATCH_BYTES {
            self.flush().await?;
        }
        self.body.push_str(record);
        self.body.push('\n');
        self.waiting += 1;
        if self.waiting >= BATCH {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what waits.
    async fn flush(&mut self) -> anyhow::Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        let body = std::mem::take(&mut self.body);
        let (path, kind) = ("/api/v1/usage/import", "application/x-ndjson");
        let receipt: Receipt = self.remote.post_text(path, &[], kind, body).await?;
        self.accepted += receipt.accepted;
        self.duplicates += receipt.duplicates;
        for rejected in receipt.rejected {
            let number = self.sent + rejected.index + 1;
            let first = || (0, format!("record {number}: {}", rejected.message));
            self.refused.entry(rejected.code).or_insert_with(first).0 += 1;
        }
        self.sent += u64::try_from(std::mem::take(&mut self.waiting)).unwrap_or(0);
        Ok(())
    }

    fn refusals(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }

    /// The lines of the summary about records.
    fn summary(&self) -> String {
        let line = |name: &str, count: u64| format!("{name:<9} {:>12}\n", grouped(count));
        let mut text = line("accepted", self.accepted);
        text += &line("known", self.duplicates);
        text += &line("refused", self.refusals());
        for (code, (count, first)) in &self.refused {
            // Writing to a string never fails.
            let _ = writeln!(text, "  {code} {}, such as {first}", grouped(*count));
        }
        text
    }
}

/// Shows how far an import is: a bar on a terminal, a line every tenth elsewhere.
struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    total: u64,
    done: u64,
    told: u64,
}

impl Progress {
    /// `total` is in bytes.
    fn new(total: u64) -> anyhow::Result<Self> {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal {
            ProgressBar::new(total)
        } else {
            ProgressBar::hidden()
        };
        let template = "{bar:30} {bytes} of {total_bytes}, {eta} left {msg}";
        bar.set_style(ProgressStyle::with_template(template)?);
        Ok(Self {
            bar,
            is_terminal,
            total,
            done: 0,
            told: 0,
        })
    }

    fn advance(&mut self, bytes: u64, sent: u64) {
        self.done += bytes;
        self.bar.inc(bytes);
        self.bar.set_message(format!("({} records)", grouped(sent)));
        let tenths = (self.done * 10).checked_div(self.total).unwrap_or(10);
        if !self.is_terminal && tenths > self.told {
            self.told = tenths;
            out::note(format_args!("{} %, {} records", tenths * 10, grouped(sent)));
        }
    }

    /// Says a line above the bar.
    fn say(&self, line: &str) {
        self.bar.suspend(|| out::note(line));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Fails where the summary tells of something that is missing.
fn verdict(problems: &[String]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!("not all was imported: {}", problems.join(", "))
}
