//! `savings`: what was saved, and what could be.
//!
//! A what-if over the requests that were really made, as long as the ledger keeps single ones.
//! Achieved and potential are columns of their own and are never added. Potentials of different
//! opportunities may be of the same requests, so only `any_one` adds over them.

pub mod advice;
mod offer;
mod outcome;
mod session;
mod tables;
mod tally;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

use self::outcome::{GroupBy, Outcomes};
use self::tally::Tally;
use super::{Manifest, Report, ReportError, Reports, Request};
use crate::config::Config;
use crate::model::money::PicoUsd;
use crate::model::policy::Policy;
use crate::model::query::UsageQuery;

/// Works out the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let group_by = group_by(request)?;
    let config = reports.config.load_full();
    let terms = reports.terms.load_full();
    let mut notes = notes();
    let policy = policy(&config, &mut notes).await;
    let tally = Tally::new(terms, config.savings.clone(), policy, group_by.clone());
    let fold = reports
        .ledger
        .fold_requests(request.from, request.to, tally, Tally::visit);
    let found = fold.await?.finish();
    notes.extend(coverage(reports, request, &config, &found).await?);
    Ok(Report {
        name: NAME,
        title: "What was saved, and what could be".to_owned(),
        tables: tables::of(&found, &group_by),
        manifest: Manifest {
            notes,
            ..reports.manifest(NAME, request, now)
        },
    })
}

const NAME: &str = "savings";

const SECONDS_PER_DAY: u64 = 86_400;

fn group_by(request: &Request) -> Result<Vec<GroupBy>, ReportError> {
    if request.group_by.is_empty() {
        return Ok(vec![GroupBy::Team]);
    }
    let named = request.group_by.iter().map(|name| {
        let known = GroupBy::ALL.into_iter().find(|by| by.name() == &**name);
        known.ok_or_else(|| {
            ReportError::Parameter(format!(
                "group_by: must be of team, cost_center, project and user, got {name}; provider, \
                 scope and model are always told"
            ))
        })
    });
    named.collect()
}

/// What holds of every one of these reports.
fn notes() -> Vec<String> {
    [
        "potential_usd is a ceiling, not a forecast: the same tokens at another price, and \
         answers that are as good",
        "rows of different opportunities may be of the same requests: do not add them; any_one in \
         the table summary counts each request once, with its best single measure",
        "a request at a global endpoint may be processed in any region: check rules on data \
         residency before moving",
        "achieved_usd of the cache is what reads cost less than input, minus what writes cost \
         more; another session may have read what its own session never read",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The policy, for the models that roles allow. A file that cannot be used is told.
async fn policy(config: &Config, notes: &mut Vec<String>) -> Option<Policy> {
    let file = config.quota.policy.as_ref()?;
    let text = tokio::fs::read_to_string(file).await;
    let policy = text.ok().and_then(|text| Policy::parse(&text).ok());
    if policy.is_none() {
        notes.push(
            "the policy file cannot be read: all models are taken to be allowed to all roles"
                .to_owned(),
        );
    }
    policy
}

/// How much of the usage the report could look at.
async fn coverage(
    reports: &Reports,
    request: &Request,
    config: &Config,
    found: &Outcomes,
) -> Result<Vec<String>, ReportError> {
    let usage = reports.ledger.usage(UsageQuery {
        from: request.from,
        to: request.to,
        group_by: Vec::new(),
        zone: request.zone.clone(),
        user: None,
    });
    let usage = usage.await?;
    let estimate = usage.rows.first().map_or(PicoUsd::ZERO, |all| all.cost);
    let days_kept = config.store.retain_raw.as_secs() / SECONDS_PER_DAY;
    let mut notes = vec![format!(
        "looked at {} requests that cost {} USD, of the {} USD that the ledger estimates for the \
         period; single requests are kept for {days_kept} days (store.retain_raw), and what only counters \
         told is in no request",
        found.all.requests,
        found.all.cost.to_decimal(2),
        estimate.to_decimal(2),
    )];
    if found.unpriced_requests > 0 {
        notes.push(format!(
            "{} requests have no price and are in no figure",
            found.unpriced_requests
        ));
    }
    if found.judged_early > 0 {
        notes.push(format!(
            "{} sessions were judged before their end: too many were open at once",
            found.judged_early
        ));
    }
    Ok(notes)
}
