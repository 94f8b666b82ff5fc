//! `chargeback`: who used what, what it cost by estimate, and what was really billed for it.

use std::sync::Arc;

use jiff::Timestamp;

use super::costs::{Costs, Foreign, costs};
use super::sheet::{Sums, charge_name};
use super::table::{Cell, Column, Filling, Kind, Rows, Table};
use super::{Report, ReportError, Reports, Request};
use crate::model::bill::Charge;
use crate::model::cost::By;
use crate::model::money::PicoUsd;

/// What lines are told apart by where nothing is asked.
const DEFAULT: [By; 7] = [
    By::Month,
    By::CostCenter,
    By::Team,
    By::Project,
    By::User,
    By::Provider,
    By::Model,
];

/// The name of months in this report.
const PERIOD: &str = "period";

/// One, as a ratio is written.
const WHOLE: i128 = 1_000_000;

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let by = dimensions(&request.group_by)?;
    let mut manifest = reports.manifest("chargeback", request, now);
    let costs = costs(reports, request, &by, &mut manifest).await?;
    manifest.standing = costs.standing;
    Ok(Report {
        name: "chargeback",
        title: "Who used what, and what it cost".to_owned(),
        tables: tables(columns(&by), costs),
        manifest,
    })
}

fn tables(columns: Vec<Column>, costs: Costs) -> Vec<Table> {
    let foreign = (!costs.foreign.is_empty()).then(|| foreign_table(&costs.foreign));
    let mut tables = vec![Table {
        name: "chargeback",
        columns,
        rows: Box::new(Lines::new(costs)),
    }];
    tables.extend(foreign);
    tables
}

/// The parameter `group_by`.
///
/// Errors: a name that is none, or hours.
pub(super) fn dimensions(asked: &[Arc<str>]) -> Result<Vec<By>, ReportError> {
    if asked.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    let mut by = Vec::with_capacity(asked.len());
    for name in asked {
        let dimension = match &**name {
            PERIOD => Some(By::Month),
            name => By::parse(name).filter(|by| *by != By::Hour),
        };
        let Some(dimension) = dimension else {
            let names: Vec<&str> = By::ALL
                .into_iter()
                .filter(|by| *by != By::Hour)
                .map(By::name)
                .collect();
            return Err(ReportError::Parameter(format!(
                "group_by: must be a list of {}; there are no hours, because a bill is of days",
                names.join(", ")
            )));
        };
        if !by.contains(&dimension) {
            by.push(dimension);
        }
    }
    Ok(by)
}

/// A column of a dimension.
pub(super) const fn dimension(by: By) -> Column {
    let name = match by {
        By::Month => PERIOD,
        by => by.name(),
    };
    let help = match by {
        By::Month => "The month in the zone.",
        By::Day => "The day in the zone.",
        By::User => "Who used it, after the directory.",
        By::Team => "The team; empty where none is known.",
        By::Project => "The project; empty where none is known.",
        By::CostCenter => "The cost center; empty where none is known.",
        By::Provider => "Who sells it: anthropic, bedrock, vertex, ...",
        By::Model => "The model under its canonical name.",
        By::Scope => "Where a request may be served, as prices tell it apart.",
        By::Context => "The size of the context, as prices tell it apart.",
        _ => "Empty where nothing is known.",
    };
    Column::of(name, Kind::Text, help)
}

pub(super) const CHARGE: Column = Column::of(
    "charge",
    Kind::Text,
    "Usage, Unallocated (billed, but nobody is known who used it), Other usage, Credit, \
           Refund, Tax, Fee, or Unclassified.",
);

pub(super) const TOKEN_TYPE: Column = Column::of(
    "token_type",
    Kind::Text,
    "The kind of token; empty where a charge is not for one kind.",
);

pub(super) const TOKENS: Column =
    Column::summed("tokens", Kind::Count, "Tokens that were counted.");

pub(super) const REQUESTS: Column = Column::summed(
    "requests",
    Kind::Count,
    "Requests; told on the first kind of token of a group, so that they add up.",
);

pub(super) const LIST: Column = Column::summed(
    "list_cost_usd",
    Kind::Money,
    "What the tokens cost at list prices.",
);

pub(super) const ESTIMATE: Column = Column::summed(
    "estimated_cost_usd",
    Kind::Money,
    "tallyd's estimate from its price table, contract included; empty where no price is known.",
);

pub(super) const ACTUAL: Column = Column::summed(
    "actual_cost_usd",
    Kind::Money,
    "What was billed; empty where nothing has been billed yet.",
);

