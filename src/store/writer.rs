//! The writer: one thread, many deliveries a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::open::StoreFile;
use super::span::Spans;
use super::terms::Terms;
use super::write::{Commit, Effects, Memory};
use super::{
    AppendError, Change, CommitReport, Job, OnCommit, Rebook, StoreError, booked, forget, upkeep,
};
use crate::clock::{Clock, Stopwatch};
use crate::model::usage::{Intake, Reach, Receipt};

/// Items put into one commit at most: some 100 ms of work, so that nobody waits much longer.
const MAX_ITEMS_PER_COMMIT: usize = 20_000;

/// Answers a delivery, and gives it back: to free it takes a while that the writer lacks.
pub(super) type Answer = oneshot::Sender<(Intake, Result<Receipt, AppendError>)>;

/// Everything the writer's thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: StoreFile,
    pub(super) memory: Memory,
    /// True if the memory holds what a failed commit took.
    pub(super) is_ahead: bool,
    pub(super) spans: Spans,
    pub(super) terms: Arc<ArcSwap<Terms>>,
    pub(super) clock: Clock,
    pub(super) retain_raw: Duration,
    pub(super) walk: upkeep::Walk,
    /// The last commit failed; said once, not for every delivery.
    pub(super) failing: bool,
    pub(super) queue: mpsc::UnboundedReceiver<Job>,
    pub(super) waiting: Arc<AtomicUsize>,
}

impl Writer {
    /// Works until told to stop or nobody is left to ask.
    pub(super) fn run(&mut self, mut on_commit: OnCommit) {
        let mut held = None;
        while let Some(job) = held.take().or_else(|| self.queue.blocking_recv()) {
            match job {
                Job::Append { intake, answer } => {
                    let (batch, next) = self.gather(intake, answer);
                    held = next;
                    self.append(batch, &mut on_commit);
                }
                Job::Upkeep { now, answer } => {
                    let done = upkeep::round(
                        &self.file.connection,
                        &mut self.spans,
                        now,
                        self.retain_raw,
                        &mut self.walk,
                    );
                    // The one who asked may have gone; the round counts all the same.
                    let _ = answer.send(done);
                }
                Job::Debt { answer } => {
                    let _ = answer.send(self.memory.published.debt());
                }
                Job::Rebook {
                    from,
                    minutes_from,
                    visit: Rebook(mut visit),
                    answer,
                } => {
                    let (connection, names) = (&self.file.connection, &self.memory.dictionaries);
                    let told = booked::since(connection, names, from, minutes_from, &mut visit);
                    // Whoever asked may have gone; what was told stays told.
                    let _ = answer.send(told);
                }
                Job::Settled {
                    mut reservations,
                    answer,
                } => {
                    let mut fault = None;
                    reservations.retain(|key| {
                        let has = self.memory.has_report(&self.file.connection, *key);
                        has.map_err(|error| fault = Some(error)).unwrap_or(false)
                    });
                    // Whoever asked may have gone; nothing depends on the answer.
                    let _ = answer.send(fault.map_or(Ok(reservations), Err));
                }
                Job::Forget { person, answer } => {
                    let terms = self.terms.load_full();
                    let (file, memory) = (&mut self.file, &self.memory);
                    let names = &memory.dictionaries;
                    let done = forget::forget(&mut file.connection, names, &terms, &person);
                    self.is_ahead = true;
                    // A disk that fails here is read before the next commit.
                    let _ = self.catch_up();
                    // Whoever asked may have gone; what is forgotten stays so.
                    let _ = answer.send(done);
                }
                Job::Change(Change(work)) => work(&mut self.file.connection),
                Job::Stop => break,
            }
        }
        // Left in the queue are only deliveries that nobody acknowledged.
        self.queue.close();
        // All in one file, so that a closed store can be copied and checked whole. If it fails,
        // the log that stays is read at the next start.
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let _ = self.file.connection.execute_batch(checkpoint);
    }

