//! Copies of the ledger: a consistent one while it is written, and the way back.

use std::path::Path;

use rusqlite::Connection;

use super::open::{self, FILE};
use super::{StoreError, schema};

/// Writes a copy into a new file. It goes to a temporary name first, so that a file under the
/// given name is always whole. Returns the size in bytes.
pub(super) fn backup(connection: &Connection, path: &Path) -> Result<u64, StoreError> {
    if path.exists() {
        return Err(StoreError::Exists {
            path: path.to_owned(),
        });
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    if partial.exists() {
        std::fs::remove_file(partial).map_err(StoreError::file("remove", partial))?;
    }
    connection
        .execute("VACUUM INTO ?", [partial.to_string_lossy()])
        .map_err(StoreError::sql("write the backup"))?;
    open::restrict(partial)?;
    let file = std::fs::File::open(partial).map_err(StoreError::file("open", partial))?;
    file.sync_all()
        .map_err(StoreError::file("flush", partial))?;
    let bytes = file
        .metadata()
        .map_err(StoreError::file("look at", partial))?
        .len();
    std::fs::rename(partial, path).map_err(StoreError::file("name", path))?;
    Ok(bytes)
}

/// Puts a backup in place of an absent ledger. A ledger that is there is never overwritten.
pub fn restore(folder: &Path, backup: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(folder).map_err(StoreError::file("make the folder", folder))?;
    let _lock = open::lock(folder)?;
    let path = folder.join(FILE);
    // SQLite would lay the write-ahead log of another ledger over the backup.
    for there in [path.clone(), open::wal_of(&path)] {
        if there.exists() {
            return Err(StoreError::Exists { path: there });
        }
    }
    let connection = open::read_only(backup)?;
    let found = schema::version(&connection)?;
    schema::refuse_newer(found)?;
    drop(connection);
    let partial = folder.join("restore.partial");
    std::fs::copy(backup, &partial).map_err(StoreError::file("copy", backup))?;
    open::restrict(&partial)?;
    std::fs::File::open(&partial)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::file("flush", &partial))?;
    std::fs::rename(&partial, &path).map_err(StoreError::file("name", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_not_put_beside_the_log_of_another_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("ledger.sqlite-wal");
        std::fs::write(&log, "frames of a lost ledger").unwrap();
        let restored = restore(folder.path(), &folder.path().join("backup"));
        assert!(matches!(restored, Err(StoreError::Exists { path }) if path == log));
    }
}
