//! What was charged for one kind of token of one group on one UTC day.

use std::sync::Arc;

use jiff::civil::Date;

use crate::model::bill::{Charge, PricedKind};
use crate::model::money::PicoUsd;

/// A row of FOCUS before it is written. Empty texts are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
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
    pub status: Arc<str>,
    /// For whoever reads the description.
    pub note: Arc<str>,
}

impl Line {
    /// Something was used, though it may not be known how much.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self.charge,
            Charge::Tokens | Charge::OtherUsage | Charge::Unclassified
        )
    }

    /// What the invoice has, or the estimate where there is no bill; `None` if nobody knows.
    #[must_use]
    pub fn billed(&self) -> Option<PicoUsd> {
        self.actual.or(self.estimate)
    }

    /// The same: nothing is paid in advance here that would have to be spread.
    #[must_use]
    pub fn effective(&self) -> Option<PicoUsd> {
        self.billed()
    }

    /// Quantity times the price agreed on; what was billed where there is no such price.
    #[must_use]
    pub fn contracted(&self) -> Option<PicoUsd> {
        self.priced().then_some(self.estimate).flatten().or_else(|| self.billed())
    }

    /// Quantity times the list price; what was billed where there is no such price.
    #[must_use]
    pub fn list(&self) -> Option<PicoUsd> {
        self.priced().then_some(self.list).flatten().or_else(|| self.contracted())
    }

    fn priced(&self) -> bool {
        self.is_usage() && self.tokens.is_some_and(|tokens| tokens > 0)
    }

    /// What the price is for: tokens, or one of what has no count. Credits and taxes have none.
    #[must_use]
    pub fn quantity(&self) -> Option<i128> {
        match self.charge {
            Charge::Tokens | Charge::OtherUsage | Charge::Unclassified => {
                Some(self.tokens.unwrap_or(1))
            }
            Charge::Fee => Some(1),
            Charge::Credit | Charge::Refund | Charge::Tax => None,
        }
    }
}
