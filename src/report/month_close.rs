//! `month-close`: what was frozen, what changed since, and whether a month can be closed.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::closed;
use super::closing::{Frozen, MAX_CORRECTED, on_basis};
use super::grid::Grid;
use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request};
use crate::model::bill::Standing;
use crate::model::closing::ClosedMonth;
use crate::model::money::PicoUsd;
use crate::model::window::{day_start, month_key};

const ESTIMATE: &str = "estimated_cost_usd";
const ACTUAL: &str = "actual_cost_usd";

/// Months that one report tells.
const MAX_MONTHS: usize = 24;

/// What stands for a later month where a change is not booked yet.
const PENDING: &str = "pending";

const MONTHS: [Column; 14] = [
    Column::of("month", Kind::Text, "In the zone of the month."),
    Column::of("status", Kind::Text, "open, provisional, final or closed."),
    Column::summed(
        "opening_estimated_usd",
        Kind::Money,
        "Estimate as it was frozen.",
    ),
    Column::summed(
        "opening_actual_usd",
        Kind::Money,
        "Actual cost as it was frozen.",
    ),
    Column::summed(
        "booked_estimated_usd",
        Kind::Money,
        "Changes that later months booked.",
    ),
    Column::summed(
        "booked_actual_usd",
        Kind::Money,
        "Changes that later months booked.",
    ),
    Column::summed(
        "pending_estimated_usd",
        Kind::Money,
        "Changes that no month booked yet.",
    ),
    Column::summed(
        "pending_actual_usd",
        Kind::Money,
        "Changes that no month booked yet.",
    ),
    Column::summed(
        "closing_estimated_usd",
        Kind::Money,
        "Opening, booked and pending together.",
    ),
    Column::summed(
        "closing_actual_usd",
        Kind::Money,
        "Opening, booked and pending together.",
    ),
    Column::of("closed_at", Kind::Time, "When it was closed."),
    Column::of(
        "closed_by",
        Kind::Text,
        "The token with which it was closed.",
    ),
    Column::of(
        "forced",
        Kind::Text,
        "yes if it was closed while it could still change.",
    ),
    Column::of("sha256", Kind::Text, "Of the frozen lines."),
];

/// Makes the report: the months of the period, and of the newest closed ones those that changed.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    request.ungrouped("month-close has lines of its own; leave it out")?;
    let closed = reports.ledger.closed_months().await?;
    let asked = months_of(request)?;
    let mut manifest = reports.manifest("month-close", request, now);
    let mut rows = Vec::new();
    let mut changes = Changes::default();
    let newest = closed.iter().rev().take(MAX_CORRECTED);
    let names: BTreeSet<String> = asked
        .iter()
        .cloned()
        .chain(newest.map(|month| month.month.to_string()))
        .collect();
    let mut standing = Standing::Closed;
    for name in names {
        let wanted = asked.contains(&name);
        let known = closed.iter().find(|month| *month.month == *name);
        let Some(month) = known else {
            let (row, found) = open_row(reports, request, &name, now).await?;
            standing = found;
            rows.push(row);
            continue;
        };
        let frozen = Frozen::read(reports, &closed, month).await?;
        let pending = frozen.pending_on(reports, request.basis, now).await?;
        if !wanted && pending.lines.is_empty() && frozen.booked.is_empty() {
            continue;
        }
        rows.push(closed_row(&frozen, &pending, request));
        changes.take(&frozen, pending);
    }
    if standing == Standing::Provisional {
        manifest
            .notes
            .push("a month can be closed when it is over and its bill is final".to_owned());
    }
    manifest.standing = standing;
    Ok(Report {
        name: "month-close",
        title: "What was frozen with each month, and what changed since".to_owned(),
        tables: vec![
            Table {
                name: "months",
                columns: MONTHS.to_vec(),
                rows: Box::new(rows),
            },
            changes.table(request),
        ],
        manifest,
    })
}

/// The calendar months that a request touches.
fn months_of(request: &Request) -> Result<Vec<String>, ReportError> {
    let mut first = request
        .from
        .to_zoned(request.zone.clone())
        .date()
        .first_of_month();
    let mut months = Vec::new();
    while day_start(first, &request.zone) < request.to {
        if months.len() >= MAX_MONTHS {
            return Err(ReportError::Parameter(format!(
                "from: month-close tells at most {MAX_MONTHS} months"
            )));
        }
        months.push(month_key(day_start(first, &request.zone), &request.zone));
        first = first.saturating_add(1.month());
    }
    Ok(months)
}

