//! How a limit stands: its bound with the raises that hold, what is used, and what is held.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::bounds::Bounds;
use super::counter::Counter;
use crate::model::glob::Glob;
use crate::model::policy::{Bound, Field, Limit, Policy, SCOPE_SEPARATOR};

/// How one limit stands for one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The index in the policy's limits.
    pub limit: usize,
    /// The values of the limit's `per`, joined.
    pub scope: Arc<str>,
    /// With raises, in grains.
    pub bound: Bound,
    /// Posted, in grains; never below zero.
    pub used: i128,
    /// Held by live reservations, in grains.
    pub held: i128,
    pub window: Arc<Bounds>,
}

impl Standing {
    /// What is left, in grains; `None` if the limit is unlimited.
    #[must_use]
    pub fn remaining(&self) -> Option<i128> {
        match self.bound {
            Bound::Unlimited => None,
            Bound::At(bound) => Some((bound - self.used - self.held).max(0)),
        }
    }

    /// By how much the bound is exceeded, in grains.
    #[must_use]
    pub fn over_by(&self) -> i128 {
        match self.bound {
            Bound::Unlimited => 0,
            Bound::At(bound) => (self.used + self.held - bound).max(0),
        }
    }
}

/// How a counter of a limit stands.
pub(super) fn of(limit: usize, counter: &Counter, policy: &Policy, now: Timestamp) -> Standing {
    let rule = &policy.limits[limit];
    Standing {
        limit,
        bound: raised(rule, &counter.scope, policy, now),
        used: counter.posted().max(0),
        held: counter.held,
        window: counter.window(),
        scope: counter.scope.clone(),
    }
}

/// The bound with the raises that hold now.
fn raised(rule: &Limit, scope: &str, policy: &Policy, now: Timestamp) -> Bound {
    let Bound::At(bound) = rule.bound else {
        return Bound::Unlimited;
    };
    if policy.raises.is_empty() {
        return Bound::At(bound);
    }
    let values: Vec<_> = scope.split(SCOPE_SEPARATOR).collect();
    let concerns = |matches: &BTreeMap<Field, Vec<Glob>>| {
        matches.iter().all(|(field, patterns)| {
            let place = rule.per.iter().position(|per| per == field);
            let value = place.and_then(|place| values.get(place)).copied();
            value.is_some_and(|value| patterns.iter().any(|p| p.matches(value)))
        })
    };
    let more: i128 = policy
        .raises
        .iter()
        .filter(|raise| *raise.limit == *rule.name && now < raise.until && concerns(&raise.matches))
        .map(|raise| raise.add)
        .sum();
    Bound::At(bound + more)
}
