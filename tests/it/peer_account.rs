//! `tallyd alarms plan` and `apply` against moto behind a front that speaks as CloudWatch does.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};
use serde_json::json;
use tallyd::clock::Stopwatch;

use crate::cloudwatch::CloudWatch;
use crate::harness::Place;

const SHIPPED: usize = 21;

/// An account, and a place from which it is looked at.
struct Account {
    place: Arc<Place>,
    cloudwatch: CloudWatch,
    client: Client,
}

impl Account {
    async fn new() -> Self {
        let place = Place::new();
        let cloudwatch = CloudWatch::start(&place.path("")).await;
        let config = aws_sdk_cloudwatch::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .endpoint_url(&cloudwatch.url);
        let client = Client::from_conf(config.build());
        Self {
            place,
            cloudwatch,
            client,
        }
    }

    /// Runs `tallyd alarms` and returns its exit code and what it said.
    fn alarms(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
        command.arg("alarms").args(arguments).env_clear();
        command.env("AWS_ENDPOINT_URL", &self.cloudwatch.url);
        command.env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", "id");
        command.env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        (status.code(), said)
    }

    /// Someone makes an alarm by hand.
    async fn put_by_hand(&self, name: &str, namespace: &str, threshold: f64) {
        let call = self.client.put_metric_alarm().alarm_name(name);
        let call = call.namespace(namespace).metric_name("error_rate");
        let call = call.statistic(Statistic::Average).period(300);
        let call = call.comparison_operator(ComparisonOperator::GreaterThanThreshold);
        let call = call.evaluation_periods(2).threshold(threshold);
        call.send().await.unwrap();
    }

    async fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut pages = self.client.describe_alarms().into_paginator().send();
        while let Some(page) = pages.next().await {
            let alarms = page.unwrap().metric_alarms.unwrap_or_default();
            names.extend(alarms.into_iter().filter_map(|alarm| alarm.alarm_name));
        }
        names.sort();
        names
    }
}

const TOPIC: &str = "TopicArn=arn:aws:sns:eu-central-1:123456789012:alarms";

