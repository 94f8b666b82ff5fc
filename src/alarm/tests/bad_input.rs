//! What is wrong is told with file, line and property, all of it together.

use super::*;

#[test]
fn a_fault_names_file_line_and_property() {
    let told = ["a.yaml:12: Period: must be 10, 20, 30 or a multiple of 60, got 45"];
    assert_eq!(with("Period", "45"), told);
}

/// A property, its value, and what is told of it.
const LIMITS: &[(&str, &str, &str)] = &[
    (
        "DatapointsToAlarm",
        "3",
        "must be at most EvaluationPeriods (2), got 3",
    ),
    (
        "DatapointsToAlarm",
        "0",
        "must be a whole number of at least 1",
    ),
    (
        "EvaluationPeriods",
        "0",
        "must be a whole number of at least 1",
    ),
    (
        "EvaluationPeriods",
        "1.5",
        "must be a whole number of at least 1, got 1.5",
    ),
    ("EvaluationPeriods", "289", "may span at most 86400 s"),
    ("Period", "0", "multiple of 60"),
    ("Period", "90", "multiple of 60"),
    ("Period", "30", "error_rate has one datapoint a minute"),
    ("Period", "302460", "periods of 302460 s"),
    ("AlarmName", "\"a\\tb\"", "control characters"),
    (
        "AlarmActions",
        "['${A}', '${A}', '${A}', '${A}', '${A}', '${A}']",
        "must be at most 5 actions, got 6",
    ),
    ("OKActions", "[[a]]", "must be a text"),
    ("OKActions", "a", "must be a list"),
    (
        "ComparisonOperator",
        "GreaterThan",
        "must be one of GreaterThanOrEqualToThreshold, ",
    ),
    (
        "ComparisonOperator",
        "LessThanLowerThreshold",
        "anomaly detection is not supported",
    ),
    (
        "TreatMissingData",
        "Missing",
        "must be one of missing, ignore, breaching, notBreaching",
    ),
    ("Statistic", "p95", "must be one of SampleCount, Average"),
    (
        "ExtendedStatistic",
        "p95",
        "either Statistic or ExtendedStatistic",
    ),
    ("Threshold", "NaN", "must be a number, got NaN"),
    ("Threshold", "1e999", "must be a number, got 1e999"),
    ("Threshold", "", "Threshold: is needed: null is no value"),
    ("AlarmName", "~", "AlarmName: is needed: null is no value"),
    ("Threshold", "''", "must be a number, got "),
    (
        "AlarmActions",
        "[notanarn]",
        "notanarn is no ARN: an action is an ARN, or refers to a resource that has one",
    ),
    ("OKActions", "[!Sub 'foo-${AWS::Region}']", "is no ARN"),
    (
        "AlarmActions",
        "[!GetAtt A.Anr]",
        "AWS::CloudWatch::Alarm has no attribute Anr, it has Arn; did you mean Arn?",
    ),
    ("AlarmActions", "[!Sub '${A.Anr}']", "did you mean Arn?"),
    ("Threshold", "[5]", "must be a text"),
    ("Namespace", ":a", "not begin with a colon"),
    (
        "Unit",
        "Seconds",
        "error_rate has the unit Percent, not Seconds",
    ),
    (
        "EvaluateLowSampleCountPercentile",
        "ignore",
        "goes with ExtendedStatistic only",
    ),
    ("ActionsEnabled", "yes", "must be one of true, false"),
    ("Tags", "[{Key: a}]", "Tags[0].Value: is needed"),
    (
        "Tags",
        "[{Key: 'aws:x', Value: b}]",
        "does not begin with aws:",
    ),
    (
        "Dimensions",
        "[{Name: modle, Value: x}]",
        "did you mean model?",
    ),
    (
        "Dimensions",
        "[{Name: model, Value: x}, {Name: model, Value: y}]",
        "there twice",
    ),
    (
        "Dimensions",
        "[{Name: model, Value: ' '}]",
        "the value of model must have 1 to 1024 ASCII characters",
    ),
    ("Metrics", "[]", "metric math is not supported"),
    (
        "EvaluationCriteria",
        "{}",
        "PromQL alarms are not supported",
    ),
    (
        "ThresholdMetricId",
        "a",
        "anomaly detection is not supported",
    ),
    (
        "Perod",
        "60",
        "is no property of an alarm; did you mean Period?",
    ),
    (
        "MetricName",
        "eror_rate",
        "has no metric eror_rate; did you mean error_rate?",
    ),
];

