//! Maintenance windows that were set while tallyd ran.

use jiff::Timestamp;
use rusqlite::params;

use super::alarm::time;
use super::{Ledger, QueryError, StoreError};
use crate::model::notice::Mute;

/// Maintenance windows kept at most: more than people set by hand, and few enough to look through
/// at each round.
pub const MAX_MUTES: i64 = 1_000;

impl Ledger {
    /// The windows that are set, those that have ended lately included, by their beginning.
    pub async fn mutes(&self) -> Result<Vec<Mute>, QueryError> {
        self.read(|reader| {
            let mutes = reader
                .connection
                .prepare_cached(
                    "SELECT id, starts, ends, alarms, reason, created_by FROM mute \
                     ORDER BY starts, id",
                )
                .and_then(|mut select| {
                    let rows = select.query_map([], |row| {
                        Ok(Mute {
                            id: Some(row.get("id")?),
                            from: time(row, "starts")?,
                            to: time(row, "ends")?,
                            alarms: row.get("alarms")?,
                            reason: row.get("reason")?,
                            created_by: row.get("created_by")?,
                        })
                    })?;
                    rows.collect()
                });
            Ok(mutes.map_err(StoreError::sql("read maintenance windows"))?)
        })
        .await
    }

    /// Sets a window and returns its number.
    ///
    /// Errors: [`QueryError::TooLarge`] if there are too many already.
    pub async fn add_mute(&self, mute: Mute) -> Result<i64, QueryError> {
        let added = self.change(move |transaction| {
            let inserted = transaction.execute(
                "INSERT INTO mute (starts, ends, alarms, reason, created_by) \
                 SELECT ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM mute) < ?",
                params![
                    mute.from.as_millisecond(),
                    mute.to.as_millisecond(),
                    mute.alarms,
                    mute.reason,
                    mute.created_by,
                    MAX_MUTES,
                ],
            );
            let inserted = inserted.map_err(StoreError::sql("set a maintenance window"))?;
            Ok((inserted > 0).then(|| transaction.last_insert_rowid()))
        });
        added.await?.ok_or_else(|| {
            QueryError::TooLarge(format!(
                "there are {MAX_MUTES} maintenance windows already; they are let go 90 days after \
                 they end"
            ))
        })
    }

    /// Ends a window now; one that has not begun is as if it had never been. Returns false if
    /// there is none with this number that is still to end.
    pub async fn end_mute(&self, id: i64, now: Timestamp) -> Result<bool, QueryError> {
        let now = now.as_millisecond();
        self.change(move |transaction| {
            let ended = transaction
                .execute(
                    "UPDATE mute SET ends = max(starts, ?2) WHERE id = ?1 AND ends > ?2",
                    [id, now],
                )
                .map_err(StoreError::sql("end a maintenance window"))?;
            Ok(ended > 0)
        })
        .await
    }
}
