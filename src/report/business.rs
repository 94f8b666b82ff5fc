//! What business figures are made of: people and what they did, changes, and all costs.
//!
//! Measured numbers only; assumptions are put on them in [`roi`](super::roi) and
//! [`rollout`](super::rollout). Nothing here leaves for fewer than five people.

pub mod cost;
mod gauges;

pub use gauges::saved_this_month;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{ReportError, Reports};
use crate::model::business::{BusinessEvent, EventKind, MICRO, Participants, is_of_person};
use crate::model::directory::{Directory, Kind};
use crate::model::identity::Identity;
use crate::model::query::{Dimension, UsageQuery};
use crate::model::usage::ActivityMetric;
use crate::store::ActivitySum;

/// What some people did in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Distinct people with usage or activity.
    pub people: BTreeSet<String>,
    pub requests: u64,
    pub errors: u64,
    /// Active time at the keyboard, and of tools and models.
    pub user_ms: u64,
    pub machine_ms: u64,
    pub sessions: u64,
    pub commits: u64,
    pub pull_requests: u64,
    pub lines_added: u64,
    /// Edits that a person accepted or refused, and those that no person was asked about.
    pub edits_accepted: u64,
    pub edits_refused: u64,
    pub edits_unasked: u64,
    /// Merged changes, and those in which Claude Code took part.
    pub changes: u64,
    pub changes_with_claude: u64,
    /// Of these, fixes that took the place of a pull request.
    pub merged_fixes_with_claude: u64,
    pub fixes_with_claude: u64,
    pub fixes_without: u64,
    pub fixes_unknown: u64,
    /// With Claude Code.
    pub reviews: u64,
    pub operations: u64,
}

impl Measured {
    /// Distinct people.
    #[must_use]
    pub fn headcount(&self) -> u64 {
        self.people.len() as u64
    }

    #[must_use]
    pub const fn fixes(&self) -> u64 {
        self.fixes_with_claude + self.fixes_without + self.fixes_unknown
    }

    fn add_activity(&mut self, sum: &ActivitySum) {
        let amount = sum.amount.max(0).unsigned_abs();
        let label = |place: usize| sum.labels.get(place).map_or("", |label| &**label);
        let counter = match sum.metric {
            ActivityMetric::Sessions => &mut self.sessions,
            ActivityMetric::Commits => &mut self.commits,
            ActivityMetric::PullRequests => &mut self.pull_requests,
            ActivityMetric::Lines if label(0) == "added" => &mut self.lines_added,
            ActivityMetric::ActiveTime if label(0) == "user" => &mut self.user_ms,
            ActivityMetric::ActiveTime => &mut self.machine_ms,
            ActivityMetric::EditDecisions if !is_of_person(label(2)) => &mut self.edits_unasked,
            ActivityMetric::EditDecisions if label(1) == "accept" => &mut self.edits_accepted,
            ActivityMetric::EditDecisions => &mut self.edits_refused,
            _ => return,
        };
        *counter += amount;
        if sum.is_person && amount > 0 && sum.user != Identity::UNKNOWN {
            self.people.insert(sum.user.clone());
        }
    }

    fn add_event(&mut self, event: &BusinessEvent) {
        let things = u64::try_from(i128::from(event.amount) / MICRO).unwrap_or(0);
        let with_claude = event.claude == Some(true);
        let kind = EventKind::ALL
            .iter()
            .find(|kind| *kind.name() == *event.kind);
        match kind {
            Some(EventKind::Change) => {
                self.changes += things;
                if with_claude {
                    self.changes_with_claude += things;
                    self.merged_fixes_with_claude += if event.is_fix { things } else { 0 };
                }
            }
            Some(EventKind::CodeReview) if with_claude => self.reviews += things,
            Some(EventKind::Operation) if with_claude => self.operations += things,
            _ => {}
        }
        if event.is_fix {
            let fixes = match event.claude {
                Some(true) => &mut self.fixes_with_claude,
                Some(false) => &mut self.fixes_without,
                None => &mut self.fixes_unknown,
            };
            *fixes += things;
        }
    }

