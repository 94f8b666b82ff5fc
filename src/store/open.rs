//! Opening a store: the lock, the check for damage, the pragmas.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read as _};
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
    check(&path)?;
    let mut connection = Connection::open(&path).map_err(StoreError::sql("open the ledger"))?;
    restrict(&path)?;
    // A log of up to 64 MB: key pages change in every commit, and are copied once for many.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA wal_autocheckpoint = 16000; PRAGMA temp_store = MEMORY; \
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

/// How every SQLite file begins.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Looks for damage without changing anything.
fn check(path: &Path) -> Result<(), StoreError> {
    let damaged = |detail: &str| StoreError::Corrupt {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let bytes = length(path)?;
    let has_wal = length(&wal_of(path))? > 0;
    if bytes == 0 {
        // SQLite would take the file for a new one, and drop the log that holds what it lost.
        return if has_wal {
            Err(damaged("it is empty, but its write-ahead log is not"))
        } else {
            Ok(())
        };
    }
    // SQLite does not look at a first page of which the log has a newer one.
    let mut start = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    read.map_err(StoreError::file("read", path))?;
    if start != MAGIC {
        return Err(damaged("file is not a database"));
    }
    let connection = if has_wal {
        read_only(path)?
    } else {
        untouched(path)?
    };
    let looked = if bytes <= CHECK_UP_TO_BYTES {
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    } else {
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, i64>(0)
            })
            .map(|_| "ok".to_owned())
    };
    let detail = match looked {
        Ok(verdict) if verdict == "ok" => return refuse_foreign(&connection, path),
        Ok(verdict) => verdict,
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => error.to_string(),
            _ => return Err(StoreError::sql("check the ledger")(error)),
        },
    };
    Err(damaged(&detail))
}

/// Refuses a file of another program. An empty one is ours: it is made before its tables.
fn refuse_foreign(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let tables = "SELECT count(*), coalesce(sum(name = 'fact'), 0) FROM sqlite_schema";
    let (all, ours): (i64, i64) = connection
        .query_row(tables, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(StoreError::sql("check the ledger"))?;
    if all > 0 && ours == 0 {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// The file's length in bytes, 0 if there is none.
fn length(path: &Path) -> Result<u64, StoreError> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(file.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::file("look at", path)(error)),
    }
}

/// The write-ahead log of a ledger.
pub(super) fn wal_of(ledger: &Path) -> PathBuf {
    let mut wal = ledger.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// A connection that makes no files beside the ledger. Only for one that nobody writes, and that
/// has no write-ahead log.
fn untouched(path: &Path) -> Result<Connection, StoreError> {
    let absolute = std::path::absolute(path).map_err(StoreError::file("find", path))?;
    let name: String = absolute
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)
        .map_err(StoreError::sql("open the ledger to check it"))
}

/// Names of people are in the file: only its owner may read it.
pub(super) fn restrict(path: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(StoreError::file("restrict", path))?;
    }
    Ok(())
}
