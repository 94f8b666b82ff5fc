//! `budget`: what was spent of each budget, what it will have cost, and when it runs out.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::closing;
use super::forecast::{Daily, Range, RunRate};
use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request};
use crate::config::{Budget, Scope};
use crate::model::bill::{Basis, Standing};
use crate::model::money::PicoUsd;
use crate::model::rates::USD;
use crate::model::window::day_start;

/// Days before a month that its forecast may need: eight weeks that are learned from, and two
/// young days.
const HISTORY_DAYS: i64 = 58;

/// Months that one report tells of each budget.
const MAX_MONTHS: usize = 24;

const MILLION: i128 = 1_000_000;
const MILLI: i128 = 1_000;

/// One day's cost of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    pub day: Date,
    pub team: Arc<str>,
    pub cost_center: Arc<str>,
    pub project: Arc<str>,
    /// What was billed, or fixed; the estimate where no bill tells.
    pub amount: PicoUsd,
    pub is_final: bool,
}

/// One budget in one month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub scope: String,
    /// The first day of the month.
    pub month: Date,
    pub amount: PicoUsd,
    pub actual_final: PicoUsd,
    pub actual_provisional: PicoUsd,
    /// For the whole month; `None` if too little is known.
    pub forecast: Option<Range>,
    /// The mean error of the forecast's rule over past weeks, in millionths.
    pub error: Option<i64>,
    /// Used share over passed share of the month, in thousandths.
    pub burn_rate: Option<i64>,
    /// The day that uses it up, if that is in the month.
    pub runs_out: Option<Date>,
    pub state: State,
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    /// More than `warn_at` of it is used.
    Warning,
    /// It is forecast to be exceeded.
    AtRisk,
    Exceeded,
}

impl State {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::AtRisk => "at_risk",
            Self::Exceeded => "exceeded",
        }
    }
}

impl Account {
    #[must_use]
    pub const fn spent(&self) -> PicoUsd {
        PicoUsd(self.actual_final.0 + self.actual_provisional.0)
    }
}

/// Works one budget out for the month that begins on `month`, as of `today`, which is not over.
#[must_use]
pub fn account(budget: &Budget, spent: &[Spent], month: Date, today: Date) -> Account {
    let end = month.saturating_add(1.month());
    let mine: Vec<&Spent> = spent
        .iter()
        .filter(|one| covers(&budget.scope, one))
        .collect();
    let within = |one: &&&Spent| one.day >= month && one.day < end;
    let sum = |is_final: bool| {
        let of = mine
            .iter()
            .filter(within)
            .filter(|one| one.is_final == is_final);
        PicoUsd(of.map(|one| one.amount.0).sum())
    };
    let mut account = Account {
        name: budget.name.clone(),
        scope: budget.scope.shown(),
        month,
        amount: budget.amount,
        actual_final: sum(true),
        actual_provisional: sum(false),
        forecast: None,
        error: None,
        burn_rate: None,
        runs_out: None,
        state: State::Ok,
    };
    let daily = daily(&mine, month, today);
    if today >= end {
        // The month is over: what it cost is known but for corrections.
        let cost = account.spent();
        account.forecast = Some(Range {
            low: cost,
            mid: cost,
            high: cost,
        });
    } else if let Some(rate) = RunRate::learn(&until(&daily, today)) {
        account.error = rate.error;
        account.forecast = Some(outlook(&daily, &rate, month..end, today));
    }
    account.burn_rate = burn_rate(&account, end, today);
    account.runs_out = runs_out(&account, &daily, end, today);
    account.state = state(&account, budget.warn_at);
    account
}

fn covers(scope: &Scope, spent: &Spent) -> bool {
    match scope {
        Scope::All => true,
        Scope::Team(name) => *spent.team == **name,
        Scope::CostCenter(name) => *spent.cost_center == **name,
        Scope::Project(name) => *spent.project == **name,
    }
}

