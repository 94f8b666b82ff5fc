//! `roi`: what Claude Code is worth, by what is measured and what is stated, beside all its cost.
//!
//! A figure of time or money is a range with the id of the assumptions that it was made with.
//! Besides the whole, only groups of five people or more are told.

mod category;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

pub use category::{Category, Worth, categories, worth};

use super::business::cost::{self, CostItem, UsageCost};
use super::business::{Measured, measure, together};
use super::{Report, ReportError, Reports, Request};
use crate::config::Business;
use crate::model::bill::Standing;
use crate::model::business::{Participants, SMALLEST_GROUP};
use crate::model::cost::By;
use crate::model::money::{PicoUsd, share_out};

/// The evidence that a reader should know before believing a number about productivity.
const EVIDENCE: [&str; 6] = [
    "METR, trial of 2025 (arXiv 2507.09089): 16 experienced developers on 246 tasks were 19 % \
     slower with assistance (95 % interval: 2 to 39 %), and believed to be 20 % faster.",
    "METR, transcripts of 2026-02: time factors of 1.5 to 13, a soft upper bound.",
    "METR, survey of 2026-05 (n = 349): value of 1.4 to 2 times and speed of 3 times by \
     self-report; earlier self-reports were some 40 points too high.",
    "Anthropic, 2025-11: models estimate 80 % of the time saved, without the time to check; 27 % \
     of assisted work would not have been done otherwise.",
    "DORA, ROI 2026.01: output dips before it rises, and checking is a cost of its own.",
    "Only teams that begin at different times, or that are held out, show what is caused by what.",
];

/// Everything that the tables show.
#[derive(Debug)]
pub(super) struct Found {
    pub whole: Group,
    /// Groups of five people or more, by name; what is left is the last one, if it may be told.
    pub teams: Vec<(String, Group)>,
    pub costs: Vec<CostItem>,
    pub usage: UsageCost,
}

/// Some people, what they did, what it cost and what it is worth.
#[derive(Debug)]
pub(super) struct Group {
    pub measured: Measured,
    pub cost: PicoUsd,
    pub categories: Vec<Category>,
    pub worth: Worth,
}

impl Group {
    fn of(measured: Measured, cost: PicoUsd, business: &Business) -> Self {
        let categories = categories(&measured, business);
        let worth = worth(&categories, &business.assumptions, cost);
        Self {
            measured,
            cost,
            categories,
            worth,
        }
    }
}

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let by_team = by_team(&request.group_by)?;
    let config = reports.config.load_full();
    let found = find(reports, request, &config.business, now).await?;
    let mut manifest = reports.manifest("roi", request, now);
    manifest.notes = notes(&found, &config.business);
    if found.usage.is_final {
        manifest.standing = Standing::Final;
    }
    Ok(Report {
        name: "roi",
        title: "What Claude Code is worth by the stated assumptions, beside all its cost"
            .to_owned(),
        tables: tables::all(&found, &config.business, by_team),
        manifest,
    })
}

/// The parameter `group_by`: nothing, or teams first.
fn by_team(asked: &[Arc<str>]) -> Result<bool, ReportError> {
    match asked {
        [] => Ok(false),
        [one] if **one == *"team" => Ok(true),
        _ => Err(ReportError::Parameter(
            "group_by: must be team, or left out; there are no figures of persons".to_owned(),
        )),
    }
}

async fn find(
    reports: &Reports,
    request: &Request,
    business: &Business,
    now: Timestamp,
) -> Result<Found, ReportError> {
    let (from, to) = (request.from, request.to);
    let teams = measure(reports, from, to, &Participants::default()).await?;
    let team_of = |_: &str, team: &str| team.to_owned();
    let usage = cost::of_usage(reports, request, &[By::Team], team_of, now).await?;
    let mut costs = usage_items(&usage);
    // What has not begun costs nothing yet, as it saves nothing yet.
    let fixed = cost::fixed(&business.assumptions, from, to.min(now), &request.zone);
    let shared: i128 = fixed.iter().map(|item| item.amount.0).sum();
    costs.extend(fixed);
    let total = PicoUsd(costs.iter().map(|item| item.amount.0).sum());
    let whole = Group::of(together(teams.values()), total, business);
    let groups = grouped(&teams);
    // What is paid whoever uses it is shared by people; nobody's usage is nobody's.
    let people: Vec<i128> = groups
        .iter()
        .map(|group| i128::from(group.measured.headcount()))
        .collect();
    let shares = share_out(shared, &people).unwrap_or_else(|| vec![0; people.len()]);
    let mut told = Vec::with_capacity(groups.len());
    for (group, share) in groups.into_iter().zip(shares) {
        let used = group.teams.iter().filter_map(|team| usage.groups.get(team));
        let cost = used.map(|cost| cost.0).sum::<i128>() + share;
        if group.measured.headcount() >= SMALLEST_GROUP {
            let name = group.name;
            told.push((name, Group::of(group.measured, PicoUsd(cost), business)));
        }
    }
    Ok(Found {
        whole,
        teams: told,
        costs,
        usage,
    })
}

