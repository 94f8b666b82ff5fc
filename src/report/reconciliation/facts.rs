//! What a bill tells besides amounts: quantities, units, and when it was read.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::model::bill::{Basis, BillDay, BillLine, PricedKind};
use crate::model::money::{PICO_DIGITS, parse_decimal};
use crate::report::reconcile::Key;
use crate::report::sheet::charge_name;

/// What the bill tells of a key besides amounts.
#[derive(Clone, Debug, Default)]
pub(super) struct Fact {
    /// In 1e-12 of the unit; `None` if it cannot be read.
    pub(super) quantity: Option<i128>,
    /// Empty if there are several.
    pub(super) unit: Arc<str>,
    pub(super) estimated: bool,
    pub(super) pulled_at: Option<Timestamp>,
    pub(super) revision: u32,
    /// Unblended, net and blended.
    pub(super) amounts: [i128; 3],
}

/// By day, account, model, charge and kind: what is left when a side leaves places out.
type FactKey = (
    Date,
    Arc<str>,
    Arc<str>,
    Arc<str>,
    &'static str,
    &'static str,
    Arc<str>,
    Arc<str>,
);

#[derive(Debug, Default)]
pub(super) struct Facts(HashMap<FactKey, Fact>);

fn fact_key(key: &Key) -> FactKey {
    (
        key.day,
        key.provider.clone(),
        key.account.clone(),
        key.model.clone(),
        charge_name(key.charge),
        key.kind.map_or("", PricedKind::name),
        key.geo.clone(),
        key.tier.clone(),
    )
}

impl Facts {
    pub(super) fn of(&self, key: &Key) -> Option<&Fact> {
        self.0.get(&fact_key(key))
    }

    /// Adds a line under its own place, and under the one where places are left out.
    pub(super) fn add(&mut self, key: &Key, day: &BillDay, line: &BillLine) {
        let whole = Key {
            geo: "".into(),
            tier: "".into(),
            ..key.clone()
        };
        let new = Fact {
            quantity: parse_decimal(&line.quantity, PICO_DIGITS).ok(),
            unit: Arc::from(&*line.unit),
            estimated: day.estimated,
            pulled_at: Some(day.pulled_at),
            revision: day.revision,
            amounts: Basis::ALL.map(|basis| line.amounts.on(basis).0),
        };
        for key in [key.clone(), whole] {
            match self.0.get_mut(&fact_key(&key)) {
                Some(fact) => fact.add(&new),
                None => {
                    self.0.insert(fact_key(&key), new.clone());
                }
            }
        }
    }
}

impl Fact {
    pub(super) fn add(&mut self, other: &Self) {
        if self.unit == other.unit {
            let sum = |a: i128, b: i128| a.checked_add(b);
            self.quantity = self
                .quantity
                .zip(other.quantity)
                .and_then(|(a, b)| sum(a, b));
        } else {
            self.quantity = None;
            self.unit = "".into();
        }
        self.estimated |= other.estimated;
        self.pulled_at = self.pulled_at.max(other.pulled_at);
        self.revision = self.revision.max(other.revision);
        for (sum, more) in self.amounts.iter_mut().zip(other.amounts) {
            *sum += more;
        }
    }
}
