//! One budget in one month: what was spent, what is expected, and how it stands. Pure.

use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::config::{Budget, Scope};
use crate::model::money::PicoUsd;
use crate::report::forecast::{Daily, Range, RunRate};

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

/// An amount's share of a budget in millionths; `None` for a budget of nothing.
#[must_use]
pub fn share(amount: PicoUsd, of: PicoUsd) -> Option<i64> {
    if of.0 <= 0 {
        return None;
    }
    i64::try_from(amount.0.checked_mul(MILLION)? / of.0).ok()
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
