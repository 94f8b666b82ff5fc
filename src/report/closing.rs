//! Closing a month: what is frozen, and what changed since.
//!
//! A closed month keeps its lines for ever. What changes afterwards (late telemetry, a corrected
//! directory, other prices, another bill) is the difference between its figures as they are worked
//! out now and what was frozen: adjustment lines, which the next month that is closed books.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use super::grid::Grid;
use super::{Manifest, ReportError, Reports, Request, closed, write};
use crate::model::bill::{Basis, Standing};
use crate::model::closing::{ClosedLine, ClosedMonth};
use crate::model::cost::By;
use crate::model::rates::USD;
use crate::model::window::{day_start, month_key};

/// What lines are frozen by.
pub(super) const FINEST: [By; 7] = [
    By::Month,
    By::CostCenter,
    By::Team,
    By::Project,
    By::User,
    By::Provider,
    By::Model,
];

/// Amounts that differ by basis begin so, and are frozen on each.
const ACTUAL: &str = "actual";

/// Closed months whose changes a later one books: the books of a year.
pub(super) const MAX_CORRECTED: usize = 13;

/// Why a month is not closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    #[error("{month} is not over yet; to close it all the same, force it")]
    NotOver { month: String },
    #[error(
        "the figures of {month} are provisional: the bill can still change; to close it all the \
         same, force it"
    )]
    Provisional { month: String },
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// What became of a wish to close a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Closed {
        month: ClosedMonth,
        /// Frozen lines, and those of them that correct earlier months.
        lines: usize,
        corrections: usize,
    },
    /// It was closed before; nothing changed.
    Before(ClosedMonth),
}

/// A closed month as it was frozen, and what later months booked of its changes.
#[derive(Debug)]
pub(super) struct Frozen {
    pub month: ClosedMonth,
    pub opening: Grid,
    /// By the month that booked them.
    pub booked: Vec<(Arc<str>, Grid)>,
}

/// Closes a month. Closing it a second time changes nothing.
///
/// Errors: it is not over or its figures are provisional, unless forced; no month at all.
pub async fn close(
    reports: &Reports,
    month: Date,
    by: &str,
    force: Force,
    now: Timestamp,
) -> Result<Outcome, CloseError> {
    let zone = reports.config.load().time.zone.clone();
    let begin = day_start(month.first_of_month(), &zone);
    let name = month_key(begin, &zone);
    let months = reports
        .ledger
        .closed_months()
        .await
        .map_err(ReportError::from)?;
    if let Some(known) = months.iter().find(|known| *known.month == *name) {
        return Ok(Outcome::Before(known.clone()));
    }
    let end = end_of(month.first_of_month(), &zone);
    if begin > now {
        let message = format!("month: {name} has not begun");
        return Err(ReportError::Parameter(message).into());
    }
    if end > now && force == Force::No {
        return Err(CloseError::NotOver { month: name });
    }
    let wanted = request(begin, end, &zone, Basis::default());
    let (grid, manifest) = present(reports, &wanted, now).await?;
    if manifest.standing == Standing::Provisional && force == Force::No {
        return Err(CloseError::Provisional { month: name });
    }
    let mut lines = lines_of(&name, &grid);
    let opening = lines.len();
    for earlier in months.iter().rev().take(MAX_CORRECTED) {
        let pending = Frozen::read(reports, &months, earlier).await?;
        let pending = pending.pending(reports, now).await?;
        let pending = pending.regroup(&grid.keys, &grid.amounts);
        lines.extend(lines_of(&earlier.month, &pending));
    }
    let closed = ClosedMonth {
        month: name.into(),
        zone: zone.iana_name().unwrap_or("UTC").into(),
        closed_at: now,
        closed_by: by.into(),
        forced: end > now || manifest.standing == Standing::Provisional,
        standing: manifest.standing.name().into(),
        sha256: hash(&lines).into(),
        manifest: manifest_text(&manifest).into(),
        keys: grid.keys,
        amounts: grid.amounts,
    };
    let (all, corrections) = (lines.len(), lines.len() - opening);
    let before = reports.ledger.close_month(closed.clone(), lines).await;
    Ok(match before.map_err(ReportError::from)? {
        Some(before) => Outcome::Before(before),
        None => Outcome::Closed {
            month: closed,
            lines: all,
            corrections,
        },
    })
}

