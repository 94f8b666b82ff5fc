//! What is sent, word for word.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::alertmanager::Alertmanager;
use super::super::{message, slack, sns, webhook};
use super::slack_checks::slack_refuses;
use super::*;
use crate::config::{Secret, TopicArn};

fn topic() -> TopicArn {
    TopicArn::parse("arn:aws:sns:ap-southeast-1:111122223333:alarms").unwrap()
}

#[test]
fn sns_gets_the_message_that_cloudwatch_sends() {
    let mut fired = transition("ClaudeCode-HighErrorRate", State::Alarm, 0);
    fired.alarm.dimensions = [("team".to_owned(), "payments".to_owned())].into();
    fired.at = "2026-11-22T12:00:00.897Z".parse().unwrap();
    // The order of the fields is part of it.
    assert_eq!(
        sns::message(&fired, &topic(), at(-3_600)),
        r#"{"AlarmName":"ClaudeCode-HighErrorRate","AlarmDescription":"Requests fail.","AWSAccountId":"111122223333","AlarmConfigurationUpdatedTimestamp":"2026-11-22T11:00:00.000+0000","NewStateValue":"ALARM","NewStateReason":"Threshold Crossed: 2 out of the last 2 datapoints were greater than the threshold (5.0).","StateChangeTime":"2026-11-22T12:00:00.897+0000","Region":"Asia Pacific (Singapore)","AlarmArn":"arn:aws:cloudwatch:ap-southeast-1:111122223333:alarm:ClaudeCode-HighErrorRate","OldStateValue":"OK","OKActions":[],"AlarmActions":["arn:aws:sns:eu-central-1:111122223333:alarms"],"InsufficientDataActions":[],"Trigger":{"MetricName":"error_rate","Namespace":"ClaudeCode/Enterprise","StatisticType":"Statistic","Statistic":"AVERAGE","Unit":null,"Dimensions":[{"value":"payments","name":"team"}],"Period":300,"EvaluationPeriods":2,"DatapointsToAlarm":2,"ComparisonOperator":"GreaterThanThreshold","Threshold":5.0,"TreatMissingData":"notBreaching","EvaluateLowSampleCountPercentile":""}}"#
    );
}

#[test]
fn sns_tells_percentiles_as_extended_statistics() {
    let mut fired = transition("Latency", State::Alarm, 0);
    fired.alarm.statistic = Statistic::Percentile(99.9);
    fired.alarm.evaluates_low_samples = false;
    fired.alarm.description = String::new();
    let message: Value = serde_json::from_str(&sns::message(&fired, &topic(), at(0))).unwrap();
    assert_eq!(message["AlarmDescription"], Value::Null);
    let trigger = &message["Trigger"];
    assert_eq!(trigger["StatisticType"], "ExtendedStatistic");
    assert_eq!(trigger["ExtendedStatistic"], "p99.9");
    assert_eq!(trigger.get("Statistic"), None);
    assert_eq!(trigger["EvaluateLowSampleCountPercentile"], "ignore");
}

#[test]
fn a_subject_is_short_and_printable() {
    let fired = transition("ClaudeCode-HighErrorRate", State::Alarm, 0);
    assert_eq!(
        sns::subject(&fired, &topic()),
        "ALARM: \"ClaudeCode-HighErrorRate\" in Asia Pacific (Singapore)"
    );
    let long = transition(&"é\n".repeat(200), State::InsufficientData, 0);
    let subject = sns::subject(&long, &topic());
    assert_eq!(subject.len(), 99);
    assert!(subject.chars().all(|c| c.is_ascii_graphic() || c == ' '));
    assert!(
        subject.ends_with("???...\" in Asia Pacific (Singapore)"),
        "{subject}"
    );
}

#[test]
fn slack_gets_one_message_a_transition() {
    let fired = transition("ClaudeCode-HighErrorRate", State::Alarm, 0);
    let body = slack::body(&[&fired]);
    assert_eq!(slack_refuses(&body), None);
    let section = |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let field = |text: &str| json!({"type": "mrkdwn", "text": text});
    assert_eq!(
        body["blocks"],
        json!([
            {"type": "header", "text": {
                "type": "plain_text",
                "text": "\u{1f6a8} ALARM: ClaudeCode-HighErrorRate",
                "emoji": true,
            }},
            {"type": "section", "fields": [
                field("*State*\nOK \u{2192} ALARM"),
                field("*Value*\n7.25"),
                field("*Threshold*\nAverage of error_rate &gt; 5 in 2 of 2 periods of 5 min"),
                field("*Since*\n<!date^1795348800^{date_num} {time_secs}|2026-11-22 12:00:00 UTC>"),
                field("*Severity*\ncritical"),
            ]},
            section("Threshold Crossed: 2 out of the last 2 datapoints were greater than the \
                     threshold (5.0)."),
            section("Requests fail."),
            section("<https://runbooks.example.com/errors?a=1&amp;b=2|Runbook>"),
        ])
    );
}

#[test]
fn slack_is_never_told_to_call_everyone() {
    let mut fired = transition("<!channel> & \"co\"", State::Alarm, 0);
    fired.alarm.description = "<!here> <https://evil.example|click>".to_owned();
    fired.alarm.severity = "<@U1>".to_owned();
    fired.alarm.runbook = Some("javascript:<!channel>|x".to_owned());
    fired.alarm.dimensions = [("model".to_owned(), "<!everyone>".to_owned())].into();
    fired.reason = "<!channel>".to_owned();
    for transitions in [vec![&fired], vec![&fired, &fired]] {
        let body = slack::body(&transitions);
        assert_eq!(slack_refuses(&body), None);
        let text = body.to_string();
        let injected = ["<!channel", "<!here", "<!everyone", "<@", "<https://evil"];
        assert!(
            injected.iter().all(|text_in| !text.contains(text_in)),
            "{text}"
        );
    }
}

