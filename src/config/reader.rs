//! Reads settings from file, environment and defaults, and gathers every fault on the way.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::environment::Environment;
use super::setting::{Section, Setting, Shown, parse_value, variable};

/// Everything that is wrong with a configuration, a line each, in the user's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// What is wrong with one value. `at` leads into lists and tables: `[0].hash`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub at: String,
    pub message: String,
    /// The value itself; left out of the fault where it may be secret.
    pub got: Option<String>,
}

impl Problem {
    pub(super) fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            message: message.into(),
            got: None,
        }
    }

    pub(super) fn at(self, at: &str) -> Self {
        Self {
            at: format!("{at}{}", self.at),
            ..self
        }
    }
}

/// The result of converting one value.
pub(super) type Converted<T> = Result<T, Vec<Problem>>;

/// Says what a value must be.
pub(super) fn must_be<T>(expected: &str, value: &Value) -> Converted<T> {
    Err(vec![Problem {
        at: String::new(),
        message: format!("must be {expected}"),
        got: Some(show(value)),
    }])
}

/// A value as a person would write it: text without quotes.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reads one configuration.
pub(super) struct Reader<'a> {
    file: Table,
    environment: &'a Environment,
    faults: Vec<String>,
    /// What each setting was resolved to, for [`super::Config::changes`].
    values: BTreeMap<(&'static str, &'static str), Value>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: Table, environment: &'a Environment) -> Self {
        Self {
            file,
            environment,
            faults: Vec::new(),
            values: BTreeMap::new(),
        }
    }

    pub(super) fn section(&mut self, section: &'static Section) -> SectionReader<'_, 'a> {
        SectionReader {
            section,
            reader: self,
        }
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Ends the reading: the resolved values, or all faults.
    pub(super) fn finish(
        mut self,
        sections: &[&'static Section],
    ) -> Result<BTreeMap<(&'static str, &'static str), Value>, Faults> {
        self.refuse_unknown_keys(sections);
        self.refuse_unknown_variables(sections);
        if self.faults.is_empty() {
            Ok(self.values)
        } else {
            Err(Faults(self.faults))
        }
    }

    fn refuse_unknown_keys(&mut self, sections: &[&'static Section]) {
        for (name, value) in &self.file {
            let Some(section) = sections.iter().find(|section| section.name == name) else {
                let known = sections.iter().map(|section| section.name);
                self.faults
                    .push(format!("{name}: unknown section{}", nearest(name, known)));
                continue;
            };
            let Value::Table(table) = value else {
                self.faults
                    .push(format!("{name}: must be a section, written [{name}]"));
                continue;
            };
            for key in table.keys().filter(|key| section.setting(key).is_none()) {
                let known = section.settings.iter().map(|setting| setting.key);
                self.faults
                    .push(format!("{name}.{key}: unknown key{}", nearest(key, known)));
            }
        }
    }

    fn refuse_unknown_variables(&mut self, sections: &[&'static Section]) {
        for name in self.environment.names() {
            let concerned = sections
                .iter()
                .find(|section| name.starts_with(&variable(section.name, "")));
            let Some(section) = concerned else { continue };
            let mut keys = section.settings.iter().map(|setting| setting.key);
            let known = keys.any(|key| variable(section.name, key) == name);
            if !known && !is_service_link(name) {
                self.faults
                    .push(format!("{name}: no such setting in [{}]", section.name));
            }
        }
    }
}

/// Kubernetes gives each container such variables for every service: one for a service named
/// `tallyd-metrics` must not stop the daemon.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}

/// Suggests the known name that a mistyped one is closest to.
fn nearest(wrong: &str, known: impl Iterator<Item = &'static str>) -> String {
    known
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .min()
        .map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"))
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Reads the keys of one section.
pub(super) struct SectionReader<'r, 'a> {
    section: &'static Section,
    reader: &'r mut Reader<'a>,
}

impl SectionReader<'_, '_> {
    /// Reads one setting. After a fault the default stands in, so that reading goes on.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&Value) -> Converted<T>,
    ) -> T {
        let setting = self
            .section
            .setting(key)
            .expect("every key that is read is in the table of its section");
        if let Some(value) = self.resolve(setting) {
            match convert(&value) {
                Ok(converted) => {
                    let name = (self.section.name, setting.key);
                    self.reader.values.insert(name, value);
                    return converted;
                }
                Err(problems) => self.report(setting, problems),
            }
        }
        convert(&setting.default_value()).expect("defaults are valid, a test reads them all")
    }

    /// The settings' text, `None` when it is empty.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        let text = self.get(key, super::value::text);
        (!text.is_empty()).then_some(text)
    }

    /// Adds a fault about a setting that was read.
    pub(super) fn fault(&mut self, key: &str, message: &str) {
        let name = self.section.name;
        self.reader.fault(format!("{name}.{key}: {message}"));
    }

    pub(super) const fn environment(&self) -> &Environment {
        self.reader.environment
    }

    /// Environment before file before default; `None` after a fault.
    fn resolve(&mut self, setting: &'static Setting) -> Option<Value> {
        let default = setting.default_value();
        let name = variable(self.section.name, setting.key);
        if let Some(text) = self.reader.environment.get(&name) {
            return match from_variable(text, &default) {
                Ok(value) => Some(value),
                Err(message) => {
                    let section = self.section.name;
                    let key = setting.key;
                    self.reader
                        .fault(format!("{section}.{key}: {message} (from {name})"));
                    None
                }
            };
        }
        let section = self.reader.file.get(self.section.name);
        let value = section.and_then(|section| section.get(setting.key));
        Some(value.cloned().unwrap_or(default))
    }

    fn report(&mut self, setting: &Setting, problems: Vec<Problem>) {
        let name = variable(self.section.name, setting.key);
        let origin = match self.reader.environment.get(&name) {
            Some(_) => format!(" (from {name})"),
            None => String::new(),
        };
        for problem in problems {
            let got = match problem.got {
                Some(got) if setting.shown == Shown::Plain => format!(", got {got}"),
                _ => String::new(),
            };
            self.reader.fault(format!(
                "{}.{}{}: {}{got}{origin}",
                self.section.name, setting.key, problem.at, problem.message
            ));
        }
    }
}

/// Reads a variable as the type that the default has.
fn from_variable(text: &str, default: &Value) -> Result<Value, &'static str> {
    let toml = |text: &str, message| parse_value(text.trim()).map_err(|_| message);
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Array(_) if text.trim_start().starts_with('[') => {
            toml(text, "must be a list such as [\"a\", \"b\"]")
        }
        Value::Array(_) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Ok(Value::Array(
                items.map(|item| Value::String(item.to_owned())).collect(),
            ))
        }
        Value::Table(_) => toml(text, "must be a table such as {name = \"value\"}"),
        Value::Boolean(_) => toml(text, "must be true or false"),
        _ => toml(text, "must be a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_gets_a_suggestion() {
        let known = || ["period", "timeout", "system"].into_iter();
        assert_eq!(nearest("perod", known()), "; did you mean period?");
        assert_eq!(nearest("colour", known()), "");
    }

    #[test]
    fn variables_take_the_type_of_the_default() {
        let list = Value::Array(Vec::new());
        let expected = parse_value(r#"["a", "b"]"#).unwrap();
        assert_eq!(from_variable("a, b", &list), Ok(expected.clone()));
        assert_eq!(from_variable(r#"["a", "b"]"#, &list), Ok(expected));
        assert_eq!(
            from_variable("12", &Value::Integer(0)),
            Ok(Value::Integer(12))
        );
        assert_eq!(
            from_variable("yes", &Value::Boolean(true)),
            Err("must be true or false")
        );
        assert_eq!(
            from_variable("12", &Value::String(String::new())),
            Ok(Value::String("12".to_owned()))
        );
    }
}
