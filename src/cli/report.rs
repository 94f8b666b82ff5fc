//! `tallyd report`: reports for finance, printed or written to a file.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{Remote, block_on};
use crate::cli::out::{self, Stdout};

/// A report of a running daemon.
#[derive(Args, Debug)]
pub struct ReportCommand {
    /// chargeback, or another report that the daemon knows.
    pub name: String,
    /// `2026-11`, this or last; without a period: this.
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with_all = ["from", "to"])]
    pub month: String,
    /// A date or an RFC 3339 time, in place of a month.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub from: String,
    /// Exclusive.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub to: String,
    /// IANA zone of dates, days and months; without it: the daemon's.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub timezone: String,
    /// What lines are told apart by, separated by commas; without it: what the report needs.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub group_by: String,
    /// Which amount of the bill counts: unblended, net or blended.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub basis: String,
    /// Decimal places of money, 2 to 12; with 12 every amount is exact.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub decimals: String,
    /// ISO 4217 code in which money is shown.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub currency: String,
    /// table, csv, json, xlsx, html, or focus (of chargeback and `cost_detail`).
    #[arg(long, default_value = "table")]
    pub format: String,
    /// leading, separate (from a CSV file), or only: the manifest alone.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub manifest: String,
    /// A file to write, in place of the terminal.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    /// With month-close: freeze the month. There is no way back.
    #[arg(long)]
    pub close: bool,
    /// With --close: although the month is not over or its bill is provisional.
    #[arg(long, requires = "close")]
    pub force: bool,
    #[command(flatten)]
    pub remote: Remote,
}

pub(super) fn execute(wanted: &ReportCommand) -> anyhow::Result<()> {
    block_on(make(wanted))?
}

async fn make(wanted: &ReportCommand) -> anyhow::Result<()> {
    if wanted.close {
        return close(wanted).await;
    }
    let path = format!("/api/v1/reports/{}", wanted.name);
    let parameters = [
        ("month", wanted.month.as_str()),
        ("from", &wanted.from),
        ("to", &wanted.to),
        ("timezone", &wanted.timezone),
        ("group_by", &wanted.group_by),
        ("basis", &wanted.basis),
        ("decimals", &wanted.decimals),
        ("currency", &wanted.currency),
        ("format", &wanted.format),
        ("manifest", &wanted.manifest),
    ];
    match &wanted.output {
        None => {
            if wanted.format == "xlsx" && io::stdout().is_terminal() {
                anyhow::bail!("a workbook is not for the terminal: give a file with --output");
            }
            let mut out = Stdout::lock();
            wanted.remote.download(&path, &parameters, &mut out).await
        }
        Some(file) => to_file(wanted, &path, &parameters, file).await,
    }
}

#[derive(Debug, Deserialize)]
struct Closed {
    month: String,
    timezone: String,
    closed_at: String,
    closed_by: String,
    already_closed: bool,
    lines: Option<usize>,
    corrections: Option<usize>,
    sha256: String,
}

/// Closes a month of a running daemon and tells what was frozen.
async fn close(wanted: &ReportCommand) -> anyhow::Result<()> {
    if !matches!(wanted.name.as_str(), "month-close" | "month_close") {
        bail!("--close: belongs to `tallyd report month-close`");
    }
    if wanted.month.is_empty() {
        bail!("--month: is needed with --close, such as --month last");
    }
    let body = json!({"month": wanted.month, "force": wanted.force});
    let path = "/api/v1/reports/month-close";
    let closed: Closed = wanted.remote.post(path, &body).await?;
    let Closed {
        month,
        timezone,
        closed_at,
        closed_by,
        sha256,
        ..
    } = closed;
    if closed.already_closed {
        out::println(format_args!(
            "{month} ({timezone}) was closed before, at {closed_at} by {closed_by}: {sha256}"
        ))?;
        return Ok(());
    }
    let (lines, corrections) = (closed.lines.unwrap_or(0), closed.corrections.unwrap_or(0));
    out::println(format_args!(
        "{month} ({timezone}) is closed: {lines} lines, of which {corrections} correct earlier \
         months; sha256 {sha256}"
    ))?;
    Ok(())
}

/// Writes beside the file and renames, so that a file is whole or not there.
async fn to_file(
    wanted: &ReportCommand,
    path: &str,
    parameters: &[(&str, &str)],
    file: &Path,
) -> anyhow::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let written = async {
        let failed = || format!("cannot write {}", part.display());
        let mut out = io::BufWriter::new(fs::File::create(&part).with_context(failed)?);
        wanted.remote.download(path, parameters, &mut out).await?;
        out.flush().with_context(failed)?;
        fs::rename(&part, file).with_context(|| format!("cannot write {}", file.display()))
    };
    let written = written.await;
    if written.is_err() {
        // What is half written is of no use; the error above tells why.
        let _ = fs::remove_file(&part);
    }
    written
}
