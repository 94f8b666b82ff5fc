//! `[time]`: the zone of days and months.

use jiff::tz::TimeZone;
use toml::Value;

use super::reader::{Converted, Reader, must_be};
use super::setting::{Section, Setting};

/// The zone whose calendar days, weeks and months are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    pub zone: TimeZone,
}

pub(super) const SECTION: Section = Section {
    name: "time",
    help: "The calendar.",
    settings: &[Setting::new(
        "zone",
        r#""UTC""#,
        "IANA time zone of days, weeks and months, such as Asia/Tokyo.",
    )],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Time {
    let mut section = reader.section(&SECTION);
    Time {
        zone: section.get("zone", zone),
    }
}

fn zone(value: &Value) -> Converted<TimeZone> {
    match value.as_str().map(TimeZone::get) {
        Some(Ok(zone)) => Ok(zone),
        _ => must_be("an IANA time zone such as UTC or Asia/Tokyo", value),
    }
}
