//! What reading the bill costs, and what the provider forecast.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{OptionalExtension as _, Row, params};

use super::super::alarm::time;
use super::super::{Ledger, QueryError, StoreError};
use super::{date, number};
use crate::model::bill::BillForecast;
use crate::model::money::PicoUsd;

impl Ledger {
    /// Counts one call to Cost Explorer in the month of `now`, before it is made. Returns false,
    /// and counts nothing, if there were `most` in that month already.
    pub async fn book_bill_call(&self, now: Timestamp, most: u64) -> Result<bool, QueryError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.change(move |transaction| {
            let booked = transaction
                .execute(
                    "INSERT INTO bill_call (month, calls) SELECT ?1, 1 WHERE ?2 > 0 \
                     ON CONFLICT (month) DO UPDATE SET calls = calls + 1 WHERE calls < ?2",
                    params![month(now), most],
                )
                .map_err(StoreError::sql("count a call of Cost Explorer"))?;
            Ok(booked > 0)
        })
        .await
    }

    /// Calls to Cost Explorer in the UTC month of `now`.
    pub async fn bill_calls(&self, now: Timestamp) -> Result<u64, QueryError> {
        self.read(move |reader| {
            let calls: Option<i64> = reader
                .connection
                .query_row(
                    "SELECT calls FROM bill_call WHERE month = ?",
                    [month(now)],
                    |row| row.get(0),
                )
                .optional()
                .map_err(StoreError::sql("read the calls of Cost Explorer"))?;
            Ok(calls
                .and_then(|calls| u64::try_from(calls).ok())
                .unwrap_or(0))
        })
        .await
    }

    /// Keeps a forecast in place of the account's last one.
    pub async fn keep_bill_forecast(&self, forecast: BillForecast) -> Result<(), QueryError> {
        self.change(move |transaction| {
            transaction
                .execute(
                    "INSERT OR REPLACE INTO bill_forecast \
                     (account, from_day, to_day, currency, low, mid, high, level, made_at) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    params![
                        forecast.account,
                        number(forecast.from),
                        number(forecast.to),
                        forecast.currency,
                        forecast.low.0.to_string(),
                        forecast.mid.0.to_string(),
                        forecast.high.0.to_string(),
                        forecast.level,
                        forecast.made_at.as_millisecond(),
                    ],
                )
                .map_err(StoreError::sql("keep a forecast"))?;
            Ok(())
        })
        .await
    }

    /// The newest forecast of each account, by account. It may be of a month that is over.
    pub async fn bill_forecasts(&self) -> Result<Vec<BillForecast>, QueryError> {
        self.read(|reader| {
            let forecasts = reader
                .connection
                .prepare_cached(
                    "SELECT account, from_day, to_day, currency, low, mid, high, level, made_at \
                     FROM bill_forecast ORDER BY account",
                )
                .and_then(|mut select| select.query_map([], forecast)?.collect());
            Ok(forecasts.map_err(StoreError::sql("read forecasts"))?)
        })
        .await
    }
}

fn forecast(row: &Row<'_>) -> rusqlite::Result<BillForecast> {
    let amount = |column| {
        let text: String = row.get(column)?;
        Ok::<_, rusqlite::Error>(PicoUsd(text.parse().unwrap_or_default()))
    };
    Ok(BillForecast {
        account: row.get("account")?,
        from: date(row.get("from_day")?),
        to: date(row.get("to_day")?),
        currency: row.get("currency")?,
        low: amount("low")?,
        mid: amount("mid")?,
        high: amount("high")?,
        level: row.get("level")?,
        made_at: time(row, "made_at")?,
    })
}

/// `2026-11`, in UTC.
fn month(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string()
}
