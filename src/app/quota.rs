//! Tells how limits stand: gauges, warnings of what was crossed, the audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::Parts;
use crate::config::{PerUser, Quota};
use crate::model::catalogue;
use crate::quota::Survey;
use crate::quota::audit::{AuditLog, AuditSettings};
use crate::quota::warning::{self, Changes};
use crate::record::Naming;
use crate::schedule::Ticks;
use crate::store::{QueryError, Warned};

/// Time between two looks at all counters.
pub(super) const SURVEY_PERIOD: Duration = Duration::from_secs(15);

/// Opens the audit log, if there is to be one.
pub(super) fn audit_log(quota: &Quota) -> anyhow::Result<Option<AuditLog>> {
    let Some(audit) = &quota.audit else {
        return Ok(None);
    };
    let log = AuditLog::open(AuditSettings {
        path: audit.path.clone(),
        max_bytes: audit.max_bytes as u64,
        max_age: audit.max_age,
        keep: audit.keep,
    })?;
    Ok(Some(log))
}

/// Keeps the gauges of limits fresh and warns.
pub(super) async fn survey(mut ticks: Ticks, parts: Parts, naming: Naming) {
    // Without names, counters of users could not be told apart.
    let shown = naming.per_user != PerUser::Off;
    let label = |user: &str| shown.then(|| naming.label(user));
    let mut told = None;
    while let Some(now) = ticks.next().await {
        let Some(survey) = parts.quota.survey(now) else {
            continue;
        };
        survey.publish(&parts.registry, &label);
        if let Err(error) = warn_of(&parts, &survey, &mut told, now).await {
            let error = format!("{:#}", anyhow::Error::from(error));
            warn!(
                error,
                "warnings of limits cannot be kept, the next round tries again"
            );
        }
    }
}

/// Tells what was crossed since the last round. `told` is what stands, once it was read.
async fn warn_of(
    parts: &Parts,
    survey: &Survey,
    told: &mut Option<BTreeMap<String, Warned>>,
    now: Timestamp,
) -> Result<(), QueryError> {
    let known = match told {
        Some(known) => known,
        None => told.insert(by_name(parts.ledger.warnings().await?)),
    };
    let changes = warning::round(survey, known, now);
    if changes == Changes::default() {
        return Ok(());
    }
    let notices = parts.notify.notices(&changes.transitions, now);
    let (ended, begun) = (changes.ended.clone(), changes.begun.clone());
    parts.ledger.change_warnings(ended, begun, notices).await?;
    for name in &changes.ended {
        known.remove(name);
    }
    known.extend(by_name(changes.begun));
    for (limit, level) in &changes.counted {
        let labels = [&**limit, &level.name()];
        parts.registry.add(catalogue::QUOTA_WARNINGS, &labels, 1);
    }
    Ok(())
}

fn by_name(warned: Vec<Warned>) -> BTreeMap<String, Warned> {
    let named = |one: Warned| (one.transition.alarm.name.clone(), one);
    warned.into_iter().map(named).collect()
}
