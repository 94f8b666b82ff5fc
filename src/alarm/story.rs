//! Stories: made-up datapoints, and the states that an alarm has to go through.
//!
//! A file is a YAML list. One token of `datapoints` is one period, the newest last; everything
//! before the first is missing. The alarm is evaluated after each token, starting from
//! `previous`, and `expect` gives the state after each. A token is `_` (missing), a value, or
//! values with how often each came (`800*95,9000*5`), which percentiles need.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::define::{Measured, define};
use super::fault::{Fault, Faults, hint};
use super::read::AlarmSet;
use super::resolve::{Known, Resolver, Shape};
use super::scope::Scope;
use super::yaml::{self, Node};
use crate::model::alarm::{Alarm, Reading, State, evaluate};
use crate::model::minute::{self, Datapoint, MINUTE_METRICS};

/// Periods of one story: a week of minutes.
const MAX_TOKENS: usize = 10_080;

const KEYS: [&str; 5] = ["name", "alarm", "previous", "datapoints", "expect"];

/// One story.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    pub file: PathBuf,
    pub line: usize,
    pub name: String,
    pub alarm: Alarm,
    pub previous: State,
    /// What the alarm sees, a period each.
    pub readings: Vec<Option<Reading>>,
    pub expected: Vec<State>,
}

/// A story that did not come true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub file: PathBuf,
    pub line: usize,
    pub name: String,
    /// The first token, from 1, after which the state is another.
    pub token: usize,
    pub expected: Vec<State>,
    pub found: Vec<State>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, line, name, ..
        } = self;
        write!(
            f,
            "{}:{line}: {name}: expected \"{}\", came \"{}\", different from token {} on",
            file.display(),
            words(&self.expected),
            words(&self.found),
            self.token
        )
    }
}

fn words(states: &[State]) -> String {
    let names: Vec<_> = states.iter().map(|state| state.name()).collect();
    names.join(" ")
}

impl Story {
    /// Evaluates the alarm after each token; nothing if all is as expected.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let range = self.alarm.range() as usize;
        let mut periods = vec![None; range];
        periods.extend_from_slice(&self.readings);
        let mut state = self.previous;
        let mut found = Vec::with_capacity(self.readings.len());
        for end in 1..=self.readings.len() {
            // A story has no place in time; only reasons would tell it.
            let window = &periods[end..end + range];
            state = evaluate(&self.alarm, window, state, Timestamp::UNIX_EPOCH).state;
            found.push(state);
        }
        let differs = |(found, expected)| found != expected;
        let token = found.iter().zip(&self.expected).position(differs)?;
        Some(Failure {
            file: self.file.clone(),
            line: self.line,
            name: self.name.clone(),
            token: token + 1,
            expected: self.expected.clone(),
            found,
        })
    }
}

/// Reads a file of stories. Alarms that a story names are found in `set`.
///
/// Errors: everything that is wrong with the file.
pub fn read(file: &Path, text: &str, set: &AlarmSet) -> Result<Vec<Story>, Vec<Fault>> {
    let mut faults = Faults::new(file);
    let stories = match yaml::parse(text) {
        Ok(root) => all(&root, file, set, &mut faults),
        Err(broken) => {
            faults.add(broken.line, "", broken.message);
            Vec::new()
        }
    };
    let faults = faults.into_list();
    if faults.is_empty() {
        Ok(stories)
    } else {
        Err(faults)
    }
}

fn all(root: &Node, file: &Path, set: &AlarmSet, faults: &mut Faults) -> Vec<Story> {
    let Some(items) = root.list() else {
        let message = format!("must be a list of stories, got {}", root.kind());
        faults.add(root.line, "", message);
        return Vec::new();
    };
    if items.is_empty() {
        faults.add(root.line, "", "holds no story");
    }
    let mut stories = Vec::with_capacity(items.len());
    for item in items {
        stories.extend(one(item, file, set, faults));
    }
    stories
}

fn one(item: &Node, file: &Path, set: &AlarmSet, faults: &mut Faults) -> Option<Story> {
    let Some(entries) = item.map() else {
        let message = format!("a story must be a map, got {}", item.kind());
        faults.add(item.line, "", message);
        return None;
    };
    for entry in entries {
        if !KEYS.contains(&entry.key.as_str()) {
            let message = format!("is no part of a story{}", hint(&entry.key, KEYS));
            faults.add(entry.line, &entry.key, message);
        }
    }
    let name = text(item, "name", faults).filter(|name| {
        if name.is_empty() {
            faults.add(item.line, "name", "must not be empty");
        }
        !name.is_empty()
    });
    let alarm = alarm(item, set, faults);
    let previous = match item.get("previous") {
        Some(_) => text(item, "previous", faults)
            .and_then(|word| state(&word, line(item, "previous"), "previous", faults)),
        None => Some(State::default()),
    };
    let expected = text(item, "expect", faults).and_then(|expect| {
        let line = line(item, "expect");
        let states: Vec<_> = expect
            .split_whitespace()
            .map(|word| state(word, line, "expect", faults))
            .collect();
        states.into_iter().collect::<Option<Vec<State>>>()
    });
    let (alarm, expected) = (alarm?, expected?);
    let readings = datapoints(item, &alarm, expected.len(), faults)?;
    Some(Story {
        file: file.to_owned(),
        line: item.line,
        name: name?,
        alarm,
        previous: previous?,
        readings,
        expected,
    })
}

fn line(item: &Node, key: &str) -> usize {
    item.get(key).map_or(item.line, |entry| entry.line)
}

