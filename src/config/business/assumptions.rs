//! What is assumed: ranges of saved minutes, the hourly rate, seats and people.

use toml::{Table, Value};

use super::MAX_NAME;
use crate::config::reader::{Converted, Problem, SectionReader, must_be};
use crate::config::value::{choice, text};
use crate::model::business::{
    Accepted, AcceptedUnit, Assumptions, Headcount, MICRO_DIGITS, Range, ValueFrom,
};
use crate::model::money::{PICO_DIGITS, PicoUsd, parse_decimal};

const RANGE: &str = "a table such as {low = -0.16, mid = 0, high = 0.4}; mid may be left out";

pub(super) fn assumptions(section: &mut SectionReader<'_, '_>) -> Assumptions {
    let active_minute = section.get("minutes_saved_per_active_minute", range);
    let minutes = section.get("minutes_saved_per_accepted_unit", range);
    let review = section.get("review_minutes_per_accepted_unit", |value| {
        micro(value, 0, MOST_MINUTES)
    });
    let unit = section.get("accepted_unit", accepted_unit);
    let bug_fixed = section.get("minutes_saved_per_bug_fixed", range);
    let code_review = section.get("minutes_saved_per_code_review", range);
    let operation = section.get("minutes_saved_per_operation", range);
    if unit.is_some() != minutes.is_some() {
        section.fault(
            "minutes_saved_per_accepted_unit",
            "and business.accepted_unit need each other",
        );
    }
    let accepted = unit.zip(minutes).map(|(unit, minutes)| Accepted {
        unit,
        minutes,
        review,
    });
    let has_units =
        accepted.is_some() || bug_fixed.is_some() || code_review.is_some() || operation.is_some();
    let stated = section.get("value_from", value_from);
    if stated.is_none() && active_minute.is_some() && has_units {
        section.fault(
            "value_from",
            "is needed: active_time or units; the time that people are active contains the time \
             that they spend on units, and adding both would count it twice",
        );
    }
    let otherwise = if has_units && active_minute.is_none() {
        ValueFrom::Units
    } else {
        ValueFrom::ActiveTime
    };
    Assumptions {
        name: name(section).into(),
        value_from: stated.unwrap_or(otherwise),
        active_minute,
        accepted,
        bug_fixed,
        code_review,
        operation,
        hourly_rate: section.get("hourly_rate", hourly_rate),
        realisation: realisation(section),
        seats: section.get("seats", people),
        seat_per_month: section.get("seat_usd_per_month", money),
        fixed_per_month: section.get("fixed_usd_per_month", money),
        headcount: headcount(section),
    }
}

fn name(section: &mut SectionReader<'_, '_>) -> String {
    section.get("assumptions", |value| {
        let name = text(value)?;
        if name.is_empty() || name.chars().count() > MAX_NAME || name.contains(char::is_control) {
            return must_be(&format!("a name of 1 to {MAX_NAME} characters"), value);
        }
        Ok(name)
    })
}

/// Everything is a share of saved time.
const ALL_REALISED: Range = Range {
    low: 1_000_000,
    mid: Some(1_000_000),
    high: 1_000_000,
};

fn realisation(section: &mut SectionReader<'_, '_>) -> Range {
    let read = section.get("realisation", range);
    let Some(read) = read else {
        section.fault("realisation", &format!("must be {RANGE}"));
        return ALL_REALISED;
    };
    if read.low < 0 || read.high > 1_000_000 || read.mid.is_none() {
        section.fault("realisation", "must have low, mid and high between 0 and 1");
    }
    read
}

fn headcount(section: &mut SectionReader<'_, '_>) -> Option<Headcount> {
    let people = section.get("headcount", people);
    let source = section.optional_text("headcount_source");
    match (people, source) {
        (0, None) => None,
        (0, Some(_)) => {
            section.fault("headcount", "is needed with headcount_source");
            None
        }
        (_, None) => {
            section.fault(
                "headcount_source",
                "is needed with headcount: who says so and when",
            );
            None
        }
        (people, Some(source)) => Some(Headcount {
            people,
            source: source.into(),
        }),
    }
}

