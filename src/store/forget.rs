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
    transaction.commit().map_err(StoreError::sql(doing))?;
    // The log of changes still has the names.
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA secure_delete = OFF")
        .map_err(StoreError::sql(doing))?;
    Ok(Some(Forgotten {
        stand_in,
        identities: found.len(),
        names: names.into_iter().collect(),
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
    connection.execute(
        "UPDATE bill_line SET user = ? WHERE user = ?",
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
