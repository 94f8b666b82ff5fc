//! The phases of a rollout, and the measures that their criteria may name.

use jiff::civil::Date;
use toml::Value;

use super::MAX_NAME;
use crate::config::reader::{Converted, Problem};
use crate::config::value::{Row, rows, texts};
use crate::model::business::{Criterion, EventKind, Known, Participants, Phase};

pub(super) fn measures(value: &Value) -> Converted<Vec<String>> {
    let names = texts(value)?;
    let mut problems = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let message = if name.len() > MAX_NAME || !name.chars().all(allowed) {
            "must have up to 64 lower-case letters, digits and _"
        } else if Known::ALL.iter().any(|known| known.name() == name)
            || EventKind::ALL.iter().any(|kind| kind.name() == name)
        {
            "is a name of tallyd's own"
        } else {
            continue;
        };
        problems.push(Problem::new(format!("[{index}]"), message));
    }
    if problems.is_empty() {
        Ok(names)
    } else {
        Err(problems)
    }
}

pub(super) fn phases(value: &Value, measures: &[String]) -> Converted<Vec<Phase>> {
    let phases = rows(value, |row| phase(row, measures))?;
    let mut problems = Vec::new();
    for (index, phase) in phases.iter().enumerate() {
        if phases[..index].iter().any(|one| one.name == phase.name) {
            problems.push(Problem::new(
                format!("[{index}].name"),
                format!("{} is there twice", phase.name),
            ));
        }
    }
    if problems.is_empty() {
        Ok(phases)
    } else {
        Err(problems)
    }
}

fn phase(row: &mut Row<'_>, measures: &[String]) -> Option<Phase> {
    let name = row.required("name");
    let (from, to) = (date(row, "from"), date(row, "to"));
    // Users are compared as they are stored: in lower case.
    let users = row.texts("users").into_iter();
    let users = users.map(|user| user.to_lowercase().into()).collect();
    let teams = row.texts("groups").into_iter().map(Into::into).collect();
    let headcount = row.optional_number("headcount");
    let mut criteria = Vec::new();
    for (index, text) in row.texts("criteria").iter().enumerate() {
        match Criterion::parse(text, measures) {
            Ok(criterion) => criteria.push(criterion),
            Err(error) => row.problem(&format!("criteria[{index}]"), &error.to_string()),
        }
    }
    if headcount == Some(0) {
        row.problem("headcount", "must be more than 0");
    }
    let (from, to) = (from?, to?);
    if to <= from {
        row.problem("to", "must be after from: it is the day after the last");
    }
    Some(Phase {
        name: name?.into(),
        from,
        to,
        participants: Participants { users, teams },
        headcount,
        criteria,
    })
}

fn date(row: &mut Row<'_>, key: &'static str) -> Option<Date> {
    let text = match row.value(key) {
        Some(Value::Datetime(date)) => date.to_string(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(_) => String::new(),
        None => {
            row.problem(key, "is needed");
            return None;
        }
    };
    let date = text
        .parse()
        .ok()
        .filter(|_| text.len() == "2026-11-02".len());
    if date.is_none() {
        row.problem(key, "must be a date such as 2026-11-02");
    }
    date
}
