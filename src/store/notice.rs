//! What is to be told, until it was told or given up; and what each target heard last.
//!
//! A notice is `sending` from before it is handed over until the answer is written down. What a
//! crash leaves in that state may have been told or not; [`Ledger::start_notices`] finds it.

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use super::alarm::time;
use super::query::Reader;
use super::{Ledger, QueryError, StoreError};
use crate::model::alarm::{State, Transition};
use crate::model::notice::Notice;

/// Notices beyond [`MAX_NOTICES`] that one question tells of, so that more go than come.
const MAX_SURPLUS: usize = 1_000;

/// Notices of one target that are looked at in one round, and kept. The oldest above it are given
/// up by whoever asks.
pub const MAX_NOTICES: usize = 10_000;

/// A notice that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Never used again, so that a receiver can tell a repetition.
    pub id: i64,
    pub transition: Transition,
    pub due: Timestamp,
    /// Since when it could have been told; `None` before the first time.
    pub open_since: Option<Timestamp>,
    /// The first notice of the message that it was sent in, if the fate of that is not known.
    pub batch: Option<i64>,
    pub attempts: u32,
}

/// What a target heard last of an alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub transition: Transition,
    /// How the alarm stands now; `None` if it is no more.
    pub now: Option<State>,
}

/// One target's part of what is to be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoticeQueue {
    /// In the order in which they came; a bounded number more than [`MAX_NOTICES`].
    pub waiting: Vec<Queued>,
    pub told: Vec<Told>,
    /// Cannot be read: another version of tallyd wrote them.
    pub unreadable: Vec<i64>,
}

/// What is written down before a message is handed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// Will not be told.
    pub dropped: Vec<i64>,
    /// Will not be told and count as heard, so that the next different state is news.
    pub settled: Vec<Queued>,
    /// Could be told from now on.
    pub opened: Vec<i64>,
    /// Go out as one message.
    pub sending: Vec<i64>,
}

impl Ledger {
    /// Begins after a start: lets go of what is for targets that are no more, and finds what was
    /// handed over while tallyd ended. Returns how many went, and the targets of those found, one
    /// entry a notice; they wait again.
    pub async fn start_notices(
        &self,
        targets: Vec<String>,
    ) -> Result<(usize, Vec<String>), QueryError> {
        self.change(move |transaction| {
            start(transaction, &targets).map_err(StoreError::sql("look through notices"))
        })
        .await
    }

    /// What waits for a target and what it heard.
    pub async fn notices(&self, target: &str) -> Result<NoticeQueue, QueryError> {
        let target = target.to_owned();
        self.read(
            move |reader| Ok(queue(reader, &target).map_err(StoreError::sql("read notices"))?),
        )
        .await
    }

    /// Writes down what is about to be handed over, and what will not be.
    pub async fn claim_notices(
        &self,
        target: &str,
        claim: Claim,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        let (target, now) = (target.to_owned(), now.as_millisecond());
        self.change(move |transaction| {
            tell(transaction, &target, &claim.settled)?;
            let settled: Vec<i64> = claim.settled.iter().map(|notice| notice.id).collect();
            let batch = claim.sending.first();
            each(transaction, DELETE, &settled, None)
                .and_then(|()| each(transaction, DELETE, &claim.dropped, None))
                .and_then(|()| {
                    let open = "UPDATE notice SET open_since = ?2 WHERE id = ?1";
                    each(transaction, open, &claim.opened, Some(now))
                })
                .and_then(|()| {
                    let Some(batch) = batch else { return Ok(()) };
                    let send = "UPDATE notice SET sending = 1, attempts = attempts + 1, \
                         batch = ?2 WHERE id = ?1";
                    each(transaction, send, &claim.sending, Some(*batch))
                })
                .map_err(StoreError::sql("write down what is sent"))
        })
        .await
    }

    /// Writes down that a message was taken or given up, and what counts as heard now.
    pub async fn notices_done(&self, target: &str, done: Vec<Queued>) -> Result<(), QueryError> {
        let target = target.to_owned();
        self.change(move |transaction| {
            tell(transaction, &target, &done)?;
            let ids: Vec<i64> = done.iter().map(|notice| notice.id).collect();
            each(transaction, DELETE, &ids, None)
                .map_err(StoreError::sql("write down what was told"))
        })
        .await
    }

    /// Writes down that a message was not taken. It is due again at a time; `is_fate_unknown` keeps
    /// its notices together, so that a repetition is the same message.
    pub async fn notices_retry(
        &self,
        ids: Vec<i64>,
        due: Timestamp,
        error: String,
        is_fate_unknown: bool,
    ) -> Result<(), QueryError> {
        let due = due.as_millisecond();
        self.change(move |transaction| {
            let mut update = transaction
                .prepare_cached(
                    "UPDATE notice SET sending = 0, due = max(due, ?2), error = ?3, \
                     batch = CASE WHEN ?4 THEN batch END WHERE id = ?1",
                )
                .map_err(StoreError::sql("prepare to put notices back"))?;
            for id in ids {
                update
                    .execute(params![id, due, error, is_fate_unknown])
                    .map_err(StoreError::sql("put notices back"))?;
            }
            Ok(())
        })
        .await
    }
}

const DELETE: &str = "DELETE FROM notice WHERE id = ?";

