//! From what a commit changed to the series of `/metrics`.

use std::sync::Arc;

use crate::config::PerUser;
use crate::model::catalogue::{self, Desc};
use crate::model::pseudonym::Pseudonyms;
use crate::model::tokens::TokenKind;
use crate::model::usage::{ActivityMetric, Outcome};
use crate::registry::Registry;
use crate::store::{
    ActivityLabels, CLIENT_COST, COST, CommitReport, Difference, Effects, Growth, Ledger,
    MinuteEffects, REQUESTS, SEPARATOR, UNPRICED, UsageLabels,
};

/// How users appear in `/metrics`.
#[derive(Debug)]
pub struct Naming {
    pub per_user: PerUser,
    /// Needed for [`PerUser::Pseudonym`]; without it names are left out.
    pub pseudonyms: Option<Pseudonyms>,
}

impl Naming {
    /// How a user appears; empty where users are left out.
    #[must_use]
    pub fn label(&self, user: &str) -> String {
        match (self.per_user, &self.pseudonyms) {
            (PerUser::On, _) => user.to_owned(),
            (PerUser::Pseudonym, Some(pseudonyms)) if !user.is_empty() => pseudonyms.of(user),
            _ => String::new(),
        }
    }
}

/// Writes growth into the registry.
#[derive(Debug)]
pub(super) struct Publisher {
    registry: Arc<Registry>,
    naming: Arc<Naming>,
}

impl Publisher {
    pub(super) fn new(registry: Arc<Registry>, naming: Arc<Naming>) -> Self {
        Self { registry, naming }
    }

    pub(super) fn grow(&self, growth: &Growth) {
        for (labels, amounts) in &growth.usage {
            self.usage(labels, amounts);
        }
        for (labels, amount) in &growth.activities {
            self.activity(labels, *amount);
        }
        for ((provider, model), durations) in &growth.durations {
            self.registry.restore_histogram(
                catalogue::API_REQUEST_DURATION,
                &[provider, model],
                &durations.buckets,
                durations.sum_ms.into(),
            );
        }
        for ((provider, model), first) in &growth.first_tokens {
            let labels = [&**provider, &**model];
            if first.buckets.iter().any(|count| *count > 0) {
                self.registry.restore_histogram(
                    catalogue::TIME_TO_FIRST_TOKEN,
                    &labels,
                    &first.buckets,
                    first.sum_ms.into(),
                );
            }
            if first.throttled > 0 {
                let throttled = first.throttled.into();
                self.registry.add(catalogue::THROTTLED, &labels, throttled);
            }
        }
    }

    fn usage(&self, labels: &UsageLabels, amounts: &Difference) {
        let user = self.naming.label(&labels.user);
        let (team, provider, model) = (&*labels.team, &*labels.provider, &*labels.model);
        let add = |desc: &'static Desc, labels: &[&str], amount: i64| {
            if let Ok(amount @ 1..) = u128::try_from(amount) {
                self.registry.add(desc, labels, amount);
            }
        };
        for (kind, amount) in TokenKind::ALL.into_iter().zip(amounts) {
            let labels = [&*user, team, provider, model, kind.label()];
            add(catalogue::TOKENS, &labels, *amount);
        }
        let whose = [&*user, team, provider, model];
        add(catalogue::COST, &whose, amounts[COST]);
        add(catalogue::CLIENT_COST, &whose, amounts[CLIENT_COST]);
        let which = [provider, model];
        add(catalogue::UNPRICED_TOKENS, &which, amounts[UNPRICED]);
        for (outcome, amount) in Outcome::ALL.into_iter().zip(&amounts[REQUESTS..]) {
            let labels = [provider, model, outcome.name()];
            add(catalogue::API_REQUESTS, &labels, *amount);
        }
    }

    fn activity(&self, labels: &ActivityLabels, amount: u64) {
        let Some(metric) = ActivityMetric::ALL
            .into_iter()
            .find(|metric| metric.name() == labels.metric)
        else {
            return;
        };
        let user = self.naming.label(&labels.user);
        for desc in descs_of(metric) {
            let own = labels.labels.split(SEPARATOR);
            let mut values = Vec::with_capacity(desc.labels.len());
            if desc.labels.first() == Some(&"user") {
                values.extend([&*user, &*labels.team]);
            }
            values.extend(own);
            values.resize(desc.labels.len(), "");
            self.registry.add(desc, &values, amount.into());
        }
    }

    /// What minutes keep and do not keep of the commit.
    fn minutes(&self, minutes: &MinuteEffects) {
        let registry = &self.registry;
        for (reason, (facts, tokens)) in &minutes.left_out {
            let labels = [reason.name()];
            registry.add(catalogue::MINUTE_LEFT_OUT, &labels, (*facts).into());
            registry.add(catalogue::MINUTE_LEFT_OUT_TOKENS, &labels, (*tokens).into());
        }
        if minutes.folded > 0 {
            registry.add(catalogue::MINUTE_FOLDED, &[], minutes.folded.into());
        }
    }

    /// What the ledger tells of itself.
    pub(super) fn commit(&self, effects: &Effects, report: CommitReport) {
        let registry = &self.registry;
        for ((source, result), count) in &effects.reports {
            let labels = [&**source, *result];
            registry.add(catalogue::LEDGER_RECORDS, &labels, (*count).into());
        }
        self.minutes(&effects.minutes);
        let seconds = report.duration.as_secs_f64();
        registry.observe(catalogue::LEDGER_COMMIT_SECONDS, &[], seconds);
        let items = report.items as f64;
        registry.observe(catalogue::LEDGER_COMMIT_RECORDS, &[], items);
    }
}

