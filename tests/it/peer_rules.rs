//! The shipped alarms in the hands of CloudFormation's linter, promtool and a real Prometheus.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use jiff::SignedDuration;
use serde_json::json;
use tallyd::clock::Clock;

use crate::facts::Request;
use crate::harness::{Daemon, Place, until};
use crate::peer_prometheus::Prometheus;
use crate::peers::python;

/// A file of the project.
fn file(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).unwrap()
}

/// What `tallyd alarms` prints; it has to succeed.
fn alarms(place: &Place, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.arg("alarms").args(arguments).env_clear();
    let output = command.current_dir(place.path("")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_command_renders_what_is_committed_and_runs_the_stories() {
    let place = Place::new();
    let rendered = alarms(&place, &["render", "--to", "prometheus"]);
    let committed = std::fs::read_to_string(file("alarms/prometheus.rules.yaml")).unwrap();
    assert_eq!(rendered, committed);
    let stories = ["cost", "errors", "latency", "quota", "tallyd"];
    let stories = stories.map(|name| file(&format!("alarms/stories/{name}.yaml")));
    let mut arguments = vec!["test"];
    arguments.extend(stories.iter().map(String::as_str));
    let told = alarms(&place, &arguments);
    assert!(told.ends_with(" stories hold\n"), "{told}");
}

#[test]
#[ignore = "needs cfn-lint"]
fn cfn_lint_finds_nothing_to_object_to() {
    let lint = python().with_file_name("cfn-lint");
    let output = Command::new(lint)
        .arg(file("alarms/claude-code.yaml"))
        .output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), &*said(&output)), (Some(0), ""));
}

#[test]
#[ignore = "needs promtool"]
fn promtool_sees_each_rule_fire_and_stay_quiet() {
    for (verb, name) in [
        ("check", "alarms/prometheus.rules.yaml"),
        ("test", "alarms/prometheus.tests.yaml"),
    ] {
        let mut promtool = Command::new("promtool");
        let output = promtool
            .args([verb, "rules", &file(name)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// The shape of the shipped alarm, over a minute instead of ten.
const QUICK: &str = "
Resources:
  Errors:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: QuickErrors
      Namespace: ClaudeCode/Enterprise
      MetricName: error_rate
      Statistic: Average
      Period: 60
      EvaluationPeriods: 1
      Threshold: 5
      ComparisonOperator: GreaterThanThreshold
      TreatMissingData: notBreaching
";

async fn report(daemon: &Daemon, ids: std::ops::Range<u32>, outcome: &str) {
    let at = Clock::System.now() - SignedDuration::from_secs(5);
    let request = Request {
        session: None,
        known_as: None,
        ..Request::new(at)
    };
    let records: Vec<_> = ids
        .map(|id| {
            let mut record = request.by_gateway(&id.to_string());
            record["outcome"] = json!(outcome);
            record
        })
        .collect();
    daemon.report(&json!(records)).await;
}

fn failed_requests() -> String {
    "sum(claude_code_api_requests_total{outcome=\"error\"})".to_owned()
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn failing_requests_fire_the_rendered_rule() {
    let place = Place::new();
    let quick = place.write("quick.yaml", QUICK);
    let rules = alarms(
        &place,
        &["render", "--to", "prometheus", quick.to_str().unwrap()],
    );
    // Rules are evaluated every minute; a test cannot wait for that.
    let rules = rules.replace("interval: 60s", "interval: 1s");
    let rules = place.write("quick.rules.yaml", &rules);
    let shipped = std::fs::read_to_string(file("alarms/prometheus.rules.yaml")).unwrap();
    let shipped = shipped.replace("interval: 60s", "interval: 1s");
    let shipped = place.write("shipped.rules.yaml", &shipped);
    let daemon = place.start().await;
    let target = daemon.http.strip_prefix("http://").unwrap().to_owned();
    let files = [rules.to_str().unwrap(), shipped.to_str().unwrap()];
    let prometheus = Prometheus::with_rules(&place, &target, &files).await;

    report(&daemon, 0..20, "ok").await;
    report(&daemon, 20..21, "error").await;
    prometheus.wait_for(&failed_requests(), 1.0).await;
    let firing = "ALERTS{alertname=\"QuickErrors\",alertstate=\"firing\",severity=\"warning\"}";
    assert_eq!(prometheus.ask(firing).await, None);
    report(&daemon, 21..40, "error").await;
    prometheus.wait_for(firing, 1.0).await;

    let health = until("all rules to be evaluated", async || {
        let health = health(&prometheus).await?;
        (!health.values().any(|health| health == "unknown")).then_some(health)
    })
    .await;
    assert_eq!(health.len(), 22);
    assert!(health.values().all(|health| health == "ok"), "{health:?}");
}

/// Whether each rule could be evaluated.
async fn health(prometheus: &Prometheus) -> Option<BTreeMap<String, String>> {
    let answer = prometheus.get("rules").await?;
    let groups = answer["data"]["groups"].as_array()?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let pair = |rule: &serde_json::Value| (text(&rule["name"]), text(&rule["health"]));
    Some(rules.flatten().map(pair).collect())
}
