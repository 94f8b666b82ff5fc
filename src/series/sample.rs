//! What gauges show now, as values of minute metrics.

use jiff::Timestamp;

use crate::model::catalogue::{self, Desc};
use crate::registry::Registry;

/// Minute metrics that are a gauge times a factor: ratios are told in percent.
const GAUGES: [(&str, &Desc, &[&str], f64); 5] = [
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
];

/// What became of datapoints that CloudWatch will never show.
const LOST: [&str; 2] = ["rejected", "expired"];

/// The values at this moment; what has no gauge is left out.
pub(super) fn gauges(registry: &Registry, now: Timestamp) -> Vec<(&'static str, f64)> {
    let mut values = Vec::with_capacity(GAUGES.len() + 1);
    for (metric, desc, labels, factor) in GAUGES {
        if let Some(value) = registry.gauge(desc, labels) {
            values.push((metric, value * factor));
        }
    }
    if let Some(last) = registry.gauge(catalogue::BACKUP_LAST_SUCCESS, &[]) {
        let age = now.as_millisecond() as f64 / 1_000.0 - last;
        values.push(("backup_age_seconds", age.max(0.0)));
    }
    values
}

/// Datapoints that were lost, as the exporter counts them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    told: u128,
}

impl Losses {
    /// All that was lost since the start; `None` while nobody exports.
    pub(super) fn total(registry: &Registry) -> Option<u128> {
        let counted = |result| registry.counter(catalogue::CLOUDWATCH_DATAPOINTS, &[result]);
        let exports = registry.gauge(catalogue::CLOUDWATCH_BACKLOG, &[]).is_some();
        let counts = LOST.map(counted);
        if !exports && counts.iter().all(Option::is_none) {
            return None;
        }
        Some(counts.into_iter().flatten().sum())
    }

    /// What of a total no minute has told yet.
    pub(super) fn untold(&self, total: u128) -> f64 {
        total.saturating_sub(self.told) as f64
    }

    /// A minute tells the total.
    pub(super) fn tell(&mut self, total: u128) {
        self.told = total;
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
        assert_eq!(
            gauges(&registry, now),
            [
                ("active_users", 3.0),
                ("cpu_utilization", 25.0),
                ("backup_age_seconds", 90.0)
            ]
        );
    }

    #[test]
    fn losses_are_told_once_and_not_without_an_exporter() {
        let registry = Registry::default();
        let mut losses = Losses::default();
        assert_eq!(Losses::total(&registry), None);
        registry.set(catalogue::CLOUDWATCH_BACKLOG, &[], 0.0);
        assert_eq!(Losses::total(&registry), Some(0));
        registry.add(catalogue::CLOUDWATCH_DATAPOINTS, &["expired"], 3);
        registry.add(catalogue::CLOUDWATCH_DATAPOINTS, &["rejected"], 2);
        registry.add(catalogue::CLOUDWATCH_DATAPOINTS, &["delivered"], 70);
        assert_eq!(Losses::total(&registry), Some(5));
        let before = losses.untold(5);
        losses.tell(5);
        assert_eq!((before, losses.untold(7)), (5.0, 2.0));
    }
}
