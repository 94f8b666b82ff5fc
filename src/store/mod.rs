//! The ledger: what was used, durable and counted once.
//!
//! One thread writes. It takes all deliveries that wait, works out what they change, and commits
//! them together, so that one flush to disk serves all of them; then each is acknowledged.
//! Questions are answered on read-only connections and never wait for the writer.

mod activity;
mod adjust;
mod alarm;
mod backup;
mod bill;
mod booked;
mod business;
mod caching;
mod closing;
mod control;
mod cost;
mod cover;
mod day_sheet;
mod delivery;
mod dict;
mod fact;
mod forget;
mod journal;
mod keys;
mod log_object;
mod minute;
mod mute;
mod notice;
mod numbers;
mod open;
mod people;
mod prices;
mod published;
mod query;
mod reprice;
#[cfg(test)]
mod reprice_tests;
mod request;
mod rollup;
mod schema;
mod span;
mod sums;
mod terms;
#[cfg(test)]
mod tests;
mod upkeep;
mod warning;
mod write;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

pub use alarm::{AlarmChange, AlarmStatus, MAX_HISTORY_ANSWER};
pub use backup::restore;
pub use bill::Replaced;
pub use booked::{Booked, reservation_key};
pub use business::{ActivitySum, BugsPublished, BusinessEffect, Delivery, Taken};
pub use caching::{CacheUse, CacheUses};
pub use delivery::ReportDelivery;
pub use forget::Forgotten;
pub use journal::Journal;
pub use log_object::{LogObject, LogProgress, NO_HOUR};
pub use minute::{
    Dimensions, LeftOut, MinuteEffects, MinuteQuery, Oldest, Outbox, OutboxState, Seal, Values,
    Waiting, last_due, minute_at,
};
pub use mute::MAX_MUTES;
pub use notice::{Claim, MAX_NOTICES, NoticeQueue, Queued, Told};
pub use people::{UnknownIdentity, Unplaced};
pub use prices::{MAX_PRICE_ADJUSTMENTS, MissingPrice, PriceAdjustment};
pub use published::{
    ActivityLabels, CLIENT_COST, COST, DURATION_BOUNDS_MS, Difference, Durations,
    FIRST_TOKEN_BOUNDS_MS, FirstTokens, Growth, REQUESTS, SEPARATOR, UNPRICED, UsageLabels,
};
pub use reprice::{RepriceMode, RepriceOrder, Repriced, RepricedLine};
pub use request::Counted;
pub use terms::{BusinessTerms, ControlRule, Terms};
pub use warning::Warned;
pub use write::Effects;

use crate::clock::Clock;
use crate::model::identity::Identity;
use crate::model::query::{ControlRow, UsageQuery, UsageRows};
use crate::model::usage::{Intake, Receipt};
use query::Reader;
use span::Spans;

/// Items that may wait for the writer. Beyond it senders are asked to come back: what waits is
/// not durable, and a queue of seconds is as much as an exporter's time-out allows.
const MAX_WAITING: usize = 200_000;

/// Read-only connections kept open.
const MAX_READERS: usize = 4;

/// What is wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {doing}")]
    Sql {
        doing: &'static str,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is in use by another tallyd: stop it, or give this one its own store.path")]
    Locked { path: PathBuf },
    #[error(
        "{path} is damaged ({detail}); nothing was changed: restore a backup with \
         `tallyd store restore`, or move the file away to begin anew"
    )]
    Corrupt { path: PathBuf, detail: String },
    #[error(
        "{path} is a SQLite file of another program; nothing was changed: move it away, or set \
         store.path to another folder"
    )]
    Foreign { path: PathBuf },
    #[error(
        "the store has schema version {found}, this tallyd knows up to {newest}: use the newer \
         tallyd that wrote it"
    )]
    NewerSchema { found: usize, newest: usize },
    #[error("the store refers to number {id}, which it does not hold")]
    Dangling { id: i64 },
    #[error("{path} exists already")]
    Exists { path: PathBuf },
}

