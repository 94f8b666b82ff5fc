//! Estimate against bill, line by line. Pure and exact.
//!
//! Both sides are brought to the same keys first: telemetry does not tell which account pays, nor
//! often how long a cache write lives, and a bill does not always tell geography and tier. What a
//! side does not tell is taken from the other, in proportion to what was billed.
#![deny(clippy::float_arithmetic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;

use crate::model::bill::{Charge, PricedKind};
use crate::model::money::share_out;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// UTC.
    pub day: Date,
    pub provider: Arc<str>,
    pub account: Arc<str>,
    pub model: Arc<str>,
    pub charge: Charge,
    pub kind: Option<PricedKind>,
    /// `global`, or empty: a region, or not told.
    pub geo: Arc<str>,
    /// Empty if the sides do not tell the same tiers.
    pub tier: Arc<str>,
}

/// What telemetry says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimated {
    pub tokens: i128,
    /// Pico-USD.
    pub cost: i128,
}

/// What the bill says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// `None` if a quantity is not understood.
    pub tokens: Option<i128>,
    /// Pico-USD on the basis asked for.
    pub cost: i128,
    /// What the billed tokens cost by the price table; `None` if it has no price.
    pub at_table: Option<i128>,
}

/// Both sides of one key, and why they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    pub key: Key,
    pub estimated: Option<Estimated>,
    pub actual: Option<Actual>,
    /// These two add up to actual less estimated cost.
    pub price_variance: i128,
    pub quantity_variance: i128,
    pub cause: Cause,
}

/// Why actual and estimated cost differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// They differ by no more than the tolerance.
    None,
    Price,
    Quantity,
    MissingInTelemetry,
    MissingInBill,
    /// The day is too young, or usage is on the neighbouring day of the other side.
    Timing,
    /// Credits, refunds, taxes and fees: no estimate has them.
    NotUsage,
    /// The line of the bill is not understood.
    Unclassified,
}

/// Geographies and tiers.
type Places = BTreeSet<(Arc<str>, Arc<str>)>;

impl Cause {
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Price,
        Self::Quantity,
        Self::MissingInTelemetry,
        Self::MissingInBill,
        Self::Timing,
        Self::NotUsage,
        Self::Unclassified,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Price => "price",
            Self::Quantity => "quantity",
            Self::MissingInTelemetry => "missing_in_telemetry",
            Self::MissingInBill => "missing_in_bill",
            Self::Timing => "timing",
            Self::NotUsage => "not_usage",
            Self::Unclassified => "unclassified",
        }
    }
}

/// Up to which difference nothing has to be explained: 5 cents, or a hundredth.
const TOLERANCE_PICO: i128 = 50_000_000_000;
const TOLERANCE_PART: i128 = 100;

/// Days that a bill needs to be complete: younger ones differ for that alone.
const YOUNG_DAYS: i32 = 2;

/// Lines of both sides by key.
#[derive(Clone, Debug, Default)]
pub struct Sides {
    pub estimated: BTreeMap<Key, Estimated>,
    pub actual: BTreeMap<Key, Actual>,
}

impl Sides {
    pub fn add_estimated(&mut self, key: Key, more: Estimated) {
        let sum = self.estimated.entry(key).or_default();
        sum.tokens += more.tokens;
        sum.cost += more.cost;
    }

    pub fn add_actual(&mut self, key: Key, more: Actual) {
        let sum = self.actual.entry(key).or_insert(Actual {
            tokens: Some(0),
            cost: 0,
            at_table: Some(0),
        });
        let add = |a: Option<i128>, b: Option<i128>| Some(a? + b?);
        sum.tokens = add(sum.tokens, more.tokens);
        sum.at_table = add(sum.at_table, more.at_table);
        sum.cost += more.cost;
    }

    /// Compares both sides. The sums of each side stay what they are.
    #[must_use]
    pub fn compare(mut self, today: Date) -> Vec<Compared> {
        self.share_writes();
        self.share_accounts();
        self.fold_places();
        let keys: BTreeSet<&Key> = self.estimated.keys().chain(self.actual.keys()).collect();
        let mut compared: Vec<Compared> = keys
            .into_iter()
            .map(|key| {
                let estimated = self.estimated.get(key).copied();
                let actual = self.actual.get(key).copied();
                let mut compared = vary(key.clone(), estimated, actual);
                compared.cause = cause(&compared, today);
                compared
            })
            .collect();
        mark_neighbours(&mut compared);
        compared
    }

