//! `[quota]`: the policy file and the audit log.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::{count, duration, path, readable_file, size};

/// Where the limits are, and where decisions are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Read again when it changes. Without one, every quota question is answered `no_policy`.
    pub policy: Option<PathBuf>,
    pub audit: Option<Audit>,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub path: PathBuf,
    pub max_bytes: usize,
    pub max_age: Duration,
    /// Files set aside that are kept.
    pub keep: usize,
}

/// Some lines of the fullest kind have to fit.
const SMALLEST_FILE: usize = 64 << 10;

const SHORTEST_AGE: Duration = Duration::from_mins(1);

pub(super) const SECTION: Section = Section {
    name: "quota",
    help: "Who may use how much. The policy file itself is read again when it changes.",
    settings: &[
        Setting::new(
            "policy",
            r#""""#,
            "TOML file with roles, projects and limits. Empty: no quotas.",
        ),
        Setting::new(
            "audit_log",
            r#""""#,
            "File that receives a JSON line a decision, at the audit level of the role. Empty: none.",
        ),
        Setting::new(
            "audit_max_bytes",
            r#""64MiB""#,
            "The file is set aside as FILE.1 before it grows beyond this, from 64KiB to 1GiB.",
        ),
        Setting::new(
            "audit_max_age",
            r#""1d""#,
            "It is also set aside when its first line is that old.",
        ),
        Setting::new(
            "audit_keep",
            "14",
            "Files set aside that are kept, the oldest are deleted.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Quota {
    let mut section = reader.section(&SECTION);
    let policy = section.get("policy", readable_file);
    let log = section.get("audit_log", path);
    let max_bytes = section.get("audit_max_bytes", |value| {
        size(value, SMALLEST_FILE, 1 << 30)
    });
    let max_age = section.get("audit_max_age", |value| duration(value, SHORTEST_AGE));
    let keep = section.get("audit_keep", |value| count(value, 1, 1_000));
    Quota {
        policy,
        audit: log.map(|path| Audit {
            path,
            max_bytes,
            max_age,
            keep,
        }),
    }
}
