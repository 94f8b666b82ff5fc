//! `[business]`: webhooks, what counts as a fix, stated assumptions and the phases of a rollout.

use jiff::civil::Date;
use toml::{Table, Value};

use super::notify::value_or_file;
use super::reader::{Converted, Problem, Reader, SectionReader, must_be};
use super::secret::Secret;
use super::setting::{Section, Setting};
use super::value::{Row, choice, rows, text, texts};
use crate::model::business::{
    Accepted, AcceptedUnit, Assumptions, Criterion, EventKind, FixRule, Headcount, Known,
    MICRO_DIGITS, Participants, Phase, Range, ValueFrom,
};
use crate::model::glob::Glob;
use crate::model::money::{PICO_DIGITS, PicoUsd, parse_decimal};

/// What is told of changes, what is assumed, and which phases are planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Business {
    pub github_secret: Option<Secret<String>>,
    pub gitlab_token: Option<Secret<String>>,
    pub fixes: FixRule,
    /// Labels of changes in which Claude Code took part, in lower case.
    pub claude_labels: Vec<Glob>,
    /// Branches into which a merge counts; empty: the default branch of each project.
    pub branches: Vec<Glob>,
    /// True if the events API is told of fixes.
    pub events: bool,
    /// Kinds of events beside those that tallyd knows.
    pub measures: Vec<String>,
    pub assumptions: Assumptions,
    pub phases: Vec<Phase>,
}

impl Business {
    /// True if something tells of fixed bugs: only then none is none.
    #[must_use]
    pub const fn tells_bugs(&self) -> bool {
        self.github_secret.is_some() || self.gitlab_token.is_some() || self.events
    }
}

const RANGE: &str = "a table such as {low = -0.16, mid = 0, high = 0.4}; mid may be left out";

