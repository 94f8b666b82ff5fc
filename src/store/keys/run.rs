//! Sorted runs of keys on disk.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::filter::Filter;
use super::{Entry, Result};
use crate::store::StoreError;

/// Bytes of a key and a report's number.
const ENTRY: usize = 14;

/// Entries of a block: with its row's header it fills one page of the file.
const PER_BLOCK: usize = if cfg!(test) { 3 } else { 288 };

/// One run. What finds keys in it is read when it is first asked.
#[derive(Debug)]
pub(super) struct Run {
    id: i64,
    pub(super) level: i64,
    /// The highest report number in it.
    pub(super) last: i64,
    pub(super) entries: usize,
    /// The number of its first block.
    block: i64,
    guide: Option<Guide>,
}

#[derive(Debug)]
struct Guide {
    /// The first key of each block.
    edges: Vec<u64>,
    /// Absent where the bound on memory left no room.
    filter: Option<Filter>,
}

impl Run {
    /// All runs, oldest first.
    pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Self>> {
        connection
            .prepare("SELECT id, level, last, entries, block FROM key_run ORDER BY last")?
            .query_map([], |row| {
                Ok(Self {
                    id: row.get(0)?,
                    level: row.get(1)?,
                    last: row.get(2)?,
                    entries: row.get(3)?,
                    block: row.get(4)?,
                    guide: None,
                })
            })?
            .collect()
    }

    fn blocks(&self) -> i64 {
        i64::try_from(self.entries.div_ceil(PER_BLOCK)).unwrap_or(i64::MAX)
    }

    /// The number after its last block.
    pub(super) fn end(&self) -> i64 {
        self.block + self.blocks()
    }

    /// Bytes that its filter takes in memory.
    pub(super) fn filter_bytes(&self) -> usize {
        let filter = self.guide.as_ref().and_then(|guide| guide.filter.as_ref());
        filter.map_or(0, Filter::bytes)
    }

    pub(super) fn is_guided(&self) -> bool {
        self.guide.is_some()
    }

    /// Frees the memory; what finds keys is read again when it is next asked.
    pub(super) fn forget_guide(&mut self) {
        self.guide = None;
    }

    /// Reads what finds keys in it; without the filter if there is no room for it.
    pub(super) fn read_guide(&mut self, connection: &Connection, room: bool) -> Result<()> {
        let doing = "read a run of keys";
        let (edges, filter): (Vec<u8>, Option<Vec<u8>>) = connection
            .prepare_cached("SELECT edges, iif(?2, filter, NULL) FROM key_run WHERE id = ?1")
            .and_then(|mut select| {
                select.query_row(params![self.id, room], |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .map_err(StoreError::sql(doing))?;
        let edges = edges.as_chunks::<8>().0;
        self.guide = Some(Guide {
            edges: edges.iter().map(|edge| u64::from_le_bytes(*edge)).collect(),
            filter: filter.and_then(|bytes| Filter::from_bytes(&bytes)),
        });
        Ok(())
    }

    /// Adds the reports that have a key, until there are `limit`.
    pub(super) fn find(
        &self,
        connection: &Connection,
        key: u64,
        limit: usize,
        found: &mut Vec<i64>,
    ) -> Result<()> {
        let Some(guide) = &self.guide else {
            return Ok(());
        };
        if let Some(filter) = &guide.filter
            && !filter.may_hold(key)
        {
            return Ok(());
        }
        // Entries with one key may begin in the block before the first that begins with it.
        let from = guide.edges.partition_point(|edge| *edge < key);
        let from = from.saturating_sub(1);
        let to = guide.edges.partition_point(|edge| *edge <= key);
        let mut select = block_by_id(connection)?;
        for block in from..to {
            let id = self.block + i64::try_from(block).unwrap_or(i64::MAX);
            let entries = read_block(&mut select, id)?;
            let first = entries.partition_point(|entry| entry.0 < key);
            let same = entries[first..].iter().take_while(|entry| entry.0 == key);
            for (_, report) in same {
                if found.len() >= limit {
                    return Ok(());
                }
                found.push(*report);
            }
        }
        Ok(())
    }

    /// Lets go of a run.
    pub(super) fn delete(&self, connection: &Connection) -> Result<()> {
        let doing = "let go of a run of keys";
        connection
            .prepare_cached("DELETE FROM key_block WHERE id >= ? AND id < ?")
            .and_then(|mut delete| delete.execute([self.block, self.end()]))
            .map_err(StoreError::sql(doing))?;
        connection
            .prepare_cached("DELETE FROM key_run WHERE id = ?")
            .and_then(|mut delete| delete.execute([self.id]))
            .map(drop)
            .map_err(StoreError::sql(doing))
    }
}

fn block_by_id(connection: &Connection) -> Result<CachedStatement<'_>> {
    connection
        .prepare_cached("SELECT bytes FROM key_block WHERE id = ?")
        .map_err(StoreError::sql("prepare to read keys"))
}

fn read_block(select: &mut CachedStatement<'_>, id: i64) -> Result<Vec<Entry>> {
    let entries = select
        .query_row([id], |row| {
            let entries = row.get_ref(0)?.as_blob()?.as_chunks::<ENTRY>().0;
            Ok(entries.iter().map(entry_of).collect())
        })
        .optional()
        .map_err(StoreError::sql("read keys"))?;
    entries.ok_or(StoreError::Dangling { id })
}

fn entry_of(bytes: &[u8; ENTRY]) -> Entry {
    let mut key = [0; 8];
    let mut report = [0; 8];
    key.copy_from_slice(&bytes[..8]);
    report[..6].copy_from_slice(&bytes[8..]);
    (u64::from_le_bytes(key), i64::from_le_bytes(report))
}

/// Writes a run from entries that come sorted.
pub(super) struct RunWriter<'c> {
    connection: &'c Connection,
    insert: CachedStatement<'c>,
    first: i64,
    next: i64,
    block: Vec<u8>,
    entries: usize,
    edges: Vec<u64>,
    filter: Filter,
}

impl<'c> RunWriter<'c> {
    /// Begins a run of so many entries at most, with blocks from a number on.
    pub(super) fn new(connection: &'c Connection, first: i64, entries: usize) -> Result<Self> {
        Ok(Self {
            connection,
            insert: connection
                .prepare_cached("INSERT INTO key_block (id, bytes) VALUES (?, ?)")
                .map_err(StoreError::sql("prepare to store keys"))?,
            first,
            next: first,
            block: Vec::with_capacity(PER_BLOCK * ENTRY),
            entries: 0,
            edges: Vec::with_capacity(entries / PER_BLOCK + 1),
            filter: Filter::for_keys(entries),
        })
    }

