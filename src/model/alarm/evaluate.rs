//! From the datapoints of the evaluation range to a state and why.

use jiff::Timestamp;

use super::decide::{Rule, decide};
use super::statistic::{Reading, lacks_samples};
use super::{Alarm, State, reason};

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub state: State,
    /// In CloudWatch's words: `Threshold Crossed: ...`.
    pub reason: String,
    /// The newest value that was looked at.
    pub value: Option<f64>,
}

/// A period of the evaluation range that has data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Place from the newest period, which is 0.
    pub age: usize,
    pub value: f64,
    pub breaches: bool,
}

/// Evaluates an alarm on the periods of its evaluation range, oldest first; `end` is when the
/// newest one ends.
///
/// The range is as long as the slice: [`Alarm::range`] periods are what CloudWatch's own
/// examples show.
#[must_use]
pub fn evaluate(
    alarm: &Alarm,
    periods: &[Option<Reading>],
    previous: State,
    end: Timestamp,
) -> Verdict {
    let rule = Rule::of(alarm);
    let mut points = Vec::new();
    let mut samples = 0_u64;
    let mut breaches = vec![None; periods.len()];
    for (age, period) in periods.iter().rev().enumerate() {
        let Some(reading) = period else { continue };
        let breach = alarm.comparison.holds(reading.value, alarm.threshold);
        breaches[periods.len() - 1 - age] = Some(breach);
        if points.len() < rule.periods {
            samples = samples.saturating_add(reading.samples);
            points.push(Point {
                age,
                value: reading.value,
                breaches: breach,
            });
        }
    }
    // Without any value the treatment of missing data decides.
    let state = if !points.is_empty() && lacks_samples(alarm, samples) {
        previous
    } else {
        decide(rule, &breaches, previous)
    };
    Verdict {
        state,
        reason: reason::told(alarm, state, &points, end),
        value: points.first().map(|point| point.value),
    }
}
