//! Stories that hold, fail and are malformed.

use super::*;
use crate::alarm::story::{self, Story};

fn set() -> AlarmSet {
    read(&files(&[]).unwrap(), &BTreeMap::new()).unwrap()
}

fn told(text: &str) -> Vec<String> {
    match story::read("s.yaml".as_ref(), text, &set()) {
        Ok(stories) => {
            let failures = stories.iter().filter_map(Story::failure);
            failures.map(|failure| failure.to_string()).collect()
        }
        Err(faults) => faults.iter().map(|fault| format!("64 {fault}")).collect(),
    }
}

const STORY: &str = r#"- name: two breaching of three
  alarm: {MetricName: error_rate, Statistic: Average, Period: 60, EvaluationPeriods: 3, DatapointsToAlarm: 2, Threshold: 5, ComparisonOperator: GreaterThanThreshold, TreatMissingData: missing}
  previous: OK
  datapoints: {error_rate: "0 _ 9 _ 9"}
  expect: "OK OK OK OK ALARM"
"#;

#[test]
fn a_story_holds_or_tells_what_came_instead() {
    assert_eq!(told(STORY), [""; 0]);
    assert_eq!(
        told(&STORY.replace("OK OK OK OK ALARM", "OK OK ALARM OK ALARM")),
        [
            "s.yaml:1: two breaching of three: expected \"OK OK ALARM OK ALARM\", came \
          \"OK OK OK OK ALARM\", different from token 3 on"
        ]
    );
}

#[test]
fn a_story_may_name_a_shipped_alarm_and_begins_without_knowledge() {
    let text = "- name: a\n  alarm: ClaudeCode-HighLatency\n  \
                datapoints: {response_time: \"6000 6000 _ 10\"}\n  \
                expect: \"OK ALARM ALARM OK\"\n";
    assert_eq!(told(text), [""; 0]);
}

#[test]
fn percentiles_have_tokens_with_counts() {
    let text = "- name: p95\n  alarm: {MetricName: response_time, ExtendedStatistic: p95,
    EvaluateLowSampleCountPercentile: ignore, Period: 60, EvaluationPeriods: 1, Threshold: 5000,
    ComparisonOperator: GreaterThanThreshold}\n  previous: OK\n  datapoints:\n    response_time: \
                \"800*1000,9000*10 800*900,9000*100 9000 800*1000\"\n  expect: OK ALARM ALARM OK\n";
    assert_eq!(told(text), [""; 0]);
}

#[test]
fn what_is_malformed_is_told_with_its_line() {
    let cases = [
        (
            "expect: \"OK OK OK OK ALARM\"",
            "expect: OK",
            "s.yaml:4: datapoints.error_rate: 5 tokens, but expect has 1 states",
        ),
        (
            "expect: \"OK OK OK OK ALARM\"",
            "expect: OK OK OK OK Alarm",
            "s.yaml:5: expect: must be one of OK, ALARM, INSUFFICIENT_DATA, got Alarm",
        ),
        (
            "expect: \"OK OK OK OK ALARM\"\n",
            "",
            "s.yaml:1: expect: is needed",
        ),
        (
            "previous: OK",
            "previous: fine",
            "s.yaml:3: previous: must be one of",
        ),
        (
            "previous: OK",
            "previos: OK",
            "s.yaml:3: previos: is no part of a story; did you mean previous?",
        ),
        (
            "previous: OK",
            "previous:",
            "s.yaml:3: previous: must be a text, got nothing",
        ),
        (
            "name: two breaching of three",
            "nam: x",
            "s.yaml:1: name: is needed",
        ),
        ("0 _ 9 _ 9", "0 _ 9 - 9", "must be _ (missing), a number"),
        ("0 _ 9 _ 9", "0 _ 9*0 _ 9", "got 9*0"),
        ("0 _ 9 _ 9", "0 _ inf _ 9", "got inf"),
        (
            "{error_rate: \"0",
            "{eror_rate: \"0",
            "did you mean error_rate?",
        ),
        (
            "{error_rate: \"0",
            "{active_users: \"0",
            "the alarm looks at error_rate, which has no datapoints",
        ),
        (
            "datapoints: {error_rate: \"0 _ 9 _ 9\"}",
            "datapoints: [0]",
            "must be a map of metrics",
        ),
        (
            "Period: 60",
            "Period: 45",
            "s.yaml:2: Period: must be 10, 20, 30 or a multiple of 60, got 45",
        ),
        (
            "MetricName: error_rate",
            "MetricName: eror_rate",
            "did you mean error_rate?",
        ),
        (
            "Threshold: 5",
            "Threshold: !Ref X",
            "X is neither a parameter nor a resource",
        ),
    ];
    for (from, to, expected) in cases {
        let changed = STORY.replace(from, to);
        assert_ne!(changed, STORY, "{from}");
        let told = told(&changed).join("\n");
        assert!(
            told.starts_with("64 ") && told.contains(expected),
            "{to}: {told}"
        );
    }
    let inline = STORY.find("  alarm").unwrap()..STORY.find("  previous").unwrap();
    let mut named = STORY.to_owned();
    named.replace_range(inline, "  alarm: ClaudeCode-HighErorRate\n");
    assert!(told(&named)[0].ends_with("did you mean ClaudeCode-HighErrorRate?"));
    for (text, expected) in [
        ("", "the file is empty"),
        ("[]", "holds no story"),
        ("a: b", "must be a list of stories, got a map"),
        ("- b", "a story must be a map, got a text"),
        ("- {name: [", "64 s.yaml:"),
    ] {
        let told = told(text).join("\n");
        assert!(
            told.starts_with("64 ") && told.contains(expected),
            "{text}: {told}"
        );
    }
}