impl StoreError {
    /// Adds what was being done to an SQL error.
    fn sql(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }

    /// Adds what was being done to a file.
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// True if the disk, not the data, is the reason: trying again later may help.
    fn is_disk(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
        let Self::Sql { source, .. } = self else {
            return false;
        };
        matches!(
            source.sqlite_error_code(),
            Some(DiskFull | SystemIoFailure | ReadOnly | CannotOpen)
        )
    }
}

/// Why a delivery was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("too many deliveries are waiting")]
    Overloaded,
    #[error("{0}")]
    Unavailable(String),
    #[error("the ledger is closed")]
    Closed,
}

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The range covers too much for one answer.
    #[error("{0}")]
    TooLarge(String),
    /// What is asked for is not kept in such small pieces any more.
    #[error("{0}")]
    TooFine(String),
    #[error("the ledger cannot be read")]
    Store(#[from] StoreError),
    #[error("the question was dropped")]
    Dropped,
}

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that holds the ledger; made if missing.
    pub folder: PathBuf,
    /// Raw reports are kept this long after they came.
    pub retain_raw: Duration,
    /// The zone of days and months, besides UTC.
    pub zone: TimeZone,
}

/// What a commit took, for the registry.
#[derive(Clone, Copy, Debug)]
pub struct CommitReport {
    pub items: usize,
    pub duration: Duration,
}

/// Called after each commit, before it is acknowledged.
pub type OnCommit = Box<dyn FnMut(&Effects, CommitReport) + Send>;

/// What was published before this start.
#[derive(Debug)]
pub struct Restored {
    pub growth: Growth,
    /// Identities active in the last 30 days, with their last activity.
    pub active: Vec<(Arc<Identity>, Timestamp)>,
}

/// The ledger's handle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    jobs: mpsc::UnboundedSender<Job>,
    waiting: Arc<AtomicUsize>,
    readers: Mutex<Vec<Reader>>,
    /// Grows when what readers have in memory is no longer true.
    era: AtomicUsize,
    terms: Arc<ArcSwap<Terms>>,
    spans: Spans,
    retain_raw: Duration,
}

impl Inner {
    /// Lets go of what readers have in memory, those at work included.
    fn forget_readers(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        let mut idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        idle.clear();
    }
}

/// Work for the writer.
#[derive(Debug)]
enum Job {
    Append {
        intake: Intake,
        answer: writer::Answer,
    },
    /// One round of upkeep; the answer tells whether more is due.
    Upkeep {
        now: Timestamp,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
    /// Tells the debts of what was published.
    Debt {
        answer: oneshot::Sender<Difference>,
    },
    /// Tells all that was booked since a time, between two commits.
    Rebook {
        from: Timestamp,
        minutes_from: Option<Timestamp>,
        visit: Rebook,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Tells which keys of reservations a report has.
    Settled {
        reservations: Vec<i64>,
        answer: oneshot::Sender<Result<Vec<i64>, StoreError>>,
    },
    /// Replaces the names of a person.
    Forget {
        person: Box<str>,
        answer: oneshot::Sender<Result<Option<Forgotten>, StoreError>>,
    },
    /// A small change by itself, in the order of the queue.
    Change(Change),
    Stop,
}

/// Takes what was booked, one by one, and `None` when that was all.
pub type Rebooking = Box<dyn FnMut(Option<Booked>) + Send>;

struct Rebook(Rebooking);

impl fmt::Debug for Rebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rebook")
    }
}

/// Changes rows in a transaction that is its own, and answers whoever asked.
struct Change(Box<dyn FnOnce(&mut Connection) + Send>);

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Change")
    }
}

/// A ledger that was opened but does not write yet.
#[derive(Debug)]
pub struct Opened {
    ledger: Ledger,
    writer: writer::Writer,
    pub restored: Restored,
}

/// The writer's thread. Waiting for it makes sure that all that was accepted is on disk.
#[derive(Debug)]
pub struct WriterThread {
    thread: std::thread::JoinHandle<()>,
}

