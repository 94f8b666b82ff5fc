//! All costs of a range: usage as it was billed, or as it is estimated where no bill is, and what
//! is paid whoever uses it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::super::{ReportError, Reports};
use crate::model::bill::{Basis, BillDay, Standing};
use crate::model::business::Assumptions;
use crate::model::cost::{By, CostLines, CostQuery};
use crate::model::money::{PicoUsd, divide_half_even, share_out};

/// What usage cost, by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageCost {
    pub groups: BTreeMap<String, PicoUsd>,
    /// Billed, but nobody's: no usage is known of that day and provider.
    pub unallocated: PicoUsd,
    /// What of the sum was billed, and what is estimated.
    pub billed: PicoUsd,
    pub estimated: PicoUsd,
    /// Tokens of estimated days without a price: the cost is too low then.
    pub unpriced: u64,
    /// Currencies of billed lines that are in no sum.
    pub foreign: BTreeSet<String>,
    /// False while a billed day may still change, or anything is estimated.
    pub is_final: bool,
}

impl UsageCost {
    #[must_use]
    pub fn total(&self) -> PicoUsd {
        PicoUsd(self.billed.0.saturating_add(self.estimated.0))
    }
}

/// Estimates of one UTC day of a provider: groups with their cost.
type Days = BTreeMap<(String, String), BTreeMap<String, i128>>;

/// Reads what usage cost; `group` names the group of a person in a team.
pub async fn of_usage(
    reports: &Reports,
    from: Timestamp,
    to: Timestamp,
    basis: Basis,
    by: &[By],
    group: impl Fn(&CostLines, u32) -> String,
) -> Result<UsageCost, ReportError> {
    let mut all = vec![By::Day, By::Provider];
    all.extend_from_slice(by);
    let query = CostQuery {
        from,
        to,
        zone: TimeZone::UTC,
        by: all,
    };
    let lines = reports.ledger.cost_lines(query).await?;
    let mut days = Days::new();
    let mut unpriced: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in &lines.lines {
        let key = |by| lines.key(line.group, by).to_owned();
        let day = (key(By::Day), key(By::Provider));
        *unpriced.entry(day.clone()).or_default() += line.unpriced;
        let groups = days.entry(day).or_default();
        *groups.entry(group(&lines, line.group)).or_default() += line.estimate.0;
    }
    let bill = reports.ledger.bill(first_day(from), first_day(to)).await?;
    Ok(settle(&days, &unpriced, &bill, basis))
}

/// The first UTC day that begins at a time or after it.
fn first_day(at: Timestamp) -> Date {
    let zoned = at.to_zoned(TimeZone::UTC);
    let begins = zoned.start_of_day().is_ok_and(|start| start == zoned);
    let day = zoned.date();
    if begins {
        return day;
    }
    day.checked_add(1.day()).unwrap_or(day)
}

/// Puts the bill in the place of the estimate wherever there is one.
fn settle(
    days: &Days,
    unpriced: &BTreeMap<(String, String), u64>,
    bill: &[BillDay],
    basis: Basis,
) -> UsageCost {
    let mut cost = UsageCost {
        is_final: true,
        ..UsageCost::default()
    };
    let mut billed: BTreeMap<(String, String), i128> = BTreeMap::new();
    for day in bill {
        cost.is_final &= day.standing() == Standing::Final;
        for line in &day.lines {
            if &*line.currency != "USD" {
                cost.foreign.insert(line.currency.to_string());
                continue;
            }
            let key = (line.day.to_string(), line.provider.to_string());
            *billed.entry(key).or_default() += line.amounts.on(basis).0;
        }
    }
    for (day, amount) in &billed {
        cost.billed.0 += amount;
        let groups = days.get(day);
        let weights: Vec<i128> = groups.iter().flat_map(|groups| groups.values().copied()).collect();
        let Some((groups, parts)) = groups.zip(share_out(*amount, &weights)) else {
            cost.unallocated.0 += amount;
            continue;
        };
        for (group, part) in groups.keys().zip(parts) {
            cost.groups.entry(group.clone()).or_default().0 += part;
        }
    }
    for (day, groups) in days.iter().filter(|(day, _)| !billed.contains_key(*day)) {
        cost.is_final = false;
        cost.unpriced += unpriced.get(day).copied().unwrap_or(0);
        for (group, amount) in groups {
            cost.estimated.0 += amount;
            cost.groups.entry(group.clone()).or_default().0 += amount;
        }
    }
    cost
}

/// What is paid each month, for the days of a range: each day is its part of its month.
#[must_use]
pub fn monthly(amount: PicoUsd, from: Timestamp, to: Timestamp, zone: &TimeZone) -> PicoUsd {
    let mut total = 0_i128;
    let mut start = from;
    while start < to {
        let zoned = start.to_zoned(zone.clone());
        let Some((first, next)) = month_of(zoned.date(), zone) else {
            break;
        };
        let end = next.min(to);
        let (part, whole) = (
            i128::from(end.as_second() - start.as_second()),
            i128::from(next.as_second() - first.as_second()),
        );
        total = total.saturating_add(divide_half_even(amount.0.saturating_mul(part), whole));
        start = end;
    }
    PicoUsd(total)
}

fn month_of(day: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let begin = |day: Date| {
        let zoned = day.to_zoned(zone.clone()).ok()?;
        Some(zoned.start_of_day().ok()?.timestamp())
    };
    let first = day.first_of_month();
    Some((begin(first)?, begin(first.checked_add(1.month()).ok()?)?))
}

/// One kind of cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostItem {
    pub name: &'static str,
    pub amount: PicoUsd,
    /// Where the number comes from.
    pub source: String,
}

