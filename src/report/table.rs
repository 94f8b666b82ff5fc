//! Tables of exact cells.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::model::money::PicoUsd;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A whole number.
    Count,
    /// An amount; rounded where it is written, so that lines add up to their total.
    Money,
    /// An amount for one token, shown for a million, never rounded.
    UnitPrice,
    /// A ratio in millionths; 1,000,000 is 100 %.
    Ratio,
    /// A measure in thousandths: minutes, hours, days.
    Decimal,
    Date,
    Time,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in CSV and JSON; it never changes.
    pub name: &'static str,
    pub kind: Kind,
    /// True if the sum of the column means something: it is a control total then.
    pub sums: bool,
    /// What it is, with unit and source.
    pub help: &'static str,
}

impl Column {
    /// A column whose sum means nothing.
    #[must_use]
    pub const fn of(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            name,
            kind,
            sums: false,
            help,
        }
    }

    /// A column whose sum is a control total.
    #[must_use]
    pub const fn summed(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            sums: true,
            ..Self::of(name, kind, help)
        }
    }
}

/// One value. Its variant fits its column's kind, or it is [`Cell::Empty`].
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell {
    /// Not known, or not applicable. Never zero.
    #[default]
    Empty,
    Text(Arc<str>),
    Count(i128),
    Money(PicoUsd),
    UnitPrice(PicoUsd),
    Ratio(i64),
    Decimal(i64),
    Date(Date),
    Time(Timestamp),
}

/// Rows that are made when they are read, so that a long report needs little memory.
pub trait Rows: fmt::Debug + Send + Sync {
    fn len(&self) -> usize;

    /// Puts the cells of a row in place of what `cells` held.
    fn row(&self, index: usize, cells: &mut Vec<Cell>);

    /// Rows at the beginning that are rounded by themselves, because they were shown before those
    /// behind them came.
    fn settled(&self) -> usize {
        0
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Puts the cells of a row in place of those of the row before. A text that both have stays, which
/// in most places of a long report is so.
#[derive(Debug)]
pub struct Filling<'c> {
    cells: &'c mut Vec<Cell>,
    at: usize,
}

impl<'c> Filling<'c> {
    #[must_use]
    pub const fn new(cells: &'c mut Vec<Cell>) -> Self {
        Self { cells, at: 0 }
    }

    pub fn push(&mut self, cell: Cell) {
        match self.cells.get_mut(self.at) {
            Some(place) => *place = cell,
            None => self.cells.push(cell),
        }
        self.at += 1;
    }

    pub fn text(&mut self, text: &Arc<str>) {
        match self.cells.get(self.at) {
            Some(Cell::Text(known)) if Arc::ptr_eq(known, text) => self.at += 1,
            _ => self.push(Cell::Text(Arc::clone(text))),
        }
    }

    /// Ends the row.
    pub fn end(self) {
        self.cells.truncate(self.at);
    }
}

impl Rows for Vec<Vec<Cell>> {
    fn len(&self) -> usize {
        self.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        cells.clear();
        cells.extend_from_slice(&self[index]);
    }
}

/// Columns and rows.
#[derive(Debug)]
pub struct Table {
    /// Of the sheet or section.
    pub name: &'static str,
    pub columns: Vec<Column>,
    pub rows: Box<dyn Rows>,
}
