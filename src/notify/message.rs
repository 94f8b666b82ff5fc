//! Words that several kinds of targets share. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::model::alarm::{Comparison, State, Transition};

/// What sets a test apart.
pub(super) const TEST_ALARM: &str = "tallyd-test";

/// Recognises a transition when it comes again: the same for every attempt, whoever asks.
pub(super) fn transition_id(target: &str, transition: &Transition) -> String {
    let at = transition.at.as_millisecond().to_string();
    hash(&[target, &transition.alarm.name, transition.to.name(), &at])
}

/// Recognises a message: the same for the same transitions in the same order.
pub(super) fn message_id(target: &str, transitions: &[&Transition]) -> String {
    let ids = transitions.iter().map(|one| transition_id(target, one));
    let ids: Vec<String> = ids.collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    hash(&ids)
}

/// The first 128 bits of a hash over texts, in hexadecimal.
fn hash(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hex(&hash.finalize()[..16])
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A text takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the alarm compares: `Average of error_rate > 5 in 2 of 2 periods of 5 min`.
pub(super) fn condition(transition: &Transition) -> String {
    let alarm = &transition.alarm;
    let sign = match alarm.comparison {
        Comparison::GreaterThanOrEqual => ">=",
        Comparison::GreaterThan => ">",
        Comparison::LessThan => "<",
        Comparison::LessThanOrEqual => "<=",
    };
    let mut metric = alarm.metric.clone();
    if !alarm.dimensions.is_empty() {
        let dimensions = alarm.dimensions.iter();
        let dimensions: Vec<_> = dimensions
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        metric = format!("{metric} ({})", dimensions.join(", "));
    }
    format!(
        "{} of {metric} {sign} {} in {} of {} periods of {}",
        alarm.statistic.name(),
        number(alarm.threshold),
        alarm.datapoints_to_alarm,
        alarm.evaluation_periods,
        period(alarm.period_seconds),
    )
}

fn period(seconds: u32) -> String {
    match seconds {
        s if s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A number with four digits after the point at most, for people.
pub(super) fn number(value: f64) -> String {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    // Numbers too small or too large for that are shown as they are.
    if rounded.is_finite() && (rounded != 0.0 || value == 0.0) {
        rounded.to_string()
    } else {
        value.to_string()
    }
}

/// The newest value, or that there is none.
pub(super) fn value(transition: &Transition) -> String {
    transition
        .value
        .map_or_else(|| "no data".to_owned(), number)
}

/// `2026-11-22 12:00:00 UTC`.
pub(super) fn time(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How many came into which state, as far as any did: `4 ALARM, 1 OK`.
pub(super) fn tally(transitions: &[&Transition]) -> String {
    let mut parts = Vec::new();
    for state in [State::Alarm, State::InsufficientData, State::Ok] {
        let count = transitions.iter().filter(|one| one.to == state).count();
        if count > 0 {
            parts.push(format!("{count} {}", state.name()));
        }
    }
    parts.join(", ")
}

/// Cuts a text to a number of characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    format!("{kept}...")
}
