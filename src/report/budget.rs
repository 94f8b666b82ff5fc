//! `budget`: what was spent of each budget, what it will have cost, and when it runs out.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::closed;
use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request};
use crate::config::Budget;
use crate::model::bill::{Basis, Standing};
use crate::model::money::PicoUsd;
use crate::model::rates::USD;
use crate::model::window::day_start;

mod account;

pub use account::{Account, Spent, State, account, share};

/// Days before a month that its forecast may need: eight weeks that are learned from, and two
/// young days.
const HISTORY_DAYS: i64 = 58;

/// Months that one report tells of each budget.
const MAX_MONTHS: usize = 24;

/// What each day cost, by what budgets are told apart by, as the chargeback tells it.
async fn spent(
    reports: &Reports,
    from: Date,
    to: Date,
    zone: &TimeZone,
    basis: Basis,
    now: Timestamp,
) -> Result<(Vec<Spent>, Standing), ReportError> {
    // By provider too: the bill of one may be there while that of another is not.
    let by = ["day", "team", "cost_center", "project", "provider"];
    let wanted = Request {
        from: day_start(from, zone),
        to: day_start(to, zone),
        zone: zone.clone(),
        group_by: by.iter().map(|name| Arc::from(*name)).collect(),
        basis,
        decimals: 2,
        currency: USD.into(),
    };
    let report = closed::report(reports, &wanted, now).await?;
    let table = &report.tables[0];
    let place = |name: &str| table.columns.iter().position(|column| column.name == name);
    let keys = by.map(place);
    let (estimate, actual) = (place("estimated_cost_usd"), place("actual_cost_usd"));
    let status = place("status");
    let mut spent = Vec::new();
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let text = |place: Option<usize>| match place.map(|place| &cells[place]) {
            Some(Cell::Text(text)) => text.clone(),
            Some(Cell::Date(day)) => day.to_string().into(),
            _ => "".into(),
        };
        let money = |place: Option<usize>| match place.map(|place| &cells[place]) {
            Some(Cell::Money(amount)) => Some(*amount),
            _ => None,
        };
        let billed = money(actual);
        let amount = billed.or_else(|| money(estimate)).unwrap_or_default();
        // What a bill has on no day of the calendar belongs to its first one.
        let day = text(keys[0]).parse().unwrap_or(from);
        let is_final =
            billed.is_some() && matches!(&*text(status), "final" | "closed" | "adjustment");
        spent.push(Spent {
            day,
            team: text(keys[1]),
            cost_center: text(keys[2]),
            project: text(keys[3]),
            amount,
            is_final,
        });
    }
    Ok((spent, report.manifest.standing))
}

