//! Balances: how limits stand, without asking for anything.

use std::sync::Arc;

use jiff::Timestamp;

use super::who::is_trusted;
use super::{Claims, Quota, identity, subject};
use crate::model::policy::{Field, Limit, Policy};
use crate::model::quota::Standing;
use crate::model::usage::{Band, Sku, Tier};

/// How limits stand under a policy.
#[derive(Clone, Debug)]
pub struct Balances {
    pub policy: Arc<Policy>,
    pub version: u64,
    pub standings: Vec<Standing>,
}

impl Quota {
    /// How the limits stand that concern whoever is named: those that count by, and match on,
    /// fields that are known. `None` without a policy.
    #[must_use]
    pub fn balances(
        &self,
        claims: &Claims,
        model: Option<&str>,
        sender: &str,
        now: Timestamp,
    ) -> Option<Balances> {
        let (policy, _) = self.policy()?;
        let name = self.inner.names.load().resolve(model.unwrap_or(""), None);
        let sku = Sku {
            provider: name.provider,
            model: name.model,
            raw_model: model.unwrap_or_default().into(),
            scope: name.scope,
            region: None,
            tier: Tier::default(),
            band: Band::default(),
        };
        let identity = identity(&policy, claims, is_trusted(&policy, sender));
        let subject = subject(&policy, &self.inner.terms.load(), &identity, &sku, now);
        let known = |field: &Field| match field {
            Field::User | Field::Role => claims.user.is_some(),
            Field::Model | Field::Provider => model.is_some(),
            field => !subject.get(*field).is_empty(),
        };
        let concerns = |limit: &Limit| limit.per.iter().chain(limit.matches.keys()).all(known);
        let mut state = self.state();
        let version = state.version;
        let book = state.book.as_mut()?;
        let policy = book.policy().clone();
        let mut standings = book.standings(&subject, now);
        standings.retain(|standing| concerns(&policy.limits[standing.limit]));
        Some(Balances {
            policy,
            version,
            standings,
        })
    }

    /// Every counter that holds or counts something, the fullest first. `None` without a policy.
    #[must_use]
    pub fn all_balances(&self, now: Timestamp) -> Option<Balances> {
        let mut state = self.state();
        let version = state.version;
        let book = state.book.as_mut()?;
        let policy = book.policy().clone();
        let mut standings = book.all(now);
        drop(state);
        standings.retain(|standing| standing.used > 0 || standing.held > 0);
        standings.sort_by_cached_key(|standing| {
            let share = match standing.bound {
                crate::model::policy::Bound::At(bound) if bound > 0 => {
                    (standing.used + standing.held).saturating_mul(10_000) / bound
                }
                crate::model::policy::Bound::At(_) => i128::MAX,
                crate::model::policy::Bound::Unlimited => 0,
            };
            (
                std::cmp::Reverse(share),
                standing.limit,
                standing.scope.clone(),
            )
        });
        Some(Balances {
            policy,
            version,
            standings,
        })
    }
}
