//! Reports that were written by schedule.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::alarm::time;
use super::{Ledger, QueryError, StoreError};

/// Deliveries of one schedule that are kept.
const MAX_DELIVERIES: i64 = 400;

/// A report that arrived where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportDelivery {
    pub schedule: String,
    /// Half-open.
    pub from: Timestamp,
    pub to: Timestamp,
    pub written_at: Timestamp,
    pub report_id: String,
}

impl Ledger {
    /// The delivery of the latest period of a schedule.
    pub async fn last_delivery(
        &self,
        schedule: String,
    ) -> Result<Option<ReportDelivery>, QueryError> {
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
                            Ok(ReportDelivery {
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
    pub async fn note_delivery(&self, delivery: ReportDelivery) -> Result<(), QueryError> {
        self.change(move |transaction| {
            let write = || {
                transaction.execute(
                    "INSERT OR REPLACE INTO report_delivery \
                     (schedule, period_start, period_end, written_at, report_id) \
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        delivery.schedule,
                        delivery.from.as_millisecond(),
                        delivery.to.as_millisecond(),
                        delivery.written_at.as_millisecond(),
                        delivery.report_id,
                    ],
                )?;
                transaction.execute(
                    "DELETE FROM report_delivery WHERE schedule = ?1 AND period_start NOT IN \
                     (SELECT period_start FROM report_delivery WHERE schedule = ?1 \
                     ORDER BY period_start DESC LIMIT ?2)",
                    params![delivery.schedule, MAX_DELIVERIES],
                )?;
                Ok(())
            };
            write().map_err(StoreError::sql("note a delivery"))
        })
        .await
    }
}
