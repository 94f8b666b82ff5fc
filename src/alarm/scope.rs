//! What names stand for in a template: parameters, pseudo parameters, resources, conditions.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{Faults, hint};
use super::resolve::{Known, Shape};
use super::yaml::{Entry, Node};

/// Sections of a template that say nothing about alarms.
const PASSED_OVER: [&str; 6] = [
    "AWSTemplateFormatVersion",
    "Description",
    "Metadata",
    "Outputs",
    "Rules",
    "Hooks",
];

const SECTIONS: [&str; 4] = ["Parameters", "Mappings", "Conditions", "Resources"];

/// Bytes of a parameter's value, as in CloudFormation.
const MAX_PARAMETER_BYTES: usize = 4096;

/// The names of one template.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub parameters: BTreeMap<&'a str, Known>,
    pub conditions: BTreeMap<&'a str, &'a Node>,
    pub mappings: Option<&'a Node>,
    pub resources: &'a [Entry],
    names: BTreeSet<&'a str>,
}

impl<'a> Scope<'a> {
    /// No names at all: what stands outside a template.
    pub(super) const fn empty() -> Self {
        Self {
            parameters: BTreeMap::new(),
            conditions: BTreeMap::new(),
            mappings: None,
            resources: &[],
            names: BTreeSet::new(),
        }
    }

    /// Reads all but the resources themselves. `given` are the values of parameters by name,
    /// `stack` is the name of the stack unless it is given.
    pub(super) fn read(
        root: &'a Node,
        given: &BTreeMap<String, String>,
        stack: &str,
        faults: &mut Faults,
    ) -> Self {
        let section = |name: &str| root.get(name).map(|entry| &entry.node);
        let entries = |name: &str, faults: &mut Faults| -> &'a [Entry] {
            match section(name) {
                None => &[],
                Some(node) if node.is_null() => &[],
                Some(node) => node.map().unwrap_or_else(|| {
                    faults.add(
                        node.line,
                        name,
                        format!("must be a map, got {}", node.kind()),
                    );
                    &[]
                }),
            }
        };
        check_sections(root, faults);
        let resources = entries("Resources", faults);
        let mut parameters = pseudo(given, stack);
        for entry in entries("Parameters", faults) {
            parameters.insert(&entry.key, parameter(entry, given, faults));
        }
        let conditions = entries("Conditions", faults);
        Self {
            parameters,
            conditions: conditions
                .iter()
                .map(|entry| (entry.key.as_str(), &entry.node))
                .collect(),
            mappings: section("Mappings"),
            resources,
            names: resources.iter().map(|entry| entry.key.as_str()).collect(),
        }
    }

    pub(super) fn is_resource(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The type of a resource.
    pub(super) fn kind(&self, name: &str) -> Option<&'a str> {
        let entry = self.resources.iter().find(|entry| entry.key == name)?;
        entry.node.get("Type")?.node.text()
    }

    /// The nearest resource, as a hint.
    pub(super) fn hint_of_resource(&self, wrong: &str) -> String {
        hint(wrong, self.names.iter().copied())
    }

    /// The nearest parameter or resource, as a hint.
    pub(super) fn hint(&self, wrong: &str) -> String {
        let known = self.parameters.keys().copied();
        hint(wrong, known.chain(self.names.iter().copied()))
    }
}

fn check_sections(root: &Node, faults: &mut Faults) {
    let Some(sections) = root.map() else {
        let message = format!(
            "a template must be a map with Resources, got {}",
            root.kind()
        );
        faults.add(root.line, "", message);
        return;
    };
    for entry in sections {
        let name = entry.key.as_str();
        if name == "Transform" {
            faults.add(
                entry.line,
                name,
                "macros are not expanded: give the expanded template",
            );
        } else if !SECTIONS.contains(&name) && !PASSED_OVER.contains(&name) {
            let known = SECTIONS.into_iter().chain(PASSED_OVER);
            let message = format!("is no section of a template{}", hint(name, known));
            faults.add(entry.line, name, message);
        }
    }
    if root.get("Resources").is_none() {
        faults.add(root.line, "Resources", "is needed");
    }
}

