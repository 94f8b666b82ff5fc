//! Corrections of quota counters by hand, which survive like usage does.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};

use super::alarm::time;
use super::{Ledger, QueryError, StoreError};
use crate::model::adjustment::Adjustment;
use crate::model::policy::{Field, Unit};

/// Corrections kept at most: one an hour for eleven years.
const MAX_ADJUSTMENTS: i64 = 100_000;

impl Ledger {
    /// Keeps a correction. Returns the one that has its id already, if there is one.
    ///
    /// Errors: [`QueryError::TooLarge`] if there are too many.
    pub async fn add_adjustment(&self, new: Adjustment) -> Result<Option<Adjustment>, QueryError> {
        let added = self.change(move |transaction| {
            let known = transaction
                .query_row(
                    "SELECT id, at, limit_name, unit, scope, amount, reason, created_by \
                     FROM quota_adjustment WHERE id = ?",
                    [&*new.id],
                    adjustment,
                )
                .optional()
                .map_err(StoreError::sql("look for a correction"))?;
            if known.is_some() {
                return Ok((known, 1));
            }
            let scope = new.scope.iter();
            let scope: BTreeMap<&str, &str> = scope.map(|(f, v)| (f.name(), &**v)).collect();
            let scope = serde_json::to_string(&scope).unwrap_or_default();
            let inserted = transaction
                .execute(
                    "INSERT INTO quota_adjustment \
                     (id, at, limit_name, unit, scope, amount, reason, created_by) \
                     SELECT ?, ?, ?, ?, ?, ?, ?, ? \
                     WHERE (SELECT count(*) FROM quota_adjustment) < ?",
                    params![
                        &*new.id,
                        new.at.as_millisecond(),
                        &*new.limit,
                        new.unit.name(),
                        scope,
                        &*new.amount,
                        &*new.reason,
                        &*new.created_by,
                        MAX_ADJUSTMENTS,
                    ],
                )
                .map_err(StoreError::sql("keep a correction"))?;
            Ok((None, inserted))
        });
        let (known, inserted) = added.await?;
        if inserted == 0 {
            let message = format!("there are {MAX_ADJUSTMENTS} corrections already");
            return Err(QueryError::TooLarge(message));
        }
        Ok(known)
    }

    /// The newest corrections of a range, the newest first, and how many the range has.
    pub async fn latest_adjustments(
        &self,
        range: Range<Timestamp>,
        most: usize,
    ) -> Result<(Vec<Adjustment>, usize), QueryError> {
        // The end is exclusive, but the milliseconds of corrections are rounded down.
        let end =
            range.end.as_millisecond() + i64::from(range.end.subsec_nanosecond() % 1_000_000 > 0);
        let bounds = [range.start.as_millisecond(), end];
        self.read(move |reader| {
            let read = || {
                let mut select = reader.connection.prepare_cached(
                    "SELECT id, at, limit_name, unit, scope, amount, reason, created_by \
                     FROM quota_adjustment WHERE at >= ? AND at < ? \
                     ORDER BY at DESC, id DESC LIMIT ?",
                )?;
                let rows = select.query_map(params![bounds[0], bounds[1], most], adjustment)?;
                let mut count = reader.connection.prepare_cached(
                    "SELECT count(*) FROM quota_adjustment WHERE at >= ? AND at < ?",
                )?;
                let total = count.query_row(bounds, |row| row.get(0))?;
                Ok((rows.collect::<rusqlite::Result<_>>()?, total))
            };
            Ok(read().map_err(StoreError::sql("list corrections"))?)
        })
        .await
    }

    /// The corrections since a time, the oldest first.
    pub async fn adjustments(&self, since: Timestamp) -> Result<Vec<Adjustment>, QueryError> {
        self.read(move |reader| {
            let found = reader
                .connection
                .prepare_cached(
                    "SELECT id, at, limit_name, unit, scope, amount, reason, created_by \
                     FROM quota_adjustment WHERE at >= ? ORDER BY at, id",
                )
                .and_then(|mut select| {
                    let rows = select.query_map([since.as_millisecond()], adjustment)?;
                    rows.collect()
                });
            Ok(found.map_err(StoreError::sql("read corrections"))?)
        })
        .await
    }
}

fn adjustment(row: &Row<'_>) -> rusqlite::Result<Adjustment> {
    let text = |column| row.get::<_, Box<str>>(column);
    let unit = text("unit")?;
    let scope: BTreeMap<String, Box<str>> =
        serde_json::from_str(&text("scope")?).unwrap_or_default();
    let field = |name: &str| Field::ALL.into_iter().find(|field| field.name() == name);
    Ok(Adjustment {
        id: text("id")?,
        at: time(row, "at")?,
        limit: text("limit_name")?,
        unit: Unit::ALL
            .into_iter()
            .find(|known| known.name() == &*unit)
            .unwrap_or(Unit::Tokens),
        scope: scope
            .into_iter()
            .filter_map(|(name, value)| Some((field(&name)?, value)))
            .collect(),
        amount: text("amount")?,
        reason: text("reason")?,
        created_by: text("created_by")?,
    })
}