#[test]
fn the_limits_of_cloudwatch_hold() {
    let (name, description) = ("x".repeat(256), "x".repeat(1025));
    let long: [(&str, &str, &str); 2] = [
        ("AlarmName", &name, "must have 1 to 255 characters, got 256"),
        (
            "AlarmDescription",
            &description,
            "must have at most 1024 characters",
        ),
    ];
    for (property, value, expected) in LIMITS.iter().copied().chain(long) {
        let told = with(property, value).join("\n");
        assert!(
            told.contains(expected) && told.contains(property),
            "{property}: {told}"
        );
    }
    assert_eq!(with("EvaluationPeriods", "288"), [""; 0]);
}

#[test]
fn periods_of_an_hour_may_span_a_week() {
    let hours = |n: &str| {
        let text = GOOD.replace("Period: 300", "Period: 3600");
        let text = text.replace("EvaluationPeriods: 2", &format!("EvaluationPeriods: {n}"));
        read_text(&template(&text), &[]).map(|set| set.alarms.len())
    };
    assert_eq!(hours("168"), Ok(1));
    assert!(hours("169").unwrap_err()[0].contains("at most 604800 s"));
}

#[test]
fn all_faults_are_told_together() {
    let text = template("Period: 45\nStatistic: Mean\nMetricName: x");
    let told = read_text(&text, &[]).unwrap_err();
    let properties: Vec<_> = told
        .iter()
        .map(|told| told.split(": ").nth(1).unwrap())
        .collect();
    let expected = [
        "AlarmName",
        "Statistic",
        "Period",
        "EvaluationPeriods",
        "Namespace",
        "ComparisonOperator",
        "Threshold",
    ];
    assert_eq!(properties, expected);
}

#[test]
fn what_is_not_understood_is_refused() {
    let cases = [
        (
            "Resource: {}",
            "is no section of a template; did you mean Resources?",
        ),
        ("Transform: x\nResources: {}", "macros are not expanded"),
        ("[]", "a template must be a map with Resources, got a list"),
        (
            "Resources: {A: {Properties: {}}}",
            "Resources.A.Type: is needed",
        ),
        (
            "Resources:\n  A: {Type: AWS::CloudWatch::Alrm}",
            "a.yaml:2: Resources.A.Type: AWS::CloudWatch::Alrm is no type of CloudFormation; did \
             you mean AWS::CloudWatch::Alarm?",
        ),
        (
            "Resources: {A: {Type: AWS::Cloudwatch::Alarm}}",
            "did you mean AWS::CloudWatch::Alarm?",
        ),
        (
            "Resources: {A: {Type: AWS:CloudWatch::Alarm}}",
            "did you mean AWS::CloudWatch::Alarm?",
        ),
        (
            "Resources: {Topic: {Type: AWS::SNS::Topic}}",
            "a.yaml:1: Resources: no template has an AWS::CloudWatch::Alarm",
        ),
        (
            "Resources:\n  Topic: {Type: AWS::SNS::Topic}\n  A:\n    Type: AWS::CloudWatch::Alarm\n    \
             DependsOn: Tpic",
            "a.yaml:5: A.DependsOn: Tpic is no resource; did you mean Topic?",
        ),
        (
            "Resources: {A: {Type: AWS::CloudWatch::CompositeAlarm}}",
            "composite alarms",
        ),
        (
            "Resources: {A: {Type: AWS::CloudWatch::Alarm}}",
            "A.Properties: is needed",
        ),
        (
            "Resources: {A: {Type: AWS::CloudWatch::Alarm, Propertis: {}}}",
            "mean Properties?",
        ),
        (
            "Resources: {S: {Type: AWS::SNS::Subscription, Properties: {Protocol: slack}}}",
            "SNS has no protocol slack",
        ),
    ];
    for (text, expected) in cases {
        let told = read_text(text, &[]).unwrap_err().join("\n");
        assert!(told.contains(expected), "{text}: {told}");
    }
    let values = [
        (
            "!Ref Nothing",
            "Nothing is neither a parameter nor a resource",
        ),
        ("!ImportValue x", "Fn::ImportValue is not supported here"),
        ("!Sub '${Open'", "without }"),
        ("!GetAtt Nothing.Arn", "Nothing is no resource"),
        ("!GetAtt A", "Fn::GetAtt needs Resource.Attribute"),
        ("!If [Nothing, 1, 2]", "Nothing is no condition"),
        (
            "!If [Nothing, 1]",
            "Fn::If needs a condition and two values",
        ),
        ("!FindInMap [A, B, C]", "Mappings have no A there"),
        ("!Ref A", "${A} is known to the account only"),
        (
            "!Ref AWS::Region",
            "${AWS::Region} is known to the account only",
        ),
    ];
    for (value, expected) in values {
        let told = with("Threshold", value).join("\n");
        assert!(
            told.contains(&format!("a.yaml:12: Threshold: {expected}")) || told.contains(expected),
            "{value}: {told}"
        );
    }
}

