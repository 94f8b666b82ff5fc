//! Reports that were written by schedule.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::alarm::time;
use super::{Ledger, QueryError, StoreError};

/// Reports of one schedule that are remembered.
const MAX_KEPT: i64 = 400;

/// A report that arrived where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenReport {
    pub schedule: String,
    /// Half-open.
    pub from: Timestamp,
    pub to: Timestamp,
    pub written_at: Timestamp,
    pub report_id: String,
}

impl Ledger {
    /// The report of the latest period of a schedule.
    pub async fn last_written_report(&self, schedule: String) -> Result<Option<WrittenReport>, QueryError> {
        self.read(move |reader| {
            let row = reader
                .connection
                .prepare_cached(
                    "SELECT period_start, period_end, written_at, report_id FROM report_delivery \
                     WHERE schedule = ? ORDER BY period_start DESC LIMIT 1",
                )
                .and_then(|mut select| {
                    select
                        .query_row([&schedule], |row| {
                            Ok(WrittenReport {
                                schedule: schedule.clone(),
                                from: time(row, "period_start")?,
                                to: time(row, "period_end")?,
                                written_at: time(row, "written_at")?,
                                report_id: row.get("report_id")?,
                            })
                        })
                        .optional()
                });
            Ok(row.map_err(StoreError::sql("read what was delivered"))?)
        })
        .await
    }

    /// Notes that a report was delivered. Of a schedule, only the latest ones are kept.
    pub async fn note_written_report(&self, written: WrittenReport) -> Result<(), QueryError> {
        self.change(move |transaction| {
            let write = || {
                transaction.execute(
                    "INSERT OR REPLACE INTO report_delivery \
                     (schedule, period_start, period_end, written_at, report_id) \
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        written.schedule,
                        written.from.as_millisecond(),
                        written.to.as_millisecond(),
                        written.written_at.as_millisecond(),
                        written.report_id,
                    ],
                )?;
                transaction.execute(
                    "DELETE FROM report_delivery WHERE schedule = ?1 AND period_start NOT IN \
                     (SELECT period_start FROM report_delivery WHERE schedule = ?1 \
                     ORDER BY period_start DESC LIMIT ?2)",
                    params![written.schedule, MAX_KEPT],
                )?;
                Ok(())
            };
            write().map_err(StoreError::sql("note a written report"))
        })
        .await
    }
}
