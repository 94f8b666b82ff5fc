//! Alarms as they stand, and what happened to them.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::query::Reader;
use super::{Ledger, QueryError, StoreError, notice};
use crate::model::alarm::{State, Transition};
use crate::model::notice::Notice;

/// What happened to alarms is kept this long.
const KEEP_HISTORY_DAYS: i64 = 90;

/// What a target heard last of a warning of quotas that stands no more is kept this long. It must
/// be more than a day, in which the end of one may wait to be told.
const KEEP_WARNINGS_DAYS: i64 = 7;

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// Transitions kept at most, the oldest go first. A hundred alarms that flap every minute fill it
/// in half a day.
const MAX_HISTORY: i64 = 100_000;

/// Transitions let go in one round.
const HISTORY_PER_ROUND: i64 = 2_000;

/// Transitions that one question is answered with.
pub const MAX_HISTORY_ANSWER: usize = 1_000;

/// How an alarm stands.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmStatus {
    pub name: String,
    pub state: State,
    /// When it came into this state.
    pub since: Timestamp,
    /// When it was evaluated last with a result worth writing down.
    pub updated: Timestamp,
    pub reason: String,
    pub value: Option<f64>,
}

/// What happened to an alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmChange {
    pub alarm: String,
    pub from: State,
    pub to: State,
    pub at: Timestamp,
    pub reason: String,
    pub value: Option<f64>,
}

impl From<&Transition> for AlarmChange {
    fn from(transition: &Transition) -> Self {
        Self {
            alarm: transition.alarm.name.clone(),
            from: transition.from,
            to: transition.to,
            at: transition.at,
            reason: transition.reason.clone(),
            value: transition.value,
        }
    }
}

impl Ledger {
    /// All alarms that were ever evaluated and not removed, by name.
    pub async fn alarm_states(&self) -> Result<Vec<AlarmStatus>, QueryError> {
        self.read(|reader| Ok(states(reader).map_err(StoreError::sql("read alarm states"))?))
            .await
    }

    /// Writes the outcome of an evaluation: new states, alarms that are no more, what happened,
    /// and what is due because of it. All or nothing, so that a change is acted on once.
    pub async fn settle_alarms(
        &self,
        changed: Vec<AlarmStatus>,
        removed: Vec<String>,
        history: Vec<AlarmChange>,
        notices: Vec<Notice>,
    ) -> Result<(), QueryError> {
        self.change(move |transaction| {
            write_states(transaction, &changed, &removed)
                .and_then(|()| write_history(transaction, &history))
                .map_err(StoreError::sql("write alarm states"))?;
            notice::insert(transaction, &notices)
        })
        .await
    }

    /// What happened since a time, of one alarm or of all, the newest first, at most `limit` and
    /// [`MAX_HISTORY_ANSWER`].
    pub async fn alarm_history(
        &self,
        since: Timestamp,
        alarm: Option<String>,
        limit: usize,
    ) -> Result<Vec<AlarmChange>, QueryError> {
        self.read(move |reader| {
            let read = history(reader, since, alarm.as_deref(), limit);
            Ok(read.map_err(StoreError::sql("read what happened to alarms"))?)
        })
        .await
    }
}

const SELECT_STATES: &str =
    "SELECT name, state, since, updated, reason, value FROM alarm_state ORDER BY name";

fn states(reader: &Reader) -> rusqlite::Result<Vec<AlarmStatus>> {
    let mut select = reader.connection.prepare_cached(SELECT_STATES)?;
    let rows = select.query_map([], |row| {
        Ok(AlarmStatus {
            name: row.get("name")?,
            state: state(row, "state")?,
            since: time(row, "since")?,
            updated: time(row, "updated")?,
            reason: row.get("reason")?,
            value: row.get("value")?,
        })
    })?;
    rows.collect()
}

fn write_states(
    connection: &Connection,
    changed: &[AlarmStatus],
    removed: &[String],
) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO alarm_state (name, state, since, updated, reason, value) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state, \
         since = excluded.since, updated = excluded.updated, reason = excluded.reason, \
         value = excluded.value",
    )?;
    for status in changed {
        upsert.execute(params![
            status.name,
            status.state.name(),
            status.since.as_millisecond(),
            status.updated.as_millisecond(),
            status.reason,
            status.value,
        ])?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM alarm_state WHERE name = ?")?;
    for name in removed {
        delete.execute([name])?;
    }
    Ok(())
}

fn write_history(connection: &Connection, changes: &[AlarmChange]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO alarm_history (at, alarm, old, new, reason, value) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for change in changes {
        insert.execute(params![
            change.at.as_millisecond(),
            change.alarm,
            change.from.name(),
            change.to.name(),
            change.reason,
            change.value,
        ])?;
    }
    Ok(())
}

const SELECT_HISTORY: &str = "SELECT at, alarm, old, new, reason, value FROM alarm_history \
     WHERE at >= ? AND (?2 IS NULL OR alarm = ?2) ORDER BY id DESC LIMIT ?";

fn history(
    reader: &Reader,
    since: Timestamp,
    alarm: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<AlarmChange>> {
    let mut select = reader.connection.prepare_cached(SELECT_HISTORY)?;
    let limit = limit.min(MAX_HISTORY_ANSWER);
    let rows = select.query_map(params![since.as_millisecond(), alarm, limit], |row| {
        Ok(AlarmChange {
            alarm: row.get("alarm")?,
            from: state(row, "old")?,
            to: state(row, "new")?,
            at: time(row, "at")?,
            reason: row.get("reason")?,
            value: row.get("value")?,
        })
    })?;
    rows.collect()
}

/// Lets go of what is too old or too much, and of what nobody can ask for any more.
pub(super) fn prune(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let before = now.as_millisecond() - KEEP_HISTORY_DAYS * DAY_MS;
    let deletes = [
        // In order of time, so the oldest come first by number.
        (
            "DELETE FROM alarm_history WHERE at < ?1 AND id IN \
             (SELECT id FROM alarm_history ORDER BY id LIMIT ?2)",
            HISTORY_PER_ROUND,
        ),
        (
            "DELETE FROM alarm_history WHERE ?1 = ?1 AND id <= \
             (SELECT max(id) FROM alarm_history) - ?2",
            MAX_HISTORY,
        ),
        (
            "DELETE FROM notice_told WHERE at < ?1 AND ?2 = 0 \
             AND alarm NOT IN (SELECT name FROM alarm_state)",
            0,
        ),
        ("DELETE FROM mute WHERE ends < ?1 AND ?2 = 0", 0),
        // Each counter has its own: those that stand no more have been told, or given up.
        (
            "DELETE FROM notice_told WHERE at < ?1 + ?2 AND alarm GLOB 'quota:*' \
             AND alarm NOT IN (SELECT name FROM quota_warning)",
            (KEEP_HISTORY_DAYS - KEEP_WARNINGS_DAYS) * DAY_MS,
        ),
    ];
    for (delete, most) in deletes {
        connection
            .prepare_cached(delete)
            .and_then(|mut delete| delete.execute([before, most]))
            .map_err(StoreError::sql("prune what happened to alarms"))?;
    }
    Ok(())
}

/// A state as it is stored.
pub(super) fn state(row: &Row<'_>, column: &str) -> rusqlite::Result<State> {
    let name: String = row.get(column)?;
    // Only a newer tallyd could have written another word, and its store is refused.
    Ok(State::parse(&name).unwrap_or_default())
}

/// A time as it is stored: milliseconds since 1970.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    let millisecond: i64 = row.get(column)?;
    Ok(Timestamp::from_millisecond(millisecond).unwrap_or_default())
}
