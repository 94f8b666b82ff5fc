//! What Claude Code is worth to a company: merged changes, stated assumptions, and what follows.
//!
//! Measured things (active minutes, changes) and assumptions (minutes saved by each) are kept
//! apart: a figure exists only where both do. Everything is an integer; numbers with decimals are
//! in millionths.
#![deny(clippy::float_arithmetic)]

mod assumptions;
mod change;
mod criterion;
mod worth;

pub use assumptions::{Accepted, AcceptedUnit, Assumptions, Headcount, ValueFrom, is_of_person};
pub use change::{FixRule, claude_took_part};
pub use criterion::{Comparison, Criterion, CriterionError, Known, Measure};
pub use worth::{Span, return_on, value_of};

use jiff::Timestamp;
use jiff::civil::Date;

/// Millionths in one.
pub const MICRO: i128 = 1_000_000;

/// Decimal places of a millionth.
pub const MICRO_DIGITS: u32 = 6;

/// Milliseconds in a minute: active time comes in milliseconds.
pub const MINUTE_MS: i128 = 60_000;

/// People that a figure must be of at least: one of fewer is a figure about persons.
pub const SMALLEST_GROUP: u64 = 5;

/// A stated range in millionths of its unit; `low <= mid <= high`. There may be no middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub low: i64,
    pub mid: Option<i64>,
    pub high: i64,
}

/// What a tracker can tell besides merged changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A merged change, told by a webhook.
    Change,
    /// A bug was fixed.
    BugFixed,
    /// A code review was done.
    CodeReview,
    /// A task of operations was done.
    Operation,
}

impl EventKind {
    pub const ALL: [Self; 4] = [
        Self::Change,
        Self::BugFixed,
        Self::CodeReview,
        Self::Operation,
    ];

    /// The name in the ledger and in the API. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::BugFixed => "bug_fixed",
            Self::CodeReview => "code_review",
            Self::Operation => "operation",
        }
    }
}

/// One thing that happened outside of Claude Code: a merged change, or what a tracker told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusinessEvent {
    /// `github`, `gitlab`, or that of the sender.
    pub source: Box<str>,
    /// Unique within the source, the same however often it is told.
    pub id: Box<str>,
    /// When it happened.
    pub at: Timestamp,
    /// When it stood so; what is told of an earlier time changes nothing.
    pub updated: Timestamp,
    /// The name of an [`EventKind`], or a measure of the configuration.
    pub kind: Box<str>,
    /// True if it is a fix of a bug.
    pub is_fix: bool,
    /// Whether Claude Code took part; `None` if that is not told.
    pub claude: Option<bool>,
    /// The merge commit, by which commits that come later are found.
    pub commit: Option<Box<str>>,
    pub user: Option<Box<str>>,
    pub team: Option<Box<str>>,
    /// How much, in millionths: 1,000,000 is once.
    pub amount: i64,
}

/// Who took part in a phase. Both empty: everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participants {
    pub users: Vec<Box<str>>,
    pub teams: Vec<Box<str>>,
}

impl Participants {
    /// True if a person in a team belongs to it.
    #[must_use]
    pub fn include(&self, user: &str, team: &str) -> bool {
        (self.users.is_empty() && self.teams.is_empty())
            || self.users.iter().any(|known| &**known == user)
            || self.teams.iter().any(|known| &**known == team)
    }
}

/// A step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    pub name: Box<str>,
    /// Half-open, in the configured zone.
    pub from: Date,
    pub to: Date,
    pub participants: Participants,
    /// People in the phase, if stated; else the company's headcount counts for everyone.
    pub headcount: Option<u64>,
    pub criteria: Vec<Criterion>,
}
