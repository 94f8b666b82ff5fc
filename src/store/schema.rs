//! The tables of the ledger and their versions.

use rusqlite::Connection;

use super::StoreError;

/// The version that this build writes. Every change of the schema appends a step to
/// [`MIGRATIONS`]; a step that has shipped never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
    include_str!("schema_10.sql"),
];

/// Brings the tables to the newest version, or refuses a store from a newer build.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found = version(connection)?;
    refuse_newer(found)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection
            .transaction()
            .map_err(StoreError::sql("migrate"))?;
        transaction
            .execute_batch(sql)
            .and_then(|()| transaction.pragma_update(None, "user_version", step + 1))
            .and_then(|()| transaction.commit())
            .map_err(StoreError::sql("migrate"))?;
    }
    Ok(())
}

/// Refuses a version that this build does not know.
pub(super) fn refuse_newer(found: usize) -> Result<(), StoreError> {
    let newest = MIGRATIONS.len();
    if found > newest {
        return Err(StoreError::NewerSchema { found, newest });
    }
    Ok(())
}

/// The schema version of an open store; 0 is an empty file.
pub(super) fn version(connection: &Connection) -> Result<usize, StoreError> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        .map(|version| usize::try_from(version).unwrap_or(0))
        .map_err(StoreError::sql("read the schema version"))
}
