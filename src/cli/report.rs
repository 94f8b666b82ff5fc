//! `tallyd report`: reports for finance, printed or written to a file.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::{Remote, block_on};

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
    /// Decimal places of money, 2 to 6.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub decimals: String,
    /// ISO 4217 code in which money is shown.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub currency: String,
    /// table, csv, json, xlsx, html, or focus (of chargeback and cost_detail).
    #[arg(long, default_value = "table")]
    pub format: String,
    /// leading, separate (from a CSV file), or only: the manifest alone.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub manifest: String,
    /// A file to write, in place of the terminal.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub remote: Remote,
}

pub(super) fn execute(wanted: &ReportCommand) -> anyhow::Result<()> {
    block_on(make(wanted))?
}

async fn make(wanted: &ReportCommand) -> anyhow::Result<()> {
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
            let mut out = io::stdout().lock();
            wanted.remote.download(&path, &parameters, &mut out).await
        }
        Some(file) => to_file(wanted, &path, &parameters, file).await,
    }
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
