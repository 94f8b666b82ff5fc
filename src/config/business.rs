//! `[business]`: webhooks, what counts as a fix, stated assumptions and the phases of a rollout.

use super::notify::value_or_file;
use super::reader::{Reader, SectionReader};
use super::secret::Secret;
use super::setting::{Section, Setting};
use super::value::texts;
use crate::model::business::{Assumptions, FixRule, Phase};
use crate::model::glob::Glob;

mod assumptions;
mod phases;

use assumptions::assumptions;
use phases::{measures, phases};

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

/// Longest name of a set of assumptions or of a measure: it stands beside every figure.
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests;
