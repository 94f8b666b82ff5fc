//! The chargeback of months that were closed: frozen lines, their adjustments, and around them what is
//! worked out now.

use jiff::Timestamp;

use super::closing::{FINEST, Frozen, bounds, on_basis};
use super::fixed_lines::{self, Chained};
use super::grid::Grid;
use super::sheet::charge_name;
use super::table::{Cell, Column, Rows};
use super::{Manifest, Report, ReportError, Reports, Request, chargeback};
use crate::model::bill::{Charge, Standing};
use crate::model::closing::ClosedMonth;

const CLOSED: &str = "closed";
const ADJUSTMENT: &str = "adjustment";

/// The chargeback as it is worked out now, with fixed cost.
pub(super) async fn live(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let report = chargeback::report(reports, request, now).await?;
    fixed_lines::with_fixed(reports, report, now).await
}

/// Tells of closed months in a report whose lines are finer than those that were frozen.
pub(super) async fn with_notes(
    reports: &Reports,
    mut report: Report,
) -> Result<Report, ReportError> {
    let request = report.manifest.request.clone();
    let months = reports.ledger.closed_months().await?;
    for month in months.iter().filter(|month| touches(month, &request)) {
        note_of_now(&mut report.manifest, month);
    }
    Ok(report)
}

fn note_of_now(manifest: &mut Manifest, month: &ClosedMonth) {
    manifest.notes.push(format!(
        "{} is closed in {}; this report shows its figures of now, adjustments included",
        month.month, month.zone
    ));
}

/// The chargeback: closed months as they were frozen with their adjustments, all else as it is
/// worked out now. Its totals are those of now.
pub(super) async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let mut report = live(reports, request, now).await?;
    let months = reports.ledger.closed_months().await?;
    let touched = || months.iter().filter(|month| touches(month, request));
    if touched().next().is_none() {
        return Ok(report);
    }
    let by = chargeback::dimensions(&request.group_by)?;
    let fits = by.iter().all(|by| FINEST.contains(by));
    let closed: Vec<&ClosedMonth> = touched()
        .filter(|month| fits && is_within(month, request))
        .collect();
    for month in touched().filter(|month| !closed.contains(month)) {
        note_of_now(&mut report.manifest, month);
    }
    if closed.is_empty() {
        return Ok(report);
    }
    let Some(table) = report.tables.first_mut() else {
        return Ok(report);
    };
    let (mut opening, mut adjusted) = (Grid::of(&table.columns), Grid::of(&table.columns));
    for month in &closed {
        let frozen = Frozen::read(reports, &months, month).await?;
        opening.merge(&on_basis(&frozen.opening, &opening, request.basis));
        for (_, booked) in &frozen.booked {
            adjusted.merge(&on_basis(booked, &adjusted, request.basis));
        }
        adjusted.merge(&frozen.pending_on(reports, request.basis, now).await?);
    }
    adjusted.drop_zeros();
    let pieces = open_pieces(&closed, request);
    let mut rows = opening.rows(&table.columns, CLOSED);
    if pieces.is_empty() {
        share(&mut rows, &table.columns);
    }
    let frozen = rows.len();
    rows.extend(adjusted.rows(&table.columns, ADJUSTMENT));
    table.rows = Box::new(Adjusted { rows, frozen });
    if pieces.is_empty() {
        report.manifest.standing = Standing::Closed;
    }
    for piece in pieces {
        let open = live(reports, &piece, now).await?.tables.swap_remove(0);
        let before = std::mem::replace(&mut table.rows, Box::new(Vec::new()));
        table.rows = Box::new(Chained(before, open.rows));
    }
    for month in closed {
        let since = if month.is_renamed() {
            ", which is of the lines before a person in them was forgotten"
        } else {
            ""
        };
        report.manifest.notes.push(format!(
            "{} was closed at {:.0} by {}: {}{since}",
            month.month, month.closed_at, month.closed_by, month.sha256
        ));
    }
    Ok(report)
}

