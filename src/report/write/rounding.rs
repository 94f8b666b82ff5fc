//! How exact cells become those that are shown.
//!
//! Money in a column that sums is rounded by largest remainder, so that the lines shown add up to
//! the total shown, and that is the exact total rounded half-even. All forms of a report are
//! written from the same rounding. Two passes over the rows: the first finds who gets the steps
//! that rounding down leaves over, the second applies it row by row.
//!
//! Rows of a closed month are rounded by themselves, as they were when it was closed; those that
//! correct it bear the rest.
#![deny(clippy::float_arithmetic)]

use std::ops::Range;

use super::super::table::{Cell, Kind, Table};
use crate::model::money::{PICO_DIGITS, PicoUsd, divide_floor};

/// The fewest decimal places of money that can be asked for; with the most, all is exact.
const LEAST_DECIMALS: u32 = 2;

/// How the money of one table is rounded, and what its columns add up to.
#[derive(Clone, Debug)]
pub struct Rounding {
    step: i128,
    decimals: u32,
    columns: Vec<Rounded>,
    rows: usize,
    /// Of these rows at the beginning, by themselves.
    settled: usize,
}

/// One column.
#[derive(Clone, Debug)]
struct Rounded {
    /// The exact sum; `None` where a sum means nothing.
    total: Option<Cell>,
    /// Of settled rows, and of all others.
    parts: [Part; 2],
}

/// Who is not rounded down in a part of the rows.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Lines with a larger rank are rounded up, and so are those with this one up to a row.
    up: Option<(u64, usize)>,
    /// A row that is rounded down once more: the settled ones were rounded up to the even cent,
    /// and all together are not.
    down: Option<usize>,
}

impl Rounding {
    /// Reads all rows of a table once. `None` if a sum is beyond the range of money.
    #[must_use]
    pub fn of(table: &Table, decimals: u32) -> Option<Self> {
        let decimals = decimals.clamp(LEAST_DECIMALS, PICO_DIGITS);
        let step = 10_i128.pow(PICO_DIGITS - decimals);
        let (rows, settled) = (table.rows.len(), table.rows.settled());
        let mut sums: Vec<Sum> = table.columns.iter().map(|_| Sum::default()).collect();
        let mut cells = Vec::with_capacity(table.columns.len());
        for index in 0..rows {
            table.rows.row(index, &mut cells);
            for (at, (column, cell)) in table.columns.iter().zip(&cells).enumerate() {
                if column.sums {
                    sums[at].add(cell, step)?;
                    if index < settled {
                        sums[at].settle();
                    }
                }
            }
        }
        let columns = table.columns.iter().zip(sums).map(|(column, sum)| Rounded {
            total: column.sums.then(|| sum.total(column.kind)),
            parts: match (column.kind, column.sums) {
                (Kind::Money, true) => sum.parts(settled, step, decimals),
                _ => Default::default(),
            },
        });
        Some(Self {
            step,
            decimals,
            columns: columns.collect(),
            rows,
            settled,
        })
    }

    /// Reads a row with its money as shown.
    pub fn row(&self, table: &Table, index: usize, cells: &mut Vec<Cell>) {
        table.rows.row(index, cells);
        self.apply(index, cells);
    }

    /// Replaces money in a row by what is shown.
    fn apply(&self, index: usize, cells: &mut [Cell]) {
        for (column, cell) in self.columns.iter().zip(cells) {
            let Cell::Money(exact) = *cell else { continue };
            *cell = Cell::Money(self.shown(column, index, exact));
        }
    }

    fn shown(&self, column: &Rounded, index: usize, exact: PicoUsd) -> PicoUsd {
        if column.total.is_none() {
            return exact.rounded(self.decimals);
        }
        let (_, remainder) = divide_floor(exact.0, self.step);
        let floor = exact.0 - remainder;
        let part = column.parts[usize::from(index >= self.settled)];
        let is_up = part.up.is_some_and(|(least, last)| {
            let rank = rank(remainder).unwrap_or(u64::MAX);
            rank > least || (rank == least && index <= last)
        });
        let steps = i128::from(is_up) - i128::from(part.down == Some(index));
        PicoUsd(floor + steps * self.step)
    }

    /// The exact sum of a column, where it has one.
    #[must_use]
    pub fn exact_total(&self, column: usize) -> Option<&Cell> {
        self.columns[column].total.as_ref()
    }

    /// The sum as it is shown: what the lines shown add up to.
    #[must_use]
    pub fn shown_total(&self, column: usize) -> Option<Cell> {
        let total = self.columns[column].total.as_ref()?;
        Some(match total {
            Cell::Money(exact) => Cell::Money(exact.rounded(self.decimals)),
            other => other.clone(),
        })
    }

