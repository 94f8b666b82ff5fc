//! `[savings]`: what the report on savings takes for granted.

use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{Row, texts};
use crate::model::saving::{Bounds, Complexity, ModelRules};

/// How savings are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savings {
    pub rules: ModelRules,
    /// Entrypoints and query sources of programs: nobody waits for the answer.
    pub headless: Vec<String>,
    /// Entrypoints and query sources that show a person at work.
    pub interactive: Vec<String>,
}

pub(super) const SECTION: Section = Section {
    name: "savings",
    help: "Rules of the report on savings and of /api/v1/optimize.",
    settings: &[
        Setting::new(
            "simple",
            "{context_tokens = 32000, output_tokens = 500, tools = 1}",
            "The largest simple task: tokens read, cached ones included, tokens written, tools \
             used.",
        )
        .at_once(),
        Setting::new(
            "medium",
            "{context_tokens = 100000, output_tokens = 4000, tools = 8}",
            "The largest medium task; what is larger is complex.",
        )
        .at_once(),
        Setting::new(
            "models",
            r#"{simple = ["claude-haiku-5-5", "claude-haiku-4-5"], medium = ["claude-sonnet-5-5", "claude-sonnet-4-6"], complex = ["claude-opus-5-5"]}"#,
            "Canonical names of the models for each complexity. The cheapest for the request that \
             the user's role allows is taken; of equal ones the first.",
        )
        .at_once(),
        Setting::new(
            "headless",
            r#"["sdk-cli", "sdk-ts", "sdk-py", "sdk"]"#,
            "Entrypoints and query sources of programs. Only their requests could wait for a \
             batch.",
        )
        .at_once(),
        Setting::new(
            "interactive",
            r#"["cli", "claude-vscode", "claude-desktop", "claude-desktop-3p", "repl_main_thread"]"#,
            "Entrypoints and query sources of people. No request of their sessions could wait.",
        )
        .at_once(),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Savings {
    let mut section = reader.section(&SECTION);
    let savings = Savings {
        rules: ModelRules {
            simple: section.get("simple", bounds),
            medium: section.get("medium", bounds),
            models: section.get("models", models),
        },
        headless: section.get("headless", texts),
        interactive: section.get("interactive", texts),
    };
    let (simple, medium) = (&savings.rules.simple, &savings.rules.medium);
    if medium.context_tokens < simple.context_tokens
        || medium.output_tokens < simple.output_tokens
        || medium.tools < simple.tools
    {
        section.fault("medium", "must not be less than savings.simple in any part");
    }
    let both = |name: &&String| savings.interactive.contains(name);
    if let Some(name) = savings.headless.iter().find(both) {
        section.fault(
            "headless",
            &format!("{name} is in savings.interactive, too: it can be in one of them"),
        );
    }
    savings
}

fn bounds(value: &Value) -> Converted<Bounds> {
    let Value::Table(table) = value else {
        return must_be("{context_tokens, output_tokens, tools}", value);
    };
    let mut row = Row::new(table);
    let numbers =
        ["context_tokens", "output_tokens", "tools"].map(|key| (key, row.optional_number(key)));
    for (key, number) in numbers {
        if number.is_none() && !table.contains_key(key) {
            row.problem(key, "is needed");
        }
    }
    let problems = row.finish();
    let [context_tokens, output_tokens, tools] = numbers.map(|(_, number)| number.unwrap_or(0));
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Bounds {
        context_tokens,
        output_tokens,
        tools: u32::try_from(tools).unwrap_or(u32::MAX),
    })
}

fn models(value: &Value) -> Converted<[Vec<Box<str>>; 3]> {
    let Value::Table(table) = value else {
        return must_be(
            "a table of lists of models by simple, medium and complex",
            value,
        );
    };
    let mut models = [const { Vec::new() }; 3];
    let mut problems = Vec::new();
    for (name, value) in table {
        let at = format!(".{name}");
        let Some(complexity) = Complexity::parse(name) else {
            problems.push(Problem::new(at, "must be simple, medium or complex"));
            continue;
        };
        match texts(value) {
            Ok(names) => {
                models[complexity as usize] = names.into_iter().map(Into::into).collect();
            }
            Err(faults) => problems.extend(faults.into_iter().map(|fault| fault.at(&at))),
        }
    }
    if problems.is_empty() {
        Ok(models)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};

    #[test]
    fn faults_name_the_setting_and_the_mend() {
        let text = r#"
            [savings]
            simple = {context_tokens = 5000, output_tokens = "few"}
            medium = {context_tokens = 1, output_tokens = 1, tools = 1, turns = 2}
            models = {simple = "claude-haiku-5-5", hard = []}
            headless = ["ci", ""]
        "#;
        let faults = Config::parse(text, &Environment::default()).unwrap_err().0;
        assert_eq!(
            faults,
            [
                "savings.simple.output_tokens: must be a whole number, got few",
                "savings.simple.tools: is needed",
                "savings.medium.turns: unknown key",
                "savings.models.hard: must be simple, medium or complex",
                "savings.models.simple: must be a list of texts, got claude-haiku-5-5",
                "savings.headless[1]: must not be empty",
            ]
        );
    }

    #[test]
    fn rules_must_not_contradict_each_other() {
        let text = r#"
            [savings]
            medium = {context_tokens = 31999, output_tokens = 4000, tools = 8}
            headless = ["cli"]
        "#;
        let faults = Config::parse(text, &Environment::default()).unwrap_err().0;
        assert_eq!(
            faults,
            [
                "savings.medium: must not be less than savings.simple in any part",
                "savings.headless: cli is in savings.interactive, too: it can be in one of them",
            ]
        );
    }

    #[test]
    fn a_complexity_without_models_has_none() {
        let text = r#"
            [savings]
            models = {simple = ["claude-haiku-4-5"]}
        "#;
        let config = Config::parse(text, &Environment::default()).unwrap();
        let haiku: Box<str> = "claude-haiku-4-5".into();
        let expected = [vec![haiku], Vec::new(), Vec::new()];
        assert_eq!(config.savings.rules.models, expected);
    }
}