/// Tells the share of each frozen row in all usage that was billed then, as it did then.
fn share(rows: &mut [Vec<Cell>], columns: &[Column]) {
    let place = |name| columns.iter().position(|column| column.name == name);
    let (Some(charge), Some(actual), Some(share)) = (
        place(chargeback::CHARGE.name),
        place(chargeback::ACTUAL.name),
        place(chargeback::SHARE.name),
    ) else {
        return;
    };
    let usage = charge_name(Charge::Tokens);
    let billed = |row: &Vec<Cell>| match (&row[charge], &row[actual]) {
        (Cell::Text(name), Cell::Money(amount)) if **name == *usage => Some(amount.0),
        _ => None,
    };
    let all: i128 = rows.iter().filter_map(billed).sum();
    for row in rows {
        if let Some(amount) = billed(row) {
            row[share] = chargeback::part(amount, all);
        }
    }
}

/// Frozen rows, and what changed since behind them: no cent of a frozen row moves for that.
#[derive(Debug)]
struct Adjusted {
    rows: Vec<Vec<Cell>>,
    frozen: usize,
}

impl Rows for Adjusted {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        self.rows.row(index, cells);
    }

    fn settled(&self) -> usize {
        self.frozen
    }
}

fn touches(month: &ClosedMonth, request: &Request) -> bool {
    let (begin, end, _) = bounds(month);
    begin < request.to && request.from < end
}

/// True if a report tells all of a month, in its calendar.
fn is_within(month: &ClosedMonth, request: &Request) -> bool {
    let (begin, end, zone) = bounds(month);
    request.from <= begin
        && end <= request.to
        && (zone == request.zone || zone.iana_name() == request.zone.iana_name())
}

/// What closed months leave of a request, in order of time.
fn open_pieces(closed: &[&ClosedMonth], request: &Request) -> Vec<Request> {
    let mut pieces = Vec::new();
    let mut from = request.from;
    let ends = closed.iter().map(|month| bounds(month));
    let bounds = ends.map(|(begin, end, _)| (begin, end));
    for (begin, end) in bounds.chain([(request.to, request.to)]) {
        if from < begin {
            pieces.push(Request {
                from,
                to: begin,
                ..request.clone()
            });
        }
        from = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::bill::Basis;
    use crate::model::window::day_start;
    use crate::report::closing::request;

    fn month(month: &str, zone: &str) -> ClosedMonth {
        ClosedMonth {
            month: month.into(),
            zone: zone.into(),
            closed_at: Timestamp::UNIX_EPOCH,
            closed_by: "finance".into(),
            forced: false,
            standing: "final".into(),
            keys: Vec::new(),
            amounts: Vec::new(),
            sha256: "".into(),
            manifest: "".into(),
        }
    }

    fn asked(from: &str, to: &str, zone: &str) -> Request {
        let zone = TimeZone::get(zone).unwrap();
        let at = |day: &str| day_start(day.parse().unwrap(), &zone);
        request(at(from), at(to), &zone, Basis::Net)
    }

    #[test]
    fn a_month_is_told_as_closed_where_all_of_it_is_asked_in_its_zone() {
        let berlin = month("2026-10", "Europe/Berlin");
        let is_within = |from, to, zone| {
            let asked = asked(from, to, zone);
            (touches(&berlin, &asked), is_within(&berlin, &asked))
        };
        let of = [
            is_within("2026-10-01", "2026-11-01", "Europe/Berlin"),
            is_within("2026-01-01", "2027-01-01", "Europe/Berlin"),
            is_within("2026-10-02", "2026-11-01", "Europe/Berlin"),
            is_within("2026-10-01", "2026-11-01", "UTC"),
            is_within("2026-11-01", "2026-12-01", "Europe/Berlin"),
        ];
        let expected = [
            (true, true),
            (true, true),
            (true, false),
            (true, false),
            (false, false),
        ];
        assert_eq!(of, expected);
    }

    #[test]
    fn what_closed_months_leave_is_asked_piece_by_piece() {
        let closed = [
            month("2026-09", "UTC"),
            month("2026-10", "UTC"),
            month("2026-12", "UTC"),
        ];
        let closed: Vec<&ClosedMonth> = closed.iter().collect();
        let pieces = open_pieces(&closed, &asked("2026-08-15", "2027-01-01", "UTC"));
        let pieces: Vec<String> = pieces
            .iter()
            .map(|piece| format!("{} {}", piece.from, piece.to))
            .collect();
        assert_eq!(
            pieces,
            [
                "2026-08-15T00:00:00Z 2026-09-01T00:00:00Z",
                "2026-11-01T00:00:00Z 2026-12-01T00:00:00Z",
            ]
        );
    }
}
