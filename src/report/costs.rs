//! Estimate and bill of a period, brought together row by row: what chargeback and the detail of
//! cost are made from.
//!
//! Provider bills know UTC days only and are never cut anew: a report of days in another zone
//! takes the bill of the UTC days with the same dates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::sheet::Ordered;
use super::{Manifest, ReportError, Reports, Request};
use crate::model::bill::{Basis, BillDay, Charge, Standing};
use crate::model::cost::By;
use crate::model::money::PicoUsd;
use crate::model::rates::USD;
use crate::model::window::day_start;

mod billed;
mod parts;
mod work;

use parts::Part;

pub(super) use parts::in_parts;

/// The rows of a period.
#[derive(Debug)]
pub struct Costs {
    pub rows: Ordered,
    /// What the bill says in all in USD; `None` if there is no bill.
    pub actual: Option<PicoUsd>,
    /// What was billed in other currencies; it is in no row.
    pub foreign: Vec<Foreign>,
    pub standing: Standing,
}

/// An amount of a bill that is not in USD.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    pub currency: Box<str>,
    pub provider: Box<str>,
    pub account: Box<str>,
    pub charge: Charge,
    /// In 1e-12 of the currency.
    pub amount: PicoUsd,
}

/// The UTC days whose bill belongs to a period: those with the dates of its days in its zone.
#[must_use]
pub fn billed_days(from: Timestamp, to: Timestamp, zone: &TimeZone) -> (Date, Date) {
    let date = |at: Timestamp| at.to_zoned(zone.clone()).date();
    let last = date(to);
    let end = if day_start(last, zone) < to {
        last.saturating_add(1.day())
    } else {
        last
    };
    (date(from), end)
}

/// Brings estimate and bill together, told apart by `by`, which has no hours in it, and adds to
/// the manifest what a reader must know.
pub async fn costs(
    reports: &Reports,
    request: &Request,
    by: &[By],
    manifest: &mut Manifest,
) -> Result<Costs, ReportError> {
    let days = billed_days(request.from, request.to, &request.zone);
    let bill = reports.ledger.bill(days.0, days.1).await?;
    let foreign = foreign(&bill, request.basis);
    let Part {
        sheet,
        unpriced,
        shared,
    } = parts::read(reports, request, by, &bill).await?;
    note(manifest, &bill, days, unpriced, &foreign);
    let providers = bill.iter().flat_map(|day| {
        let lines = day.lines.iter().map(|line| &*line.provider);
        lines.chain([&*day.provider]).map(Arc::from)
    });
    let providers: BTreeSet<Arc<str>> = providers.collect();
    let standing = if note_unbilled(manifest, &shared.unbilled, &providers) {
        Standing::Provisional
    } else {
        shared.marks.least()
    };
    Ok(Costs {
        rows: sheet.finish(by.len()),
        actual: (!bill.is_empty()).then_some(PicoUsd(shared.actual)),
        foreign,
        standing,
    })
}

/// What was billed in other currencies.
pub(super) fn foreign(bill: &[BillDay], basis: Basis) -> Vec<Foreign> {
    let mut sums: BTreeMap<(&str, &str, &str, Charge), i128> = BTreeMap::new();
    for line in bill.iter().flat_map(|day| &day.lines) {
        if *line.currency != *USD {
            let key = (
                &*line.currency,
                &*line.provider,
                &*line.account,
                line.charge,
            );
            *sums.entry(key).or_default() += line.amounts.on(basis).0;
        }
    }
    sums.into_iter()
        .map(|((currency, provider, account, charge), amount)| Foreign {
            currency: currency.into(),
            provider: provider.into(),
            account: account.into(),
            charge,
            amount: PicoUsd(amount),
        })
        .collect()
}

/// Tells where the bill comes from, and what is missing.
pub(super) fn note(
    manifest: &mut Manifest,
    bill: &[BillDay],
    (from, to): (Date, Date),
    unpriced: u64,
    foreign: &[Foreign],
) {
    let mut read: BTreeMap<String, Timestamp> = BTreeMap::new();
    for day in bill {
        let at = read
            .entry(format!("bill_{}", day.source))
            .or_insert(day.pulled_at);
        *at = (*at).max(day.pulled_at);
    }
    manifest
        .watermarks
        .push(("usage".to_owned(), manifest.made_at));
    manifest.watermarks.extend(read);
    let notes = &mut manifest.notes;
    if unpriced > 0 {
        notes.push(format!(
            "{unpriced} tokens have no price and are in no estimate; `tallyd prices missing` \
             lists them"
        ));
    }
    if bill.is_empty() {
        notes.push(format!(
            "no bill for {from} to {to}: actual cost is not known, only estimates"
        ));
        return;
    }
    notes.push(format!(
        "the bill is of the UTC days from {from} up to, not including, {to}"
    ));
    if !foreign.is_empty() {
        notes.push(
            "some of the bill is not in USD: it stands in a table of its own and is in no total"
                .to_owned(),
        );
    }
}

/// Days with usage and without a bill, by provider.
type Unbilled = BTreeMap<Arc<str>, BTreeSet<Date>>;

/// Tells of usage that was not billed. Returns true if a provider that has a bill lacks some of
/// it.
fn note_unbilled(
    manifest: &mut Manifest,
    unbilled: &Unbilled,
    billed: &BTreeSet<Arc<str>>,
) -> bool {
    let mut lacks = false;
    for (provider, days) in unbilled {
        let (Some(first), Some(last)) = (days.first(), days.last()) else {
            continue;
        };
        let count = days.len();
        lacks |= billed.contains(provider);
        manifest.notes.push(if billed.contains(provider) {
            format!(
                "{provider} was used on {count} days from {first} to {last} of which there is no \
                 bill yet: their actual cost is not in the report"
            )
        } else {
            format!("there is no bill of {provider}: only its estimate is in the report")
        });
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_of_a_period_is_of_the_same_dates() {
        let tokyo = TimeZone::get("Asia/Tokyo").expect("the zone is bundled");
        let days = |from: &str, to: &str| {
            let at = |text: &str| text.parse().expect("a time");
            let (from, to) = billed_days(at(from), at(to), &tokyo);
            format!("{from} {to}")
        };
        assert_eq!(
            days("2026-10-31T15:00:00Z", "2026-11-30T15:00:00Z"),
            "2026-11-01 2026-12-01"
        );
        assert_eq!(
            days("2026-10-31T15:00:00Z", "2026-11-30T15:00:01Z"),
            "2026-11-01 2026-12-02"
        );
    }
}