/// What is paid besides usage, by the assumptions.
#[must_use]
pub fn fixed(
    assumed: &Assumptions,
    from: Timestamp,
    to: Timestamp,
    zone: &TimeZone,
) -> Vec<CostItem> {
    let mut items = Vec::new();
    let seats = assumed.seat_per_month.checked_mul(assumed.seats);
    let seats = seats.unwrap_or_default();
    if seats != PicoUsd::ZERO {
        items.push(CostItem {
            name: "seats",
            amount: monthly(seats, from, to, zone),
            source: format!(
                "business.seats: {} at USD {} a month",
                assumed.seats, assumed.seat_per_month
            ),
        });
    }
    if assumed.fixed_per_month != PicoUsd::ZERO {
        items.push(CostItem {
            name: "fixed",
            amount: monthly(assumed.fixed_per_month, from, to, zone),
            source: format!(
                "business.fixed_usd_per_month: USD {}",
                assumed.fixed_per_month
            ),
        });
    }
    items
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::bill::{Amounts, BillLine, BilledSku, Charge};

    const DOLLAR: i128 = 1_000_000_000_000;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn bill(day: &str, amounts: &[(&str, i128)]) -> BillDay {
        let day: Date = day.parse().expect("a day");
        let lines = amounts.iter().map(|(currency, amount)| BillLine {
            provider: "bedrock".into(),
            account: "1".into(),
            day,
            charge: Charge::Tokens,
            sku: BilledSku::default(),
            service: "".into(),
            usage_type: "".into(),
            user: None,
            quantity: "".into(),
            unit: "".into(),
            tokens: None,
            currency: (*currency).into(),
            amounts: Amounts {
                unblended: Some(PicoUsd(*amount)),
                ..Amounts::default()
            },
        });
        BillDay {
            source: "import:aws".into(),
            provider: "bedrock".into(),
            account: "1".into(),
            day,
            estimated: false,
            revision: 1,
            pulled_at: time("2026-11-20T00:00:00Z"),
            lines: lines.collect(),
        }
    }

    fn days(list: &[(&str, &str, &str, i128)]) -> Days {
        let mut days = Days::new();
        for (day, provider, team, cost) in list {
            let key = ((*day).to_owned(), (*provider).to_owned());
            *days.entry(key).or_default().entry((*team).to_owned()).or_default() += cost;
        }
        days
    }

    #[test]
    fn a_bill_takes_the_place_of_the_estimate_of_its_days_only() {
        let days = days(&[
            ("2026-11-01", "bedrock", "a", DOLLAR),
            ("2026-11-01", "bedrock", "b", 3 * DOLLAR),
            ("2026-11-01", "anthropic", "a", 5 * DOLLAR),
            ("2026-11-02", "bedrock", "b", 7 * DOLLAR),
        ]);
        let bill = [
            bill("2026-11-01", &[("USD", 8 * DOLLAR), ("EUR", 99 * DOLLAR)]),
            bill("2026-11-03", &[("USD", 2 * DOLLAR)]),
        ];
        let unpriced = BTreeMap::from([(("2026-11-02".to_owned(), "bedrock".to_owned()), 9)]);
        let cost = settle(&days, &unpriced, &bill, Basis::Unblended);
        let groups = [("a", 7 * DOLLAR), ("b", 13 * DOLLAR)];
        assert_eq!(
            cost,
            UsageCost {
                groups: groups.map(|(team, cost)| (team.to_owned(), PicoUsd(cost))).into(),
                unallocated: PicoUsd(2 * DOLLAR),
                billed: PicoUsd(10 * DOLLAR),
                estimated: PicoUsd(12 * DOLLAR),
                unpriced: 9,
                foreign: ["EUR".to_owned()].into(),
                is_final: false,
            }
        );
    }

    #[test]
    fn a_month_costs_its_month_however_it_is_cut() {
        let zone = TimeZone::get("Europe/Berlin").expect("the zone is bundled");
        let begin = |day: &str| {
            let day: Date = day.parse().expect("a day");
            day.to_zoned(zone.clone()).expect("it exists").timestamp()
        };
        let amount = PicoUsd(310 * DOLLAR);
        let of = |from: &str, to: &str| monthly(amount, begin(from), begin(to), &zone);
        assert_eq!(of("2026-10-01", "2026-11-01"), amount);
        assert_eq!(of("2026-09-01", "2026-12-01"), PicoUsd(3 * amount.0));
        // The day on which summer time ends has 25 of the month's 745 hours.
        assert_eq!(
            of("2026-10-25", "2026-10-26"),
            PicoUsd(divide_half_even(amount.0 * 25, 745))
        );
        assert_eq!(of("2026-10-05", "2026-10-05"), PicoUsd::ZERO);
    }

    proptest! {
        #[test]
        fn groups_and_unallocated_add_up_to_the_total(
            estimates in prop::collection::vec((1_u8..5, 0_u8..3, 0_i128..DOLLAR), 0..20),
            billed in prop::collection::vec((1_u8..5, -DOLLAR..DOLLAR), 0..8),
        ) {
            let list: Vec<(String, String, i128)> = estimates
                .iter()
                .map(|(day, team, cost)| (format!("2026-11-0{day}"), team.to_string(), *cost))
                .collect();
            let list: Vec<(&str, &str, &str, i128)> = list
                .iter()
                .map(|(day, team, cost)| (&**day, "bedrock", &**team, *cost))
                .collect();
            let bill: Vec<BillDay> = billed
                .iter()
                .map(|(day, amount)| bill(&format!("2026-11-0{day}"), &[("USD", *amount)]))
                .collect();
            let cost = settle(&days(&list), &BTreeMap::new(), &bill, Basis::Unblended);
            let groups: i128 = cost.groups.values().map(|cost| cost.0).sum();
            prop_assert_eq!(groups + cost.unallocated.0, cost.total().0);
        }
    }
}
