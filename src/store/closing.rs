//! Months that were closed, and their frozen lines. Nothing here is ever changed, but for the names
//! of persons who are forgotten (`forget.rs`).

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::alarm::time;
use super::{Ledger, QueryError, StoreError};
use crate::model::closing::{ClosedLine, ClosedMonth};

impl Ledger {
    /// Closes a month with its lines. Returns the month as it was closed before, if it was: then
    /// nothing changes.
    pub async fn close_month(
        &self,
        month: ClosedMonth,
        lines: Vec<ClosedLine>,
    ) -> Result<Option<ClosedMonth>, QueryError> {
        self.change(move |transaction| {
            close(transaction, &month, &lines).map_err(StoreError::sql("close a month"))
        })
        .await
    }

    /// The closed months, the earliest first.
    pub async fn closed_months(&self) -> Result<Vec<ClosedMonth>, QueryError> {
        self.read(|reader| {
            let found = months(&reader.connection);
            Ok(found.map_err(StoreError::sql("read closed months"))?)
        })
        .await
    }

    /// The lines that were frozen with a month.
    pub async fn closed_lines(&self, month: &str) -> Result<Vec<ClosedLine>, QueryError> {
        self.lines("SELECT corrects, keys, amounts, method FROM closed_line WHERE month = ? ORDER BY position", month)
            .await
    }

    /// The lines that correct a month and were frozen with later ones, in the order in which those
    /// were closed, each with the month it was frozen with.
    pub async fn booked_corrections(
        &self,
        month: &str,
    ) -> Result<Vec<(Arc<str>, ClosedLine)>, QueryError> {
        let month = month.to_owned();
        self.read(move |reader| {
            let found = reader
                .connection
                .prepare_cached(
                    "SELECT corrects, keys, amounts, method, closed_line.month AS booked \
                     FROM closed_line JOIN closed_month ON closed_month.month = closed_line.month \
                     WHERE corrects = ?1 AND closed_line.month <> ?1 \
                     ORDER BY closed_at, closed_line.month, position",
                )
                .and_then(|mut select| {
                    let with_month =
                        |row: &Row<'_>| Ok((row.get::<_, Arc<str>>("booked")?, line(row)?));
                    select.query_map([&month], with_month)?.collect()
                });
            Ok(found.map_err(StoreError::sql("read corrections of a month"))?)
        })
        .await
    }

    async fn lines(
        &self,
        select: &'static str,
        month: &str,
    ) -> Result<Vec<ClosedLine>, QueryError> {
        let month = month.to_owned();
        self.read(move |reader| {
            let found = reader
                .connection
                .prepare_cached(select)
                .and_then(|mut select| select.query_map([&month], line)?.collect());
            Ok(found.map_err(StoreError::sql("read lines of a closed month"))?)
        })
        .await
    }
}

fn close(
    transaction: &Transaction<'_>,
    month: &ClosedMonth,
    lines: &[ClosedLine],
) -> rusqlite::Result<Option<ClosedMonth>> {
    let known = transaction
        .prepare_cached(
            "SELECT month, zone, closed_at, closed_by, forced, standing, columns, sha256, manifest \
             FROM closed_month WHERE month = ?",
        )?
        .query_row([&month.month], closed)
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    let columns = serde_json::json!({"keys": texts(&month.keys), "amounts": texts(&month.amounts)});
    transaction
        .prepare_cached(
            "INSERT INTO closed_month (month, zone, closed_at, closed_by, forced, standing, \
             columns, sha256, manifest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            month.month,
            month.zone,
            month.closed_at.as_millisecond(),
            month.closed_by,
            month.forced,
            month.standing,
            columns.to_string(),
            month.sha256,
            month.manifest,
        ])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO closed_line (month, position, corrects, keys, amounts, method) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for (position, line) in (0_i64..).zip(lines) {
        let keys = serde_json::to_string(&texts(&line.keys)).unwrap_or_default();
        insert.execute(params![
            month.month,
            position,
            line.corrects,
            keys,
            amounts_text(&line.amounts),
            line.method,
        ])?;
    }
    Ok(None)
}

fn texts(list: &[Arc<str>]) -> Vec<&str> {
    list.iter().map(|text| &**text).collect()
}

/// Integers as text: JSON numbers are floats to most readers.
fn amounts_text(amounts: &[Option<i128>]) -> String {
    let texts: Vec<_> = amounts.iter().map(|a| a.map(|a| a.to_string())).collect();
    serde_json::to_string(&texts).unwrap_or_default()
}

fn months(connection: &Connection) -> rusqlite::Result<Vec<ClosedMonth>> {
    connection
        .prepare_cached(
            "SELECT month, zone, closed_at, closed_by, forced, standing, columns, sha256, manifest \
             FROM closed_month ORDER BY month",
        )?
        .query_map([], closed)?
        .collect()
}

fn closed(row: &Row<'_>) -> rusqlite::Result<ClosedMonth> {
    let text = |column| row.get::<_, Box<str>>(column);
    let columns = text("columns")?;
    let columns: serde_json::Value = serde_json::from_str(&columns).unwrap_or_default();
    let names = |key: &str| {
        let list = columns[key].as_array().into_iter().flatten();
        list.filter_map(|name| Some(name.as_str()?.into()))
            .collect()
    };
    Ok(ClosedMonth {
        month: text("month")?,
        zone: text("zone")?,
        closed_at: time(row, "closed_at")?,
        closed_by: text("closed_by")?,
        forced: row.get("forced")?,
        standing: text("standing")?,
        keys: names("keys"),
        amounts: names("amounts"),
        sha256: text("sha256")?,
        manifest: text("manifest")?,
    })
}

fn line(row: &Row<'_>) -> rusqlite::Result<ClosedLine> {
    let list = |column| -> rusqlite::Result<Vec<Option<String>>> {
        let text = row.get::<_, String>(column)?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    };
    let keys = list("keys")?.into_iter();
    let amounts = list("amounts")?.into_iter();
    Ok(ClosedLine {
        corrects: row.get("corrects")?,
        keys: keys.map(|key| key.unwrap_or_default().into()).collect(),
        amounts: amounts.map(|amount| amount?.parse().ok()).collect(),
        method: row.get("method")?,
    })
}
