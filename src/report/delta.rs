//! How much of the bill the estimate does not explain, by provider: one number for an alarm.
//!
//! What it is made of, the report `reconciliation` tells.
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::model::bill::{Basis, BillDay, Charge, PricedKind};
use crate::model::cost::By;
use crate::model::money::PicoUsd;
use crate::store::{Ledger, QueryError};

/// UTC days before today that are compared, half-open: a day is settled after two, and a week has
/// one of each weekday.
const DAYS_AGO: [i64; 2] = [9, 2];

/// A billed day of a provider.
type PerDay = BTreeMap<(Date, Box<str>), PicoUsd>;

/// What a provider billed for tokens, and what the estimate says of the same days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub billed: PicoUsd,
    pub estimated: PicoUsd,
}

/// Compares the settled days of the last nine that have a bill, by provider.
pub async fn compared(
    ledger: &Ledger,
    now: Timestamp,
) -> Result<BTreeMap<Box<str>, Compared>, QueryError> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let [from, to] = DAYS_AGO.map(|days| today.saturating_sub(days.days()));
    let billed = billed(&ledger.bill(from, to).await?);
    if billed.is_empty() {
        return Ok(BTreeMap::new());
    }
    let estimated = ledger.cost_days(
        (from, to),
        vec![By::Provider],
        PerDay::new(),
        |all, day, groups| {
            for rows in &day.parts {
                let provider = groups.key(day.groups[rows.start], By::Provider);
                let kinds = PricedKind::ALL.into_iter();
                let estimates = kinds.filter_map(|kind| Some(day.uses(kind, rows)?.1));
                let amount = estimates.flatten().copied().map(i128::from).sum();
                add(all, (day.date, provider.into()), PicoUsd(amount));
            }
        },
    );
    let estimated = estimated.await?;
    Ok(together(billed, &estimated))
}

fn add(all: &mut PerDay, key: (Date, Box<str>), amount: PicoUsd) {
    let sum = all.entry(key).or_default();
    sum.0 = sum.0.saturating_add(amount.0);
}

/// What was billed in USD for tokens.
fn billed(days: &[BillDay]) -> PerDay {
    let mut all = PerDay::new();
    for line in days.iter().flat_map(|day| &day.lines) {
        if line.charge == Charge::Tokens && *line.currency == *"USD" {
            let key = (line.day, line.provider.clone());
            add(&mut all, key, line.amounts.on(Basis::Unblended));
        }
    }
    all
}

/// Only days that are billed are compared: without a bill nothing is known of a day.
fn together(billed: PerDay, estimated: &PerDay) -> BTreeMap<Box<str>, Compared> {
    let mut all: BTreeMap<Box<str>, Compared> = BTreeMap::new();
    for (key, amount) in billed {
        let estimate = estimated.get(&key).copied().unwrap_or_default();
        let sums = all.entry(key.1).or_default();
        sums.billed.0 = sums.billed.0.saturating_add(amount.0);
        sums.estimated.0 = sums.estimated.0.saturating_add(estimate.0);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bill::{Amounts, BillLine, BilledSku};

    fn line(day: &str, charge: Charge, currency: &str, amount: i128) -> BillLine {
        BillLine {
            provider: "bedrock".into(),
            account: "111111111111".into(),
            day: day.parse().unwrap(),
            charge,
            sku: BilledSku::default(),
            service: "".into(),
            usage_type: "".into(),
            user: None,
            quantity: "".into(),
            unit: "".into(),
            tokens: None,
            currency: currency.into(),
            amounts: Amounts {
                unblended: Some(PicoUsd(amount)),
                ..Amounts::default()
            },
        }
    }

    #[test]
    fn only_tokens_in_usd_of_billed_days_are_compared() {
        let bill = BillDay {
            source: "cost_explorer".into(),
            provider: "bedrock".into(),
            account: "111111111111".into(),
            day: "2026-11-20".parse().unwrap(),
            estimated: false,
            revision: 1,
            pulled_at: Timestamp::UNIX_EPOCH,
            lines: vec![
                line("2026-11-20", Charge::Tokens, "USD", 70),
                line("2026-11-20", Charge::Tokens, "USD", 30),
                line("2026-11-20", Charge::Tokens, "EUR", 1_000),
                line("2026-11-20", Charge::Tax, "USD", 1_000),
            ],
        };
        let day = |day: &str, provider: &str| (day.parse().unwrap(), provider.into());
        let estimated = PerDay::from([
            (day("2026-11-20", "bedrock"), PicoUsd(80)),
            (day("2026-11-21", "bedrock"), PicoUsd(500)),
            (day("2026-11-20", "vertex"), PicoUsd(500)),
        ]);
        assert_eq!(
            together(billed(&[bill]), &estimated),
            BTreeMap::from([(
                "bedrock".into(),
                Compared {
                    billed: PicoUsd(100),
                    estimated: PicoUsd(80),
                }
            )])
        );
    }
}
