//! Why an alarm has its state, in CloudWatch's words, so that what reads them there can read
//! them here.

use jiff::{SignedDuration, Timestamp};

use super::evaluate::Point;
use super::{Alarm, Comparison, MissingData, State};

/// Datapoints told in a reason; CloudWatch takes at most 1,023 characters.
const MAX_TOLD: usize = 10;

/// Tells why; `points` are those with data that counted, newest first.
pub(super) fn told(alarm: &Alarm, state: State, points: &[Point], end: Timestamp) -> String {
    let periods = alarm.evaluation_periods as usize;
    let filled = periods.saturating_sub(points.len());
    if state == State::InsufficientData {
        let unknown = plural(filled, "datapoint was", "datapoints were");
        return format!("Insufficient Data: {unknown} unknown.");
    }
    if points.is_empty() {
        return format!(
            "Threshold Crossed: no datapoints were received for {} and {}.",
            plural(periods, "period", "periods"),
            treated(alarm.missing_data, filled)
        );
    }
    // A state that was kept may have no datapoint on its side; then all are told.
    let wanted = state == State::Alarm;
    let matching: Vec<_> = points
        .iter()
        .filter(|point| point.breaches == wanted)
        .collect();
    let (shown, breaching): (Vec<_>, bool) = if matching.is_empty() {
        (points.iter().collect(), !wanted)
    } else {
        (matching, wanted)
    };
    let values: Vec<_> = shown
        .iter()
        .take(MAX_TOLD)
        .map(|point| format!("{:?} ({})", point.value, begin(alarm, point.age, end)))
        .collect();
    let more = if shown.len() > MAX_TOLD { ", ..." } else { "" };
    let verb = match (shown.len(), breaching) {
        (1, true) => "was",
        (1, false) => "was not",
        (_, true) => "were",
        (_, false) => "were not",
    };
    let gaps = if filled == 0 {
        String::new()
    } else {
        format!(" and {}", treated(alarm.missing_data, filled))
    };
    format!(
        "Threshold Crossed: {} out of the last {periods} datapoints [{}{more}] {verb} {} the threshold ({:?}){gaps} \
         ({}).",
        shown.len(),
        values.join(", "),
        words(alarm.comparison),
        alarm.threshold,
        minimum(alarm, state),
    )
}

/// How many datapoints it takes for the transition.
fn minimum(alarm: &Alarm, state: State) -> String {
    let to_alarm = alarm.datapoints_to_alarm as usize;
    let (count, transition) = if state == State::Alarm {
        (to_alarm, "OK -> ALARM")
    } else {
        let to_ok = (alarm.evaluation_periods as usize + 1).saturating_sub(to_alarm);
        (to_ok, "ALARM -> OK")
    };
    let datapoints = plural(count, "datapoint", "datapoints");
    format!("minimum {datapoints} for {transition} transition")
}

fn treated(missing: MissingData, count: usize) -> String {
    let name = match missing {
        MissingData::Missing => "Missing",
        MissingData::Ignore => "Ignore",
        MissingData::Breaching => "Breaching",
        MissingData::NotBreaching => "NonBreaching",
    };
    let missing = plural(count, "missing datapoint was", "missing datapoints were");
    format!("{missing} treated as [{name}]")
}

fn words(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::GreaterThanOrEqual => "greater than or equal to",
        Comparison::GreaterThan => "greater than",
        Comparison::LessThan => "less than",
        Comparison::LessThanOrEqual => "less than or equal to",
    }
}

/// When a period begins: `26/08/22 03:40:00`, in UTC.
fn begin(alarm: &Alarm, age: usize, end: Timestamp) -> String {
    let back = i64::from(alarm.period_seconds).saturating_mul(i64::try_from(age).unwrap_or(0) + 1);
    let begin = end
        .checked_sub(SignedDuration::from_secs(back))
        .unwrap_or(Timestamp::MIN);
    begin.strftime("%d/%m/%y %H:%M:%S").to_string()
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
