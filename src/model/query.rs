//! Questions about usage and their answers.

use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::money::PicoUsd;
use super::tokens::Tokens;

/// What usage can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    User,
    Team,
    Project,
    CostCenter,
    Provider,
    Model,
    /// Splits a row into one per token kind.
    TokenType,
    /// The month, day or hour in the zone of the query.
    Month,
    Day,
    Hour,
}

impl Dimension {
    pub const ALL: [Self; 10] = [
        Self::User,
        Self::Team,
        Self::Project,
        Self::CostCenter,
        Self::Provider,
        Self::Model,
        Self::TokenType,
        Self::Month,
        Self::Day,
        Self::Hour,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::Project => "project",
            Self::CostCenter => "cost_center",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::TokenType => "token_type",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dimension| dimension.name() == name)
    }
}

/// A question: usage in `[from, to)`, grouped.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    pub from: Timestamp,
    pub to: Timestamp,
    pub group_by: Vec<Dimension>,
    pub zone: TimeZone,
    /// Only this user (as shown, after the directory).
    pub user: Option<String>,
}

impl UsageQuery {
    /// Everyone's usage by UTC day.
    #[must_use]
    pub fn by_day(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from,
            to,
            group_by: vec![Dimension::Day],
            zone: TimeZone::UTC,
            user: None,
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRows {
    /// What the sums are of, half-open: the range that was asked for, widened to the quarter hours,
    /// or to the days, that are kept.
    pub range: Range<Timestamp>,
    pub rows: Vec<UsageRow>,
}

/// One row of the answer. Rows come sorted by their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// In the order of `group_by`; empty where nothing is known. Days are `2026-11-22`, hours
    /// `2026-11-22T03:00:00+09:00`, months `2026-11`.
    pub keys: Vec<String>,
    pub requests: u64,
    pub errors: u64,
    pub tokens: Tokens,
    /// tallyd's own estimate of the priced part.
    pub cost: PicoUsd,
    /// Tokens for which no price is known; they are not in `cost`.
    pub unpriced_tokens: u64,
}

/// What one source reported in a range, and how much of it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRow {
    pub source: String,
    pub provider: String,
    pub model: String,
    /// UTC day.
    pub day: String,
    pub reported_requests: u64,
    pub counted_requests: u64,
    pub reported: Tokens,
    pub counted: Tokens,
}
