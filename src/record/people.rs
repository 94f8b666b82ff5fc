//! Who was active when, for the gauges of active users.
//!
//! A person counts once, on however many devices; a device without a person counts as one;
//! a service does not count.

use std::borrow::Cow;
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

/// The last activity of each identity as reported: who that is, the directory says, so that a
/// correction holds for what was before.
#[derive(Debug)]
pub(super) struct People {
    terms: Arc<ArcSwap<Terms>>,
    seen: Mutex<Seen>,
}

/// Times are in milliseconds.
#[derive(Debug, Default)]
struct Seen {
    last: HashMap<Arc<Identity>, i64>,
    /// The same by user, as these terms have it: looked at with each scrape.
    users: HashMap<String, i64>,
    terms: Option<Arc<Terms>>,
}

impl People {
    pub(super) fn new(terms: Arc<ArcSwap<Terms>>) -> Self {
        Self {
            terms,
            seen: Mutex::default(),
        }
    }

    pub(super) fn note(&self, active: &[(Arc<Identity>, Timestamp)]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (identity, at) in active {
            seen.note(identity, at.as_millisecond());
        }
    }

    /// Shows a user under another name from now on.
    pub(super) fn rename(&self, old: &str, new: &str) {
        let terms = self.terms.load();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |identity: &Identity, at: i64| {
            identity.shown_user() == old || user_of(&terms, identity, at).as_deref() == Some(old)
        };
        let gone = seen.last.extract_if(|identity, at| is_old(identity, *at));
        let Some(at) = gone.map(|(_, at)| at).max() else {
            return;
        };
        let identity = Identity {
            user: Some(new.into()),
            ..Identity::default()
        };
        // The users are worked out anew: nobody may be left in them under the old name.
        seen.terms = None;
        seen.note(&Arc::new(identity), at);
    }

    pub(super) fn publish(&self, registry: &Registry, now: Timestamp) {
        let now_ms = now.as_millisecond();
        let mut counts = [0_u32; WINDOWS.len()];
        let longest = WINDOWS[WINDOWS.len() - 1].1;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.keep_to(&self.terms.load_full());
        seen.last.retain(|_, at| now_ms - *at < longest);
        seen.users.retain(|_, at| now_ms - *at < longest);
        for at in seen.users.values() {
            for (count, (_, window)) in counts.iter_mut().zip(WINDOWS) {
                *count += u32::from(now_ms - at < window);
            }
        }
        drop(seen);
        for (count, (window, _)) in counts.into_iter().zip(WINDOWS) {
            registry.set(catalogue::ACTIVE_USERS, &[window], f64::from(count));
        }
    }
}

impl Seen {
    fn note(&mut self, identity: &Arc<Identity>, at: i64) {
        match self.last.get_mut(identity) {
            Some(known) => *known = at.max(*known),
            None => {
                self.last.insert(identity.clone(), at);
            }
        }
        if let Some(terms) = &self.terms {
            add(&mut self.users, user_of(terms, identity, at), at);
        }
    }

    /// Works the users out anew where the directory may be another one.
    fn keep_to(&mut self, terms: &Arc<Terms>) {
        if self
            .terms
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, terms))
        {
            return;
        }
        self.users.clear();
        for (identity, at) in &self.last {
            add(&mut self.users, user_of(terms, identity, *at), *at);
        }
        self.terms = Some(terms.clone());
    }
}

fn add(users: &mut HashMap<String, i64>, user: Option<Cow<'_, str>>, at: i64) {
    let Some(user) = user else { return };
    match users.get_mut(&*user) {
        Some(known) => *known = at.max(*known),
        None => {
            users.insert(user.into_owned(), at);
        }
    }
}

/// Who an identity was at a time; nobody if it is a service, or unknown.
fn user_of<'a>(terms: &'a Terms, identity: &'a Identity, at_ms: i64) -> Option<Cow<'a, str>> {
    let at = Timestamp::from_millisecond(at_ms).ok()?;
    let who = terms.directory.attribute(identity, at);
    (!matches!(who.kind, Kind::Service | Kind::Unknown)).then_some(who.user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::directory::Directory;

    fn active(user: Option<&str>, device: Option<&str>) -> (Arc<Identity>, Timestamp) {
        let identity = Identity {
            user: user.map(Box::from),
            device: device.map(Box::from),
            ..Identity::default()
        };
        (Arc::new(identity), at("2026-11-22T03:00:00Z"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn count(people: &People) -> Option<f64> {
        let registry = Registry::default();
        people.publish(&registry, at("2026-11-22T04:00:00Z"));
        registry.gauge(catalogue::ACTIVE_USERS, &["24h"])
    }

    fn directory(rows: &str) -> Terms {
        let text = format!("identity,person,kind\n{rows}");
        let directory = Directory::parse(&text, &jiff::tz::TimeZone::UTC).unwrap();
        Terms {
            directory,
            ..Terms::default()
        }
    }

    #[test]
    fn a_new_directory_says_who_was_active_before() {
        let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
        let people = People::new(terms.clone());
        people.note(&[
            active(Some("ann@example.com"), None),
            active(None, Some("d1")),
            active(Some("bot@example.com"), None),
        ]);
        assert_eq!(count(&people), Some(3.0));
        terms.store(Arc::new(directory(
            "d1,ann@example.com,device\nbot@example.com,,service\n",
        )));
        assert_eq!(count(&people), Some(1.0));
        terms.store(Arc::default());
        people.rename("ann@example.com", "forgotten-1");
        assert_eq!(count(&people), Some(3.0));
    }
}