#[test]
fn slack_messages_stay_below_its_limits() {
    let mut fired = transition(&"&<>é".repeat(200), State::Alarm, 0);
    fired.alarm.description = "&".repeat(5_000);
    fired.reason = "<".repeat(5_000);
    fired.alarm.severity = ">".repeat(5_000);
    fired.alarm.metric = "&".repeat(5_000);
    fired.alarm.runbook = Some(format!("https://x.example/{}", "&".repeat(5_000)));
    for count in [1, 2, 200] {
        let transitions = vec![&fired; count];
        assert_eq!(slack_refuses(&slack::body(&transitions)), None, "{count}");
    }
    let plain = transition("a", State::Alarm, 0);
    let body = slack::body(&vec![&plain; 200]);
    assert_eq!(slack_refuses(&body), None);
    let blocks = body["blocks"].as_array().unwrap();
    assert_eq!(
        blocks[0]["text"]["text"],
        "\u{1f6a8} 200 changes of alarms: 200 ALARM"
    );
    let last = blocks.last().unwrap()["text"]["text"].as_str().unwrap();
    assert!(
        last.starts_with("and ") && last.ends_with(" more"),
        "{last}"
    );
}

#[test]
fn a_webhook_gets_a_document_that_is_the_same_at_each_attempt() {
    let fired = transition("errors", State::Alarm, 0);
    let body = webhook::body("pager", &[&fired]);
    assert_eq!(body, webhook::body("pager", &[&fired]));
    let id = message::transition_id("pager", &fired);
    assert_eq!(
        body,
        json!({
            "version": 1,
            "id": message::message_id("pager", &[&fired]),
            "target": "pager",
            "test": false,
            "summary": "1 ALARM",
            "transitions": [{
                "id": id,
                "alarm": "errors",
                "from": "OK",
                "to": "ALARM",
                "at": "2026-11-22T12:00:00Z",
                "reason": fired.reason,
                "value": 7.25,
                "condition": "Average of error_rate > 5 in 2 of 2 periods of 5 min",
                "severity": "critical",
                "runbook": "https://runbooks.example.com/errors?a=1&b=2",
                "description": "Requests fail.",
                "namespace": "ClaudeCode/Enterprise",
                "metric": "error_rate",
                "dimensions": {},
                "statistic": "Average",
                "comparison": "GreaterThanThreshold",
                "threshold": 5.0,
                "period_seconds": 300,
                "evaluation_periods": 2,
                "datapoints_to_alarm": 2,
            }],
        })
    );
    let ids = [
        message::transition_id("other", &fired),
        message::transition_id("pager", &transition("errors", State::Ok, 0)),
        message::transition_id("pager", &transition("errors", State::Alarm, 1)),
    ];
    assert!(!ids.contains(&id));
}

#[test]
fn a_signature_is_the_one_that_openssl_computes() {
    // printf '1795348800.{"a":1}' | openssl dgst -sha256 -hmac 'key'
    assert_eq!(
        signature("key", "1795348800", br#"{"a":1}"#),
        SIGNATURE_BY_OPENSSL
    );
}

const SIGNATURE_BY_OPENSSL: &str =
    "sha256=74c85b8eac34a9cc91ff21abd32cebe521935d566af39faf72b25bc25909663c";

#[test]
fn an_alert_has_labels_that_do_not_change_while_it_fires() {
    let target = Alertmanager {
        client: Client::new(),
        url: Secret::new("http://127.0.0.1:9093".parse().unwrap()),
        instance: "host-1".to_owned(),
        labels: [("cluster".to_owned(), "eu".to_owned())].into(),
    };
    let mut fired = transition("errors", State::Alarm, 0);
    fired.alarm.dimensions = [
        ("team.name", "payments"),
        ("severity", "none"),
        ("1st", "x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let alert = target.alert(&fired, at(120));
    let labels: BTreeMap<&str, &str> = [
        ("alertname", "errors"),
        ("cluster", "eu"),
        ("dimension_1st", "x"),
        ("dimension_severity", "none"),
        ("instance", "host-1"),
        ("severity", "critical"),
        ("team_name", "payments"),
    ]
    .into();
    assert_eq!(alert["labels"], json!(labels));
    assert_eq!(alert["startsAt"], "2026-11-22T12:00:00Z");
    assert_eq!(alert["endsAt"], "2026-11-22T12:07:00Z");
    assert_eq!(
        alert["annotations"],
        json!({
            "summary": "Average of error_rate (1st=x, severity=none, team.name=payments) > 5 in 2 of \
                        2 periods of 5 min",
            "description": "Requests fail.",
            "reason": fired.reason,
            "value": "7.25",
            "runbook_url": "https://runbooks.example.com/errors?a=1&b=2",
        })
    );
    let over = target.alert(&transition("errors", State::Ok, 300), at(310));
    assert_eq!(over.get("startsAt"), None);
    assert_eq!(over["endsAt"], "2026-11-22T12:05:00Z");
}

#[test]
fn numbers_are_for_people() {
    let shown = [7.25, 5.0, 0.123_456, 0.0, 1e-9, 1e15].map(message::number);
    assert_eq!(
        shown,
        [
            "7.25",
            "5",
            "0.1235",
            "0",
            "0.000000001",
            "1000000000000000"
        ]
    );
}
