//! Alarms in the words of CloudWatch: what is compared, how often it has to breach, and what
//! missing data means.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of an alarm.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum State {
    Ok,
    Alarm,
    #[default]
    InsufficientData,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Ok, Self::Alarm, Self::InsufficientData];

    /// CloudWatch's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// How the statistic is held against the threshold; the statistic is on the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    GreaterThanOrEqual,
    GreaterThan,
    LessThan,
    LessThanOrEqual,
}

/// What a period without data counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MissingData {
    #[default]
    Missing,
    Ignore,
    Breaching,
    NotBreaching,
}

/// What is made of the values of a period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    /// `p50` to `p99.9`: percent, more than 0 and less than 100.
    Percentile(f64),
}

/// A metric alarm: one comparison of one statistic of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub name: String,
    pub description: String,
    /// The name in CloudWatch; not only tallyd's own, since a template may hold others.
    pub metric: String,
    pub namespace: String,
    pub dimensions: BTreeMap<String, String>,
    pub statistic: Statistic,
    pub period_seconds: u32,
    /// N: the periods looked at.
    pub evaluation_periods: u32,
    /// M: the periods that have to breach.
    pub datapoints_to_alarm: u32,
    pub threshold: f64,
    pub comparison: Comparison,
    pub missing_data: MissingData,
    /// False: percentiles of few samples leave the state as it is.
    pub evaluates_low_samples: bool,
    pub actions: Actions,
    /// From the tag `severity`; `warning` if there is none.
    pub severity: String,
    /// From the tag `runbook`: where it says what to do.
    pub runbook: Option<String>,
}

/// What CloudWatch does on a transition: Amazon resource names, or what a template refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    pub enabled: bool,
    pub alarm: Vec<String>,
    pub ok: Vec<String>,
    pub insufficient_data: Vec<String>,
}

/// A change of an alarm's state, with all that a message about it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    pub alarm: Alarm,
    pub from: State,
    pub to: State,
    pub at: Timestamp,
    /// In CloudWatch's words: `Threshold Crossed: ...`.
    pub reason: String,
    /// The newest value that was looked at.
    pub value: Option<f64>,
}
