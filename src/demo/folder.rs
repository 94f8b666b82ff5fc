//! A folder that is gone when the demo ends.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Further names that are tried where the first is taken.
const TRIES: u32 = 100;

/// Removed with all that is in it when dropped.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        let id = std::process::id();
        let mut tried = Ok(());
        for number in 0..TRIES {
            let path = parent.join(format!("tallyd-demo-{id}-{number}"));
            tried = std::fs::create_dir(&path);
            if tried.is_ok() {
                return Ok(Self(path));
            }
        }
        tried.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        anyhow::bail!("cannot make a folder in {}", parent.display())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // The system clears its folder of temporary files too.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
