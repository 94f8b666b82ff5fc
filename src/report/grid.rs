//! Lines of a report by their keys, to be added up, compared and kept.
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::{Cell, Column, Kind, Table};
use crate::model::money::PicoUsd;

/// How sure a line is, and how its amount came to it: both can change without its amounts, so
/// neither is a key.
const STATUS: &str = "status";
const METHOD: &str = "allocation_method";

/// The method of lines that were added up and had several.
const MIXED: &str = "mixed";

/// The keys of a line, in the order of the grid's key columns.
pub type Keys = Vec<Arc<str>>;

/// Amounts of a line, in the order of the grid's amount columns; `None` where nothing is known.
pub type Amounts = Vec<Option<i128>>;

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub amounts: Amounts,
    /// How its amount came to it; empty where nothing is known.
    pub method: Arc<str>,
}

/// Lines by key. Lines of equal keys are added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    pub keys: Vec<Arc<str>>,
    pub amounts: Vec<Arc<str>>,
    pub lines: BTreeMap<Keys, Line>,
}

impl Grid {
    #[must_use]
    pub fn new(keys: &[&str], amounts: &[&str]) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        Self {
            keys: names(keys),
            amounts: names(amounts),
            lines: BTreeMap::new(),
        }
    }

    /// Reads a table: columns of text are keys, columns that can be added up are amounts.
    #[must_use]
    pub fn read(table: &Table) -> Self {
        let columns = || table.columns.iter().enumerate();
        let keys: Vec<usize> = columns()
            .filter(|(_, c)| is_key(c))
            .map(|(i, _)| i)
            .collect();
        let amounts: Vec<usize> = columns().filter(|(_, c)| c.sums).map(|(i, _)| i).collect();
        let names = |places: &[usize]| {
            let name = |i: &usize| Arc::from(table.columns[*i].name);
            places.iter().map(name).collect()
        };
        let mut grid = Self {
            keys: names(&keys),
            amounts: names(&amounts),
            lines: BTreeMap::new(),
        };
        let method = columns().find(|(_, c)| c.name == METHOD).map(|(i, _)| i);
        let mut cells = Vec::new();
        for index in 0..table.rows.len() {
            table.rows.row(index, &mut cells);
            let key = keys.iter().map(|i| text_of(&cells[*i])).collect();
            let amounts: Amounts = amounts.iter().map(|i| amount_of(&cells[*i])).collect();
            let method = method.map(|i| text_of(&cells[i])).unwrap_or_default();
            grid.add(key, &amounts, &method);
        }
        grid
    }

    /// A grid of the columns of a table, without lines.
    #[must_use]
    pub fn of(columns: &[Column]) -> Self {
        Self::read(&Table {
            name: "",
            columns: columns.to_vec(),
            rows: Box::new(Vec::new()),
        })
    }

    /// Adds the lines of another grid under the columns of this one.
    pub fn merge(&mut self, other: &Self) {
        for (keys, line) in other.regroup(&self.keys, &self.amounts).lines {
            self.add(keys, &line.amounts, &line.method);
        }
    }

    /// Leaves out lines whose amounts are all zero or unknown.
    pub fn drop_zeros(&mut self) {
        self.lines
            .retain(|_, line| line.amounts.iter().any(|amount| amount.unwrap_or(0) != 0));
    }

    /// The lines as rows of a table, with a status.
    #[must_use]
    pub fn rows(&self, columns: &[Column], status: &str) -> Vec<Vec<Cell>> {
        let lines = self.lines.iter();
        lines
            .map(|(keys, line)| self.cells(columns, keys, line, status))
            .collect()
    }

    /// Adds amounts to the line of a key.
    pub fn add(&mut self, keys: Keys, amounts: &[Option<i128>], method: &Arc<str>) {
        let width = self.amounts.len();
        let line = self.lines.entry(keys).or_insert_with(|| Line {
            amounts: vec![None; width],
            method: method.clone(),
        });
        if line.method.is_empty() {
            line.method.clone_from(method);
        } else if !method.is_empty() && line.method != *method {
            line.method = MIXED.into();
        }
        for (sum, amount) in line.amounts.iter_mut().zip(amounts) {
            if let Some(amount) = amount {
                *sum = Some(sum.unwrap_or(0).saturating_add(*amount));
            }
        }
    }

    /// The place of an amount column.
    #[must_use]
    pub fn amount(&self, name: &str) -> Option<usize> {
        self.amounts.iter().position(|known| **known == *name)
    }

    /// The place of a key column.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<usize> {
        self.keys.iter().position(|known| **known == *name)
    }

    /// The sum of a column; `None` if it is unknown in every line.
    #[must_use]
    pub fn total(&self, name: &str) -> Option<i128> {
        let place = self.amount(name)?;
        let known = self.lines.values().filter_map(|line| line.amounts[place]);
        known.reduce(i128::saturating_add)
    }

    /// The same lines by other columns, in their order. A key that was not there is empty, an
    /// amount that was not there unknown; lines that become equal are added up.
    #[must_use]
    pub fn regroup(&self, keys: &[Arc<str>], amounts: &[Arc<str>]) -> Self {
        let key_places: Vec<_> = keys.iter().map(|name| self.key(name)).collect();
        let places: Vec<_> = amounts.iter().map(|name| self.amount(name)).collect();
        let mut grid = Self {
            keys: keys.to_vec(),
            amounts: amounts.to_vec(),
            lines: BTreeMap::new(),
        };
        let empty: Arc<str> = "".into();
        for (key, line) in &self.lines {
            let pick = |place: &Option<usize>| place.map_or(&empty, |i| &key[i]).clone();
            let amounts: Amounts = places.iter().map(|place| line.amounts[(*place)?]).collect();
            let keys = key_places.iter().map(pick).collect();
            grid.add(keys, &amounts, &line.method);
        }
        grid
    }

    /// What this grid has more than another, by its own columns; lines that are equal are left
    /// out, amounts that are unknown in both stay so.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let other = other.regroup(&self.keys, &self.amounts);
        let mut difference = self.clone();
        for (keys, line) in other.lines {
            let negative = line.amounts.into_iter().map(|amount| Some(-amount?));
            let negative: Amounts = negative.collect();
            // The method of what is there now is told, not that of what was.
            let here = difference.lines.get(&keys).map(|line| line.method.clone());
            difference.add(keys, &negative, &here.unwrap_or(line.method));
        }
        difference.drop_zeros();
        difference
    }

    fn cells(&self, columns: &[Column], keys: &Keys, line: &Line, status: &str) -> Vec<Cell> {
        let cell = |column: &Column| {
            if column.name == STATUS {
                return Cell::Text(status.into());
            }
            if column.name == METHOD {
                return match &*line.method {
                    "" => Cell::Empty,
                    _ => Cell::Text(line.method.clone()),
                };
            }
            if is_key(column) {
                let key = self.key(column.name).map(|place| &keys[place]);
                return key.map_or(Cell::Empty, |key| cell_of_key(column.kind, key));
            }
            let amount = self
                .amount(column.name)
                .and_then(|place| line.amounts[place]);
            match (amount, column.kind) {
                (Some(amount), Kind::Money) => Cell::Money(PicoUsd(amount)),
                (Some(amount), Kind::Count) => Cell::Count(amount),
                (Some(amount), Kind::Decimal) => {
                    i64::try_from(amount).map_or(Cell::Empty, Cell::Decimal)
                }
                _ => Cell::Empty,
            }
        };
        columns.iter().map(cell).collect()
    }
}

