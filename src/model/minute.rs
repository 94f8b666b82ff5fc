//! One-minute datapoints: which metrics have them, and what a datapoint is.
//!
//! The table [`MINUTE_METRICS`] is what goes to CloudWatch, what alarms are evaluated on and what
//! charts show. Each metric has one unit for ever: CloudWatch keeps values of another unit apart.

mod datapoint;
mod ready;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use ready::{Finished, MIN_REQUESTS, Ready, SLOW_MINUTES};
pub use wire::{encoded, plain};

/// The namespace in CloudWatch, unless the configuration names another.
pub const NAMESPACE: &str = "ClaudeCode/Enterprise";

/// Distinct values that a datapoint keeps: CloudWatch takes at most 150 in one datum.
pub const MAX_VALUES: usize = 150;

/// Metrics that can be told apart by dimensions; all others come as the total only.
pub const DIMENSIONED: [&str; 7] = [
    "requests_per_minute",
    "tokens_processed",
    "error_rate",
    "response_time",
    "time_to_first_token",
    "throttled_requests",
    "code_lines_generated",
];

/// The value of a dimension that stands for all values beyond a bound.
pub const OTHER: &str = "other";

/// A unit that CloudWatch knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    Count,
    Percent,
    Seconds,
    Milliseconds,
    None,
}

impl Unit {
    /// CloudWatch's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Percent => "Percent",
            Self::Seconds => "Seconds",
            Self::Milliseconds => "Milliseconds",
            Self::None => "None",
        }
    }
}

/// How the values of a minute come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One value a minute: the sum of what happened in it, 0 when nothing did.
    Total,
    /// One value for each finished request; missing when there was none.
    Each,
    /// What a gauge showed, once or more often in the minute; missing without a gauge.
    Sample,
}

/// A metric with one-minute datapoints.
#[derive(Debug, PartialEq, Eq)]
pub struct MinuteMetric {
    /// The name in CloudWatch and in alarms.
    pub name: &'static str,
    pub unit: Unit,
    pub shape: Shape,
    /// One sentence, without a line break.
    pub help: &'static str,
}

const fn metric(name: &'static str, unit: Unit, shape: Shape, help: &'static str) -> MinuteMetric {
    MinuteMetric {
        name,
        unit,
        shape,
        help,
    }
}

