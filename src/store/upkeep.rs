//! Upkeep in small rounds: days and months are rolled up, what is too old is let go.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::StoreError;
use super::fact::Statements;
use super::span::Spans;

/// Raw reports let go in one round.
const FACTS_PER_ROUND: usize = 2_000;

/// Rows of other tables looked at in one round.
const ROWS_PER_ROUND: usize = 5_000;

/// One round, in a transaction of its own. Returns true if more is due.
pub(super) fn round(
    connection: &Connection,
    spans: &mut Spans,
    now: Timestamp,
    retain_raw: Duration,
) -> Result<bool, StoreError> {
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(StoreError::sql("begin upkeep"))?;
    let mut ahead = spans.clone();
    let done = ahead
        .round(connection, now)
        .and_then(|more| Ok(more | prune(connection, now, retain_raw)?));
    match done {
        Ok(more) => {
            connection
                .execute_batch("COMMIT")
                .map_err(StoreError::sql("commit upkeep"))?;
            *spans = ahead;
            Ok(more)
        }
        Err(error) => {
            if !connection.is_autocommit() {
                // If even this fails, the next BEGIN fails and says why.
                let _ = connection.execute_batch("ROLLBACK");
            }
            Err(error)
        }
    }
}

/// Lets go of raw reports and of what only they need.
fn prune(
    connection: &Connection,
    now: Timestamp,
    retain_raw: Duration,
) -> Result<bool, StoreError> {
    let retain = i64::try_from(retain_raw.as_secs()).unwrap_or(i64::MAX / 2);
    let before_day = (now.as_second() - retain).div_euclid(86_400);
    let facts = prune_facts(connection, before_day)?;
    let mut more = facts == FACTS_PER_ROUND;
    let before_quarter = before_day * 96;
    // Of these the time of the usage decides, not of its arrival: counters are held against
    // requests for as long as a report of that time is kept.
    let tables = [
        (
            "DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE received < ? LIMIT ?)",
            before_day,
        ),
        (
            "DELETE FROM cumulative WHERE (series, start) IN \
             (SELECT series, start FROM cumulative WHERE received < ? LIMIT ?)",
            before_day,
        ),
        (
            "DELETE FROM cover WHERE (session, model, quarter) IN \
             (SELECT session, model, quarter FROM cover WHERE quarter < ? LIMIT ?)",
            before_quarter,
        ),
        (
            "DELETE FROM metered WHERE (session, model, quarter, identity, sku) IN (SELECT \
             session, model, quarter, identity, sku FROM metered WHERE quarter < ? LIMIT ?)",
            before_quarter,
        ),
    ];
    for (sql, before) in tables {
        let deleted = connection
            .prepare_cached(sql)
            .and_then(|mut delete| delete.execute(params![before, ROWS_PER_ROUND]))
            .map_err(StoreError::sql("prune"))?;
        more |= deleted == ROWS_PER_ROUND;
    }
    Ok(more)
}

/// Reports lie in order of arrival, so the oldest come first by number.
fn prune_facts(connection: &Connection, before_day: i64) -> Result<usize, StoreError> {
    let mut statements = Statements::prepare(connection)?;
    let oldest: Vec<i64> = connection
        .prepare_cached("SELECT id FROM fact ORDER BY id LIMIT ?")
        .and_then(|mut select| {
            select
                .query_map([FACTS_PER_ROUND], |row| row.get(0))?
                .collect()
        })
        .map_err(StoreError::sql("find old reports"))?;
    let mut pruned = 0;
    for id in oldest {
        let Some(fact) = statements.select(id)? else {
            continue;
        };
        if fact.received >= before_day {
            break;
        }
        statements.delete(&fact)?;
        pruned += 1;
    }
    Ok(pruned)
}
