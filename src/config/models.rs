//! `[models]`: names that tallyd cannot know.

use std::collections::BTreeMap;

use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{Row, text};
use crate::model::names::Alias;

/// The operator's additions to the model names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// Assumed where neither the source nor the name tells.
    pub default_provider: String,
    /// By the name as reported.
    pub aliases: BTreeMap<String, Alias>,
}

pub(super) const SECTION: Section = Section {
    name: "models",
    help: "Model names.",
    settings: &[
        Setting::new(
            "default_provider",
            r#""anthropic""#,
            "Provider where neither the source nor the model's name tells.",
        )
        .at_once(),
        Setting::new(
            "aliases",
            "{}",
            "What reported names stand for, such as the ARN of an inference profile.",
        )
        .at_once()
        .example(
            "[models.aliases]\n\
             \"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc\" = \
             {model = \"claude-sonnet-4-6\", provider = \"bedrock\"}",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Models {
    let mut section = reader.section(&SECTION);
    Models {
        default_provider: section.get("default_provider", provider),
        aliases: section.get("aliases", aliases),
    }
}

fn provider(value: &Value) -> Converted<String> {
    let provider = text(value)?;
    if provider.is_empty() {
        return must_be("a provider such as anthropic, bedrock or vertex", value);
    }
    Ok(provider)
}

fn aliases(value: &Value) -> Converted<BTreeMap<String, Alias>> {
    let Value::Table(table) = value else {
        return must_be("a table of {model, provider}", value);
    };
    let mut aliases = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in table {
        let at = format!(".{name:?}");
        let Value::Table(table) = value else {
            problems.push(Problem::new(
                at,
                "must be a table such as {model = \"...\", provider = \"...\"}",
            ));
            continue;
        };
        let mut row = Row::new(table);
        let model = row.required("model");
        let provider = row.optional("provider");
        problems.extend(row.finish().into_iter().map(|problem| problem.at(&at)));
        if let Some(model) = model {
            aliases.insert(name.clone(), Alias { model, provider });
        }
    }
    if problems.is_empty() {
        Ok(aliases)
    } else {
        Err(problems)
    }
}
