//! `[maintenance]`: planned times in which alarms are not told.

use jiff::Timestamp;
use toml::Value;

use super::reader::{Converted, Reader};
use super::setting::{Section, Setting};
use super::value::{Row, rows};
use crate::model::notice::Mute;

pub(super) const SECTION: Section = Section {
    name: "maintenance",
    help: "Planned times in which alarms are not told. What is still wrong at the end is told then.",
    settings: &[Setting::new(
        "windows",
        "[]",
        "Windows from a time to a time, for the alarms whose name matches a pattern.",
    )
    .at_once()
    .example(
        "[[maintenance.windows]]\n\
         from = \"2026-12-05T22:00:00+01:00\"\n\
         to = \"2026-12-06T02:00:00+01:00\"\n\
         alarms = \"ClaudeCode-*\"\n\
         reason = \"upgrade of the gateway\"",
    )],
};

/// Who set the windows of the configuration.
const CREATED_BY: &str = "configuration";

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Mute> {
    reader.section(&SECTION).get("windows", windows)
}

fn windows(value: &Value) -> Converted<Vec<Mute>> {
    rows(value, |row| {
        let (from, to) = (time(row, "from"), time(row, "to"));
        let alarms = row.optional("alarms").unwrap_or_else(|| "*".to_owned());
        let reason = row.required("reason");
        let (from, to) = (from?, to?);
        if to <= from {
            row.problem("to", "must be after from");
        }
        Some(Mute {
            id: None,
            from,
            to,
            alarms,
            reason: reason?,
            created_by: CREATED_BY.to_owned(),
        })
    })
}

fn time(row: &mut Row<'_>, key: &'static str) -> Option<Timestamp> {
    let time = row.required(key)?.parse().ok();
    if time.is_none() {
        row.problem(
            key,
            "must be a time in quotes such as \"2026-12-05T22:00:00+01:00\"",
        );
    }
    time
}
