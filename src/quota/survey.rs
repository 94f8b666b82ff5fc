//! How all limits stand, for gauges and warnings.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Balances, Quota};
use crate::model::catalogue::{self, Desc};
use crate::model::policy::{Bound, Field, Mode, Policy, SCOPE_SEPARATOR};
use crate::model::quota::{Book, Reservation, Standing};
use crate::registry::{Registry, Sample};

/// Counters that `/metrics` shows; further ones are in the API alone.
const MAX_SHOWN: usize = 1_000;

/// The owner of these gauges in the registry.
const OWNER: &str = "quota";

/// How all counters stand under a policy.
#[derive(Clone, Debug)]
pub struct Survey {
    pub policy: Arc<Policy>,
    pub version: u64,
    /// The fullest first.
    pub standings: Vec<Standing>,
    /// Live reservations.
    pub open: usize,
}

impl Quota {
    /// Live reservations with their ids, the oldest first.
    #[must_use]
    pub fn live(&self) -> Vec<(Arc<str>, Reservation)> {
        let state = self.state();
        let book = state.book.as_ref();
        let live = book.into_iter().flat_map(Book::live);
        let mut live: Vec<_> = live
            .map(|(id, known)| (id.clone(), known.clone()))
            .collect();
        drop(state);
        live.sort_by_cached_key(|(id, known): &(Arc<str>, Reservation)| {
            (known.reserved_at, id.clone())
        });
        live
    }

    /// Looks at every counter that has something. `None` without a policy.
    #[must_use]
    pub fn survey(&self, now: Timestamp) -> Option<Survey> {
        let open = self.state().book.as_ref()?.open();
        let Balances {
            policy,
            version,
            standings,
        } = self.all_balances(now)?;
        Some(Survey {
            policy,
            version,
            standings,
            open,
        })
    }
}

impl Survey {
    /// Sets the gauges. `label` says how a user appears; `None` leaves counters of users out.
    pub fn publish(&self, registry: &Registry, label: &dyn Fn(&str) -> Option<String>) {
        let mut samples = self.totals();
        let named = self.standings.iter().filter_map(|standing| {
            let subject = subject(&self.policy, standing, label)?;
            Some((standing, subject))
        });
        for (standing, subject) in named.take(MAX_SHOWN) {
            self.show(standing, &subject, &mut samples);
        }
        registry.replace(OWNER, samples);
    }

    fn totals(&self) -> Vec<Sample> {
        let mut counters: BTreeMap<usize, u32> = BTreeMap::new();
        let mut pool = None;
        for standing in &self.standings {
            *counters.entry(standing.limit).or_default() += 1;
            let rule = &self.policy.limits[standing.limit];
            let shared = !rule.per.contains(&Field::User) && rule.mode == Mode::Enforce;
            if let (true, Bound::At(bound)) = (shared, standing.bound)
                && bound > 0
            {
                let share = standing.used as f64 / bound as f64;
                pool = Some(share.max(pool.unwrap_or(0.0)));
            }
        }
        let plain = |desc: &'static Desc, value| Sample {
            desc,
            labels: Vec::new(),
            value,
        };
        let mut samples = vec![
            plain(catalogue::QUOTA_POLICY_VERSION, self.version as f64),
            plain(catalogue::QUOTA_RESERVATIONS, self.open as f64),
        ];
        samples.extend(pool.map(|share| plain(catalogue::QUOTA_POOL_UTILIZATION, share)));
        for (limit, rule) in self.policy.limits.iter().enumerate() {
            samples.push(Sample {
                desc: catalogue::QUOTA_COUNTERS,
                labels: vec![rule.name.to_string()],
                value: counters.get(&limit).copied().unwrap_or(0).into(),
            });
        }
        samples
    }

    fn show(&self, standing: &Standing, subject: &str, samples: &mut Vec<Sample>) {
        let rule = &self.policy.limits[standing.limit];
        let grains = self.policy.weights.grains(rule.unit) as f64;
        let mut show = |desc, amount: i128| {
            let labels = [&*rule.name, subject, rule.unit.name()];
            samples.push(Sample {
                desc,
                labels: labels.map(str::to_owned).to_vec(),
                value: amount as f64 / grains,
            });
        };
        if let Bound::At(bound) = standing.bound {
            show(catalogue::QUOTA_LIMIT, bound);
        }
        show(catalogue::QUOTA_USED, standing.used);
        show(catalogue::QUOTA_RESERVED, standing.held);
    }
}

/// The values by which a limit counts, as a text: `payments/claude-sonnet-4-6`.
pub(super) fn subject(
    policy: &Policy,
    standing: &Standing,
    label: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let fields = &policy.limits[standing.limit].per;
    let values = standing.scope.split(SCOPE_SEPARATOR);
    let shown = fields.iter().zip(values).map(|(field, value)| match field {
        Field::User => label(value),
        _ => Some(value.to_owned()),
    });
    let shown: Option<Vec<_>> = shown.collect();
    Some(shown?.join("/"))
}
