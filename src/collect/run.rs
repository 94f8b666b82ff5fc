//! Runs collectors, each on its own schedule, so that none can stop another.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{CollectError, Collector};
use crate::clock::{Clock, Stopwatch};
use crate::model::catalogue;
use crate::model::label;
use crate::registry::{Registry, Sample};
use crate::schedule::{Stop, Ticks};

/// After so many failed rounds in a row a collector's last values vanish: until then they are
/// a fair guess, from then on they would be a lie.
const STALE_AFTER_ROUNDS: u32 = 3;

/// A collector and its times.
pub struct Job {
    pub collector: Box<dyn Collector>,
    pub period: Duration,
    /// A round that takes longer has failed.
    pub timeout: Duration,
}

/// Runs all jobs until `stop`; a round in progress is given up then.
pub async fn run(jobs: Vec<Job>, registry: Arc<Registry>, clock: Clock, stop: Stop) {
    let mut tasks = JoinSet::new();
    for job in jobs {
        let rounds = Rounds::new(job, Arc::clone(&registry));
        tasks.spawn(run_job(rounds, clock.clone(), stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

async fn run_job(mut rounds: Rounds, clock: Clock, stop: Stop) {
    let name = rounds.job.collector.name();
    let registry = Arc::clone(&rounds.registry);
    let mut ticks = Ticks::every(name, rounds.job.period, clock, stop.clone()).starting_now();
    while let Some(now) = ticks.next().await {
        let missed = u128::from(ticks.missed());
        registry.raise(catalogue::SCHEDULE_MISSED_TICKS, &[name], missed);
        tokio::select! {
            () = stop.stopped() => return,
            () = rounds.round(now) => {}
        }
    }
}

/// The rounds of one job.
struct Rounds {
    job: Job,
    registry: Arc<Registry>,
    /// Failed rounds in a row.
    failures: u32,
}

impl Rounds {
    fn new(job: Job, registry: Arc<Registry>) -> Self {
        Self {
            job,
            registry,
            failures: 0,
        }
    }

    async fn round(&mut self, now: Timestamp) {
        let name = self.job.collector.name();
        let stopwatch = Stopwatch::start();
        let outcome = self.collect(now).await;
        let seconds = stopwatch.elapsed().as_secs_f64();
        let registry = &self.registry;
        registry.set(catalogue::COLLECTOR_DURATION, &[name], seconds);
        match outcome {
            Ok(samples) => {
                registry.replace(name, samples);
                registry.set(catalogue::COLLECTOR_SUCCESS, &[name], 1.0);
                let at = now.as_millisecond() as f64 / 1_000.0;
                registry.set(catalogue::COLLECTOR_LAST_SUCCESS, &[name], at);
                if self.failures > 0 {
                    info!(
                        collector = name,
                        failures = self.failures,
                        "collector works again"
                    );
                }
                self.failures = 0;
            }
            Err(error) => {
                registry.set(catalogue::COLLECTOR_SUCCESS, &[name], 0.0);
                self.failures = self.failures.saturating_add(1);
                // Once when it begins and once when values vanish; the metric tells the rest.
                if self.failures == 1 || self.failures == STALE_AFTER_ROUNDS {
                    let (error, failures) = (label::with_sources(&error), self.failures);
                    warn!(collector = name, failures, error, "collector failed");
                }
                if self.failures == STALE_AFTER_ROUNDS {
                    registry.replace(name, Vec::new());
                }
            }
        }
    }

    async fn collect(&mut self, now: Timestamp) -> Result<Vec<Sample>, CollectError> {
        let collector = &mut self.job.collector;
        // The block catches a panic before the first await, too.
        let collect = AssertUnwindSafe(async { collector.collect(now).await }).catch_unwind();
        match tokio::time::timeout(self.job.timeout, collect).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(CollectError::Panicked(panic_text(panic.as_ref()))),
            Err(_) => Err(CollectError::Timeout(self.job.timeout)),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::future::BoxFuture;

    use super::*;

    /// What a collector of the tests does in a round.
    enum Deed {
        Tell(f64),
        Fail,
        PanicAtOnce,
        PanicLater,
        Hang,
    }

    struct Puppet {
        name: &'static str,
        deeds: VecDeque<Deed>,
    }

    impl Collector for Puppet {
        fn name(&self) -> &'static str {
            self.name
        }

        fn collect(&mut self, _now: Timestamp) -> BoxFuture<'_, Result<Vec<Sample>, CollectError>> {
            let deed = self.deeds.pop_front().unwrap_or(Deed::Hang);
            assert!(!matches!(deed, Deed::PanicAtOnce), "at once");
            let name = self.name;
            Box::pin(async move {
                match deed {
                    Deed::Tell(value) => Ok(vec![Sample {
                        desc: catalogue::DISK_UTILIZATION,
                        labels: vec![name.to_owned()],
                        value,
                    }]),
                    Deed::Fail => Err(CollectError::Read {
                        what: "the disks",
                        source: "no such disk".into(),
                    }),
                    Deed::Hang => std::future::pending().await,
                    Deed::PanicAtOnce | Deed::PanicLater => panic!("later"),
                }
            })
        }
    }

    fn job(name: &'static str, deeds: impl IntoIterator<Item = Deed>) -> Job {
        Job {
            collector: Box::new(Puppet {
                name,
                deeds: deeds.into_iter().collect(),
            }),
            period: Duration::from_secs(10),
            timeout: Duration::from_millis(20),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The value, the success and the time of the last success after a round.
    async fn after(rounds: &mut Rounds, second: i64) -> [Option<f64>; 3] {
        rounds.round(at(second)).await;
        let name = rounds.job.collector.name();
        [
            rounds.registry.gauge(catalogue::DISK_UTILIZATION, &[name]),
            rounds.registry.gauge(catalogue::COLLECTOR_SUCCESS, &[name]),
            rounds
                .registry
                .gauge(catalogue::COLLECTOR_LAST_SUCCESS, &[name]),
        ]
    }

    #[tokio::test]
    async fn values_stay_for_two_failures_and_vanish_with_the_third() {
        let deeds = [
            Deed::Tell(0.5),
            Deed::Fail,
            Deed::PanicAtOnce,
            Deed::Hang,
            Deed::Tell(0.7),
            Deed::PanicLater,
        ];
        let mut rounds = Rounds::new(job("a", deeds), Arc::default());
        let (good, bad) = (Some(1.0), Some(0.0));
        assert_eq!(after(&mut rounds, 10).await, [Some(0.5), good, Some(10.0)]);
        assert_eq!(after(&mut rounds, 20).await, [Some(0.5), bad, Some(10.0)]);
        assert_eq!(after(&mut rounds, 30).await, [Some(0.5), bad, Some(10.0)]);
        assert_eq!(after(&mut rounds, 40).await, [None, bad, Some(10.0)]);
        assert_eq!(after(&mut rounds, 50).await, [Some(0.7), good, Some(50.0)]);
        assert_eq!(after(&mut rounds, 60).await, [Some(0.7), bad, Some(50.0)]);
    }

    #[tokio::test]
    async fn what_went_wrong_is_told_with_its_cause() {
        let deeds = [Deed::Fail, Deed::PanicAtOnce, Deed::PanicLater, Deed::Hang];
        let mut rounds = Rounds::new(job("a", deeds), Arc::default());
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(label::with_sources(
                &rounds.collect(at(0)).await.unwrap_err(),
            ));
        }
        assert_eq!(
            told,
            [
                "cannot read the disks: no such disk",
                "the collector panicked: at once",
                "the collector panicked: later",
                "no answer within 20ms",
            ]
        );
    }

    #[tokio::test]
    async fn one_that_hangs_and_one_that_panics_do_not_stop_the_third() {
        let registry = Arc::new(Registry::default());
        let stop = Stop::new();
        let clock = Clock::manual(at(1_000));
        let jobs = vec![
            job("hangs", [Deed::Hang]),
            job("panics", [Deed::PanicAtOnce]),
            job("works", [Deed::Tell(0.5)]),
        ];
        let running = run(jobs, Arc::clone(&registry), clock, stop.clone());
        let waiting = async {
            let success = |name| registry.gauge(catalogue::COLLECTOR_SUCCESS, &[name]);
            let all = ["hangs", "panics", "works"];
            while all.iter().any(|name| success(name).is_none()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.stop();
            all.map(success)
        };
        let ((), successes) = tokio::join!(running, waiting);
        assert_eq!(successes, [Some(0.0), Some(0.0), Some(1.0)]);
    }
}
