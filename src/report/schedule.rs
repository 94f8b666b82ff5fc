//! Which period of a scheduled report is to be written.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::config::{Close, Every};

/// Periods that are made up for after a time in which nothing could be written.
const MOST_BEHIND: usize = 12;

/// Usage that is told after the end of a period: clients send every few seconds, gateways and logs
/// within minutes.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// A period that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Half-open.
    pub start: Timestamp,
    pub end: Timestamp,
    /// It is written only when no number of it is provisional.
    pub wants_final: bool,
}

/// The periods that are due and not written yet, the oldest first. `written_to` is the end of the
/// last one written; where nothing was written yet, only the period before this one counts, for
/// nobody asked for history.
#[must_use]
pub fn due(
    every: Every,
    zone: &TimeZone,
    written_to: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Period> {
    let mut periods = Vec::new();
    let mut first = first_day(every, now.to_zoned(zone.clone()).date());
    let most = if written_to.is_some() { MOST_BEHIND } else { 1 };
    for _ in 0..most {
        let Some((before, period)) = previous(every, first, zone) else {
            break;
        };
        if written_to.is_some_and(|written_to| period.start < written_to) {
            break;
        }
        if due_at(every, first, &period, zone).is_some_and(|due_at| due_at <= now) {
            periods.push(period);
        }
        first = before;
    }
    periods.reverse();
    periods
}

/// The first day of the period that a day is in.
fn first_day(every: Every, day: Date) -> Date {
    match every {
        Every::Day => day,
        Every::Week => {
            let since_monday = day.weekday().to_monday_zero_offset();
            day.saturating_sub(i32::from(since_monday).days())
        }
        Every::Month(_) => day.first_of_month(),
    }
}

/// The period that ends where another one begins, with its first day.
fn previous(every: Every, next: Date, zone: &TimeZone) -> Option<(Date, Period)> {
    let first = first_day(every, next.yesterday().ok()?);
    let period = Period {
        start: midnight(first, zone)?,
        end: midnight(next, zone)?,
        wants_final: every == Every::Month(Close::Final),
    };
    Some((first, period))
}

/// `next` is the first day after the period.
fn due_at(every: Every, next: Date, period: &Period, zone: &TimeZone) -> Option<Timestamp> {
    let day = match every {
        Every::Month(Close::Day(day)) => {
            midnight(next.saturating_add((i32::from(day) - 1).days()), zone)?
        }
        Every::Day | Every::Week | Every::Month(Close::Final) => period.end,
    };
    day.checked_add(LATE).ok()
}

fn midnight(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    let start = day.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(every: Every, zone: &str, written_to: Option<&str>, now: &str) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let written_to = written_to.map(|at| at.parse().unwrap());
        due(every, &zone, written_to, now.parse().unwrap())
            .into_iter()
            .map(|period| format!("{} {}", period.start, period.end))
            .collect()
    }

    const TENTH: Every = Every::Month(Close::Day(10));

    #[test]
    fn a_new_schedule_begins_with_the_last_period() {
        assert_eq!(
            shown(Every::Day, "UTC", None, "2026-11-22T01:00:00Z"),
            ["2026-11-21T00:00:00Z 2026-11-22T00:00:00Z"]
        );
        assert_eq!(
            shown(Every::Week, "UTC", None, "2026-11-22T12:00:00Z"),
            ["2026-11-09T00:00:00Z 2026-11-16T00:00:00Z"],
            "the 22nd is a Sunday"
        );
    }

    #[test]
    fn a_month_waits_for_its_day() {
        let berlin = "Europe/Berlin";
        assert!(shown(TENTH, berlin, None, "2026-11-09T23:59:00Z").is_empty());
        assert_eq!(
            shown(TENTH, berlin, None, "2026-11-10T00:00:00Z"),
            ["2026-09-30T22:00:00Z 2026-10-31T23:00:00Z"],
            "an hour after midnight in Berlin; summer time ended within"
        );
    }

    #[test]
    fn a_period_is_due_once_its_late_reports_are_there() {
        assert!(shown(Every::Day, "UTC", None, "2026-11-22T00:59:59Z").is_empty());
        let written = Some("2026-11-22T00:00:00Z");
        assert!(shown(Every::Day, "UTC", written, "2026-11-22T23:00:00Z").is_empty());
    }

    #[test]
    fn what_was_missed_is_made_up_for_the_oldest_first() {
        assert_eq!(
            shown(
                Every::Month(Close::Final),
                "UTC",
                Some("2026-09-01T00:00:00Z"),
                "2026-11-03T00:00:00Z"
            ),
            [
                "2026-09-01T00:00:00Z 2026-10-01T00:00:00Z",
                "2026-10-01T00:00:00Z 2026-11-01T00:00:00Z"
            ]
        );
        let long_ago = Some("2020-01-01T00:00:00Z");
        let days = shown(Every::Day, "UTC", long_ago, "2026-11-22T12:00:00Z");
        assert_eq!(days.len(), MOST_BEHIND);
    }
}