#[test]
fn parameters_are_held_against_what_they_allow() {
    let read = |parameter: &str, values: &[(&str, &str)]| {
        let text = template(&GOOD.replace("Threshold: 5", "Threshold: !Ref P"));
        let told = read_text(&format!("Parameters: {{P: {parameter}}}\n{text}"), values);
        told.err().unwrap_or_default().join("\n")
    };
    assert_eq!(
        read("{Type: Number, Default: 5, MinValue: 5, MaxValue: 5}", &[]),
        ""
    );
    assert!(read("{Type: Number, Default: x}", &[]).contains("must be a number, got x"));
    assert!(read("{Type: Number, Default: 5}", &[("P", "9x")]).contains("got 9x"));
    assert!(read("{Type: Number, Default: 5, MaxValue: 4}", &[]).contains("at most 4, got 5"));
    assert!(read("{Type: String, Default: a, AllowedValues: [b]}", &[]).contains("one of b"));
    assert!(read("{Default: 5}", &[]).contains("Parameters.P.Type: is needed"));
    let unset = read("{Type: Number}", &[]);
    assert!(
        unset.contains("${P} is known to the account only: give the parameter"),
        "{unset}"
    );
    assert_eq!(read("{Type: Number}", &[("P", "5")]), "");
    let stranger = read("{Type: Number, Default: 5}", &[("Q", "5")]);
    assert!(stranger.contains("Parameters.Q: is given a value, but no template has it"));
}

#[test]
fn two_alarms_of_one_name_are_told_with_both_places() {
    let files = ["a.yaml", "b.yaml"].map(|file| (PathBuf::from(file), template(GOOD)));
    let faults = read(&files, &BTreeMap::new()).unwrap_err();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["b.yaml:5: AlarmName: errors is defined already, at a.yaml:5"]
    );
}

#[test]
fn dimensions_need_a_series() {
    use crate::model::minute::Dimension;
    let alarm = format!("{GOOD}\nDimensions: [{{Name: team, Value: payments}}]");
    let files = [(PathBuf::from("a.yaml"), template(&alarm))];
    let read = |sets: &[&[Dimension]]| {
        let measured = Measured {
            dimensions: Some(
                sets.iter()
                    .map(|set| set.iter().copied().collect())
                    .collect(),
            ),
            ..Measured::default()
        };
        read_measured(&files, &BTreeMap::new(), &measured).map(|set| set.alarms.len())
    };
    assert_eq!(read(&[&[Dimension::Model], &[Dimension::Team]]), Ok(1));
    let faults = read(&[&[Dimension::Model, Dimension::Team]]).unwrap_err();
    assert!(
        faults[0]
            .message
            .starts_with("no series has the dimensions team")
    );
}

