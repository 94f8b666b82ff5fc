//! Collector `bedrock_logs`: Bedrock's model invocation logs as usage.
//!
//! Each source is read by itself, so that none stops another. What was read is remembered in the
//! ledger: objects by key and version, log groups by time. An object is remembered after its
//! requests are on disk, so that one that is read twice is recognised request by request. What
//! happened before a source's first round is history: it counts in the ledger and moves no
//! counter.

mod body;
mod decode;
mod entry;
mod groups;
mod listing;
mod place;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::{CollectError, Collector};
use crate::aws::{Aws, State};
use crate::config::{Account, BedrockLogs, Config, LogKind, LogSource};
use crate::model::catalogue;
use crate::model::names::ModelNames;
use crate::model::usage::{Intake, Reach, Verdict};
use crate::ready::Readiness;
use crate::record::Recorder;
use crate::registry::{Registry, Sample};
use crate::store::{LogProgress, QueryError};
pub use decode::{Told, decode};
pub use entry::{Entry, Skip};
use groups::{Group, Seen};
pub use listing::Found;
pub use place::{Failure, MAX_OBJECT, Place, Sink};

/// Sources that are read at the same time.
const MAX_AT_ONCE: usize = 4;

/// Time between two looks whether AWS has been asked for yet, and for all of them.
const LOOK: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Damaged objects that are told in the log in one round; the metric has all.
const MAX_TOLD: usize = 20;

/// Objects whose failures are remembered, so that they come after the others.
const MAX_FAILING: usize = 10_000;

/// Hours that a round reads back at most, after a long rest: 31 days.
const MAX_HOURS: i64 = 31 * 24;

/// What the collector shares with the rest of the daemon.
#[derive(Clone, Debug)]
pub struct Shared {
    pub aws: Aws,
    pub recorder: Recorder,
    pub names: Arc<ArcSwap<ModelNames>>,
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
}

/// Reads the invocation logs of Bedrock.
#[derive(Debug)]
pub struct BedrockLogsCollector {
    plan: Plan,
    readings: Vec<Reading>,
}

/// How all sources are read.
#[derive(Debug)]
struct Plan {
    config: BedrockLogs,
    accounts: Vec<Account>,
    shared: Shared,
}

/// A source and what is known of it.
#[derive(Debug)]
struct Reading {
    source: LogSource,
    /// Failures in a row, by key.
    failing: HashMap<String, u32>,
    /// Events of a log group that were read and lie where the next round reads again.
    seen: Seen,
    /// Objects that are to be read yet.
    waiting: usize,
    /// The newest request of the last round that brought any, and how old it was then.
    lag: Option<SignedDuration>,
    good_at: Option<Timestamp>,
    failure: Option<String>,
}

impl BedrockLogsCollector {
    /// A collector for all sources that the configuration names.
    #[must_use]
    pub fn new(config: &Config, shared: Shared) -> Self {
        let sources = config.bedrock_logs.sources.iter();
        Self {
            readings: sources.cloned().map(Reading::new).collect(),
            plan: Plan {
                config: config.bedrock_logs.clone(),
                accounts: config.aws.accounts.clone(),
                shared,
            },
        }
    }

    async fn read(&mut self, now: Timestamp) -> Result<Vec<Sample>, CollectError> {
        let plan = &self.plan;
        if plan.config.sources.iter().any(LogSource::is_in_aws) {
            connect(&plan.shared.aws, now).await;
        }
        stream::iter(self.readings.iter_mut())
            .for_each_concurrent(MAX_AT_ONCE, |reading| reading.round(now, plan))
            .await;
        let samples = self.readings.iter().flat_map(Reading::samples).collect();
        // Told under another owner, so that it is told when all sources fail.
        plan.shared
            .registry
            .replace("bedrock_logs sources", samples);
        let failing: Vec<_> = self
            .readings
            .iter()
            .filter_map(|reading| Some((&*reading.source.name, reading.failure.as_ref()?)))
            .collect();
        let names: Vec<_> = failing.iter().map(|(name, _)| *name).collect();
        let total = self.readings.len();
        let detail = if failing.is_empty() {
            format!("{total} logs are read")
        } else {
            let (count, names) = (failing.len(), names.join(", "));
            format!("{count} of {total} logs are not read: {names}; see the log")
        };
        // Not a reason to take no more usage.
        plan.shared.readiness.set("bedrock_logs", true, &*detail);
        if failing.len() == total {
            let reasons: Vec<_> = failing.iter().map(|(_, reason)| reason.as_str()).collect();
            return Err(CollectError::Read {
                what: "the invocation logs of Bedrock",
                source: reasons.join("; ").into(),
            });
        }
        Ok(Vec::new())
    }
}

