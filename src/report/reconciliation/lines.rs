//! Rows: what was compared, summed by what they are told apart by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::facts::{Fact, Facts};
use crate::model::bill::{Basis, Charge, PricedKind};
use crate::model::money::PicoUsd;
use crate::report::reconcile::{Actual, Cause, Compared, Estimated, Key};
use crate::report::sheet::charge_name;
use crate::report::table::{Cell, Rows};

/// What one row sums.
#[derive(Clone, Debug, Default)]
struct Line {
    estimated: Option<Estimated>,
    actual: Option<Actual>,
    /// Of what is billed by token alone: credits and taxes have none.
    billed: Tokens,
    price_variance: i128,
    quantity_variance: i128,
    /// Absolute differences by cause.
    causes: BTreeMap<Cause, i128>,
    fact: Option<Fact>,
}

/// What was billed by token.
#[derive(Clone, Copy, Debug, Default)]
struct Tokens {
    /// Those of lines whose unit is understood.
    tokens: Option<i128>,
    cost: i128,
    /// The unit of some line is not understood: no price follows from the rest.
    is_part: bool,
}

impl Tokens {
    fn add(&mut self, actual: Actual) {
        self.cost += actual.cost;
        match actual.tokens {
            Some(more) => *self.tokens.get_or_insert(0) += more,
            None => self.is_part = true,
        }
    }
}

#[derive(Debug)]
pub(super) struct Lines(Vec<(Vec<Cell>, Line)>);

impl Lines {
    pub(super) fn of(compared: &[Compared], by: &[&'static str], facts: &Facts) -> Self {
        let mut places: HashMap<Vec<String>, usize> = HashMap::new();
        let mut lines: Vec<(Vec<Cell>, Line)> = Vec::new();
        for compared in compared {
            let cells: Vec<Cell> = by.iter().map(|name| cell(&compared.key, name)).collect();
            let key = cells.iter().map(|cell| format!("{cell:?}")).collect();
            let place = *places.entry(key).or_insert_with(|| {
                lines.push((cells, Line::default()));
                lines.len() - 1
            });
            lines[place].1.add(compared, facts);
        }
        Self(lines)
    }
}

fn cell(key: &Key, name: &str) -> Cell {
    let text = |text: &Arc<str>| Cell::Text(text.clone());
    match name {
        "day" => Cell::Date(key.day),
        "period" => Cell::Text(key.day.strftime("%Y-%m").to_string().into()),
        "provider" => text(&key.provider),
        "account" => text(&key.account),
        "model" => text(&key.model),
        "charge" => Cell::Text(charge_name(key.charge).into()),
        "geo" => text(&key.geo),
        "tier" => text(&key.tier),
        _ => Cell::Text(key.kind.map_or("", PricedKind::name).into()),
    }
}

impl Line {
    fn add(&mut self, compared: &Compared, facts: &Facts) {
        if let Some(more) = compared.estimated {
            let sum = self.estimated.get_or_insert_default();
            sum.tokens += more.tokens;
            sum.cost += more.cost;
        }
        if let Some(more) = compared.actual {
            let sum = self.actual.get_or_insert(Actual {
                tokens: Some(0),
                cost: 0,
                at_table: Some(0),
            });
            sum.tokens = sum.tokens.zip(more.tokens).map(|(a, b)| a + b);
            sum.at_table = sum.at_table.zip(more.at_table).map(|(a, b)| a + b);
            sum.cost += more.cost;
            if compared.key.charge == Charge::Tokens {
                self.billed.add(more);
            }
        }
        self.price_variance += compared.price_variance;
        self.quantity_variance += compared.quantity_variance;
        let delta = compared.price_variance + compared.quantity_variance;
        *self.causes.entry(compared.cause).or_default() += delta.abs();
        if let Some(fact) = facts.of(&compared.key) {
            match &mut self.fact {
                Some(sum) => sum.add(fact),
                None => self.fact = Some(fact.clone()),
            }
        }
    }

