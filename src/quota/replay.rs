//! What the ledger says of limits: whether the live counters are right, and who another policy
//! would have stopped.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, mpsc};

use jiff::Timestamp;

use super::upkeep::earliest;
use super::who::{admit, subject};
use super::{MAX_OPEN_PER_USER, Quota, adjust};
use crate::model::policy::{Bound, Field, Policy, Span};
use crate::model::quota::Book;
use crate::model::window::{QUARTER_SECONDS, Window, quarter, quarter_start};
use crate::store::{Booked, Ledger, QueryError};

/// Counters of a simulation at most.
const MAX_COUNTERS: usize = 500_000;

/// How the live counters compare with the ledger.
#[derive(Clone, Debug)]
pub struct Verified {
    pub policy: Arc<Policy>,
    /// Counters that were compared.
    pub compared: usize,
    pub differences: Vec<Difference>,
}

/// A counter whose live value is not the ledger's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The index in the policy's limits.
    pub limit: usize,
    pub scope: Arc<str>,
    /// In grains.
    pub live: i128,
    pub ledger: i128,
}

/// Who a policy would have stopped.
#[derive(Clone, Debug)]
pub struct Simulated {
    pub policy: Arc<Policy>,
    /// By limit, scope and window.
    pub stopped: Vec<Stopped>,
    /// Requests that the role would not have been allowed at all, by user and code.
    pub refused: BTreeMap<(Box<str>, &'static str), i64>,
    /// False if there were more counters than fit; the further ones are left out.
    pub complete: bool,
}

/// A counter that went beyond its bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stopped {
    pub limit: usize,
    pub scope: Box<str>,
    /// The begin of the window; of a rolling one, the quarter hour in which it was full.
    pub window: Timestamp,
    /// The quarter hour in which the bound was passed.
    pub at: Timestamp,
    /// The most that was used, in grains.
    pub used: i128,
    pub bound: i128,
}

impl Quota {
    /// Fills counters anew from the ledger, between two commits, and compares them with the live
    /// ones. Windows of a minute are left out: most of the ledger's sums are by quarter hour. `None`
    /// without a policy, or if it was replaced meanwhile.
    pub async fn verify(
        &self,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<Option<Verified>, QueryError> {
        let Some((policy, _)) = self.policy() else {
            return Ok(None);
        };
        let since = now.saturating_sub(adjust::CONCERN);
        let kept = ledger.adjustments(since.unwrap_or(Timestamp::MIN)).await?;
        let mut fresh = Book::new(policy.clone(), MAX_OPEN_PER_USER);
        let (sender, receiver) = mpsc::channel();
        let (quota, rules) = (self.clone(), policy.clone());
        let visit = move |booked: Option<Booked>| {
            if let Some(booked) = booked {
                quota.post(&mut fresh, &booked, now);
                return;
            }
            for adjustment in &kept {
                if let Some((limit, scope, amount)) = adjustment.under(&rules) {
                    fresh.adjust(limit, &scope, amount, adjustment.at, now);
                }
            }
            // Nobody waits any more if this fails.
            let _ = sender.send(quota.compare(&mut fresh, now));
        };
        ledger
            .rebook(earliest(&policy, now), None, Box::new(visit))
            .await?;
        let compared = receiver.try_recv().ok().flatten();
        Ok(compared.map(|(compared, differences)| Verified {
            policy,
            compared,
            differences,
        }))
    }

    fn compare(&self, fresh: &mut Book, now: Timestamp) -> Option<(usize, Vec<Difference>)> {
        let mut state = self.state();
        let live = state.book.as_mut()?;
        if !Arc::ptr_eq(live.policy(), fresh.policy()) {
            return None;
        }
        let mut both: BTreeMap<(usize, Arc<str>), (i128, i128)> = BTreeMap::new();
        for standing in live.all(now) {
            both.entry((standing.limit, standing.scope)).or_default().0 = standing.used;
        }
        drop(state);
        for standing in fresh.all(now) {
            both.entry((standing.limit, standing.scope)).or_default().1 = standing.used;
        }
        let by_minute = Span::Calendar(Window::Minute);
        both.retain(|(limit, _), sums| {
            *sums != (0, 0) && fresh.policy().limits[*limit].span != by_minute
        });
        let compared = both.len();
        let differ = both
            .into_iter()
            .filter(|(_, (live, ledger))| live != ledger);
        let differences = differ.map(|((limit, scope), (live, ledger))| Difference {
            limit,
            scope,
            live,
            ledger,
        });
        Some((compared, differences.collect()))
    }

    /// Replays what was booked in a range against a policy. To the quarter hour; windows of a
    /// minute, raises and adjustments are left out. Commits wait meanwhile.
    pub async fn simulate(
        &self,
        policy: Policy,
        range: Range<Timestamp>,
        ledger: &Ledger,
    ) -> Result<Simulated, QueryError> {
        let (sender, receiver) = mpsc::channel();
        let policy = Arc::new(policy);
        let mut replay = Some(Replay::new(policy.clone()));
        let (quota, end) = (self.clone(), range.end);
        let visit = move |booked: Option<Booked>| match (booked, &mut replay) {
            (Some(booked), Some(replay)) if booked.at < end => replay.add(&quota, &booked),
            (Some(_), _) => {}
            (None, replay) => {
                // Nobody waits any more if this fails.
                let _ = sender.send(replay.take());
            }
        };
        ledger.rebook(range.start, None, Box::new(visit)).await?;
        let replay = receiver.try_recv().ok().flatten();
        let replay = replay.unwrap_or_else(|| Replay::new(policy));
        Ok(replay.result())
    }
}

/// Sums of one counter by quarter hour.
type Sums = BTreeMap<i64, i128>;

struct Replay {
    policy: Arc<Policy>,
    /// By limit, scope and the begin of the window; rolling ones have one for all time.
    counters: HashMap<(usize, Box<str>, Timestamp), Sums>,
    refused: BTreeMap<(Box<str>, &'static str), i64>,
    complete: bool,
}

impl Replay {
    fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            counters: HashMap::new(),
            refused: BTreeMap::new(),
            complete: true,
        }
    }

