//! What a set of alarms would have done on the minutes that are stored.
//!
//! Every minute between the first datapoint of an alarm's series and the last sealed minute is
//! evaluated, also those in which tallyd did not run, as CloudWatch would have done.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::live::Loaded;
use super::round::end_of;
use super::window::{ByMinute, by_series, is_due, minutes, period, reading, series_of, span};
use crate::model::alarm::{Alarm, Comparison, Reading, State, Statistic, evaluate};
use crate::model::minute::{Minute, SeriesKey};
use crate::store::{Ledger, QueryError};

/// The longest look back; minutes are kept for 15 days unless configured otherwise.
pub const MAX_DAYS: u32 = 100;

/// Episodes that are told of one alarm; all are counted.
const MAX_EPISODES: usize = 1_000;

/// Datapoints that may be put together for all alarms; some 30 seconds of work.
const MAX_WORK: u64 = 1_000_000_000;

/// What a percentile costs more than other statistics: its values are merged.
const PERCENTILE_WORK: u64 = 20;

/// Alarms on longer periods than this many minutes are evaluated once an hour here.
const LONG_PERIOD: i64 = 60;

/// A time in ALARM.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    pub from: Timestamp,
    /// Nothing if it has not ended.
    pub to: Option<Timestamp>,
    /// The value that breached the most.
    pub worst: Option<f64>,
    /// Why it began.
    pub reason: String,
}

/// What an alarm would have done.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub alarm: Alarm,
    /// Evaluated minutes: from the first datapoint to the end of the range.
    pub minutes: u64,
    pub minutes_without_data: u64,
    /// How often it would have fired.
    pub fired: usize,
    /// The first of them, at most a thousand.
    pub episodes: Vec<Episode>,
    /// The state at the end; nothing without any datapoint.
    pub state: Option<State>,
}

/// Runs the alarms that tallyd can evaluate, those on `metrics` only unless that is empty, over
/// minutes since 1970, half-open.
///
/// Errors: the minutes cannot be read, or the work is too much for one answer.
pub async fn backtest(
    ledger: &Ledger,
    loaded: &Loaded,
    metrics: &[String],
    from: i64,
    to: i64,
) -> Result<Vec<Outcome>, QueryError> {
    let wanted = |alarm: &&Alarm| metrics.is_empty() || metrics.contains(&alarm.metric);
    let mut outcomes = Vec::new();
    let mut work = 0_u64;
    for alarm in loaded.set.alarms.iter().filter(wanted) {
        let Some(key) = series_of(alarm, &loaded.namespace) else {
            continue;
        };
        work = work.saturating_add(cost(alarm, to - from));
        if work > MAX_WORK {
            let message = "these alarms on that many days are too much for one answer: ask for \
                           fewer days or metrics";
            return Err(QueryError::TooLarge(message.to_owned()));
        }
        let keys = BTreeSet::from([&key]);
        let minutes = minutes(ledger, key.metric, from - span(alarm), to, &keys).await?;
        let alarm = alarm.clone();
        let run = tokio::task::spawn_blocking(move || run(alarm, &key, &minutes, from, to));
        outcomes.push(run.await.map_err(|_| QueryError::Dropped)?);
    }
    Ok(outcomes)
}

/// Minutes between two evaluations.
fn step(alarm: &Alarm) -> i64 {
    if period(alarm) > LONG_PERIOD { 60 } else { 1 }
}

fn cost(alarm: &Alarm, minutes: i64) -> u64 {
    let of_one = match alarm.statistic {
        Statistic::Percentile(_) => PERCENTILE_WORK,
        _ => 1,
    };
    let datapoints = (minutes / step(alarm)).saturating_mul(period(alarm));
    u64::try_from(datapoints)
        .unwrap_or(0)
        .saturating_mul(of_one)
}

/// Evaluates one alarm minute by minute.
fn run(alarm: Alarm, key: &SeriesKey, minutes: &[Minute], from: i64, to: i64) -> Outcome {
    let keys = BTreeSet::from([key]);
    let sorted = by_series(minutes, &keys);
    let nothing = BTreeMap::new();
    let series = sorted.get(key).unwrap_or(&nothing);
    let mut outcome = Outcome {
        alarm,
        minutes: 0,
        minutes_without_data: 0,
        fired: 0,
        episodes: Vec::new(),
        state: None,
    };
    let Some(first) = series.keys().next().map(|first| from.max(*first)) else {
        return outcome;
    };
    let mut known = HashMap::new();
    for minute in first..to {
        outcome.minutes += 1;
        outcome.minutes_without_data += u64::from(!series.contains_key(&minute));
        let is_on_step = (minute + 1) % step(&outcome.alarm) == 0;
        if is_on_step && is_due(&outcome.alarm, minute) {
            let readings = readings(&outcome.alarm, series, minute, &mut known);
            note(&mut outcome, &readings, minute);
        }
    }
    outcome
}