pub(super) const SECTION: Section = Section {
    name: "business",
    help: "What Claude Code is worth: fixed bugs from webhooks, and assumptions, without which no \
           time or money is told to be saved. docs/business.md explains all of it.",
    settings: &[
        Setting::new(
            "github_secret",
            r#""""#,
            "Secret of the GitHub webhook; only from the variable TALLYD_BUSINESS_GITHUB_SECRET. \
             Without it /api/v1/webhooks/github is closed.",
        )
        .at_once()
        .masked(),
        Setting::new(
            "github_secret_file",
            r#""""#,
            "File that holds the secret instead.",
        )
        .at_once(),
        Setting::new(
            "gitlab_token",
            r#""""#,
            "Secret token of the GitLab webhook; only from the variable \
             TALLYD_BUSINESS_GITLAB_TOKEN. Without it /api/v1/webhooks/gitlab is closed.",
        )
        .at_once()
        .masked(),
        Setting::new(
            "gitlab_token_file",
            r#""""#,
            "File that holds the token instead.",
        )
        .at_once(),
        Setting::new(
            "events",
            "false",
            "True if a tracker tells of fixed bugs at /api/v1/business/events: bugs_fixed is then 0 \
             where none is told, and not missing.",
        )
        .at_once(),
        Setting::new(
            "fix_labels",
            r#"["bug", "bugfix", "hotfix", "kind/bug", "type: bug", "type::bug"]"#,
            "A merged change with one of these labels is a fix; * is any text, case does not matter.",
        )
        .at_once(),
        Setting::new(
            "fix_titles",
            "[]",
            "A merged change whose whole title fits one of these is a fix; * is any text.",
        )
        .at_once(),
        Setting::new(
            "fix_types",
            r#"["fix", "bugfix", "hotfix"]"#,
            "A merged change is a fix if its title begins with one of these types of conventional \
             commits: fix: or fix(scope)!:.",
        )
        .at_once(),
        Setting::new(
            "claude_labels",
            r#"["claude-code"]"#,
            "Claude Code took part in a change with one of these labels; it is known by its \
             Co-Authored-By line as well.",
        )
        .at_once(),
        Setting::new(
            "branches",
            "[]",
            "Branches into which a merge counts; * is any text. Empty: the default branch.",
        )
        .at_once(),
        Setting::new(
            "measures",
            "[]",
            "Names of own measures that /api/v1/business/events may tell and criteria of phases may \
             use, such as security_incidents.",
        )
        .at_once(),
        Setting::new(
            "assumptions",
            r#""stated""#,
            "Name of the set of assumptions; it stands beside every figure, with a hash of all \
             values.",
        )
        .at_once(),
        Setting::new(
            "value_from",
            r#""""#,
            "What the total of saved time is made of: active_time or units. They overlap, so they \
             are never added. Needed only where assumptions for both are given.",
        )
        .at_once(),
        Setting::new(
            "minutes_saved_per_active_minute",
            "{}",
            "Working minutes saved by each minute that a person is active with Claude Code, as a \
             range; negative if work gets slower. Nothing is preset.",
        )
        .at_once()
        .example("minutes_saved_per_active_minute = {low = -0.16, mid = 0, high = 0.4}"),
        Setting::new(
            "accepted_unit",
            r#""""#,
            "What is one accepted unit: pull_request, commit, edit or line.",
        )
        .at_once(),
        Setting::new(
            "minutes_saved_per_accepted_unit",
            "{}",
            "Minutes saved by each accepted unit, as a range.",
        )
        .at_once(),
        Setting::new(
            "review_minutes_per_accepted_unit",
            "0",
            "Minutes of checking that each accepted unit costs; they are taken off.",
        )
        .at_once(),
        Setting::new(
            "minutes_saved_per_bug_fixed",
            "{}",
            "Minutes saved by each bug that was fixed with Claude Code, as a range.",
        )
        .at_once(),
        Setting::new(
            "minutes_saved_per_code_review",
            "{}",
            "Minutes saved by each code review that was done with Claude Code, as a range.",
        )
        .at_once(),
        Setting::new(
            "minutes_saved_per_operation",
            "{}",
            "Minutes saved by each task of operations that was done with Claude Code, as a range.",
        )
        .at_once(),
        Setting::new(
            "hourly_rate",
            r#""""#,
            "Loaded cost of an hour of work in USD. Without it saved time has no value in money.",
        )
        .at_once(),
        Setting::new(
            "realisation",
            "{low = 0.25, mid = 0.5, high = 1.0}",
            "Share of the saved time that becomes output, as a range between 0 and 1.",
        )
        .at_once(),
        Setting::new("seats", "0", "Seats that are paid for, whoever uses them.").at_once(),
        Setting::new(
            "seat_usd_per_month",
            "0",
            "Price of a seat in USD a month. Not what cost.fixed has already.",
        )
        .at_once(),
        Setting::new(
            "fixed_usd_per_month",
            "0",
            "What else is paid in USD a month for Claude Code: gateways, training, support. Not what \
             cost.fixed has already.",
        )
        .at_once(),
        Setting::new(
            "headcount",
            "0",
            "People who could use Claude Code; adoption is measured against it. 0: not known.",
        )
        .at_once(),
        Setting::new(
            "headcount_source",
            r#""""#,
            "Who says so and when; needed with headcount.",
        )
        .at_once(),
        Setting::new(
            "phases",
            "[]",
            "Phases of the rollout. from and to are dates, to is the day after the last. Without \
             users and groups (teams) a phase is everyone's.",
        )
        .at_once()
        .example(
            "[[business.phases]]\n\
             name = \"Pilot\"\n\
             from = \"2026-11-02\"\n\
             to = \"2026-11-16\"\n\
             groups = [\"platform\"]\n\
             users = []\n\
             headcount = 8\n\
             criteria = [\"productivity_gain > 20%\", \"security_incidents == 0\"]",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Business {
    let mut section = reader.section(&SECTION);
    let measures = section.get("measures", measures);
    let known = measures.clone();
    let phases = section.get("phases", move |value| phases(value, &known));
    Business {
        github_secret: secret(&mut section, "github_secret", "github_secret_file"),
        gitlab_token: secret(&mut section, "gitlab_token", "gitlab_token_file"),
        events: section.get("events", super::value::flag),
        fixes: FixRule::new(
            &section.get("fix_labels", texts),
            &section.get("fix_titles", texts),
            &section.get("fix_types", texts),
        ),
        claude_labels: globs(&section.get("claude_labels", texts)),
        branches: section
            .get("branches", texts)
            .iter()
            .map(|branch| Glob::new(branch))
            .collect(),
        measures,
        assumptions: assumptions(&mut section),
        phases,
    }
}

fn globs(patterns: &[String]) -> Vec<Glob> {
    let patterns = patterns.iter();
    patterns.map(|one| Glob::new(&one.to_lowercase())).collect()
}

/// A shorter secret can be found by trying.
const SHORTEST_SECRET: usize = 16;

fn secret(
    section: &mut SectionReader<'_, '_>,
    key: &'static str,
    file_key: &'static str,
) -> Option<Secret<String>> {
    let text = value_or_file(section, key, file_key, true).ok()??;
    if text.len() < SHORTEST_SECRET {
        section.fault(
            key,
            &format!("must have at least {SHORTEST_SECRET} characters"),
        );
        return None;
    }
    Some(Secret::new(text))
}

fn assumptions(section: &mut SectionReader<'_, '_>) -> Assumptions {
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

/// Longest name of a set of assumptions: it stands beside every figure.
const MAX_NAME: usize = 64;

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

fn measures(value: &Value) -> Converted<Vec<String>> {
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

fn phases(value: &Value, measures: &[String]) -> Converted<Vec<Phase>> {
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

#[cfg(test)]
mod tests;
