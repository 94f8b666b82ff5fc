//! `[alarms]`: which alarms there are, and who acts on them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{choice, texts};

/// The alarms that are evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// CloudFormation templates or folders of them; empty: the ones that ship with tallyd.
    pub files: Vec<PathBuf>,
    pub evaluate: Evaluate,
    /// Values of the templates' parameters.
    pub parameters: BTreeMap<String, String>,
}

/// Who acts on alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evaluate {
    /// tallyd evaluates and tells.
    #[default]
    Local,
    /// CloudWatch tells; tallyd evaluates and shows, but tells nobody.
    CloudWatch,
    /// Both tell.
    Both,
    /// tallyd evaluates nothing.
    Off,
}

impl Evaluate {
    const ALL: [Self; 4] = [Self::Local, Self::CloudWatch, Self::Both, Self::Off];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::CloudWatch => "cloudwatch",
            Self::Both => "both",
            Self::Off => "off",
        }
    }

    /// True if tallyd tells people of changes.
    #[must_use]
    pub const fn acts_here(self) -> bool {
        matches!(self, Self::Local | Self::Both)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.name() == name)
    }
}

pub(super) const SECTION: Section = Section {
    name: "alarms",
    help: "Alarms: CloudFormation templates that tallyd evaluates every minute.",
    settings: &[
        Setting::new(
            "files",
            "[]",
            "Templates, or folders of them, read again when they change. Empty: the alarms that \
             ship with tallyd.",
        )
        .at_once(),
        Setting::new(
            "evaluate",
            r#""local""#,
            "Who tells of changes: local (tallyd), cloudwatch (tallyd evaluates and shows, but \
             tells nobody), both, or off (tallyd does not evaluate).",
        )
        .at_once(),
        Setting::new(
            "parameters",
            "{}",
            "Values of the templates' parameters, such as thresholds; AWS::StackName and the like \
             too.",
        )
        .at_once()
        .example("[alarms.parameters]\nErrorRateThreshold = 2"),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Alarms {
    let mut section = reader.section(&SECTION);
    Alarms {
        files: section.get("files", |value| {
            Ok(texts(value)?.into_iter().map(PathBuf::from).collect())
        }),
        evaluate: section.get("evaluate", |value| {
            choice(value, "local, cloudwatch, both, off", Evaluate::parse)
        }),
        parameters: section.get("parameters", parameters),
    }
}

/// Texts, numbers and flags, as a template would write them.
fn parameters(value: &Value) -> Converted<BTreeMap<String, String>> {
    let Value::Table(table) = value else {
        return must_be("a table of names and values", value);
    };
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in table {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            _ => {
                let message = "must be a text, a number or a flag";
                problems.push(Problem::new(format!(".{name}"), message));
                continue;
            }
        };
        values.insert(name.clone(), text);
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}
