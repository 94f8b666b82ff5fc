//! A plan written down: reports, roll-ups and shifted bookings, and a note of both figures.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::plan::{Change, Plan};
use super::{DAY_MS, Job, Result, Work, day_number};
use crate::store::StoreError;
use crate::store::fact::Statements;
use crate::store::rollup::{self, Differences, Sums};

impl Job {
    /// Writes what changes. Returns the number of the run, once it has one.
    pub(super) fn apply(
        &self,
        connection: &Connection,
        work: &Work,
        plan: &Plan,
        run: Option<i64>,
    ) -> Result<Option<i64>> {
        let mut statements = Statements::prepare(connection)?;
        for (id, state) in &plan.facts {
            statements.update(*id, state)?;
        }
        let execute = |sql: &str, values: &[i64]| {
            connection
                .prepare_cached(sql)
                .and_then(|mut update| update.execute(rusqlite::params_from_iter(values)))
                .map(drop)
                .map_err(StoreError::sql("price anew"))
        };
        for ([session, model, quarter, identity, sku, source], money) in &plan.metered {
            execute(
                "UPDATE metered SET cost = ?, unpriced = ? WHERE session = ? AND model = ? \
                 AND quarter = ? AND identity = ? AND sku = ? AND source = ?",
                &[
                    money.cost,
                    money.unpriced,
                    *session,
                    *model,
                    *quarter,
                    *identity,
                    *sku,
                    *source,
                ],
            )?;
        }
        for ((quarter, identity, sku), cost) in &plan.shifts {
            execute(
                "UPDATE booking_shift SET cost = cost + ? \
                 WHERE quarter = ? AND identity = ? AND sku = ?",
                &[*cost, *quarter, *identity, *sku],
            )?;
        }
        let mut differences = Differences::default();
        for (key, money) in &plan.deltas {
            let sums = Sums {
                cost: money.cost,
                unpriced: money.unpriced,
                ..Sums::default()
            };
            differences.insert(*key, sums);
        }
        rollup::apply(connection, &self.spans.reload(connection)?, differences)?;
        if plan.changes.is_empty() {
            return Ok(run);
        }
        let run = match run {
            Some(run) => run,
            None => self.begin(connection)?,
        };
        Self::note(connection, work.day, run, &plan.changes)?;
        Ok(Some(run))
    }

    fn begin(&self, connection: &Connection) -> Result<i64> {
        let (order, prices) = (&self.order, &self.terms.prices);
        connection
            .prepare_cached(
                "INSERT INTO reprice_run (at, first_day, end_day, version, sha256, reason, \
                 created_by) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| {
                insert.insert(params![
                    order.at.as_millisecond(),
                    day_number(order.from),
                    day_number(order.to),
                    prices.version(),
                    prices.sha256(),
                    &*order.reason,
                    &*order.by,
                ])
            })
            .map_err(StoreError::sql("begin a run of prices"))
    }

    fn note(connection: &Connection, day: i64, run: i64, changes: &[Change]) -> Result<()> {
        let old_version: Option<String> = connection
            .prepare_cached(
                "SELECT version FROM (SELECT at, version FROM reprice_run \
                 WHERE id < ?1 AND first_day <= ?2 AND end_day > ?2 UNION ALL \
                 SELECT at, version FROM price_table_use WHERE at < ?3) ORDER BY at DESC LIMIT 1",
            )
            .and_then(|mut select| {
                let end = (day + 1) * DAY_MS;
                select
                    .query_row([run, day, end], |row| row.get(0))
                    .optional()
            })
            .map_err(StoreError::sql("find the prices of a day"))?;
        let old_version = old_version.unwrap_or_default();
        let mut insert = connection
            .prepare_cached(
                "INSERT INTO price_adjustment (day, run, identity, sku, old_cost, new_cost, \
                 old_unpriced, new_unpriced, old_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .map_err(StoreError::sql("prepare an adjustment"))?;
        for change in changes {
            insert
                .execute(params![
                    day,
                    run,
                    change.identity,
                    change.sku,
                    change.old.cost,
                    change.new.cost,
                    change.old.unpriced,
                    change.new.unpriced,
                    old_version,
                ])
                .map_err(StoreError::sql("note an adjustment"))?;
        }
        Ok(())
    }
}
