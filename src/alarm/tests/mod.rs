//! Templates in, alarms or faults out; stories.

mod bad_input;
mod rounds;
mod shipped;
mod stories;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::model::alarm::{Actions, Alarm, Comparison, MissingData, Statistic};

fn given(parameters: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    parameters.iter().map(owned).collect()
}

fn read_text(text: &str, parameters: &[(&str, &str)]) -> Result<AlarmSet, Vec<String>> {
    let files = [(PathBuf::from("a.yaml"), text.to_owned())];
    let told = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
    read(&files, &given(parameters)).map_err(told)
}

/// A template with one alarm of these properties, two spaces a level; they begin in line 5.
fn template(properties: &str) -> String {
    let mut text =
        "Resources:\n  A:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n".to_owned();
    for line in properties.lines() {
        text.extend(["      ", line, "\n"]);
    }
    text
}

const GOOD: &str = "AlarmName: errors
Namespace: ClaudeCode/Enterprise
MetricName: error_rate
Statistic: Average
Period: 300
EvaluationPeriods: 2
Threshold: 5
ComparisonOperator: GreaterThanThreshold";

/// The faults of the good alarm with one property replaced or added.
fn with(property: &str, value: &str) -> Vec<String> {
    let kept = GOOD
        .lines()
        .filter(|line| !line.starts_with(&format!("{property}:")));
    let mut lines: Vec<String> = kept.map(str::to_owned).collect();
    lines.push(format!("{property}: {value}"));
    read_text(&template(&lines.join("\n")), &[])
        .err()
        .unwrap_or_default()
}
