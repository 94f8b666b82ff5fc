//! The state that follows from which periods breach and which are missing.
//!
//! AWS: Using Amazon CloudWatch alarms, "Configuring how CloudWatch alarms treat missing data".

use super::{Alarm, MissingData, State};

/// What a state is decided by, apart from the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// N.
    pub periods: usize,
    /// M, from 1 to N.
    pub to_alarm: usize,
    pub missing: MissingData,
}

impl Rule {
    #[must_use]
    pub const fn of(alarm: &Alarm) -> Self {
        Self {
            periods: alarm.evaluation_periods as usize,
            to_alarm: alarm.datapoints_to_alarm as usize,
            missing: alarm.missing_data,
        }
    }
}

/// Decides on the state; `points` are the periods of the evaluation range, oldest first: true
/// where one breaches, `None` where it has no data.
///
/// With N periods that have data, the newest N of them count and the treatment of missing data
/// is not asked. With fewer, what is missing to N is filled by the treatment, and all that have
/// data count.
#[must_use]
pub fn decide(rule: Rule, points: &[Option<bool>], previous: State) -> State {
    let real = points.iter().flatten().count();
    if real >= rule.periods {
        let newest = points.iter().rev().flatten().take(rule.periods);
        return alarm_if(newest.filter(|breaches| **breaches).count() >= rule.to_alarm);
    }
    let breaching = points.iter().flatten().filter(|breaches| **breaches);
    let breaching = breaching.count();
    match rule.missing {
        MissingData::NotBreaching => alarm_if(breaching >= rule.to_alarm),
        MissingData::Breaching => alarm_if(breaching + (rule.periods - real) >= rule.to_alarm),
        MissingData::Missing if real == 0 => State::InsufficientData,
        MissingData::Ignore if real == 0 => previous,
        // Enough breaching periods are an alarm whatever the missing ones would have been.
        _ if breaching >= rule.to_alarm => State::Alarm,
        _ if breaching < real => State::Ok,
        MissingData::Ignore => previous,
        MissingData::Missing => premature(rule, points),
    }
}

const fn alarm_if(breaching: bool) -> State {
    if breaching { State::Alarm } else { State::Ok }
}

/// Only breaching and missing periods are known, and fewer than M breach: an alarm once the
/// oldest breaching one is at least M periods old, the newest period counting as 1.
fn premature(rule: Rule, points: &[Option<bool>]) -> State {
    let oldest = points.iter().position(|point| *point == Some(true));
    let age = oldest.map_or(0, |index| points.len() - index);
    if age >= rule.to_alarm {
        State::Alarm
    } else {
        State::InsufficientData
    }
}
