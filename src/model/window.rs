//! Calendar windows in a time zone, and the keys under which figures are grouped.
//!
//! Windows are half-open and leave no instant out, whatever clocks do: a day may have 23, 24 or 25
//! hours, start at one o'clock, or be skipped. Roll-ups are kept in UTC quarter hours, because
//! every zone's offset is a multiple of one.

use std::ops::Range;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// Seconds in the quarter hour of roll-ups.
pub const QUARTER_SECONDS: i64 = 900;

const MINUTE_SECONDS: i64 = 60;
const HOUR_SECONDS: i64 = 3600;

/// A span of the calendar. Days, weeks and months begin at their reset time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    Minute,
    Hour,
    Day { reset: Time },
    Week { start: Weekday, reset: Time },
    Month { reset: Time },
}

impl Window {
    /// The day from midnight.
    pub const DAY: Self = Self::Day {
        reset: Time::midnight(),
    };
    /// The week from Monday, midnight.
    pub const WEEK: Self = Self::Week {
        start: Weekday::Monday,
        reset: Time::midnight(),
    };
    /// The month from midnight of its first day.
    pub const MONTH: Self = Self::Month {
        reset: Time::midnight(),
    };

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day { .. } => "day",
            Self::Week { .. } => "week",
            Self::Month { .. } => "month",
        }
    }

    /// The window that holds `at`. A reset time that the clocks skip is taken as much later as they
    /// are set forward; one that comes twice is taken the first time.
    #[must_use]
    pub fn containing(&self, at: Timestamp, zone: &TimeZone) -> Range<Timestamp> {
        match *self {
            Self::Minute => steady(at, zone, MINUTE_SECONDS),
            Self::Hour => steady(at, zone, HOUR_SECONDS),
            Self::Day { reset } => {
                let day = day_of(at, zone, reset);
                starts(day, tomorrow(day), zone, reset)
            }
            Self::Week { start, reset } => {
                let day = day_of(at, zone, reset);
                let passed = i64::from(start.until(day.weekday()));
                let first = day.saturating_sub(passed.days());
                starts(first, first.saturating_add(7.days()), zone, reset)
            }
            Self::Month { reset } => {
                let day = day_of(at, zone, reset);
                starts(
                    day.first_of_month(),
                    tomorrow(day.last_of_month()),
                    zone,
                    reset,
                )
            }
        }
    }
}

/// The instant at which a local day begins.
#[must_use]
pub fn day_start(day: Date, zone: &TimeZone) -> Timestamp {
    start(day, zone, Time::midnight())
}

/// The local day, `2026-11-22`.
#[must_use]
pub fn day_key(at: Timestamp, zone: &TimeZone) -> String {
    day_of(at, zone, Time::midnight()).to_string()
}

/// The local month, `2026-11`.
#[must_use]
pub fn month_key(at: Timestamp, zone: &TimeZone) -> String {
    let day = day_of(at, zone, Time::midnight());
    format!("{:04}-{:02}", day.year(), day.month())
}

/// The start of the local hour with its offset, `2026-11-22T03:00:00+09:00`. The two hours of one
/// name at the end of summer time differ in the offset.
#[must_use]
pub fn hour_key(at: Timestamp, zone: &TimeZone) -> String {
    let start = steady(at, zone, HOUR_SECONDS).start;
    let offset = zone.to_offset(start);
    let local = offset.to_datetime(start);
    let sign = if offset.is_negative() { '-' } else { '+' };
    let minutes = offset.seconds().unsigned_abs() / 60;
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// The UTC quarter hour that holds `at`, counted from 1970; negative before.
#[must_use]
pub fn quarter(at: Timestamp) -> i64 {
    floor_second(at).div_euclid(QUARTER_SECONDS)
}

/// The first instant of a quarter hour; the nearest one there is for numbers out of range.
#[must_use]
pub fn quarter_start(quarter: i64) -> Timestamp {
    from_second(quarter.saturating_mul(QUARTER_SECONDS))
}

/// The day whose window holds `at`: the last one that has begun. The local date alone will not do,
/// since clocks that are set back can return to a date that is over.
fn day_of(at: Timestamp, zone: &TimeZone, reset: Time) -> Date {
    let local = zone.to_datetime(at).date();
    let begun = |day: Date| start(day, zone, reset) <= at;
    if begun(tomorrow(local)) {
        return tomorrow(local);
    }
    if begun(local) {
        return local;
    }
    local.saturating_sub(1.days())
}

fn start(day: Date, zone: &TimeZone, reset: Time) -> Timestamp {
    let bound = if day.year() > 1970 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    };
    zone.to_ambiguous_timestamp(day.to_datetime(reset))
        .compatible()
        .unwrap_or(bound)
}

