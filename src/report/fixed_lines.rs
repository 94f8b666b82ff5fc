//! The lines of fixed cost in the chargeback.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::fixed::{Owner, Shares, Used, on_day};
use super::grid::Grid;
use super::table::{Cell, Rows, Table};
use super::{Report, ReportError, Reports, Request};
use crate::config::Fixed;
use crate::model::cost::{By, CostQuery};
use crate::model::money::PicoUsd;
use crate::model::window::{day_start, hour_key};

/// What stands for the provider, the kind of token and the charge in a line of fixed cost.
const PROVIDER: &str = "fixed";
const TOKEN_TYPE: &str = "fixed_cost";
const CHARGE: &str = "Fee";

/// The column that fixed cost is in: it is no estimate.
const COLUMN: &str = "actual_cost_usd";

/// How sure fixed cost is: it is what was agreed.
const STATUS: &str = "final";

/// Rows of one table, and more behind them.
#[derive(Debug)]
pub(super) struct Chained(pub Box<dyn Rows>, pub Box<dyn Rows>);

impl Rows for Chained {
    fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        match index.checked_sub(self.0.len()) {
            None => self.0.row(index, cells),
            Some(index) => self.1.row(index, cells),
        }
    }

    fn settled(&self) -> usize {
        self.0.settled()
    }
}

/// Adds fixed cost to a report of the chargeback's lines. Days that have not begun bear nothing
/// yet.
pub(super) async fn with_fixed(
    reports: &Reports,
    mut report: Report,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let request = report.manifest.request.clone();
    if let Some(table) = report.tables.first_mut() {
        append(reports, &request, now, table).await?;
    }
    Ok(report)
}

async fn append(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
    table: &mut Table,
) -> Result<(), ReportError> {
    let config = reports.config.load_full();
    let fixed = &config.cost.plans.fixed;
    let days = days_of(request, now);
    if fixed.is_empty() || days.is_empty() {
        return Ok(());
    }
    let mut grid = Grid::of(&table.columns);
    let Some(place) = grid.amount(COLUMN) else {
        return Ok(());
    };
    for days in days.chunk_by(|a, b| a.first_of_month() == b.first_of_month()) {
        let used = used(reports, &request.zone, days[0]).await?;
        for one in fixed {
            let shares = Shares::of(&one.allocate, &used);
            for ((day, owner), part) in parts(one, &shares, days, &grid) {
                let keys = grid.keys.iter();
                let keys = keys.map(|name| key(name, one, &owner, day, &request.zone));
                let mut amounts = vec![None; grid.amounts.len()];
                amounts[place] = Some(part.0);
                grid.add(keys.collect(), &amounts, &shares.method.into());
            }
        }
    }
    let cells = grid.rows(&table.columns, STATUS);
    let before = std::mem::replace(&mut table.rows, Box::new(Vec::new()));
    table.rows = Box::new(Chained(before, Box::new(cells)));
    Ok(())
}

/// The local days that begin within the period and have begun.
fn days_of(request: &Request, now: Timestamp) -> Vec<Date> {
    let end = request.to.min(now);
    let mut day = request.from.to_zoned(request.zone.clone()).date();
    if day_start(day, &request.zone) < request.from {
        day = day.saturating_add(1.day());
    }
    let mut days = Vec::new();
    while day_start(day, &request.zone) < end {
        days.push(day);
        day = day.saturating_add(1.day());
    }
    days
}

/// Who used what in the calendar month of a day.
async fn used(reports: &Reports, zone: &TimeZone, day: Date) -> Result<Vec<Used>, ReportError> {
    let first = day.first_of_month();
    let query = CostQuery {
        from: day_start(first, zone),
        to: day_start(first.saturating_add(1.month()), zone),
        zone: zone.clone(),
        by: vec![By::CostCenter, By::Team, By::Project, By::User],
    };
    let lines = reports.ledger.cost_lines(query).await?;
    let mut used: Vec<Used> = Vec::new();
    let mut last = None;
    for line in &lines.lines {
        if last == Some(line.group)
            && let Some(used) = used.last_mut()
        {
            used.estimate.0 += line.estimate.0;
            continue;
        }
        last = Some(line.group);
        let mut keys = lines.groups.keys(line.group).cloned();
        let mut next = || keys.next().unwrap_or_default();
        used.push(Used {
            owner: Owner {
                cost_center: next(),
                team: next(),
                project: next(),
                user: next(),
            },
            estimate: line.estimate,
        });
    }
    Ok(used)
}

/// The parts of days in one month, by owner, and by day where lines are told apart by it.
fn parts(
    fixed: &Fixed,
    shares: &Shares,
    days: &[Date],
    grid: &Grid,
) -> BTreeMap<(Date, Owner), PicoUsd> {
    let by_day = ["day", "hour"].iter().any(|name| grid.key(name).is_some());
    let mut parts: BTreeMap<(Date, Owner), PicoUsd> = BTreeMap::new();
    for day in days {
        let shown = if by_day { *day } else { days[0] };
        shares.add(on_day(fixed, *day), &mut |owner, part| {
            let sum = parts.entry((shown, owner.clone())).or_default();
            sum.0 += part.0;
        });
    }
    parts
}

fn key(column: &str, fixed: &Fixed, owner: &Owner, day: Date, zone: &TimeZone) -> Arc<str> {
    match column {
        "period" | "month" => format!("{:04}-{:02}", day.year(), day.month()).into(),
        "day" => day.to_string().into(),
        "hour" => hour_key(day_start(day, zone), zone).into(),
        "user" => owner.user.clone(),
        "team" => owner.team.clone(),
        "project" => owner.project.clone(),
        "cost_center" => owner.cost_center.clone(),
        "provider" => PROVIDER.into(),
        "model" => fixed.name.as_str().into(),
        "token_type" => TOKEN_TYPE.into(),
        "charge" => CHARGE.into(),
        _ => "".into(),
    }
}
