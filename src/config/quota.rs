//! `[quota]`: the policy file.

use std::path::PathBuf;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::readable_file;

/// Where the limits are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Read again when it changes. Without one, every quota question is answered `no_policy`.
    pub policy: Option<PathBuf>,
}

pub(super) const SECTION: Section = Section {
    name: "quota",
    help: "Who may use how much. The file itself is read again when it changes.",
    settings: &[Setting::new(
        "policy",
        r#""""#,
        "TOML file with roles, projects and limits. Empty: no quotas.",
    )],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Quota {
    let mut section = reader.section(&SECTION);
    Quota {
        policy: section.get("policy", readable_file),
    }
}