    fn add(&mut self, quota: &Quota, booked: &Booked) {
        let policy = self.policy.clone();
        let terms = quota.inner.terms.load();
        let subject = subject(&policy, &terms, &booked.identity, &booked.sku, booked.at);
        if let Err(refused) = admit(&policy, &subject) {
            let code = super::answer::Explanation::of_refused(&refused, None).code;
            let key = (Box::from(subject.get(Field::User)), code);
            *self.refused.entry(key).or_default() += booked.usage.requests;
            return;
        }
        let mut scope = String::new();
        for (limit, rule) in policy.limits.iter().enumerate() {
            if rule.bound == Bound::Unlimited || !rule.applies(&subject) {
                continue;
            }
            let window = match rule.span {
                Span::Calendar(Window::Minute) => continue,
                Span::Calendar(window) => window.containing(booked.at, &policy.zone).start,
                Span::Rolling { .. } => Timestamp::MIN,
            };
            rule.scope_into(&subject, &mut scope);
            let key = (limit, Box::from(scope.as_str()), window);
            if self.counters.len() >= MAX_COUNTERS && !self.counters.contains_key(&key) {
                self.complete = false;
                continue;
            }
            let sums = self.counters.entry(key).or_default();
            let amount = booked.usage.amount(rule.unit, &policy.weights);
            *sums.entry(quarter(booked.at)).or_default() += amount;
        }
    }

    fn result(self) -> Simulated {
        let mut stopped: Vec<_> = self
            .counters
            .iter()
            .filter_map(|((limit, scope, window), sums)| {
                let rule = &self.policy.limits[*limit];
                let Bound::At(bound) = rule.bound else {
                    return None;
                };
                let span = match rule.span {
                    Span::Calendar(_) => i64::MAX,
                    Span::Rolling { seconds } => seconds / QUARTER_SECONDS,
                };
                let (first, used) = passed(sums, bound, span)?;
                let at = quarter_start(first);
                Some(Stopped {
                    limit: *limit,
                    scope: scope.clone(),
                    window: if span == i64::MAX { *window } else { at },
                    at,
                    used,
                    bound,
                })
            })
            .collect();
        stopped.sort();
        let mut refused = self.refused;
        refused.retain(|_, requests| *requests > 0);
        Simulated {
            policy: self.policy,
            stopped,
            refused,
            complete: self.complete,
        }
    }
}

/// The quarter hour in which the sum over `span` quarter hours first passed the bound, and the
/// greatest sum; `None` if it never did.
fn passed(sums: &Sums, bound: i128, span: i64) -> Option<(i64, i128)> {
    let (mut sum, mut most, mut first) = (0, 0, None);
    let mut leaving = sums.iter().peekable();
    for (quarter, amount) in sums {
        sum += amount;
        while let Some((_, gone)) = leaving.next_if(|(old, _)| *quarter - **old > span) {
            sum -= gone;
        }
        most = most.max(sum);
        if sum > bound && first.is_none() {
            first = Some(*quarter);
        }
    }
    first.map(|first| (first, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_passed_in_the_first_quarter_hour_beyond_it() {
        let sums = Sums::from([(1, 40), (2, 60), (3, 1), (4, 9)]);
        assert_eq!(passed(&sums, 100, i64::MAX), Some((3, 110)));
        assert_eq!(passed(&sums, 110, i64::MAX), None);
    }

    #[test]
    fn a_rolling_sum_forgets() {
        let sums = Sums::from([(1, 40), (2, 60), (9, 50)]);
        assert_eq!(passed(&sums, 100, 4), None);
        assert_eq!(passed(&sums, 99, 4), Some((2, 100)));
    }
}
