//! Tells how limits stand.

use std::time::Duration;

use super::Parts;
use crate::config::PerUser;
use crate::record::Naming;
use crate::schedule::Ticks;

/// Time between two looks at all counters.
pub(super) const SURVEY_PERIOD: Duration = Duration::from_secs(15);

/// Keeps the gauges of limits fresh.
pub(super) async fn survey(mut ticks: Ticks, parts: Parts, naming: Naming) {
    // Without names, counters of users could not be told apart.
    let shown = naming.per_user != PerUser::Off;
    let label = |user: &str| shown.then(|| naming.label(user));
    while let Some(now) = ticks.next().await {
        if let Some(survey) = parts.quota.survey(now) {
            survey.publish(&parts.registry, &label);
        }
    }
}
