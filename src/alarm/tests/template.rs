//! What a template says.

use super::*;

fn good() -> Alarm {
    Alarm {
        name: "errors".to_owned(),
        description: String::new(),
        metric: "error_rate".to_owned(),
        namespace: "ClaudeCode/Enterprise".to_owned(),
        dimensions: BTreeMap::new(),
        statistic: Statistic::Average,
        period_seconds: 300,
        evaluation_periods: 2,
        datapoints_to_alarm: 2,
        threshold: 5.0,
        comparison: Comparison::GreaterThan,
        missing_data: MissingData::Missing,
        evaluates_low_samples: true,
        actions: Actions {
            enabled: true,
            ..Actions::default()
        },
        severity: "warning".to_owned(),
        runbook: None,
    }
}

#[test]
fn what_is_left_out_has_the_default_of_cloudwatch() {
    assert_eq!(read_text(&template(GOOD), &[]).unwrap().alarms, [good()]);
}

#[test]
fn a_value_of_a_dimension_is_written_plainly_or_as_cloudwatch_has_it() {
    let alarm = |value: &str| {
        let text = format!("{GOOD}\nDimensions: [{{Name: team, Value: '{value}'}}]");
        read_text(&template(&text), &[]).unwrap().alarms.remove(0)
    };
    let plain = alarm("決済");
    assert_eq!(plain, alarm("%E6%B1%BA%E6%B8%88"));
    assert_eq!(plain.dimensions, given(&[("team", "決済")]));
    let key = series_of(&plain, "ClaudeCode/Enterprise").unwrap();
    assert_eq!(key.dimensions.values().next().unwrap().as_ref(), "決済");
    let sent = |alarm: &Alarm, ours: &str| {
        let wanted = plan::wanted(alarm, &BTreeMap::new(), "mine", None, ours);
        wanted.unwrap().configuration.dimensions
    };
    let encoded = given(&[("team", "%E6%B1%BA%E6%B8%88")]);
    assert_eq!(sent(&plain, "ClaudeCode/Enterprise"), encoded);
    let text = GOOD.replace("ClaudeCode/Enterprise", "Other/Service");
    let text = format!("{text}\nDimensions: [{{Name: share, Value: '100%25'}}]");
    let foreign = read_text(&template(&text), &[]).unwrap().alarms.remove(0);
    let as_it_is = given(&[("share", "100%25")]);
    assert_eq!(sent(&foreign, "ClaudeCode/Enterprise"), as_it_is);
}

const FULL: &str = r#"
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Limit: {Type: Number, Default: 5000}
  Chat: {Type: String, Default: ""}
  Topics: {Type: CommaDelimitedList, Default: "arn:aws:sns:eu-central-1:111122223333:a, arn:aws:sns:eu-central-1:111122223333:b"}
  Stage: {Type: String, AllowedValues: [prod, test], Default: prod}
Mappings:
  Periods: {prod: {seconds: 60}, test: {seconds: 300}}
Conditions:
  HasChat: !Not [!Equals [!Ref Chat, ""]]
  IsProd: !Equals [!Ref Stage, prod]
  Both: !And [!Condition HasChat, {Condition: IsProd}]
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties: {Subscription: [{Protocol: https, Endpoint: !Ref Chat}]}
  Role: {Type: AWS::IAM::Role, Properties: {Anything: !GetAtt Topic.Arn}}
  Slow:
    Type: AWS::CloudWatch::Alarm
    DependsOn: Topic
    Properties:
      AlarmName: !Sub "${AWS::StackName}-${Stage}-slow"
      AlarmDescription: !Sub ["Slow ${what}, see https://example.com/runbook#slow.", {what: answers}]
      Namespace: ClaudeCode/Enterprise
      MetricName: response_time
      ExtendedStatistic: p95
      EvaluateLowSampleCountPercentile: ignore
      Dimensions: [{Name: model, Value: claude-sonnet-4-6}]
      Period: !FindInMap [Periods, !Ref Stage, seconds]
      EvaluationPeriods: "15"
      DatapointsToAlarm: 12
      Threshold: !Ref Limit
      ComparisonOperator: GreaterThanOrEqualToThreshold
      TreatMissingData: notBreaching
      ActionsEnabled: "true"
      AlarmActions:
        - !Ref Topic
        - !Sub "arn:aws:sns:${AWS::Region}:${AWS::AccountId}:${Topic.TopicName}"
        - !If [HasChat, !Ref Chat, !Ref AWS::NoValue]
      OKActions: !Ref Topics
      InsufficientDataActions: [!GetAtt [Topic, TopicArn], !Join [":", ["arn:aws:sns:eu-central-1:111122223333", !Ref Stage]]]
      Unit: Milliseconds
      Tags: [{Key: severity, Value: critical}, {Key: team, Value: sre}]
  Chatty:
    Type: AWS::CloudWatch::Alarm
    Condition: Both
    Properties: {AlarmName: chatty, Namespace: AWS/Bedrock, MetricName: Invocations, Statistic: Sum,
      Period: 10, EvaluationPeriods: 1, Threshold: 1e3, ComparisonOperator: LessThanThreshold}