    /// The sums as they are shown, column by column; empty where a sum means nothing.
    #[must_use]
    pub fn totals(&self) -> Vec<Cell> {
        let columns = 0..self.columns.len();
        let totals = columns.map(|at| self.shown_total(at).unwrap_or_default());
        totals.collect()
    }

    #[must_use]
    pub const fn decimals(&self) -> u32 {
        self.decimals
    }

    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }
}

/// What one pass gathers about a column.
#[derive(Debug, Default)]
struct Sum {
    /// In the smallest unit of its kind.
    total: i128,
    /// Of money rounded down.
    floors: i128,
    /// What each row is rounded up for: its [`rank`], and nothing where there is no amount.
    ranks: Vec<u64>,
    /// Total and floors of the settled rows.
    settled: [i128; 2],
    any: bool,
}

/// The place of a remainder of less than a cent among others; never zero.
fn rank(remainder: i128) -> Option<u64> {
    u64::try_from(remainder).ok()?.checked_add(1)
}

impl Sum {
    fn add(&mut self, cell: &Cell, step: i128) -> Option<()> {
        let (value, is_money) = match cell {
            Cell::Money(PicoUsd(value)) => (*value, true),
            Cell::Count(value) | Cell::UnitPrice(PicoUsd(value)) => (*value, false),
            Cell::Decimal(value) | Cell::Ratio(value) => (i128::from(*value), false),
            Cell::Empty | Cell::Text(_) | Cell::Date(_) | Cell::Time(_) => {
                self.ranks.push(0);
                return Some(());
            }
        };
        self.any = true;
        self.total = self.total.checked_add(value)?;
        if is_money {
            let (_, remainder) = divide_floor(value, step);
            self.floors = self.floors.checked_add(value.checked_sub(remainder)?)?;
            // A step more, or less, is added when it is shown.
            value.checked_add(step)?;
            value.checked_sub(2 * step)?;
            self.ranks.push(rank(remainder)?);
        }
        Some(())
    }

    /// What was added so far is settled.
    const fn settle(&mut self) {
        self.settled = [self.total, self.floors];
    }

    /// How the settled rows are rounded, and all others: those so that all add up.
    fn parts(&self, settled: usize, step: i128, decimals: u32) -> [Part; 2] {
        let rounded = |amount| PicoUsd(amount).rounded(decimals).0;
        let [total, floors] = self.settled;
        let first = rounded(total);
        let rest = rounded(self.total) - first;
        let rows = self.ranks.len();
        [
            self.part(0..settled.min(rows), (first - floors) / step),
            self.part(
                settled.min(rows)..rows,
                (rest - (self.floors - floors)) / step,
            ),
        ]
    }

    /// Gives the steps that are left to some rows.
    fn part(&self, rows: Range<usize>, steps: i128) -> Part {
        let first = rows.start;
        let ranks = &self.ranks[rows];
        let down = if steps < 0 {
            ranks.iter().position(|rank| *rank > 0)
        } else {
            None
        };
        Part {
            up: up(ranks, steps).map(|(least, last)| (least, first + last)),
            down: down.map(|row| first + row),
        }
    }

    fn total(&self, kind: Kind) -> Cell {
        if !self.any {
            return Cell::Empty;
        }
        let small = i64::try_from(self.total);
        match kind {
            Kind::Money => Cell::Money(PicoUsd(self.total)),
            Kind::UnitPrice => Cell::UnitPrice(PicoUsd(self.total)),
            Kind::Decimal => small.map_or(Cell::Empty, Cell::Decimal),
            Kind::Ratio => small.map_or(Cell::Empty, Cell::Ratio),
            Kind::Count | Kind::Text | Kind::Date | Kind::Time => Cell::Count(self.total),
        }
    }
}

