//! Which minute takes a fact.
//!
//! A minute takes facts of its time until 15 seconds after its end. A fact that comes later, but
//! not more than an hour after it happened, joins the open minute; one from the future does too.
//! The open minute is that of the clock. Where the clock went back and that minute is sealed, the
//! next minutes stand in, a few at most: more would put a long time into one minute. So minutes
//! that were never sealed can still be filled after the clock went back, and sealed ones stay.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::Connection;

use super::moments::LeftOut;
use super::{Result, StoreError};

/// Milliseconds in a minute.
const MINUTE_MS: i64 = 60_000;

/// A minute is sealed this long after its end: exporters of clients send every five seconds.
const SEAL_AFTER_MS: i64 = 15_000;

/// Facts that come later than this belong to no minute.
const LATEST_MS: i64 = 3_600_000;

/// Minutes that may stand in for the open one when the clock went back.
const STAND_INS: i64 = 5;

/// True if a minute takes no more facts.
pub(super) fn is_due(minute: i64, now_ms: i64) -> bool {
    now_ms >= (minute + 1) * MINUTE_MS + SEAL_AFTER_MS
}

/// The last minute that takes no more facts.
#[must_use]
pub fn last_due(now: Timestamp) -> i64 {
    (now.as_millisecond() - SEAL_AFTER_MS).div_euclid(MINUTE_MS) - 1
}

/// The minute in which a time lies.
#[must_use]
pub fn minute_at(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(MINUTE_MS)
}

/// Places the facts of one commit.
#[derive(Debug)]
pub(super) struct Gate<'a> {
    connection: &'a Connection,
    now_ms: i64,
    sealed: BTreeMap<i64, bool>,
}

impl<'a> Gate<'a> {
    pub(super) fn new(connection: &'a Connection, now_ms: i64) -> Self {
        Self {
            connection,
            now_ms,
            sealed: BTreeMap::new(),
        }
    }

    /// The minute for a fact of this time, or why there is none.
    pub(super) fn minute_of(&mut self, at_ms: i64) -> Result<std::result::Result<i64, LeftOut>> {
        let (own, now) = (
            at_ms.div_euclid(MINUTE_MS),
            self.now_ms.div_euclid(MINUTE_MS),
        );
        if own <= now && !is_due(own, self.now_ms) && !self.is_sealed(own)? {
            return Ok(Ok(own));
        }
        if at_ms < self.now_ms - LATEST_MS {
            return Ok(Err(LeftOut::TooOld));
        }
        for minute in now..=now + STAND_INS {
            if !self.is_sealed(minute)? {
                return Ok(Ok(minute));
            }
        }
        Ok(Err(LeftOut::ClockBack))
    }

    fn is_sealed(&mut self, minute: i64) -> Result<bool> {
        if let Some(sealed) = self.sealed.get(&minute) {
            return Ok(*sealed);
        }
        let sealed = is_sealed(self.connection, minute)?;
        self.sealed.insert(minute, sealed);
        Ok(sealed)
    }
}

/// True if a minute no longer changes.
pub(super) fn is_sealed(connection: &Connection, minute: i64) -> Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM minute_sealed WHERE at = ?)")
        .and_then(|mut select| select.query_row([minute], |row| row.get(0)))
        .map_err(StoreError::sql("look for a sealed minute"))
}
