//! Keeping the book: filling it from the ledger, putting reservations back after a restart, ending
//! leases, and keeping the journal short.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::entry::{self, Entry, Reserved};
use super::{InForce, MAX_OPEN_PER_USER, Quota, State, adjust};
use crate::model::adjustment::Adjustment;
use crate::model::policy::{Policy, Span, Usage};
use crate::model::quota::{Book, Expired, Request, Reservation};
use crate::model::tokens::Tokens;
use crate::model::window::Window;
use crate::store::{Booked, Ledger, QueryError, StoreError, reservation_key};

/// Time between two looks for counters that hold and count nothing: those that a question made,
/// and those of windows that are over.
const PRUNE_PERIOD: SignedDuration = SignedDuration::from_mins(10);

impl Quota {
    /// Puts a policy in force: counters are filled from the ledger between two commits, live
    /// reservations move over. Until that is done the policy before decides.
    pub async fn load(
        &self,
        policy: Policy,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        let from = earliest(&policy, now);
        let since = now.saturating_sub(adjust::CONCERN).unwrap_or(from);
        let mut adjustments = Some(ledger.adjustments(since).await?);
        let policy = Arc::new(policy);
        let mut filling = Some(Book::new(policy.clone(), MAX_OPEN_PER_USER));
        let quota = self.clone();
        let visit = move |booked: Option<Booked>| match (booked, &mut filling) {
            (Some(booked), Some(book)) => quota.post(book, &booked, now),
            (None, filling) => {
                if let Some(book) = filling.take() {
                    quota.swap(book, adjustments.take().unwrap_or_default(), now);
                }
            }
            (Some(_), None) => {}
        };
        let minute = Span::Calendar(Window::Minute);
        let has_minutes = policy.limits.iter().any(|limit| limit.span == minute);
        let minutes_from = has_minutes.then_some(now);
        ledger.rebook(from, minutes_from, Box::new(visit)).await
    }

    /// Replaces the book by one that has all the ledger knows; live holds go with it.
    fn swap(&self, mut book: Book, adjustments: Vec<Adjustment>, now: Timestamp) {
        let mut state = self.state();
        let fresh = |adjustment: Adjustment| (adjustment.id.clone(), adjustment);
        state.adjustments.extend(adjustments.into_iter().map(fresh));
        let since = now
            .saturating_sub(adjust::CONCERN)
            .unwrap_or(Timestamp::MIN);
        state.adjustments.retain(|_, known| known.at >= since);
        let policy = book.policy().clone();
        for adjustment in state.adjustments.values() {
            if let Some((limit, scope, amount)) = adjustment.under(&policy) {
                book.adjust(limit, &scope, amount, adjustment.at, now);
            }
        }
        if let Some(old) = &state.book {
            for (id, reservation) in old.live() {
                book.restore(
                    &request_of(id, reservation),
                    reservation.reserved_at,
                    reservation.expires_at,
                );
            }
        }
        book.prune(now);
        state.version += 1;
        let in_force = InForce {
            policy: book.policy().clone(),
            version: state.version,
        };
        state.book = Some(book);
        self.inner.in_force.store(Some(Arc::new(in_force)));
    }

    /// Puts back the reservations of the journal that are live and that nobody settled.
    pub async fn restore(
        &self,
        lines: &[String],
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<usize, QueryError> {
        let mut live = entry::live(lines, now);
        let keys = live.keys().map(|id| reservation_key(id)).collect();
        let settled = ledger.settled(keys).await?;
        live.retain(|id, _| !settled.contains(&reservation_key(id)));
        let mut state = self.state();
        let State { book, by_key, .. } = &mut *state;
        for reserved in live.values() {
            let (model, provider) = reserved.model();
            let sku = self.sku(model, Some(provider), &Tokens::default());
            let (request, reserved_at, expires_at) = reserved.parts(sku);
            if let Some(book) = book {
                book.restore(&request, reserved_at, expires_at);
            }
            by_key.insert(reservation_key(&request.id), request.id);
        }
        let count = live.len();
        let entries = live
            .into_values()
            .map(|reserved| Entry::Reserve(Box::new(reserved)));
        let mut journal = self.journal(state);
        let new = journal.compact().write(entries, Entry::write)?;
        journal.replace(new)?;
        Ok(count)
    }

    /// Ends leases that are over and forgets what is empty. Returns what is to be charged for
    /// reservations that nobody settled.
    pub fn round(&self, now: Timestamp) -> Vec<(Arc<str>, Usage)> {
        let mut state = self.state();
        let State {
            book,
            by_key,
            pruned,
            ..
        } = &mut *state;
        let Some(book) = book else {
            return Vec::new();
        };
        let Expired { charges, forgotten } = book.expire(now);
        if now.duration_since(*pruned) >= PRUNE_PERIOD {
            book.prune(now);
            self.inner.known.clear();
            *pruned = now;
        }
        for id in &forgotten {
            by_key.remove(&reservation_key(id));
        }
        let ended: Vec<_> = charges.iter().map(|(id, _)| id.as_ref()).collect();
        let lines = entry::ends(&ended);
        // If the lines are lost, the ends of the leases in the journal say the same.
        let _ = self.journal(state).append(&lines);
        charges
    }

    /// Flushes the journal and keeps it short. Waits for the disk; decisions do not.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (unflushed, is_large) = {
            let mut journal = self.journal(self.state());
            (journal.unflushed(), journal.is_large())
        };
        if let Some(unflushed) = unflushed {
            unflushed.flush()?;
        }
        if !is_large {
            return Ok(());
        }
        let state = self.state();
        let live = state.book.iter().flat_map(Book::live);
        let live: Vec<_> = live.map(|(id, held)| (id.clone(), held.clone())).collect();
        // What is held from here on comes after the lines that are there.
        let compaction = self.journal(state).compact();
        let new = compaction.write(live.iter(), |(id, held), out| {
            let (at, until) = (held.reserved_at, held.expires_at);
            Entry::Reserve(Box::new(Reserved::of(&request_of(id, held), at, until))).write(out);
        })?;
        self.journal(self.state()).replace(new)
    }
}

fn request_of(id: &Arc<str>, reservation: &Reservation) -> Request {
    Request {
        id: id.clone(),
        asked: reservation.asked.clone(),
        estimate: reservation.estimate,
        output: reservation.output,
        lease: SignedDuration::ZERO,
    }
}

/// The begin of the earliest window that is open now.
pub(super) fn earliest(policy: &Policy, now: Timestamp) -> Timestamp {
    let starts = policy.limits.iter().map(|limit| match limit.span {
        Span::Calendar(window) => window.containing(now, &policy.zone).start,
        Span::Rolling { seconds } => now
            .saturating_sub(SignedDuration::from_secs(seconds))
            .unwrap_or(Timestamp::MIN),
    });
    starts.min().unwrap_or(now)
}
