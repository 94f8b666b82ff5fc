//! Identities that nobody has placed: no user, no row in the directory, or no team.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::query::Reader;
use super::span::{Spans, start_of};
use super::sums::each_sum;
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::directory::Kind;
use crate::model::identity::Identity;
use crate::model::query::UsageQuery;

/// What is not known of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unplaced {
    /// Neither a user nor a device was reported.
    Nobody,
    /// A device without a person.
    DeviceOnly,
    /// A directory is configured and has no row for it.
    NoRow,
    NoTeam,
}

impl Unplaced {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::DeviceOnly => "device_only",
            Self::NoRow => "no_row",
            Self::NoTeam => "no_team",
        }
    }
}

/// An identity that is not placed, with what it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIdentity {
    pub identity: Identity,
    pub reason: Unplaced,
    pub requests: u64,
    pub tokens: u64,
    /// UTC days.
    pub first: Date,
    pub last: Date,
}

impl Ledger {
    /// Identities that were active in a range and are not placed, the most tokens first.
    pub async fn unknown_identities(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<UnknownIdentity>, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| reader.unplaced(from, to, &inner.terms.load(), &inner.spans))
            .await
    }
}

#[derive(Debug)]
struct Used {
    reason: Unplaced,
    requests: i64,
    tokens: i64,
    first: Timestamp,
    last: Timestamp,
}

impl Reader {
    fn unplaced(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        terms: &Terms,
        spans: &Spans,
    ) -> Result<Vec<UnknownIdentity>, QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        let query = UsageQuery::by_day(from, to);
        let edges = terms.directory.edges();
        let mut found: BTreeMap<i64, Used> = BTreeMap::new();
        each_sum(&self.connection, &query, &spans, &edges, |place, sums| {
            let id = place.identity;
            let who = self.identities.get(&id);
            let who = who.ok_or(StoreError::Dangling { id })?;
            let at = start_of(place.start);
            let Some(reason) = unplaced(terms, who, at) else {
                return Ok(());
            };
            let used = found.entry(id).or_insert_with(|| Used {
                reason,
                requests: 0,
                tokens: 0,
                first: at,
                last: at,
            });
            used.reason = used.reason.min(reason);
            used.requests += sums.requests;
            used.tokens += sums.tokens.iter().sum::<i64>();
            used.first = used.first.min(at);
            used.last = used.last.max(at);
            Ok(())
        })?;
        let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
        let mut unknown = Vec::with_capacity(found.len());
        for (id, used) in found {
            let who = self.identities.get(&id);
            unknown.push(UnknownIdentity {
                identity: Identity::clone(who.ok_or(StoreError::Dangling { id })?),
                reason: used.reason,
                requests: used.requests.max(0).unsigned_abs(),
                tokens: used.tokens.max(0).unsigned_abs(),
                first: day(used.first),
                last: day(used.last),
            });
        }
        unknown.sort_by_key(|unknown| std::cmp::Reverse(unknown.tokens));
        Ok(unknown)
    }
}

/// What is not known of an identity at a time.
fn unplaced(terms: &Terms, who: &Identity, at: Timestamp) -> Option<Unplaced> {
    let attributed = terms.attribute(who, at);
    match attributed.kind {
        Kind::Unknown => Some(Unplaced::Nobody),
        Kind::Device if *attributed.user == *who.shown_user() => Some(Unplaced::DeviceOnly),
        _ if attributed.team.is_some() => None,
        _ if !terms.directory.is_empty() && !terms.directory.knows(who, at) => {
            Some(Unplaced::NoRow)
        }
        _ => Some(Unplaced::NoTeam),
    }
}
