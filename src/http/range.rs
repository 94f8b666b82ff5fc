//! Ranges of time from query parameters: RFC 3339 times, dates in a zone, calendar windows.

use std::collections::BTreeMap;
use std::ops::Range;

use axum::extract::Query;
use axum::http::Uri;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Unit, Zoned, ZonedRound};

use super::error::Problem;

/// The parameters of a query, each at most once.
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads the query of an address and refuses parameters that are not known.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::parameter("the query cannot be decoded"))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(Problem::parameter(format!(
                    "the parameters are {known}; another one was given"
                )));
            }
            if parameters.insert(name.clone(), value).is_some() {
                return Err(Problem::parameter(format!("{name}: may be given once")));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's value; blank is absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The parameter `timezone`, or the configured zone.
    pub(super) fn zone(&self, configured: &TimeZone) -> Result<TimeZone, Problem> {
        match self.get("timezone") {
            None => Ok(configured.clone()),
            Some(name) => TimeZone::get(name).map_err(|_| {
                Problem::parameter("timezone: must be UTC or an IANA time zone such as Asia/Tokyo")
            }),
        }
    }

    /// The parameters `from` and `to` as a half-open range; the current day where both are
    /// absent. A `from` alone reaches to the end of the current day, a `to` alone begins one day
    /// before.
    pub(super) fn range(
        &self,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Result<Range<Timestamp>, Problem> {
        let today = Window::Day.containing(now, zone)?;
        let given = |name| {
            self.get(name)
                .map(|text| parse_time(text, name, zone))
                .transpose()
        };
        let range = match (given("from")?, given("to")?) {
            (None, None) => today,
            (Some(from), None) => from..today.end,
            (Some(from), Some(to)) => from..to,
            (None, Some(to)) => {
                let from = to
                    .to_zoned(zone.clone())
                    .checked_sub(1.day())
                    .map_err(|_| Problem::parameter("to: is out of range"))?;
                from.timestamp()..to
            }
        };
        if range.is_empty() {
            return Err(Problem::parameter("from: must be before to"));
        }
        Ok(range)
    }
}

impl Parameters {
    /// The parameters `from` and `to` as a half-open range that ends now, and begins `length`
    /// before its end, where they are absent.
    pub(super) fn range_ending(
        &self,
        now: Timestamp,
        length: SignedDuration,
        zone: &TimeZone,
    ) -> Result<Range<Timestamp>, Problem> {
        let given = |name| {
            self.get(name)
                .map(|text| parse_time(text, name, zone))
                .transpose()
        };
        let to = given("to")?.unwrap_or(now);
        let from = given("from")?.or_else(|| to.checked_sub(length).ok());
        let Some(from) = from.filter(|from| *from < to) else {
            return Err(Problem::parameter("from: must be before to"));
        };
        Ok(from..to)
    }
}

fn parse_time(text: &str, name: &str, zone: &TimeZone) -> Result<Timestamp, Problem> {
    // A `+` that was not escaped arrives as a blank.
    let text = text.replace(' ', "+");
    let read = if text.len() == "2026-11-22".len() {
        text.parse::<Date>()
            .and_then(|date| date.to_zoned(zone.clone()))
            .map(|zoned| zoned.timestamp())
    } else {
        text.parse::<Timestamp>()
    };
    read.map_err(|_| {
        Problem::parameter(format!(
            "{name}: must be a date such as 2026-11-22 or a time such as 2026-11-22T03:00:00Z"
        ))
    })
}

/// A calendar window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Hour,
    Day,
    /// From Monday.
    Week,
    Month,
}

