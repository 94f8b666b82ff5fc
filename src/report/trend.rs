//! `trend`: cost by month, week or day, and how it changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::closed;
use super::grid::{Grid, Keys};
use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request};
use crate::model::cost::By;
use crate::model::money::PicoUsd;
use crate::model::window::day_start;

/// Longest range told by day and by week where nothing is asked.
const DAYS: i32 = 45;
const WEEKS: i32 = 190;

/// Days that one report looks at: more is told by month only.
const MAX_DAYS: i32 = 800;

const MILLION: i128 = 1_000_000;

/// A step of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Day,
    Week,
    Month,
}

impl Step {
    /// The first day of the step that holds a day.
    fn first(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Week => {
                let passed = i32::from(day.weekday().to_monday_zero_offset());
                day.saturating_sub(passed.days())
            }
            Self::Month => day.first_of_month(),
        }
    }

    fn next(self, first: Date) -> Date {
        match self {
            Self::Day => first.saturating_add(1.day()),
            Self::Week => first.saturating_add(7.days()),
            Self::Month => first.saturating_add(1.month()),
        }
    }

    fn before(self, first: Date) -> Date {
        self.first(first.saturating_sub(1.day()))
    }
}

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let zone = &request.zone;
    let from = request.from.to_zoned(zone.clone()).date();
    let last = request.to.checked_sub(1.nanosecond()).unwrap_or(request.to);
    let last = last.to_zoned(zone.clone()).date();
    let length = from.until(last).map_or(0, |span| span.get_days()) + 1;
    let (step, others) = asked(&request.group_by, length)?;
    if step != Step::Month && length > MAX_DAYS {
        return Err(ReportError::Parameter(format!(
            "group_by: more than {MAX_DAYS} days are told by month only"
        )));
    }
    // One step earlier, so that the first one told has something to be compared with.
    let begin = step.first(from);
    let earlier = step.before(begin);
    let column = if step == Step::Month { "month" } else { "day" };
    let mut group_by: Vec<Arc<str>> = vec![column.into()];
    group_by.extend(others.iter().map(|by| Arc::from(by.name())));
    let part = |from: Timestamp, to: Timestamp| Request {
        from,
        to,
        group_by: group_by.clone(),
        ..request.clone()
    };
    let wanted = part(request.from, request.to);
    let chargeback = closed::report(reports, &wanted, now).await?;
    let mut earlier_grid = Grid::default();
    if day_start(earlier, zone) < request.from {
        let before = part(day_start(earlier, zone), request.from);
        let before = closed::report(reports, &before, now).await?;
        earlier_grid = Grid::read(&before.tables[0]);
    }
    let steps = Steps {
        step,
        others: &others,
        begin,
        last: last.min(now.to_zoned(zone.clone()).date()),
        whole: request.from..request.to.min(now),
        zone,
    };
    let rows = steps.rows(&Grid::read(&chargeback.tables[0]), &earlier_grid);
    let mut manifest = chargeback.manifest;
    manifest.report = "trend";
    manifest.request = request.clone();
    manifest.notes.push(
        "change compares a whole period with the one before it; a period that is not over, or that \
         the report does not tell in whole, is partial and has none"
            .to_owned(),
    );
    Ok(Report {
        name: "trend",
        title: "How cost changed".to_owned(),
        tables: vec![Table {
            name: "trend",
            columns: columns(&others),
            rows: Box::new(rows),
        }],
        manifest,
    })
}

/// The step and the other dimensions of `group_by`.
fn asked(group_by: &[Arc<str>], length: i32) -> Result<(Step, Vec<By>), ReportError> {
    let mut step = None;
    let mut others = Vec::new();
    for name in group_by {
        let found = match &**name {
            "day" => Some(Step::Day),
            "week" => Some(Step::Week),
            "month" => Some(Step::Month),
            _ => None,
        };
        match (found, step, By::parse(name)) {
            (Some(_), Some(_), _) => {
                return Err(ReportError::Parameter(
                    "group_by: a trend is by day, by week or by month, not by several".to_owned(),
                ));
            }
            (Some(found), None, _) => step = Some(found),
            (None, _, Some(by)) if by != By::Hour && !others.contains(&by) => others.push(by),
            (None, _, Some(by)) if by != By::Hour => {}
            _ => {
                return Err(ReportError::Parameter(
                    "group_by: must be day, week or month, and if wanted user, team, project, \
                     cost_center, provider, model and the like"
                        .to_owned(),
                ));
            }
        }
    }
    let by_length = if length <= DAYS {
        Step::Day
    } else if length <= WEEKS {
        Step::Week
    } else {
        Step::Month
    };
    Ok((step.unwrap_or(by_length), others))
}

struct Steps<'a> {
    step: Step,
    others: &'a [By],
    begin: Date,
    /// The last day that is told.
    last: Date,
    /// Steps within it are whole.
    whole: Range<Timestamp>,
    zone: &'a TimeZone,
}

/// What is told of a step: tokens, estimate, actual cost.
const AMOUNTS: [&str; 3] = ["tokens", "estimated_cost_usd", "actual_cost_usd"];

type Sums = [Option<i128>; AMOUNTS.len()];

/// By series and first day of the step.
type Series = BTreeMap<(Keys, Date), Sums>;

