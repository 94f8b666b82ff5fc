//! Opening a store: the lock, the check for damage, the pragmas.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{StoreError, schema};

/// The ledger's file in the store's folder.
pub(super) const FILE: &str = "ledger.sqlite";

/// Up to this size the whole file is checked for damage at start (about half a second). Above
/// it the check would delay the start; the file's structure is still read.
const CHECK_UP_TO_BYTES: u64 = 128 << 20;

/// An open store. The lock is held as long as this lives.
#[derive(Debug)]
pub(super) struct StoreFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    _lock: File,
}

pub(super) fn open(folder: &Path) -> Result<StoreFile, StoreError> {
    std::fs::create_dir_all(folder).map_err(StoreError::file("make the folder", folder))?;
    let lock = lock(folder)?;
    let path = folder.join(FILE);
    if path.exists() {
        check(&path)?;
    }
    let mut connection = Connection::open(&path).map_err(StoreError::sql("open the ledger"))?;
    restrict(&path)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY; \
             PRAGMA cache_size = -65536; PRAGMA busy_timeout = 5000;",
        )
        .map_err(StoreError::sql("set up the ledger"))?;
    connection.set_prepared_statement_cache_capacity(128);
    schema::migrate(&mut connection)?;
    Ok(StoreFile {
        path,
        connection,
        _lock: lock,
    })
}

/// Takes the folder for this process. The system frees it when the process ends, however.
pub(super) fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StoreError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StoreError::file("lock", &path)(source)),
    }
}

/// A connection that cannot change the ledger.
pub(super) fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(StoreError::sql("open the ledger to read"))?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(StoreError::sql("set up the reader"))?;
    Ok(connection)
}

/// Looks for damage without changing anything.
fn check(path: &Path) -> Result<(), StoreError> {
    let length = std::fs::metadata(path)
        .map_err(StoreError::file("look at", path))?
        .len();
    let connection = read_only(path)?;
    let looked = if length <= CHECK_UP_TO_BYTES {
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    } else {
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, i64>(0)
            })
            .map(|_| "ok".to_owned())
    };
    let detail = match looked {
        Ok(verdict) if verdict == "ok" => return Ok(()),
        Ok(verdict) => verdict,
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => error.to_string(),
            _ => return Err(StoreError::sql("check the ledger")(error)),
        },
    };
    Err(StoreError::Corrupt {
        path: path.to_owned(),
        detail,
    })
}

/// Names of people are in the file: only its owner may read it.
fn restrict(path: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(StoreError::file("restrict", path))?;
    }
    Ok(())
}
