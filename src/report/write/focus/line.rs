//! What was charged for one kind of token of one group on one UTC day.

use std::sync::Arc;

use jiff::civil::Date;

use crate::model::bill::{Charge, PricedKind};
use crate::model::money::PicoUsd;
use crate::report::{Cell, Table};

/// A row of FOCUS before it is written. Empty texts are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// UTC.
    pub day: Date,
    pub charge: Charge,
    /// `bedrock`, `vertex`, `anthropic`, ...
    pub provider: Arc<str>,
    pub account: Arc<str>,
    pub model: Arc<str>,
    pub kind: Option<PricedKind>,
    pub scope: Arc<str>,
    pub region: Arc<str>,
    pub tier: Arc<str>,
    pub context: Arc<str>,
    pub team: Arc<str>,
    pub project: Arc<str>,
    pub cost_center: Arc<str>,
    pub user: Arc<str>,
    pub tokens: Option<i128>,
    /// At list prices, and at the prices agreed on.
    pub list: Option<PicoUsd>,
    pub estimate: Option<PicoUsd>,
    /// What was billed, where there is a bill.
    pub actual: Option<PicoUsd>,
    /// How a bill came to this line.
    pub allocation: Arc<str>,
    pub is_unallocated: bool,
}

impl Line {
    /// Something was used, though it may not be known how much.
    #[must_use]
    pub(super) const fn is_usage(&self) -> bool {
        matches!(
            self.charge,
            Charge::Tokens | Charge::OtherUsage | Charge::Unclassified
        )
    }

    /// What the invoice has, or the estimate where there is no bill; `None` if nobody knows.
    #[must_use]
    pub(super) fn billed(&self) -> Option<PicoUsd> {
        self.actual.or(self.estimate)
    }

    /// The same: nothing is paid in advance here that would have to be spread.
    #[must_use]
    pub(super) fn effective(&self) -> Option<PicoUsd> {
        self.billed()
    }

    /// Quantity times the price agreed on; what was billed where there is no such price.
    #[must_use]
    pub(super) fn contracted(&self) -> Option<PicoUsd> {
        self.priced()
            .then_some(self.estimate)
            .flatten()
            .or_else(|| self.billed())
    }

    /// Quantity times the list price; what was billed where there is no such price.
    #[must_use]
    pub(super) fn list(&self) -> Option<PicoUsd> {
        self.priced()
            .then_some(self.list)
            .flatten()
            .or_else(|| self.contracted())
    }

    fn priced(&self) -> bool {
        self.is_usage() && self.tokens.is_some_and(|tokens| tokens > 0)
    }

    /// What the price is for: tokens, or one of what has no count. Credits and taxes have none.
    #[must_use]
    pub(super) fn quantity(&self) -> Option<i128> {
        match self.charge {
            Charge::Tokens | Charge::OtherUsage | Charge::Unclassified => {
                Some(self.tokens.filter(|tokens| *tokens > 0).unwrap_or(1))
            }
            Charge::Credit | Charge::Refund | Charge::Tax | Charge::Fee => None,
        }
    }
}

/// Where the columns of chargeback are that a line is made of; `None` where it has none.
#[derive(Debug)]
pub(super) struct Places {
    day: Option<usize>,
    charge: Option<usize>,
    texts: [Option<usize>; 12],
    kind: Option<usize>,
    tokens: Option<usize>,
    list: Option<usize>,
    estimate: Option<usize>,
    actual: Option<usize>,
}

impl Places {
    pub(super) fn of(table: &Table) -> Self {
        let place = |name: &str| table.columns.iter().position(|column| column.name == name);
        Self {
            day: place("day"),
            charge: place("charge"),
            texts: [
                "provider",
                "account",
                "model",
                "scope",
                "region",
                "tier",
                "context",
                "team",
                "project",
                "cost_center",
                "user",
                "allocation_method",
            ]
            .map(place),
            kind: place("token_type"),
            tokens: place("tokens"),
            list: place("list_cost_usd"),
            estimate: place("estimated_cost_usd"),
            actual: place("actual_cost_usd"),
        }
    }

    /// Reads a row; `None` for one without a day.
    pub(super) fn line(&self, cells: &[Cell]) -> Option<Line> {
        let text = |place: Option<usize>| match place.map(|place| &cells[place]) {
            Some(Cell::Text(text)) => text.clone(),
            _ => "".into(),
        };
        let money = |place: Option<usize>| match place.map(|place| &cells[place]) {
            Some(Cell::Money(amount)) => Some(*amount),
            _ => None,
        };
        let day = match self.day.map(|place| &cells[place]) {
            Some(Cell::Date(day)) => *day,
            Some(Cell::Text(day)) => day.parse().ok()?,
            _ => return None,
        };
        let charge = text(self.charge);
        let [
            provider,
            account,
            model,
            scope,
            region,
            tier,
            context,
            team,
            project,
            cost_center,
            user,
            allocation,
        ] = self.texts.map(text);
        Some(Line {
            day,
            charge: charge_of(&charge),
            provider,
            account,
            model,
            kind: PricedKind::parse(&text(self.kind)),
            scope,
            region,
            tier,
            context,
            team,
            project,
            cost_center,
            user,
            tokens: match self.tokens.map(|place| &cells[place]) {
                Some(Cell::Count(count)) => Some(*count),
                _ => None,
            },
            list: money(self.list),
            estimate: money(self.estimate),
            actual: money(self.actual),
            allocation,
            is_unallocated: &*charge == UNALLOCATED,
        })
    }
}

/// What was billed and nobody is known to have used.
const UNALLOCATED: &str = "Unallocated";

/// What a row of chargeback is for, by its name there.
fn charge_of(name: &str) -> Charge {
    match name {
        "" | "Usage" | UNALLOCATED => Charge::Tokens,
        "Other usage" => Charge::OtherUsage,
        "Credit" => Charge::Credit,
        "Refund" => Charge::Refund,
        "Tax" => Charge::Tax,
        "Fee" | "Fixed" => Charge::Fee,
        _ => Charge::Unclassified,
    }
}