"#;

#[test]
fn functions_conditions_and_parameters_are_resolved() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let slow = Alarm {
        name: "a-prod-slow".to_owned(),
        description: "Slow answers, see https://example.com/runbook#slow.".to_owned(),
        metric: "response_time".to_owned(),
        dimensions: given(&[("model", "claude-sonnet-4-6")]),
        statistic: Statistic::Percentile(95.0),
        period_seconds: 60,
        evaluation_periods: 15,
        datapoints_to_alarm: 12,
        threshold: 5000.0,
        comparison: Comparison::GreaterThanOrEqual,
        missing_data: MissingData::NotBreaching,
        evaluates_low_samples: false,
        actions: Actions {
            enabled: true,
            alarm: texts(&[
                "${Topic}",
                "arn:aws:sns:${AWS::Region}:${AWS::AccountId}:${Topic.TopicName}",
            ]),
            ok: texts(&[
                "arn:aws:sns:eu-central-1:111122223333:a",
                "arn:aws:sns:eu-central-1:111122223333:b",
            ]),
            insufficient_data: texts(&[
                "${Topic.TopicArn}",
                "arn:aws:sns:eu-central-1:111122223333:prod",
            ]),
        },
        severity: "critical".to_owned(),
        runbook: Some("https://example.com/runbook#slow".to_owned()),
        ..good()
    };
    let set = read_text(FULL, &[]).unwrap();
    assert_eq!(set.alarms, [slow]);
    let origin = &set.origins["a-prod-slow"];
    assert_eq!((origin.logical_id.as_str(), origin.line), ("Slow", 23));
    assert_eq!(
        origin.tags,
        given(&[("severity", "critical"), ("team", "sre")])
    );
}

#[test]
fn given_parameters_replace_defaults() {
    let values = [
        ("Chat", "arn:aws:sns:eu-central-1:111122223333:chat"),
        ("Limit", "7"),
        ("AWS::StackName", "mine"),
    ];
    let set = read_text(FULL, &values).unwrap();
    let slow = set.find("mine-prod-slow").unwrap();
    let chatty = set.find("chatty").unwrap();
    let thresholds = [slow.threshold, chatty.threshold].map(|number| number.to_string());
    assert_eq!(thresholds, ["7", "1000"]);
    assert_eq!(
        slow.actions.alarm[2],
        "arn:aws:sns:eu-central-1:111122223333:chat"
    );
    let test = read_text(
        FULL,
        &[
            ("Stage", "test"),
            ("Chat", "arn:aws:sns:eu-central-1:111122223333:chat"),
        ],
    )
    .unwrap();
    assert_eq!(test.alarms.len(), 1, "the condition does not hold");
    // 15 periods of five minutes, from the mapping.
    assert_eq!(test.alarms[0].period_seconds, 300);
}

#[test]
fn a_template_in_json_is_read_as_well() {
    let json = r#"{"Resources": {"A": {"Type": "AWS::CloudWatch::Alarm", "Properties": {
        "AlarmName": "errors", "Namespace": "ClaudeCode/Enterprise", "MetricName": "error_rate",
        "Statistic": "Average", "Period": 300, "EvaluationPeriods": 2,
        "Threshold": {"Fn::If": ["Strict", 1, 5]}, "ComparisonOperator": "GreaterThanThreshold"}}},
        "Parameters": {"Mode": {"Type": "String", "Default": "lax"}},
        "Conditions": {"Strict": {"Fn::Equals": [{"Ref": "Mode"}, "strict"]}}}"#;
    assert_eq!(read_text(json, &[]).unwrap().alarms, [good()]);
}

#[test]
fn the_built_in_alarms_are_good() {
    let set = read(&files(&[]).unwrap(), &BTreeMap::new()).unwrap();
    let errors = set.find("ClaudeCode-HighErrorRate").unwrap();
    let latency = set.find("ClaudeCode-HighLatency").unwrap();
    let told = [errors, latency].map(|alarm| {
        let (threshold, n) = (alarm.threshold, alarm.evaluation_periods);
        format!(
            "{} > {threshold}, {n} x {} s",
            alarm.metric, alarm.period_seconds
        )
    });
    let expected = [
        "error_rate > 5, 2 x 300 s",
        "response_time > 5000, 2 x 300 s",
    ];
    assert_eq!(told, expected);
}

#[test]
fn folders_are_read_by_name_and_changes_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("b.yaml", &template(GOOD));
    write("a.json", "{}");
    write("notes.txt", "");
    let places = [folder.path().to_owned()];
    let names: Vec<_> = files(&places)
        .unwrap()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        names,
        [folder.path().join("a.json"), folder.path().join("b.yaml")]
    );
    let before = Stamp::of(&places);
    assert_eq!(before, Stamp::of(&places));
    write("c.yml", "");
    assert_ne!(before, Stamp::of(&places));
    let missing = [folder.path().join("missing.yaml")];
    assert!(
        files(&missing).unwrap_err()[0]
            .message
            .starts_with("cannot be read")
    );
}
