//! The estimate of cost as reports need it: by what it can be told apart, and its lines.
#![deny(clippy::float_arithmetic)]

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::bill::PricedKind;
use super::money::PicoUsd;

/// What the estimate can be told apart by, besides the kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// The month, day or hour in the zone of the query.
    Month,
    Day,
    Hour,
    User,
    Team,
    Project,
    CostCenter,
    Role,
    Provider,
    /// The account or organisation that was reported with the identity.
    Account,
    Model,
    Scope,
    Region,
    Tier,
}

impl By {
    pub const ALL: [Self; 14] = [
        Self::Month,
        Self::Day,
        Self::Hour,
        Self::User,
        Self::Team,
        Self::Project,
        Self::CostCenter,
        Self::Role,
        Self::Provider,
        Self::Account,
        Self::Model,
        Self::Scope,
        Self::Region,
        Self::Tier,
    ];

    /// The name in reports and parameters. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::User => "user",
            Self::Team => "team",
            Self::Project => "project",
            Self::CostCenter => "cost_center",
            Self::Role => "role",
            Self::Provider => "provider",
            Self::Account => "account",
            Self::Model => "model",
            Self::Scope => "scope",
            Self::Region => "region",
            Self::Tier => "tier",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }
}

/// A question: the estimate of what was used in `[from, to)`, told apart by `by` and by kind.
#[derive(Clone, Debug)]
pub struct CostQuery {
    pub from: Timestamp,
    pub to: Timestamp,
    pub zone: TimeZone,
    pub by: Vec<By>,
}

/// One kind of token of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLine {
    /// The number of the group; [`CostLines::keys`] tells its values.
    pub group: u32,
    pub kind: PricedKind,
    pub tokens: u64,
    /// Requests of the group, told on the first of its lines only, so that they add up.
    pub requests: u64,
    /// tallyd's estimate: what the ledger holds, to the pico-dollar.
    pub estimate: PicoUsd,
    /// What the same tokens cost at list prices, before contract rates.
    pub list: PicoUsd,
    /// Tokens without a price; they are in `tokens` but in neither amount.
    pub unpriced: u64,
}

/// The answer: lines in the order of their keys, then of their kinds. Groups share their names,
/// so that an answer of a million lines fits into memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostLines {
    by: Vec<By>,
    names: Vec<Arc<str>>,
    /// Places in `names`, as many for each group as there are in `by`.
    keys: Vec<u32>,
    pub lines: Vec<CostLine>,
}

impl CostLines {
    /// `keys` holds as many places of `names` for each group as there are in `by`.
    #[must_use]
    pub const fn new(
        by: Vec<By>,
        names: Vec<Arc<str>>,
        keys: Vec<u32>,
        lines: Vec<CostLine>,
    ) -> Self {
        Self {
            by,
            names,
            keys,
            lines,
        }
    }

    #[must_use]
    pub fn by(&self) -> &[By] {
        &self.by
    }

    /// The values of a group in the order of `by`; empty where nothing is known.
    pub fn keys(&self, group: u32) -> impl Iterator<Item = &Arc<str>> {
        let first = group as usize * self.by.len();
        let keys = &self.keys[first..first + self.by.len()];
        keys.iter().map(|key| &self.names[*key as usize])
    }

    /// The value of a group for one of `by`; empty where nothing is known or it was not asked.
    #[must_use]
    pub fn key(&self, group: u32, by: By) -> &str {
        let place = self.by.iter().position(|asked| *asked == by);
        place
            .and_then(|place| self.keys(group).nth(place))
            .map_or("", |name| name)
    }
}
