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
    /// The size of the context, in the steps at which prices change.
    Context,
}

impl By {
    pub const ALL: [Self; 15] = [
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
        Self::Context,
    ];

    /// All but the times.
    pub const TIMELESS: [Self; 12] = [
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
        Self::Context,
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
            Self::Context => "context",
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

    /// Adds names and keys that others have met since: those here are the first of them.
    pub fn extend_groups(&mut self, (names, keys): (&[Arc<str>], &[u32])) {
        self.names.extend_from_slice(&names[self.names.len()..]);
        self.keys.extend_from_slice(&keys[self.keys.len()..]);
    }

    /// All names.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The values of a group as places in [`names`](Self::names), in the order of `by`.
    #[must_use]
    pub fn places(&self, group: u32) -> &[u32] {
        let first = group as usize * self.by.len();
        &self.keys[first..first + self.by.len()]
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> u32 {
        let groups = self.keys.len() / self.by.len().max(1);
        u32::try_from(groups).unwrap_or(u32::MAX)
    }

    /// The values of a group in the order of `by`; empty where nothing is known.
    pub fn keys(&self, group: u32) -> impl Iterator<Item = &Arc<str>> {
        let places = self.places(group).iter();
        places.map(|place| &self.names[*place as usize])
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