/// Amounts by day, from the first day of any cost to `today`.
fn daily(spent: &[&Spent], month: Date, today: Date) -> Daily {
    let costly = spent.iter().filter(|one| one.amount.0 != 0);
    let first = costly.map(|one| one.day).min().unwrap_or(month);
    let count = first.until(today).map_or(0, |span| span.get_days()) + 1;
    let mut amounts = vec![PicoUsd::ZERO; usize::try_from(count).unwrap_or(0)];
    for one in spent {
        let index = first.until(one.day).map_or(-1, |span| span.get_days());
        let slot = usize::try_from(index).ok().and_then(|i| amounts.get_mut(i));
        if let Some(slot) = slot {
            slot.0 += one.amount.0;
        }
    }
    Daily { first, amounts }
}

/// The complete days before one.
fn until(daily: &Daily, day: Date) -> Daily {
    let count = daily.first.until(day).map_or(0, |span| span.get_days());
    let count = usize::try_from(count).unwrap_or(0);
    Daily {
        first: daily.first,
        amounts: daily.amounts.iter().take(count).copied().collect(),
    }
}

/// What the month will have cost: days that settled as they are, younger and later ones expected.
fn outlook(daily: &Daily, rate: &RunRate, month: std::ops::Range<Date>, today: Date) -> Range {
    let seen = |day: Date| daily.on(day).unwrap_or_default();
    let unsettled = today.saturating_sub(2.days()).max(month.start);
    let mut settled = 0;
    let mut day = month.start;
    while day < unsettled {
        settled += seen(day).0;
        day = day.saturating_add(1.day());
    }
    let rest = rate.expect(unsettled, month.end, seen);
    Range {
        low: PicoUsd(settled + rest.low.0),
        mid: PicoUsd(settled + rest.mid.0),
        high: PicoUsd(settled + rest.high.0),
    }
}

fn burn_rate(account: &Account, end: Date, today: Date) -> Option<i64> {
    let days = |to: Date| i128::from(account.month.until(to).map_or(0, |span| span.get_days()));
    let length = days(end);
    // Today counts as passed: what it cost so far is in the sum.
    let passed = (days(today) + 1).clamp(0, length);
    if account.amount.0 <= 0 || passed == 0 {
        return None;
    }
    let used = account.spent().0.checked_mul(length * MILLI)?;
    i64::try_from(used / account.amount.0 / passed).ok()
}

/// The day on which the budget was, or will be, used up.
fn runs_out(account: &Account, daily: &Daily, end: Date, today: Date) -> Option<Date> {
    let mut left = account.amount;
    let mut day = account.month;
    while day < end && day <= today {
        left.0 -= daily.on(day).unwrap_or_default().0;
        if left.0 < 0 {
            return Some(day);
        }
        day = day.saturating_add(1.day());
    }
    let rate = RunRate::learn(&until(daily, today))?;
    rate.runs_out(left, day, end)
}

fn state(account: &Account, warn_at: i64) -> State {
    let spent = account.spent();
    if spent > account.amount {
        return State::Exceeded;
    }
    if account
        .forecast
        .is_some_and(|range| range.mid > account.amount)
    {
        return State::AtRisk;
    }
    let warn = account.amount.0.saturating_mul(warn_at.into()) / MILLION;
    if spent.0 >= warn && spent.0 > 0 {
        State::Warning
    } else {
        State::Ok
    }
}

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
    let report = closing::chargeback(reports, &wanted, now).await?;
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
    if !request.group_by.is_empty() {
        return Err(ReportError::Parameter(
            "group_by: budgets say themselves what they count; leave it out".to_owned(),
        ));
    }
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

