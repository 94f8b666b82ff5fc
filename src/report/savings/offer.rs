//! A model at its prices, for all requests between two changes of the price table.
#![deny(clippy::float_arithmetic)]

use jiff::Timestamp;

use crate::model::money::PicoUsd;
use crate::model::price::{UnitPrices, WriteLifetime};
use crate::model::tokens::Tokens;
use crate::model::usage::Sku;
use crate::store::Terms;

/// Looking prices up for each request would take longer than reading it.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) sku: Sku,
    pub(super) prices: UnitPrices,
    pub(super) write: WriteLifetime,
}

impl Offer {
    pub(super) fn new(sku: Sku, at: Timestamp, terms: &Terms) -> Self {
        Self {
            prices: terms.prices.unit(&sku, at).unwrap_or_default(),
            write: terms.write_lifetime(&sku.provider),
            sku,
        }
    }

    /// What tokens cost; `None` if some of them have no price.
    pub(super) fn cost(&self, tokens: &Tokens) -> Option<PicoUsd> {
        self.prices.cost(tokens, self.write).cost
    }
}