/// Whether a month is closed although its figures can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    Yes,
    No,
}

impl Frozen {
    pub(super) async fn read(
        reports: &Reports,
        months: &[ClosedMonth],
        month: &ClosedMonth,
    ) -> Result<Self, ReportError> {
        let mut opening = empty(month);
        for line in reports.ledger.closed_lines(&month.month).await? {
            if *line.corrects == *month.month {
                opening.add(line.keys, &line.amounts, &line.method);
            }
        }
        let mut booked: Vec<(Arc<str>, Grid)> = Vec::new();
        for (by, line) in reports.ledger.booked_corrections(&month.month).await? {
            if booked.last().is_none_or(|(last, _)| *last != by) {
                let columns = months.iter().find(|known| *known.month == *by);
                booked.push((by, empty(columns.unwrap_or(month))));
            }
            if let Some((_, grid)) = booked.last_mut() {
                grid.add(line.keys, &line.amounts, &line.method);
            }
        }
        Ok(Self {
            month: month.clone(),
            opening,
            booked,
        })
    }

    /// All that is booked of the month.
    pub(super) fn known(&self) -> Grid {
        let mut known = self.opening.clone();
        for (_, booked) in &self.booked {
            known.merge(booked);
        }
        known
    }

    /// What changed since and is not booked, on one basis.
    pub(super) async fn pending_on(
        &self,
        reports: &Reports,
        basis: Basis,
        now: Timestamp,
    ) -> Result<Grid, ReportError> {
        let (begin, end, zone) = bounds(&self.month);
        let report = closed::live(reports, &request(begin, end, &zone, basis), now).await?;
        let present = Grid::read(&report.tables[0]);
        Ok(present.minus(&on_basis(&self.known(), &present, basis)))
    }

    /// The same on every basis.
    async fn pending(&self, reports: &Reports, now: Timestamp) -> Result<Grid, ReportError> {
        let (begin, end, zone) = bounds(&self.month);
        let wanted = request(begin, end, &zone, Basis::default());
        let (present, _) = present(reports, &wanted, now).await?;
        Ok(present.minus(&self.known()))
    }
}

/// The finest lines of a month as they are worked out now, with actual amounts on every basis.
async fn present(
    reports: &Reports,
    wanted: &Request,
    now: Timestamp,
) -> Result<(Grid, Manifest), ReportError> {
    let report = closed::live(reports, wanted, now).await?;
    let first = Grid::read(&report.tables[0]);
    let is_actual = |name: &Arc<str>| name.starts_with(ACTUAL);
    let (actual, plain): (Vec<Arc<str>>, Vec<Arc<str>>) =
        first.amounts.iter().cloned().partition(is_actual);
    let mut all = Grid {
        amounts: plain.clone(),
        ..first.regroup(&first.keys, &plain)
    };
    if actual.is_empty() {
        return Ok((all, report.manifest));
    }
    for basis in Basis::ALL {
        all.amounts
            .extend(actual.iter().map(|name| at(name, basis)));
    }
    let width = all.amounts.len();
    for line in all.lines.values_mut() {
        line.amounts.resize(width, None);
    }
    for basis in Basis::ALL {
        let table;
        let grid = if basis == wanted.basis {
            &first
        } else {
            let wanted = Request {
                basis,
                ..wanted.clone()
            };
            table = Grid::read(&closed::live(reports, &wanted, now).await?.tables[0]);
            &table
        };
        let mut grid = grid.regroup(&first.keys, &actual);
        grid.amounts = actual.iter().map(|name| at(name, basis)).collect();
        all.merge(&grid);
    }
    Ok((all, report.manifest))
}

