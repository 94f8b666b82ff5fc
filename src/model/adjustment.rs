//! Corrections of quota counters by hand.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::money::parse_decimal;
use super::policy::{Field, Policy, SCOPE_SEPARATOR, Unit};

/// What somebody added to a counter, or took back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Made by the caller.
    pub id: Box<str>,
    /// The time whose window it counts in.
    pub at: Timestamp,
    pub limit: Box<str>,
    pub unit: Unit,
    /// The values of the limit's `per`.
    pub scope: BTreeMap<Field, Box<str>>,
    /// Decimal, in the unit; negative gives room back.
    pub amount: Box<str>,
    pub reason: Box<str>,
    pub created_by: Box<str>,
}

impl Adjustment {
    /// The limit's index, the counter's scope and the grains under a policy; nothing if it has no
    /// such limit with this unit any more, or the limit counts by other fields now.
    #[must_use]
    pub fn under(&self, policy: &Policy) -> Option<(usize, Box<str>, i128)> {
        let mut limits = policy.limits.iter();
        let place =
            limits.position(|limit| *limit.name == *self.limit && limit.unit == self.unit)?;
        let limit = &policy.limits[place];
        if limit.per.len() != self.scope.len() {
            return None;
        }
        let mut scope = String::new();
        for (i, field) in limit.per.iter().enumerate() {
            if i > 0 {
                scope.push(SCOPE_SEPARATOR);
            }
            scope.push_str(self.scope.get(field)?);
        }
        // Twelve places are what USD have; other units are whole numbers.
        let amount = match self.unit {
            Unit::Usd => parse_decimal(&self.amount, 12).ok()?,
            unit => parse_decimal(&self.amount, 0)
                .ok()?
                .checked_mul(policy.weights.grains(unit))?,
        };
        Some((place, scope.into(), amount))
    }

    /// True if both are one instruction, whoever sent it when.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        (
            &self.limit,
            self.unit,
            &self.scope,
            &self.amount,
            &self.reason,
        ) == (
            &other.limit,
            other.unit,
            &other.scope,
            &other.amount,
            &other.reason,
        )
    }
}
