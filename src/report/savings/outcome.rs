//! What was found: opportunities, the reasons that leave requests out of them, and sums of both.
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::money::PicoUsd;
use crate::model::tokens::Tokens;

/// What could be done otherwise, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Opportunity {
    /// A cheaper model.
    Model,
    /// A batch.
    Batch,
    /// The provider's global endpoint.
    Endpoint,
    /// What the cache saved.
    Cache,
    /// Cache writes that their session never read.
    UnreadWrites,
}

impl Opportunity {
    pub(super) const ALL: [Self; 5] = [
        Self::Model,
        Self::Batch,
        Self::Endpoint,
        Self::Cache,
        Self::UnreadWrites,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Batch => "batch",
            Self::Endpoint => "endpoint",
            Self::Cache => "cache",
            Self::UnreadWrites => "unread_writes",
        }
    }
}

/// Why a request is in no potential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reason {
    Unpriced,
    NotOk,
    NoModelNamed,
    NotAllowed,
    NoPrice,
    NotCheaper,
    NotPlain,
    Interactive,
    SourceNotTold,
    NoBatchPrice,
    FewerThanABatch,
}

impl Reason {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unpriced => "unpriced",
            Self::NotOk => "not_ok",
            Self::NoModelNamed => "no_model_named",
            Self::NotAllowed => "not_allowed",
            Self::NoPrice => "no_price",
            Self::NotCheaper => "not_cheaper",
            Self::NotPlain => "not_plain",
            Self::Interactive => "interactive",
            Self::SourceNotTold => "source_not_told",
            Self::NoBatchPrice => "no_batch_price",
            Self::FewerThanABatch => "fewer_than_a_batch",
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Unpriced => "the price table has no price for the request itself",
            Self::NotOk => "it failed, was cancelled or was refused",
            Self::NoModelNamed => "[savings] models names none for its complexity",
            Self::NotAllowed => "the user's role allows none of the models",
            Self::NoPrice => "the price table has no price for the alternative",
            Self::NotCheaper => "the alternative costs no less",
            Self::NotPlain => "fast, flex or priority",
            Self::Interactive => "a person was at work in its session",
            Self::SourceNotTold => "neither entrypoint nor query source says who waited",
            Self::NoBatchPrice => "the price table has no batch price for the tokens it used",
            Self::FewerThanABatch => "all of the period together are fewer than one batch takes",
        }
    }
}

/// What requests are split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupBy {
    Team,
    CostCenter,
    Project,
    User,
}

impl GroupBy {
    pub(super) const ALL: [Self; 4] = [Self::Team, Self::CostCenter, Self::Project, Self::User];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::CostCenter => "cost_center",
            Self::Project => "project",
            Self::User => "user",
        }
    }
}

/// Which requests a sum is of. The numbers are places in [`Outcomes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) group: usize,
    pub(super) opportunity: Opportunity,
    pub(super) line: usize,
    pub(super) rule: &'static str,
    /// The other model, endpoint or tier; empty if the request itself stays.
    pub(super) instead: Box<str>,
}

/// Requests, what they cost, and what they would have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) requests: u64,
    pub(super) sessions: u64,
    pub(super) tokens: u64,
    /// All that was read, and what of it came from the cache.
    pub(super) context: u64,
    pub(super) cache_reads: u64,
    pub(super) cost: PicoUsd,
    pub(super) instead: PicoUsd,
}

impl Sum {
    /// One request.
    pub(super) fn one(tokens: &Tokens, cost: PicoUsd, instead: PicoUsd) -> Self {
        Self {
            requests: 1,
            sessions: 0,
            tokens: tokens.total(),
            context: tokens.context(),
            cache_reads: tokens.cache_read,
            cost,
            instead,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.sessions += other.sessions;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.context = self.context.saturating_add(other.context);
        self.cache_reads = self.cache_reads.saturating_add(other.cache_reads);
        self.cost = sum(self.cost, other.cost);
        self.instead = sum(self.instead, other.instead);
    }

    /// What the cost is above the other one.
    pub(super) fn saving(&self) -> PicoUsd {
        difference(self.cost, self.instead)
    }
}

/// A sum that stops at the bounds of `i128`, some 10^26 USD.
pub(super) const fn sum(one: PicoUsd, two: PicoUsd) -> PicoUsd {
    PicoUsd(one.0.saturating_add(two.0))
}

pub(super) const fn difference(one: PicoUsd, two: PicoUsd) -> PicoUsd {
    PicoUsd(one.0.saturating_sub(two.0))
}

/// What a price depends on, as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) provider: Box<str>,
    pub(super) scope: Box<str>,
    pub(super) model: Box<str>,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) groups: Vec<Vec<Arc<str>>>,
    pub(super) lines: Vec<Line>,
    pub(super) sums: BTreeMap<Key, Sum>,
    pub(super) left_out: BTreeMap<(Opportunity, Reason), Sum>,
    /// Of requests that could go into a batch, by line.
    pub(super) batches: BTreeMap<usize, Sum>,
    /// All requests that have a price.
    pub(super) all: Sum,
    pub(super) unpriced_requests: u64,
    /// The largest single potential of each request, cache writes left out.
    pub(super) any_one: PicoUsd,
    /// Sessions that were judged before the end, for want of room.
    pub(super) judged_early: u64,
}

/// The rule of requests that were in a batch.
pub(super) const ACHIEVED_BATCH: &str = "batch_tier";
