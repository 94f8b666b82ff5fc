//! Reads CloudFormation templates into a set of alarms.
//!
//! Resources of other types are passed over, so that a template may hold the topic to which its
//! alarms speak. What is not understood of an alarm is a fault: an alarm that is half read would
//! be silent when it should not be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::define::{Measured, define};
use super::fault::{Fault, Faults, hint, is_near};
use super::resolve::Resolver;
use super::scope::Scope;
use super::yaml::{self, Entry, Node, Value};
use crate::model::alarm::Alarm;

/// Alarms of all files together; a stack has at most 500 resources.
pub const MAX_ALARMS: usize = 500;

const ALARM: &str = "AWS::CloudWatch::Alarm";

/// The types of CloudWatch's resources. A misspelt one would take an alarm away in silence.
const KINDS: [&str; 7] = [
    ALARM,
    "AWS::CloudWatch::AlarmMuteRule",
    "AWS::CloudWatch::AnomalyDetector",
    COMPOSITE,
    "AWS::CloudWatch::Dashboard",
    "AWS::CloudWatch::InsightRule",
    "AWS::CloudWatch::MetricStream",
];

const COMPOSITE: &str = "AWS::CloudWatch::CompositeAlarm";

/// What SNS can deliver by. There is no `slack`, though linters accept it.
const PROTOCOLS: [&str; 9] = [
    "http",
    "https",
    "email",
    "email-json",
    "sms",
    "sqs",
    "application",
    "lambda",
    "firehose",
];

/// The alarms of some templates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlarmSet {
    /// By file, in the order of each.
    pub alarms: Vec<Alarm>,
    /// Where each alarm is defined, by its name.
    pub origins: BTreeMap<String, Origin>,
    /// The values that parameters were given.
    pub parameters: BTreeMap<String, String>,
    /// What is no fault, but may be meant otherwise.
    pub warnings: Vec<Fault>,
}

/// Where an alarm is defined, and what its template says of it besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub file: PathBuf,
    pub line: usize,
    /// The name of the resource in its template.
    pub logical_id: String,
    pub tags: BTreeMap<String, String>,
}

impl AlarmSet {
    /// Finds an alarm by name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Alarm> {
        self.alarms.iter().find(|alarm| alarm.name == name)
    }
}

/// Reads templates, each with its text. Parameters that are not given have their defaults;
/// `AWS::Region` and the like can be given as well.
///
/// Errors: everything that is wrong with any of the files.
pub fn read(
    files: &[(PathBuf, String)],
    parameters: &BTreeMap<String, String>,
) -> Result<AlarmSet, Vec<Fault>> {
    read_measured(files, parameters, &Measured::default())
}

/// As [`read`], where it is known what is measured.
pub fn read_measured(
    files: &[(PathBuf, String)],
    parameters: &BTreeMap<String, String>,
    measured: &Measured,
) -> Result<AlarmSet, Vec<Fault>> {
    let mut set = AlarmSet {
        parameters: parameters.clone(),
        ..AlarmSet::default()
    };
    let mut all = Vec::new();
    let mut known = BTreeSet::new();
    let mut has_alarms = false;
    for (file, text) in files {
        let mut faults = Faults::new(file);
        match yaml::parse(text) {
            Ok(root) => {
                known.extend(parameter_names(&root));
                has_alarms |= defines_alarms(&root);
                read_template(&root, file, measured, &mut set, &mut faults);
            }
            Err(broken) => faults.add(broken.line, "", broken.message),
        }
        all.extend(faults.into_list());
    }
    if all.is_empty() {
        all.extend(strangers(files, parameters, &known));
    }
    if all.is_empty() && !has_alarms {
        all.push(Fault {
            file: first(files),
            line: 1,
            property: "Resources".to_owned(),
            message: format!("no template has an {ALARM}, so nothing would be watched"),
        });
    }
    if all.is_empty() { Ok(set) } else { Err(all) }
}

fn first(files: &[(PathBuf, String)]) -> PathBuf {
    let first = files.first().map(|(file, _)| file.clone());
    first.unwrap_or_default()
}

/// True if a template has alarms, even if its conditions leave out all of them.
fn defines_alarms(root: &Node) -> bool {
    let section = root.get("Resources").and_then(|entry| entry.node.map());
    let mut kinds = section
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| entry.node.get("Type")?.node.text());
    kinds.any(|kind| kind == ALARM)
}

fn parameter_names(root: &Node) -> Vec<String> {
    let section = root.get("Parameters").and_then(|entry| entry.node.map());
    let entries = section.unwrap_or_default();
    entries.iter().map(|entry| entry.key.clone()).collect()
}

/// Faults for values of parameters that no template has.
fn strangers(
    files: &[(PathBuf, String)],
    parameters: &BTreeMap<String, String>,
    known: &BTreeSet<String>,
) -> Vec<Fault> {
    let file = first(files);
    let strangers = parameters
        .keys()
        .filter(|name| !known.contains(*name) && !name.starts_with("AWS::"));
    strangers
        .map(|name| Fault {
            file: file.clone(),
            line: 1,
            property: format!("Parameters.{name}"),
            message: format!(
                "is given a value, but no template has it{}",
                hint(name, known.iter().map(String::as_str))
            ),
        })
        .collect()
}

