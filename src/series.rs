//! Minute series: samples gauges, seals minutes that are over, and tells the gauges that follow
//! from them.
//!
//! What requests and activities add to minutes comes in with the ledger's commits; here is what
//! only time can tell. [`Series::round`] is called every few seconds. It keeps in memory what
//! gauges showed in open minutes (lost at a crash, a sample like any other) and since when tallyd
//! has run without a gap: only a minute through the whole of which it ran gets zeros.

mod evidence;
mod ran;
mod sample;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::catalogue;
use crate::model::minute::{Datapoint, Ready};
use crate::registry::{Registry, Sample};
use crate::store::{Ledger, Outbox, QueryError, Seal, last_due, minute_at};
pub use evidence::Evidence;
use evidence::Silence;
use ran::Ran;
use sample::Told;

/// Seconds in a minute.
const MINUTE: i64 = 60;

/// Minutes whose samples are kept while they cannot be sealed, because the disk is full: as long
/// as facts may come late. Samples of older ones are let go.
const MAX_OPEN: usize = 60;

/// How minutes are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub retain: Duration,
    /// The share of requests that should work, between 0 and 1.
    pub objective: f64,
    pub outbox: Outbox,
}

/// The minute series. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Series {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    ledger: Ledger,
    registry: Arc<Registry>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ran: Ran,
    /// What gauges showed, by minute and metric.
    samples: BTreeMap<i64, BTreeMap<&'static str, Datapoint>>,
    /// Of counters, how much minutes have told.
    told: Told,
    silence: Silence,
    /// Minutes before this one are sealed, or hold nothing.
    looked_to: i64,
    ready: Ready,
}

impl Series {
    /// Begins to keep time: minutes from the next full one on can be whole.
    #[must_use]
    pub fn new(
        settings: Settings,
        ledger: Ledger,
        registry: Arc<Registry>,
        now: Timestamp,
    ) -> Self {
        let state = State {
            ran: Ran::since(now),
            samples: BTreeMap::new(),
            told: Told::default(),
            silence: Silence::new(now),
            // What was left by the process before is found whenever it was.
            looked_to: i64::MIN,
            ready: Ready::default(),
        };
        Self {
            inner: Arc::new(Inner {
                settings,
                ledger,
                registry,
                state: Mutex::new(state),
            }),
        }
    }

    /// Notes what Bedrock says of its use, so that silence can be told from rest.
    pub fn note_bedrock(&self, evidence: Evidence) {
        self.state().silence.note(evidence);
    }

    /// One round: samples gauges and seals what is due. Returns the minutes that were sealed
    /// (minutes since 1970), oldest first.
    pub async fn round(&self, now: Timestamp) -> Result<Vec<i64>, QueryError> {
        self.sample(now);
        let (last, from) = (last_due(now), self.state().looked_to);
        let mut due = self.inner.ledger.unsealed_minutes(from, last).await?;
        due.extend(self.state().known_to(last));
        due.sort_unstable();
        due.dedup();
        let mut sealed = Vec::with_capacity(due.len());
        for minute in due {
            if self.seal(minute, now).await? {
                sealed.push(minute);
            }
        }
        let mut state = self.state();
        state.looked_to = last;
        state.samples = state.samples.split_off(&(last + 1));
        drop(state);
        self.show(now);
        Ok(sealed)
    }

    /// Seals a minute. False if it was sealed before, which a clock that went back may bring.
    async fn seal(&self, minute: i64, now: Timestamp) -> Result<bool, QueryError> {
        let settings = self.inner.settings;
        let totals = sample::totals(&self.inner.registry);
        let retain = i64::try_from(settings.retain.as_secs()).unwrap_or(i64::MAX / 2);
        let seal = {
            let state = self.state();
            let samples = state.samples.get(&minute).cloned().unwrap_or_default();
            let mut gauges: Vec<_> = samples.into_iter().collect();
            gauges.extend(totals.iter().map(|(metric, total)| {
                let untold = state.told.untold(metric, *total);
                (*metric, Datapoint::of(untold))
            }));
            Seal {
                minute,
                is_whole: state.ran.through(minute),
                gauges,
                objective: settings.objective,
                outbox: settings.outbox,
                keep_from: minute_at(now) - retain / MINUTE,
            }
        };
        let Some(ready) = self.inner.ledger.seal(seal).await? else {
            return Ok(false);
        };
        let mut state = self.state();
        state.ready = ready;
        state.told.tell(totals);
        Ok(true)
    }

    fn sample(&self, now: Timestamp) {
        let registry = &self.inner.registry;
        let mut state = self.state();
        state.ran.note(now);
        state.silence.hear(registry, now);
        let mut values = sample::gauges(registry, now);
        values.extend(
            state
                .silence
                .seconds(now)
                .map(|seconds| ("telemetry_silent_seconds", seconds)),
        );
        while state.samples.len() >= MAX_OPEN {
            state.samples.pop_first();
        }
        let minute = state.samples.entry(minute_at(now)).or_default();
        for (metric, value) in values {
            minute.entry(metric).or_default().observe(value);
        }
    }

    /// Shows the gauges that follow from minutes; those that cannot be told vanish.
    fn show(&self, now: Timestamp) {
        let (ready, silent) = {
            let state = self.state();
            (state.ready, state.silence.seconds(now))
        };
        let gauges = [
            (catalogue::ERROR_SHARE, "", ready.error_share),
            (catalogue::BURN_RATE, "fast", ready.burn_fast),
            (catalogue::BURN_RATE, "slow", ready.burn_slow),
            (catalogue::TELEMETRY_SILENT, "", silent),
        ];
        let told = gauges.into_iter().filter_map(|(desc, window, value)| {
            Some(Sample {
                desc,
                labels: desc.labels.iter().map(|_| window.to_owned()).collect(),
                value: value?,
            })
        });
        self.inner.registry.replace("series", told.collect());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left behind are numbers, each whole by itself.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Minutes up to `last` that end while tallyd ran: they hold samples, or zeros.
    fn known_to(&self, last: i64) -> Vec<i64> {
        self.samples
            .range(..=last)
            .map(|(minute, _)| *minute)
            .collect()
    }
}
