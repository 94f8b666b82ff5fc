//! Corrections by hand: kept in the ledger, then counted like usage.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Balances, Quota, State};
use crate::model::adjustment::Adjustment;
use crate::model::policy::{Field, Policy};
use crate::store::{Ledger, QueryError};

/// Corrections older than the longest window concern no counter.
pub(super) const CONCERN: SignedDuration = SignedDuration::from_hours(40 * 24);

/// A correction that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    pub id: Box<str>,
    pub limit: Box<str>,
    pub scope: BTreeMap<Field, Box<str>>,
    /// Decimal, in the limit's unit; negative gives room back.
    pub amount: Box<str>,
    pub reason: Box<str>,
    pub created_by: Box<str>,
}

/// Why a correction was not made.
#[derive(Debug, thiserror::Error)]
pub enum CorrectionError {
    #[error("no policy applies")]
    NoPolicy,
    #[error("limit: the policy has no limit of this name")]
    Limit,
    #[error("scope: must have exactly the fields by which the limit counts: {0}")]
    Scope(String),
    #[error("amount: must be a whole number, or USD such as \"-12.50\" in quotes")]
    Amount,
    #[error("the id was used for another correction")]
    Conflict,
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Quota {
    /// Adds to a counter in the window that is open now. `Ok` comes when it is on disk and
    /// counted, with how the counter stands; the flag tells that it was made before.
    pub async fn correct(
        &self,
        ledger: &Ledger,
        correction: Correction,
        now: Timestamp,
    ) -> Result<(bool, Balances), CorrectionError> {
        let (policy, _) = self.policy().ok_or(CorrectionError::NoPolicy)?;
        let adjustment = checked(&policy, correction, now)?;
        let known = ledger.add_adjustment(adjustment.clone()).await?;
        let replayed = known.is_some();
        if known.is_some_and(|known| !known.says_the_same(&adjustment)) {
            return Err(CorrectionError::Conflict);
        }
        let mut state = self.state();
        if !replayed {
            state.adjust(&adjustment, now);
        }
        let version = state.version;
        let book = state.book.as_mut().ok_or(CorrectionError::NoPolicy)?;
        let policy = book.policy().clone();
        let standing = adjustment
            .under(&policy)
            .map(|(limit, scope, _)| book.standing(limit, &scope, now));
        Ok((
            replayed,
            Balances {
                policy,
                version,
                standings: standing.into_iter().collect(),
            },
        ))
    }
}

impl State {
    /// Counts a correction, unless the book has it already from being filled anew.
    fn adjust(&mut self, adjustment: &Adjustment, now: Timestamp) {
        let known = self
            .adjustments
            .insert(adjustment.id.clone(), adjustment.clone());
        let Some(book) = self.book.as_mut().filter(|_| known.is_none()) else {
            return;
        };
        let policy = book.policy().clone();
        if let Some((limit, scope, amount)) = adjustment.under(&policy) {
            book.adjust(limit, &scope, amount, adjustment.at, now);
        }
    }
}

fn checked(
    policy: &Policy,
    correction: Correction,
    now: Timestamp,
) -> Result<Adjustment, CorrectionError> {
    let mut limits = policy.limits.iter();
    let limit = limits
        .find(|limit| *limit.name == *correction.limit)
        .ok_or(CorrectionError::Limit)?;
    let is_whole = limit.per.len() == correction.scope.len();
    if !is_whole || !limit.per.iter().all(|f| correction.scope.contains_key(f)) {
        let names: Vec<_> = limit.per.iter().map(|field| field.name()).collect();
        return Err(CorrectionError::Scope(names.join(", ")));
    }
    let adjustment = Adjustment {
        id: correction.id,
        at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        limit: correction.limit,
        unit: limit.unit,
        scope: correction.scope,
        amount: correction.amount,
        reason: correction.reason,
        created_by: correction.created_by,
    };
    match adjustment.under(policy) {
        Some(_) => Ok(adjustment),
        None => Err(CorrectionError::Amount),
    }
}
