//! What a target is told in a round: pure.
//!
//! Each alarm's notices are looked at in their order. A target hears of a state only if it differs
//! from what it heard last; what happened in a maintenance window is told by its outcome alone. A
//! recovery that it does not want to hear of counts as heard, so that the next alarm is news.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::alarm::State;
use crate::model::notice::{Mute, is_news};
use crate::store::{Claim, MAX_NOTICES, NoticeQueue, Queued};

/// A notice that could not be delivered for this long is given up.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// Transitions in one message at most; the body stays below every target's limit.
const MAX_TOGETHER: usize = 200;

/// How transitions become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Each is a message.
    Each,
    /// More than this many are one message.
    Above(usize),
    /// All are one message, and of each alarm only the last counts.
    Outcome,
}

/// Why a notice is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The target heard this state last.
    Known,
    /// It happened in a maintenance window, and something else after it.
    Muted,
    /// Something else happened after it, and only outcomes count here.
    Superseded,
    /// It could not be delivered in time.
    Expired,
    /// More waited than are kept.
    Overflow,
    /// Another version of tallyd wrote it.
    Unreadable,
    /// A recovery that the target does not want to hear of.
    Unwanted,
}

impl Reason {
    /// True if someone should have heard of it.
    pub(super) const fn is_loss(self) -> bool {
        matches!(self, Self::Expired | Self::Overflow | Self::Unreadable)
    }

    /// The value of the label `result`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Muted => "muted",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
            Self::Overflow => "overflow",
            Self::Unreadable => "unreadable",
            Self::Unwanted => "unwanted",
        }
    }
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) dropped: Vec<(i64, Reason)>,
    /// Those of them that count as heard.
    pub(super) settled: Vec<Queued>,
    /// Could be told from now on.
    pub(super) opened: Vec<i64>,
    /// In this order.
    pub(super) messages: Vec<Vec<Queued>>,
    /// Notices that wait, those in messages included.
    pub(super) waiting: usize,
    /// Since when the oldest one could have been told.
    pub(super) oldest: Option<Timestamp>,
}

impl Plan {
    /// What is to be written down before anything is sent.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            dropped: self.dropped.iter().map(|(id, _)| *id).collect(),
            settled: self.settled.clone(),
            opened: self.opened.clone(),
            sending: Vec::new(),
        }
    }
}

/// How a target is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner<'a> {
    pub(super) grouping: Grouping,
    /// The states that it is told of.
    pub(super) states: &'a [State],
    /// Messages that may still go out in this minute.
    pub(super) budget: usize,
}

/// What a target heard last of an alarm.
#[derive(Clone, Copy, Debug)]
struct Heard {
    state: State,
    /// It is still to be heard, but what comes now comes after it.
    is_underway: bool,
}

impl Heard {
    const fn before(state: State) -> Self {
        let is_underway = false;
        Self { state, is_underway }
    }
}

/// Plans a round.
pub(super) fn plan(queue: NoticeQueue, mutes: &[Mute], manner: Manner<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let unreadable = queue.unreadable.iter();
    plan.dropped
        .extend(unreadable.map(|id| (*id, Reason::Unreadable)));
    let told = queue.told.iter().map(|told| {
        let heard = &told.transition;
        (heard.alarm.name.clone(), Heard::before(heard.to))
    });
    let mut told: HashMap<String, Heard> = told.collect();
    let (open, batch) = sort_out(queue.waiting, &mut plan, now);
    // What is given up counts as heard: what comes after a lost recovery is news.
    for Queued { transition, .. } in &plan.settled {
        let heard = Heard::before(transition.to);
        told.insert(transition.alarm.name.clone(), heard);
    }
    // What goes out first will have been heard by then.
    for Queued { transition, .. } in &batch {
        let heard = Heard {
            state: transition.to,
            is_underway: true,
        };
        told.insert(transition.alarm.name.clone(), heard);
    }
    let to_tell = choose(open, &told, mutes, manner, &mut plan, now);
    let waits = |notice: &&Queued| notice.attempts > 0 && notice.due > now;
    if batch.iter().chain(&to_tell).find(waits).is_some() {
        // The target wants to be left alone, and nothing overtakes.
        return plan;
    }
    if !batch.is_empty() {
        // What may have been told goes out again as it was, before anything else.
        plan.messages.push(batch);
        return plan;
    }
    plan.messages = group(to_tell, manner);
    plan
}