fn starts(first: Date, after: Date, zone: &TimeZone, reset: Time) -> Range<Timestamp> {
    start(first, zone, reset)..start(after, zone, reset)
}

fn tomorrow(day: Date) -> Date {
    day.saturating_add(1.days())
}

/// The hour or minute of the local clock that holds `at`, cut where the clocks are changed within
/// it (Lord Howe Island changes by half an hour).
fn steady(at: Timestamp, zone: &TimeZone, seconds: i64) -> Range<Timestamp> {
    let offset = zone.to_offset(at);
    let shift = i64::from(offset.seconds());
    let start = (floor_second(at) + shift).div_euclid(seconds) * seconds - shift;
    let whole = from_second(start)..from_second(start + seconds);
    let same = |at: Timestamp| -> bool { zone.to_offset(at) == offset };
    let from = if same(whole.start) {
        whole.start
    } else {
        let just_after = at
            .saturating_add(SignedDuration::from_nanos(1))
            .unwrap_or(at);
        change(zone.preceding(just_after), whole.start)
    };
    let until = if same(whole.end) {
        whole.end
    } else {
        change(zone.following(at), whole.end)
    };
    from..until
}

fn change<'t>(
    mut transitions: impl Iterator<Item = jiff::tz::TimeZoneTransition<'t>>,
    otherwise: Timestamp,
) -> Timestamp {
    transitions
        .next()
        .map_or(otherwise, |transition| transition.timestamp())
}

/// Whole seconds since 1970, rounded down before 1970 too.
fn floor_second(at: Timestamp) -> i64 {
    at.as_second() - i64::from(at.subsec_nanosecond() < 0)
}

