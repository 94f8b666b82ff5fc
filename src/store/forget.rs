//! Forgetting a person: names and devices are replaced by a name that says nothing; sums stay.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::oneshot;

use super::dict::Dictionaries;
use super::span::time_of;
use super::terms::Terms;
use super::{Job, Ledger, QueryError, StoreError};
use crate::model::identity::Identity;
use crate::model::label;

type Result<T> = std::result::Result<T, StoreError>;

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// What stands in place of the names: `forgotten-1`.
    pub stand_in: String,
    /// Identities that were the person's.
    pub identities: usize,
    /// The names that the person was shown under.
    pub names: Vec<String>,
    /// Lines of closed months that had one of the names. Their amounts stay.
    pub closed_lines: usize,
}

impl Ledger {
    /// Replaces all names of a person in the ledger. `None` if nobody is known by the name.
    pub async fn forget(&self, person: &str) -> std::result::Result<Option<Forgotten>, QueryError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Forget {
            person: label::fold(person).unwrap_or_default().into(),
            answer,
        })?;
        let forgotten = answered.await.map_err(|_| QueryError::Dropped)??;
        self.inner.forget_readers();
        Ok(forgotten)
    }
}

/// Replaces a person's names, in one transaction that leaves no trace in free space. What the
/// writer holds in memory has to be read anew afterwards.
pub(super) fn forget(
    connection: &mut Connection,
    dictionaries: &Dictionaries,
    terms: &Terms,
    person: &str,
) -> Result<Option<Forgotten>> {
    let (found, names) = found(dictionaries, terms, person);
    if found.is_empty() || person.is_empty() {
        return Ok(None);
    }
    let doing = "forget a person";
    connection
        .pragma_update(None, "secure_delete", true)
        .map_err(StoreError::sql(doing))?;
    let transaction = connection.transaction().map_err(StoreError::sql(doing))?;
    let stand_in = stand_in(&transaction)?;
    for (id, device) in &found {
        replace(&transaction, *id, device.as_deref(), &stand_in).map_err(StoreError::sql(doing))?;
    }
    for name in &names {
        rename(&transaction, name, &stand_in).map_err(StoreError::sql(doing))?;
    }
    let told = Told::new(person, &names);
    rename_told(&transaction, &told, &stand_in).map_err(StoreError::sql(doing))?;
    let closed_lines = rename_closed(&transaction, &told, &stand_in);
    let closed_lines = closed_lines.map_err(StoreError::sql(doing))?;
    transaction.commit().map_err(StoreError::sql(doing))?;
    // The log of changes still has the names.
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA secure_delete = OFF")
        .map_err(StoreError::sql(doing))?;
    Ok(Some(Forgotten {
        stand_in,
        identities: found.len(),
        names: names.into_iter().collect(),
        closed_lines,
    }))
}

/// An identity's number and its device.
type Found = (i64, Option<Box<str>>);

/// The identities that are a person's, by their own name or by the directory, and all names that
/// they are shown under.
fn found(
    dictionaries: &Dictionaries,
    terms: &Terms,
    person: &str,
) -> (Vec<Found>, BTreeSet<String>) {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    for (id, identity, last_ms) in dictionaries.people() {
        let attributed = terms.attribute(identity, time_of(last_ms));
        let shown = identity.shown_user();
        let is_person = [&*attributed.user, &shown].iter().any(|name| {
            let folded = label::fold(name);
            folded.as_deref() == Some(person)
        });
        if !is_person {
            continue;
        }
        names.insert(attributed.user.clone().into_owned());
        names.insert(shown);
        found.push((id, identity.device.clone()));
    }
    names.remove(Identity::UNKNOWN);
    (found, names)
}

/// The next name that says nothing.
fn stand_in(connection: &Connection) -> Result<String> {
    let doing = "number who was forgotten";
    let last: Option<String> = connection
        .query_row(
            "SELECT value FROM setting WHERE name = 'forgotten'",
            [],
            |row| row.get(0),
        )
        .optional()
        .map_err(StoreError::sql(doing))?;
    let next = last.and_then(|last| last.parse().ok()).unwrap_or(0_u64) + 1;
    connection
        .execute(
            "INSERT OR REPLACE INTO setting (name, value) VALUES ('forgotten', ?)",
            [next.to_string()],
        )
        .map_err(StoreError::sql(doing))?;
    Ok(format!("forgotten-{next}"))
}

