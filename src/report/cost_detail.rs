//! `cost_detail`: the finest lines of cost there are, by UTC day.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::chargeback::{
    ACTUAL, CHARGE, ESTIMATE, LIST, METHOD, REQUESTS, STATUS, TOKEN_TYPE, TOKENS, dimension,
    figures, foreign_table,
};
use super::costs::{Costs, billed_days, costs};
use super::table::{Cell, Column, Filling, Kind, Rows, Table};
use super::{Report, ReportError, Reports, Request};
use crate::model::cost::By;
use crate::model::window::day_start;

const NAME: &str = "cost_detail";

/// What lines are told apart by.
const FINEST: [By; 13] = [
    By::Day,
    By::CostCenter,
    By::Team,
    By::Project,
    By::User,
    By::Role,
    By::Provider,
    By::Account,
    By::Model,
    By::Scope,
    By::Region,
    By::Tier,
    By::Context,
];

const UNPRICED: Column = Column::summed(
    "unpriced_tokens",
    Kind::Count,
    "Those of the tokens that have no price.",
);

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    request.ungrouped("cost_detail has the finest lines; ask chargeback for sums")?;
    let request = in_utc(request);
    let mut manifest = reports.manifest(NAME, &request, now);
    let costs = costs(reports, &request, &FINEST, &mut manifest).await?;
    manifest.standing = costs.standing;
    manifest
        .notes
        .push("days are UTC days, as bills have them".to_owned());
    let mut columns: Vec<Column> = FINEST.into_iter().map(dimension).collect();
    columns.extend([
        CHARGE, TOKEN_TYPE, TOKENS, REQUESTS, LIST, ESTIMATE, ACTUAL, UNPRICED, METHOD, STATUS,
    ]);
    let foreign = (!costs.foreign.is_empty()).then(|| foreign_table(&costs.foreign));
    let mut tables = vec![Table {
        name: NAME,
        columns,
        rows: Box::new(Lines(costs)),
    }];
    tables.extend(foreign);
    Ok(Report {
        name: NAME,
        title: "Cost in detail".to_owned(),
        tables,
        manifest,
    })
}

/// The same dates, as days in UTC.
pub(super) fn in_utc(request: &Request) -> Request {
    let (from, to) = billed_days(request.from, request.to, &request.zone);
    Request {
        from: day_start(from, &TimeZone::UTC),
        to: day_start(to, &TimeZone::UTC),
        zone: TimeZone::UTC,
        ..request.clone()
    }
}

#[derive(Debug)]
struct Lines(Costs);

impl Rows for Lines {
    fn len(&self) -> usize {
        self.0.rows.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        let rows = &self.0.rows;
        let (sums, charge) = (rows.sums(index), rows.charge(index));
        let mut cells = Filling::new(cells);
        for (by, key) in FINEST.iter().zip(rows.keys(index)) {
            let date = (*by == By::Day).then(|| key.parse().ok()).flatten();
            match date {
                Some(date) => cells.push(Cell::Date(date)),
                None => cells.text(key),
            }
        }
        cells.text(charge);
        cells.text(rows.kind(index));
        for figure in figures(charge, &sums) {
            cells.push(figure);
        }
        cells.push(match sums.unpriced {
            0 => Cell::Empty,
            tokens => Cell::Count(tokens.into()),
        });
        match rows.method(&sums) {
            Some(method) => cells.text(method),
            None => cells.push(Cell::Empty),
        }
        cells.text(rows.standing(&sums));
        cells.end();
    }
}