fn usage_items(usage: &UsageCost) -> Vec<CostItem> {
    let item = |name, amount, source: &str| CostItem {
        name,
        amount,
        source: source.to_owned(),
    };
    let mut items = Vec::new();
    if usage.billed != PicoUsd::ZERO {
        items.push(item("usage_billed", usage.billed, "the bill"));
    }
    if usage.estimated != PicoUsd::ZERO || items.is_empty() {
        let source = "the estimate, for days and providers without a bill";
        items.push(item("usage_estimated", usage.estimated, source));
    }
    if usage.fixed != PicoUsd::ZERO {
        items.push(item("fixed_allocated", usage.fixed, "cost.fixed"));
    }
    items
}

/// Teams under one name.
struct Grouped {
    name: String,
    teams: Vec<String>,
    measured: Measured,
}

/// The name of all teams that may not be told by themselves.
const REST: &str = "(other teams)";

/// Teams of five people or more, and the rest as one group. Since totals are told too, a rest of
/// one to four people could be worked out: then it takes in the smallest team.
fn grouped(teams: &BTreeMap<String, Measured>) -> Vec<Grouped> {
    let (mut large, small): (Vec<_>, Vec<_>) = teams
        .iter()
        .partition(|(name, team)| !name.is_empty() && team.headcount() >= SMALLEST_GROUP);
    large.sort_by_key(|(name, team)| (std::cmp::Reverse(team.headcount()), *name));
    let mut rest = small;
    let people = |list: &[(&String, &Measured)]| {
        let people = list.iter().flat_map(|(_, team)| &team.people);
        people.collect::<BTreeSet<_>>().len() as u64
    };
    while (1..SMALLEST_GROUP).contains(&people(&rest))
        && let Some(smallest) = large.pop()
    {
        rest.push(smallest);
    }
    large.sort_by_key(|(name, _)| *name);
    let mut groups: Vec<Grouped> = large
        .into_iter()
        .map(|(name, team)| Grouped {
            name: name.clone(),
            teams: vec![name.clone()],
            measured: team.clone(),
        })
        .collect();
    if !rest.is_empty() {
        groups.push(Grouped {
            name: REST.to_owned(),
            teams: rest.iter().map(|(name, _)| (*name).clone()).collect(),
            measured: together(rest.iter().map(|(_, team)| *team)),
        });
    }
    groups
}

fn notes(found: &Found, business: &Business) -> Vec<String> {
    let assumed = &business.assumptions;
    let mut notes = Vec::new();
    if assumed.tell_time() {
        notes.push(format!(
            "Assumptions: {}. Time and money saved follow from them; nobody measured either.",
            assumed.id()
        ));
        notes.push(format!(
            "The total is made of {}: the time that people are active contains the time that they \
             spend on units, so both are never added.",
            assumed.value_from.name()
        ));
    } else {
        notes.push(
            "No assumptions are stated in [business], so no time and no money is told to be saved."
                .to_owned(),
        );
    }
    if assumed.tell_time() && assumed.hourly_rate.is_none() {
        notes
            .push("business.hourly_rate is not stated: saved time has no value in USD.".to_owned());
    }
    notes.extend(found.usage.notes.iter().map(|note| format!("Cost: {note}")));
    if found.whole.measured.headcount() < SMALLEST_GROUP {
        notes.push(format!(
            "Fewer than {SMALLEST_GROUP} people were active: these figures are nearly about persons."
        ));
    }
    notes.push(
        "Savings by caching, batching or cheaper models lower the cost already and are never added \
         to the value; the report savings has them."
            .to_owned(),
    );
    notes.push(
        "Commits and pull requests are those that Claude Code made; active time is that of type \
         user, the time of tools and models is not working time."
            .to_owned(),
    );
    notes.extend(EVIDENCE.map(str::to_owned));
    notes
}

#[cfg(test)]
mod tests;