/// An amount's share of a budget in millionths; `None` for a budget of nothing.
#[must_use]
pub fn share(amount: PicoUsd, of: PicoUsd) -> Option<i64> {
    if of.0 <= 0 {
        return None;
    }
    i64::try_from(amount.0.checked_mul(MILLION)? / of.0).ok()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const USD_PICO: i128 = 1_000_000_000_000;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn budget(usd: i128, scope: Scope) -> Budget {
        Budget {
            name: "b".to_owned(),
            amount: PicoUsd(usd * USD_PICO),
            scope,
            zone: None,
            warn_at: 800_000,
        }
    }

    /// Ten dollars a day for a team, final until a day.
    fn steady(team: &str, from: &str, to: &str, final_until: &str) -> Vec<Spent> {
        let mut at = day(from);
        let mut spent = Vec::new();
        while at < day(to) {
            spent.push(Spent {
                day: at,
                team: team.into(),
                cost_center: "".into(),
                project: "".into(),
                amount: PicoUsd(10 * USD_PICO),
                is_final: at < day(final_until),
            });
            at = at.tomorrow().unwrap();
        }
        spent
    }

    #[test]
    fn a_month_in_progress_is_forecast_and_its_end_told() {
        let spent = steady("a", "2026-09-01", "2026-11-12", "2026-11-05");
        let seen = account(
            &budget(200, Scope::All),
            &spent,
            day("2026-11-01"),
            day("2026-11-11"),
        );
        let usd = |usd: i128| PicoUsd(usd * USD_PICO);
        assert_eq!(
            seen,
            Account {
                name: "b".to_owned(),
                scope: "all".to_owned(),
                month: day("2026-11-01"),
                amount: usd(200),
                actual_final: usd(40),
                actual_provisional: usd(70),
                forecast: Some(Range {
                    low: usd(300),
                    mid: usd(300),
                    high: usd(300),
                }),
                error: Some(0),
                // 55 % used after 11 of 30 days.
                burn_rate: Some(1_500),
                runs_out: Some(day("2026-11-20")),
                state: State::AtRisk,
            }
        );
    }

    #[test]
    fn a_budget_counts_its_scope_only() {
        let mut spent = steady("a", "2026-11-01", "2026-11-12", "2026-11-01");
        spent.extend(steady("b", "2026-11-01", "2026-11-06", "2026-11-01"));
        let month = day("2026-11-01");
        let of = |scope| account(&budget(1_000, scope), &spent, month, day("2026-11-11")).spent();
        assert_eq!(of(Scope::All), PicoUsd(160 * USD_PICO));
        assert_eq!(of(Scope::Team("b".to_owned())), PicoUsd(50 * USD_PICO));
        assert_eq!(of(Scope::Project("b".to_owned())), PicoUsd::ZERO);
    }

    #[test]
    fn a_young_history_gives_no_forecast_and_a_past_month_its_cost() {
        let spent = steady("a", "2026-11-01", "2026-11-12", "2026-11-01");
        let of = |month, today| account(&budget(1_000, Scope::All), &spent, day(month), day(today));
        let young = of("2026-11-01", "2026-11-11");
        assert_eq!((young.forecast, young.runs_out), (None, None));
        let past = of("2026-11-01", "2026-12-05");
        assert_eq!(past.forecast.unwrap().mid, PicoUsd(110 * USD_PICO));
        assert_eq!(past.burn_rate, Some(110));
    }

    #[test]
    fn the_state_follows_what_is_spent() {
        let spent = steady("a", "2026-11-01", "2026-11-12", "2026-11-01");
        let of = |usd| {
            let seen = account(
                &budget(usd, Scope::All),
                &spent,
                day("2026-11-01"),
                day("2026-12-05"),
            );
            (seen.state, seen.runs_out)
        };
        assert_eq!(of(1_000), (State::Ok, None));
        assert_eq!(of(137), (State::Warning, None));
        assert_eq!(of(109), (State::Exceeded, Some(day("2026-11-11"))));
        assert_eq!(of(0), (State::Exceeded, Some(day("2026-11-01"))));
    }
}