/// Frozen lines under the columns of another grid, with the amounts of one basis.
pub(super) fn on_basis(frozen: &Grid, like: &Grid, basis: Basis) -> Grid {
    let pick = |name: &Arc<str>| {
        let exact = at(name, basis);
        if frozen.amount(&exact).is_some() {
            exact
        } else {
            name.clone()
        }
    };
    let amounts: Vec<Arc<str>> = like.amounts.iter().map(pick).collect();
    let mut grid = frozen.regroup(&like.keys, &amounts);
    grid.amounts.clone_from(&like.amounts);
    grid
}

fn at(name: &str, basis: Basis) -> Arc<str> {
    format!("{name}@{}", basis.name()).into()
}

fn empty(month: &ClosedMonth) -> Grid {
    Grid {
        keys: month.keys.clone(),
        amounts: month.amounts.clone(),
        ..Grid::default()
    }
}

pub(super) fn request(from: Timestamp, to: Timestamp, zone: &TimeZone, basis: Basis) -> Request {
    Request {
        from,
        to,
        zone: zone.clone(),
        group_by: FINEST.iter().map(|by| by.name().into()).collect(),
        basis,
        decimals: 2,
        currency: USD.into(),
    }
}

fn lines_of(corrects: &str, grid: &Grid) -> Vec<ClosedLine> {
    let corrects: Arc<str> = corrects.into();
    let lines = grid.lines.iter();
    lines
        .map(|(keys, line)| ClosedLine {
            corrects: corrects.clone(),
            keys: keys.clone(),
            amounts: line.amounts.clone(),
            method: line.method.clone(),
        })
        .collect()
}

/// SHA-256 of lines, a cell each with an end that no text has.
fn hash(lines: &[ClosedLine]) -> String {
    let mut bytes = Vec::new();
    let mut cell = |text: &str| {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0xff);
    };
    for line in lines {
        cell(&line.corrects);
        line.keys.iter().for_each(|key| cell(key));
        for amount in &line.amounts {
            cell(&amount.map_or_else(String::new, |amount| amount.to_string()));
        }
        cell(&line.method);
    }
    write::sha256(&bytes)
}

fn manifest_text(manifest: &Manifest) -> String {
    let marks = manifest.watermarks.iter();
    let marks: Vec<_> = marks
        .map(|(name, at)| json!([name, at.to_string()]))
        .collect();
    json!({
        "made_at": manifest.made_at.to_string(),
        "price_table_version": manifest.prices.0,
        "price_table_sha256": manifest.prices.1,
        "watermarks": marks,
        "notes": manifest.notes,
    })
    .to_string()
}

/// Begin, end and zone of a closed month.
pub(super) fn bounds(month: &ClosedMonth) -> (Timestamp, Timestamp, TimeZone) {
    // Both were written by `close`.
    let zone = TimeZone::get(&month.zone).unwrap_or(TimeZone::UTC);
    let first: Date = format!("{}-01", month.month).parse().unwrap_or(Date::ZERO);
    (day_start(first, &zone), end_of(first, &zone), zone)
}

fn end_of(first: Date, zone: &TimeZone) -> Timestamp {
    day_start(first.saturating_add(1.month()), zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amounts_of_a_basis_are_picked() {
        let mut frozen = Grid::new(&["team"], &["tokens", "actual@unblended", "actual@net"]);
        frozen.add(vec!["a".into()], &[Some(1), Some(20), Some(15)], &"".into());
        let picked = on_basis(
            &frozen,
            &Grid::new(&["team"], &["tokens", "actual"]),
            Basis::Net,
        );
        assert_eq!(
            (picked.total("tokens"), picked.total("actual")),
            (Some(1), Some(15))
        );
    }
}
