//! Rows in columns: some sixty bytes each.

use std::collections::HashMap;

use super::{CHARGES, Marks, Sums, What};
use crate::model::bill::PricedKind;

/// Rows, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Columns {
    groups: Vec<u32>,
    /// The place of the charge, and that of the kind; 0 is no kind.
    whats: Vec<[u8; 2]>,
    marks: Vec<Marks>,
    /// Tokens, requests, and tokens without a price.
    counts: [Vec<u64>; 3],
    /// List, estimate and actual cost.
    money: [Amounts; 3],
}

impl Columns {
    pub(super) fn push(&mut self, group: u32, what: What, sums: &Sums) -> u32 {
        let row = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.groups.push(group);
        let charge = CHARGES.iter().position(|(_, name)| *name == what.charge);
        let places = [
            charge.unwrap_or(CHARGES.len() - 1),
            what.kind.map_or(0, |kind| kind as usize + 1),
        ];
        self.whats
            .push(places.map(|place| u8::try_from(place).unwrap_or(0)));
        self.marks.push(sums.marks);
        for (column, count) in self.counts.iter_mut().zip(counts(sums)) {
            column.push(count);
        }
        for (column, amount) in self.money.iter_mut().zip(money(sums)) {
            column.push(amount);
        }
        row
    }

    pub(super) fn add(&mut self, row: usize, sums: &Sums) {
        self.marks[row].add(sums.marks);
        for (column, count) in self.counts.iter_mut().zip(counts(sums)) {
            column[row] = column[row].saturating_add(count);
        }
        for (column, amount) in self.money.iter_mut().zip(money(sums)) {
            if amount != 0 {
                column.set(row, column.get(row).saturating_add(amount));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn group(&self, row: usize) -> u32 {
        self.groups[row]
    }

    /// The places of charge and kind.
    pub(super) fn what(&self, row: usize) -> [u8; 2] {
        self.whats[row]
    }

    pub(super) fn place(&self, row: usize) -> (u32, What) {
        let [charge, kind] = self.whats[row].map(usize::from);
        let kind = kind.checked_sub(1).map(|kind| PricedKind::ALL[kind]);
        let charge = CHARGES[charge].1;
        (self.groups[row], What { charge, kind })
    }

    pub(super) fn sums(&self, row: usize) -> Sums {
        let [tokens, requests, unpriced] = [0, 1, 2].map(|column: usize| self.counts[column][row]);
        let [list, estimate, actual] = [0, 1, 2].map(|column: usize| self.money[column].get(row));
        Sums {
            tokens,
            requests,
            unpriced,
            list,
            estimate,
            actual,
            marks: self.marks[row],
        }
    }
}

const fn counts(sums: &Sums) -> [u64; 3] {
    [sums.tokens, sums.requests, sums.unpriced]
}

const fn money(sums: &Sums) -> [i128; 3] {
    [sums.list, sums.estimate, sums.actual]
}

/// Amounts, most of which are below nine million dollars.
#[derive(Debug, Default)]
struct Amounts {
    narrow: Vec<i64>,
    /// Those that do not fit, by row; `narrow` has [`WIDE`] there.
    wide: HashMap<usize, i128>,
}

/// Stands for an amount that is kept apart.
const WIDE: i64 = i64::MIN;

impl Amounts {
    fn push(&mut self, amount: i128) {
        self.narrow.push(0);
        self.set(self.narrow.len() - 1, amount);
    }

    fn set(&mut self, row: usize, amount: i128) {
        let narrow = i64::try_from(amount).unwrap_or(WIDE);
        self.narrow[row] = narrow;
        if narrow == WIDE {
            self.wide.insert(row, amount);
        }
    }

    fn get(&self, row: usize) -> i128 {
        match self.narrow[row] {
            WIDE => self.wide.get(&row).copied().unwrap_or(0),
            narrow => narrow.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_any_size_come_back() {
        let mut amounts = Amounts::default();
        let given = [
            0,
            -1,
            i128::from(i64::MIN),
            i128::from(i64::MAX) + 1,
            i128::MIN,
        ];
        for amount in given {
            amounts.push(amount);
        }
        assert_eq!([0, 1, 2, 3, 4].map(|row| amounts.get(row)), given);
        amounts.set(3, 7);
        amounts.set(0, i128::MAX);
        assert_eq!([0, 3].map(|row| amounts.get(row)), [i128::MAX, 7]);
    }
}
