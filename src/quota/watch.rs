//! What is told of decisions: counters, the duration of each, and the audit log.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::answer::Explanation;
use super::audit::{self, AuditLog};
use super::{Answer, Ask, Quota, Refused};
use crate::clock::Stopwatch;
use crate::model::catalogue;
use crate::model::quota::{Decision, QuotaError, Settlement};
use crate::registry::Registry;

/// Where decisions are told.
#[derive(Debug)]
pub struct Watch {
    pub registry: Arc<Registry>,
    pub audit: Option<AuditLog>,
}

/// A question, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    kind: Kind,
    /// Of a reservation.
    pub(super) id: Option<&'a str>,
    pub(super) ask: &'a Ask,
    pub(super) sender: &'a str,
}

/// What a gateway asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Check,
    Reserve,
}

/// A decision in the words of the metrics.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) decision: &'static str,
    pub(super) reason: &'static str,
    /// The limit that had no room; empty if none was in the way.
    pub(super) limit: Arc<str>,
}

impl<'a> Call<'a> {
    const fn reserve(id: &'a str, ask: &'a Ask, sender: &'a str) -> Self {
        Self {
            kind: Kind::Reserve,
            id: Some(id),
            ask,
            sender,
        }
    }
}

impl Quota {
    /// Tells decisions from now on. Only the first call counts.
    pub fn watch(&self, watch: Watch) {
        // A second one would come from a second composition root.
        let _ = self.inner.watch.set(watch);
    }

    /// Tells whether a call would be admitted. Holds nothing.
    pub fn check(&self, ask: &Ask, sender: &str, now: Timestamp) -> Result<Answer, Refused> {
        self.judge(Kind::Check, ask, sender, now, |answer| answer)
    }

    /// As [`Quota::check`], for a door that has a rule of its own on whom to deny: `rule` makes of
    /// the answer what it tells. Before a reservation ([`Kind::Reserve`]) only a denial is a
    /// decision; of what passes the reservation tells.
    pub fn judge(
        &self,
        kind: Kind,
        ask: &Ask,
        sender: &str,
        now: Timestamp,
        rule: impl FnOnce(Answer) -> Answer,
    ) -> Result<Answer, Refused> {
        let watch = Stopwatch::start();
        let answer = self.look(ask, sender, now).map(rule);
        let call = Call {
            kind,
            id: None,
            ask,
            sender,
        };
        let passes = |answer: &Answer| matches!(answer.decision, Decision::Allowed(_));
        if kind == Kind::Check || !answer.as_ref().is_ok_and(passes) {
            self.note(call, &answer, watch, now);
        }
        answer
    }

    /// How limits stand for a call. No decision, so nothing is told of it.
    pub fn look(&self, ask: &Ask, sender: &str, now: Timestamp) -> Result<Answer, Refused> {
        self.decide_check(ask, sender, now)
    }

    /// Holds the estimate of a call under every limit, or under none.
    pub fn reserve(
        &self,
        id: &str,
        ask: &Ask,
        lease: SignedDuration,
        sender: &str,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let watch = Stopwatch::start();
        let answer = self.decide_reserve(id, ask, lease, sender, now);
        self.note(Call::reserve(id, ask, sender), &answer, watch, now);
        answer
    }

    /// As [`Quota::reserve`], with less output where the whole does not fit: the answer's
    /// estimate says how much the call may write.
    pub fn reserve_capped(
        &self,
        id: &str,
        ask: &Ask,
        lease: SignedDuration,
        sender: &str,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let watch = Stopwatch::start();
        let answer = self.decide_capped(id, ask, lease, sender, now);
        self.note(Call::reserve(id, ask, sender), &answer, watch, now);
        answer
    }

    fn note(
        &self,
        call: Call<'_>,
        answer: &Result<Answer, Refused>,
        watch: Stopwatch,
        now: Timestamp,
    ) {
        let Some(Watch { registry, audit }) = self.inner.watch.get() else {
            return;
        };
        let seconds = watch.elapsed().as_secs_f64();
        registry.observe(catalogue::QUOTA_DECISION_SECONDS, &[], seconds);
        let told = told(call.kind, answer);
        let labels = [told.decision, told.reason, &told.limit];
        registry.add(catalogue::QUOTA_DECISIONS, &labels, 1);
        let Some(audit) = audit else {
            return;
        };
        let Some(entry) = audit::entry(&call, answer, &told, now) else {
            return;
        };
        // A full disk must not stop work: it is counted, and the number of the line is missing.
        let result = match audit.append(entry, now) {
            Ok(()) => "written",
            Err(_) => "lost",
        };
        registry.add(catalogue::QUOTA_AUDIT_LINES, &[result], 1);
    }

    /// Counts what a settlement did to its hold.
    pub(super) fn note_settled(&self, settled: Result<Settlement, QuotaError>) {
        let (Some(Watch { registry, .. }), Ok(settled)) = (self.inner.watch.get(), settled) else {
            return;
        };
        let is_new = !settled.replayed;
        if is_new && settled.overage {
            registry.add(catalogue::QUOTA_OVERAGE, &[], 1);
        }
        if is_new && settled.late {
            registry.add(catalogue::QUOTA_LATE, &[], 1);
        }
    }
}

fn told(kind: Kind, answer: &Result<Answer, Refused>) -> Told {
    let (allow, deny) = match kind {
        Kind::Check => ("would_allow", "would_deny"),
        Kind::Reserve => ("allow", "deny"),
    };
    let plain = |decision, reason| Told {
        decision,
        reason,
        limit: Arc::default(),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(refused) => {
            let decision = match refused {
                Refused::Store { .. } => "unavailable",
                _ => deny,
            };
            return plain(decision, Explanation::of_refused(refused, None).code);
        }
    };
    let name = |limit: usize| answer.policy.limits[limit].name.clone();
    match &answer.decision {
        Decision::Allowed(grant) if grant.replayed => plain(allow, "replayed"),
        Decision::Allowed(grant) => match grant.shadow_denials.first() {
            None => plain(allow, "room"),
            Some(limit) => Told {
                decision: allow,
                reason: "shadow",
                limit: name(*limit),
            },
        },
        Decision::Denied(denial) => {
            let violated = denial.violated.first();
            let limit = violated.map(|place| name(denial.standings[*place].limit));
            Told {
                decision: deny,
                reason: if denial.never {
                    "never_admissible"
                } else {
                    "quota_exceeded"
                },
                limit: limit.unwrap_or_default(),
            }
        }
    }
}
