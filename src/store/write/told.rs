//! Events that tell of a request: what recognises the record recognises the event.
//!
//! Such an event is a record and an activity with one id, the record's in hexadecimal digits. So
//! it needs no key of its own.

use crate::model::usage::{Activity, ActivityMetric, UsageRecord, Verdict, source};

use super::NumberMap;

/// What became of the records of a delivery, by the first half of their ids.
pub(super) struct Told<'a>(NumberMap<u64, (&'a UsageRecord, bool)>);

impl<'a> Told<'a> {
    /// Looks at the records that may have an activity, with their verdicts.
    pub(super) fn of(
        records: &'a [UsageRecord],
        verdicts: &[Verdict],
        activities: &[Activity],
    ) -> Self {
        let mut told = NumberMap::default();
        if activities.is_empty() {
            return Self(told);
        }
        for (record, verdict) in records.iter().zip(verdicts) {
            let half = record.id.get(..16);
            let half = half.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            if let Some(half) = half
                && matches!(&*record.source, source::EVENTS | source::RETRIES)
            {
                // Of two with one id the first is the one that was accepted, if any was.
                let accepted = *verdict == Verdict::Accepted;
                told.entry(half).or_insert((record, accepted));
            }
        }
        Self(told)
    }

    /// Whether the record of an activity was accepted; at most one activity hears that it was.
    /// `None` if no record was told with it.
    pub(super) fn take(&mut self, activity: &Activity) -> Option<bool> {
        if activity.metric != ActivityMetric::Events {
            return None;
        }
        let [half, _] = halves(&activity.id);
        let (record, accepted) = self.0.get_mut(&half)?;
        is_in_digits(&activity.id, &record.id).then(|| std::mem::take(accepted))
    }
}

fn halves(id: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_be_bytes(*id);
    [number >> 64, number & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0))
}

fn is_in_digits(id: &[u8; 16], digits: &str) -> bool {
    digits.len() == 32 && u128::from_str_radix(digits, 16) == Ok(u128::from_be_bytes(*id))
}
