//! Alarms in the words of CloudWatch: what is compared, how often it has to breach, and what
//! missing data means.

mod decide;
mod evaluate;
mod reason;
mod statistic;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use decide::{Rule, decide};
pub use evaluate::{Verdict, evaluate};
pub use statistic::Reading;

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

impl Comparison {
    pub const ALL: [Self; 4] = [
        Self::GreaterThanOrEqual,
        Self::GreaterThan,
        Self::LessThan,
        Self::LessThanOrEqual,
    ];

    /// CloudWatch's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GreaterThanOrEqual => "GreaterThanOrEqualToThreshold",
            Self::GreaterThan => "GreaterThanThreshold",
            Self::LessThan => "LessThanThreshold",
            Self::LessThanOrEqual => "LessThanOrEqualToThreshold",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.name() == name)
    }

    /// True if a value breaches the threshold.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThanOrEqual => value >= threshold,
            Self::GreaterThan => value > threshold,
            Self::LessThan => value < threshold,
            Self::LessThanOrEqual => value <= threshold,
        }
    }
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

impl MissingData {
    pub const ALL: [Self; 4] = [
        Self::Missing,
        Self::Ignore,
        Self::Breaching,
        Self::NotBreaching,
    ];

    /// CloudWatch's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ignore => "ignore",
            Self::Breaching => "breaching",
            Self::NotBreaching => "notBreaching",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.name() == name)
    }
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

impl Alarm {
    /// How many periods are fetched to find N that have data: N + max(N / 3, 2).
    ///
    /// CloudWatch does not tell its own number; its examples show 5 for N = 3.
    #[must_use]
    pub const fn range(&self) -> u32 {
        let third = self.evaluation_periods / 3;
        self.evaluation_periods + if third > 2 { third } else { 2 }
    }

    /// True if CloudWatch evaluates the alarm only once an hour, on data up to the full hour:
    /// its periods span more than a day.
    #[must_use]
    pub const fn is_hourly(&self) -> bool {
        self.period_seconds as u64 * self.evaluation_periods as u64 > 86_400
    }
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