/// A month that is not closed: nothing is frozen, its closing is what it would be now.
async fn open_row(
    reports: &Reports,
    request: &Request,
    name: &str,
    now: Timestamp,
) -> Result<(Vec<Cell>, Standing), ReportError> {
    let (from, to) = bounds(name, &request.zone);
    let wanted = Request {
        from,
        to,
        group_by: vec!["month".into()],
        ..request.clone()
    };
    let report = closed::report(reports, &wanted, now).await?;
    let grid = Grid::read(&report.tables[0]);
    let standing = report.manifest.standing;
    let status = if to > now { "open" } else { standing.name() };
    let closing = [ESTIMATE, ACTUAL].map(|name| money(grid.total(name)));
    let [estimate, actual] = closing;
    let mut row = vec![Cell::Text(name.into()), Cell::Text(status.into())];
    row.extend(std::iter::repeat_n(Cell::Empty, 6));
    row.extend([estimate, actual]);
    row.extend(std::iter::repeat_n(Cell::Empty, 4));
    Ok((row, standing))
}

fn closed_row(frozen: &Frozen, pending: &Grid, request: &Request) -> Vec<Cell> {
    let like = Grid::new(&[], &[ESTIMATE, ACTUAL]);
    let sums = |grid: &Grid| {
        let grid = on_basis(grid, &like, request.basis);
        [ESTIMATE, ACTUAL].map(|name| grid.total(name))
    };
    let opening = sums(&frozen.opening);
    let mut booked = [None, None];
    for (_, grid) in &frozen.booked {
        for (sum, more) in booked.iter_mut().zip(sums(grid)) {
            *sum = plus(*sum, more);
        }
    }
    let pending = sums(pending);
    let closing = [0, 1].map(|i| plus(plus(opening[i], booked[i]), pending[i]));
    let month = &frozen.month;
    let mut row = vec![
        Cell::Text((&*month.month).into()),
        Cell::Text("closed".into()),
    ];
    row.extend(
        [opening, booked, pending, closing]
            .into_iter()
            .flatten()
            .map(money),
    );
    let forced = if month.forced { "yes" } else { "no" };
    row.extend([
        Cell::Time(month.closed_at),
        Cell::Text((&*month.closed_by).into()),
        Cell::Text(forced.into()),
        Cell::Text((&*month.sha256).into()),
    ]);
    row
}

/// Changes of closed months, line by line.
#[derive(Debug, Default)]
struct Changes {
    /// With the month that booked them.
    grids: Vec<(ClosedMonth, Arc<str>, Grid)>,
}

impl Changes {
    fn take(&mut self, frozen: &Frozen, pending: Grid) {
        for (by, grid) in &frozen.booked {
            self.grids
                .push((frozen.month.clone(), by.clone(), grid.clone()));
        }
        self.grids
            .push((frozen.month.clone(), PENDING.into(), pending));
    }

    fn table(&self, request: &Request) -> Table {
        const KEYS: [&str; 9] = [
            "cost_center",
            "team",
            "project",
            "user",
            "provider",
            "model",
            "token_type",
            "corrects",
            "booked",
        ];
        let text = |name| Column::of(name, Kind::Text, "As in the chargeback.");
        let mut columns: Vec<Column> = KEYS[..7].iter().map(|name| text(name)).collect();
        columns.insert(
            0,
            Column::of(
                "booked",
                Kind::Text,
                "The month that booked it, or pending.",
            ),
        );
        columns.insert(
            0,
            Column::of("corrects", Kind::Text, "The closed month that changed."),
        );
        columns.extend([
            Column::summed("tokens", Kind::Count, "Tokens more, or fewer."),
            Column::summed(ESTIMATE, Kind::Money, "Estimate more, or less."),
            Column::summed(ACTUAL, Kind::Money, "Actual cost more, or less."),
        ]);
        let mut all = Grid::of(&columns);
        let like = Grid::new(&KEYS, &["tokens", ESTIMATE, ACTUAL]);
        for (month, by, grid) in &self.grids {
            let grid = on_basis(grid, &like, request.basis);
            let mut told = Grid::new(&KEYS, &["tokens", ESTIMATE, ACTUAL]);
            for (mut keys, line) in grid.lines {
                keys[7] = (&*month.month).into();
                keys[8] = by.clone();
                told.add(keys, &line.amounts, &line.method);
            }
            all.merge(&told);
        }
        all.drop_zeros();
        let rows = all.rows(&columns, "");
        Table {
            name: "adjustments",
            columns,
            rows: Box::new(rows),
        }
    }
}

fn bounds(month: &str, zone: &TimeZone) -> (Timestamp, Timestamp) {
    // `months_of` wrote it.
    let first: Date = format!("{month}-01").parse().unwrap_or(Date::ZERO);
    (
        day_start(first, zone),
        day_start(first.saturating_add(1.month()), zone),
    )
}

fn plus(a: Option<i128>, b: Option<i128>) -> Option<i128> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    }
}

fn money(amount: Option<i128>) -> Cell {
    amount.map_or(Cell::Empty, |amount| Cell::Money(PicoUsd(amount)))
}