    /// The tokens billed by account.
    fn billed_tokens(&self) -> BilledTokens {
        let mut billed = BilledTokens::new();
        for (key, actual) in &self.actual {
            let accounts = billed.entry(meter(key, key.kind)).or_default();
            let tokens = actual.tokens.unwrap_or(0);
            *accounts.entry(key.account.clone()).or_default() += tokens;
        }
        billed
    }

    /// Gives cache writes of unknown lifetime the lifetimes that were billed.
    fn share_writes(&mut self) {
        let tokens = self.billed_tokens();
        let unknown: Vec<Key> = self
            .estimated
            .keys()
            .filter(|key| key.kind == Some(PricedKind::CacheWriteUnknown))
            .cloned()
            .collect();
        for key in unknown {
            let kinds = [PricedKind::CacheWrite5m, PricedKind::CacheWrite1h];
            let billed = kinds.map(|kind| {
                let accounts = tokens.get(&meter(&key, Some(kind)));
                accounts.map_or(0, |accounts| accounts.values().sum())
            });
            let targets = kinds.map(|kind| Key {
                kind: Some(kind),
                ..key.clone()
            });
            self.spread(&key, &targets, &billed);
        }
    }

    /// Gives usage whose account does not stand in the bill the accounts that were billed.
    fn share_accounts(&mut self) {
        let tokens = self.billed_tokens();
        let mut billed: BTreeMap<(Date, Arc<str>), BTreeSet<Arc<str>>> = BTreeMap::new();
        for key in self.actual.keys() {
            let accounts = billed.entry((key.day, key.provider.clone())).or_default();
            accounts.insert(key.account.clone());
        }
        let keys: Vec<Key> = self.estimated.keys().cloned().collect();
        for key in keys {
            let accounts = billed.get(&(key.day, key.provider.clone()));
            let targets: Vec<Key> = match accounts {
                Some(accounts) if accounts.contains(&key.account) => continue,
                Some(accounts) => accounts
                    .iter()
                    .map(|account| Key {
                        account: account.clone(),
                        ..key.clone()
                    })
                    .collect(),
                // Accounts of telemetry are persons' accounts where no bill knows them.
                None => vec![Key {
                    account: "".into(),
                    ..key.clone()
                }],
            };
            let by_account = tokens.get(&meter(&key, key.kind));
            let weight = |target: &Key| by_account?.get(&target.account).copied();
            let weights: Vec<i128> = targets
                .iter()
                .map(|target| weight(target).unwrap_or(0))
                .collect();
            if !self.spread(&key, &targets, &weights) {
                // None of them was billed for it; the first stands for all.
                let mut first = vec![0; targets.len()];
                first[0] = 1;
                self.spread(&key, &targets, &first);
            }
        }
    }

    /// Leaves geography and tier out where the sides have none of them in common.
    fn fold_places(&mut self) {
        let whole = |key: &Key| Key {
            geo: "".into(),
            tier: "".into(),
            ..key.clone()
        };
        let mut sides: BTreeMap<Key, [Places; 2]> = BTreeMap::new();
        for (side, key) in (self.estimated.keys().map(|key| (0, key)))
            .chain(self.actual.keys().map(|key| (1, key)))
        {
            let place = (key.geo.clone(), key.tier.clone());
            sides.entry(whole(key)).or_default()[side].insert(place);
        }
        let fold = |key: &Key| {
            let [estimated, actual] = &sides[&whole(key)];
            !estimated.is_empty() && !actual.is_empty() && estimated.is_disjoint(actual)
        };
        let mut folded = Self::default();
        for (key, estimated) in &self.estimated {
            let key = if fold(key) { whole(key) } else { key.clone() };
            folded.add_estimated(key, *estimated);
        }
        for (key, actual) in &self.actual {
            let key = if fold(key) { whole(key) } else { key.clone() };
            folded.add_actual(key, *actual);
        }
        *self = folded;
    }

    /// Spreads an estimate over other keys in proportion; returns false, and changes nothing, if
    /// there is no proportion.
    fn spread(&mut self, from: &Key, to: &[Key], weights: &[i128]) -> bool {
        let Some(estimated) = self.estimated.get(from).copied() else {
            return true;
        };
        let (Some(tokens), Some(costs)) = (
            share_out(estimated.tokens, weights),
            share_out(estimated.cost, weights),
        ) else {
            return false;
        };
        self.estimated.remove(from);
        for ((key, tokens), cost) in to.iter().zip(tokens).zip(costs) {
            if tokens != 0 || cost != 0 {
                self.add_estimated(key.clone(), Estimated { tokens, cost });
            }
        }
        true
    }
}

