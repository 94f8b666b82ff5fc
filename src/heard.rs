//! Who is heard: the senders seen since start, and what was refused from them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::model::identity::Origin;

/// Senders remembered at most; further ones are summed under the client name `other`.
const MAX_SENDERS: usize = 1_000;

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
