//! Upkeep in small rounds: days and months are rolled up, what is too old is let go.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::span::Spans;
use super::{StoreError, alarm, day_sheet};

/// Seconds in a day.
const DAY: i64 = 86_400;

/// Control totals and activities are kept for 25 months of 31 days.
const KEEP_SUMS_DAYS: i64 = 25 * 31;

/// Deliveries of webhooks and commits wait so long for what belongs to them.
const KEEP_DELIVERIES_DAYS: i64 = 90;

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// Raw reports let go in one round.
const FACTS_PER_ROUND: usize = 2_000;

/// Keys of counter points looked at in one round, and sessions likewise. Each round looks at the
/// next ones, so that no round has to read a whole table.
const KEYS_PER_ROUND: i64 = 20_000;
const SESSIONS_PER_ROUND: i64 = 2_000;

/// Rows of sums let go in one round.
const SUMS_PER_ROUND: usize = 5_000;

/// Where the next round goes on. A restart begins anew.
#[derive(Debug, Default)]
pub(super) struct Walk {
    seen: Vec<u8>,
    cumulative: Vec<u8>,
    session: i64,
    /// The first day of which the sheet is looked at.
    sheets: i64,
}

/// One round, in a transaction of its own. Returns true if more is due.
pub(super) fn round(
    connection: &Connection,
    spans: &mut Spans,
    now: Timestamp,
    retain_raw: Duration,
    walk: &mut Walk,
) -> Result<bool, StoreError> {
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(StoreError::sql("begin upkeep"))?;
    let mut ahead = spans.clone();
    let done = ahead
        .round(connection, now)
        .and_then(|more| Ok(more | prune(connection, now, retain_raw, walk)?))
        .and_then(|more| Ok(more | day_sheet::round(connection, &mut walk.sheets)?));
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

/// Lets go of raw reports and of what only they need. Counters are held against requests for as
/// long as those are kept.
fn prune(
    connection: &Connection,
    now: Timestamp,
    retain_raw: Duration,
    walk: &mut Walk,
) -> Result<bool, StoreError> {
    let retain = i64::try_from(retain_raw.as_secs()).unwrap_or(i64::MAX / 2);
    let before_day = (now.as_second() - retain).div_euclid(DAY);
    let facts = prune_facts(connection, before_day)?;
    prune_keys(connection, SEEN, &mut walk.seen, before_day)?;
    prune_keys(connection, CUMULATIVE, &mut walk.cumulative, before_day)?;
    prune_scopes(connection, &mut walk.session, before_day * 96)?;
    let sums = prune_sums(connection, now.as_second().div_euclid(DAY) - KEEP_SUMS_DAYS)?;
    alarm::prune(connection, now)?;
    Ok(facts == FACTS_PER_ROUND || sums)
}

/// Finds the end of the next stretch of keys, and deletes the old ones within it.
type KeySql = [&'static str; 2];

const SEEN: KeySql = [
    "SELECT key FROM seen WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?",
    "DELETE FROM seen WHERE key > ? AND (key <= ?2 OR ?2 IS NULL) AND received < ?3",
];

const CUMULATIVE: KeySql = [
    "SELECT series FROM cumulative WHERE series > ? ORDER BY series LIMIT 1 OFFSET ?",
    "DELETE FROM cumulative WHERE series > ? AND (series <= ?2 OR ?2 IS NULL) AND received < ?3",
];

fn prune_keys(
    connection: &Connection,
    [find, delete]: KeySql,
    cursor: &mut Vec<u8>,
    before_day: i64,
) -> Result<(), StoreError> {
    let end: Option<Vec<u8>> = connection
        .prepare_cached(find)
        .and_then(|mut find| {
            find.query_row(params![*cursor, KEYS_PER_ROUND], |row| row.get(0))
                .optional()
        })
        .map_err(StoreError::sql("find old points"))?;
    connection
        .prepare_cached(delete)
        .and_then(|mut delete| delete.execute(params![*cursor, end, before_day]))
        .map_err(StoreError::sql("prune points"))?;
    *cursor = end.unwrap_or_default();
    Ok(())
}

/// Sessions are numbered in order of arrival, so a stretch of numbers is a stretch of time.
fn prune_scopes(
    connection: &Connection,
    session: &mut i64,
    before_quarter: i64,
) -> Result<(), StoreError> {
    let first = *session;
    let end = first + SESSIONS_PER_ROUND;
    for delete in [
        "DELETE FROM cover WHERE session >= ? AND session < ? AND quarter < ?",
        "DELETE FROM metered WHERE session >= ? AND session < ? AND quarter < ?",
    ] {
        connection
            .prepare_cached(delete)
            .and_then(|mut delete| delete.execute([first, end, before_quarter]))
            .map_err(StoreError::sql("prune scopes"))?;
    }
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM session")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .map_err(StoreError::sql("find the last session"))?;
    *session = if end > last { 0 } else { end };
    Ok(())
}

/// Control totals and activities are kept as long as days and months.
fn prune_sums(connection: &Connection, before_day: i64) -> Result<bool, StoreError> {
    let tables = [
        (
            "DELETE FROM control_day WHERE (day, source, sku) IN \
             (SELECT day, source, sku FROM control_day WHERE day < ? LIMIT ?)",
            before_day,
        ),
        (
            "DELETE FROM activity_quarter WHERE (quarter, identity, metric, labels) IN (SELECT \
             quarter, identity, metric, labels FROM activity_quarter WHERE quarter < ? LIMIT ?)",
            before_day * 96,
        ),
        (
            "DELETE FROM business_event WHERE (source, id) IN \
             (SELECT source, id FROM business_event WHERE at < ? LIMIT ?)",
            before_day * DAY_MS,
        ),
        (
            "DELETE FROM business_delivery WHERE (source, id) IN \
             (SELECT source, id FROM business_delivery WHERE at < ? LIMIT ?)",
            (before_day + KEEP_SUMS_DAYS - KEEP_DELIVERIES_DAYS) * DAY_MS,
        ),
        (
            "DELETE FROM business_commit WHERE hash IN \
             (SELECT hash FROM business_commit WHERE at < ? LIMIT ?)",
            (before_day + KEEP_SUMS_DAYS - KEEP_DELIVERIES_DAYS) * DAY_MS,
        ),
    ];
    let mut more = false;
    for (delete, before) in tables {
        let deleted = connection
            .prepare_cached(delete)
            .and_then(|mut delete| delete.execute(params![before, SUMS_PER_ROUND]))
            .map_err(StoreError::sql("prune sums"))?;
        more |= deleted == SUMS_PER_ROUND;
    }
    Ok(more)
}

/// Reports lie in order of arrival, so the oldest come first by number. Their keys lead nowhere
/// from then on, and go when a run of keys is next written.
fn prune_facts(connection: &Connection, before_day: i64) -> Result<usize, StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM fact WHERE id < coalesce( \
             (SELECT id FROM (SELECT id, received FROM fact ORDER BY id LIMIT ?1) \
              WHERE received >= ?2 ORDER BY id LIMIT 1), \
             (SELECT id FROM fact ORDER BY id LIMIT 1 OFFSET ?1), \
             9223372036854775807)",
        )
        .and_then(|mut delete| delete.execute(params![FACTS_PER_ROUND, before_day]))
        .map_err(StoreError::sql("prune reports"))
}
