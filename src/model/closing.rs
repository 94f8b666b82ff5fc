//! Months that were closed: their figures are frozen, what changes later is an adjustment.

use std::sync::Arc;

use jiff::Timestamp;

/// A closed month. It is never opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedMonth {
    /// `2026-10`, in the calendar of `zone`.
    pub month: Box<str>,
    /// IANA name.
    pub zone: Box<str>,
    pub closed_at: Timestamp,
    /// The name of the token with which it was closed.
    pub closed_by: Box<str>,
    /// It was closed although its figures could still change.
    pub forced: bool,
    /// How sure its figures were.
    pub standing: Box<str>,
    /// Names of the columns of its lines.
    pub keys: Vec<Arc<str>>,
    pub amounts: Vec<Arc<str>>,
    /// SHA-256 of its lines as they were frozen.
    pub sha256: Box<str>,
    /// JSON: what the lines were made of.
    pub manifest: Box<str>,
}

impl ClosedMonth {
    /// The lines are no longer those of the hash: a person in them was forgotten.
    #[must_use]
    pub fn is_renamed(&self) -> bool {
        let manifest = serde_json::from_str::<serde_json::Value>(&self.manifest);
        manifest.is_ok_and(|manifest| manifest.get("forgotten").is_some())
    }
}

/// One frozen line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedLine {
    /// The month that was closed itself, or an earlier closed one whose change was booked with it.
    pub corrects: Arc<str>,
    /// In the order of the month's keys.
    pub keys: Vec<Arc<str>>,
    /// In the order of the month's amounts, money in pico-USD; `None` where nothing was known.
    pub amounts: Vec<Option<i128>>,
    /// How its amount came to it.
    pub method: Arc<str>,
}
