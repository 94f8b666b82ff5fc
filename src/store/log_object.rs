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
    /// How far a source was read. A source that is new begins now.
    pub async fn log_progress(
        &self,
        name: String,
        now: Timestamp,
    ) -> Result<LogProgress, QueryError> {
        let now = now.as_millisecond();
        self.change(move |transaction| {
            let row = transaction
                .execute(
                    "INSERT INTO log_source (name, since, read_to) VALUES (?1, ?2, ?2) \
                     ON CONFLICT DO NOTHING",
                    params![name, now],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::record::testing::Scratch;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_source_goes_on_where_it_was_and_never_back() {
        let scratch = Scratch::new(Clock::manual(at(NOW)));
        let ledger = scratch.recorder.ledger();
        let begun = ledger.log_progress("s3://a/b".to_owned(), at(NOW)).await;
        let begun = begun.unwrap();
        assert_eq!((begun.since, begun.read_to), (at(NOW), at(NOW)));
        let later = at("2026-11-22T13:00:00Z");
        ledger.log_read_to(begun.id, later).await.unwrap();
        ledger.log_read_to(begun.id, at(NOW)).await.unwrap();
        let again = ledger.log_progress("s3://a/b".to_owned(), later).await;
        let expected = LogProgress {
            read_to: later,
            ..begun
        };
        assert_eq!(again.unwrap(), expected);
    }

    #[tokio::test]
    async fn an_object_is_known_by_key_and_version_until_its_hour_is_long_over() {
        let scratch = Scratch::new(Clock::manual(at(NOW)));
        let ledger = scratch.recorder.ledger();
        let [old, new, flat] = ["1", "2", "3"].map(|version| LogObject::new("key", version));
        let hour = at(NOW).as_second() / 3_600;
        ledger.log_read(1, old, hour).await.unwrap();
        ledger.log_read(1, flat, NO_HOUR).await.unwrap();
        let all = vec![old, new, flat];
        let known = ledger.logs_read(1, all.clone()).await.unwrap();
        assert_eq!(known, HashSet::from([old, flat]));
        assert!(ledger.logs_read(2, all.clone()).await.unwrap().is_empty());
        let long_after = at("2027-03-22T12:00:00Z");
        ledger.log_read_to(1, long_after).await.unwrap();
        let known = ledger.logs_read(1, all).await.unwrap();
        assert_eq!(known, HashSet::from([flat]));
    }
}
