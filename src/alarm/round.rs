//! The evaluation job: after each sealed minute every alarm is evaluated.
//!
//! Minutes that passed while a round took long are evaluated in order; after a downtime only the
//! present is, since what happened before cannot be acted on any more. States, history and
//! notices are written in one transaction, so a change is acted on once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::live::{Alarms, Loaded, Source, Standing, load};
use super::window::{by_series, is_due, minutes, series_of, span, window};
use crate::clock::Stopwatch;
use crate::config::{Config, Evaluate};
use crate::model::alarm::{Alarm, State, Transition, Verdict, evaluate};
use crate::model::catalogue;
use crate::model::minute::SeriesKey;
use crate::model::notice::Notice;
use crate::registry::{Registry, Sample};
use crate::store::{AlarmChange, AlarmStatus, Ledger, QueryError};

/// Minutes that are evaluated one by one; a longer gap is a downtime.
const MAX_CATCH_UP: i64 = 60;

/// The owner of the alarms' gauges in the registry.
const OWNER: &str = "alarms";

/// Why a new alarm has its state.
const NEW: &str = "Unchecked: Initial alarm creation";

/// Says which notices are due because of transitions.
pub type Tell = Arc<dyn Fn(&[Transition], Timestamp) -> Vec<Notice> + Send + Sync>;

/// What the job works with.
#[derive(Clone)]
pub struct Setup {
    pub alarms: Arc<Alarms>,
    pub ledger: Ledger,
    pub registry: Arc<Registry>,
    /// Replaced when the configuration is read again.
    pub config: Arc<ArcSwap<Config>>,
    pub tell: Tell,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").finish_non_exhaustive()
    }
}

/// The job. Call [`Round::round`] every few seconds: a round without a new minute costs little.
#[derive(Debug)]
pub struct Round {
    setup: Setup,
    source: Source,
    /// The last minute that was evaluated since the start.
    last: Option<i64>,
    /// How alarms stand; not known before the first round.
    standing: Option<BTreeMap<String, Standing>>,
    /// True if the set changed since it was written.
    is_new: bool,
}

