//! The money of a roll-up row by kind of token.

use super::super::numbers::NumberMap;
use super::super::rollup::Sums;
use super::super::span::start_of;
use super::super::terms::Terms;
use super::KINDS;
use crate::model::bill::PricedKind;
use crate::model::money::share_out;
use crate::model::usage::Sku;

/// Quarter hours of a UTC day: prices hold for whole ones.
const QUARTERS_A_DAY: i64 = 96;

/// What one row costs by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) estimate: [i128; KINDS],
    pub(super) list: [i128; KINDS],
    pub(super) unpriced: [i64; KINDS],
}

/// Unit prices by kind: those that hold, and those of the list.
pub(super) type Units = [[Option<u64>; KINDS]; 2];

/// A SKU and a UTC day.
type Sold = (i64, i64);

/// Prices by SKU and UTC day, as far as they were needed.
#[derive(Debug, Default)]
pub(super) struct Prices {
    known: NumberMap<Sold, Units>,
    /// Those of the row before: rows of one SKU often follow each other.
    last: Option<(Sold, Units)>,
}

impl Prices {
    /// Splits a row that begins with a quarter hour.
    pub(super) fn split(
        &mut self,
        sums: &Sums,
        (sku_number, sku): (i64, &Sku),
        quarter: i64,
        terms: &Terms,
    ) -> Split {
        let sold = (sku_number, quarter.div_euclid(QUARTERS_A_DAY));
        if let Some((last, units)) = &self.last
            && *last == sold
        {
            return split(sums, units);
        }
        let known = self.known.entry(sold);
        let units = *known.or_insert_with(|| units(sku, quarter, terms));
        self.last = Some((sold, units));
        split(sums, &units)
    }
}

/// The prices of a SKU on the UTC day of a quarter hour.
pub(super) fn units(sku: &Sku, quarter: i64, terms: &Terms) -> Units {
    let at = start_of(quarter);
    let write = terms.write_lifetime(&sku.provider);
    let units = [terms.prices.unit(sku, at), terms.prices.list_unit(sku, at)];
    units.map(|prices| {
        let prices = prices.unwrap_or_default();
        PricedKind::ALL.map(|kind| prices.of(kind, write))
    })
}

/// What the prices do not explain any more, because they have changed, is split in proportion: the
/// parts add up to what is stored.
fn split(sums: &Sums, [own, list]: &Units) -> Split {
    let unpriced = std::array::from_fn(|kind| match own[kind] {
        Some(_) => 0,
        None => sums.tokens[kind],
    });
    let mut split = Split {
        estimate: priced(sums, own),
        list: priced(sums, list),
        unpriced,
    };
    let stored = i128::from(sums.cost);
    if split.estimate.iter().sum::<i128>() != stored {
        split.estimate = shared(stored, &split.estimate, &sums.tokens);
    }
    if split.unpriced.iter().sum::<i64>() != sums.unpriced {
        let weights = split.unpriced.map(i128::from);
        let unpriced = shared(i128::from(sums.unpriced), &weights, &sums.tokens);
        split.unpriced = unpriced.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    }
    split
}

/// What the tokens of each kind cost; nothing where there is no price.
fn priced(sums: &Sums, prices: &[Option<u64>; KINDS]) -> [i128; KINDS] {
    let price = |kind: usize| i128::from(prices[kind].unwrap_or(0));
    std::array::from_fn(|kind| price(kind) * i128::from(sums.tokens[kind]))
}

/// What a row costs by kind, as [`split`] has it. No part is larger than what is stored, unless
/// others are below zero.
pub(super) fn estimate(sums: &Sums, units: &Units) -> [i64; KINDS] {
    let explained = explained(sums, &units[0]);
    explained.unwrap_or_else(|| {
        let parts = split(sums, units).estimate;
        let narrow = |parts: [i128; KINDS]| {
            let parts = parts.map(|part| i64::try_from(part).ok());
            parts
                .iter()
                .all(Option::is_some)
                .then(|| parts.map(Option::unwrap_or_default))
        };
        let stored = || shared(sums.cost.into(), &parts, &sums.tokens);
        narrow(parts)
            .or_else(|| narrow(stored()))
            .unwrap_or([sums.cost, 0, 0, 0, 0, 0])
    })
}

/// The parts of a row that today's prices explain: those of nearly all rows.
fn explained(sums: &Sums, prices: &[Option<u64>; KINDS]) -> Option<[i64; KINDS]> {
    let mut parts = [0; KINDS];
    let mut whole = 0_i64;
    for (kind, price) in prices.iter().enumerate() {
        let price = i64::try_from(price.unwrap_or(0)).ok()?;
        parts[kind] = price.checked_mul(sums.tokens[kind])?;
        whole = whole.checked_add(parts[kind])?;
    }
    (whole == sums.cost).then_some(parts)
}

/// Shares an amount out in proportion to weights, or to tokens where all weights are zero.
fn shared(amount: i128, weights: &[i128; KINDS], tokens: &[i64; KINDS]) -> [i128; KINDS] {
    let shares = share_out(amount, weights).or_else(|| share_out(amount, &tokens.map(i128::from)));
    let mut parts = [0; KINDS];
    match shares {
        Some(shares) => parts.copy_from_slice(&shares),
        None => parts[0] = amount,
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(tokens: [i64; KINDS], cost: i64, unpriced: i64) -> Sums {
        Sums {
            tokens,
            cost,
            unpriced,
            ..Sums::default()
        }
    }

    #[test]
    fn a_row_is_split_by_the_prices_that_made_it() {
        let units = [Some(5), Some(25), None, Some(6), Some(10), Some(6)];
        let row = sums([10, 2, 7, 1, 1, 0], 50 + 50 + 6 + 10, 7);
        assert_eq!(
            split(&row, &[units, units]),
            Split {
                estimate: [50, 50, 0, 6, 10, 0],
                list: [50, 50, 0, 6, 10, 0],
                unpriced: [0, 0, 7, 0, 0, 0],
            }
        );
    }

    #[test]
    fn what_was_stored_at_other_prices_is_split_in_proportion() {
        let units = [Some(5), Some(25), None, Some(6), Some(10), Some(6)];
        let row = sums([10, 2, 7, 0, 0, 0], 33, 0);
        let split = split(&row, &[units, units]);
        assert_eq!(split.estimate, [17, 16, 0, 0, 0, 0]);
        assert_eq!(split.unpriced, [0; KINDS]);
        let unknown = [None; KINDS];
        let split = super::split(&row, &[unknown, unknown]);
        assert_eq!(split.estimate.iter().sum::<i128>(), 33);
    }

    proptest! {
        #[test]
        fn parts_always_add_up_to_what_is_stored(
            tokens in prop::array::uniform6(0_i64..1 << 40),
            prices in prop::array::uniform6(prop::option::of(0_u64..1 << 24)),
            cost in any::<i64>(),
            unpriced in 0_i64..1 << 40,
        ) {
            let split = split(&sums(tokens, cost, unpriced), &[prices, prices]);
            prop_assert_eq!(split.estimate.iter().sum::<i128>(), i128::from(cost));
            prop_assert_eq!(split.unpriced.iter().sum::<i64>(), unpriced);
            let row = sums(tokens, cost, unpriced);
            let estimate = estimate(&row, &[prices, prices]).map(i128::from);
            prop_assert_eq!(estimate.iter().sum::<i128>(), i128::from(cost));
            prop_assert!(estimate == split.estimate || split.estimate.iter().any(|part| i64::try_from(*part).is_err()));
        }
    }
}