#[test]
fn a_metric_that_is_kept_as_a_total_has_no_dimensions() {
    for metric in ["cpu_utilization", "error_share"] {
        let text = GOOD.replace("error_rate", metric);
        let text = template(&format!("{text}\nDimensions: [{{Name: model, Value: x}}]"));
        let told = read_text(&text, &[]).unwrap_err();
        let expected = format!(
            "a.yaml:13: Dimensions: {metric} is kept as a total only; by dimensions there are \
             requests_per_minute, "
        );
        assert!(told[0].starts_with(&expected), "{told:?}");
    }
}

#[test]
fn a_namespace_that_is_nearly_ours_is_warned_of() {
    let warnings = |namespace: &str| {
        let text = GOOD.replace("ClaudeCode/Enterprise", namespace);
        let set = read_text(&template(&text), &[]).unwrap();
        set.warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("ClaudeCode/Enterprize"),
        [
            "a.yaml:6: Namespace: ClaudeCode/Enterprize is not evaluated here; did you mean \
             ClaudeCode/Enterprise?"
        ]
    );
    assert_eq!(warnings("claudecode/enterprise").len(), 1);
    assert_eq!(warnings("ClaudeCode/Enterprise"), [""; 0]);
    assert_eq!(warnings("AWS/Bedrock"), [""; 0]);
}

#[test]
fn what_could_grow_without_end_does_not() {
    // Conditions that name each other, and ever more of each other.
    let mut conditions = "Conditions:\n  C30: !Equals [a, b]\n".to_owned();
    for level in 0..30 {
        let next = format!("!Condition C{}", level + 1);
        let parts = vec![next; 10].join(", ");
        conditions.extend(["  C", &level.to_string(), ": !Or [", &parts, "]\n"]);
    }
    let alarm = template(&GOOD.replace("Threshold: 5", "Threshold: !If [C0, 1, 5]"));
    let told = read_text(&(conditions + &alarm), &[])
        .unwrap_err()
        .join("\n");
    assert!(told.contains("too much"), "{told}");
    let circle = format!("Conditions: {{C0: !Condition C0}}\n{alarm}");
    let told = read_text(&circle, &[]).unwrap_err().join("\n");
    assert!(told.contains("goes in a circle"), "{told}");
    let texts = "${P}".repeat(100_000);
    let text = format!(
        "Parameters: {{P: {{Type: String, Default: {}}}}}\n{}",
        "x".repeat(4000),
        template(&GOOD.replace("errors", &format!("!Sub '{texts}'")))
    );
    let told = read_text(&text, &[]).unwrap_err().join("\n");
    assert!(told.contains("too much"), "{told}");
    let mut many = "Resources:\n".to_owned();
    for number in 0..=MAX_ALARMS {
        let alarm = template(&GOOD.replace("errors", &format!("a{number}")));
        many += &alarm
            .replace("Resources:\n", "")
            .replace("  A:", &format!("  A{number}:"));
    }
    let told = read_text(&many, &[]).unwrap_err();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].ends_with("there are more than 500 alarms"),
        "{told:?}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[-a-zA-Z0-9 :{}\\[\\],!&*$\"'\n|>.#]{0,200}") {
        let _ = read_text(&text, &[]);
        let _ = story::read("s.yaml".as_ref(), &text, &AlarmSet::default());
    }

    #[test]
    fn no_value_makes_the_reader_panic(value in "[!A-Za-z:. ${}\\[\\],'0-9e-]{0,60}") {
        let _ = with("Threshold", &value);
        let _ = with("AlarmActions", &value);
    }
}
