//! Tells people and programs of alarms.
//!
//! [`Notify::notices`] says what a set of transitions makes due; it is written in the transaction
//! that changes the states. [`Notify::deliver`] is a round for one target: what is due goes out,
//! what fails is still due at the next round. All that has to survive is in the ledger. A target
//! that is down delays only itself.

mod alertmanager;
mod message;
mod outcome;
mod plan;
mod slack;
mod sns;
mod target;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use reqwest::Client;
use tracing::warn;

pub use outcome::{ClientError, client};
pub use webhook::{SIGNATURE, TIMESTAMP, signature};

use crate::aws::Aws;
use crate::config::Config;
use crate::model::alarm::{Actions, Alarm, Comparison, MissingData, State, Statistic, Transition};
use crate::model::notice::{Mute, Notice};
use crate::store::{Ledger, QueryError};
use outcome::Outcome;
use target::Target;

/// What notifications work with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub ledger: Ledger,
    /// From [`client`].
    pub client: Client,
    pub aws: Aws,
    /// Its maintenance windows count; it is replaced when it is read again.
    pub config: Arc<ArcSwap<Config>>,
    /// The host's name, for the label `instance`.
    pub instance: String,
    /// When the alarms were read.
    pub started: Timestamp,
}

/// All targets.
#[derive(Debug)]
pub struct Notify {
    ledger: Ledger,
    config: Arc<ArcSwap<Config>>,
    targets: BTreeMap<String, Target>,
    is_stopping: AtomicBool,
}

/// A target's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Notices by what became of them, since the start.
    pub results: BTreeMap<&'static str, u64>,
    /// Notices that wait now.
    pub waiting: usize,
    /// Since when the oldest of them could have been told.
    pub oldest: Option<Timestamp>,
}

/// Why a test was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    #[error("there is no [notify.{0}] in the configuration")]
    Unknown(String),
    #[error("{name} did not take the test: {why}")]
    Failed { name: String, why: String },
}

impl Notify {
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let config = setup.config.load();
        let targets = config.notify.iter();
        Self {
            ledger: setup.ledger.clone(),
            config: setup.config.clone(),
            targets: targets
                .map(|settings| (settings.name.clone(), Target::new(settings, setup)))
                .collect(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The names of all targets, sorted.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// What is due because of transitions: a notice for each target that wants to hear of one, or
    /// has to know of it.
    /// Alarms whose actions are switched off are told to nobody.
    #[must_use]
    pub fn notices(&self, transitions: &[Transition], now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        for transition in transitions {
            if !transition.alarm.actions.enabled {
                continue;
            }
            for (name, target) in &self.targets {
                if target.heeds(transition) {
                    notices.push(Notice {
                        target: name.clone(),
                        transition: transition.clone(),
                        due: target.due(now),
                    });
                }
            }
        }
        notices
    }

    /// Call it once, before the first round. What was handed over when tallyd ended, and whose
    /// answer was not written down, is told again: twice is better than not at all.
    pub async fn start(&self) -> Result<(), QueryError> {
        let names = self.targets().map(str::to_owned).collect();
        let (gone, interrupted) = self.ledger.start_notices(names).await?;
        if gone > 0 {
            warn!(
                notices = gone,
                "notices for targets that are not configured any more were given up"
            );
        }
        for name in &interrupted {
            if let Some(target) = self.targets.get(name) {
                target.count("repeated", 1);
            }
        }
        if !interrupted.is_empty() {
            warn!(
                notices = interrupted.len(),
                "tallyd ended while it was telling of alarms, some may be told twice"
            );
        }
        Ok(())
    }

    /// A round of one target: tells what is due. Returns when the target has answered.
    ///
    /// Errors: the ledger could not be asked; everything is still due.
    pub async fn deliver(&self, name: &str, now: Timestamp) -> Result<(), QueryError> {
        let Some(target) = self.targets.get(name) else {
            return Ok(());
        };
        let mutes = self.mutes().await?;
        let queue = self.ledger.notices(name).await?;
        target
            .round(queue, &mutes, now, || {
                self.is_stopping.load(Ordering::Relaxed)
            })
            .await
    }

    /// All maintenance windows: those of the configuration, then those that were set.
    pub async fn mutes(&self) -> Result<Vec<Mute>, QueryError> {
        let mut mutes = self.config.load().maintenance.clone();
        mutes.extend(self.ledger.mutes().await?);
        Ok(mutes)
    }

    /// A round of all targets, side by side.
    pub async fn round(&self, now: Timestamp) -> Result<(), QueryError> {
        let rounds = self.targets().map(|name| self.deliver(name, now));
        for done in futures_util::future::join_all(rounds).await {
            done?;
        }
        Ok(())
    }

    /// No message is begun after this; one that is under way is waited for by its round.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Sends a marked test at once, past the queue, the routes and the maintenance windows.
    pub async fn test(&self, name: &str, now: Timestamp) -> Result<(), TestError> {
        let Some(target) = self.targets.get(name) else {
            return Err(TestError::Unknown(name.to_owned()));
        };
        let test = test_transition(target.state_of_test(), now);
        let why = match target.send(&[&test], now).await {
            Outcome::Taken => {
                target.count("test", 1);
                return Ok(());
            }
            Outcome::Unfit(why) | Outcome::Refused(why) => why,
            Outcome::Again(again) => again.why,
        };
        Err(TestError::Failed {
            name: name.to_owned(),
            why,
        })
    }

    /// The numbers of each target.
    pub fn counts(&self) -> Vec<(&str, Counts)> {
        let targets = self.targets.iter();
        targets
            .map(|(name, target)| (name.as_str(), target.counts()))
            .collect()
    }
}

/// A transition that says of itself that it is a test.
fn test_transition(to: State, now: Timestamp) -> Transition {
    Transition {
        alarm: Alarm {
            name: message::TEST_ALARM.to_owned(),
            description: "A test of notifications: nothing is wrong, and nothing is to be done."
                .to_owned(),
            metric: "tallyd_test".to_owned(),
            namespace: "ClaudeCode/Enterprise".to_owned(),
            dimensions: BTreeMap::new(),
            statistic: Statistic::Sum,
            period_seconds: 60,
            evaluation_periods: 1,
            datapoints_to_alarm: 1,
            threshold: 1.0,
            comparison: Comparison::GreaterThanOrEqual,
            missing_data: MissingData::NotBreaching,
            evaluates_low_samples: true,
            actions: Actions {
                enabled: true,
                ..Actions::default()
            },
            severity: "info".to_owned(),
            runbook: None,
        },
        from: if to == State::Ok {
            State::Alarm
        } else {
            State::Ok
        },
        to,
        at: now,
        reason: "TEST of tallyd's notifications, asked for by an operator".to_owned(),
        value: Some(0.0),
    }
}
