//! `tallyd import usage`: records of the usage API from a file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use flate2::bufread::MultiGzDecoder;

use super::{Progress, Remote, Sender, verdict};
use crate::cli::out;

#[derive(Args, Debug)]
pub struct UsageImport {
    /// A file with one JSON object a line, as `POST /api/v1/usage/events` takes them; it may be
    /// packed with gzip.
    pub file: PathBuf,
    #[command(flatten)]
    pub remote: Remote,
}

pub(super) async fn import(wanted: UsageImport) -> anyhow::Result<()> {
    let shown = wanted.file.display();
    let cannot = || format!("cannot read {shown}");
    let file = File::open(&wanted.file).with_context(cannot)?;
    let length = file.metadata().with_context(cannot)?.len();
    let mut file = BufReader::new(file);
    let is_packed = file
        .fill_buf()
        .with_context(cannot)?
        .starts_with(&[0x1f, 0x8b]);
    let unpacked: Box<dyn Read> = if is_packed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut sender = Sender::new(wanted.remote);
    // What a packed file holds is known at its end.
    let mut progress = Progress::new(if is_packed { 0 } else { length })?;
    for line in BufReader::new(unpacked).lines() {
        let line = line.with_context(cannot)?;
        if !line.trim().is_empty() {
            sender.add(line.trim_start_matches('\u{feff}')).await?;
        }
        let bytes = u64::try_from(line.len() + 1).unwrap_or(0);
        progress.advance(if is_packed { 0 } else { bytes }, sender.sent);
    }
    sender.flush().await?;
    progress.finish();
    out::print(sender.summary())?;
    let refused = sender.refusals();
    let problems = (refused > 0).then(|| format!("{refused} records were refused"));
    verdict(problems.as_slice())
}