fn replace(
    connection: &Connection,
    id: i64,
    device: Option<&str>,
    stand_in: &str,
) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE identity SET user = ?, device = NULL, account = NULL WHERE id = ?",
        params![stand_in, id],
    )?;
    if let Some(device) = device {
        // The days of a device: from `d:DEVICE@` to what comes next after all of its days.
        connection.execute(
            "UPDATE session SET name = 'd:' || ? || '-' || id WHERE name >= ? AND name < ?",
            params![stand_in, format!("d:{device}@"), format!("d:{device}A")],
        )?;
    }
    Ok(())
}

/// Replaces a shown name where it stands by itself.
fn rename(connection: &Connection, name: &str, stand_in: &str) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE published_usage SET user = ? WHERE user = ?",
        [stand_in, name],
    )?;
    connection.execute(
        "INSERT INTO published_activity (metric, user, team, labels, amount) \
         SELECT metric, ?1, team, labels, amount FROM published_activity WHERE user = ?2 \
         ON CONFLICT (metric, user, team, labels) DO UPDATE SET amount = amount + excluded.amount",
        [stand_in, name],
    )?;
    connection.execute("DELETE FROM published_activity WHERE user = ?", [name])?;
    connection.execute(
        "UPDATE quota_adjustment SET scope = json_set(scope, '$.user', ?1) \
         WHERE json_extract(scope, '$.user') = ?2",
        [stand_in, name],
    )?;
    // Warnings that stand are told anew where they still hold.
    for delete in [
        "DELETE FROM quota_warning WHERE instr(name || transition, ?) > 0",
        "DELETE FROM notice_told WHERE instr(alarm || transition, ?) > 0",
    ] {
        connection.execute(delete, [name])?;
    }
    Ok(())
}

/// The names of a person as others tell them: in any case, and as the last part of a role.
struct Told(BTreeSet<String>);

impl Told {
    fn new(person: &str, names: &BTreeSet<String>) -> Self {
        let names = names.iter().map(String::as_str).chain([person]);
        let folded = names.filter_map(label::fold);
        Self(folded.map(std::borrow::Cow::into_owned).collect())
    }

    fn has(&self, text: &str) -> bool {
        let is_name = |text: &str| label::fold(text).is_some_and(|name| self.0.contains(&*name));
        let last = text.rsplit_once('/').map(|(_, last)| last);
        is_name(text) || last.is_some_and(is_name)
    }
}

/// Replaces a person where bills and trackers tell of one.
fn rename_told(connection: &Connection, told: &Told, stand_in: &str) -> rusqlite::Result<()> {
    for [select, update] in [
        [
            "SELECT DISTINCT user FROM bill_line WHERE user IS NOT NULL",
            "UPDATE bill_line SET user = ? WHERE user = ?",
        ],
        [
            "SELECT DISTINCT user FROM business_event WHERE user IS NOT NULL",
            "UPDATE business_event SET user = ? WHERE user = ?",
        ],
    ] {
        let mut names = connection.prepare(select)?;
        let names = names.query_map([], |row| row.get::<_, String>(0))?;
        let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
        for name in names.iter().filter(|name| told.has(name)) {
            connection.execute(update, [stand_in, name])?;
        }
    }
    Ok(())
}

/// Replaces a person in the frozen lines of closed months, so that what was frozen and what is
/// worked out now go on to have the same lines. Returns how many lines had the person.
fn rename_closed(connection: &Connection, told: &Told, stand_in: &str) -> rusqlite::Result<usize> {
    let mut select = connection.prepare(
        "SELECT closed_line.month, position, \
         json_extract(keys, '$[' || place.key || ']') AS user, place.key AS place \
         FROM closed_month, json_each(closed_month.columns, '$.keys') AS place \
         JOIN closed_line ON closed_line.month = closed_month.month \
         WHERE place.value = 'user'",
    )?;
    let lines = select.query_map([], |row| {
        let user: Option<String> = row.get("user")?;
        let line = (row.get("month")?, row.get("position")?, row.get("place")?);
        Ok((line, user.unwrap_or_default()))
    })?;
    let mut found: Vec<(String, i64, i64)> = Vec::new();
    for line in lines {
        let (line, user) = line?;
        if told.has(&user) {
            found.push(line);
        }
    }
    for (month, position, place) in &found {
        connection.execute(
            "UPDATE closed_line SET keys = json_set(keys, '$[' || ?1 || ']', ?2) \
             WHERE month = ?3 AND position = ?4",
            params![place, stand_in, month, position],
        )?;
        connection.execute(
            "UPDATE closed_month SET manifest = json_set(manifest, '$.forgotten', ?) \
             WHERE month = ?",
            [stand_in, month],
        )?;
    }
    Ok(found.len())
}
