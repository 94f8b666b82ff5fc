//! Keeps the gauges of what the cache saved this month.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::warn;

use super::Parts;
use crate::model::catalogue;
use crate::model::query::UsageQuery;
use crate::model::window;
use crate::registry::{Registry, Sample};
use crate::schedule::Ticks;
use crate::store::CacheUses;

/// Time between two looks: a month's days are summed each time, and nobody watches by the second.
pub(super) const PERIOD: Duration = Duration::from_mins(1);

/// Keeps the gauges fresh.
pub(super) async fn watch(mut ticks: Ticks, parts: Parts, zone: TimeZone) {
    while let Some(now) = ticks.next().await {
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