#[tokio::test]
#[ignore = "needs moto"]
async fn nothing_is_left_to_do_after_apply() {
    let account = Account::new().await;
    let parameters = [
        "--parameter",
        TOPIC,
        "--parameter",
        "ErrorRateThreshold=2.5",
    ];
    let with = |verb: &'static str| [&[verb][..], &parameters[..]].concat();

    let (code, said) = account.alarms(&with("plan"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("create ClaudeCode-HighErrorRate\n"), "{said}");
    assert_eq!(account.names().await, [""; 0]);

    let begin = Stopwatch::start();
    let (code, said) = account.alarms(&with("apply"));
    assert_eq!(code, Some(0), "{said}");
    let pace = Duration::from_millis(1_000 / 3) * (u32::try_from(SHIPPED).unwrap() - 1);
    assert!(
        begin.elapsed() > pace,
        "CloudWatch takes 3 changes a second"
    );

    let (code, said) = account.alarms(&with("plan"));
    assert_eq!(said, format!("nothing to do, {SHIPPED} unchanged\n"));
    assert_eq!(code, Some(0));
    assert_eq!(account.names().await.len(), SHIPPED);
}

#[tokio::test]
#[ignore = "needs moto"]
async fn what_was_changed_or_deleted_by_hand_is_put_back() {
    let account = Account::new().await;
    assert_eq!(account.alarms(&["apply"]).0, Some(0));
    let name = "ClaudeCode-HighErrorRate";
    account
        .put_by_hand(name, "ClaudeCode/Enterprise", 50.0)
        .await;
    let call = account.client.delete_alarms();
    call.alarm_names("ClaudeCode-BackupOld")
        .send()
        .await
        .unwrap();

    let (code, said) = account.alarms(&["plan"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("update ClaudeCode-HighErrorRate\n"), "{said}");
    assert!(said.contains("\n    threshold: 50 -> 5\n"), "{said}");
    assert!(
        said.contains("\n    missing data: missing -> notBreaching\n"),
        "{said}"
    );
    assert!(
        said.contains("create ClaudeCode-BackupOld\n2 changes"),
        "{said}"
    );

    assert_eq!(account.alarms(&["apply"]).0, Some(0));
    let (code, said) = account.alarms(&["plan"]);
    assert_eq!((code, &*said), (Some(0), "nothing to do, 21 unchanged\n"));
}

const ONE: &str = "
Resources:
  A:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: ClaudeCode-HighErrorRate
      Namespace: ClaudeCode/Enterprise
      MetricName: error_rate
      Statistic: Average
      Period: 300
      EvaluationPeriods: 2
      Threshold: 5
      ComparisonOperator: GreaterThanThreshold
";

#[tokio::test]
#[ignore = "needs moto"]
async fn only_own_alarms_are_deleted_and_others_are_taken_over_only_if_asked_to() {
    let account = Account::new().await;
    let file = account.place.write("mine.yaml", ONE);
    let file = file.to_str().unwrap();
    account
        .put_by_hand("Foreign", "ClaudeCode/Enterprise", 1.0)
        .await;
    assert_eq!(account.alarms(&["apply", "--set", "mine"]).0, Some(0));

    let (code, said) = account.alarms(&["plan", file]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("left ClaudeCode-BackupOld: "), "{said}");
    let (code, said) = account.alarms(&["apply", "--prune", file]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        account.names().await,
        ["ClaudeCode-HighErrorRate", "Foreign"]
    );

    let another = account.place.write(
        "another.yaml",
        &ONE.replace("ClaudeCode-HighErrorRate", "Foreign"),
    );
    let another = another.to_str().unwrap();
    let (code, said) = account.alarms(&["apply", "--prune", another]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("refused Foreign: it belongs to nobody that tallyd knows"),
        "{said}"
    );
    assert_eq!(account.alarms(&["apply", "--adopt", another]).0, Some(0));
    let (code, said) = account.alarms(&["plan", "--prune", another]);
    assert_eq!((code, &*said), (Some(0), "nothing to do, 1 unchanged\n"));
}

#[tokio::test]
#[ignore = "needs moto"]
async fn throttling_is_waited_out_and_pages_are_read_to_the_end() {
    let account = Account::new().await;
    for index in 0..120 {
        account
            .put_by_hand(&format!("Foreign {index}"), "Elsewhere", 1.0)
            .await;
    }
    let file = account.place.write("mine.yaml", ONE);
    let file = file.to_str().unwrap();
    account
        .put_by_hand("ClaudeCode-HighErrorRate", "Elsewhere", 1.0)
        .await;
    for operation in [
        "DescribeAlarms",
        "ListTagsForResource",
        "PutMetricAlarm",
        "TagResource",
    ] {
        let fault = json!({"kind": "throttle", "operation": operation, "count": 2});
        account.cloudwatch.fault(fault).await;
    }
    let (code, said) = account.alarms(&["apply", "--adopt", file]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("\n    namespace: Elsewhere -> ClaudeCode/Enterprise\n"),
        "{said}"
    );
    assert_eq!(account.alarms(&["plan", file]).0, Some(0));
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_missing_permission_is_told_with_its_statement() {
    let account = Account::new().await;
    let file = account.place.write("mine.yaml", ONE);
    let file = file.to_str().unwrap();
    let fault = json!({"kind": "deny", "operation": "PutMetricAlarm", "count": null});
    account.cloudwatch.fault(fault).await;
    let (code, said) = account.alarms(&["apply", file]);
    assert_eq!(code, Some(1), "{said}");
    let statement = "allow it with {\"Effect\":\"Allow\",\"Action\":\"cloudwatch:PutMetricAlarm\",\
                     \"Resource\":\"arn:aws:cloudwatch:*:*:alarm:ClaudeCode-HighErrorRate\"}";
    assert!(said.contains(statement), "{said}");
}
