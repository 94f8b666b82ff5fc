//! The journal of live reservations: a line each for what was held, extended and ended.
//!
//! A line is handed to the operating system before the caller is answered, so a killed process
//! loses no hold; it is flushed to disk once a second, so a power cut may lose the holds of the
//! last second. What was settled is in the ledger and never depends on this file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::{StoreError, open};

/// The file in the store's folder.
const FILE: &str = "reservations.jsonl";

/// Beyond this size the file is written anew with what is live.
const COMPACT_BYTES: u64 = 64 << 20;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    dirty: bool,
}

impl Journal {
    /// Opens the journal of a store and returns its lines, oldest first. A last line that was cut
    /// off by a full disk or a power cut is left out.
    pub fn open(folder: &Path) -> Result<(Self, Vec<String>), StoreError> {
        let path = folder.join(FILE);
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&path)
            .map_err(StoreError::file("open", &path))?;
        open::restrict(&path)?;
        let mut text = String::new();
        (&file)
            .read_to_string(&mut text)
            .map_err(StoreError::file("read", &path))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let lines = text[..whole].lines().map(str::to_owned).collect();
        // What comes next must not be glued to the rest of a line.
        let bytes = whole as u64;
        file.set_len(bytes)
            .map_err(StoreError::file("shorten", &path))?;
        let journal = Self {
            path,
            file,
            bytes,
            dirty: false,
        };
        Ok((journal, lines))
    }

    /// Appends a line, without its end.
    pub fn append(&mut self, line: &str) -> Result<(), StoreError> {
        let mut whole = String::with_capacity(line.len() + 1);
        whole.push_str(line);
        whole.push('\n');
        // One write: a line of a killed process is there or is not.
        self.file
            .write_all(whole.as_bytes())
            .map_err(StoreError::file("write", &self.path))?;
        self.bytes += whole.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// Flushes what was appended to disk.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.dirty {
            self.file
                .sync_data()
                .map_err(StoreError::file("flush", &self.path))?;
            self.dirty = false;
        }
        Ok(())
    }

    /// True if the file should be written anew.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.bytes > COMPACT_BYTES
    }

    /// Replaces the file by one with these lines; the old one stays if that fails.
    pub fn compact(&mut self, lines: &[String]) -> Result<(), StoreError> {
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial).map_err(StoreError::file("make", &partial))?;
        open::restrict(&partial)?;
        let mut text = lines.join("\n");
        if !lines.is_empty() {
            text.push('\n');
        }
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(StoreError::file("write", &partial))?;
        std::fs::rename(&partial, &self.path).map_err(StoreError::file("name", &self.path))?;
        let appending = File::options().append(true).open(&self.path);
        self.file = appending.map_err(StoreError::file("open", &self.path))?;
        self.bytes = text.len() as u64;
        self.dirty = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_in_order_and_a_cut_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, lines) = Journal::open(folder.path()).unwrap();
        assert!(lines.is_empty());
        journal.append("one").unwrap();
        journal.append("two").unwrap();
        journal.file.write_all(b"thr").unwrap();
        let (mut journal, lines) = Journal::open(folder.path()).unwrap();
        assert_eq!(lines, ["one", "two"]);
        journal.append("three").unwrap();
        let (_, lines) = Journal::open(folder.path()).unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_compacted_journal_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.append("one").unwrap();
        journal.append("two").unwrap();
        journal.compact(&["two".to_owned()]).unwrap();
        journal.append("three").unwrap();
        let (_, lines) = Journal::open(folder.path()).unwrap();
        assert_eq!(lines, ["two", "three"]);
    }
}