impl Round {
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let source = Source::of(&setup.config.load());
        setup
            .registry
            .set(catalogue::ALARMS_RELOAD_SUCCESS, &[], 1.0);
        Self {
            setup,
            source,
            last: None,
            standing: None,
            is_new: true,
        }
    }

    /// Reads the set again if it changed, and evaluates the minutes that were sealed since.
    ///
    /// Errors: the ledger could not be read or written; the next round tries again.
    pub async fn round(&mut self, now: Timestamp) -> Result<(), QueryError> {
        self.reload();
        let evaluates = self.setup.config.load().alarms.evaluate;
        if evaluates == Evaluate::Off {
            self.show(BTreeMap::new());
            // Should it be switched on again, it goes on as after a start.
            (self.last, self.standing, self.is_new) = (None, None, true);
            return Ok(());
        }
        if self.standing.is_none() {
            self.standing = Some(self.restored().await?);
        }
        if self.is_new {
            self.welcome(now).await?;
        }
        let Some(sealed) = self.setup.ledger.last_sealed_minute().await? else {
            return Ok(());
        };
        let first = match self.last {
            Some(last) if sealed - last <= MAX_CATCH_UP => last + 1,
            _ => sealed,
        };
        for minute in first..=sealed {
            self.evaluate(minute, evaluates, now).await?;
            self.last = Some(minute);
        }
        Ok(())
    }

    /// Reads the set again. With any fault the old one stays.
    fn reload(&mut self) {
        let config = self.setup.config.load_full();
        let source = Source::of(&config);
        if source == self.source {
            return;
        }
        self.source = source;
        let loaded = load(&config);
        let success = f64::from(u8::from(loaded.is_ok()));
        let registry = &self.setup.registry;
        registry.set(catalogue::ALARMS_RELOAD_SUCCESS, &[], success);
        match loaded {
            Ok(loaded) => {
                info!(
                    alarms = loaded.set.alarms.len(),
                    "the alarms were read again"
                );
                self.setup.alarms.replace(loaded);
                self.is_new = true;
            }
            Err(faults) => {
                for fault in faults {
                    let fault = fault.to_string();
                    error!(fault, "the alarms are faulty, the old ones stay");
                }
            }
        }
    }

    async fn restored(&self) -> Result<BTreeMap<String, Standing>, QueryError> {
        let states = self.setup.ledger.alarm_states().await?;
        let standing = states.into_iter().map(|status| {
            let evaluated = None;
            (status.name.clone(), Standing { status, evaluated })
        });
        Ok(standing.collect())
    }

    /// Lets alarms come that are new in the set, and go that are no more in it.
    async fn welcome(&mut self, now: Timestamp) -> Result<(), QueryError> {
        let loaded = self.setup.alarms.loaded();
        let mut standing = self.standing.clone().unwrap_or_default();
        let local = |name: &str| {
            let alarm = loaded.set.find(name);
            alarm.is_some_and(|alarm| series_of(alarm, &loaded.namespace).is_some())
        };
        let removed: Vec<String> = standing
            .keys()
            .filter(|name| !local(name))
            .cloned()
            .collect();
        for name in &removed {
            standing.remove(name);
        }
        let mut new = Vec::new();
        for alarm in &loaded.set.alarms {
            if series_of(alarm, &loaded.namespace).is_none() {
                let (alarm, namespace) = (&alarm.name, &alarm.namespace);
                info!(
                    alarm,
                    namespace, "this alarm is evaluated by CloudWatch only"
                );
            } else if !standing.contains_key(&alarm.name) {
                let status = AlarmStatus {
                    name: alarm.name.clone(),
                    state: State::default(),
                    since: now,
                    updated: now,
                    reason: NEW.to_owned(),
                    value: None,
                };
                new.push(status.clone());
                let evaluated = None;
                standing.insert(alarm.name.clone(), Standing { status, evaluated });
            }
        }
        let ledger = &self.setup.ledger;
        ledger
            .settle_alarms(new, removed, Vec::new(), Vec::new())
            .await?;
        self.is_new = false;
        self.show(standing);
        Ok(())
    }

    /// Evaluates all alarms for a minute and settles what changed.
    async fn evaluate(
        &mut self,
        minute: i64,
        evaluates: Evaluate,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        let watch = Stopwatch::start();
        let loaded = self.setup.alarms.loaded();
        let mut standing = self.standing.clone().unwrap_or_default();
        let previous = |alarm: &Alarm| {
            let known = standing.get(&alarm.name);
            known
                .map(|standing| standing.status.state)
                .unwrap_or_default()
        };
        let verdicts = judge(&self.setup.ledger, &loaded, minute, previous).await?;
        let end = end_of(minute);
        let mut transitions = Vec::new();
        let mut changed = Vec::new();
        for (alarm, verdict) in verdicts {
            let Some(known) = standing.get_mut(&alarm.name) else {
                continue;
            };
            let from = known.status.state;
            let has_changed = from != verdict.state;
            known.evaluated = Some(end);
            known.status.value = verdict.value;
            known.status.reason.clone_from(&verdict.reason);
            known.status.updated = now;
            known.status.state = verdict.state;
            if has_changed {
                known.status.since = now;
                changed.push(known.status.clone());
                transitions.push(Transition {
                    alarm: alarm.clone(),
                    from,
                    to: verdict.state,
                    at: now,
                    reason: verdict.reason,
                    value: verdict.value,
                });
            }
        }
        self.settle(changed, &transitions, evaluates, now).await?;
        self.show(standing);
        let seconds = watch.elapsed().as_secs_f64();
        let registry = &self.setup.registry;
        registry.set(catalogue::ALARM_EVALUATION_DURATION, &[], seconds);
        let end = end.as_second() as f64;
        registry.set(catalogue::ALARM_LAST_EVALUATION, &[], end);
        Ok(())
    }

    async fn settle(
        &self,
        changed: Vec<AlarmStatus>,
        transitions: &[Transition],
        evaluates: Evaluate,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        if changed.is_empty() {
            return Ok(());
        }
        let notices = if evaluates.acts_here() {
            (self.setup.tell)(transitions, now)
        } else {
            Vec::new()
        };
        let history = transitions.iter().map(AlarmChange::from).collect();
        let ledger = &self.setup.ledger;
        ledger
            .settle_alarms(changed, Vec::new(), history, notices)
            .await?;
        for transition in transitions {
            let (alarm, from, to) = (
                &transition.alarm.name,
                transition.from.name(),
                transition.to.name(),
            );
            let reason = &transition.reason;
            if transition.to == State::Alarm {
                warn!(alarm, from, to, reason, "an alarm changed");
            } else {
                info!(alarm, from, to, reason, "an alarm changed");
            }
            let registry = &self.setup.registry;
            registry.add(catalogue::ALARM_TRANSITIONS, &[alarm, to], 1);
        }
        Ok(())
    }

    /// Shows how alarms stand to doors and in the metrics.
    fn show(&mut self, standing: BTreeMap<String, Standing>) {
        self.publish(&standing);
        self.setup.alarms.set_standing(standing.clone());
        self.standing = Some(standing);
    }

    fn publish(&self, standing: &BTreeMap<String, Standing>) {
        let loaded = self.setup.alarms.loaded();
        let mut samples = Vec::with_capacity(standing.len() * State::ALL.len());
        for alarm in &loaded.set.alarms {
            let Some(known) = standing.get(&alarm.name) else {
                continue;
            };
            for state in State::ALL {
                let labels = [alarm.name.as_str(), &alarm.severity, state.name()];
                samples.push(Sample {
                    desc: catalogue::ALARM_STATE,
                    labels: labels.map(str::to_owned).to_vec(),
                    value: f64::from(u8::from(known.status.state == state)),
                });
            }
        }
        self.setup.registry.replace(OWNER, samples);
    }
}

pub(super) fn end_of(minute: i64) -> Timestamp {
    let seconds = minute.saturating_add(1).saturating_mul(60);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Evaluates the alarms that are due after a minute.
async fn judge(
    ledger: &Ledger,
    loaded: &Loaded,
    minute: i64,
    previous: impl Fn(&Alarm) -> State,
) -> Result<Vec<(Alarm, Verdict)>, QueryError> {
    let mut by_metric: BTreeMap<&'static str, Vec<(&Alarm, SeriesKey)>> = BTreeMap::new();
    for alarm in &loaded.set.alarms {
        if let Some(key) = series_of(alarm, &loaded.namespace)
            && is_due(alarm, minute)
        {
            by_metric.entry(key.metric).or_default().push((alarm, key));
        }
    }
    let mut verdicts = Vec::new();
    for (metric, alarms) in by_metric {
        let longest = alarms.iter().map(|(alarm, _)| span(alarm)).max();
        let from = minute + 1 - longest.unwrap_or(0);
        let keys: BTreeSet<&SeriesKey> = alarms.iter().map(|(_, key)| key).collect();
        let minutes = minutes(ledger, metric, from, minute + 1, &keys).await?;
        let series = by_series(&minutes, &keys);
        let nothing = BTreeMap::new();
        for (alarm, key) in &alarms {
            let series = series.get(key).unwrap_or(&nothing);
            let readings = window(alarm, series, minute);
            let verdict = evaluate(alarm, &readings, previous(alarm), end_of(minute));
            verdicts.push(((*alarm).clone(), verdict));
        }
    }
    Ok(verdicts)
}