/// Pseudo parameters: what only the account knows is left to it unless it is given.
fn pseudo<'a>(given: &BTreeMap<String, String>, stack: &str) -> BTreeMap<&'a str, Known> {
    let known = [
        ("AWS::Region", None),
        ("AWS::AccountId", None),
        ("AWS::StackId", None),
        ("AWS::StackName", Some(stack)),
        ("AWS::Partition", Some("aws")),
        ("AWS::URLSuffix", Some("amazonaws.com")),
    ];
    let mut values = BTreeMap::new();
    for (name, default) in known {
        let value = given.get(name).map(String::as_str).or(default);
        let shape = match value {
            Some(value) => Shape::Text(value.to_owned()),
            None => Shape::Deferred(format!("${{{name}}}")),
        };
        values.insert(name, Known { line: 0, shape });
    }
    values
}

/// The value of a parameter: the one that is given, else its default, else left to the account.
fn parameter(entry: &Entry, given: &BTreeMap<String, String>, faults: &mut Faults) -> Known {
    let name = &entry.key;
    let property = format!("Parameters.{name}");
    let attribute = |key: &str| entry.node.get(key).map(|entry| &entry.node);
    let known = |shape| Known {
        line: entry.line,
        shape,
    };
    let Some(kind) = attribute("Type").and_then(Node::text) else {
        faults.add(entry.line, &format!("{property}.Type"), "is needed");
        return known(Shape::Faulty);
    };
    let value = match (given.get(name), attribute("Default")) {
        (Some(value), _) => value.clone(),
        (None, Some(default)) => {
            let Some(text) = default.text() else {
                let message = format!("must be a text, got {}", default.kind());
                faults.add(default.line, &format!("{property}.Default"), message);
                return known(Shape::Faulty);
            };
            text.to_owned()
        }
        (None, None) => return known(Shape::Deferred(format!("${{{name}}}"))),
    };
    if value.len() > MAX_PARAMETER_BYTES {
        let message = format!("must have at most {MAX_PARAMETER_BYTES} bytes");
        faults.add(entry.line, &property, message);
        return known(Shape::Faulty);
    }
    // The value of such a parameter is the name under which the account keeps the real one.
    if kind.starts_with("AWS::SSM::Parameter::Value") && !given.contains_key(name) {
        return known(Shape::Deferred(format!("${{{name}}}")));
    }
    let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
    let values: Vec<&str> = if is_list {
        value.split(',').map(str::trim).collect()
    } else {
        vec![&value]
    };
    let before = faults.len();
    for value in &values {
        check(
            value,
            kind.contains("Number"),
            &entry.node,
            &property,
            faults,
        );
    }
    if faults.len() > before {
        return known(Shape::Faulty);
    }
    if !is_list {
        return known(Shape::Text(value));
    }
    let items = values
        .iter()
        .map(|value| known(Shape::Text((*value).to_owned())));
    known(Shape::List(items.collect()))
}

/// Holds a value against what the parameter allows. `AllowedPattern` is left to the account.
fn check(value: &str, is_number: bool, node: &Node, property: &str, faults: &mut Faults) {
    let bound = |key: &str| node.get(key)?.node.text()?.trim().parse::<f64>().ok();
    let line = node.get("Default").map_or(node.line, |entry| entry.line);
    if let Some(allowed) = node
        .get("AllowedValues")
        .and_then(|entry| entry.node.list())
    {
        let texts: Vec<&str> = allowed.iter().filter_map(Node::text).collect();
        if !texts.contains(&value) {
            let message = format!("must be one of {}, got {value}", texts.join(", "));
            faults.add(line, property, message);
            return;
        }
    }
    let (measured, least, most, what) = if is_number {
        match value.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => (number, "MinValue", "MaxValue", "must be"),
            _ => {
                faults.add(line, property, format!("must be a number, got {value}"));
                return;
            }
        }
    } else {
        let length = value.chars().count() as f64;
        (length, "MinLength", "MaxLength", "must have a length of")
    };
    if let Some(least) = bound(least).filter(|least| measured < *least) {
        faults.add(
            line,
            property,
            format!("{what} at least {least}, got {measured}"),
        );
    }
    if let Some(most) = bound(most).filter(|most| measured > *most) {
        faults.add(
            line,
            property,
            format!("{what} at most {most}, got {measured}"),
        );
    }
}
