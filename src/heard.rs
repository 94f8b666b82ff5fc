//! Who is heard: the senders seen since start, what was refused from them, and the deliveries that
//! were refused whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::model::identity::Origin;

/// Senders remembered at most; further ones are summed under the client name `other`.
const MAX_SENDERS: usize = 1_000;

/// The log tells of refusals for one reason at most this often.
const LOG_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Tells senders apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender {
    /// `service.name`, or the name of the token for the usage API.
    pub client: String,
    pub version: String,
    /// `metrics`, `logs`, `traces` or `usage`.
    pub signal: &'static str,
    /// The record's source: `gateway`, `events`, `metrics`, ...
    pub source: String,
}

/// Deliveries that were refused whole, by what they carried and why. Both are closed sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// `metrics`, `logs`, `traces` or `usage`.
    pub signal: &'static str,
    /// `token_missing`, `malformed`, `overloaded`, ...
    pub code: &'static str,
}

/// What is known of the deliveries that were refused for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub deliveries: u64,
    /// What the last of them was answered.
    pub reason: String,
    /// How many the log has told of, and when.
    logged: u64,
    logged_at: Timestamp,
}

/// What is known of one sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub deliveries: u64,
    pub accepted: u64,
    pub duplicates: u64,
    /// Refused items by code.
    pub refused: BTreeMap<String, u64>,
    /// How users became known, by number of items.
    pub origins: BTreeMap<Origin, u64>,
}

/// One delivery's worth of news about a sender.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    pub accepted: u64,
    pub duplicates: u64,
    pub refused: BTreeMap<String, u64>,
    pub origins: BTreeMap<Origin, u64>,
}

/// The table of senders.
#[derive(Debug, Default)]
pub struct Heard {
    senders: Mutex<HashMap<Sender, Hearing>>,
    rejected: Mutex<BTreeMap<Rejection, Rejected>>,
}

impl Heard {
    /// Adds one delivery to what is known of its sender.
    pub fn note(&self, sender: Sender, delivery: Delivery, now: Timestamp) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let full = senders.len() >= MAX_SENDERS && !senders.contains_key(&sender);
        let key = if full {
            Sender {
                client: "other".to_owned(),
                version: String::new(),
                ..sender
            }
        } else {
            sender
        };
        let hearing = senders.entry(key).or_insert_with(|| Hearing {
            first_seen: now,
            ..Hearing::default()
        });
        hearing.last_seen = now;
        hearing.deliveries += 1;
        hearing.accepted += delivery.accepted;
        hearing.duplicates += delivery.duplicates;
        for (code, count) in delivery.refused {
            *hearing.refused.entry(code).or_default() += count;
        }
        for (origin, count) in delivery.origins {
            *hearing.origins.entry(origin).or_default() += count;
        }
    }

    /// Adds one delivery that was refused whole. Its sender is not known, or not believed.
    pub fn reject(&self, rejection: Rejection, reason: &str, now: Timestamp) {
        let mut all = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let rejected = all.entry(rejection).or_insert_with(|| Rejected {
            first_seen: now,
            ..Rejected::default()
        });
        rejected.last_seen = now;
        rejected.deliveries += 1;
        if rejected.reason != reason {
            reason.clone_into(&mut rejected.reason);
        }
        let is_told = rejected.logged > 0 && now.duration_since(rejected.logged_at) < LOG_PAUSE;
        if is_told {
            return;
        }
        let deliveries = rejected.deliveries - rejected.logged;
        rejected.logged = rejected.deliveries;
        rejected.logged_at = now;
        drop(all);
        let Rejection { signal, code } = rejection;
        tracing::warn!(signal, code, reason, deliveries, "refused whole deliveries");
    }

    /// All deliveries that were refused whole, sorted.
    #[must_use]
    pub fn rejected(&self) -> Vec<(Rejection, Rejected)> {
        let all = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = all.iter();
        pairs
            .map(|(rejection, rejected)| (*rejection, rejected.clone()))
            .collect()
    }

    /// All senders, sorted.
    #[must_use]
    pub fn list(&self) -> Vec<(Sender, Hearing)> {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = senders
            .iter()
            .map(|(sender, hearing)| (sender.clone(), hearing.clone()))
            .collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    }
}
