//! What was read of the logs of Bedrock: how far each source was read, and which objects.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::params;

use super::fact::Hash;
use super::{Ledger, QueryError, StoreError};

/// Objects of hours older than this are forgotten: no round looks back as far.
const FORGET_AFTER_HOURS: i64 = 100 * 24;

/// The hour of objects that lie under none. They are remembered for good.
pub const NO_HOUR: i64 = i64::MAX;

/// How far a source was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogProgress {
    /// Its number.
    pub id: i64,
    /// Its first round.
    pub since: Timestamp,
    /// All before it was read.
    pub read_to: Timestamp,
}

/// The key under which an object in one version is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogObject([u8; 16]);

impl LogObject {
    /// `version` is an entity tag, or whatever else changes with the content.
    #[must_use]
    pub fn new(key: &str, version: &str) -> Self {
        let mut hash = Hash::new("log object");
        hash.text(key).text(version);
        Self(hash.long())
    }
}

impl Ledger {
    /// How far a source was read. A source that is new begins now, read to `begin`.
    pub async fn log_progress(
        &self,
        name: String,
        now: Timestamp,
        begin: Timestamp,
    ) -> Result<LogProgress, QueryError> {
        let [now, begin] = [now, begin].map(Timestamp::as_millisecond);
        self.change(move |transaction| {
            let row = transaction
                .execute(
                    "INSERT INTO log_source (name, since, read_to) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO NOTHING",
                    params![name, now, begin],
                )
                .and_then(|_| {
                    transaction.query_row(
                        "SELECT id, since, read_to FROM log_source WHERE name = ?",
                        [&name],
                        |row| {
                            Ok(LogProgress {
                                id: row.get("id")?,
                                since: super::alarm::time(row, "since")?,
                                read_to: super::alarm::time(row, "read_to")?,
                            })
                        },
                    )
                });
            row.map_err(StoreError::sql("read the progress of a log"))
        })
        .await
    }

    /// Those of some objects that were read.
    pub async fn logs_read(
        &self,
        source: i64,
        objects: Vec<LogObject>,
    ) -> Result<HashSet<LogObject>, QueryError> {
        self.read(move |reader| {
            let known = reader
                .connection
                .prepare_cached("SELECT 1 FROM log_object WHERE source = ? AND key = ?")
                .and_then(|mut select| {
                    let mut known = HashSet::new();
                    for object in objects {
                        if select.exists(params![source, object.0])? {
                            known.insert(object);
                        }
                    }
                    Ok(known)
                });
            Ok(known.map_err(StoreError::sql("look up objects of a log"))?)
        })
        .await
    }

    /// Remembers that an object of an hour was read.
    pub async fn log_read(
        &self,
        source: i64,
        object: LogObject,
        hour: i64,
    ) -> Result<(), QueryError> {
        self.change(move |transaction| {
            transaction
                .execute(
                    "INSERT OR IGNORE INTO log_object (source, key, hour) VALUES (?, ?, ?)",
                    params![source, object.0, hour],
                )
                .map(|_| ())
                .map_err(StoreError::sql("remember an object of a log"))
        })
        .await
    }

    /// Remembers that all of a source before a time was read, and forgets old objects.
    pub async fn log_read_to(&self, source: i64, read_to: Timestamp) -> Result<(), QueryError> {
        let oldest = read_to.as_second().div_euclid(3_600) - FORGET_AFTER_HOURS;
        let read_to = read_to.as_millisecond();
        self.change(move |transaction| {
            transaction
                .execute(
                    "UPDATE log_source SET read_to = max(read_to, ?) WHERE id = ?",
                    params![read_to, source],
                )
                .and_then(|_| {
                    transaction.execute(
                        "DELETE FROM log_object WHERE source = ? AND hour < ?",
                        params![source, oldest],
                    )
                })
                .map(|_| ())
                .map_err(StoreError::sql("remember the progress of a log"))
        })
        .await
    }
}