fn from_second(second: i64) -> Timestamp {
    let bound = if second > 0 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    };
    Timestamp::from_second(second).unwrap_or(bound)
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 8] = [
        "UTC",
        "Asia/Tokyo",
        "Europe/Berlin",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/St_Johns",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a zone of the bundled database")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    /// The window as text in UTC, with the zone, the window and the instant as text.
    fn window(window: Window, instant: &str, zone_name: &str) -> String {
        let Range { start, end } = window.containing(at(instant), &zone(zone_name));
        format!("{start} {end}")
    }

    #[test]
    fn windows_follow_the_calendar_of_their_zone() {
        let tokyo = |w| window(w, "2026-11-22T18:30:15.5Z", "Asia/Tokyo");
        assert_eq!(
            [
                Window::Minute,
                Window::Hour,
                Window::DAY,
                Window::WEEK,
                Window::MONTH
            ]
            .map(tokyo),
            [
                "2026-11-22T18:30:00Z 2026-11-22T18:31:00Z",
                "2026-11-22T18:00:00Z 2026-11-22T19:00:00Z",
                "2026-11-22T15:00:00Z 2026-11-23T15:00:00Z",
                "2026-11-22T15:00:00Z 2026-11-29T15:00:00Z",
                "2026-10-31T15:00:00Z 2026-11-30T15:00:00Z",
            ]
        );
    }

    #[test]
    fn an_hour_begins_when_the_local_clock_says_so() {
        assert_eq!(
            window(Window::Hour, "2026-11-22T18:14:59Z", "Asia/Kathmandu"),
            "2026-11-22T17:15:00Z 2026-11-22T18:15:00Z"
        );
    }

    #[test]
    fn an_instant_on_the_edge_belongs_to_the_window_that_begins() {
        assert_eq!(
            window(Window::DAY, "2026-11-22T15:00:00Z", "Asia/Tokyo"),
            "2026-11-22T15:00:00Z 2026-11-23T15:00:00Z"
        );
    }

    #[test]
    fn days_have_23_and_25_hours_when_clocks_change() {
        assert_eq!(
            [
                window(Window::DAY, "2026-03-29T12:00:00Z", "Europe/Berlin"),
                window(Window::DAY, "2026-10-25T12:00:00Z", "Europe/Berlin"),
            ],
            [
                "2026-03-28T23:00:00Z 2026-03-29T22:00:00Z",
                "2026-10-24T22:00:00Z 2026-10-25T23:00:00Z",
            ]
        );
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_at_one() {
        assert_eq!(
            [
                window(Window::DAY, "2018-11-04T12:00:00Z", "America/Sao_Paulo"),
                window(Window::DAY, "2018-02-18T01:30:00Z", "America/Sao_Paulo"),
                window(Window::DAY, "2018-02-18T02:30:00Z", "America/Sao_Paulo"),
            ],
            [
                "2018-11-04T03:00:00Z 2018-11-05T02:00:00Z",
                "2018-02-17T02:00:00Z 2018-02-18T03:00:00Z",
                "2018-02-17T02:00:00Z 2018-02-18T03:00:00Z",
            ]
        );
    }

    #[test]
    fn months_end_on_their_last_day_in_leap_years_too() {
        assert_eq!(
            [
                window(Window::MONTH, "2028-02-29T22:59:59Z", "Europe/Berlin"),
                window(Window::DAY, "2028-02-29T12:00:00Z", "Europe/Berlin"),
                window(Window::MONTH, "2026-03-29T12:00:00Z", "Europe/Berlin"),
                window(Window::MONTH, "2026-12-31T23:30:00Z", "Europe/Berlin"),
            ],
            [
                "2028-01-31T23:00:00Z 2028-02-29T23:00:00Z",
                "2028-02-28T23:00:00Z 2028-02-29T23:00:00Z",
                "2026-02-28T23:00:00Z 2026-03-31T22:00:00Z",
                "2026-12-31T23:00:00Z 2027-01-31T23:00:00Z",
            ]
        );
    }

    #[test]
    fn windows_begin_at_their_reset_time() {
        let reset = time(4, 0, 0, 0);
        let start = Weekday::Sunday;
        assert_eq!(
            [
                window(Window::Day { reset }, "2026-11-22T18:59:59Z", "Asia/Tokyo"),
                window(
                    Window::Week { start, reset },
                    "2026-11-21T19:00:00Z",
                    "Asia/Tokyo"
                ),
                window(
                    Window::Month { reset },
                    "2026-11-30T18:00:00Z",
                    "Asia/Tokyo"
                ),
            ],
            [
                "2026-11-21T19:00:00Z 2026-11-22T19:00:00Z",
                "2026-11-21T19:00:00Z 2026-11-28T19:00:00Z",
                "2026-10-31T19:00:00Z 2026-11-30T19:00:00Z",
            ]
        );
    }

    #[test]
    fn a_reset_time_that_comes_twice_counts_once() {
        let reset = time(2, 30, 0, 0);
        let berlin = |instant| window(Window::Day { reset }, instant, "Europe/Berlin");
        let expected = "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z";
        assert_eq!(
            [
                berlin("2026-10-25T00:30:00Z"),
                berlin("2026-10-25T01:10:00Z"),
                berlin("2026-10-25T01:30:00Z"),
                berlin("2026-10-26T01:29:59Z"),
            ],
            [expected; 4]
        );
    }

    #[test]
    fn keys_name_the_local_day_hour_and_month() {
        let key = |name: &str, instant: &str| {
            let (zone, at) = (zone(name), at(instant));
            [
                day_key(at, &zone),
                hour_key(at, &zone),
                month_key(at, &zone),
            ]
            .join(" ")
        };
        assert_eq!(
            [
                key("Asia/Tokyo", "2026-11-21T18:30:00Z"),
                key("Asia/Kathmandu", "2026-11-30T18:20:00Z"),
                key("America/Sao_Paulo", "2026-12-01T02:59:59.999Z"),
                key("Europe/Berlin", "2026-10-25T00:30:00Z"),
                key("Europe/Berlin", "2026-10-25T01:30:00Z"),
                key("Europe/Berlin", "2026-03-29T01:00:00Z"),
                key("Australia/Lord_Howe", "2026-10-03T15:40:00Z"),
                key("UTC", "1969-12-31T23:59:59.5Z"),
            ],
            [
                "2026-11-22 2026-11-22T03:00:00+09:00 2026-11",
                "2026-12-01 2026-12-01T00:00:00+05:45 2026-12",
                "2026-11-30 2026-11-30T23:00:00-03:00 2026-11",
                "2026-10-25 2026-10-25T02:00:00+02:00 2026-10",
                "2026-10-25 2026-10-25T02:00:00+01:00 2026-10",
                "2026-03-29 2026-03-29T03:00:00+02:00 2026-03",
                "2026-10-04 2026-10-04T02:30:00+11:00 2026-10",
                "1969-12-31 1969-12-31T23:00:00+00:00 1969-12",
            ]
        );
    }

    #[test]
    fn quarters_are_counted_down_before_1970() {
        let instants = [
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:14:59.999Z",
            "1970-01-01T00:15:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "1969-12-31T23:45:00Z",
            "1969-12-31T23:44:59.5Z",
            "2026-11-22T03:06:46.650Z",
        ];
        assert_eq!(
            instants.map(|instant| quarter(at(instant))),
            [0, 0, 1, -1, -1, -2, 1_994_796]
        );
        assert_eq!(
            [
                quarter_start(-1),
                quarter_start(1_994_796),
                quarter_start(i64::MAX),
                quarter_start(i64::MIN)
            ],
            [
                at("1969-12-31T23:45:00Z"),
                at("2026-11-22T03:00:00Z"),
                Timestamp::MAX,
                Timestamp::MIN
            ]
        );
    }

    proptest! {
        #[test]
        fn windows_leave_no_instant_out_and_none_twice(
            millis in -500_000_000_000_i64..4_000_000_000_000,
            name in prop::sample::select(&ZONES[..]),
            hour in 0_i8..24,
            minute in 0_i8..60,
        ) {
            let (zone, reset) = (zone(name), time(hour, minute, 0, 0));
            let at = Timestamp::from_millisecond(millis).expect("within range");
            let windows = [
                Window::Minute,
                Window::Hour,
                Window::Day { reset },
                Window::Week { start: Weekday::Saturday, reset },
                Window::Month { reset },
            ];
            for window in windows {
                let range = window.containing(at, &zone);
                prop_assert!(range.contains(&at), "{range:?} {at}");
                prop_assert_eq!(window.containing(range.start, &zone), range.clone());
                let last = range.end - SignedDuration::from_nanos(1);
                prop_assert_eq!(window.containing(last, &zone), range.clone());
                let next = window.containing(range.end, &zone);
                prop_assert_eq!(next.start, range.end);
            }
        }

        #[test]
        fn a_quarter_holds_its_instants(millis in -60_000_000_000_000_i64..200_000_000_000_000) {
            let at = Timestamp::from_millisecond(millis).expect("within range");
            let here = quarter(at);
            prop_assert!(quarter_start(here) <= at && at < quarter_start(here + 1));
        }
    }
}
