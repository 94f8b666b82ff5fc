//! Months, as reports are asked for.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::ReportError;

/// Reads a month: `2026-11`, `this`, or `last` for the one before it, by the calendar of the zone.
pub fn month(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Range<Timestamp>, ReportError> {
    let today = now.to_zoned(zone.clone()).date();
    let first = match text {
        "this" => Some(today.first_of_month()),
        "last" => today.first_of_month().checked_sub(1.month()).ok(),
        text if text.len() == "2026-11".len() => format!("{text}-01").parse::<Date>().ok(),
        _ => None,
    };
    first
        .and_then(|first| {
            let next = first.checked_add(1.month()).ok()?;
            Some(start(first, zone)?..start(next, zone)?)
        })
        .ok_or_else(|| {
            ReportError::Parameter(
                "month: must be a month such as 2026-11, or `this`, or `last`".to_owned(),
            )
        })
}

fn start(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    let start = day.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, now: &str, zone: &str) -> Result<String, String> {
        let zone = TimeZone::get(zone).expect("the zone is bundled");
        month(text, now.parse().expect("a time"), &zone)
            .map(|range| format!("{} {}", range.start, range.end))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_month_is_one_of_the_zone() {
        let new_year = "2026-12-31T23:30:00Z";
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            read("last", new_year, "Europe/Berlin"),
            ok("2026-11-30T23:00:00Z 2026-12-31T23:00:00Z"),
            "in Berlin it is January"
        );
        assert_eq!(
            read("this", new_year, "America/New_York"),
            ok("2026-12-01T05:00:00Z 2027-01-01T05:00:00Z")
        );
        assert_eq!(
            read("2026-03", new_year, "Europe/Berlin"),
            ok("2026-02-28T23:00:00Z 2026-03-31T22:00:00Z"),
            "summer time begins within"
        );
    }

    #[test]
    fn what_is_no_month_is_named() {
        let fault = "month: must be a month such as 2026-11, or `this`, or `last`";
        for text in ["2026-13", "11/2026", "next", "2026-1", "é026-1"] {
            let read = read(text, "2026-11-22T00:00:00Z", "UTC");
            assert_eq!(read, Err(fault.to_owned()), "{text}");
        }
    }
}
