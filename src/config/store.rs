//! `[store]`: the ledger.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::{duration, path};

/// Where the ledger is, how long it keeps raw records, how it is backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// A folder.
    pub path: PathBuf,
    pub retain_raw: Duration,
    pub backup: Option<Backup>,
}

/// A scheduled backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// A file, replaced each time.
    pub path: PathBuf,
    pub every: Duration,
}

/// Raw records pair the reports of one request; a source may be a day late.
const SHORTEST_RETENTION: Duration = Duration::from_hours(2 * 24);

/// A backup copies the whole ledger.
const SHORTEST_BACKUP_PERIOD: Duration = Duration::from_mins(1);

pub(super) const SECTION: Section = Section {
    name: "store",
    help: "The ledger.",
    settings: &[
        Setting::new(
            "path",
            r#""""#,
            "Folder of the ledger. Empty: $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/tallyd, \
             else ~/.local/state/tallyd, else /var/lib/tallyd.",
        ),
        Setting::new(
            "retain_raw",
            r#""90d""#,
            "How long single records are kept, at least 2d; sums are kept 25 months.",
        ),
        Setting::new(
            "backup_path",
            r#""""#,
            "File that receives a consistent copy, replaced each time. Empty: no scheduled backup.",
        ),
        Setting::new("backup_every", r#""1d""#, "Time between two backups."),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Store {
    let mut section = reader.section(&SECTION);
    let folder = section.get("path", path);
    let backup_path = section.get("backup_path", path);
    let every = section.get("backup_every", |value| {
        duration(value, SHORTEST_BACKUP_PERIOD)
    });
    Store {
        path: folder.unwrap_or_else(|| section.environment().state_folder()),
        retain_raw: section.get("retain_raw", |value| duration(value, SHORTEST_RETENTION)),
        backup: backup_path.map(|path| Backup { path, every }),
    }
}
