//! All costs of a range, as the chargeback has them: usage as it was billed, or as it is estimated
//! where no bill is; and what is paid whoever uses it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::super::table::{Cell, Table};
use super::super::{ReportError, Reports, Request, chargeback, fixed_lines};
use crate::model::bill::Standing;
use crate::model::business::Assumptions;
use crate::model::cost::By;
use crate::model::money::{PicoUsd, divide_half_even};

/// What was paid, by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageCost {
    pub groups: BTreeMap<String, PicoUsd>,
    /// Billed, but nobody's: usage that nobody is known of, tax, credits, fees.
    pub nobodys: PicoUsd,
    /// What of the sum was billed, what is estimated, and what is fixed cost.
    pub billed: PicoUsd,
    pub estimated: PicoUsd,
    pub fixed: PicoUsd,
    /// False while anything is estimated or a billed day may still change.
    pub is_final: bool,
    /// What the chargeback says of its numbers.
    pub notes: Vec<String>,
}

impl UsageCost {
    #[must_use]
    pub fn total(&self) -> PicoUsd {
        let parts = [self.billed, self.estimated, self.fixed];
        PicoUsd(parts.iter().fold(0, |sum, part| sum.saturating_add(part.0)))
    }
}

/// Whose cost a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charged {
    Usage,
    /// Fixed cost, shared out as it is configured.
    Fixed,
    /// What nobody is charged for by use.
    Nobody,
}

/// A line of the chargeback.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// The day and the provider: a bill is of one of these as a whole.
    place: (String, String),
    charged: Charged,
    group: String,
    estimate: Option<i128>,
    actual: Option<i128>,
}

/// Reads what was paid from the chargeback; `group` names the group of a person in a team.
pub async fn of_usage(
    reports: &Reports,
    request: &Request,
    by: &[By],
    group: impl Fn(&str, &str) -> String,
    now: Timestamp,
) -> Result<UsageCost, ReportError> {
    let all = [By::Day, By::Provider].iter().chain(by);
    let request = Request {
        group_by: all.map(|by| by.name().into()).collect(),
        ..request.clone()
    };
    let report = chargeback::report(reports, &request, now).await?;
    let report = fixed_lines::with_fixed(reports, report, now).await?;
    let mut cost = settle(
        &report
            .tables
            .first()
            .map_or_else(Vec::new, |table| lines(table, &group)),
    );
    cost.is_final =
        cost.estimated == PicoUsd::ZERO && report.manifest.standing != Standing::Provisional;
    cost.notes = report.manifest.notes;
    Ok(cost)
}

fn lines(table: &Table, group: impl Fn(&str, &str) -> String) -> Vec<Line> {
    let place = |name: &str| table.columns.iter().position(|column| column.name == name);
    let [day, provider, team, user, charge, estimate, actual] = [
        By::Day.name(),
        By::Provider.name(),
        By::Team.name(),
        By::User.name(),
        chargeback::CHARGE.name,
        chargeback::ESTIMATE.name,
        chargeback::ACTUAL.name,
    ]
    .map(place);
    let mut lines = Vec::with_capacity(table.rows.len());
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let text = |place: Option<usize>| match place.and_then(|place| cells.get(place)) {
            Some(Cell::Text(text)) => &**text,
            _ => "",
        };
        let money = |place: Option<usize>| match place.and_then(|place| cells.get(place)) {
            Some(Cell::Money(money)) => Some(money.0),
            _ => None,
        };
        lines.push(Line {
            place: (text(day).to_owned(), text(provider).to_owned()),
            charged: match text(charge) {
                "Usage" => Charged::Usage,
                "Fixed" => Charged::Fixed,
                _ => Charged::Nobody,
            },
            group: group(text(user), text(team)),
            estimate: money(estimate),
            actual: money(actual),
        });
    }
    lines
}

/// Takes the bill of each day and provider, and the estimate where there is none.
fn settle(lines: &[Line]) -> UsageCost {
    let is_usage = |line: &&Line| line.charged != Charged::Fixed;
    let billed: BTreeSet<&(String, String)> = lines
        .iter()
        .filter(is_usage)
        .filter(|line| line.actual.is_some())
        .map(|line| &line.place)
        .collect();
    let mut cost = UsageCost::default();
    for line in lines {
        let (sum, amount) = if line.charged == Charged::Fixed {
            (&mut cost.fixed, line.actual)
        } else if billed.contains(&line.place) {
            (&mut cost.billed, line.actual)
        } else {
            (&mut cost.estimated, line.estimate)
        };
        let amount = amount.unwrap_or(0);
        sum.0 += amount;
        if line.charged == Charged::Nobody {
            cost.nobodys.0 += amount;
        } else {
            cost.groups.entry(line.group.clone()).or_default().0 += amount;
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

    const DOLLAR: i128 = 1_000_000_000_000;

    fn line(
        place: (&str, &str),
        charged: Charged,
        group: &str,
        amounts: [Option<i128>; 2],
    ) -> Line {
        Line {
            place: (place.0.to_owned(), place.1.to_owned()),
            charged,
            group: group.to_owned(),
            estimate: amounts[0].map(|amount| amount * DOLLAR),
            actual: amounts[1].map(|amount| amount * DOLLAR),
        }
    }

    #[test]
    fn a_bill_takes_the_place_of_the_estimate_of_its_days_only() {
        use Charged::{Fixed, Nobody, Usage};
        let first = ("2026-11-01", "bedrock");
        let lines = [
            line(first, Usage, "a", [Some(1), Some(2)]),
            line(first, Usage, "b", [Some(3), Some(6)]),
            // Estimated, and no line of the bill is for it.
            line(first, Usage, "c", [Some(9), None]),
            line(first, Nobody, "", [None, Some(-1)]),
            line(("2026-11-01", "anthropic"), Usage, "a", [Some(5), None]),
            line(("2026-11-02", "bedrock"), Usage, "b", [Some(7), None]),
            line(("2026-11-02", "fixed"), Fixed, "a", [None, Some(10)]),
        ];
        let groups = [("a", 17), ("b", 13), ("c", 0)];
        assert_eq!(
            settle(&lines),
            UsageCost {
                groups: groups
                    .map(|(team, cost)| (team.to_owned(), PicoUsd(cost * DOLLAR)))
                    .into(),
                nobodys: PicoUsd(-DOLLAR),
                billed: PicoUsd(7 * DOLLAR),
                estimated: PicoUsd(12 * DOLLAR),
                fixed: PicoUsd(10 * DOLLAR),
                ..UsageCost::default()
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
        fn groups_and_what_is_nobodys_add_up_to_the_total(
            list in prop::collection::vec(
                (0_u8..4, 0_u8..3, 0_u8..3, prop::option::of(-99_i128..99), prop::option::of(-99_i128..99)),
                0..30,
            ),
        ) {
            let charges = [Charged::Usage, Charged::Fixed, Charged::Nobody];
            let lines: Vec<Line> = list
                .into_iter()
                .map(|(day, charge, group, estimate, actual)| {
                    let place = (&*format!("2026-11-0{}", day + 1), "bedrock");
                    let charged = charges[usize::from(charge)];
                    line(place, charged, &group.to_string(), [estimate, actual])
                })
                .collect();
            let cost = settle(&lines);
            let groups: i128 = cost.groups.values().map(|cost| cost.0).sum();
            prop_assert_eq!(groups + cost.nobodys.0, cost.total().0);
        }
    }
}
