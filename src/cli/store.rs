//! `tallyd store`: copies of the ledger, and the way back.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::run::ConfigFile;
use super::{Remote, block_on};
use crate::cli::out;
use crate::store;

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Lets the running daemon write a consistent copy of its ledger.
    Backup(Backup),
    /// Puts a copy in place of an absent ledger, while no daemon runs.
    Restore(Restore),
}

#[derive(Args, Debug)]
pub struct Backup {
    /// A file that does not exist yet, on the daemon's host.
    pub path: PathBuf,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Restore {
    /// The copy.
    pub from: PathBuf,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// What the daemon says of a copy.
#[derive(Debug, Deserialize)]
struct Copied {
    path: String,
    bytes: u64,
}

pub(super) fn execute(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Backup(wanted) => block_on(backup(wanted))?,
        StoreCommand::Restore(wanted) => restore(wanted),
    }
}

async fn backup(wanted: Backup) -> anyhow::Result<()> {
    // The daemon has another working folder.
    let path = std::path::absolute(&wanted.path).context("cannot make the path absolute")?;
    let body = json!({"path": path});
    let copied: Copied = wanted.remote.post("/api/v1/store/backup", &body).await?;
    out::println(format_args!(
        "wrote {} bytes to {}",
        copied.bytes, copied.path
    ))?;
    Ok(())
}

fn restore(wanted: Restore) -> anyhow::Result<()> {
    let config = wanted.config.source().load()?;
    restore_into(&config.store.path, &wanted.from)?;
    out::println(format_args!(
        "the ledger in {} is that of {}",
        config.store.path.display(),
        wanted.from.display()
    ))?;
    Ok(())
}

fn restore_into(folder: &Path, from: &Path) -> anyhow::Result<()> {
    store::restore(folder, from).context("nothing was restored")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.sqlite");
        std::fs::write(&ledger, "precious").unwrap();
        let copy = folder.path().join("copy");
        std::fs::write(&copy, "copy").unwrap();
        let error = restore_into(folder.path(), &copy).unwrap_err();
        assert!(format!("{error:#}").starts_with("nothing was restored: "));
        assert_eq!(std::fs::read_to_string(&ledger).unwrap(), "precious");
    }
}
