//! The estimate of cost as reports need it: by what it can be told apart, and its lines.
#![deny(clippy::float_arithmetic)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::bill::PricedKind;
use super::money::PicoUsd;

/// Kinds of tokens that have prices of their own.
const KINDS: usize = PricedKind::ALL.len();

/// Groups in one answer at most: 10,000 people with three models on each day of a month, or in
/// each month of two years.
pub const MAX_GROUPS: usize = 1_000_000;

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

/// How many groups answers may still have. Clones share it: questions for one report.
#[derive(Clone, Debug)]
pub struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(MAX_GROUPS)))
    }
}

impl Room {
    /// Takes the room of a group. Returns false if there is none left.
    #[must_use]
    pub fn take(&self) -> bool {
        let less = |room: usize| room.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

/// One kind of token of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLine {
    /// The number of the group; [`CostGroups::keys`] tells its values.
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

impl CostLine {
    /// Takes another line in if it is of the same group and kind. Returns true if it was.
    pub fn take(&mut self, other: &Self) -> bool {
        if (self.group, self.kind) != (other.group, other.kind) {
            return false;
        }
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.requests = self.requests.saturating_add(other.requests);
        self.estimate.0 = self.estimate.0.saturating_add(other.estimate.0);
        self.list.0 = self.list.0.saturating_add(other.list.0);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
        true
    }
}

/// What groups are: their values by what was asked. They share their names, so that a million of
/// them fit into memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostGroups {
    by: Vec<By>,
    names: Vec<Arc<str>>,
    /// Places in `names`, as many for each group as there are in `by`.
    keys: Vec<u32>,
}

/// The answer: lines in the order of their keys, then of their kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostLines {
    pub groups: CostGroups,
    pub lines: Vec<CostLine>,
}

impl CostGroups {
    /// `keys` holds as many places of `names` for each group as there are in `by`.
    #[must_use]
    pub const fn new(by: Vec<By>, names: Vec<Arc<str>>, keys: Vec<u32>) -> Self {
        Self { by, names, keys }
    }

    /// Adds names and keys that others have met since: those here are the first of them.
    pub fn extend(&mut self, (names, keys): (&[Arc<str>], &[u32])) {
        self.names.extend_from_slice(&names[self.names.len()..]);
        self.keys.extend_from_slice(&keys[self.keys.len()..]);
    }

    /// All names and keys.
    #[must_use]
    pub fn met(&self) -> (&[Arc<str>], &[u32]) {
        (&self.names, &self.keys)
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
    pub fn count(&self) -> u32 {
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

/// The estimate of one UTC day, in columns. Rows are in the order of SKUs and identities, which is
/// the same whatever they are told apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostDay {
    pub date: Date,
    /// The rows of each SKU.
    pub parts: Vec<Range<usize>>,
    /// The group of each row. Several rows may have the same.
    pub groups: Vec<u32>,
    /// Tokens of each row by kind, none of them below zero; empty where no row has any.
    pub tokens: [Vec<i64>; KINDS],
    /// Their estimate in pico-USD; as long as `tokens`.
    pub estimate: [Vec<i64>; KINDS],
    /// The groups of rows that had requests and nothing else.
    pub idle: Vec<u32>,
    /// Tokens without a price.
    pub unpriced: u64,
}

impl CostDay {
    /// A day on which nobody used anything.
    #[must_use]
    pub fn of(date: Date) -> Self {
        Self {
            date,
            ..Self::default()
        }
    }

    /// Tokens and estimate of some rows in one kind, row by row; `None` if no row of the day has
    /// any.
    #[must_use]
    pub fn uses(&self, kind: PricedKind, rows: &Range<usize>) -> Option<(&[i64], &[i64])> {
        let place = kind as usize;
        let tokens = self.tokens[place].get(rows.clone())?;
        Some((tokens, self.estimate[place].get(rows.clone())?))
    }
}

/// The place of each number in an order, which has each number below its length once.
#[must_use]
pub fn ranks(order: &[u32]) -> Vec<u32> {
    let mut ranks = vec![0; order.len()];
    for (rank, number) in (0..).zip(order) {
        ranks[*number as usize] = rank;
    }
    ranks
}