/// Every metric with one-minute datapoints.
pub const MINUTE_METRICS: &[MinuteMetric] = &[
    metric(
        "requests_per_minute",
        Unit::Count,
        Shape::Total,
        "Model requests that finished.",
    ),
    metric(
        "tokens_processed",
        Unit::Count,
        Shape::Total,
        "Tokens of all kinds.",
    ),
    metric(
        "unpriced_tokens",
        Unit::Count,
        Shape::Total,
        "Tokens of requests that the price table has no price for.",
    ),
    metric(
        "active_users",
        Unit::Count,
        Shape::Sample,
        "Users active in the last five minutes.",
    ),
    metric(
        "error_rate",
        Unit::Percent,
        Shape::Each,
        "0 for each request that worked, 100 for each that failed; the average is the share of failed requests.",
    ),
    metric(
        "response_time",
        Unit::Milliseconds,
        Shape::Each,
        "Time from sending a request to the end of its answer.",
    ),
    metric(
        "time_to_first_token",
        Unit::Milliseconds,
        Shape::Each,
        "Time to the first token of an answer, where the source tells it.",
    ),
    metric(
        "throttled_requests",
        Unit::Count,
        Shape::Total,
        "Requests that the provider refused for their rate (HTTP 429 and 529).",
    ),
    metric(
        "cpu_utilization",
        Unit::Percent,
        Shape::Sample,
        "CPU use of the host or its cgroup limit.",
    ),
    metric(
        "memory_utilization",
        Unit::Percent,
        Shape::Sample,
        "Memory use of the host or its cgroup limit.",
    ),
    metric(
        "disk_utilization",
        Unit::Percent,
        Shape::Sample,
        "Use of the file system that holds the ledger.",
    ),
    metric(
        "code_lines_generated",
        Unit::Count,
        Shape::Total,
        "Lines of code that Claude Code added.",
    ),
    metric(
        "bugs_fixed",
        Unit::Count,
        Shape::Total,
        "Bugs fixed, once a webhook or tracker is configured.",
    ),
    metric(
        "time_saved_minutes",
        Unit::None,
        Shape::Total,
        "Working minutes saved by the middle of the stated assumptions; negative where work gets slower.",
    ),
    metric(
        "cost_savings_usd",
        Unit::None,
        Shape::Total,
        "What the time saved is worth in USD by the stated assumptions; no money that a bill shows.",
    ),
    metric(
        "error_share",
        Unit::Percent,
        Shape::Sample,
        "Share of failed requests in the last five minutes, told only with at least 20 requests.",
    ),
    metric(
        "error_budget_burn_rate_fast",
        Unit::None,
        Shape::Sample,
        "How fast errors use up the error budget: the lesser of the last hour and the last five minutes.",
    ),
    metric(
        "error_budget_burn_rate_slow",
        Unit::None,
        Shape::Sample,
        "How fast errors use up the error budget: the lesser of the last six hours and the last 30 minutes.",
    ),
    metric(
        "telemetry_silent_seconds",
        Unit::Seconds,
        Shape::Sample,
        "Time without any report while Bedrock says that models are used; 0 while reports come.",
    ),
    metric(
        "cloudwatch_backlog_seconds",
        Unit::Seconds,
        Shape::Sample,
        "Age of the oldest datapoint that CloudWatch has not taken.",
    ),
    metric(
        "cloudwatch_datapoints_lost",
        Unit::Count,
        Shape::Total,
        "Datapoints that CloudWatch rejected or that grew too old.",
    ),
    metric(
        "backup_age_seconds",
        Unit::Seconds,
        Shape::Sample,
        "Age of the last backup, if backups are configured.",
    ),
    metric(
        "quota_pool_utilization",
        Unit::Percent,
        Shape::Sample,
        "Use of the fullest limit that several users share, if a policy has any.",
    ),
    metric(
        "quota_undecided_requests",
        Unit::Count,
        Shape::Total,
        "Questions of gateways that could not be decided because a hold could not be written.",
    ),
    metric(
        "budget_forecast",
        Unit::Percent,
        Shape::Sample,
        "What the month is forecast to cost in percent of the budget, the highest of all budgets.",
    ),
    metric(
        "budget_burn_rate_fast",
        Unit::None,
        Shape::Sample,
        "How fast a budget is spent: the lesser of the last 24 and three hours, the highest of all budgets.",
    ),
    metric(
        "budget_burn_rate_slow",
        Unit::None,
        Shape::Sample,
        "How fast a budget is spent: the lesser of the last seven days and 24 hours, the highest of all budgets.",
    ),
    metric(
        "cost_anomalies",
        Unit::Count,
        Shape::Sample,
        "Teams, models and users with unusually high cost yesterday or today.",
    ),
    metric(
        "reconciliation_delta",
        Unit::Percent,
        Shape::Sample,
        "What of the bill for tokens the estimate does not explain, the highest of all providers.",
    ),
];

/// Finds a metric by name.
#[must_use]
pub fn find(name: &str) -> Option<&'static MinuteMetric> {
    MINUTE_METRICS.iter().find(|metric| metric.name == name)
}

/// A dimension by which series can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    Provider,
    Model,
    Team,
    Project,
    /// Only if asked for by name: it makes a metric for each person.
    User,
}

impl Dimension {
    pub const ALL: [Self; 5] = [
        Self::Provider,
        Self::Model,
        Self::Team,
        Self::Project,
        Self::User,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Team => "team",
            Self::Project => "project",
            Self::User => "user",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dimension| dimension.name() == name)
    }
}

/// One series: a metric and the values of its dimensions, by name; empty for all together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    pub metric: &'static str,
    pub dimensions: BTreeMap<Dimension, Arc<str>>,
}

impl SeriesKey {
    /// The series of everything together.
    #[must_use]
    pub const fn total(metric: &'static str) -> Self {
        Self {
            metric,
            dimensions: BTreeMap::new(),
        }
    }
}

/// What happened to one metric in one minute (or, merged, in a longer period).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Datapoint {
    /// How many values there were.
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    /// Distinct values, ascending, with how often each came; at most [`MAX_VALUES`]. Their
    /// number adds up to `count`; beyond the bound neighbours share a value, by
    /// [`Datapoint::relative_error`] off at most.
    pub values: Vec<(f64, u64)>,
}

/// A datapoint of a series at the begin of its minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Minute {
    /// Minutes since 1970-01-01 00:00 UTC.
    pub minute: i64,
    pub series: Arc<SeriesKey>,
    pub datapoint: Datapoint,
}
