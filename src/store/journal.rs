//! The journal of live reservations: a line each for what was held, extended and ended.
//!
//! A line is handed to the operating system before the caller is answered, so a killed process
//! loses no hold; it is flushed to disk once a second, so a power cut may lose the holds of the
//! last second or two. What was settled is in the ledger and never depends on this file.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StoreError, open};

/// The file in the store's folder.
const FILE: &str = "reservations.jsonl";

/// A smaller file is never written anew.
const COMPACT_BYTES: u64 = 64 << 20;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    /// The size when it was written anew last.
    compacted: u64,
    /// Something was appended since the last flush.
    dirty: bool,
}

/// What has to be flushed, without the journal being held meanwhile.
#[derive(Debug)]
pub struct Unflushed {
    path: PathBuf,
    file: Arc<File>,
}

/// A journal that is being written anew; lines are appended to the old one meanwhile.
#[derive(Debug)]
pub struct Compaction {
    path: PathBuf,
    partial: PathBuf,
    /// The size of the old file when this began.
    from: u64,
}

/// A new file with all that was live when its compaction began.
#[derive(Debug)]
pub struct Compacted {
    partial: PathBuf,
    file: File,
    bytes: u64,
    from: u64,
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
            file: Arc::new(file),
            bytes,
            compacted: 0,
            dirty: false,
        };
        Ok((journal, lines))
    }

    /// Appends whole lines, each with its end.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        // One write: a line of a killed process is there or is not.
        let written = (&*self.file).write_all(lines);
        if let Err(error) = written {
            // A full disk may have taken a part, to which the next line would be glued.
            let _ = self.file.set_len(self.bytes);
            return Err(StoreError::file("write", &self.path)(error));
        }
        self.bytes += lines.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// What was appended since this was asked last.
    pub fn unflushed(&mut self) -> Option<Unflushed> {
        std::mem::take(&mut self.dirty).then(|| Unflushed {
            path: self.path.clone(),
            file: self.file.clone(),
        })
    }

    /// True if most of the file may be about what is over.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.bytes > COMPACT_BYTES && self.bytes / 2 > self.compacted
    }

    /// Begins to write the file anew.
    #[must_use]
    pub fn compact(&self) -> Compaction {
        Compaction {
            path: self.path.clone(),
            partial: self.path.with_extension("partial"),
            from: self.bytes,
        }
    }

    /// Puts the new file in the place of the old one, with the lines that came meanwhile. The old
    /// one stays if that fails.
    pub fn replace(&mut self, new: Compacted) -> Result<(), StoreError> {
        let failed = |what| StoreError::file(what, &self.path);
        let since = usize::try_from(self.bytes - new.from).unwrap_or(usize::MAX);
        let mut lines = vec![0; since];
        self.file
            .read_exact_at(&mut lines, new.from)
            .map_err(failed("read"))?;
        (&new.file).write_all(&lines).map_err(failed("write"))?;
        std::fs::rename(&new.partial, &self.path).map_err(failed("name"))?;
        self.file = Arc::new(new.file);
        self.bytes = new.bytes + lines.len() as u64;
        self.compacted = new.bytes;
        self.dirty = true;
        Ok(())
    }
}

impl Unflushed {
    /// Waits for the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(StoreError::file("flush", &self.path))
    }
}

impl Compaction {
    /// Writes one line for each entry, as `write` says, with its end.
    pub fn write<T>(
        self,
        entries: impl Iterator<Item = T>,
        write: impl Fn(&T, &mut Vec<u8>),
    ) -> Result<Compacted, StoreError> {
        let Self {
            path,
            partial,
            from,
        } = self;
        let failed = |what| StoreError::file(what, &path);
        // What an earlier attempt left.
        let _ = std::fs::remove_file(&partial);
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&partial)
            .map_err(failed("make"))?;
        open::restrict(&partial)?;
        let mut out = BufWriter::new(&file);
        let mut line = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            line.clear();
            write(&entry, &mut line);
            bytes += line.len() as u64;
            out.write_all(&line).map_err(failed("write"))?;
        }
        out.flush().map_err(failed("write"))?;
        drop(out);
        file.sync_all().map_err(failed("flush"))?;
        Ok(Compacted {
            partial,
            file,
            bytes,
            from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(journal: &mut Journal, line: &str) {
        journal.append(format!("{line}\n").as_bytes()).unwrap();
    }

    fn lines(folder: &Path) -> Vec<String> {
        Journal::open(folder).unwrap().1
    }

    #[test]
    fn lines_come_back_in_order_and_a_cut_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, before) = Journal::open(folder.path()).unwrap();
        assert!(before.is_empty());
        append(&mut journal, "one");
        append(&mut journal, "two");
        (&*journal.file).write_all(b"thr").unwrap();
        let (mut journal, before) = Journal::open(folder.path()).unwrap();
        assert_eq!(before, ["one", "two"]);
        append(&mut journal, "three");
        assert_eq!(lines(folder.path()), ["one", "two", "three"]);
    }

    #[test]
    fn a_compacted_journal_has_what_was_live_and_what_came_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        append(&mut journal, "one");
        append(&mut journal, "two");
        let compaction = journal.compact();
        append(&mut journal, "three");
        let live = ["two"].into_iter();
        let new = compaction.write(live, |line, out| out.extend(format!("{line}\n").bytes()));
        append(&mut journal, "four");
        journal.replace(new.unwrap()).unwrap();
        append(&mut journal, "five");
        assert_eq!(lines(folder.path()), ["two", "three", "four", "five"]);
        assert!(!folder.path().join("reservations.partial").exists());
    }

    #[test]
    fn a_journal_is_compacted_when_it_has_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        let sizes = [(COMPACT_BYTES, 0), (COMPACT_BYTES + 1, 0)];
        let later = [
            (3 * COMPACT_BYTES, 2 * COMPACT_BYTES),
            (5 * COMPACT_BYTES, 2 * COMPACT_BYTES),
        ];
        let large = [sizes, later]
            .concat()
            .into_iter()
            .map(|(bytes, compacted)| {
                (journal.bytes, journal.compacted) = (bytes, compacted);
                journal.is_large()
            });
        assert_eq!(large.collect::<Vec<_>>(), [false, true, false, true]);
    }
}
