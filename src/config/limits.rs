//! `[limits]`: bounds of the listeners.

use std::time::Duration;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::{count, duration, size};

/// What callers may use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request body, after decompression.
    pub body: usize,
    /// Open connections of each listener; further ones wait.
    pub connections: usize,
    /// Requests in progress over all listeners; further ones get 429.
    pub concurrency: usize,
    /// Time from a request's header to its answer.
    pub request_timeout: Duration,
}

pub(super) const SECTION: Section = Section {
    name: "limits",
    help: "Bounds.",
    settings: &[
        Setting::new(
            "body",
            r#""16MiB""#,
            "Largest request body, after decompression; more gets 413.",
        ),
        Setting::new(
            "connections",
            "2048",
            "Open connections of each listener; further ones wait.",
        ),
        Setting::new(
            "concurrency",
            "512",
            "Requests in progress over all listeners; further ones get 429.",
        ),
        Setting::new(
            "request_timeout",
            r#""30s""#,
            "Time from a request's header to its answer; longer gets 503.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Limits {
    let mut section = reader.section(&SECTION);
    Limits {
        body: section.get("body", |value| size(value, 1 << 10, 1 << 30)),
        connections: section.get("connections", |value| count(value, 1, 1_000_000)),
        concurrency: section.get("concurrency", |value| count(value, 1, 1_000_000)),
        request_timeout: section.get("request_timeout", |value| {
            duration(value, Duration::from_secs(1))
        }),
    }
}
