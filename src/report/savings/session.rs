//! Sessions that may still go on: only at their end is it known whether a person took part, and
//! whether what was written to the cache was ever read.
#![deny(clippy::float_arithmetic)]

use std::collections::HashMap;

use super::outcome::{Sum, sum};
use crate::config;
use crate::model::money::PicoUsd;
use crate::model::tokens::Tokens;

/// Sessions kept open. Ten thousand people have fewer at work; beyond it those without a request
/// for the longest time are judged by what is known of them.
const MAX_OPEN: usize = if cfg!(test) { 4 } else { 200_000 };

/// Who waited for an answer, as far as names tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    #[default]
    None,
    Headless,
    /// Whatever else there is: a person took part.
    Interactive,
}

impl Evidence {
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str>, settings: &config::Savings) -> Self {
        let listed = |list: &[String], name: &str| list.iter().any(|listed| listed == name);
        let each = names.map(|name| {
            if listed(&settings.interactive, name) {
                Self::Interactive
            } else if listed(&settings.headless, name) {
                Self::Headless
            } else {
                Self::None
            }
        });
        each.max().unwrap_or_default()
    }
}

/// Requests that may go into a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) group: usize,
    pub(super) line: usize,
    /// Whether there is a batch price for them.
    pub(super) is_priced: bool,
    pub(super) sum: Sum,
    /// What other measures would save.
    pub(super) other: PicoUsd,
    /// The best measure for each, the batch among them.
    pub(super) best: PicoUsd,
}

impl Candidate {
    pub(super) fn join(&mut self, more: &Self) {
        self.sum.add(&more.sum);
        self.other = sum(self.other, more.other);
        self.best = sum(self.best, more.best);
    }
}

/// What a session did with the cache of one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cache {
    pub(super) group: usize,
    pub(super) line: usize,
    pub(super) read: u64,
    pub(super) premium: PicoUsd,
    pub(super) sum: Sum,
}

/// A session.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) evidence: Evidence,
    pub(super) requests: u64,
    pub(super) candidates: Vec<Candidate>,
    pub(super) caches: Vec<Cache>,
    /// When it was last touched, counted in requests.
    touched: u64,
}

impl Session {
    pub(super) fn add(&mut self, evidence: Evidence, batch: Option<Candidate>) {
        self.evidence = self.evidence.max(evidence);
        self.requests += 1;
        let Some(batch) = batch else {
            return;
        };
        let same = |known: &&mut Candidate| {
            (known.group, known.line, known.is_priced) == (batch.group, batch.line, batch.is_priced)
        };
        match self.candidates.iter_mut().find(same) {
            Some(known) => known.join(&batch),
            None => self.candidates.push(batch),
        }
    }

    pub(super) fn cache(
        &mut self,
        group: usize,
        line: usize,
        tokens: &Tokens,
        cost: PicoUsd,
        premium: PicoUsd,
    ) {
        let place = self.caches.iter().position(|cache| cache.line == line);
        let place = place.unwrap_or_else(|| {
            self.caches.push(Cache {
                group,
                line,
                read: 0,
                premium: PicoUsd::ZERO,
                sum: Sum::default(),
            });
            self.caches.len() - 1
        });
        let cache = &mut self.caches[place];
        cache.read = cache.read.saturating_add(tokens.cache_read);
        if tokens.cache_write() > 0 {
            cache.premium = sum(cache.premium, premium);
            cache.sum.requests += 1;
            cache.sum.tokens = cache.sum.tokens.saturating_add(tokens.cache_write());
            cache.sum.cost = sum(cache.sum.cost, cost);
        }
    }
}

/// The sessions that may go on.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashMap<i64, Session>,
    now: u64,
    pub(super) judged_early: u64,
}

impl Sessions {
    pub(super) fn open(&mut self, id: i64) -> &mut Session {
        self.now += 1;
        let session = self.open.entry(id).or_default();
        session.touched = self.now;
        session
    }

    /// The longest untouched quarter of the sessions once there are too many, else none.
    pub(super) fn make_room(&mut self) -> Vec<Session> {
        if self.open.len() <= MAX_OPEN {
            return Vec::new();
        }
        let mut ages: Vec<u64> = self.open.values().map(|one| one.touched).collect();
        let (_, limit, _) = ages.select_nth_unstable(MAX_OPEN / 4);
        let limit = *limit;
        let over: Vec<Session> = self
            .open
            .extract_if(|_, session| session.touched < limit)
            .map(|(_, session)| session)
            .collect();
        self.judged_early += over.len() as u64;
        over
    }

    pub(super) fn take_all(&mut self) -> Vec<Session> {
        self.open.drain().map(|(_, session)| session).collect()
    }
}
