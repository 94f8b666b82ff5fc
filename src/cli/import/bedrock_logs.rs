//! `tallyd import bedrock-logs`: invocation logs, read here and sent without what was said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{MAX_TOLD, Progress, Remote, Sender, verdict};
use crate::aws::Aws;
use crate::cli::ConfigFile;
use crate::cli::out;
use crate::clock::Clock;
use crate::collect::bedrock_logs::{Entry, Failure, Found, Place, Sink, Skip};
use crate::config::{Config, LogKind, LogSource};
use crate::model::label::grouped;
use crate::model::usage::source;

#[derive(Args, Debug)]
pub struct BedrockLogsImport {
    /// A file, a folder, or `s3://BUCKET/PREFIX`, which ?region= and &account= may follow.
    pub place: String,
    /// The first day (UTC) of requests to import, such as 2026-10-01.
    #[arg(long, value_name = "DATE")]
    pub from: Option<Date>,
    /// The day after the last one.
    #[arg(long, value_name = "DATE")]
    pub to: Option<Date>,
    /// Where the sections `[aws]` and `[bedrock_logs]` are read from.
    #[command(flatten)]
    pub config: ConfigFile,
    #[command(flatten)]
    pub remote: Remote,
}

pub(super) async fn import(wanted: BedrockLogsImport) -> anyhow::Result<()> {
    let config = wanted.config.source().load()?;
    let (place, found) = find(&wanted.place, &config).await?;
    if found.is_empty() {
        bail!(
            "{}: there are no logs (.gz, .json, .jsonl, .ndjson, .log)",
            wanted.place
        );
    }
    let total = found.iter().map(|found| found.size).sum();
    let mut progress = Progress::new(total)?;
    let mut taking = Taking {
        sender: Sender::new(wanted.remote),
        from: wanted.from.map(start_of).transpose()?,
        to: wanted.to.map(start_of).transpose()?,
        outside: 0,
        failure: None,
    };
    let mut sums = Sums::default();
    for found in &found {
        let read = place.read(found, &config.bedrock_logs, &mut taking).await;
        if let Some(failure) = taking.failure.take() {
            progress.finish();
            return Err(failure.context("the import broke off; run it again to go on"));
        }
        let fault = match &read {
            Ok(told) => told.fault(),
            Err(failure) => Some(failure.to_string()),
        };
        match read {
            Ok(told) => {
                sums.lines += told.lines;
                sums.damaged += u64::from(fault.is_some());
                for (skip, count) in told.skipped {
                    *sums.skipped.entry(skip).or_default() += count;
                }
            }
            Err(_) => sums.failed += 1,
        }
        if let Some(fault) = fault {
            sums.told += 1;
            if sums.told <= MAX_TOLD {
                progress.say(&format!("{}: {fault}", found.path));
            }
        }
        progress.advance(found.size, taking.sender.sent);
    }
    let done = taking.sender.flush().await;
    progress.finish();
    done.context("the import broke off; run it again to go on")?;
    out::print(sums.summary(found.len(), &taking))?;
    verdict(&sums.problems(&taking.sender))
}

/// Opens the place and lists its logs, in the order of their names.
async fn find(place: &str, config: &Config) -> anyhow::Result<(Place, Vec<Found>)> {
    let (text, file) = if place.contains("://") || place.starts_with("logs:") {
        (place.to_owned(), None)
    } else {
        let path = std::fs::canonicalize(place).with_context(|| format!("cannot read {place}"))?;
        let (folder, file) = if path.is_file() {
            let folder = path.parent().unwrap_or(Path::new("/"));
            (folder.to_owned(), path.file_name().map(ToOwned::to_owned))
        } else {
            (path, None)
        };
        let folder = folder.to_str().context("the path must be valid UTF-8")?;
        (format!("file://{folder}"), file)
    };
    let source = match file {
        // What follows a question mark belongs to a URL, not to a path.
        _ if text.starts_with("file://") => LogSource {
            kind: LogKind::Folder(text["file://".len()..].into()),
            name: text,
            account: None,
            region: None,
        },
        _ => LogSource::parse(&text).map_err(|fault| anyhow::anyhow!("{place}: {fault}"))?,
    };
    let aws = Aws::new(&config.aws)?;
    if source.is_in_aws() {
        aws.connect(Clock::System.now()).await;
    }
    let accounts = &config.aws.accounts;
    let opened = Place::open(&source, accounts, &aws).await?;
    let place = opened.context(
        "a log group cannot be imported: name it in bedrock_logs.sources, with lookback as far \
         back as is wanted",
    )?;
    let mut found = match file.as_deref().and_then(|name| name.to_str()) {
        Some(name) => vec![place.one(name).await?],
        None => place.all().await?,
    };
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((place, found))
}

