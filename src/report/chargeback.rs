//! `chargeback`: who used what, and what it cost.

use std::sync::Arc;

use jiff::Timestamp;

use super::table::{Cell, Column, Kind, Rows, Table};
use super::{Report, ReportError, Reports, Request};
use crate::model::cost::{By, CostLines, CostQuery};

/// What lines are told apart by where nothing is asked.
const DEFAULT: [By; 7] = [
    By::Month,
    By::CostCenter,
    By::Team,
    By::Project,
    By::User,
    By::Provider,
    By::Model,
];

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let by = dimensions(&request.group_by)?;
    let query = CostQuery {
        from: request.from,
        to: request.to,
        zone: request.zone.clone(),
        by: by.clone(),
    };
    let lines = reports.ledger.cost_lines(query).await?;
    Ok(Report {
        name: "chargeback",
        title: "Who used what, and what it cost".to_owned(),
        tables: vec![Table {
            name: "chargeback",
            columns: columns(&by),
            rows: Box::new(Lines(lines)),
        }],
        manifest: reports.manifest("chargeback", request, now),
    })
}

/// The parameter `group_by`.
pub(super) fn dimensions(asked: &[Arc<str>]) -> Result<Vec<By>, ReportError> {
    if asked.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    let mut by = Vec::with_capacity(asked.len());
    for name in asked {
        let Some(dimension) = By::parse(name) else {
            let names = By::ALL.map(By::name).join(", ");
            return Err(ReportError::Parameter(format!(
                "group_by: must be a list of {names}"
            )));
        };
        if !by.contains(&dimension) {
            by.push(dimension);
        }
    }
    Ok(by)
}

const fn text(name: &'static str, help: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Text,
        sums: false,
        help,
    }
}

fn columns(by: &[By]) -> Vec<Column> {
    let sum = |name, kind, help| Column {
        name,
        kind,
        sums: true,
        help,
    };
    let mut columns: Vec<Column> = by
        .iter()
        .map(|by| {
            text(
                by.name(),
                "What the line is of; empty where nothing is known.",
            )
        })
        .collect();
    columns.push(text("token_type", "Kind of token."));
    columns.push(sum("tokens", Kind::Count, "Tokens that were counted."));
    columns.push(sum(
        "requests",
        Kind::Count,
        "Requests, on the first line of their group only.",
    ));
    columns.push(sum("list_cost_usd", Kind::Money, "Cost at list prices."));
    columns.push(sum(
        "estimated_cost_usd",
        Kind::Money,
        "tallyd's estimate from its price table.",
    ));
    columns
}

#[derive(Debug)]
struct Lines(CostLines);

impl Rows for Lines {
    fn len(&self) -> usize {
        self.0.lines.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        let line = &self.0.lines[index];
        cells.clear();
        cells.extend(self.0.keys(line.group).cloned().map(Cell::Text));
        cells.extend([
            Cell::Text(line.kind.name().into()),
            Cell::Count(line.tokens.into()),
            Cell::Count(line.requests.into()),
            Cell::Money(line.list),
            Cell::Money(line.estimate),
        ]);
    }
}
