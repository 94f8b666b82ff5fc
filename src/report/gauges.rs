//! What `/metrics` tells of cost: the month so far, budgets, unusual days.
//!
//! The figures are those of the reports. They are worked out in rounds, not at a scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::grid::Grid;
use super::{ReportError, Reports, Request, anomalies, budget, closed};
use crate::config::{Budget, Config, Scope};
use crate::model::bill::Basis;
use crate::model::catalogue;
use crate::model::cost::{By, CostQuery};
use crate::model::money::PicoUsd;
use crate::model::rates::USD;
use crate::model::window::day_start;
use crate::registry::{OTHER, Sample};

/// Teams told by name.
const MAX_TEAMS: usize = 100;

/// Forecasts and unusual days look at weeks: they are worked out this often at most.
const SLOW_PERIOD: SignedDuration = SignedDuration::from_mins(5);

/// The windows of burn rates in hours, the longer one first. A day levels out nights, a week
/// weekends; the shorter window tells whether it still goes on.
const WINDOWS: [(&str, i64, i64); 2] = [("fast", 24, 3), ("slow", 7 * 24, 24)];

const HOUR_SECONDS: i128 = 3_600;
const MILLION: i128 = 1_000_000;

/// Works the gauges out, round after round.
#[derive(Debug, Default)]
pub struct Gauges {
    slow: Vec<Sample>,
    slow_at: Option<Timestamp>,
}

impl Gauges {
    /// The gauges as they stand.
    pub async fn round(
        &mut self,
        reports: &Reports,
        now: Timestamp,
    ) -> Result<Vec<Sample>, ReportError> {
        let mut samples = month_to_date(reports, now).await?;
        samples.extend(burn_rates(reports, now).await?);
        let is_due = |at: Timestamp| now.duration_since(at).abs() >= SLOW_PERIOD;
        if self.slow_at.is_none_or(is_due) {
            self.slow = slow(reports, now).await?;
            self.slow_at = Some(now);
        }
        samples.extend(self.slow.iter().cloned());
        Ok(samples)
    }
}

fn this_month(now: Timestamp, zone: &TimeZone, group_by: &[&str]) -> Request {
    let first = now.to_zoned(zone.clone()).date().first_of_month();
    Request {
        from: day_start(first, zone),
        to: day_start(first.saturating_add(1.month()), zone),
        zone: zone.clone(),
        group_by: group_by.iter().map(|name| Arc::from(*name)).collect(),
        basis: Basis::Unblended,
        decimals: 2,
        currency: USD.into(),
    }
}

/// The month so far by team, as `chargeback --group-by team` tells it.
async fn month_to_date(reports: &Reports, now: Timestamp) -> Result<Vec<Sample>, ReportError> {
    let zone = reports.config.load().time.zone.clone();
    let mut samples = Vec::new();
    for basis in Basis::ALL {
        let request = Request {
            basis,
            ..this_month(now, &zone, &["team"])
        };
        let report = closed::report(reports, &request, now).await?;
        let grid = Grid::read(&report.tables[0]);
        if basis == Basis::default() {
            samples.extend(by_team(&grid, "estimate", ESTIMATE));
        }
        let actual = by_team(&grid, basis.name(), ACTUAL);
        if actual.is_empty() {
            // Nothing is billed: the other bases have nothing either.
            break;
        }
        samples.extend(actual);
    }
    Ok(samples)
}

const ESTIMATE: &str = "estimated_cost_usd";
const ACTUAL: &str = "actual_cost_usd";

/// A column by team, where it is known.
fn by_team(grid: &Grid, basis: &str, column: &str) -> Vec<Sample> {
    let by_team = grid.regroup(&["team".into()], &[column.into()]);
    let teams = by_team.lines.iter();
    let known = teams.filter_map(|(keys, line)| Some((&keys[0], line.amounts[0]?)));
    let told = largest(known.collect()).into_iter();
    told.map(|(team, amount)| Sample {
        desc: catalogue::MONTH_TO_DATE,
        labels: vec![basis.to_owned(), team],
        value: usd(amount),
    })
    .collect()
}

/// The largest amounts by name, the rest as one.
fn largest(mut amounts: Vec<(&Arc<str>, i128)>) -> BTreeMap<String, i128> {
    amounts.sort_by(|(a, x), (b, y)| (y, a).cmp(&(x, b)));
    let mut told = BTreeMap::new();
    for (place, (name, amount)) in amounts.into_iter().enumerate() {
        let name = if place < MAX_TEAMS { name } else { OTHER };
        *told.entry(name.to_owned()).or_default() += amount;
    }
    told
}

/// Here integers end: gauges are floats.
fn usd(pico: i128) -> f64 {
    pico as f64 / 1e12
}

fn ratio(millionths: i64) -> f64 {
    millionths as f64 / 1e6
}

async fn slow(reports: &Reports, now: Timestamp) -> Result<Vec<Sample>, ReportError> {
    let config = reports.config.load_full();
    let mut samples = Vec::new();
    if !config.cost.plans.budgets.is_empty() {
        let request = this_month(now, &config.time.zone, &[]);
        let (accounts, _) = budget::accounts(reports, &request, now).await?;
        for account in accounts {
            let forecast = account.forecast.map(|range| range.mid);
            for (desc, amount) in [
                (catalogue::BUDGET_USED, Some(account.spent())),
                (catalogue::BUDGET_FORECAST, forecast),
            ] {
                let share = amount.and_then(|amount| budget::share(amount, account.amount));
                samples.extend(share.map(|share| Sample {
                    desc,
                    labels: vec![account.name.clone()],
                    value: ratio(share),
                }));
            }
        }
    }
    samples.push(Sample {
        desc: catalogue::COST_ANOMALIES,
        labels: Vec::new(),
        value: anomalies_now(reports, &config, now).await? as f64,
    });
    Ok(samples)
}

