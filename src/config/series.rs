//! `[series]`: one-minute datapoints.

use std::time::Duration;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::{duration, number};

/// How long minutes are kept, and what share of requests should work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series {
    pub retain: Duration,
    /// Between 0 and 1.
    pub objective: f64,
}

/// The slow burn rate looks six hours back, and alarms up to a day.
const SHORTEST_RETENTION: Duration = Duration::from_hours(24);

pub(super) const SECTION: Section = Section {
    name: "series",
    help: "One-minute datapoints: what alarms, charts and the export to CloudWatch read.",
    settings: &[
        Setting::new(
            "retain",
            r#""15d""#,
            "How long minutes are kept, at least 1d. What waits for CloudWatch stays longer.",
        ),
        Setting::new(
            "objective",
            "99",
            "Percent of requests that should work, from 50 to 99.99: the rest is the error budget \
             of the burn rates.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Series {
    let mut section = reader.section(&SECTION);
    Series {
        retain: section.get("retain", |value| duration(value, SHORTEST_RETENTION)),
        objective: section.get("objective", |value| number(value, 50.0, 99.99)) / 100.0,
    }
}
