//! `[collect]`: the collectors.

use std::time::Duration;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::{duration, flag};

/// How often collectors run, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collect {
    pub period: Duration,
    /// Shorter than the period.
    pub timeout: Duration,
    /// CPU, memory and disks of this host.
    pub system: bool,
}

/// Reading more often than this costs more than it tells.
const SHORTEST_PERIOD: Duration = Duration::from_secs(10);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);

pub(super) const SECTION: Section = Section {
    name: "collect",
    help: "Collectors.",
    settings: &[
        Setting::new(
            "period",
            r#""30s""#,
            "Time between two rounds, at least 10s.",
        ),
        Setting::new(
            "timeout",
            r#""10s""#,
            "Time that one collector may take, less than period.",
        ),
        Setting::new(
            "system",
            "true",
            "Read CPU, memory and disks of this host or container.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Collect {
    let mut section = reader.section(&SECTION);
    let collect = Collect {
        period: section.get("period", |value| duration(value, SHORTEST_PERIOD)),
        timeout: section.get("timeout", |value| duration(value, SHORTEST_TIMEOUT)),
        system: section.get("system", flag),
    };
    if collect.timeout >= collect.period {
        section.fault(
            "timeout",
            &format!(
                "must be less than collect.period ({}), got {}",
                humantime::format_duration(collect.period),
                humantime::format_duration(collect.timeout)
            ),
        );
    }
    collect
}