/// Tokens billed of one kind of a model on a day, by account.
type BilledTokens = BTreeMap<Meter, BTreeMap<Arc<str>, i128>>;

type Meter = (Date, Arc<str>, Arc<str>, Option<PricedKind>);

fn meter(key: &Key, kind: Option<PricedKind>) -> Meter {
    (key.day, key.provider.clone(), key.model.clone(), kind)
}

/// Splits the difference: what the billed tokens cost more than by the table, and what the tokens
/// differ, at the table's price. The table's price is what the estimate paid per token; where
/// nothing was estimated, that of the table.
fn vary(key: Key, estimated: Option<Estimated>, actual: Option<Actual>) -> Compared {
    let (was, is) = (estimated.unwrap_or_default(), actual.unwrap_or_default());
    let delta = is.cost - was.cost;
    let quantity_variance = match (actual, is.tokens) {
        (None, _) => delta,
        // A quantity that is not understood tells nothing of prices either.
        (Some(_), None) => 0,
        (Some(_), Some(tokens)) if was.tokens > 0 => {
            // At the estimate's own price per token; a rest of less than a pico-dollar is price.
            (tokens - was.tokens).saturating_mul(was.cost) / was.tokens
        }
        (Some(_), Some(_)) => is.at_table.unwrap_or(is.cost) - was.cost,
    };
    Compared {
        key,
        estimated,
        actual,
        price_variance: delta - quantity_variance,
        quantity_variance,
        cause: Cause::None,
    }
}

/// How far a bill of this size may be from its estimate.
fn tolerance(actual: i128, estimated: i128) -> i128 {
    let part = actual.abs().max(estimated.abs()) / TOLERANCE_PART;
    part.max(TOLERANCE_PICO)
}

fn cause(compared: &Compared, today: Date) -> Cause {
    match compared.key.charge {
        Charge::Tokens | Charge::OtherUsage => {}
        Charge::Credit | Charge::Refund | Charge::Tax | Charge::Fee => return Cause::NotUsage,
        Charge::Unclassified => return Cause::Unclassified,
    }
    let was = compared.estimated.unwrap_or_default();
    let is = compared.actual.unwrap_or_default();
    if (is.cost - was.cost).abs() <= tolerance(is.cost, was.cost) {
        return Cause::None;
    }
    let young = today.saturating_sub(jiff::Span::new().days(YOUNG_DAYS));
    if compared.key.day > young {
        return Cause::Timing;
    }
    match (compared.estimated, compared.actual) {
        (_, None) => Cause::MissingInBill,
        (None, Some(_)) => Cause::MissingInTelemetry,
        (Some(was), Some(_)) if was.tokens == 0 => Cause::MissingInTelemetry,
        (Some(_), Some(Actual { tokens: None, .. })) => Cause::Unclassified,
        _ if compared.price_variance.abs() >= compared.quantity_variance.abs() => Cause::Price,
        _ => Cause::Quantity,
    }
}

/// Usage around midnight is on one day here and on the next there: two days that differ against
/// each other, and not together.
fn mark_neighbours(compared: &mut [Compared]) {
    let mut days: BTreeMap<Key, usize> = BTreeMap::new();
    for (place, compared) in compared.iter().enumerate() {
        days.insert(compared.key.clone(), place);
    }
    for place in 0..compared.len() {
        let key = &compared[place].key;
        let Ok(tomorrow) = key.day.tomorrow() else {
            continue;
        };
        let next = Key {
            day: tomorrow,
            ..key.clone()
        };
        let Some(next) = days.get(&next).copied() else {
            continue;
        };
        let differs = |place: usize| {
            let compared = &compared[place];
            let by = compared.price_variance + compared.quantity_variance;
            let explained = matches!(
                compared.cause,
                Cause::Quantity | Cause::MissingInBill | Cause::MissingInTelemetry
            );
            explained.then_some(by)
        };
        let (Some(here), Some(there)) = (differs(place), differs(next)) else {
            continue;
        };
        let cost = |place: usize| compared[place].actual.unwrap_or_default().cost;
        let both = tolerance(cost(place) + cost(next), 0);
        if here.signum() != there.signum() && (here + there).abs() <= both {
            compared[place].cause = Cause::Timing;
            compared[next].cause = Cause::Timing;
        }
    }
}

#[cfg(test)]
mod tests;