impl WriterThread {
    /// Waits until the writer has ended, after [`Ledger::close`].
    pub fn join(self) {
        // A writer that panicked has already failed its callers; there is nothing to add here.
        let _ = self.thread.join();
    }
}

impl Opened {
    /// Starts to write. `on_commit` hears of each commit before it is acknowledged.
    pub fn start(self, on_commit: OnCommit) -> Result<(Ledger, WriterThread), StoreError> {
        let mut writer = self.writer;
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(on_commit))
            .map_err(StoreError::file(
                "start a thread for",
                &self.ledger.inner.path,
            ))?;
        Ok((self.ledger, WriterThread { thread }))
    }
}

impl Ledger {
    /// Opens the ledger in a folder, making or migrating it as needed.
    pub fn open(
        settings: &Settings,
        terms: Arc<ArcSwap<Terms>>,
        clock: Clock,
    ) -> Result<Opened, StoreError> {
        let now = clock.now();
        let file = open::open(&settings.folder)?;
        let spans = Spans::load(&file.connection, &settings.zone, now)?;
        let memory = write::Memory::load(&file.connection)?;
        let month_ago = now.as_millisecond() - 30 * 86_400_000;
        let restored = Restored {
            growth: memory.published.all(),
            active: memory.dictionaries.active_since(month_ago),
        };
        let (jobs, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let inner = Inner {
            path: file.path.clone(),
            jobs,
            waiting: waiting.clone(),
            readers: Mutex::new(Vec::new()),
            era: AtomicUsize::new(0),
            terms: terms.clone(),
            spans: spans.clone(),
            retain_raw: settings.retain_raw,
        };
        let writer = writer::Writer {
            file,
            memory,
            is_ahead: false,
            spans,
            terms,
            clock,
            retain_raw: settings.retain_raw,
            walk: upkeep::Walk::default(),
            failing: false,
            queue,
            waiting,
        };
        Ok(Opened {
            ledger: Self {
                inner: Arc::new(inner),
            },
            writer,
            restored,
        })
    }

    /// Appends a delivery. `Ok` comes when it is on disk.
    pub async fn append(&self, intake: Intake) -> Result<Receipt, AppendError> {
        let items = intake.len();
        let waiting = self.inner.waiting.fetch_add(items, Ordering::Relaxed);
        if waiting > MAX_WAITING {
            self.inner.waiting.fetch_sub(items, Ordering::Relaxed);
            return Err(AppendError::Overloaded);
        }
        let (answer, answered) = oneshot::channel();
        if self
            .inner
            .jobs
            .send(Job::Append { intake, answer })
            .is_err()
        {
            self.inner.waiting.fetch_sub(items, Ordering::Relaxed);
            return Err(AppendError::Closed);
        }
        let (_intake, receipt) = answered.await.map_err(|_| AppendError::Closed)?;
        receipt
    }

    /// Items that wait for the writer.
    pub fn waiting(&self) -> usize {
        self.inner.waiting.load(Ordering::Relaxed)
    }

    /// Size of the ledger's files in bytes.
    pub fn bytes(&self) -> u64 {
        let mut wal = self.inner.path.clone().into_os_string();
        wal.push("-wal");
        [self.inner.path.clone().into_os_string(), wal]
            .iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|file| file.len())
            .sum()
    }

