//! The alarms that ship with tallyd: each has its stories, its rule and its section of the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::alarm::story::Story;
use crate::model::alarm::State;
use crate::model::minute;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn shipped() -> AlarmSet {
    let files = [(PathBuf::from(BUILT_IN_NAME), BUILT_IN.to_owned())];
    read(&files, &BTreeMap::new()).unwrap()
}

fn stories(set: &AlarmSet) -> Vec<Story> {
    let folder = Path::new(ROOT).join("alarms/stories");
    let mut stories = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        stories.extend(story::read(&file, &text, set).unwrap());
    }
    stories
}

#[test]
fn the_two_alarms_of_every_deployment_are_as_everyone_has_them() {
    let set = shipped();
    let told = |name: &str| {
        let alarm = set.find(name).unwrap();
        (
            (
                alarm.metric.clone(),
                alarm.statistic.name(),
                alarm.comparison.name(),
            ),
            (alarm.threshold, alarm.period_seconds),
            (alarm.evaluation_periods, alarm.datapoints_to_alarm),
        )
    };
    let as_is = |metric: &str, threshold: f64| {
        (
            (
                metric.to_owned(),
                "Average".to_owned(),
                "GreaterThanThreshold",
            ),
            (threshold, 300),
            (2, 2),
        )
    };
    assert_eq!(told("ClaudeCode-HighErrorRate"), as_is("error_rate", 5.0));
    assert_eq!(
        told("ClaudeCode-HighLatency"),
        as_is("response_time", 5_000.0)
    );
}

#[test]
fn thresholds_and_the_namespace_are_parameters() {
    let files = [(PathBuf::from(BUILT_IN_NAME), BUILT_IN.to_owned())];
    let parameters = given(&[("ErrorRateThreshold", "2.5"), ("Namespace", "Mine")]);
    let set = read_measured(
        &files,
        &parameters,
        &Measured {
            namespace: "Mine".to_owned(),
            ..Measured::default()
        },
    );
    let alarm = set
        .unwrap()
        .find("ClaudeCode-HighErrorRate")
        .unwrap()
        .clone();
    assert_eq!((alarm.threshold, &*alarm.namespace), (2.5, "Mine"));
    assert!(
        alarm.description.starts_with("More than 2.5 % of"),
        "{}",
        alarm.description
    );
}

#[test]
fn every_story_holds() {
    let failures = stories(&shipped())
        .into_iter()
        .filter_map(|story| story.failure());
    let failures: Vec<_> = failures.map(|failure| failure.to_string()).collect();
    assert_eq!(failures, [""; 0]);
}

#[test]
fn every_alarm_has_a_story_that_fires_one_that_does_not_and_one_without_data() {
    let set = shipped();
    let stories = stories(&set);
    for alarm in &set.alarms {
        let has = |kind: fn(&Story) -> bool| {
            stories
                .iter()
                .any(|story| story.alarm == *alarm && kind(story))
        };
        let fires =
            has(|story| story.previous != State::Alarm && story.expected.contains(&State::Alarm));
        let quiet =
            has(|story| !story.readings.contains(&None) && !story.expected.contains(&State::Alarm));
        let missing = has(|story| story.readings.contains(&None));
        assert!(
            fires && quiet && missing,
            "{}: {fires} {quiet} {missing}",
            alarm.name
        );
    }
}

#[test]
fn every_alarm_says_what_to_do_and_links_to_a_section_that_is_there() {
    let runbook = std::fs::read_to_string(Path::new(ROOT).join("docs/runbook.md")).unwrap();
    let sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/alarms.md")).unwrap();
    let set = shipped();
    let names: BTreeSet<_> = set.alarms.iter().map(|alarm| alarm.name.as_str()).collect();
    assert_eq!(sections, names);
    for alarm in &set.alarms {
        assert!(alarm.description.contains(" First: "), "{}", alarm.name);
        assert!(
            page.contains(&format!("| `{}` |", alarm.name)),
            "{}",
            alarm.name
        );
        let link = format!("docs/runbook.md#{}", alarm.name.to_lowercase());
        let runbook = alarm.runbook.clone().unwrap_or_default();
        assert!(runbook.ends_with(&link), "{}: {runbook}", alarm.name);
    }
}

#[test]
fn alarms_speak_to_a_topic_only_where_there_is_one() {
    let files = [(PathBuf::from(BUILT_IN_NAME), BUILT_IN.to_owned())];
    let actions = |parameters: &[(&str, &str)]| {
        let set = read(&files, &given(parameters)).unwrap();
        set.alarms[0].actions.alarm.clone()
    };
    let arn = "arn:aws:sns:eu-central-1:123456789012:alarms";
    assert_eq!(actions(&[]), [""; 0]);
    assert_eq!(actions(&[("TopicArn", arn)]), [arn]);
    assert_eq!(actions(&[("CreateTopic", "true")]), ["${Topic}"]);
}

/// CloudWatch keeps values of each unit apart; SNS cannot deliver to Slack, whatever linters say.
#[test]
fn the_template_has_neither_a_unit_nor_a_protocol_that_sns_does_not_have() {
    let lines = BUILT_IN
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let found: Vec<_> = lines
        .filter(|line| line.starts_with("Unit:") || line.contains("Protocol:"))
        .collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn the_rules_for_prometheus_are_current() {
    let path = Path::new(ROOT).join("alarms/prometheus.rules.yaml");
    let rendered = render::prometheus("claude-code", &shipped().alarms);
    assert_eq!(rendered.left_out, []);
    if std::env::var_os("TALLYD_BLESS").is_some() {
        std::fs::write(&path, &rendered.rules).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, rendered.rules, "rewrite with TALLYD_BLESS=1");
}

#[test]
fn every_metric_of_an_alarm_is_measured() {
    for alarm in shipped().alarms {
        assert!(minute::find(&alarm.metric).is_some(), "{}", alarm.name);
    }
}

/// promtool runs them; here is only seen that none is forgotten.
#[test]
fn every_rule_has_a_test_that_fires_and_one_that_does_not() {
    let path = Path::new(ROOT).join("alarms/prometheus.tests.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    for alarm in shipped().alarms {
        let name = alarm.name.trim_start_matches("ClaudeCode-");
        let begin = format!("\"{name}: ");
        let tests = text
            .split("  - name: ")
            .filter(|test| test.starts_with(&begin));
        let fires: Vec<_> = tests.map(|test| test.contains("value: 1")).collect();
        assert!(fires.contains(&true) && fires.contains(&false), "{name}");
    }
}
