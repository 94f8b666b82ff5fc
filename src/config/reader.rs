//! Reads settings from file, environment and defaults, and gathers every fault on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::{Table, Value};

use super::environment::Environment;
use super::setting::{Section, Setting, Shown, parse_value, part_of_variable, variable};

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
    /// What each setting was resolved to, by `section.key`, for [`super::Config::changes`].
    values: BTreeMap<String, Value>,
    /// Variables that gave a value.
    read_variables: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: Table, environment: &'a Environment) -> Self {
        Self {
            file,
            environment,
            faults: Vec::new(),
            values: BTreeMap::new(),
            read_variables: BTreeSet::new(),
        }
    }

    pub(super) fn section(&mut self, section: &'static Section) -> SectionReader<'_, 'a> {
        SectionReader {
            section,
            path: section.name.to_owned(),
            reader: self,
        }
    }

    /// One of the tables `[section.NAME]`.
    pub(super) fn named_section(
        &mut self,
        section: &'static Section,
        name: &str,
    ) -> SectionReader<'_, 'a> {
        SectionReader {
            section,
            path: format!("{}.{name}", section.name),
            reader: self,
        }
    }

    /// The names under a section of which there can be many, sorted: those in the file, and those
    /// that the environment makes by giving them the key `mark`.
    pub(super) fn names(&mut self, section: &'static Section, mark: &str) -> Vec<String> {
        let mut names = BTreeSet::new();
        if let Some(Value::Table(table)) = self.file.get(section.name) {
            names.extend(table.keys().cloned());
        }
        let (prefix, suffix) = (
            variable(section.name, ""),
            format!("_{mark}").to_uppercase(),
        );
        for variable in self.environment.names() {
            let name = variable.strip_prefix(&prefix);
            let Some(name) = name.and_then(|name| name.strip_suffix(&suffix)) else {
                continue;
            };
            let known = names.iter().any(|known| part_of_variable(known) == name);
            if !name.is_empty() && !known {
                names.insert(name.to_lowercase());
            }
        }
        let (good, bad): (_, Vec<_>) = names.into_iter().partition(|name| is_name(name));
        for name in bad {
            self.faults.push(format!(
                "{}.{name}: a name has up to {MAX_NAME} lower-case letters, digits, - and _",
                section.name
            ));
        }
        good
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Ends the reading: the resolved values, or all faults.
    pub(super) fn finish(
        mut self,
        sections: &[&'static Section],
        named: &[&'static Section],
    ) -> Result<BTreeMap<String, Value>, Faults> {
        self.refuse_unknown_keys(sections, named);
        self.refuse_unknown_variables(sections, named);
        if self.faults.is_empty() {
            Ok(self.values)
        } else {
            Err(Faults(self.faults))
        }
    }

    fn refuse_unknown_keys(&mut self, sections: &[&'static Section], named: &[&'static Section]) {
        let file = std::mem::take(&mut self.file);
        for (name, value) in &file {
            let of = |sections: &[&'static Section]| {
                let mut sections = sections.iter().copied();
                sections.find(|section| section.name == name)
            };
            match (of(sections), of(named), value) {
                (Some(section), _, Value::Table(table)) => {
                    self.refuse_unknown_keys_of(section, name, table);
                }
                (None, Some(section), Value::Table(tables)) => {
                    for (inner, value) in tables {
                        let path = format!("{name}.{inner}");
                        match value {
                            Value::Table(table) => {
                                self.refuse_unknown_keys_of(section, &path, table);
                            }
                            _ => self
                                .faults
                                .push(format!("{path}: must be a section, written [{path}]")),
                        }
                    }
                }
                (None, None, _) => {
                    let known = sections.iter().chain(named).map(|section| section.name);
                    self.faults
                        .push(format!("{name}: unknown section{}", nearest(name, known)));
                }
                _ => self
                    .faults
                    .push(format!("{name}: must be a section, written [{name}]")),
            }
        }
        self.file = file;
    }

    fn refuse_unknown_keys_of(&mut self, section: &'static Section, path: &str, table: &Table) {
        for key in table.keys().filter(|key| section.setting(key).is_none()) {
            let known = section.settings.iter().map(|setting| setting.key);
            self.faults
                .push(format!("{path}.{key}: unknown key{}", nearest(key, known)));
        }
    }

    fn refuse_unknown_variables(
        &mut self,
        sections: &[&'static Section],
        named: &[&'static Section],
    ) {
        for name in self.environment.names() {
            let concerned = sections
                .iter()
                .chain(named)
                .filter(|section| name.starts_with(&variable(section.name, "")))
                // A section's name may begin with that of another.
                .max_by_key(|section| section.name.len());
            let Some(section) = concerned else {
                // Programs beside tallyd may have variables of their own with its name.
                let word = name.trim_start_matches("TALLYD_").split_once('_');
                let word = word.map_or_else(String::new, |(word, _)| word.to_lowercase());
                let mut all = sections.iter().chain(named).map(|section| section.name);
                if let Some(near) = all.find(|known| distance(&word, known) == 1) {
                    let fault = format!("{name}: no such section; did you mean {near}?");
                    self.faults.push(fault);
                }
                continue;
            };
            let mut keys = section.settings.iter().map(|setting| setting.key);
            let known = if named.iter().any(|named| named.name == section.name) {
                // Read for one of its tables, or not at all.
                self.read_variables.contains(name)
            } else {
                keys.any(|key| variable(section.name, key) == name)
            };
            if !known && !is_service_link(name) {
                self.faults
                    .push(format!("{name}: no such setting in [{}]", section.name));
            }
        }
    }
}

/// Longest name of a table of which there can be many: it is a label of metrics.
const MAX_NAME: usize = 40;

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(allowed)
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
    /// As the file names it: `notify.ops`.
    path: String,
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
                    let name = format!("{}.{}", self.path, setting.key);
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
        let path = &self.path;
        self.reader.fault(format!("{path}.{key}: {message}"));
    }

    /// True if the file, not the environment, gives a setting.
    pub(super) fn is_in_file(&self, key: &str) -> bool {
        let overridden = self.reader.environment.get(&variable(&self.path, key));
        overridden.is_none() && self.table().is_some_and(|table| table.get(key).is_some())
    }

    /// The variable that overrides a setting.
    pub(super) fn variable(&self, key: &str) -> String {
        variable(&self.path, key)
    }

    fn table(&self) -> Option<&Value> {
        let mut parts = self.path.split('.');
        let section = self.reader.file.get(parts.next()?);
        parts.try_fold(section?, |table, part| table.get(part))
    }

    pub(super) const fn environment(&self) -> &Environment {
        self.reader.environment
    }

    /// Environment before file before default; `None` after a fault.
    fn resolve(&mut self, setting: &'static Setting) -> Option<Value> {
        let default = setting.default_value();
        let name = variable(&self.path, setting.key);
        if let Some(text) = self.reader.environment.get(&name) {
            let value = from_variable(text, &default);
            self.reader.read_variables.insert(name.clone());
            return match value {
                Ok(value) => Some(value),
                Err(message) => {
                    let (path, key) = (&self.path, setting.key);
                    self.reader
                        .fault(format!("{path}.{key}: {message} (from {name})"));
                    None
                }
            };
        }
        let value = self.table().and_then(|table| table.get(setting.key));
        Some(value.cloned().unwrap_or(default))
    }

    fn report(&mut self, setting: &Setting, problems: Vec<Problem>) {
        let name = variable(&self.path, setting.key);
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
                self.path, setting.key, problem.at, problem.message
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
