//! Keys: by which a report is recognised, and by which reports of one request find each other.
//!
//! A key is a hash, and leads to the numbers of the reports that have it. All of a report's keys
//! follow from its row. So the keys of the newest reports are held in memory only, and made anew
//! from the rows when the ledger is opened. When there are enough of them they become a sorted
//! run on disk, and runs of one size are merged into a larger one. No commit has to change pages
//! all over a tree, as random keys would.

mod filter;
mod run;

use rusqlite::Connection;

use super::StoreError;
use super::fact::{Fact, Statements};
use super::numbers::NumberMap;
use run::{Run, RunWriter};

type Result<T> = std::result::Result<T, StoreError>;

/// A key and the number of a report that has it.
type Entry = (u64, i64);

/// Reports of which the keys are held in memory before they become a run: some 6 MB. Few in
/// tests, so that those of the ledger go through runs of every level.
const REPORTS_IN_MEMORY: usize = if cfg!(test) { 2 } else { 32_768 };

/// Runs of one size that become one of the next.
const RUNS_PER_LEVEL: usize = 4;

/// Runs of this level are not merged further: to merge four more such runs would hold up
/// intake for seconds. They hold the keys of 2 million reports each.
const LAST_LEVEL: i64 = 3;

/// Memory for the filters of runs. Beyond it, in runs without a filter each key is looked for on
/// disk. It is enough for the keys of some 14 million reports.
const MAX_FILTER_BYTES: usize = 64 << 20;

/// The keys of a ledger.
#[derive(Debug)]
pub(super) struct Keys {
    /// The first report that has a key, of those in no run.
    newest: NumberMap<u64, i64>,
    /// Further reports with the same key.
    more: NumberMap<u64, Vec<i64>>,
    /// Oldest first.
    runs: Vec<Run>,
    /// Reports up to this number are in runs.
    stored_to: i64,
    next_block: i64,
}

impl Keys {
    /// Reads where the runs are, and makes the keys of newer reports from their rows.
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let runs = Run::all(connection).map_err(StoreError::sql("read the runs of keys"))?;
        let mut keys = Self {
            newest: NumberMap::default(),
            more: NumberMap::default(),
            stored_to: runs.iter().map(|run| run.last).max().unwrap_or(0),
            next_block: runs.iter().map(Run::end).max().unwrap_or(1),
            runs,
        };
        let mut statements = Statements::prepare(connection)?;
        loop {
            let reports = statements.after(keys.stored_to, REPORTS_IN_MEMORY)?;
            for fact in &reports {
                keys.insert_all(fact);
            }
            // Only a ledger from before there were runs has more than fit in memory.
            let Some(last) = reports.get(REPORTS_IN_MEMORY - 1) else {
                return Ok(keys);
            };
            connection
                .execute_batch("BEGIN IMMEDIATE")
                .map_err(StoreError::sql("begin to store keys"))?;
            keys.store(connection, last.id)?;
            connection
                .execute_batch("COMMIT")
                .map_err(StoreError::sql("commit keys"))?;
        }
    }

    fn insert_all(&mut self, fact: &Fact) {
        self.insert(fact.claim(), fact.id);
        for join in fact.joins() {
            self.insert(join, fact.id);
        }
    }

    /// The highest number of a report that has keys in a run.
    pub(super) fn stored_to(&self) -> i64 {
        self.stored_to
    }

    /// Notes that a report has a key.
    pub(super) fn insert(&mut self, key: i64, report: i64) {
        let key = key.cast_unsigned();
        let first = *self.newest.entry(key).or_insert(report);
        if first != report {
            self.more.entry(key).or_default().push(report);
        }
    }

    /// The reports that have a key, in order of arrival, `limit` at most. Some may be pruned.
    pub(super) fn find(
        &mut self,
        connection: &Connection,
        key: i64,
        limit: usize,
        found: &mut Vec<i64>,
    ) -> Result<()> {
        let key = key.cast_unsigned();
        found.clear();
        for place in 0..self.runs.len() {
            if !self.runs[place].is_guided() {
                self.guide(connection, place)?;
            }
            self.runs[place].find(connection, key, limit, found)?;
        }
        if let Some(first) = self.newest.get(&key) {
            let more = self.more.get(&key).into_iter().flatten();
            let room = limit.saturating_sub(found.len());
            found.extend([first].into_iter().chain(more).take(room));
        }
        Ok(())
    }

    fn guide(&mut self, connection: &Connection, place: usize) -> Result<()> {
        let room = self.filter_bytes() < MAX_FILTER_BYTES;
        self.runs[place].read_guide(connection, room)
    }

    fn filter_bytes(&self) -> usize {
        self.runs.iter().map(Run::filter_bytes).sum()
    }

    /// Makes a run of the newest keys if there are enough. `last` is the newest report.
    pub(super) fn settle(&mut self, connection: &Connection, last: i64) -> Result<()> {
        match usize::try_from(last - self.stored_to) {
            Ok(newest) if newest >= REPORTS_IN_MEMORY => self.store(connection, last),
            _ => Ok(()),
        }
    }

    fn store(&mut self, connection: &Connection, last: i64) -> Result<()> {
        let mut entries: Vec<Entry> = self.newest.drain().collect();
        for (key, reports) in self.more.drain() {
            entries.extend(reports.into_iter().map(|report| (key, report)));
        }
        entries.sort_unstable();
        let mut writer = RunWriter::new(connection, self.next_block, entries.len())?;
        for entry in entries {
            writer.push(entry)?;
        }
        self.add(writer.end(0, last)?);
        self.stored_to = last;
        self.merge(connection)
    }

    fn add(&mut self, mut run: Run) {
        self.next_block = run.end();
        if self.filter_bytes() >= MAX_FILTER_BYTES {
            run.forget_guide();
        }
        self.runs.push(run);
    }

    /// Lets go of runs whose reports are pruned, and merges where there are enough of one size.
    fn merge(&mut self, connection: &Connection) -> Result<()> {
        let oldest: i64 = connection
            .prepare_cached("SELECT coalesce(min(id), 0) FROM fact")
            .and_then(|mut select| select.query_row([], |row| row.get(0)))
            .map_err(StoreError::sql("find the oldest report"))?;
        while self.runs.first().is_some_and(|run| run.last < oldest) {
            self.runs.remove(0).delete(connection)?;
        }
        while let Some(level) = self.runs.last().map(|run| run.level) {
            let same = self.runs.iter().rev().take_while(|run| run.level == level);
            let first = self.runs.len() - same.count();
            if level >= LAST_LEVEL || self.runs.len() - first < RUNS_PER_LEVEL {
                break;
            }
            let runs = self.runs.split_off(first);
            self.add(run::merge(connection, &runs, self.next_block, oldest)?);
        }
        Ok(())
    }
}