/// What was unusually dear yesterday, or is today.
async fn anomalies_now(
    reports: &Reports,
    config: &Config,
    now: Timestamp,
) -> Result<usize, ReportError> {
    let zone = &config.time.zone;
    let today = now.to_zoned(zone.clone()).date();
    let days = today.saturating_sub(1.day())..today.saturating_add(1.day());
    let found = anomalies::find(reports, days, zone, now).await?;
    let mut dear: Vec<_> = found
        .iter()
        .filter(|one| one.score > 0)
        .map(|one| (one.of, &one.name))
        .collect();
    dear.sort_unstable();
    dear.dedup();
    Ok(dear.len())
}

/// What usage cost in a window, by what budgets are told apart by.
type Spending = BTreeMap<[Arc<str>; 3], i128>;

async fn burn_rates(reports: &Reports, now: Timestamp) -> Result<Vec<Sample>, ReportError> {
    let config = reports.config.load_full();
    let budgets = &config.cost.plans.budgets;
    let mut samples = Vec::new();
    if budgets.is_empty() {
        return Ok(samples);
    }
    let mut windows: BTreeMap<i64, Spending> = BTreeMap::new();
    for hours in WINDOWS.iter().flat_map(|(_, long, short)| [*long, *short]) {
        if let std::collections::btree_map::Entry::Vacant(e) = windows.entry(hours) {
            e.insert(spending(reports, hours, now).await?);
        }
    }
    for budget in budgets {
        let zone = budget.zone.as_ref().unwrap_or(&config.time.zone);
        let month = now.to_zoned(zone.clone()).date().first_of_month();
        let rate = |hours: i64| Some(burn_rate(budget, windows.get(&hours)?, hours, month));
        for (window, long, short) in WINDOWS {
            let (Some(Some(long)), Some(Some(short))) = (rate(long), rate(short)) else {
                continue;
            };
            samples.push(Sample {
                desc: catalogue::BUDGET_BURN_RATE,
                labels: vec![budget.name.clone(), window.to_owned()],
                value: ratio(long.min(short)),
            });
        }
    }
    Ok(samples)
}

async fn spending(reports: &Reports, hours: i64, now: Timestamp) -> Result<Spending, ReportError> {
    let query = CostQuery {
        from: now - SignedDuration::from_hours(hours),
        to: now,
        zone: TimeZone::UTC,
        by: vec![By::Team, By::CostCenter, By::Project],
    };
    let lines = reports.ledger.cost_lines(query).await?;
    let mut spending = Spending::new();
    for line in &lines.lines {
        let mut keys = lines.groups.keys(line.group).cloned();
        let mut next = || keys.next().unwrap_or_default();
        let key = [next(), next(), next()];
        *spending.entry(key).or_default() += line.estimate.0;
    }
    Ok(spending)
}

/// The burn rate in millionths; `None` for a budget of nothing.
fn burn_rate(budget: &Budget, spending: &Spending, hours: i64, month: Date) -> Option<i64> {
    let mine = spending
        .iter()
        .filter(|([team, center, project], _)| match &budget.scope {
            Scope::All => true,
            Scope::Team(name) => **team == **name,
            Scope::CostCenter(name) => **center == **name,
            Scope::Project(name) => **project == **name,
        });
    let spent: i128 = mine.map(|(_, amount)| *amount).sum();
    let PicoUsd(amount) = budget.amount;
    let days = i128::from(month.days_in_month());
    let seconds = days * 24 * HOUR_SECONDS;
    // What the budget allows in the window.
    let allowed = amount.checked_mul(i128::from(hours) * HOUR_SECONDS)? / seconds;
    let rate = spent.checked_mul(MILLION)?.checked_div(allowed)?;
    i64::try_from(rate).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USD_PICO: i128 = 1_000_000_000_000;

    fn budget(scope: Scope) -> Budget {
        Budget {
            name: "b".to_owned(),
            amount: PicoUsd(300 * USD_PICO),
            scope,
            zone: None,
            warn_at: 800_000,
        }
    }

    #[test]
    fn a_burn_rate_of_one_uses_the_budget_up_in_the_month() {
        let mut spending = Spending::new();
        spending.insert(["a".into(), "1".into(), "".into()], 10 * USD_PICO);
        spending.insert(["b".into(), "1".into(), "".into()], 20 * USD_PICO);
        let month: Date = "2026-11-01".parse().unwrap();
        let of = |scope| burn_rate(&budget(scope), &spending, 24, month);
        assert_eq!(of(Scope::Team("a".to_owned())), Some(1_000_000));
        assert_eq!(of(Scope::CostCenter("1".to_owned())), Some(3_000_000));
        assert_eq!(of(Scope::Team("c".to_owned())), Some(0));
        let nothing = Budget {
            amount: PicoUsd::ZERO,
            ..budget(Scope::All)
        };
        assert_eq!(burn_rate(&nothing, &spending, 24, month), None);
    }

    #[test]
    fn teams_beyond_the_bound_are_told_as_one() {
        let names: Vec<Arc<str>> = (0..120).map(|i| format!("t{i:03}").into()).collect();
        let amounts = names.iter().zip(1..).collect();
        let told = largest(amounts);
        assert_eq!(told.len(), MAX_TEAMS + 1);
        assert_eq!(told["other"], (1..=20).sum::<i128>());
        assert_eq!(told.values().sum::<i128>(), (1..=120).sum::<i128>());
    }
}
