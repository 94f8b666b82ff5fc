//! How limits stand, in their units. Texts are borrowed from the policy and the standings: answers
//! are made thousands of times a second, and counting who shares a text is what costs there.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::model::policy::{Bound, Field, Policy, SCOPE_SEPARATOR, Span, Unit, Weights};
use crate::model::quota::Standing;
use crate::model::window::QUARTER_SECONDS;

/// An amount in a unit: a whole number, or USD as exact decimal text. Parts of a weighted token
/// are counted whole where they are used and not at all where they are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Amount {
    Count(u64),
    Usd(#[schema(inline)] Usd),
}

/// How one limit stands for one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LimitStanding<'a> {
    #[schema(example = "role-developer-day")]
    pub name: &'a str,
    /// The fields by which the limit counts, with the values of this counter.
    #[schema(value_type = BTreeMap<String, String>)]
    pub scope: Scope<'a>,
    /// `tokens`, `input_tokens`, `output_tokens`, `weighted_tokens`, `requests` or `usd`.
    #[schema(example = "weighted_tokens")]
    pub unit: &'static str,
    /// `null` where it is unlimited.
    pub limit: Option<Amount>,
    pub used: Amount,
    /// Held by live reservations.
    pub reserved: Amount,
    /// `null` where it is unlimited; never below zero.
    pub remaining: Option<Amount>,
    /// What is used and reserved beyond the limit.
    pub over_by: Amount,
    /// `enforce`, or `shadow` where the limit only tells.
    pub mode: &'static str,
    pub window: WindowBounds<'a>,
    /// Seconds to the end of the window; of a rolling one, to its next step.
    pub reset_after_s: u64,
}

/// A window, half-open, in the policy's zone, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QuotaWindow)]
pub struct WindowBounds<'a> {
    #[schema(example = "2026-11-22T00:00:00+09:00")]
    pub start: &'a str,
    #[schema(example = "2026-11-23T00:00:00+09:00")]
    pub end: &'a str,
    #[schema(example = "Asia/Tokyo")]
    pub tz: &'a str,
}

/// Values of a counter by their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    fields: &'a [Field],
    values: &'a str,
}

impl<'a> Scope<'a> {
    /// The fields with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let fields = self.fields.iter().map(|field| field.name());
        fields.zip(self.values.split(SCOPE_SEPARATOR))
    }
}

impl Serialize for Scope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.pairs())
    }
}

/// Pico-USD as exact decimal text with two places or as many as it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String)]
pub struct Usd(pub i128);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PICO_PER_USD: u128 = 1_000_000_000_000;
        let sign = if self.0 < 0 { "-" } else { "" };
        let pico = self.0.unsigned_abs();
        let (mut part, mut places) = (pico % PICO_PER_USD, 12);
        while places > 2 && part.is_multiple_of(10) {
            part /= 10;
            places -= 1;
        }
        write!(f, "{sign}{}.{part:0places$}", pico / PICO_PER_USD)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// How limits stand, in units.
#[must_use]
pub fn limits<'a>(
    policy: &'a Policy,
    standings: &'a [Standing],
    now: Timestamp,
) -> Vec<LimitStanding<'a>> {
    let standings = standings.iter();
    standings.map(|one| limit_of(policy, one, now)).collect()
}

fn limit_of<'a>(policy: &'a Policy, standing: &'a Standing, now: Timestamp) -> LimitStanding<'a> {
    let rule = &policy.limits[standing.limit];
    let used_up = |grains| amount(grains, rule.unit, &policy.weights, Round::Up);
    let left = |grains| amount(grains, rule.unit, &policy.weights, Round::Down);
    let bound = match standing.bound {
        Bound::Unlimited => None,
        Bound::At(bound) => Some(left(bound)),
    };
    let window = standing.window.texts(&policy.zone);
    LimitStanding {
        name: &rule.name,
        scope: Scope {
            fields: &rule.per,
            values: &standing.scope,
        },
        unit: rule.unit.name(),
        limit: bound,
        used: used_up(standing.used),
        reserved: used_up(standing.held),
        remaining: standing.remaining().map(left),
        over_by: used_up(standing.over_by()),
        mode: rule.mode.name(),
        window: WindowBounds {
            start: &window.start,
            end: &window.end,
            tz: zone_name(&policy.zone),
        },
        reset_after_s: reset_after(rule.span, standing, now),
    }
}

/// Seconds until there is room again: whole ones, at least one.
pub(super) fn reset_after(span: Span, standing: &Standing, now: Timestamp) -> u64 {
    let seconds = match span {
        Span::Calendar(_) => {
            let left = standing.window.end.duration_since(now);
            left.as_secs() + i64::from(left.subsec_nanos() > 0)
        }
        Span::Rolling { .. } => QUARTER_SECONDS - now.as_second().rem_euclid(QUARTER_SECONDS),
    };
    u64::try_from(seconds).unwrap_or(0).max(1)
}

/// Grains in their unit; parts of a whole are left out.
#[must_use]
pub fn grains(grains: i128, unit: Unit, weights: &Weights) -> Amount {
    amount(grains, unit, weights, Round::Down)
}

/// What becomes of parts of a whole.
#[derive(Clone, Copy)]
pub(super) enum Round {
    Up,
    Down,
}

pub(super) fn amount(grains: i128, unit: Unit, weights: &Weights, round: Round) -> Amount {
    if unit == Unit::Usd {
        return Amount::Usd(Usd(grains));
    }
    let per = weights.grains(unit);
    let whole = match round {
        Round::Up => (grains + per - 1).div_euclid(per),
        Round::Down => grains.div_euclid(per),
    };
    Amount::Count(u64::try_from(whole.max(0)).unwrap_or(u64::MAX))
}
