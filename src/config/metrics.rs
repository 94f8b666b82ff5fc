//! `[metrics]`: what `/metrics` shows of persons, and how much.

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::{choice, count};

/// The shape of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub per_user: PerUser,
    /// Series that carry a user; beyond it they are summed under `user="other"`.
    pub max_series: usize,
}

/// How users appear as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerUser {
    On,
    /// Keyed hashes instead of names.
    Pseudonym,
    /// The label is empty.
    Off,
}

pub(super) const SECTION: Section = Section {
    name: "metrics",
    help: "The shape of /metrics.",
    settings: &[
        Setting::new(
            "per_user",
            r#""on""#,
            "on shows users, pseudonym shows keyed hashes, off leaves the label empty.",
        ),
        Setting::new(
            "max_series",
            "50000",
            "Most series; beyond it new ones are summed under user=\"other\".",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Metrics {
    let mut section = reader.section(&SECTION);
    Metrics {
        per_user: section.get("per_user", |value| {
            choice(value, "on, pseudonym, off", |name| match name {
                "on" => Some(PerUser::On),
                "pseudonym" => Some(PerUser::Pseudonym),
                "off" => Some(PerUser::Off),
                _ => None,
            })
        }),
        max_series: section.get("max_series", |value| count(value, 100, 10_000_000)),
    }
}
