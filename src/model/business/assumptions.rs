//! Stated assumptions: nobody measures them, so every figure that needs one names their set.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{BusinessEvent, EventKind, Range};
use crate::model::money::PicoUsd;
use crate::model::usage::ActivityMetric;

/// What the total of saved time is made of. The two overlap, so they are never added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueFrom {
    /// The minutes that people were active with Claude Code.
    ActiveTime,
    /// Things that were done: accepted units, fixes, reviews, tasks of operations.
    Units,
}

impl ValueFrom {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActiveTime => "active_time",
            Self::Units => "units",
        }
    }
}

/// What counts as one accepted piece of work. Telemetry tells all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedUnit {
    PullRequest,
    Commit,
    /// An edit that a person accepted.
    Edit,
    /// A line of code that was added.
    Line,
}

impl AcceptedUnit {
    pub const ALL: [Self; 4] = [Self::PullRequest, Self::Commit, Self::Edit, Self::Line];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PullRequest => "pull_request",
            Self::Commit => "commit",
            Self::Edit => "edit",
            Self::Line => "line",
        }
    }
}

/// Minutes by accepted unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub unit: AcceptedUnit,
    pub minutes: Range,
    /// Minutes of checking, taken off each, in millionths.
    pub review: i64,
}

/// How many people could use Claude Code, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headcount {
    pub people: u64,
    pub source: Box<str>,
}

/// Everything assumed. Nothing is preset but the realisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumptions {
    pub name: Box<str>,
    pub value_from: ValueFrom,
    /// Minutes saved by a minute of activity (m - 1); negative where work gets slower.
    pub active_minute: Option<Range>,
    pub accepted: Option<Accepted>,
    /// Minutes saved by each fix, review or task in which Claude Code took part.
    pub bug_fixed: Option<Range>,
    pub code_review: Option<Range>,
    pub operation: Option<Range>,
    /// A loaded hour of work.
    pub hourly_rate: Option<PicoUsd>,
    /// The share of saved time that becomes output.
    pub realisation: Range,
    pub seats: u64,
    pub seat_per_month: PicoUsd,
    /// What else is paid each month for it.
    pub fixed_per_month: PicoUsd,
    pub headcount: Option<Headcount>,
}

impl Assumptions {
    /// The ranges that the total of saved time is made of.
    fn counted(&self) -> Vec<Range> {
        let ranges = match self.value_from {
            ValueFrom::ActiveTime => [self.active_minute, None, None, None],
            ValueFrom::Units => [
                self.accepted.map(|accepted| accepted.minutes),
                self.bug_fixed.filter(|_| self.counts_bugs()),
                self.code_review,
                self.operation,
            ],
        };
        ranges.into_iter().flatten().collect()
    }

    /// True if something says how much time is saved.
    #[must_use]
    pub fn tell_time(&self) -> bool {
        !self.counted().is_empty()
    }

    /// True if the total of saved time has a stated middle: only then it is told as one number.
    #[must_use]
    pub fn tell_middle(&self) -> bool {
        self.tell_time() && self.counted().iter().all(|range| range.mid.is_some())
    }

    /// True if fixes count beside accepted units. Commits, edits and lines hold those of fixes
    /// already; pull requests of fixes can be taken off.
    #[must_use]
    pub fn counts_bugs(&self) -> bool {
        let unit = self.accepted.map(|accepted| accepted.unit);
        self.value_from == ValueFrom::Units
            && matches!(unit, None | Some(AcceptedUnit::PullRequest))
    }

    /// Name and hash of all values: two figures with the same id were made with the same
    /// assumptions.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{self:?}").as_bytes());
        let mut id = format!("{}-", self.name);
        for byte in &hash.finalize()[..4] {
            let _ = write!(id, "{byte:02x}");
        }
        id
    }

    /// Minutes saved by an activity in the middle of the range, in millionths; `None` where
    /// nothing is assumed of it. `amount` is in the unit of the metric.
    #[must_use]
    pub fn saved_by(
        &self,
        metric: ActivityMetric,
        labels: &[Box<str>],
        amount: i64,
    ) -> Option<i64> {
        let label = |place: usize| labels.get(place).map_or("", |label| &**label);
        if !self.tell_middle() {
            return None;
        }
        let saved = match (self.value_from, metric) {
            (ValueFrom::ActiveTime, ActivityMetric::ActiveTime) if label(0) == "user" => {
                let each = self.active_minute?.mid?;
                i128::from(amount) * i128::from(each) / super::MINUTE_MS
            }
            (ValueFrom::Units, metric) => {
                let accepted = self.accepted?;
                let counts = match (accepted.unit, metric) {
                    (AcceptedUnit::PullRequest, ActivityMetric::PullRequests)
                    | (AcceptedUnit::Commit, ActivityMetric::Commits) => true,
                    (AcceptedUnit::Edit, ActivityMetric::EditDecisions) => {
                        label(1) == "accept" && is_of_person(label(2))
                    }
                    (AcceptedUnit::Line, ActivityMetric::Lines) => label(0) == "added",
                    _ => false,
                };
                if !counts {
                    return None;
                }
                i128::from(amount) * i128::from(accepted.minutes.mid? - accepted.review)
            }
            _ => return None,
        };
        i64::try_from(saved).ok()
    }

    /// Minutes saved by an event, as [`Self::saved_by`]. A merged fix takes the place of its pull
    /// request.
    #[must_use]
    pub fn saved_by_event(&self, event: &BusinessEvent) -> Option<i64> {
        let counts = self.value_from == ValueFrom::Units && self.tell_middle();
        if !counts || event.claude != Some(true) {
            return None;
        }
        let each = if event.is_fix && self.counts_bugs() {
            let of_pull_request = match self.accepted {
                Some(accepted) if &*event.kind == EventKind::Change.name() => {
                    accepted.minutes.mid? - accepted.review
                }
                _ => 0,
            };
            self.bug_fixed?.mid? - of_pull_request
        } else if &*event.kind == EventKind::CodeReview.name() {
            self.code_review?.mid?
        } else if &*event.kind == EventKind::Operation.name() {
            self.operation?.mid?
        } else {
            return None;
        };
        let saved = i128::from(event.amount) * i128::from(each) / super::MICRO;
        i64::try_from(saved).ok()
    }

    /// Money for saved minutes in the middle of the range: pico-USD of millionths of minutes.
    #[must_use]
    pub fn worth_of(&self, minutes: i64) -> Option<PicoUsd> {
        let minutes = i128::from(minutes);
        let span = super::Span {
            low: minutes,
            mid: Some(minutes),
            high: minutes,
        };
        let value = super::value_of(span, self.hourly_rate?, self.realisation);
        value.mid.map(PicoUsd)
    }
}

/// True if a decision over an edit was taken by a person, not by a setting or a hook.
#[must_use]
pub fn is_of_person(source: &str) -> bool {
    source.starts_with("user")
}