impl Window {
    const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Reads the parameter `window`; a day where it is absent.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text else {
            return Ok(Self::Day);
        };
        Self::ALL
            .into_iter()
            .find(|window| window.name() == text)
            .ok_or_else(|| Problem::parameter("window: must be one of hour, day, week, month"))
    }

    /// The window in which a time lies, by the calendar of the zone.
    pub(super) fn containing(
        self,
        at: Timestamp,
        zone: &TimeZone,
    ) -> Result<Range<Timestamp>, Problem> {
        let bounds = || -> Result<Range<Timestamp>, jiff::Error> {
            let start = self.start(&at.to_zoned(zone.clone()))?;
            let end = match self {
                Self::Hour => start.checked_add(1.hour())?,
                Self::Day => start.checked_add(1.day())?.start_of_day()?,
                Self::Week => start.checked_add(1.week())?.start_of_day()?,
                Self::Month => start.checked_add(1.month())?.start_of_day()?,
            };
            Ok(start.timestamp()..end.timestamp())
        };
        bounds().map_err(|_| Problem::parameter("the time is out of range"))
    }

    fn start(self, at: &Zoned) -> Result<Zoned, jiff::Error> {
        let day = at.start_of_day()?;
        match self {
            Self::Hour => at.round(
                ZonedRound::new()
                    .smallest(Unit::Hour)
                    .mode(jiff::RoundMode::Trunc),
            ),
            Self::Day => Ok(day),
            Self::Week => {
                let since_monday = i64::from(day.weekday().to_monday_zero_offset());
                day.checked_sub(since_monday.days())?.start_of_day()
            }
            Self::Month => day.first_of_month()?.start_of_day(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T16:30:00Z";

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("the zone is bundled")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn range(query: &str, zone: &TimeZone) -> Result<String, String> {
        let uri = Uri::try_from(format!("/x?{query}")).expect("a valid address");
        Parameters::of(&uri, &["from", "to"])
            .and_then(|parameters| parameters.range(at(NOW), zone))
            .map(|range| format!("{} {}", range.start, range.end))
            .map_err(|problem| problem.detail)
    }

    #[test]
    fn a_range_is_the_current_day_or_what_was_asked() {
        let tokyo = zone("Asia/Tokyo");
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            range("", &tokyo),
            ok("2026-11-22T15:00:00Z 2026-11-23T15:00:00Z")
        );
        assert_eq!(
            range("from=2026-11-01&to=2026-11-02", &tokyo),
            ok("2026-10-31T15:00:00Z 2026-11-01T15:00:00Z")
        );
        assert_eq!(
            range("from=2026-11-22T00:00:00+09:00", &tokyo),
            ok("2026-11-21T15:00:00Z 2026-11-23T15:00:00Z")
        );
        assert_eq!(
            range("to=2026-11-22T00:00:00Z", &tokyo),
            ok("2026-11-21T00:00:00Z 2026-11-22T00:00:00Z")
        );
    }

    #[test]
    fn a_faulty_range_is_named() {
        let fault = |text: &str| Err(text.to_owned());
        let utc = TimeZone::UTC;
        let from = "from: must be a date such as 2026-11-22 or a time such as 2026-11-22T03:00:00Z";
        assert_eq!(range("from=yesterday", &utc), fault(from));
        assert_eq!(range("from=2026-13-01", &utc), fault(from));
        assert_eq!(range("from=1970-01-01T00:00:00", &utc), fault(from));
        assert_eq!(
            range("from=2026-11-22&to=2026-11-22", &utc),
            fault("from: must be before to")
        );
        assert_eq!(
            range("form=2026-11-22", &utc),
            fault("the parameters are from, to; another one was given")
        );
        assert_eq!(
            range("from=2026-11-22&from=2026-11-21", &utc),
            fault("from: may be given once")
        );
    }

    #[test]
    fn windows_follow_the_calendar_of_the_zone() {
        let berlin = zone("Europe/Berlin");
        let window = |window: Window, now: &str| {
            let range = window.containing(at(now), &berlin).expect("in range");
            format!("{} {}", range.start, range.end)
        };
        assert_eq!(
            window(Window::Hour, NOW),
            "2026-11-22T16:00:00Z 2026-11-22T17:00:00Z"
        );
        assert_eq!(
            window(Window::Day, "2026-10-25T12:00:00Z"),
            "2026-10-24T22:00:00Z 2026-10-25T23:00:00Z",
            "the day on which summer time ends has 25 hours"
        );
        assert_eq!(
            window(Window::Week, NOW),
            "2026-11-15T23:00:00Z 2026-11-22T23:00:00Z"
        );
        assert_eq!(
            window(Window::Month, "2026-03-31T22:30:00Z"),
            "2026-03-31T22:00:00Z 2026-04-30T22:00:00Z"
        );
    }
}