/// The evaluation range; a period that was looked at before is not put together again.
fn readings(
    alarm: &Alarm,
    series: &ByMinute<'_>,
    minute: i64,
    known: &mut HashMap<i64, Option<Reading>>,
) -> Vec<Option<Reading>> {
    let ages = (0..i64::from(alarm.range())).rev();
    ages.map(|age| {
        let last = minute - age * period(alarm);
        *known
            .entry(last)
            .or_insert_with(|| reading(alarm, series, last))
    })
    .collect()
}

/// Notes what an evaluation finds.
fn note(outcome: &mut Outcome, readings: &[Option<Reading>], minute: i64) {
    let at = end_of(minute);
    let before = outcome.state.unwrap_or_default();
    let verdict = evaluate(&outcome.alarm, readings, before, at);
    outcome.state = Some(verdict.state);
    let is_told = outcome.fired <= MAX_EPISODES;
    match (before == State::Alarm, verdict.state == State::Alarm) {
        (false, true) => {
            outcome.fired += 1;
            if outcome.episodes.len() < MAX_EPISODES {
                outcome.episodes.push(Episode {
                    from: at,
                    to: None,
                    worst: verdict.value,
                    reason: verdict.reason,
                });
            }
        }
        (true, true) if is_told => {
            let comparison = outcome.alarm.comparison;
            if let Some(episode) = outcome.episodes.last_mut() {
                episode.worst = worse(comparison, episode.worst, verdict.value);
            }
        }
        (true, false) if is_told => {
            if let Some(episode) = outcome.episodes.last_mut() {
                episode.to = Some(at);
            }
        }
        _ => {}
    }
}

fn worse(comparison: Comparison, left: Option<f64>, right: Option<f64>) -> Option<f64> {
    let (Some(a), Some(b)) = (left, right) else {
        return left.or(right);
    };
    Some(match comparison {
        Comparison::GreaterThan | Comparison::GreaterThanOrEqual => a.max(b),
        Comparison::LessThan | Comparison::LessThanOrEqual => a.min(b),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alarm::{files, read};
    use crate::model::minute::Datapoint;

    fn alarm(name: &str) -> Alarm {
        let set = read(&files(&[]).unwrap(), &BTreeMap::new()).unwrap();
        set.find(name).unwrap().clone()
    }

    #[test]
    fn an_hour_of_errors_is_one_episode() {
        let alarm = alarm("ClaudeCode-HighErrorRate");
        let key = Arc::new(SeriesKey::total("error_rate"));
        let minute = |minute: i64| Minute {
            minute,
            series: key.clone(),
            datapoint: Datapoint::of(match minute {
                1060..1120 => 100.0,
                _ => 0.0,
            }),
        };
        // A gap of half an hour in the good part.
        let minutes: Vec<_> = (1000..1200)
            .filter(|number| !(1020..1050).contains(number))
            .map(minute)
            .collect();
        let outcome = run(alarm, &key, &minutes, 900, 1200);
        assert_eq!((outcome.minutes, outcome.minutes_without_data), (200, 30));
        assert_eq!((outcome.fired, outcome.state), (1, Some(State::Ok)));
        let episode = &outcome.episodes[0];
        // The average of five minutes is above 5 with the first bad minute, and both periods of
        // five minutes are with the sixth; it ends when the newer one is good again.
        assert_eq!(
            (episode.from, episode.to),
            (end_of(1065), Some(end_of(1124)))
        );
        assert_eq!(episode.worst, Some(100.0));
        assert!(
            episode
                .reason
                .starts_with("Threshold Crossed: 2 out of the last 2")
        );
    }

    #[test]
    fn without_data_nothing_is_said() {
        let key = SeriesKey::total("error_rate");
        let outcome = run(alarm("ClaudeCode-HighErrorRate"), &key, &[], 0, 100);
        assert_eq!((outcome.minutes, outcome.state), (0, None));
    }
}
