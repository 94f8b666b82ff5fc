//! Collector `bedrock`: what Amazon Bedrock itself counted, in all accounts and regions.
//!
//! Once a period every account and region is asked by itself, so that none hides another. The
//! values are gauges of the last complete period, a control total against the ledger, and the
//! evidence that models are in use when no telemetry comes.

mod call;
mod coverage;
mod metric;
mod place;
mod window;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{CollectError, Collector};
use crate::aws::{Aws, State};
use crate::config::Config;
use crate::model::catalogue;
use crate::model::names::ModelNames;
use crate::model::query::{Dimension, UsageQuery};
use crate::ready::Readiness;
use crate::registry::{Registry, Sample};
use crate::series::{Evidence, Series};
use crate::store::Ledger;
use call::Meter;
use coverage::Totals;
pub(super) use metric::is_of_other_vendor;
use place::{Plan, Reading};
use window::Times;

/// Accounts and regions that are asked at the same time.
const MAX_AT_ONCE: usize = 8;

/// Time between two looks whether AWS has been asked for yet.
const LOOK: Duration = Duration::from_millis(50);

/// What the collector shares with the rest of the daemon.
#[derive(Clone, Debug)]
pub struct Shared {
    pub aws: Aws,
    pub ledger: Ledger,
    pub names: Arc<ArcSwap<ModelNames>>,
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
    pub series: Series,
}

/// Reads the metrics of Bedrock.
#[derive(Debug)]
pub struct BedrockCollector {
    plan: Plan,
    readings: Vec<Reading>,
    shared: Shared,
}

impl BedrockCollector {
    /// A collector for all accounts and regions that the configuration names.
    #[must_use]
    pub fn new(config: &Config, shared: Shared) -> Self {
        let places = place::places(config);
        let config = &config.bedrock;
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let price = u128::try_from(config.price.0).unwrap_or_default() / 1_000;
        Self {
            plan: Plan {
                times: Times {
                    period: seconds(config.period),
                    delay: seconds(config.delay),
                    overlap: seconds(config.overlap),
                },
                wanted: place::wanted(config),
                timeout: config.timeout,
                meter: Meter {
                    registry: shared.registry.clone(),
                    price,
                },
                aws: shared.aws.clone(),
            },
            readings: places.into_iter().map(Reading::new).collect(),
            shared,
        }
    }

    async fn read(&mut self, now: Timestamp) -> Result<Vec<Sample>, CollectError> {
        self.connect(now).await;
        let end = self.plan.times.end(now.as_second());
        let plan = &self.plan;
        stream::iter(self.readings.iter_mut())
            .for_each_concurrent(MAX_AT_ONCE, |reading| reading.round(end, plan))
            .await;
        let state = self.readings.iter().flat_map(Reading::state);
        let registry = &self.shared.registry;
        // Told under another owner, so that it is told when nothing else can be.
        registry.replace("bedrock accounts", state.collect());
        let problems = self.readings.iter().filter_map(Reading::problem);
        self.shared.aws.tell("bedrock", problems.collect());
        let detail = place::summary(&self.readings);
        // Not a reason to take no more usage.
        self.shared.readiness.set("bedrock", true, &*detail);
        if !self.readings.iter().any(|reading| reading.is_reached) {
            return Err(CollectError::Read {
                what: "the metrics of Bedrock",
                source: detail.into(),
            });
        }
        if let Some(evidence) = self.evidence(end) {
            self.shared.series.note_bedrock(evidence);
        }
        let names = self.shared.names.load_full();
        let mut samples = vec![Sample {
            desc: catalogue::BEDROCK_PERIOD,
            labels: Vec::new(),
            value: plan.times.period as f64,
        }];
        for reading in &self.readings {
            samples.extend(reading.samples(end, &plan.times, &names));
        }
        samples.extend(self.coverage(end, &names).await?);
        Ok(samples)
    }

    /// Waits for the first look at region and credentials, which another job may be at already.
    async fn connect(&self, now: Timestamp) {
        let aws = &self.shared.aws;
        aws.connect(now).await;
        let looked = async {
            while aws.state() == State::Off {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Without an outcome the round tells that nothing could be read.
        let _ = tokio::time::timeout(self.plan.timeout, looked).await;
    }

    /// When models were used last, as far as the whole estate tells. A part of it can tell of use,
    /// not of rest.
    fn evidence(&self, end: i64) -> Option<Evidence> {
        let times = &self.plan.times;
        let used = self
            .readings
            .iter()
            .filter_map(|reading| reading.busy_to(times));
        let last_used = used.max();
        let is_whole = self
            .readings
            .iter()
            .all(|reading| reading.failure.is_none());
        (is_whole || last_used == Some(end)).then_some(())?;
        Some(Evidence {
            checked: Timestamp::from_second(end).ok()?,
            last_used: last_used.and_then(|at| Timestamp::from_second(at).ok()),
        })
    }

    /// The control total, where it can be told.
    async fn coverage(&self, end: i64, names: &ModelNames) -> Result<Vec<Sample>, CollectError> {
        let read: Vec<_> = self.readings.iter().map(Reading::whole_to).collect();
        let Some((from, to)) = coverage::day(&read, end) else {
            return Ok(Vec::new());
        };
        if place::twice(&self.readings).is_some() {
            return Ok(Vec::new());
        }
        let mut provider = Totals::new();
        for reading in &self.readings {
            reading.add_totals(from, to, names, &mut provider);
        }
        let time = |second| {
            Timestamp::from_second(second).map_err(|error| CollectError::Read {
                what: "the clock",
                source: error.into(),
            })
        };
        let rows = self.shared.ledger.usage(UsageQuery {
            from: time(from)?,
            to: time(to)?,
            group_by: vec![Dimension::Provider, Dimension::Model],
            zone: TimeZone::UTC,
            user: None,
        });
        let rows = rows.await.map_err(|error| CollectError::Read {
            what: "the ledger",
            source: error.into(),
        })?;
        Ok(coverage::samples(&coverage::counted(&rows.rows), &provider))
    }
}

impl Collector for BedrockCollector {
    fn name(&self) -> &'static str {
        "bedrock"
    }

    fn collect(&mut self, now: Timestamp) -> BoxFuture<'_, Result<Vec<Sample>, CollectError>> {
        Box::pin(self.read(now))
    }
}
