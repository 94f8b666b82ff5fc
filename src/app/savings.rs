//! Keeps the gauges of what the cache saved this month, and of what of the bill is unexplained.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::warn;

use super::Parts;
use crate::model::catalogue;
use crate::model::query::UsageQuery;
use crate::model::window;
use crate::registry::{Registry, Sample};
use crate::report::delta::{self, Compared};
use crate::schedule::Ticks;
use crate::store::CacheUses;

/// Time between two looks: a month's days are summed each time, and nobody watches by the second.
pub(super) const PERIOD: Duration = Duration::from_mins(1);

/// Time between two comparisons with the bill, which is read every few hours.
pub(super) const COMPARE_PERIOD: Duration = Duration::from_mins(10);

/// What has to be billed before a share of it says anything: a dollar, in pico-USD.
const LEAST_BILLED: i128 = 1_000_000_000_000;

/// Keeps the gauges of the cache fresh.
pub(super) async fn watch(mut ticks: Ticks, parts: Parts, zone: TimeZone) {
    while let Some(now) = ticks.next().await {
        if !parts.is_exposing() {
            continue;
        }
        match parts.ledger.cache_uses(this_month(now, &zone)).await {
            Ok(uses) => publish(&parts.registry, &uses),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                warn!(
                    error,
                    "what the cache saved cannot be summed, the next round tries again"
                );
            }
        }
    }
}

fn this_month(now: Timestamp, zone: &TimeZone) -> UsageQuery {
    let first = now.to_zoned(zone.clone()).date().first_of_month();
    UsageQuery {
        from: window::day_start(first, zone),
        to: now,
        group_by: Vec::new(),
        zone: zone.clone(),
        user: None,
    }
}

fn publish(registry: &Registry, uses: &CacheUses) {
    let mut samples = Vec::with_capacity(2 * uses.len());
    for ((provider, model), one) in uses {
        let labels = vec![provider.to_string(), model.to_string()];
        if one.context > 0 {
            samples.push(Sample {
                desc: catalogue::CACHE_HITS,
                labels: labels.clone(),
                value: one.reads as f64 / one.context as f64,
            });
        }
        samples.push(Sample {
            desc: catalogue::CACHE_SAVED,
            labels,
            // Twelve places of a dollar.
            value: one.saved.0 as f64 / 1e12,
        });
    }
    registry.replace("savings", samples);
}

/// Keeps the gauge of the bill fresh.
pub(super) async fn compare(mut ticks: Ticks, parts: Parts) {
    while let Some(now) = ticks.next().await {
        match delta::compared(&parts.ledger, now).await {
            Ok(compared) => {
                let told = compared
                    .iter()
                    .filter_map(|(provider, one)| sample(provider, one));
                parts.registry.replace("bill delta", told.collect());
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                warn!(
                    error,
                    "the bill cannot be compared with the estimate, the next round tries again"
                );
            }
        }
    }
}

fn sample(provider: &str, one: &Compared) -> Option<Sample> {
    let unexplained = one.billed.0.checked_sub(one.estimated.0)?;
    (one.billed.0 >= LEAST_BILLED).then(|| Sample {
        desc: catalogue::RECONCILIATION_DELTA,
        labels: vec![provider.to_owned()],
        value: unexplained as f64 / one.billed.0 as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::money::PicoUsd;

    #[test]
    fn a_share_of_cents_is_not_told() {
        let value = |billed: i128, estimated: i128| {
            let one = Compared {
                billed: PicoUsd(billed),
                estimated: PicoUsd(estimated),
            };
            sample("bedrock", &one).map(|sample| sample.value)
        };
        assert_eq!(
            [
                value(LEAST_BILLED - 1, 0),
                value(2 * LEAST_BILLED, LEAST_BILLED),
                value(2 * LEAST_BILLED, 3 * LEAST_BILLED),
            ],
            [None, Some(0.5), Some(-0.5)]
        );
    }
}