/// A text that must be there.
fn text(item: &Node, key: &str, faults: &mut Faults) -> Option<String> {
    let Some(entry) = item.get(key) else {
        faults.add(item.line, key, "is needed");
        return None;
    };
    match entry.node.text() {
        Some(text) if !entry.node.is_null() => Some(text.trim().to_owned()),
        _ => {
            let message = format!("must be a text, got {}", entry.node.kind());
            faults.add(entry.line, key, message);
            None
        }
    }
}

fn state(word: &str, line: usize, key: &str, faults: &mut Faults) -> Option<State> {
    let state = State::parse(word);
    if state.is_none() {
        let names = State::ALL.map(State::name).join(", ");
        faults.add(line, key, format!("must be one of {names}, got {word}"));
    }
    state
}

/// The alarm of a story: a name, or properties. A name and a namespace need not be given.
fn alarm(item: &Node, set: &AlarmSet, faults: &mut Faults) -> Option<Alarm> {
    let Some(entry) = item.get("alarm") else {
        faults.add(item.line, "alarm", "is needed");
        return None;
    };
    if let Some(name) = entry.node.text() {
        let found = set.find(name.trim());
        if found.is_none() {
            let known = set.alarms.iter().map(|alarm| alarm.name.as_str());
            let message = format!("there is no alarm {name}{}", hint(name, known));
            faults.add(entry.line, "alarm", message);
        }
        return found.cloned();
    }
    let scope = Scope::empty();
    let mut known = Resolver::new(&scope, faults).value(&entry.node, "alarm");
    let measured = Measured::default();
    if let Shape::Map(properties) = &mut known.shape {
        let line = known.line;
        for (key, value) in [("AlarmName", "story"), ("Namespace", &measured.namespace)] {
            if !properties.iter().any(|(known, ..)| known == key) {
                let shape = Shape::Text(value.to_owned());
                properties.push((key.to_owned(), line, Known { line, shape }));
            }
        }
    }
    Some(define(&known, &measured, faults)?.alarm)
}

/// What the alarm sees of the datapoints; all metrics need as many as states are expected.
fn datapoints(
    item: &Node,
    alarm: &Alarm,
    expected: usize,
    faults: &mut Faults,
) -> Option<Vec<Option<Reading>>> {
    let key = "datapoints";
    let Some(metrics) = item.get(key).and_then(|entry| entry.node.map()) else {
        let message = "must be a map of metrics, each with a text of tokens";
        faults.add(line(item, key), key, message);
        return None;
    };
    let before = faults.len();
    let mut seen = None;
    for entry in metrics {
        let property = format!("{key}.{}", entry.key);
        if entry.key != alarm.metric && minute::find(&entry.key).is_none() {
            let names = MINUTE_METRICS.iter().map(|metric| metric.name);
            let hint = hint(&entry.key, names.chain([alarm.metric.as_str()]));
            faults.add(
                entry.line,
                &property,
                format!("there is no such metric{hint}"),
            );
        }
        let Some(text) = entry.node.text().filter(|_| !entry.node.is_null()) else {
            let message = format!("must be a text of tokens, got {}", entry.node.kind());
            faults.add(entry.line, &property, message);
            continue;
        };
        let tokens: Vec<&str> = text.split_whitespace().collect();
        if tokens.len() > MAX_TOKENS {
            let message = format!("must be at most {MAX_TOKENS} tokens");
            faults.add(entry.line, &property, message);
            continue;
        }
        if tokens.len() != expected {
            let message = format!(
                "{} tokens, but expect has {expected} states: one state a token",
                tokens.len()
            );
            faults.add(entry.line, &property, message);
        } else if tokens.is_empty() {
            faults.add(entry.line, &property, "must have at least one token");
        }
        let mut readings = Vec::with_capacity(tokens.len());
        for word in tokens {
            match token(word) {
                Token::Missing => readings.push(None),
                Token::Values(datapoint) => readings.push(alarm.statistic.read(&datapoint)),
                Token::Malformed => {
                    let message = format!(
                        "must be _ (missing), a number, or numbers with counts such as \
                         800*95,9000*5, got {word}"
                    );
                    faults.add(entry.line, &property, message);
                }
            }
        }
        if entry.key == alarm.metric {
            seen = Some(readings);
        }
    }
    if seen.is_none() {
        let message = format!(
            "the alarm looks at {}, which has no datapoints",
            alarm.metric
        );
        faults.add(line(item, key), key, message);
    }
    (faults.len() == before).then_some(seen).flatten()
}

/// What a token says of its period.
enum Token {
    Missing,
    Values(Datapoint),
    Malformed,
}

fn token(word: &str) -> Token {
    if word == "_" {
        return Token::Missing;
    }
    values(word).map_or(Token::Malformed, Token::Values)
}

fn values(word: &str) -> Option<Datapoint> {
    let mut values = Vec::new();
    for part in word.split(',') {
        let (value, count) = part.split_once('*').unwrap_or((part, "1"));
        let plain = value.trim_start_matches(['+', '-']);
        if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        let value: f64 = value.parse().ok()?;
        let count: u64 = count.parse().ok()?;
        // Above it neither a value nor a count is exact.
        if !value.is_finite() || !(1..=1 << 40).contains(&count) {
            return None;
        }
        values.push((value, count));
    }
    values.sort_by(|left, right| left.0.total_cmp(&right.0));
    Some(Datapoint {
        count: values.iter().map(|(_, count)| count).sum(),
        sum: values
            .iter()
            .map(|(value, count)| value * *count as f64)
            .sum(),
        min: values.first()?.0,
        max: values.last()?.0,
        values,
    })
}