    /// One round of upkeep: days and months, pruning. Returns true if more is due.
    pub async fn upkeep(&self, now: Timestamp) -> Result<bool, QueryError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Upkeep { now, answer })?;
        Ok(answered.await.map_err(|_| QueryError::Dropped)??)
    }

    /// The debts of what was published: by how much `/metrics` is ahead of the ledger.
    pub async fn debt(&self) -> Result<Difference, QueryError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Debt { answer })?;
        answered.await.map_err(|_| QueryError::Dropped)
    }

    /// Tells `visit` all that was booked since a time, by quarter hour, between two commits: what
    /// later commits book comes after it and is not in it. With `minutes_from` what was booked
    /// from that minute on is by minute, as far as the latest 200,000 reports tell.
    pub async fn rebook(
        &self,
        from: Timestamp,
        minutes_from: Option<Timestamp>,
        visit: Rebooking,
    ) -> Result<(), QueryError> {
        let (answer, answered) = oneshot::channel();
        let visit = Rebook(visit);
        self.send(Job::Rebook {
            from,
            minutes_from,
            visit,
            answer,
        })?;
        Ok(answered.await.map_err(|_| QueryError::Dropped)??)
    }

    /// Which of these reservations the ledger has a settlement of.
    pub async fn settled(&self, reservations: Vec<i64>) -> Result<Vec<i64>, QueryError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Settled {
            reservations,
            answer,
        })?;
        Ok(answered.await.map_err(|_| QueryError::Dropped)??)
    }

    /// Usage in a range, grouped and sorted by the group's keys.
    ///
    /// Errors: [`QueryError::TooLarge`] and [`QueryError::TooFine`] where it cannot be told so.
    pub async fn usage(&self, query: UsageQuery) -> Result<UsageRows, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| reader.usage(&query, &inner.terms.load(), &inner.spans))
            .await
    }

    /// Control totals by source, provider, model and UTC day.
    pub async fn control(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<ControlRow>, QueryError> {
        let first = from.as_second().div_euclid(86_400);
        let end = (to.as_second() + 86_399).div_euclid(86_400);
        self.read(move |reader| Ok(reader.control(first, end)?))
            .await
    }

    /// Copies the whole ledger, consistently, into a new file. Returns its size in bytes.
    pub async fn backup(&self, path: &Path) -> Result<u64, QueryError> {
        let path = path.to_owned();
        self.read(move |reader| Ok(backup::backup(&reader.connection, &path)?))
            .await
    }

    /// Ends the writer after what was accepted so far.
    pub fn close(&self) {
        // An error means that the writer has ended already.
        let _ = self.inner.jobs.send(Job::Stop);
    }

    /// Makes each commit fail that brings a new identity of this user, for tests of those above.
    #[cfg(test)]
    pub(crate) async fn choke_on(&self, user: &str) -> Result<(), QueryError> {
        let trigger = format!(
            "CREATE TRIGGER choke BEFORE INSERT ON identity WHEN new.user = '{user}' \
             BEGIN SELECT raise(ABORT, 'choked'); END"
        );
        self.change(move |transaction| {
            let made = transaction.execute_batch(&trigger);
            made.map_err(StoreError::sql("make a trigger"))
        })
        .await
    }

    fn send(&self, job: Job) -> Result<(), QueryError> {
        self.inner.jobs.send(job).map_err(|_| QueryError::Dropped)
    }

    /// Changes rows in one transaction on the writer's thread. `Ok` comes when it is on disk.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let (answer, answered) = oneshot::channel();
        let work = move |connection: &mut Connection| {
            // Whoever asked may have gone; the change counts all the same.
            let _ = answer.send(transact(connection, change));
        };
        self.send(Job::Change(Change(Box::new(work))))?;
        Ok(answered.await.map_err(|_| QueryError::Dropped)??)
    }

    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Reader) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || {
            let idle = || inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
            let era = inner.era.load(Ordering::Acquire);
            let free = idle().pop();
            let mut reader = match free {
                Some(reader) => reader,
                None => Reader::new(open::read_only(&inner.path)?),
            };
            let answer = ask(&mut reader);
            let mut idle = idle();
            if idle.len() < MAX_READERS && era == inner.era.load(Ordering::Acquire) {
                idle.push(reader);
            }
            answer
        })
        .await
        .map_err(|_| QueryError::Dropped)?
    }
}

fn transact<T>(
    connection: &mut Connection,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(StoreError::sql("begin a change"))?;
    let result = change(&transaction)?;
    transaction
        .commit()
        .map_err(StoreError::sql("commit a change"))?;
    Ok(result)
}