pub(super) const METHOD: Column = Column::of(
    "allocation_method",
    Kind::Text,
    "direct: the bill tells the person; by_estimate, by_tokens: the bill of a provider, \
           model, UTC day and kind is shared in that proportion; unallocated; mixed.",
);

pub(super) const STATUS: Column = Column::of(
    "status",
    Kind::Text,
    "How sure the actual cost is: provisional, final or closed.",
);

pub(super) const SHARE: Column = Column::of(
    "allocation_share",
    Kind::Ratio,
    "The part of all usage billed in the report.",
);

fn columns(by: &[By]) -> Vec<Column> {
    let mut columns: Vec<Column> = by.iter().copied().map(dimension).collect();
    columns.extend([
        CHARGE, TOKEN_TYPE, TOKENS, REQUESTS, LIST, ESTIMATE, ACTUAL, METHOD, SHARE, STATUS,
    ]);
    columns
}

#[derive(Debug)]
struct Lines {
    costs: Costs,
    /// What was billed for usage in all.
    usage: i128,
}

impl Lines {
    fn new(costs: Costs) -> Self {
        let rows = &costs.rows;
        let usage =
            (0..rows.len()).filter(|row| &**rows.charge(*row) == charge_name(Charge::Tokens));
        let usage = usage.map(|row| rows.sums(row).actual).sum();
        Self { costs, usage }
    }

    fn share(&self, charge: &str, sums: &Sums) -> Cell {
        if charge != charge_name(Charge::Tokens) || !sums.marks.is_billed() {
            return Cell::Empty;
        }
        part(sums.actual, self.usage)
    }
}

/// A part of all usage that was billed; empty where that is nothing.
pub(super) fn part(amount: i128, of: i128) -> Cell {
    if of <= 0 {
        return Cell::Empty;
    }
    let part = amount.saturating_mul(WHOLE) / of;
    i64::try_from(part).map_or(Cell::Empty, Cell::Ratio)
}

/// The cells of tokens, requests, list, estimate and actual cost.
pub(super) fn figures(charge: &str, sums: &Sums) -> [Cell; 5] {
    let actual = if sums.marks.is_billed() {
        Cell::Money(PicoUsd(sums.actual))
    } else {
        Cell::Empty
    };
    if charge != charge_name(Charge::Tokens) {
        return [Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty, actual];
    }
    let unpriced = sums.unpriced > 0 && sums.unpriced >= sums.tokens;
    let money = |amount| match amount {
        0 if unpriced => Cell::Empty,
        amount => Cell::Money(PicoUsd(amount)),
    };
    [
        Cell::Count(sums.tokens.into()),
        Cell::Count(sums.requests.into()),
        money(sums.list),
        money(sums.estimate),
        actual,
    ]
}

impl Rows for Lines {
    fn len(&self) -> usize {
        self.costs.rows.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        let rows = &self.costs.rows;
        let (sums, charge) = (rows.sums(index), rows.charge(index));
        let mut cells = Filling::new(cells);
        for key in rows.keys(index) {
            cells.text(key);
        }
        cells.text(charge);
        cells.text(rows.kind(index));
        for figure in figures(charge, &sums) {
            cells.push(figure);
        }
        match rows.method(&sums) {
            Some(method) => cells.text(method),
            None => cells.push(Cell::Empty),
        }
        cells.push(self.share(charge, &sums));
        cells.text(rows.standing(&sums));
        cells.end();
    }
}

/// What was billed in other currencies than USD. Amounts are not added up.
pub(super) fn foreign_table(foreign: &[Foreign]) -> Table {
    let text = |name, help| Column::of(name, Kind::Text, help);
    let cells = |line: &Foreign| {
        let text = |text: &str| Cell::Text(text.into());
        vec![
            text(&line.currency),
            text(&line.provider),
            text(&line.account),
            text(charge_name(line.charge)),
            // Exact text: a column of money would be rounded and added up as dollars.
            text(&line.amount.to_string()),
        ]
    };
    let rows: Vec<Vec<Cell>> = foreign.iter().map(cells).collect();
    Table {
        name: "other_currencies",
        columns: vec![
            text("currency", "ISO 4217 code of the amount."),
            text("provider", "Whose bill it is."),
            text("account", "The account that pays."),
            CHARGE,
            text("amount", "What was billed, exact, in the currency."),
        ],
        rows: Box::new(rows),
    }
}