/// Runs one statement for each notice, with the notice and perhaps a second number.
fn each(
    connection: &Connection,
    sql: &str,
    ids: &[i64],
    second: Option<i64>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    for id in ids {
        let parameters = [Some(*id), second];
        let given = if second.is_some() { 2 } else { 1 };
        statement.execute(rusqlite::params_from_iter(&parameters[..given]))?;
    }
    Ok(())
}

/// Adds notices, in a transaction of the caller's.
pub(super) fn insert(connection: &Connection, notices: &[Notice]) -> Result<(), StoreError> {
    let mut insert = connection
        .prepare_cached("INSERT INTO notice (target, transition, due) VALUES (?, ?, ?)")
        .map_err(StoreError::sql("prepare to write notices"))?;
    for notice in notices {
        let transition = to_json(&notice.transition);
        insert
            .execute(params![
                notice.target,
                transition,
                notice.due.as_millisecond()
            ])
            .map_err(StoreError::sql("write notices"))?;
    }
    Ok(())
}

/// What is over, and no notice will say so: the target or the actions were switched off meanwhile.
/// Else the next alarm would be taken as known.
const FORGET_WHAT_IS_OVER: &str = "DELETE FROM notice_told WHERE state <> 'OK' \
     AND alarm IN (SELECT name FROM alarm_state WHERE state = 'OK') \
     AND (target, alarm) NOT IN (SELECT target, CASE WHEN json_valid(transition) \
     THEN coalesce(json_extract(transition, '$.alarm.name'), '') ELSE '' END FROM notice)";

fn start(
    transaction: &Transaction<'_>,
    targets: &[String],
) -> rusqlite::Result<(usize, Vec<String>)> {
    let known = serde_json::to_string(targets).unwrap_or_default();
    let mut gone = 0;
    for (delete, counts) in [
        (
            "DELETE FROM notice WHERE target NOT IN (SELECT value FROM json_each(?))",
            true,
        ),
        (
            "DELETE FROM notice_told WHERE target NOT IN (SELECT value FROM json_each(?))",
            false,
        ),
    ] {
        let deleted = transaction.execute(delete, [&known])?;
        gone += if counts { deleted } else { 0 };
    }
    transaction.execute(FORGET_WHAT_IS_OVER, [])?;
    let mut select = transaction.prepare("SELECT target FROM notice WHERE sending ORDER BY id")?;
    let interrupted = select
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    transaction.execute("UPDATE notice SET sending = 0 WHERE sending", [])?;
    Ok((gone, interrupted))
}

const SELECT_WAITING: &str = "SELECT id, transition, due, open_since, batch, attempts \
     FROM notice WHERE target = ? ORDER BY id LIMIT ?";

const SELECT_TOLD: &str = "SELECT told.transition, alarm_state.state FROM notice_told AS told \
     LEFT JOIN alarm_state ON alarm_state.name = told.alarm WHERE told.target = ? \
     ORDER BY told.alarm";

fn queue(reader: &Reader, target: &str) -> rusqlite::Result<NoticeQueue> {
    let mut queue = NoticeQueue::default();
    let mut select = reader.connection.prepare_cached(SELECT_WAITING)?;
    let mut rows = select.query(params![target, MAX_NOTICES + MAX_SURPLUS])?;
    while let Some(row) = rows.next()? {
        let id = row.get("id")?;
        let Ok(transition) = from_json(row)? else {
            queue.unreadable.push(id);
            continue;
        };
        let open_since: Option<i64> = row.get("open_since")?;
        queue.waiting.push(Queued {
            id,
            transition,
            due: time(row, "due")?,
            open_since: open_since.and_then(|at| Timestamp::from_millisecond(at).ok()),
            batch: row.get("batch")?,
            attempts: row.get("attempts")?,
        });
    }
    let mut select = reader.connection.prepare_cached(SELECT_TOLD)?;
    let mut rows = select.query([target])?;
    while let Some(row) = rows.next()? {
        let name: Option<String> = row.get("state")?;
        let Ok(transition) = from_json(row)? else {
            continue;
        };
        queue.told.push(Told {
            transition,
            now: name.and_then(|name| State::parse(&name)),
        });
    }
    Ok(queue)
}

fn tell(connection: &Connection, target: &str, done: &[Queued]) -> Result<(), StoreError> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO notice_told (target, alarm, state, at, transition) \
             VALUES (?, ?, ?, ?, ?) ON CONFLICT (target, alarm) DO UPDATE SET \
             state = excluded.state, at = excluded.at, transition = excluded.transition",
        )
        .map_err(StoreError::sql("prepare to write down what was told"))?;
    for notice in done {
        let transition = &notice.transition;
        upsert
            .execute(params![
                target,
                transition.alarm.name,
                transition.to.name(),
                transition.at.as_millisecond(),
                to_json(transition),
            ])
            .map_err(StoreError::sql("write down what was told"))?;
    }
    Ok(())
}

fn to_json(transition: &Transition) -> String {
    serde_json::to_string(transition).expect("a transition has only texts as keys")
}

fn from_json(row: &Row<'_>) -> rusqlite::Result<serde_json::Result<Transition>> {
    let text: String = row.get("transition")?;
    Ok(serde_json::from_str(&text))
}

#[cfg(test)]
mod tests;
