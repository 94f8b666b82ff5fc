//! `[sources]`: which report of one request counts.

use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{Row, rows, texts};
use crate::model::usage::source;

/// The rank of sources, and those that only control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Best first.
    pub order: Vec<String>,
    pub control: Vec<Control>,
}

/// A source that is not counted, where all given fields match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub source: String,
    pub provider: Option<String>,
    pub team: Option<String>,
    pub account: Option<String>,
}

pub(super) const SECTION: Section = Section {
    name: "sources",
    help: "Which report counts when several tell of one request.",
    settings: &[
        Setting::new(
            "order",
            r#"["gateway", "litellm", "events"]"#,
            "Sources of single requests, the best first.",
        ),
        Setting::new(
            "control",
            "[]",
            "Sources kept as control totals only, everywhere or for a provider, team or account.",
        )
        .at_once()
        .example(
            "[[sources.control]]\n\
             source = \"events\"\n\
             provider = \"bedrock\"\n\
             team = \"payments\"\n\
             account = \"\"",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Sources {
    let mut section = reader.section(&SECTION);
    Sources {
        order: section.get("order", order),
        control: section.get("control", |value| rows(value, control)),
    }
}

fn order(value: &Value) -> Converted<Vec<String>> {
    let order = texts(value)?;
    if order.is_empty() {
        return must_be("a list of at least one source", value);
    }
    let wrong = order.iter().enumerate();
    let wrong = wrong.filter(|(_, name)| !source::is_name(name));
    let problems: Vec<_> = wrong
        .map(|(index, name)| Problem {
            at: format!("[{index}]"),
            message: source::RULE.to_owned(),
            got: Some(name.clone()),
        })
        .collect();
    if problems.is_empty() {
        Ok(order)
    } else {
        Err(problems)
    }
}

fn control(row: &mut Row<'_>) -> Option<Control> {
    let source = row.required("source");
    let provider = row.optional("provider");
    let team = row.optional("team");
    let account = row.optional("account");
    Some(Control {
        source: source?,
        provider,
        team,
        account,
    })
}