fn start_of(date: Date) -> anyhow::Result<Timestamp> {
    let midnight = date.to_zoned(TimeZone::UTC);
    Ok(midnight.context("the date is out of range")?.timestamp())
}

/// Sends requests on.
struct Taking {
    sender: Sender,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Requests outside the days that are wanted.
    outside: u64,
    /// Why the daemon takes no more.
    failure: Option<anyhow::Error>,
}

impl Taking {
    async fn send(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        for entry in entries {
            let is_early = self.from.is_some_and(|from| entry.at < from);
            let is_late = self.to.is_some_and(|to| entry.at >= to);
            if is_early || is_late {
                self.outside += 1;
                continue;
            }
            let record = wire(&entry).to_string();
            if let Err(error) = self.sender.add(&record).await {
                self.failure = Some(error);
                return Err(Failure("the daemon takes no more".to_owned()));
            }
        }
        Ok(())
    }
}

impl Sink for Taking {
    fn take(&mut self, entries: Vec<Entry>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.send(entries))
    }
}

/// A request as the usage API takes it.
fn wire(entry: &Entry) -> Value {
    let tokens = &entry.tokens;
    json!({
        "source": source::BEDROCK_LOGS, "id": entry.id, "request_id": entry.id, "at": entry.at,
        "account": entry.account, "user": entry.user, "device": entry.device,
        "team": entry.team, "project": entry.project, "session": entry.session,
        "provider": "bedrock", "model": entry.model_id, "region": entry.region,
        "tier": entry.tier.name(), "outcome": entry.outcome.name(),
        "status_code": entry.status_code, "duration_ms": entry.duration_ms,
        "ttft_ms": entry.ttft_ms,
        "tokens": {
            "input": tokens.input, "output": tokens.output, "cache_read": tokens.cache_read,
            "cache_write_5m": tokens.cache_write_5m, "cache_write_1h": tokens.cache_write_1h,
            "cache_write_unknown": tokens.cache_write_unknown
        }
    })
}

/// What was read.
#[derive(Debug, Default)]
struct Sums {
    lines: u64,
    skipped: BTreeMap<Skip, u64>,
    damaged: u64,
    failed: u64,
    told: usize,
}

impl Sums {
    fn summary(&self, objects: usize, taking: &Taking) -> String {
        let line = |name: &str, count: u64| format!("{name:<9} {:>12}\n", grouped(count));
        let mut text = line("objects", u64::try_from(objects).unwrap_or(0));
        text += &line("lines", self.lines);
        text += &taking.sender.summary();
        if taking.outside > 0 {
            text += &line("outside", taking.outside);
        }
        text += &line("skipped", self.skipped.values().sum());
        for (skip, count) in &self.skipped {
            // Writing to a string never fails.
            let _ = writeln!(text, "  {} {}", skip.name(), grouped(*count));
        }
        text
    }

    fn problems(&self, sender: &Sender) -> Vec<String> {
        let told = [
            (self.damaged, "objects are damaged"),
            (self.failed, "objects cannot be had"),
            (sender.refusals(), "records were refused"),
        ];
        let told = told.into_iter().filter(|(count, _)| *count > 0);
        told.map(|(count, what)| format!("{count} {what}"))
            .collect()
    }
}
