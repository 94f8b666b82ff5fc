//! Who asked before: calls of one kind are resolved once, and share what that gave.
//!
//! A gateway asks for the same people and models all day. What they resolve to changes only with
//! the policy, the terms, the names of models, or the time at which the directory says something
//! new.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{Equivalent, HashMap};
use jiff::Timestamp;

use super::InForce;
use super::who::Claims;
use crate::model::names::ModelNames;
use crate::model::quota::Asked;
use crate::model::usage::Band;
use crate::store::Terms;

/// Kinds that are remembered at most, some 50 MB of them; then all are forgotten.
const MOST: usize = 1 << 17;

/// What tells kinds of calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind<'a> {
    pub(super) claims: &'a Claims,
    /// As the gateway names it.
    pub(super) model: &'a str,
    pub(super) provider: Option<&'a str>,
    pub(super) band: Band,
    /// Roles and groups are believed.
    pub(super) is_trusted: bool,
}

/// What a kind is resolved with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis<'a> {
    pub(super) in_force: &'a Arc<InForce>,
    pub(super) terms: &'a Arc<Terms>,
    pub(super) names: &'a Arc<ModelNames>,
}

/// Kinds that were resolved, each with what they gave.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Option<Lasting>>);

/// What holds for one basis, within one time.
#[derive(Debug)]
struct Lasting {
    in_force: Arc<InForce>,
    terms: Arc<Terms>,
    names: Arc<ModelNames>,
    /// The directory says nothing new within.
    time: Range<Timestamp>,
    kinds: HashMap<OwnedKind, Arc<Asked>>,
}

#[derive(Debug)]
struct OwnedKind {
    claims: Claims,
    model: Box<str>,
    provider: Option<Box<str>>,
    band: Band,
    is_trusted: bool,
}

impl Known {
    /// What a kind was resolved to.
    pub(super) fn get(
        &self,
        kind: &Kind<'_>,
        basis: Basis<'_>,
        now: Timestamp,
    ) -> Option<Arc<Asked>> {
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lasting {
            Some(lasting) if lasting.holds(basis, now) => lasting.kinds.get(kind).cloned(),
            _ => {
                *lasting = Some(Lasting::new(basis, now));
                None
            }
        }
    }

    /// Remembers what a kind was resolved to, and gives it back.
    pub(super) fn keep(
        &self,
        kind: &Kind<'_>,
        basis: Basis<'_>,
        now: Timestamp,
        asked: Asked,
    ) -> Arc<Asked> {
        let asked = Arc::new(asked);
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have gone on to the next basis, or the next time.
        if let Some(lasting) = lasting.as_mut().filter(|lasting| lasting.holds(basis, now)) {
            if lasting.kinds.len() >= MOST {
                lasting.kinds = HashMap::new();
            }
            lasting.kinds.insert(kind.owned(), asked.clone());
        }
        asked
    }

    /// Forgets all, so that those who ask no more take no memory.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Lasting {
    fn new(basis: Basis<'_>, now: Timestamp) -> Self {
        let edges = basis.terms.directory.edges();
        let next = edges.partition_point(|edge| *edge <= now);
        let edge = |place: Option<usize>| place.and_then(|place| edges.get(place)).copied();
        let start = edge(next.checked_sub(1)).unwrap_or(Timestamp::MIN);
        let end = edge(Some(next)).unwrap_or(Timestamp::MAX);
        Self {
            in_force: basis.in_force.clone(),
            terms: basis.terms.clone(),
            names: basis.names.clone(),
            time: start..end,
            kinds: HashMap::new(),
        }
    }

    fn holds(&self, basis: Basis<'_>, now: Timestamp) -> bool {
        self.time.contains(&now)
            && Arc::ptr_eq(&self.in_force, basis.in_force)
            && Arc::ptr_eq(&self.terms, basis.terms)
            && Arc::ptr_eq(&self.names, basis.names)
    }
}

impl Kind<'_> {
    fn owned(&self) -> OwnedKind {
        OwnedKind {
            claims: self.claims.clone(),
            model: self.model.into(),
            provider: self.provider.map(Box::from),
            band: self.band,
            is_trusted: self.is_trusted,
        }
    }
}

impl OwnedKind {
    fn as_kind(&self) -> Kind<'_> {
        Kind {
            claims: &self.claims,
            model: &self.model,
            provider: self.provider.as_deref(),
            band: self.band,
            is_trusted: self.is_trusted,
        }
    }
}

impl Hash for OwnedKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_kind().hash(state);
    }
}

impl PartialEq for OwnedKind {
    fn eq(&self, other: &Self) -> bool {
        self.as_kind() == other.as_kind()
    }
}

impl Eq for OwnedKind {}

impl Equivalent<OwnedKind> for Kind<'_> {
    fn equivalent(&self, key: &OwnedKind) -> bool {
        *self == key.as_kind()
    }
}