/// Gives up what is too old or too much; sets apart what was sent and may have been told.
fn sort_out(waiting: Vec<Queued>, plan: &mut Plan, now: Timestamp) -> (Vec<Queued>, Vec<Queued>) {
    let surplus = waiting.len().saturating_sub(MAX_NOTICES);
    let mut open = Vec::new();
    let mut batch: Vec<Queued> = Vec::new();
    for (index, notice) in waiting.into_iter().enumerate() {
        let is_too_old = notice.open_since.is_some_and(|since| {
            now.duration_since(since).unsigned_abs() >= GIVE_UP_AFTER && now > since
        });
        if index < surplus {
            plan.dropped.push((notice.id, Reason::Overflow));
            plan.settled.push(notice);
        } else if is_too_old {
            plan.dropped.push((notice.id, Reason::Expired));
            plan.settled.push(notice);
        } else {
            plan.waiting += 1;
            plan.oldest = match (plan.oldest, notice.open_since) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let is_of_batch = batch
                .first()
                .is_none_or(|first| first.batch == notice.batch);
            if notice.batch.is_some() && is_of_batch {
                batch.push(notice);
            } else {
                open.push(notice);
            }
        }
    }
    (open, batch)
}

/// Chooses what is told now, in the order in which it came.
fn choose(
    open: Vec<Queued>,
    told: &HashMap<String, Heard>,
    mutes: &[Mute],
    manner: Manner<'_>,
    plan: &mut Plan,
    now: Timestamp,
) -> Vec<Queued> {
    let mut chosen = Vec::new();
    for (alarm, chain) in chains(open) {
        let covered = |at| mutes.iter().any(|mute| mute.covers(&alarm, at));
        if covered(now) {
            continue;
        }
        let mut heard = told.get(&alarm).map(|heard| heard.state);
        let mut is_behind = told.get(&alarm).is_some_and(|heard| heard.is_underway);
        let last = chain.len() - 1;
        for (index, notice) in chain.into_iter().enumerate() {
            let transition = &notice.transition;
            let is_last = index == last;
            let is_wanted = manner.states.contains(&transition.to);
            let dropped = if !is_last && covered(transition.at) {
                Some(Reason::Muted)
            } else if !is_last && manner.grouping == Grouping::Outcome {
                Some(Reason::Superseded)
            } else if notice.due > now && notice.attempts == 0 {
                break;
            } else if !is_news(heard, transition.to) {
                Some(Reason::Known)
            } else if is_wanted {
                None
            } else if is_behind {
                // What came before has to be heard first.
                break;
            } else {
                heard = Some(transition.to);
                plan.settled.push(notice.clone());
                Some(Reason::Unwanted)
            };
            if let Some(reason) = dropped {
                plan.dropped.push((notice.id, reason));
                plan.waiting -= 1;
                continue;
            }
            heard = Some(transition.to);
            is_behind = true;
            if notice.open_since.is_none() {
                plan.opened.push(notice.id);
            }
            chosen.push(notice);
        }
    }
    chosen.sort_by_key(|notice| notice.id);
    chosen
}

/// The notices of each alarm, in their order.
fn chains(open: Vec<Queued>) -> BTreeMap<String, Vec<Queued>> {
    let mut chains: BTreeMap<String, Vec<Queued>> = BTreeMap::new();
    for notice in open {
        let name = notice.transition.alarm.name.clone();
        chains.entry(name).or_default().push(notice);
    }
    chains
}

fn group(to_tell: Vec<Queued>, manner: Manner<'_>) -> Vec<Vec<Queued>> {
    let (grouping, budget) = (manner.grouping, manner.budget);
    let together = match grouping {
        Grouping::Each => false,
        Grouping::Above(most) => to_tell.len() > most.min(budget),
        Grouping::Outcome => true,
    };
    let size = if together { MAX_TOGETHER } else { 1 };
    let mut messages = Vec::new();
    let mut rest = to_tell.into_iter().peekable();
    while rest.peek().is_some() && messages.len() < budget {
        messages.push(rest.by_ref().take(size).collect());
    }
    messages
}
