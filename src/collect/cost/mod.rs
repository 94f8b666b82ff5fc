//! Collector `cost`: what AWS billed, from Cost Explorer.
//!
//! Each reading asks for whole days from the first of a month before this one, because invoices
//! and credits change them, and replaces them. Each page costs money: calls are counted and have
//! a monthly ceiling. When a reading is due follows from the ledger, so restarts cost nothing.

mod account;
mod call;
mod group;
mod lines;
mod samples;
#[cfg(test)]
mod tests;
mod users;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{CollectError, Collector};
use crate::aws::Aws;
use crate::config::Config;
use crate::model::names::ModelNames;
use crate::ready::Readiness;
use crate::registry::{Registry, Sample};
use crate::store::{Ledger, Terms};
use account::{Plan, Reading};
use call::Meter;
use samples::Sums;

/// Time between two looks whether a reading is due.
pub const LOOK: Duration = Duration::from_mins(1);

/// The wait after the first failed attempt of a call.
const BACKOFF: Duration = Duration::from_secs(2);

/// What the collector shares with the rest of the daemon.
#[derive(Clone, Debug)]
pub struct Shared {
    pub aws: Aws,
    pub ledger: Ledger,
    pub names: Arc<ArcSwap<ModelNames>>,
    pub terms: Arc<ArcSwap<Terms>>,
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
}

/// Reads bills.
#[derive(Debug)]
pub struct CostCollector {
    plan: Plan,
    readings: Vec<Reading>,
    readiness: Arc<Readiness>,
    sums: Sums,
}

impl CostCollector {
    /// A collector for the accounts that the configuration names.
    #[must_use]
    pub fn new(config: &Config, shared: Shared) -> Self {
        let settings = config.cost.bill.clone();
        Self {
            readings: account::places(config)
                .into_iter()
                .map(Reading::new)
                .collect(),
            readiness: shared.readiness,
            sums: Sums::default(),
            plan: Plan {
                meter: Meter {
                    registry: shared.registry,
                    ledger: shared.ledger,
                    price: u128::try_from(settings.call_price.0).unwrap_or_default(),
                    max_calls: u64::try_from(settings.max_calls).unwrap_or(u64::MAX),
                    backoff: BACKOFF,
                },
                settings,
                aws: shared.aws,
                names: shared.names,
                terms: shared.terms,
            },
        }
    }

    /// The longest time that a round may take.
    #[must_use]
    pub fn longest_round(&self) -> Duration {
        let accounts = u32::try_from(self.readings.len()).unwrap_or(u32::MAX);
        let timeout = self.plan.settings.timeout;
        timeout.saturating_mul(accounts).saturating_add(LOOK)
    }

    /// One look: reads the bills that are due, one account after the other, since Cost Explorer
    /// bears few calls at once.
    async fn round(&mut self, now: Timestamp) -> Result<Vec<Sample>, CollectError> {
        // Where it does not come, the round tells that nothing could be read.
        self.plan.aws.looked(now).await;
        for reading in &mut self.readings {
            reading.round(now, &self.plan).await;
        }
        let problems = self.readings.iter().filter_map(Reading::problem);
        self.plan.aws.tell("cost", problems.collect());
        // Not a reason to take no more usage.
        let detail = summary(&self.readings);
        self.readiness.set("cost", true, &*detail);
        let samples = samples::all(&mut self.sums, &self.readings, &self.plan, now).await;
        samples.map_err(|error| CollectError::Read {
            what: "the bill in the ledger",
            source: error.into(),
        })
    }
}

impl Collector for CostCollector {
    fn name(&self) -> &'static str {
        "cost"
    }

    fn collect(&mut self, now: Timestamp) -> BoxFuture<'_, Result<Vec<Sample>, CollectError>> {
        Box::pin(self.round(now))
    }
}

/// What is wrong in a few words, for a page that everybody may read.
fn summary(readings: &[Reading]) -> String {
    const SHOWN: usize = 5;
    let mut lines = Vec::new();
    for reading in readings {
        let account = &reading.account;
        if let Some(failure) = &reading.failure {
            lines.push(reading.line(failure));
        } else if reading.net_is_refused {
            lines.push(format!("{account}: has no amounts after discounts"));
        }
    }
    let failing = readings.iter().filter(|reading| reading.failure.is_some());
    let failing = failing.count();
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let all = readings.len();
    let head = if failing == 0 {
        format!("{all} accounts are read")
    } else {
        format!("{failing} of {all} accounts are not read")
    };
    [vec![head], lines].concat().join("\n")
}