/// All budgets in the months that a period touches, each in its own calendar.
pub(super) async fn accounts(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<(Vec<Account>, Standing), ReportError> {
    let config = reports.config.load_full();
    let budgets = &config.cost.plans.budgets;
    let mut accounts = Vec::new();
    let mut standing = Standing::Closed;
    let mut zones: Vec<&TimeZone> = Vec::new();
    let zone_of = |budget: &Budget| {
        budget
            .zone
            .clone()
            .unwrap_or_else(|| config.time.zone.clone())
    };
    for budget in budgets {
        let zone = budget.zone.as_ref().unwrap_or(&config.time.zone);
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    for zone in zones {
        let today = now.to_zoned(zone.clone()).date();
        let months = months(request, today)?;
        let (Some(first), Some(last)) = (months.first(), months.last()) else {
            continue;
        };
        let from = first.saturating_sub(HISTORY_DAYS.days());
        let to = last.saturating_add(1.month());
        let (spent, found) = spent(reports, from, to, zone, request.basis, now).await?;
        if standing > found {
            standing = found;
        }
        for budget in budgets.iter().filter(|budget| zone_of(budget) == *zone) {
            let told = months.iter();
            accounts.extend(told.map(|month| account(budget, &spent, *month, today)));
        }
    }
    let place = |account: &Account| {
        budgets
            .iter()
            .position(|budget| budget.name == account.name)
    };
    accounts.sort_by_key(|account| (place(account), account.month));
    Ok((accounts, standing))
}

/// The first days of the months that the period names by its own calendar.
fn months(request: &Request, today: Date) -> Result<Vec<Date>, ReportError> {
    let from = request.from.to_zoned(request.zone.clone()).date();
    let last = request.to.checked_sub(1.nanosecond()).unwrap_or(request.to);
    let last = last.to_zoned(request.zone.clone()).date().min(today);
    let mut months = Vec::new();
    let mut month = from.first_of_month();
    while month <= last {
        if months.len() >= MAX_MONTHS {
            return Err(ReportError::Parameter(format!(
                "from: a budget report tells at most {MAX_MONTHS} months"
            )));
        }
        months.push(month);
        month = month.saturating_add(1.month());
    }
    Ok(months)
}

const COLUMNS: [Column; 17] = [
    Column::of("budget", Kind::Text, "Its name."),
    Column::of("scope", Kind::Text, "Whose cost it counts."),
    Column::of("month", Kind::Text, "In the zone of the budget."),
    Column::of("budget_usd", Kind::Money, "The amount for the month."),
    Column::of(
        "actual_final_usd",
        Kind::Money,
        "Billed and final, and fixed cost.",
    ),
    Column::of(
        "actual_provisional_usd",
        Kind::Money,
        "Billed but not final, and the estimate of days without a bill.",
    ),
    Column::of("spent_usd", Kind::Money, "Both together."),
    Column::of("used", Kind::Ratio, "Spent of the budget."),
    Column::of(
        "forecast_low_usd",
        Kind::Money,
        "Nine of ten outcomes are above it.",
    ),
    Column::of(
        "forecast_mid_usd",
        Kind::Money,
        "The month at the run rate of its weekdays.",
    ),
    Column::of(
        "forecast_high_usd",
        Kind::Money,
        "Nine of ten outcomes are below it.",
    ),
    Column::of(
        "forecast_error",
        Kind::Ratio,
        "Mean error of this rule over past weeks.",
    ),
    Column::of("remaining_usd", Kind::Money, "Budget less spent."),
    Column::of(
        "variance_usd",
        Kind::Money,
        "Forecast less budget: above zero is too much.",
    ),
    Column::of(
        "burn_rate",
        Kind::Decimal,
        "Used share over passed share of the month.",
    ),
    Column::of(
        "runs_out",
        Kind::Date,
        "The day that uses it up, if in the month.",
    ),
    Column::of(
        "status",
        Kind::Text,
        "ok, warning, at_risk (by forecast) or exceeded.",
    ),
];

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    request.ungrouped("budgets say themselves what they count; leave it out")?;
    if reports.config.load().cost.plans.budgets.is_empty() {
        return Err(ReportError::NotConfigured(
            "budget: no budget is configured, see [[cost.budgets]]".to_owned(),
        ));
    }
    let (accounts, standing) = accounts(reports, request, now).await?;
    let mut manifest = reports.manifest("budget", request, now);
    manifest.standing = standing;
    for account in accounts.iter().filter(|account| account.forecast.is_none()) {
        manifest.notes.push(format!(
            "{}: insufficient data for a forecast, which needs 14 complete days besides the last \
             two",
            account.name
        ));
    }
    let rows: Vec<Vec<Cell>> = accounts.iter().map(row).collect();
    let theirs = provider_forecasts(reports, request).await?;
    Ok(Report {
        name: "budget",
        title: "Budgets, what was spent of them and what is expected".to_owned(),
        tables: vec![Table {
            name: "budget",
            columns: COLUMNS.to_vec(),
            rows: Box::new(rows),
        }]
        .into_iter()
        .chain(theirs)
        .collect(),
        manifest,
    })
}

/// What providers expect themselves of the rest of their month, to be held against our forecasts:
/// all of their bill, not Claude alone if they cannot tell it apart.
async fn provider_forecasts(
    reports: &Reports,
    request: &Request,
) -> Result<Option<Table>, ReportError> {
    let utc = |day: Date| day_start(day, &TimeZone::UTC);
    let rows: Vec<Vec<Cell>> = reports
        .ledger
        .bill_forecasts()
        .await?
        .into_iter()
        .filter(|one| *one.currency == *USD)
        .filter(|one| utc(one.from) < request.to && request.from < utc(one.to))
        .map(|one| {
            vec![
                Cell::Text((&*one.account).into()),
                Cell::Date(one.from),
                Cell::Date(one.to),
                Cell::Money(one.low),
                Cell::Money(one.mid),
                Cell::Money(one.high),
                Cell::Count(one.level.into()),
                Cell::Time(one.made_at),
            ]
        })
        .collect();
    Ok((!rows.is_empty()).then(|| Table {
        name: "provider_forecast",
        columns: PROVIDER_COLUMNS.to_vec(),
        rows: Box::new(rows),
    }))
}

const PROVIDER_COLUMNS: [Column; 8] = [
    Column::of(
        "account",
        Kind::Text,
        "Whose bill it is; empty: the own account.",
    ),
    Column::of("from", Kind::Date, "The first UTC day it is of."),
    Column::of("to", Kind::Date, "Exclusive."),
    Column::of("low_usd", Kind::Money, "The provider's lower bound."),
    Column::of(
        "mid_usd",
        Kind::Money,
        "What the provider expects of these days.",
    ),
    Column::of("high_usd", Kind::Money, "The provider's upper bound."),
    Column::of(
        "level",
        Kind::Count,
        "How sure it is of the bounds, in percent.",
    ),
    Column::of("made_at", Kind::Time, "When the provider was asked."),
];

fn row(account: &Account) -> Vec<Cell> {
    let money = |amount: Option<PicoUsd>| amount.map_or(Cell::Empty, Cell::Money);
    let ratio = |ratio: Option<i64>| ratio.map_or(Cell::Empty, Cell::Ratio);
    let month = format!("{:04}-{:02}", account.month.year(), account.month.month());
    let spent = account.spent();
    let forecast = account.forecast;
    let variance = forecast.map(|range| PicoUsd(range.mid.0 - account.amount.0));
    vec![
        Cell::Text(account.name.as_str().into()),
        Cell::Text(account.scope.as_str().into()),
        Cell::Text(month.into()),
        Cell::Money(account.amount),
        Cell::Money(account.actual_final),
        Cell::Money(account.actual_provisional),
        Cell::Money(spent),
        ratio(share(spent, account.amount)),
        money(forecast.map(|range| range.low)),
        money(forecast.map(|range| range.mid)),
        money(forecast.map(|range| range.high)),
        ratio(account.error),
        Cell::Money(PicoUsd(account.amount.0 - spent.0)),
        money(variance),
        account.burn_rate.map_or(Cell::Empty, Cell::Decimal),
        account.runs_out.map_or(Cell::Empty, Cell::Date),
        Cell::Text(account.state.name().into()),
    ]
}
