//! What would exist in CloudWatch, and what that would cost in a month.

use std::sync::Arc;

use super::datum;
use super::fold::Places;
use crate::config::{CloudWatch, Tier};
use crate::model::minute::{self, SeriesKey};
use crate::model::money::PicoUsd;
use crate::store::Values;

/// A month of 730 hours, as AWS counts it.
const MONTH_SECONDS: u64 = 730 * 3_600;

/// Minutes come once in this time, however often a round is.
const MINUTE_SECONDS: u64 = 60;

/// A custom metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub metric: &'static str,
    /// Names and values as CloudWatch shows them.
    pub dimensions: Vec<(&'static str, String)>,
    /// CloudWatch's word for the unit.
    pub unit: &'static str,
}

/// All metrics, and the prices of a month without the free tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By metric, totals first.
    pub lines: Vec<Line>,
    /// Combinations of dimension values that are sent as `other`.
    pub folded: usize,
    pub calls: u64,
    pub alarms: u64,
    pub metrics_price: PicoUsd,
    pub calls_price: PicoUsd,
    pub alarms_price: PicoUsd,
}

impl Plan {
    /// The price of everything together.
    #[must_use]
    pub fn price(&self) -> PicoUsd {
        let parts = [self.metrics_price, self.calls_price, self.alarms_price];
        PicoUsd(
            parts
                .iter()
                .fold(0, |sum: i128, part| sum.saturating_add(part.0)),
        )
    }
}

/// Plans for series that are known, each with its requests. Who is exported already comes first.
#[must_use]
pub fn plan(
    known: &[(Arc<SeriesKey>, f64)],
    had: Vec<Values>,
    settings: &CloudWatch,
    alarms: u64,
) -> Plan {
    let sets = settings.dimensions.len();
    let mut places = Places::new(settings.max_metrics, sets, had, 0);
    places.weigh(0, known.iter().map(|(series, sum)| (&**series, *sum)));
    let mut lines: Vec<_> = known
        .iter()
        .filter_map(|(series, _)| line(&places.place(series)))
        .collect();
    lines.sort_unstable();
    lines.dedup();
    let calls = calls(lines.len() as u64, settings.interval.as_secs());
    Plan {
        folded: places.folded(),
        metrics_price: metrics_price(lines.len() as u64, &settings.prices.metrics),
        calls_price: PicoUsd(times(settings.prices.requests, calls).0 / 1_000),
        alarms_price: times(settings.prices.alarm, alarms),
        calls,
        alarms,
        lines,
    }
}

/// The totals of all metrics: what can be told without a daemon.
#[must_use]
pub fn totals() -> Vec<(Arc<SeriesKey>, f64)> {
    let all = minute::MINUTE_METRICS.iter();
    all.map(|metric| (Arc::new(SeriesKey::total(metric.name)), 0.0))
        .collect()
}

fn line(series: &SeriesKey) -> Option<Line> {
    let metric = minute::find(series.metric)?;
    Some(Line {
        metric: metric.name,
        dimensions: datum::dimensions(&series.dimensions),
        unit: metric.unit.name(),
    })
}

/// Calls in a month: a round sends what became a minute since the one before.
fn calls(metrics: u64, interval_seconds: u64) -> u64 {
    let interval = interval_seconds.max(MINUTE_SECONDS);
    let datums = metrics.saturating_mul(interval.div_ceil(MINUTE_SECONDS));
    let in_a_round = datums.div_ceil(super::batch::MAX_DATUMS as u64);
    (MONTH_SECONDS / interval).saturating_mul(in_a_round)
}

/// The metrics of each tier at its price.
fn metrics_price(metrics: u64, tiers: &[Tier]) -> PicoUsd {
    let mut before = 0;
    let mut sum = 0_i128;
    for tier in tiers {
        let up_to = tier.up_to.unwrap_or(u64::MAX).min(metrics);
        sum = sum.saturating_add(times(tier.price, up_to.saturating_sub(before)).0);
        before = before.max(up_to);
    }
    PicoUsd(sum)
}

fn times(price: PicoUsd, number: u64) -> PicoUsd {
    PicoUsd(price.0.saturating_mul(number.into()))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::{Config, Environment};
    use crate::model::minute::Dimension;

    fn settings(text: &str) -> CloudWatch {
        let text = format!("[cloudwatch]\n{text}");
        Config::parse(&text, &Environment::default())
            .unwrap()
            .cloudwatch
    }

    #[test]
    fn the_totals_cost_their_list_price() {
        let plan = plan(&totals(), Vec::new(), &settings(""), 10);
        assert_eq!(plan.lines.len(), 29);
        // 29 metrics at 0.30, 43,800 calls at 0.01 a thousand, 10 alarms at 0.10.
        let prices = [
            plan.metrics_price,
            plan.calls_price,
            plan.alarms_price,
            plan.price(),
        ];
        let shown = prices.map(|price| price.to_decimal(3));
        assert_eq!(shown, ["8.700", "0.438", "1.000", "10.138"]);
    }

    #[test]
    fn tiers_are_priced_each_at_its_own() {
        let tiers = settings("").prices.metrics;
        let price = |metrics| metrics_price(metrics, &tiers).to_decimal(2);
        assert_eq!(
            [0, 10_000, 10_001, 250_000, 1_000_001].map(price),
            ["0.00", "3000.00", "3000.10", "27000.00", "64500.02"]
        );
    }

    #[test]
    fn a_longer_interval_makes_fewer_calls() {
        assert_eq!(
            [(21, 10), (21, 60), (21, 300), (500, 300)].map(|(m, s)| calls(m, s)),
            [43_800, 43_800, 8_760, 26_280]
        );
    }

    #[test]
    fn no_more_metrics_are_planned_than_the_bound() {
        let teams = (0..300).map(|team| {
            let dimensions = BTreeMap::from([(Dimension::Team, team.to_string().into())]);
            let metric = "requests_per_minute";
            (Arc::new(SeriesKey { metric, dimensions }), f64::from(team))
        });
        let known: Vec<_> = totals().into_iter().chain(teams).collect();
        let plan = plan(
            &known,
            Vec::new(),
            &settings("dimensions = [[\"team\"]]"),
            0,
        );
        let shown: BTreeSet<_> = plan
            .lines
            .iter()
            .filter_map(|line| line.dimensions.first())
            .collect();
        assert_eq!((shown.len(), plan.folded), (10, 291));
        assert!(shown.contains(&("team", "other".to_owned())));
        assert!(shown.contains(&("team", "299".to_owned())));
    }
}