fn is_key(column: &Column) -> bool {
    matches!(column.kind, Kind::Text | Kind::Date | Kind::Time)
        && ![STATUS, METHOD].contains(&column.name)
}

fn cell_of_key(kind: Kind, key: &Arc<str>) -> Cell {
    match kind {
        Kind::Date => key.parse().map_or(Cell::Empty, Cell::Date),
        Kind::Time => key.parse().map_or(Cell::Empty, Cell::Time),
        _ => Cell::Text(key.clone()),
    }
}

fn text_of(cell: &Cell) -> Arc<str> {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Date(day) => day.to_string().into(),
        Cell::Time(at) => at.to_string().into(),
        _ => "".into(),
    }
}

fn amount_of(cell: &Cell) -> Option<i128> {
    match cell {
        Cell::Count(count) => Some(*count),
        Cell::Money(amount) => Some(amount.0),
        Cell::Decimal(amount) => Some((*amount).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &'static str, kind: Kind, sums: bool) -> Column {
        Column {
            name,
            kind,
            sums,
            help: "",
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            column("team", Kind::Text, false),
            column("day", Kind::Date, false),
            column("tokens", Kind::Count, true),
            column("cost_usd", Kind::Money, true),
            column("share", Kind::Ratio, false),
            column(STATUS, Kind::Text, false),
        ]
    }

    fn table(lines: &[(&str, &str, i128, Option<i128>)]) -> Table {
        let row = |(team, day, tokens, cost): &(&str, &str, i128, Option<i128>)| {
            vec![
                Cell::Text((*team).into()),
                Cell::Date(day.parse().unwrap()),
                Cell::Count(*tokens),
                cost.map_or(Cell::Empty, |cost| Cell::Money(PicoUsd(cost))),
                Cell::Ratio(7),
                Cell::Text("provisional".into()),
            ]
        };
        let rows: Vec<Vec<Cell>> = lines.iter().map(row).collect();
        Table {
            name: "x",
            columns: columns(),
            rows: Box::new(rows),
        }
    }

    #[test]
    fn what_changed_is_a_line_and_what_did_not_is_none() {
        let before = Grid::read(&table(&[
            ("a", "2026-10-01", 10, Some(100)),
            ("b", "2026-10-01", 20, Some(200)),
            ("c", "2026-10-01", 5, None),
        ]));
        let after = Grid::read(&table(&[
            ("a", "2026-10-01", 10, Some(100)),
            ("b", "2026-10-01", 21, Some(190)),
            ("d", "2026-10-02", 5, Some(1)),
        ]));
        let change = after.minus(&before);
        let rows = change.rows(&columns(), "adjustment");
        let row = |team: &str, day: &str, tokens: i128, cost: Option<i128>| {
            vec![
                Cell::Text(team.into()),
                Cell::Date(day.parse().unwrap()),
                Cell::Count(tokens),
                cost.map_or(Cell::Empty, |cost| Cell::Money(PicoUsd(cost))),
                Cell::Empty,
                Cell::Text("adjustment".into()),
            ]
        };
        assert_eq!(
            rows,
            [
                row("b", "2026-10-01", 1, Some(-10)),
                row("c", "2026-10-01", -5, None),
                row("d", "2026-10-02", 5, Some(1)),
            ]
        );
    }

    #[test]
    fn regrouping_keeps_the_totals() {
        let grid = Grid::read(&table(&[
            ("a", "2026-10-01", 10, Some(100)),
            ("a", "2026-10-02", 20, None),
            ("b", "2026-10-01", 1, Some(1)),
        ]));
        let by_team = grid.regroup(&["team".into(), "user".into()], &grid.amounts);
        let keys: Vec<_> = by_team.lines.keys().map(|keys| keys.join("/")).collect();
        assert_eq!(keys, ["a/", "b/"]);
        for name in ["tokens", "cost_usd"] {
            assert_eq!(by_team.total(name), grid.total(name));
        }
    }
}
