//! What the bill shows as metrics.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::account::{Plan, Reading, SOURCE};
use crate::model::bill::{BillDay, Charge};
use crate::model::catalogue;
use crate::model::money::PicoUsd;
use crate::registry::Sample;
use crate::store::QueryError;

/// Days that are shown by themselves, today included.
const DAYS: i64 = 14;

/// Models that are shown by name.
const MAX_MODELS: usize = 20;

const OTHER: &str = "other";

/// The part that is worked out anew only when the bill or the day has changed.
#[derive(Debug, Default)]
pub(super) struct Sums {
    of: Option<(u64, Date)>,
    samples: Vec<Sample>,
}

/// All samples of a look.
pub(super) async fn all(
    sums: &mut Sums,
    readings: &[Reading],
    plan: &Plan,
    now: Timestamp,
) -> Result<Vec<Sample>, QueryError> {
    let ledger = &plan.meter.ledger;
    let today = now.to_zoned(TimeZone::UTC).date();
    let of = Some((ledger.bill_mark().await?, today));
    if sums.of != of {
        let from = today.first_of_month().saturating_sub(1.month());
        let days = ledger.bill(from, today.saturating_add(1.day())).await?;
        sums.samples = [actual(&days, today), unclassified(&days)].concat();
        sums.of = of;
    }
    let mut samples = sums.samples.clone();
    for (account, at) in ledger.bill_pulled(SOURCE).await? {
        samples.push(Sample {
            desc: catalogue::BILL_PULLED,
            labels: vec![account],
            value: at.as_millisecond() as f64 / 1_000.0,
        });
    }
    for reading in readings {
        samples.push(Sample {
            desc: catalogue::BILL_ACCOUNT_SUCCESS,
            labels: vec![reading.account.clone()],
            value: f64::from(u8::from(reading.failure.is_none())),
        });
    }
    for (desc, value) in [
        (catalogue::BILL_CALLS, ledger.bill_calls(now).await?),
        (catalogue::BILL_MAX_CALLS, plan.meter.max_calls),
    ] {
        samples.push(Sample {
            desc,
            labels: Vec::new(),
            value: value as f64,
        });
    }
    Ok(samples)
}

/// What usage was billed at, by day, provider and model.
fn actual(days: &[BillDay], today: Date) -> Vec<Sample> {
    let from = today.saturating_sub((DAYS - 1).days());
    let mut by_model: BTreeMap<&str, PicoUsd> = BTreeMap::new();
    let mut costs: BTreeMap<(Date, &str, &str), PicoUsd> = BTreeMap::new();
    let add = |sum: &mut PicoUsd, cost| *sum = sum.checked_add(cost).unwrap_or(*sum);
    let lines = days.iter().flat_map(|day| &day.lines);
    let usage = |charge| {
        matches!(
            charge,
            Charge::Tokens | Charge::OtherUsage | Charge::Unclassified
        )
    };
    for line in lines.filter(|line| line.day >= from && usage(line.charge)) {
        let Some(cost) = line.amounts.unblended.filter(|_| *line.currency == *"USD") else {
            continue;
        };
        let model = line.sku.model.as_deref().unwrap_or("unknown");
        add(by_model.entry(model).or_default(), cost);
        add(
            costs.entry((line.day, &line.provider, model)).or_default(),
            cost,
        );
    }
    let mut dearest: Vec<_> = by_model.into_iter().collect();
    dearest.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    dearest.truncate(MAX_MODELS);
    let mut shown: BTreeMap<(Date, &str, &str), PicoUsd> = BTreeMap::new();
    for ((day, provider, model), cost) in costs {
        let is_shown = dearest.iter().any(|(dear, _)| *dear == model);
        let model = if is_shown { model } else { OTHER };
        add(shown.entry((day, provider, model)).or_default(), cost);
    }
    let sample = |((day, provider, model), cost): ((Date, &str, &str), PicoUsd)| Sample {
        desc: catalogue::ACTUAL_COST,
        labels: vec![day.to_string(), provider.to_owned(), model.to_owned()],
        value: cost.0 as f64 / 1e12,
    };
    shown.into_iter().map(sample).collect()
}

/// What is not understood, by provider and currency. A provider without any shows zero, so that an
/// alarm can tell it from silence.
fn unclassified(days: &[BillDay]) -> Vec<Sample> {
    let mut sums: BTreeMap<(&str, &str), PicoUsd> = BTreeMap::new();
    for line in days.iter().flat_map(|day| &day.lines) {
        let sum = sums.entry((&line.provider, &line.currency)).or_default();
        let cost = line.amounts.unblended.unwrap_or_default();
        if line.charge == Charge::Unclassified {
            *sum = sum.checked_add(cost).unwrap_or(*sum);
        }
    }
    let sample = |((provider, currency), cost): ((&str, &str), PicoUsd)| Sample {
        desc: catalogue::BILL_UNCLASSIFIED,
        labels: vec![provider.to_owned(), currency.to_owned()],
        value: cost.0 as f64 / 1e12,
    };
    sums.into_iter().map(sample).collect()
}
