//! Delivers notifications, each target by itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sysinfo::System;
use tracing::warn;

use super::{Live, Parts};
use crate::aws::Aws;
use crate::config::Config;
use crate::model::catalogue;
use crate::notify::{self, Notify, Setup};
use crate::schedule::{Stop, Ticks};
use crate::store::Ledger;

/// Time between two rounds of a target.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

pub(super) fn build(
    config: &Config,
    live: &Live,
    ledger: &Ledger,
    aws: &Aws,
    now: Timestamp,
) -> anyhow::Result<Notify> {
    let authorities = config.aws.authorities.as_ref();
    Ok(Notify::new(&Setup {
        ledger: ledger.clone(),
        client: notify::client(authorities.map(|authorities| authorities.pem.as_slice()))?,
        aws: aws.clone(),
        config: live.config.clone(),
        instance: System::host_name().unwrap_or_else(|_| "tallyd".to_owned()),
        started: now,
    }))
}

/// Rounds of one target. A round that waits for its target delays no other.
pub(super) async fn deliver(mut ticks: Ticks, parts: Parts, target: String) {
    while let Some(now) = ticks.next().await {
        if let Err(error) = parts.notify.deliver(&target, now).await {
            let error = format!("{:#}", anyhow::Error::from(error));
            warn!(
                target,
                error, "what is to be told cannot be read or written, the next round tries again"
            );
        }
        publish(&parts, &target, now);
    }
}

/// Lets no message begin once tallyd is to stop; the one under way is waited for, so that nothing
/// is told twice.
pub(super) async fn stop(notify: Arc<Notify>, stop: Stop) {
    stop.stopped().await;
    notify.stop();
}

fn publish(parts: &Parts, target: &str, now: Timestamp) {
    let registry = &parts.registry;
    for (name, counts) in parts.notify.counts() {
        if name != target {
            continue;
        }
        for (result, count) in counts.results {
            registry.raise(catalogue::NOTIFICATIONS, &[target, result], count.into());
        }
        let age = counts.oldest.map_or(0.0, |oldest| {
            now.duration_since(oldest).as_secs_f64().max(0.0)
        });
        let waiting = counts.waiting as f64;
        registry.set(catalogue::NOTIFICATIONS_WAITING, &[target], waiting);
        registry.set(catalogue::NOTIFICATIONS_OLDEST, &[target], age);
    }
}