/// Who is rounded up: those with the largest remainders, the first row first among equals.
fn up(ranks: &[u64], steps: i128) -> Option<(u64, usize)> {
    let wanted = usize::try_from(steps).ok()?;
    let nth = wanted.checked_sub(1)?;
    let mut sorted = ranks.to_vec();
    if nth >= sorted.len() {
        return None;
    }
    let (larger, least, _) = sorted.select_nth_unstable_by(nth, |a, b| b.cmp(a));
    let least = *least;
    let larger = larger.iter().filter(|one| **one > least).count();
    let mut ties = ranks.iter().enumerate().filter(|(_, one)| **one == least);
    let (last, _) = ties.nth(wanted - larger - 1)?;
    Some((least, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::money;
    use crate::report::Column;

    fn table(kind: Kind, cells: &[Cell]) -> Table {
        let column = Column {
            name: "amount",
            kind,
            sums: true,
            help: "",
        };
        let rows: Vec<Vec<Cell>> = cells.iter().map(|cell| vec![cell.clone()]).collect();
        Table {
            name: "lines",
            columns: vec![column],
            rows: Box::new(rows),
        }
    }

    fn shown(table: &Table, decimals: u32) -> (Vec<Cell>, Option<Cell>) {
        let rounding = Rounding::of(table, decimals).unwrap();
        let mut row = Vec::new();
        let cells = (0..table.rows.len()).map(|index| {
            table.rows.row(index, &mut row);
            rounding.apply(index, &mut row);
            row[0].clone()
        });
        (cells.collect(), rounding.shown_total(0))
    }

    #[test]
    fn an_unknown_amount_stays_unknown_and_the_rest_adds_up() {
        let third = Cell::Money(PicoUsd(3_333_333_333_333));
        let given = table(
            Kind::Money,
            &[third.clone(), Cell::Empty, third.clone(), third],
        );
        let [up, down] = [3_340_000_000_000, 3_330_000_000_000].map(|v| Cell::Money(PicoUsd(v)));
        assert_eq!(
            shown(&given, 2),
            (
                vec![up, Cell::Empty, down.clone(), down],
                Some(Cell::Money(PicoUsd(10_000_000_000_000)))
            )
        );
    }

    #[test]
    fn a_column_in_which_nothing_is_known_has_no_total() {
        let given = table(Kind::Money, &[Cell::Empty, Cell::Empty]);
        assert_eq!(
            shown(&given, 2),
            (vec![Cell::Empty, Cell::Empty], Some(Cell::Empty))
        );
    }

    #[test]
    fn a_sum_that_does_not_fit_is_refused() {
        let given = table(Kind::Count, &[Cell::Count(i128::MAX), Cell::Count(1)]);
        assert!(Rounding::of(&given, 2).is_none());
    }

    /// Rows of which some are settled.
    #[derive(Debug)]
    struct Settled(Vec<Vec<Cell>>, usize);

    impl crate::report::table::Rows for Settled {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn row(&self, index: usize, cells: &mut Vec<Cell>) {
            self.0.row(index, cells);
        }

        fn settled(&self) -> usize {
            self.1
        }
    }

    fn sum(cells: &[Cell]) -> i128 {
        let money = cells.iter().map(|cell| match cell {
            Cell::Money(amount) => amount.0,
            _ => 0,
        });
        money.sum()
    }

    proptest! {
        #[test]
        fn settled_rows_stay_as_they_were_and_all_add_up(
            before in prop::collection::vec(
                prop_oneof![-40_000_000_000_i128..40_000_000_000, Just(5_000_000_000)], 0..20),
            after in prop::collection::vec(prop::option::of(
                prop_oneof![-40_000_000_000_i128..40_000_000_000, Just(10_000_000_000)]), 0..20),
            decimals in 2_u32..=6,
        ) {
            let money = |pico: i128| Cell::Money(PicoUsd(pico));
            let mut cells: Vec<Cell> = before.into_iter().map(money).collect();
            let settled = cells.len();
            let (alone, _) = shown(&table(Kind::Money, &cells), decimals);
            cells.extend(after.into_iter().map(|pico| pico.map_or(Cell::Empty, money)));
            let rows = cells.iter().map(|cell| vec![cell.clone()]).collect();
            let all = Table {
                rows: Box::new(Settled(rows, settled)),
                ..table(Kind::Money, &[])
            };
            let (all, total) = shown(&all, decimals);
            prop_assert_eq!(&all[..settled], &alone[..]);
            prop_assert_eq!(sum(&all), sum(&Vec::from_iter(total)));
            let step = 10_i128.pow(PICO_DIGITS - decimals);
            for (shown, exact) in all.iter().zip(&cells) {
                let apart = sum(std::slice::from_ref(shown)) - sum(std::slice::from_ref(exact));
                prop_assert!(apart.abs() <= 2 * step);
            }
        }

        #[test]
        fn rows_are_rounded_as_if_all_were_in_memory(
            lines in prop::collection::vec(
                prop_oneof![-40_000_000_000_i128..40_000_000_000, Just(5_000_000_000)], 0..60),
            decimals in 2_u32..=PICO_DIGITS,
        ) {
            let cells: Vec<Cell> = lines.iter().map(|v| Cell::Money(PicoUsd(*v))).collect();
            let lines: Vec<PicoUsd> = lines.into_iter().map(PicoUsd).collect();
            let expected = money::apportion(&lines, decimals).unwrap();
            let expected: Vec<Cell> = expected.into_iter().map(Cell::Money).collect();
            let (shown, _) = shown(&table(Kind::Money, &cells), decimals);
            prop_assert_eq!(shown, expected);
        }
    }
}