/// The families that show an activity; more than one where names in use differ.
fn descs_of(metric: ActivityMetric) -> &'static [&'static Desc] {
    match metric {
        ActivityMetric::Sessions => &[catalogue::SESSIONS],
        ActivityMetric::Lines => &[catalogue::LINES],
        ActivityMetric::PullRequests => &[catalogue::PULL_REQUESTS],
        ActivityMetric::Commits => &[catalogue::COMMITS],
        ActivityMetric::EditDecisions => &[catalogue::EDIT_DECISIONS],
        ActivityMetric::ActiveTime => &[catalogue::ACTIVE_TIME, catalogue::ACTIVE_TIME_LONG],
        ActivityMetric::Events => &[catalogue::EVENTS],
        ActivityMetric::UnknownMetrics => &[catalogue::UNKNOWN_METRICS],
        ActivityMetric::ToolResults => &[catalogue::TOOL_RESULTS],
    }
}

/// Gauges of the ledger's state.
pub(super) fn ledger_gauges(registry: &Registry, ledger: &Ledger) {
    let waiting = ledger.waiting() as f64;
    registry.set(catalogue::LEDGER_QUEUE_RECORDS, &[], waiting);
    registry.set(catalogue::LEDGER_BYTES, &[], ledger.bytes() as f64);
}

/// By how much published counters are ahead of the ledger.
pub(super) fn debt_gauges(registry: &Registry, debt: &Difference) {
    let sum = |amounts: &[i64]| amounts.iter().map(|amount| *amount as f64).sum::<f64>();
    let families = [
        (catalogue::TOKENS, sum(&debt[..TokenKind::ALL.len()])),
        (catalogue::COST, sum(&debt[COST..=COST]) / 1e12),
        (
            catalogue::CLIENT_COST,
            sum(&debt[CLIENT_COST..=CLIENT_COST]) / 1e6,
        ),
        (catalogue::UNPRICED_TOKENS, sum(&debt[UNPRICED..=UNPRICED])),
        (catalogue::API_REQUESTS, sum(&debt[REQUESTS..])),
    ];
    for (desc, debt) in families {
        registry.set(catalogue::PUBLISHED_DEBT, &[desc.name], debt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::Kind;
    use crate::store::{DURATION_BOUNDS_MS, FIRST_TOKEN_BOUNDS_MS};

    #[test]
    fn the_ledger_keeps_histograms_by_the_bounds_of_the_catalogue() {
        let shown = |desc: &Desc| match desc.kind {
            Kind::Histogram(bounds) => bounds.to_vec(),
            _ => Vec::new(),
        };
        let kept = |bounds: &[u32]| bounds.iter().map(|ms| f64::from(*ms) / 1_000.0).collect();
        let durations: Vec<_> = kept(&DURATION_BOUNDS_MS);
        assert_eq!(shown(catalogue::API_REQUEST_DURATION), durations);
        let first_tokens: Vec<_> = kept(&FIRST_TOKEN_BOUNDS_MS);
        assert_eq!(shown(catalogue::TIME_TO_FIRST_TOKEN), first_tokens);
    }
}
