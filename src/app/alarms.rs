//! Evaluates alarms after each sealed minute.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::Parts;
use crate::alarm::{Alarms, Round, Setup};
use crate::config::{Config, Faults};
use crate::schedule::Ticks;

/// Time between two looks for a sealed minute.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// Reads the alarms that the configuration names.
pub(super) fn load(config: &Config) -> Result<Alarms, Faults> {
    Alarms::load(config).map_err(|faults| Faults(faults.iter().map(ToString::to_string).collect()))
}

/// Rounds of evaluation; files that changed are read again.
pub(super) async fn evaluate(mut ticks: Ticks, parts: Parts) {
    let notify = parts.notify.clone();
    let mut round = Round::new(Setup {
        alarms: parts.alarms.clone(),
        ledger: parts.ledger.clone(),
        registry: parts.registry.clone(),
        config: parts.live.config.clone(),
        tell: Arc::new(move |transitions, now| notify.notices(transitions, now)),
    });
    while let Some(now) = ticks.next().await {
        if let Err(error) = round.round(now).await {
            let error = format!("{:#}", anyhow::Error::from(error));
            warn!(
                error,
                "alarms cannot be evaluated, the next round tries again"
            );
        }
    }
}