    /// Adds what others did.
    pub fn join(&mut self, other: &Self) {
        self.people.extend(other.people.iter().cloned());
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.user_ms, other.user_ms),
            (&mut self.machine_ms, other.machine_ms),
            (&mut self.sessions, other.sessions),
            (&mut self.commits, other.commits),
            (&mut self.pull_requests, other.pull_requests),
            (&mut self.lines_added, other.lines_added),
            (&mut self.edits_accepted, other.edits_accepted),
            (&mut self.edits_refused, other.edits_refused),
            (&mut self.edits_unasked, other.edits_unasked),
            (&mut self.changes, other.changes),
            (&mut self.changes_with_claude, other.changes_with_claude),
            (
                &mut self.merged_fixes_with_claude,
                other.merged_fixes_with_claude,
            ),
            (&mut self.fixes_with_claude, other.fixes_with_claude),
            (&mut self.fixes_without, other.fixes_without),
            (&mut self.fixes_unknown, other.fixes_unknown),
            (&mut self.reviews, other.reviews),
            (&mut self.operations, other.operations),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

/// A person's name as figures show it, and the team.
type Place = (String, String);

/// Reads what happened in a range: what each team did, of those who take part.
pub async fn measure(
    reports: &Reports,
    from: Timestamp,
    to: Timestamp,
    participants: &Participants,
) -> Result<BTreeMap<String, Measured>, ReportError> {
    let mut teams: BTreeMap<String, Measured> = BTreeMap::new();
    let terms = reports.terms.load_full();
    let usage = usage(reports, from, to).await?;
    for ((user, team), (requests, errors)) in usage {
        if !participants.include(&user, &team) {
            continue;
        }
        let measured = teams.entry(team).or_default();
        measured.requests += requests;
        measured.errors += errors;
        if requests > 0 && is_person(&terms.directory, &user, from) {
            measured.people.insert(user);
        }
    }
    for sum in reports.ledger.activities(from, to).await? {
        if participants.include(&sum.user, &sum.team) {
            teams
                .entry(sum.team.clone())
                .or_default()
                .add_activity(&sum);
        }
    }
    for event in reports.ledger.business_events(from, to).await? {
        let (user, team) = place_of(&terms.directory, &event);
        if participants.include(&user, &team) {
            teams.entry(team).or_default().add_event(&event);
        }
    }
    Ok(teams)
}

/// Requests and errors by person and team.
async fn usage(
    reports: &Reports,
    from: Timestamp,
    to: Timestamp,
) -> Result<BTreeMap<Place, (u64, u64)>, ReportError> {
    let query = UsageQuery {
        from,
        to,
        group_by: vec![Dimension::User, Dimension::Team],
        zone: TimeZone::UTC,
        user: None,
    };
    let rows = reports.ledger.usage(query).await?.rows;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut keys = row.keys.into_iter();
            let place = (keys.next()?, keys.next()?);
            Some((place, (row.requests, row.errors)))
        })
        .collect())
}

/// Everyone who used models in a range, of those who take part.
pub async fn active_people(
    reports: &Reports,
    from: Timestamp,
    to: Timestamp,
    participants: &Participants,
) -> Result<BTreeSet<String>, ReportError> {
    let terms = reports.terms.load_full();
    let usage = usage(reports, from, to).await?;
    Ok(usage
        .into_iter()
        .filter(|((user, team), (requests, _))| {
            *requests > 0
                && participants.include(user, team)
                && is_person(&terms.directory, user, from)
        })
        .map(|((user, _), _)| user)
        .collect())
}

/// Everyone together.
#[must_use]
pub fn together<'a>(teams: impl IntoIterator<Item = &'a Measured>) -> Measured {
    let mut all = Measured::default();
    for team in teams {
        all.join(team);
    }
    all
}

fn is_person(directory: &Directory, user: &str, at: Timestamp) -> bool {
    if user == Identity::UNKNOWN {
        return false;
    }
    let identity = Identity {
        user: Some(user.into()),
        ..Identity::default()
    };
    directory.attribute(&identity, at).kind != Kind::Service
}

/// The person and team of an event; the directory knows logins and addresses.
pub fn place_of(directory: &Directory, event: &BusinessEvent) -> Place {
    let identity = Identity {
        user: event.user.clone(),
        team: event.team.clone(),
        ..Identity::default()
    };
    let attributed = directory.attribute(&identity, event.at);
    (
        attributed.user.clone().into_owned(),
        attributed.team.unwrap_or_default().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(metric: ActivityMetric, labels: &[&str], amount: i64) -> ActivitySum {
        ActivitySum {
            user: "ada".to_owned(),
            is_person: true,
            team: "payments".to_owned(),
            metric,
            labels: labels.iter().map(|label| (*label).into()).collect(),
            amount,
        }
    }

    #[test]
    fn only_what_people_decided_is_acceptance() {
        let mut measured = Measured::default();
        let edits = [
            (["Edit", "accept", "user_temporary", "rust"], 3),
            (["Edit", "accept", "user_permanent", "rust"], 2),
            (["Edit", "accept", "config", "rust"], 40),
            (["Edit", "accept", "hook", ""], 1),
            (["Edit", "reject", "user_reject", "rust"], 4),
            (["Edit", "reject", "config", "rust"], 1),
        ];
        for (labels, amount) in edits {
            measured.add_activity(&sum(ActivityMetric::EditDecisions, &labels, amount));
        }
        assert_eq!(
            (
                measured.edits_accepted,
                measured.edits_refused,
                measured.edits_unasked
            ),
            (5, 4, 42)
        );
    }

    #[test]
    fn time_of_the_machine_is_not_time_of_a_person() {
        let mut measured = Measured::default();
        for (kind, amount) in [("user", 1_000), ("cli", 5_000), ("tool", 7)] {
            measured.add_activity(&sum(ActivityMetric::ActiveTime, &[kind], amount));
        }
        assert_eq!((measured.user_ms, measured.machine_ms), (1_000, 5_007));
    }
}