fn accepted_unit(value: &Value) -> Converted<Option<AcceptedUnit>> {
    if text(value)?.is_empty() {
        return Ok(None);
    }
    choice(value, "pull_request, commit, edit, line", |name| {
        AcceptedUnit::ALL
            .into_iter()
            .find(|unit| unit.name() == name)
    })
    .map(Some)
}

fn value_from(value: &Value) -> Converted<Option<ValueFrom>> {
    if text(value)?.is_empty() {
        return Ok(None);
    }
    choice(value, "active_time, units", |name| {
        let all = [ValueFrom::ActiveTime, ValueFrom::Units];
        all.into_iter().find(|from| from.name() == name)
    })
    .map(Some)
}

/// The text of a number, as it is written. A float's shortest text is what was written.
fn decimal_text(value: &Value) -> Option<String> {
    match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_owned()),
        _ => None,
    }
}

/// A year of minutes: no single thing saves more.
const MOST_MINUTES: i64 = 525_600;

/// A number with up to six decimal places, in millionths.
fn micro(value: &Value, least: i64, most: i64) -> Converted<i64> {
    let read = decimal_text(value).and_then(|text| parse_decimal(&text, MICRO_DIGITS).ok());
    let within = |micro: i128| {
        let bound = |whole: i64| i128::from(whole) * crate::model::business::MICRO;
        (bound(least)..=bound(most)).contains(&micro)
    };
    match read.filter(|micro| within(*micro)).map(i64::try_from) {
        Some(Ok(micro)) => Ok(micro),
        _ => must_be(
            &format!("a number from {least} to {most} with up to six decimal places"),
            value,
        ),
    }
}

/// A range; an empty table is none.
fn range(value: &Value) -> Converted<Option<Range>> {
    let Value::Table(table) = value else {
        return must_be(RANGE, value);
    };
    if table.is_empty() {
        return Ok(None);
    }
    let mut problems = unknown_keys(table, &["low", "mid", "high"]);
    let mut end = |key: &str| {
        let given = table.get(key)?;
        match micro(given, -MOST_MINUTES, MOST_MINUTES) {
            Ok(micro) => Some(micro),
            Err(wrong) => {
                let at = format!(".{key}");
                problems.extend(wrong.into_iter().map(|problem| problem.at(&at)));
                None
            }
        }
    };
    let (low, mid, high) = (end("low"), end("mid"), end("high"));
    for (key, read) in [("low", low), ("high", high)] {
        if read.is_none() && !table.contains_key(key) {
            problems.push(Problem::new(format!(".{key}"), "is needed"));
        }
    }
    if let (Some(low), Some(high)) = (low, high)
        && !(low <= mid.unwrap_or(low) && mid.unwrap_or(high) <= high && low <= high)
    {
        problems.push(Problem::new("", "must have low <= mid <= high"));
    }
    match (low, high) {
        (Some(low), Some(high)) if problems.is_empty() => Ok(Some(Range { low, mid, high })),
        _ => Err(problems),
    }
}

fn unknown_keys(table: &Table, known: &[&str]) -> Vec<Problem> {
    let keys = table.keys().filter(|key| !known.contains(&key.as_str()));
    keys.map(|key| Problem::new(format!(".{key}"), "unknown key"))
        .collect()
}

/// More than anybody pays for a seat or an hour.
const MOST_USD: i128 = 1_000_000_000 * 10_i128.pow(PICO_DIGITS);

fn money(value: &Value) -> Converted<PicoUsd> {
    let read = decimal_text(value).and_then(|text| PicoUsd::parse(&text).ok());
    match read {
        Some(money) if (0..=MOST_USD).contains(&money.0) => Ok(money),
        _ => must_be("an amount in USD such as 85 or 19.50, not negative", value),
    }
}

fn hourly_rate(value: &Value) -> Converted<Option<PicoUsd>> {
    if value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Ok(None);
    }
    let rate = money(value)?;
    if rate == PicoUsd::ZERO {
        return must_be("more than 0", value);
    }
    Ok(Some(rate))
}

/// More than any company has.
const MOST_PEOPLE: i64 = 10_000_000;

fn people(value: &Value) -> Converted<u64> {
    match value.as_integer() {
        Some(people @ 0..=MOST_PEOPLE) => Ok(people.unsigned_abs()),
        _ => must_be(&format!("a number from 0 to {MOST_PEOPLE}"), value),
    }
}
