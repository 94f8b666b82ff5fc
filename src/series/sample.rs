//! What gauges show now, as values of minute metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::catalogue::{self, Desc};
use crate::registry::Registry;

/// Minute metrics that are a gauge times a factor: ratios are told in percent.
const GAUGES: [(&str, &Desc, &[&str], f64); 7] = [
    ("cost_anomalies", catalogue::COST_ANOMALIES, &[], 1.0),
    ("active_users", catalogue::ACTIVE_USERS, &["5m"], 1.0),
    ("cpu_utilization", catalogue::CPU_UTILIZATION, &[], 100.0),
    (
        "memory_utilization",
        catalogue::MEMORY_UTILIZATION,
        &[],
        100.0,
    ),
    (
        "disk_utilization",
        catalogue::LEDGER_DISK_UTILIZATION,
        &[],
        100.0,
    ),
    (
        "cloudwatch_backlog_seconds",
        catalogue::CLOUDWATCH_BACKLOG,
        &[],
        1.0,
    ),
    (
        "quota_pool_utilization",
        catalogue::QUOTA_POOL_UTILIZATION,
        &[],
        100.0,
    ),
];

/// Minute metrics that are the largest of a gauge's series that hold a text, times a factor.
const HIGHEST: [(&str, &Desc, &str, f64); 4] = [
    ("budget_forecast", catalogue::BUDGET_FORECAST, "", 100.0),
    (
        "budget_burn_rate_fast",
        catalogue::BUDGET_BURN_RATE,
        "window=\"fast\"",
        1.0,
    ),
    (
        "budget_burn_rate_slow",
        catalogue::BUDGET_BURN_RATE,
        "window=\"slow\"",
        1.0,
    ),
    (
        "reconciliation_delta",
        catalogue::RECONCILIATION_DELTA,
        "",
        100.0,
    ),
];

/// What became of datapoints that CloudWatch will never show.
const LOST: [&str; 2] = ["rejected", "expired"];

/// The values at this moment; what has no gauge is left out.
pub(super) fn gauges(registry: &Registry, now: Timestamp) -> Vec<(&'static str, f64)> {
    let mut values = Vec::with_capacity(GAUGES.len() + HIGHEST.len() + 1);
    for (metric, desc, labels, factor) in GAUGES {
        if let Some(value) = registry.gauge(desc, labels) {
            values.push((metric, value * factor));
        }
    }
    for (metric, desc, text, factor) in HIGHEST {
        if let Some(value) = registry.highest(desc, text) {
            values.push((metric, value * factor));
        }
    }
    if let Some(last) = registry.gauge(catalogue::BACKUP_LAST_SUCCESS, &[]) {
        let age = now.as_millisecond() as f64 / 1_000.0 - last;
        values.push(("backup_age_seconds", age.max(0.0)));
    }
    values
}

/// Totals since the start whose growth minutes tell; what nobody counts is left out.
pub(super) fn totals(registry: &Registry) -> Vec<(&'static str, u128)> {
    let lost = lost(registry).map(|total| ("cloudwatch_datapoints_lost", total));
    let undecided = undecided(registry).map(|total| ("quota_undecided_requests", total));
    lost.into_iter().chain(undecided).collect()
}

/// Datapoints that were lost; `None` while nobody exports.
fn lost(registry: &Registry) -> Option<u128> {
    let counted = |result| registry.counter(catalogue::CLOUDWATCH_DATAPOINTS, &[result]);
    let exports = registry.gauge(catalogue::CLOUDWATCH_BACKLOG, &[]).is_some();
    let counts = LOST.map(counted);
    if !exports && counts.iter().all(Option::is_none) {
        return None;
    }
    Some(counts.into_iter().flatten().sum())
}

/// Questions that tallyd could not decide; `None` while there is no policy.
fn undecided(registry: &Registry) -> Option<u128> {
    registry.gauge(catalogue::QUOTA_POLICY_VERSION, &[])?;
    let labels = ["unavailable", "store_unavailable", ""];
    let counted = registry.counter(catalogue::QUOTA_DECISIONS, &labels);
    Some(counted.unwrap_or(0))
}

/// How much of the totals minutes have told.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<&'static str, u128>);

impl Told {
    /// What of a total no minute has told yet.
    pub(super) fn untold(&self, metric: &str, total: u128) -> f64 {
        let told = self.0.get(metric).copied().unwrap_or(0);
        total.saturating_sub(told) as f64
    }

    /// A minute tells the totals.
    pub(super) fn tell(&mut self, totals: Vec<(&'static str, u128)>) {
        self.0.extend(totals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_gauge_is_missing_and_ratios_are_percent() {
        let registry = Registry::default();
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        assert_eq!(gauges(&registry, now), []);
        registry.set(catalogue::CPU_UTILIZATION, &[], 0.25);
        registry.set(catalogue::ACTIVE_USERS, &["5m"], 3.0);
        registry.set(catalogue::ACTIVE_USERS, &["1h"], 9.0);
        let last = now.as_second() as f64 - 90.0;
        registry.set(catalogue::BACKUP_LAST_SUCCESS, &[], last);
        let burn = |budget, window, value| {
            registry.set(catalogue::BUDGET_BURN_RATE, &[budget, window], value);
        };
        burn("a", "fast", 2.0);
        burn("b", "fast", 3.0);
        burn("a", "slow", 1.0);
        assert_eq!(
            gauges(&registry, now),
            [
                ("active_users", 3.0),
                ("cpu_utilization", 25.0),
                ("budget_burn_rate_fast", 3.0),
                ("budget_burn_rate_slow", 1.0),
                ("backup_age_seconds", 90.0)
            ]
        );
    }

    #[test]
    fn losses_are_told_once_and_not_without_an_exporter() {
        let registry = Registry::default();
        let mut told = Told::default();
        assert_eq!(totals(&registry), []);
        registry.set(catalogue::CLOUDWATCH_BACKLOG, &[], 0.0);
        let lost = "cloudwatch_datapoints_lost";
        assert_eq!(totals(&registry), [(lost, 0)]);
        registry.add(catalogue::CLOUDWATCH_DATAPOINTS, &["expired"], 3);
        registry.add(catalogue::CLOUDWATCH_DATAPOINTS, &["rejected"], 2);
        registry.add(catalogue::CLOUDWATCH_DATAPOINTS, &["delivered"], 70);
        assert_eq!(totals(&registry), [(lost, 5)]);
        let before = told.untold(lost, 5);
        told.tell(totals(&registry));
        assert_eq!((before, told.untold(lost, 7)), (5.0, 2.0));
    }

    #[test]
    fn undecided_questions_are_told_where_there_is_a_policy() {
        let registry = Registry::default();
        registry.set(catalogue::QUOTA_POLICY_VERSION, &[], 1.0);
        assert_eq!(totals(&registry), [("quota_undecided_requests", 0)]);
        let labels = ["unavailable", "store_unavailable", ""];
        registry.add(catalogue::QUOTA_DECISIONS, &labels, 4);
        registry.add(catalogue::QUOTA_DECISIONS, &["allow", "room", ""], 9);
        assert_eq!(totals(&registry), [("quota_undecided_requests", 4)]);
    }
}