    /// Takes the deliveries that wait behind the first one, up to a bound or another job.
    fn gather(&mut self, first: Intake, answer: Answer) -> (Vec<(Intake, Answer)>, Option<Job>) {
        let mut items = first.len();
        let reach = first.reach;
        let mut batch = vec![(first, answer)];
        while items < MAX_ITEMS_PER_COMMIT {
            match self.queue.try_recv() {
                // What counts in other places is committed by itself.
                Ok(Job::Append { intake, answer }) if intake.reach == reach => {
                    items += intake.len();
                    batch.push((intake, answer));
                }
                Ok(job) => return (batch, Some(job)),
                Err(_) => break,
            }
        }
        (batch, None)
    }

    fn append(&mut self, batch: Vec<(Intake, Answer)>, on_commit: &mut OnCommit) {
        let items = batch.iter().map(|(intake, _)| intake.len()).sum();
        let (intakes, answers): (Vec<Intake>, Vec<Answer>) = batch.into_iter().unzip();
        let results = self.commit_or_part(&intakes, on_commit);
        self.waiting.fetch_sub(items, Ordering::Relaxed);
        for ((answer, intake), result) in answers.into_iter().zip(intakes).zip(results) {
            // A sender that went away finds its records known when it comes again.
            let _ = answer.send((intake, result));
        }
    }

    /// Commits all together; if the data of one delivery is the trouble, each by itself.
    fn commit_or_part(
        &mut self,
        intakes: &[Intake],
        on_commit: &mut OnCommit,
    ) -> Vec<Result<Receipt, AppendError>> {
        match self.commit(intakes, on_commit) {
            Ok(receipts) => {
                if self.failing {
                    tracing::info!("commits go on");
                }
                self.failing = false;
                receipts.into_iter().map(Ok).collect()
            }
            Err(error) if intakes.len() == 1 || error.is_disk() => {
                let reason = chain(&error);
                if !self.failing {
                    tracing::error!(reason, "cannot commit, senders are asked to wait");
                }
                self.failing = true;
                intakes
                    .iter()
                    .map(|_| Err(AppendError::Unavailable(reason.clone())))
                    .collect()
            }
            Err(_) => intakes
                .iter()
                .flat_map(|intake| self.commit_or_part(std::slice::from_ref(intake), on_commit))
                .collect(),
        }
    }

    fn commit(
        &mut self,
        intakes: &[Intake],
        on_commit: &mut OnCommit,
    ) -> Result<Vec<Receipt>, StoreError> {
        let watch = Stopwatch::start();
        self.catch_up()?;
        match self.try_commit(intakes) {
            Ok((receipts, effects)) => {
                let report = CommitReport {
                    items: intakes.iter().map(Intake::len).sum(),
                    duration: watch.elapsed(),
                };
                on_commit(&effects, report);
                Ok(receipts)
            }
            Err(error) => {
                if !self.file.connection.is_autocommit() {
                    // If even this fails, the next BEGIN fails and says why.
                    let _ = self.file.connection.execute_batch("ROLLBACK");
                }
                self.is_ahead = true;
                // A disk that fails here too is read before the next commit.
                let _ = self.catch_up();
                Err(error)
            }
        }
    }

    /// Reads the memory anew where a failed commit has left it ahead of the disk.
    fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.is_ahead {
            self.memory = Memory::load(&self.file.connection)?;
            self.is_ahead = false;
        }
        Ok(())
    }

    fn try_commit(&mut self, intakes: &[Intake]) -> Result<(Vec<Receipt>, Effects), StoreError> {
        let connection = &self.file.connection;
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(StoreError::sql("begin a commit"))?;
        let terms = self.terms.load();
        let mut commit = Commit::begin(
            connection,
            &mut self.memory,
            &terms,
            &self.spans,
            intakes.first().map_or(Reach::Live, |intake| intake.reach),
            self.clock.now(),
        )?;
        let receipts = commit.take(intakes)?;
        let effects = commit.settle()?;
        connection
            .execute_batch("COMMIT")
            .map_err(StoreError::sql("commit"))?;
        Ok((receipts, effects))
    }
}

/// An error with its sources, as one line.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
