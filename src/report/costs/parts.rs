//! Reading a period part by part: whole months, each with a reader of its own.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::billed_days;
use super::work::{Shared, Work};
use crate::model::bill::BillDay;
use crate::model::cost::{By, CostDay, CostGroups, CostLines, CostQuery, MAX_GROUPS, Room};
use crate::model::window::day_start;
use crate::report::sheet::{Sheet, Sums, What};
use crate::report::{ReportError, Reports, Request};
use crate::store::{QueryError, Terms};

/// Days that one reader reads; more of them are read by several at once.
const DAYS_A_READER: usize = 62;

/// Readers at most: more of them would wait for each other.
const MAX_READERS: usize = 4;

/// The rows of a part.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) sheet: Sheet,
    /// Tokens without a price.
    pub(super) unpriced: u64,
    pub(super) shared: Shared,
}

/// Reads estimates and shares the bill out.
pub(super) async fn read(
    reports: &Reports,
    request: &Request,
    by: &[By],
    bill: &[BillDay],
) -> Result<Part, ReportError> {
    let reading = Reading {
        reports,
        request,
        by,
        bill,
        terms: reports.terms.load_full(),
        // Groups of other times are other groups; else parts have the same.
        room: (by.contains(&By::Day) || by.contains(&By::Month)).then(Room::default),
    };
    let (first, last) = billed_days(request.from, request.to, &request.zone);
    let mut parts = Vec::new();
    let mut begin = first;
    for end in ends(first, last) {
        parts.push(reading.part(begin, end));
        begin = end;
    }
    let mut whole: Option<Part> = None;
    for part in join_all(parts).await {
        let part = part?;
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.take(part)?,
        }
    }
    Ok(whole.unwrap_or_default())
}

/// What is asked of all parts.
struct Reading<'a> {
    reports: &'a Reports,
    request: &'a Request,
    by: &'a [By],
    bill: &'a [BillDay],
    terms: Arc<Terms>,
    /// What all parts share, where they share it.
    room: Option<Room>,
}

impl Reading<'_> {
    /// Reads some days.
    async fn part(&self, begin: Date, end: Date) -> Result<Part, ReportError> {
        let (ledger, request) = (&self.reports.ledger, self.request);
        let zone = &request.zone;
        let within = |day| day_start(day, zone).max(request.from).min(request.to);
        let query = CostQuery {
            from: within(begin),
            to: within(end),
            zone: zone.clone(),
            by: self.by.to_vec(),
        };
        let room = self.room.clone().unwrap_or_default();
        let steps = ledger.cost_steps(query, room, Estimate::default(), Estimate::step);
        let Estimate {
            sheet, unpriced, ..
        } = steps.await?;
        if self.bill.is_empty() {
            return Ok(Part {
                sheet,
                unpriced,
                shared: Shared::default(),
            });
        }
        let own = |day: &&BillDay| begin <= day.day && day.day < end;
        let bill = self.bill.iter().filter(own);
        let work = Work::new(bill, request.basis, self.by, self.terms.clone(), sheet);
        let by = By::TIMELESS.to_vec();
        let days = ledger.cost_days((begin, end), by, work, Work::day);
        let (sheet, shared) = days.await?.finish();
        Ok(Part {
            sheet,
            unpriced,
            shared,
        })
    }
}

impl Part {
    fn take(&mut self, other: Self) -> Result<(), QueryError> {
        self.sheet.merge(&other.sheet);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
        self.shared.take(other.shared);
        if self.sheet.groups() > MAX_GROUPS {
            return Err(QueryError::too_many_groups());
        }
        Ok(())
    }
}

/// Visits the estimate of days, a part of them with each reader. The days of one month stay
/// together. `state` makes what a part begins with, by its first day and its end.
pub(in crate::report) async fn in_parts<S: Send + 'static>(
    reports: &Reports,
    (from, to): (Date, Date),
    by: &[By],
    state: impl Fn(Date, Date) -> S,
    visit: fn(&mut S, &CostDay, &CostGroups),
) -> Result<Vec<S>, ReportError> {
    let mut parts = Vec::new();
    let mut begin = from;
    for end in ends(from, to) {
        let state = state(begin, end);
        let days = reports
            .ledger
            .cost_days((begin, end), by.to_vec(), state, visit);
        parts.push(days);
        begin = end;
    }
    let done = join_all(parts).await.into_iter();
    Ok(done.collect::<Result<_, _>>()?)
}

/// Where the parts of a range end: at its end, and at beginnings of months within.
fn ends(from: Date, to: Date) -> Vec<Date> {
    let days = dates(from, to).count();
    let parts = days.div_ceil(DAYS_A_READER).clamp(1, MAX_READERS);
    let length = days.div_ceil(parts).max(1);
    let months = dates(from, to).filter(|day| day.day() == 1);
    let mut ends: Vec<Date> = Vec::new();
    for month in months.skip_while(|day| *day == from) {
        let last = ends.last().copied().unwrap_or(from);
        if dates(last, month).count() >= length {
            ends.push(month);
        }
    }
    ends.push(to);
    ends
}

/// The estimate as rows.
#[derive(Debug, Default)]
struct Estimate {
    sheet: Sheet,
    /// Tokens without a price.
    unpriced: u64,
    /// By name of the groups: its number in the sheet.
    names: Vec<u32>,
}

impl Estimate {
    /// Adds lines; those of one group follow each other.
    fn step(&mut self, CostLines { groups, lines }: &CostLines) {
        for name in &groups.names()[self.names.len()..] {
            self.names.push(self.sheet.name(name));
        }
        let mut key = Vec::new();
        for lines in lines.chunk_by(|a, b| a.group == b.group) {
            key.clear();
            let places = groups.places(lines[0].group).iter();
            key.extend(places.map(|place| self.names[*place as usize]));
            let group = self.sheet.group(&key);
            for line in lines {
                let sums = Sums {
                    tokens: line.tokens,
                    requests: line.requests,
                    unpriced: line.unpriced,
                    list: line.list.0,
                    estimate: line.estimate.0,
                    ..Sums::default()
                };
                self.unpriced = self.unpriced.saturating_add(line.unpriced);
                self.sheet.add(group, What::usage(line.kind), &sums);
            }
        }
    }
}

fn dates(from: Date, to: Date) -> impl Iterator<Item = Date> {
    from.series(1.day()).take_while(move |day| *day < to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(from: &str, to: &str) -> Vec<String> {
        let ends = ends(from.parse().expect("a date"), to.parse().expect("a date"));
        ends.iter().map(Date::to_string).collect()
    }

    #[test]
    fn a_year_is_read_in_parts_of_whole_months() {
        assert_eq!(
            shown("2026-01-01", "2027-01-01"),
            ["2026-05-01", "2026-08-01", "2026-11-01", "2027-01-01"]
        );
        assert_eq!(shown("2026-11-01", "2026-12-01"), ["2026-12-01"]);
        assert_eq!(
            shown("2026-01-15", "2026-04-15"),
            ["2026-03-01", "2026-04-15"]
        );
        assert_eq!(shown("2026-01-15", "2026-01-15"), ["2026-01-15"]);
    }
}