fn read_template(
    root: &Node,
    file: &Path,
    measured: &Measured,
    set: &mut AlarmSet,
    faults: &mut Faults,
) {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let given = set.parameters.clone();
    let scope = Scope::read(root, &given, &stem, faults);
    let mut resolver = Resolver::new(&scope, faults);
    for entry in scope.resources {
        let Some(kind) = entry.node.get("Type").and_then(|kind| kind.node.text()) else {
            let property = format!("Resources.{}.Type", entry.key);
            resolver.faults.add(entry.line, &property, "is needed");
            continue;
        };
        check_dependencies(entry, &mut resolver, &scope);
        match kind {
            ALARM => read_alarm(entry, &mut resolver, file, measured, set),
            COMPOSITE => {
                let message = "composite alarms are not supported: what one comparison cannot \
                               say is there as a ready gauge";
                resolver.faults.add(entry.line, &entry.key, message);
            }
            "AWS::SNS::Subscription" | "AWS::SNS::Topic" => {
                check_protocols(&entry.node, resolver.faults);
            }
            _ => check_kind(kind, entry, resolver.faults),
        }
    }
}

/// Finds misspelt types of CloudWatch's resources. Types of others are passed over.
fn check_kind(kind: &str, entry: &Entry, faults: &mut Faults) {
    let is_cloudwatch = kind.to_lowercase().starts_with("aws::cloudwatch::");
    if KINDS.contains(&kind) || !(is_cloudwatch || is_near(kind, ALARM)) {
        return;
    }
    let line = entry.node.get("Type").map_or(entry.line, |kind| kind.line);
    let property = format!("Resources.{}.Type", entry.key);
    let message = format!("{kind} is no type of CloudFormation{}", hint(kind, KINDS));
    faults.add(line, &property, message);
}

/// Finds resources that another one waits for and that are not there.
fn check_dependencies(entry: &Entry, resolver: &mut Resolver<'_>, scope: &Scope<'_>) {
    let Some(depends) = entry.node.get("DependsOn") else {
        return;
    };
    let property = format!("{}.DependsOn", entry.key);
    let one = std::slice::from_ref(&depends.node);
    for node in depends.node.list().unwrap_or(one) {
        match node.text() {
            Some(name) if scope.is_resource(name) => {}
            Some(name) => {
                let message = format!("{name} is no resource{}", scope.hint_of_resource(name));
                resolver.faults.add(node.line, &property, message);
            }
            None => {
                let message = "must be the name of a resource";
                resolver.faults.add(node.line, &property, message);
            }
        }
    }
}

/// What a resource may have beside its type and properties.
const ATTRIBUTES: [&str; 7] = [
    "Type",
    "Properties",
    "Condition",
    "DependsOn",
    "Metadata",
    "DeletionPolicy",
    "UpdateReplacePolicy",
];

fn read_alarm(
    entry: &Entry,
    resolver: &mut Resolver<'_>,
    file: &Path,
    measured: &Measured,
    set: &mut AlarmSet,
) {
    let id = &entry.key;
    for attribute in entry.node.map().unwrap_or_default() {
        if !ATTRIBUTES.contains(&attribute.key.as_str()) {
            let property = format!("{id}.{}", attribute.key);
            let message = format!(
                "is no attribute of a resource{}",
                hint(&attribute.key, ATTRIBUTES)
            );
            resolver.faults.add(attribute.line, &property, message);
        }
    }
    if let Some(condition) = entry.node.get("Condition") {
        let name = condition.node.text().unwrap_or_default();
        // A condition that cannot be told has told its fault.
        if resolver.holds(name, condition.line, &format!("{id}.Condition")) != Some(true) {
            return;
        }
    }
    let Some(properties) = entry.node.get("Properties") else {
        resolver
            .faults
            .add(entry.line, &format!("{id}.Properties"), "is needed");
        return;
    };
    let known = resolver.value(&properties.node, "");
    let Some(defined) = define(&known, measured, resolver.faults) else {
        return;
    };
    let name = defined.alarm.name.clone();
    let line = properties
        .node
        .get("AlarmName")
        .map_or(entry.line, |name| name.line);
    if let Some(first) = set.origins.get(&name) {
        let (first_file, first_line) = (first.file.display(), first.line);
        let message = format!("{name} is defined already, at {first_file}:{first_line}");
        resolver.faults.add(line, "AlarmName", message);
        return;
    }
    if set.alarms.len() >= MAX_ALARMS {
        let message = format!("there are more than {MAX_ALARMS} alarms");
        resolver.faults.add(entry.line, id, message);
        return;
    }
    let origin = Origin {
        file: file.to_owned(),
        line,
        logical_id: id.clone(),
        tags: defined.tags,
    };
    if let Some((property, message)) = defined.warning {
        let at = properties.node.get(property);
        set.warnings.push(Fault {
            file: file.to_owned(),
            line: at.map_or(line, |entry| entry.line),
            property: property.to_owned(),
            message,
        });
    }
    set.origins.insert(name, origin);
    set.alarms.push(defined.alarm);
}

/// Finds protocols that SNS does not have, wherever they stand in a resource.
fn check_protocols(node: &Node, faults: &mut Faults) {
    match &node.value {
        Value::Text { .. } => {}
        Value::List(items) => {
            for item in items {
                check_protocols(item, faults);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                match entry.node.text() {
                    Some(protocol) if entry.key == "Protocol" && entry.node.tag.is_none() => {
                        if !PROTOCOLS.contains(&protocol) {
                            let message = format!(
                                "SNS has no protocol {protocol}; it has {}",
                                PROTOCOLS.join(", ")
                            );
                            faults.add(entry.line, "Protocol", message);
                        }
                    }
                    _ => check_protocols(&entry.node, faults),
                }
            }
        }
    }
}