impl Steps<'_> {
    /// The rows of `grid`; `earlier` holds what came before it, to compare with.
    fn rows(&self, grid: &Grid, earlier: &Grid) -> Vec<Vec<Cell>> {
        let told = self.sums(&[grid]);
        let all = self.sums(&[earlier, grid]);
        let mut names: Vec<&Keys> = all.keys().map(|(keys, _)| keys).collect();
        names.dedup();
        let mut rows = Vec::new();
        let mut first = self.begin;
        while first <= self.last && !names.is_empty() {
            let next = self.step.next(first);
            let is_whole = self.whole.start <= day_start(first, self.zone)
                && day_start(next, self.zone) <= self.whole.end;
            for keys in &names {
                let of = |sums: &Series, first| sums.get(&((*keys).clone(), first)).copied();
                let here = of(&told, first).unwrap_or_default();
                let before = of(&all, self.step.before(first)).unwrap_or_default();
                if here != Sums::default() || (is_whole && before != Sums::default()) {
                    rows.push(self.row(first, keys, here, is_whole.then_some(before)));
                }
            }
            first = next;
        }
        rows
    }

    fn sums(&self, grids: &[&Grid]) -> Series {
        let time = if self.step == Step::Month {
            "period"
        } else {
            "day"
        };
        let mut keys: Vec<Arc<str>> = vec![time.into()];
        keys.extend(self.others.iter().map(|by| Arc::from(by.name())));
        let mut sums = Series::new();
        let lines = grids
            .iter()
            .flat_map(|grid| grid.regroup(&keys, &AMOUNTS.map(Arc::from)).lines);
        for (mut keys, line) in lines {
            let time = keys.remove(0);
            let day: Option<Date> = match self.step {
                Step::Month => format!("{time}-01").parse().ok(),
                _ => time.parse().ok(),
            };
            let Some(day) = day else { continue };
            let sums = sums.entry((keys, self.step.first(day))).or_default();
            for (sum, amount) in sums.iter_mut().zip(line.amounts) {
                if let Some(amount) = amount {
                    *sum = Some(sum.unwrap_or(0).saturating_add(amount));
                }
            }
        }
        sums
    }

    fn row(&self, first: Date, keys: &Keys, here: Sums, before: Option<Sums>) -> Vec<Cell> {
        let mut row = vec![Cell::Text(self.name(first))];
        row.extend(keys.iter().cloned().map(Cell::Text));
        row.push(here[0].map_or(Cell::Empty, Cell::Count));
        for place in [1, 2] {
            let money = |amount: i128| Cell::Money(PicoUsd(amount));
            row.push(here[place].map_or(Cell::Empty, money));
            let change = before.and_then(|before| change(before[place], here[place]));
            row.push(change.map_or(Cell::Empty, Cell::Ratio));
        }
        let status = if before.is_some() {
            "complete"
        } else {
            "partial"
        };
        row.push(Cell::Text(status.into()));
        row
    }

    fn name(&self, first: Date) -> Arc<str> {
        match self.step {
            Step::Month => format!("{:04}-{:02}", first.year(), first.month()).into(),
            _ => first.to_string().into(),
        }
    }
}

/// The change in millionths; `None` if there was nothing before.
fn change(before: Option<i128>, here: Option<i128>) -> Option<i64> {
    let before = before.filter(|before| *before > 0)?;
    let more = here.unwrap_or(0) - before;
    i64::try_from(more.checked_mul(MILLION)? / before).ok()
}

fn columns(others: &[By]) -> Vec<Column> {
    let mut columns = vec![Column::of(
        "period",
        Kind::Text,
        "The month, or the first day of the week (Monday), or the day.",
    )];
    let of = |by: &By| Column::of(by.name(), Kind::Text, "What the line is of.");
    columns.extend(others.iter().map(of));
    columns.extend([
        Column::summed("tokens", Kind::Count, "Tokens that were counted."),
        Column::summed("estimated_cost_usd", Kind::Money, "tallyd's estimate."),
        Column::of(
            "estimated_change",
            Kind::Ratio,
            "Against the period before; empty if it cost nothing or this one is not over.",
        ),
        Column::summed(
            "actual_cost_usd",
            Kind::Money,
            "What was billed, fixed cost included.",
        ),
        Column::of("actual_change", Kind::Ratio, "Against the period before."),
        Column::of(
            "status",
            Kind::Text,
            "partial while the period is not over, or where the report tells a part of it.",
        ),
    ]);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let firsts = [Step::Day, Step::Week, Step::Month].map(|step| {
            let first = step.first(day("2026-11-22"));
            (first, step.before(first), step.next(first))
        });
        let of = |a, b, c| (day(a), day(b), day(c));
        assert_eq!(
            firsts,
            [
                of("2026-11-22", "2026-11-21", "2026-11-23"),
                of("2026-11-16", "2026-11-09", "2026-11-23"),
                of("2026-11-01", "2026-10-01", "2026-12-01"),
            ]
        );
    }

    #[test]
    fn the_step_follows_the_length_unless_asked() {
        let of = |names: &[&str], length| {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
            asked(&names, length).map_err(|error| error.to_string())
        };
        assert_eq!(of(&[], 30), Ok((Step::Day, vec![])));
        assert_eq!(of(&["team"], 90), Ok((Step::Week, vec![By::Team])));
        assert_eq!(
            of(&["month", "team", "team"], 30),
            Ok((Step::Month, vec![By::Team]))
        );
        assert_eq!(
            of(&["day", "week"], 30).unwrap_err(),
            "group_by: a trend is by day, by week or by month, not by several"
        );
        assert!(
            of(&["hour"], 30)
                .unwrap_err()
                .starts_with("group_by: must be day")
        );
    }

    #[test]
    fn a_change_needs_something_before() {
        assert_eq!(change(Some(200), Some(250)), Some(250_000));
        assert_eq!(change(Some(200), None), Some(-1_000_000));
        assert_eq!(change(Some(0), Some(5)), None);
        assert_eq!(change(None, Some(5)), None);
    }
}