    /// The cause of the largest part.
    fn cause(&self) -> Cause {
        let largest = self.causes.iter().max_by_key(|(_, amount)| **amount);
        largest.map_or(Cause::None, |(cause, _)| *cause)
    }

    fn cells(&self, cells: &mut Vec<Cell>) {
        let money = |amount: Option<i128>| {
            amount.map_or(Cell::Empty, |amount| Cell::Money(PicoUsd(amount)))
        };
        let count = |count: Option<i128>| count.map_or(Cell::Empty, Cell::Count);
        let text = |text: &str| Cell::Text(text.into());
        let billed = self.billed.tokens;
        let counted = self.estimated.map(|estimated| estimated.tokens);
        // Also where a side has none, so that all groupings add up to the same.
        let more = match (billed, counted) {
            (None, None) => None,
            (billed, counted) => Some(billed.unwrap_or(0) - counted.unwrap_or(0)),
        };
        let whole = billed.filter(|_| !self.billed.is_part).unwrap_or(0);
        let was = self.estimated.map(|estimated| estimated.cost);
        let is = self.actual.map(|actual| actual.cost);
        let delta = self.price_variance + self.quantity_variance;
        let fact = self.fact.as_ref();
        let quantity = fact.and_then(|fact| fact.quantity);
        cells.push(count(counted));
        cells.push(quantity.map_or(Cell::Empty, |quantity| text(&decimal(quantity))));
        cells.push(fact.map_or(Cell::Empty, |fact| Cell::Text(fact.unit.clone())));
        cells.push(count(billed));
        cells.push(count(more));
        cells.push(ratio(counted.unwrap_or(0), whole));
        cells.push(money(was));
        cells.push(money(is));
        for basis in 0..Basis::ALL.len() {
            cells.push(money(fact.map(|fact| fact.amounts[basis])));
        }
        cells.push(money(Some(delta)));
        cells.push(ratio(delta, was.unwrap_or(0)));
        cells.push(money(Some(self.price_variance)));
        cells.push(money(Some(self.quantity_variance)));
        cells.push(unit_price(self.billed.cost, whole));
        let table = match (was, counted) {
            (Some(was), Some(counted)) if counted > 0 => unit_price(was, counted),
            _ => self
                .actual
                .and_then(|actual| actual.at_table)
                .map_or(Cell::Empty, |cost| unit_price(cost, whole)),
        };
        cells.push(table);
        cells.push(text(self.cause().name()));
        cells.push(match fact {
            None => Cell::Empty,
            Some(fact) if fact.estimated => text("yes"),
            Some(_) => text("no"),
        });
        let pulled_at = fact.and_then(|fact| fact.pulled_at);
        cells.push(pulled_at.map_or(Cell::Empty, Cell::Time));
        cells.push(fact.map_or(Cell::Empty, |fact| Cell::Count(fact.revision.into())));
    }
}

/// Pico-dollars for one token, rounded half away from zero.
fn unit_price(cost: i128, tokens: i128) -> Cell {
    if tokens <= 0 {
        return Cell::Empty;
    }
    let half = if cost < 0 { -tokens / 2 } else { tokens / 2 };
    Cell::UnitPrice(PicoUsd((cost + half) / tokens))
}

/// A part of a whole in millionths.
fn ratio(part: i128, whole: i128) -> Cell {
    if whole == 0 {
        return Cell::Empty;
    }
    let ratio = part.saturating_mul(1_000_000) / whole;
    i64::try_from(ratio).map_or(Cell::Empty, Cell::Ratio)
}

/// A quantity as decimal text without needless zeros.
fn decimal(quantity: i128) -> String {
    let text = PicoUsd(quantity).to_string();
    match text.strip_suffix(".00") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

impl Rows for Lines {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        let (keys, line) = &self.0[index];
        cells.clear();
        cells.extend_from_slice(keys);
        line.cells(cells);
    }
}