    pub(super) fn push(&mut self, (key, report): Entry) -> Result<()> {
        if self.block.is_empty() {
            self.edges.push(key);
        }
        self.block.extend_from_slice(&key.to_le_bytes());
        self.block.extend_from_slice(&report.to_le_bytes()[..6]);
        self.filter.insert(key);
        self.entries += 1;
        if self.block.len() == PER_BLOCK * ENTRY {
            self.end_block()?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        self.insert
            .execute(params![self.next, self.block])
            .map_err(StoreError::sql("store keys"))?;
        self.next += 1;
        self.block.clear();
        Ok(())
    }

    /// Ends the run.
    pub(super) fn end(mut self, level: i64, last: i64) -> Result<Run> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let edges: Vec<u8> = self.edges.iter().flat_map(|e| e.to_le_bytes()).collect();
        let id = self
            .connection
            .prepare_cached(
                "INSERT INTO key_run (level, last, entries, block, edges, filter) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| {
                let filter = self.filter.to_bytes();
                insert.insert(params![
                    level,
                    last,
                    self.entries,
                    self.first,
                    edges,
                    filter
                ])
            })
            .map_err(StoreError::sql("store a run of keys"))?;
        Ok(Run {
            id,
            level,
            last,
            entries: self.entries,
            block: self.first,
            guide: Some(Guide {
                edges: self.edges,
                filter: Some(self.filter),
            }),
        })
    }
}

/// Walks a run in order.
struct Walk {
    next: i64,
    end: i64,
    entries: std::vec::IntoIter<Entry>,
}

impl Walk {
    fn next(&mut self, select: &mut CachedStatement<'_>) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Ok(Some(entry));
            }
            if self.next == self.end {
                return Ok(None);
            }
            self.entries = read_block(select, self.next)?.into_iter();
            self.next += 1;
        }
    }
}

/// Makes one run of several, without the keys of reports numbered below `oldest`.
pub(super) fn merge(
    connection: &Connection,
    runs: &[Run],
    first_block: i64,
    oldest: i64,
) -> Result<Run> {
    let entries = runs.iter().map(|run| run.entries).sum();
    let level = runs.iter().map(|run| run.level).max().unwrap_or(0) + 1;
    let last = runs.iter().map(|run| run.last).max().unwrap_or(0);
    let mut select = block_by_id(connection)?;
    let mut heads = Vec::with_capacity(runs.len());
    for run in runs {
        let mut walk = Walk {
            next: run.block,
            end: run.end(),
            entries: Vec::new().into_iter(),
        };
        if let Some(head) = walk.next(&mut select)? {
            heads.push((head, walk));
        }
    }
    let mut merged = RunWriter::new(connection, first_block, entries)?;
    while let Some(least) = (0..heads.len()).min_by_key(|head| heads[*head].0) {
        let (head, walk) = &mut heads[least];
        if head.1 >= oldest {
            merged.push(*head)?;
        }
        match walk.next(&mut select)? {
            Some(next) => *head = next,
            None => drop(heads.swap_remove(least)),
        }
    }
    for run in runs {
        run.delete(connection)?;
    }
    merged.end(level, last)
}