impl Collector for BedrockLogsCollector {
    fn name(&self) -> &'static str {
        "bedrock_logs"
    }

    fn collect(&mut self, now: Timestamp) -> BoxFuture<'_, Result<Vec<Sample>, CollectError>> {
        Box::pin(self.read(now))
    }
}

/// Waits for the first look at region and credentials, which another job may be at already.
async fn connect(aws: &Aws, now: Timestamp) {
    aws.connect(now).await;
    let looked = async {
        while aws.state() == State::Off {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Without an outcome the round tells that nothing could be read.
    let _ = tokio::time::timeout(CONNECT_TIMEOUT, looked).await;
}

impl Reading {
    fn new(source: LogSource) -> Self {
        Self {
            source,
            failing: HashMap::new(),
            seen: Seen::new(),
            waiting: 0,
            lag: None,
            good_at: None,
            failure: None,
        }
    }

    async fn round(&mut self, now: Timestamp, plan: &Plan) {
        let outcome = self.read(now, plan).await;
        let source = &self.source.name;
        match outcome {
            Ok(()) => {
                if self.failure.take().is_some() {
                    info!(source, "a log of Bedrock is read again");
                }
                self.good_at = Some(now);
            }
            Err(Failure(reason)) => {
                if self.failure.as_ref() != Some(&reason) {
                    warn!(source, reason, "a log of Bedrock cannot be read");
                }
                self.failure = Some(reason);
            }
        }
    }

    async fn read(&mut self, now: Timestamp, plan: &Plan) -> Result<(), Failure> {
        let ledger = plan.shared.recorder.ledger();
        let begin = match self.source.kind {
            // Rounds look back by `lookback` anyway.
            LogKind::S3 { .. } | LogKind::Folder(_) => now,
            LogKind::Group(_) => back(now, plan.config.lookback),
        };
        let progress = ledger.log_progress(self.source.name.clone(), now, begin);
        let progress = progress.await.map_err(|error| of_ledger(&error))?;
        let source = self.source.clone();
        match Place::open(&source, &plan.accounts, &plan.shared.aws).await? {
            Some(place) => self.objects(&place, progress, now, plan).await,
            None => self.group(progress, now, plan).await,
        }
    }

    async fn objects(
        &mut self,
        place: &Place,
        progress: LogProgress,
        now: Timestamp,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let ledger = plan.shared.recorder.ledger();
        let hour = |at: Timestamp| at.as_second().div_euclid(3_600);
        let to = hour(now);
        let from = hour(back(progress.read_to.min(now), plan.config.lookback));
        let from = from.max(to - MAX_HOURS);
        let mut found = place.list(from, to).await?;
        let keys = found.iter().map(|found| found.known_by).collect();
        let known = ledger.logs_read(progress.id, keys).await;
        let known = known.map_err(|error| of_ledger(&error))?;
        found.retain(|found| !known.contains(&found.known_by));
        let failures = |found: &Found| self.failing.get(found.path.as_ref()).copied();
        found.sort_by_cached_key(|found| (failures(found), found.path.clone()));
        self.waiting = found.len();
        let mut failed = Vec::new();
        let mut told = 0;
        for found in found.iter().take(plan.config.max_objects) {
            let mut tally = Tally::new(progress.since, now, plan);
            let read = place.read(found, &plan.config, &mut tally).await;
            let fault = match &read {
                Ok(told) => told.fault(),
                Err(Failure(reason)) => Some(reason.clone()),
            };
            let key = found.path.as_ref();
            if let Some(fault) = fault.filter(|_| told < MAX_TOLD) {
                told += 1;
                let source = &self.source.name;
                warn!(
                    source,
                    key, fault, "an object of a log is damaged or cannot be had"
                );
            }
            self.lag = tally.lag.or(self.lag);
            let result = match &read {
                Ok(told) if told.fault().is_some() => "damaged",
                Ok(_) => "read",
                Err(_) => "failed",
            };
            self.count(plan, &tally, read.as_ref().ok());
            let labels = [&*self.source.name, result];
            let registry = &plan.shared.registry;
            registry.add(catalogue::BEDROCK_LOGS_OBJECTS, &labels, 1);
            if let Some(refusal) = tally.refusal {
                // The ledger takes nothing now; every other object would fare the same.
                return Err(refusal);
            }
            match read {
                Ok(_) => {
                    let done = ledger.log_read(progress.id, found.known_by, found.hour);
                    done.await.map_err(|error| of_ledger(&error))?;
                    self.failing.remove(key);
                    self.waiting -= 1;
                }
                Err(Failure(reason)) => {
                    if self.failing.len() < MAX_FAILING {
                        *self.failing.entry(key.to_owned()).or_default() += 1;
                    }
                    failed.push(reason);
                }
            }
        }
        if self.waiting == 0 {
            self.failing.clear();
            let done = ledger.log_read_to(progress.id, now);
            done.await.map_err(|error| of_ledger(&error))?;
        }
        match failed.first() {
            Some(first) => Err(Failure(format!("{} objects: {first}", failed.len()))),
            None => Ok(()),
        }
    }

    async fn group(
        &mut self,
        progress: LogProgress,
        now: Timestamp,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let LogKind::Group(name) = self.source.kind.clone() else {
            return Ok(());
        };
        let ledger = plan.shared.recorder.ledger();
        let aws = &plan.shared.aws;
        let group = Group::open(&self.source, &name, &plan.accounts, aws).await?;
        let from = back(progress.read_to.min(now), plan.config.overlap);
        self.seen.retain(|_, at| *at >= from.as_millisecond());
        for window in groups::windows(from, now) {
            let mut tally = Tally::new(progress.since, now, plan);
            let read = group
                .read(window, &plan.config, &mut self.seen, &mut tally)
                .await;
            self.lag = tally.lag.or(self.lag);
            self.count(plan, &tally, read.as_ref().ok());
            if let Some(fault) = read?.fault() {
                let (source, from) = (&self.source.name, window.0);
                warn!(source, %from, fault, "some events of a log group are damaged");
            }
            let done = ledger.log_read_to(progress.id, window.1);
            done.await.map_err(|error| of_ledger(&error))?;
        }
        Ok(())
    }

    fn count(&self, plan: &Plan, tally: &Tally<'_>, told: Option<&Told>) {
        let registry = &plan.shared.registry;
        let source = &*self.source.name;
        for (result, count) in &tally.results {
            let labels = [source, *result];
            registry.add(catalogue::BEDROCK_LOGS_RECORDS, &labels, (*count).into());
        }
        for (skip, count) in told.iter().flat_map(|told| &told.skipped) {
            let labels = [source, skip.name()];
            registry.add(catalogue::BEDROCK_LOGS_SKIPPED, &labels, (*count).into());
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let sample = |desc, value| Sample {
            desc,
            labels: vec![self.source.name.clone()],
            value,
        };
        let is_good = f64::from(u8::from(self.failure.is_none()));
        let mut samples = vec![
            sample(catalogue::BEDROCK_LOGS_SUCCESS, is_good),
            sample(catalogue::BEDROCK_LOGS_WAITING, self.waiting as f64),
        ];
        if let Some(lag) = self.lag {
            samples.push(sample(catalogue::BEDROCK_LOGS_LAG, lag.as_secs_f64()));
        }
        if let Some(good_at) = self.good_at {
            let at = good_at.as_second() as f64;
            samples.push(sample(catalogue::BEDROCK_LOGS_LAST_SUCCESS, at));
        }
        samples
    }
}

/// What became of the requests of one object or window.
struct Tally<'a> {
    plan: &'a Plan,
    since: Timestamp,
    now: Timestamp,
    results: BTreeMap<&'static str, u64>,
    lag: Option<SignedDuration>,
    /// The ledger took nothing.
    refusal: Option<Failure>,
}

impl<'a> Tally<'a> {
    const fn new(since: Timestamp, now: Timestamp, plan: &'a Plan) -> Self {
        Self {
            plan,
            since,
            now,
            results: BTreeMap::new(),
            lag: None,
            refusal: None,
        }
    }

    /// Records requests: those from before the first round as history.
    async fn record(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let plan = self.plan;
        let names = plan.shared.names.load_full();
        let newest = entries.iter().map(|entry| entry.at).max();
        let records = entries.into_iter().map(|entry| entry.record(&names));
        let (history, live): (Vec<_>, Vec<_>) = records.partition(|record| record.at < self.since);
        for (reach, records) in [(Reach::Backfill, history), (Reach::Live, live)] {
            if records.is_empty() {
                continue;
            }
            let intake = Intake {
                records,
                reach,
                ..Intake::default()
            };
            let receipt = plan.shared.recorder.record(intake).await.map_err(|error| {
                self.refusal = Some(Failure(error.to_string()));
                Failure(error.to_string())
            })?;
            for verdict in receipt.records {
                let result = match verdict {
                    Verdict::Accepted => "accepted",
                    Verdict::Duplicate => "duplicate",
                    Verdict::Rejected(_) => "refused",
                };
                *self.results.entry(result).or_default() += 1;
            }
        }
        let lag = newest.map(|newest| self.now.duration_since(newest));
        self.lag = lag.map(|lag| self.lag.map_or(lag, |known| known.min(lag)));
        Ok(())
    }
}

impl Sink for Tally<'_> {
    fn take(&mut self, entries: Vec<Entry>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.record(entries))
    }
}

/// A time so long before another.
fn back(from: Timestamp, by: Duration) -> Timestamp {
    from.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn of_ledger(error: &QueryError) -> Failure {
    Failure(format!("the progress cannot be kept: {error}"))
}
