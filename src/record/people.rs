//! Who was active when, for the gauges of active users.
//!
//! A person counts once, on however many devices; a device without a person counts as one;
//! a service does not count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::model::catalogue;
use crate::model::directory::Kind;
use crate::model::identity::Identity;
use crate::registry::Registry;
use crate::store::Terms;

/// The windows that are published, in milliseconds.
const WINDOWS: [(&str, i64); 5] = [
    ("5m", 5 * 60_000),
    ("1h", 3_600_000),
    ("24h", 86_400_000),
    ("7d", 7 * 86_400_000),
    ("30d", 30 * 86_400_000),
];

/// The last activity of each user, in milliseconds.
#[derive(Debug)]
pub(super) struct People {
    terms: Arc<ArcSwap<Terms>>,
    last: Mutex<HashMap<String, i64>>,
}

impl People {
    pub(super) fn new(terms: Arc<ArcSwap<Terms>>) -> Self {
        Self {
            terms,
            last: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn note(&self, active: &[(Arc<Identity>, Timestamp)]) {
        let terms = self.terms.load();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (identity, at) in active {
            let who = terms.directory.attribute(identity, *at);
            if matches!(who.kind, Kind::Service | Kind::Unknown) {
                continue;
            }
            let at_ms = at.as_millisecond();
            match last.get_mut(&*who.user) {
                Some(known) => *known = at_ms.max(*known),
                None => {
                    last.insert(who.user.into_owned(), at_ms);
                }
            }
        }
    }

    /// Shows a user under another name from now on.
    pub(super) fn rename(&self, old: &str, new: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = last.remove(old) {
            let known = last.entry(new.to_owned()).or_insert(at);
            *known = at.max(*known);
        }
    }

    pub(super) fn publish(&self, registry: &Registry, now: Timestamp) {
        let now_ms = now.as_millisecond();
        let mut counts = [0_u32; WINDOWS.len()];
        let longest = WINDOWS[WINDOWS.len() - 1].1;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now_ms - *at < longest);
        for at in last.values() {
            for (count, (_, window)) in counts.iter_mut().zip(WINDOWS) {
                *count += u32::from(now_ms - at < window);
            }
        }
        drop(last);
        for (count, (window, _)) in counts.into_iter().zip(WINDOWS) {
            registry.set(catalogue::ACTIVE_USERS, &[window], f64::from(count));
        }
    }
}
