//! `tallyd alarms`, its files and addresses, from outside.

use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{Place, until};

const STORY: &str = r#"- name: two breaching of three
  alarm: {MetricName: error_rate, Statistic: Average, Period: 60, EvaluationPeriods: 3, DatapointsToAlarm: 2, Threshold: 5, ComparisonOperator: GreaterThanThreshold, TreatMissingData: missing}
  previous: OK
  datapoints: {error_rate: "0 _ 9 _ 9"}
  expect: "OK OK OK OK ALARM"
"#;

const TEMPLATE: &str = "Parameters:
  Limit: {Type: Number, Default: 90}
Resources:
  Disk:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: disk
      Namespace: ClaudeCode/Enterprise
      MetricName: disk_utilization
      Statistic: Maximum
      Period: 60
      EvaluationPeriods: 1
      Threshold: !Ref Limit
      ComparisonOperator: GreaterThanThreshold
";

/// Runs `tallyd alarms` with files by name. Returns the exit code, and what it said.
fn alarms(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let mut command = place.command(&[&["alarms"], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.current_dir(place.path(""));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault_and_a_full_disk_is() {
    let place = Place::new();
    place.write(
        "failing.yaml",
        &STORY.replace("OK OK OK OK ALARM", "OK OK OK OK OK"),
    );
    let run = |arguments: &[&str], stdout: Stdio| {
        let mut command = place.command(arguments);
        command.stdout(stdout).stderr(Stdio::piped());
        command.current_dir(place.path(""));
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), told)
    };
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let quiet = (0, String::new());
    assert_eq!(run(&["alarms", "check"], closed()), quiet);
    assert_eq!(run(&["metrics"], closed()), quiet);
    assert_eq!(run(&["client-config", "--help"], closed()), quiet);
    // What a command finds out does not depend on who listens.
    let failing = ["alarms", "test", "failing.yaml"];
    let fails = (1, "1 of 1 story fails\n".to_owned());
    assert_eq!(run(&failing, closed()), fails);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let (code, told) = run(&["alarms", "check"], full.unwrap().into());
    let expected = "cannot write to standard output: No space left on device";
    assert!(code == 1 && told.starts_with(expected), "{code} {told}");
}

#[test]
fn stories_hold_fail_or_are_malformed() {
    let place = Place::new();
    place.write("good.yaml", STORY);
    place.write(
        "failing.yaml",
        &STORY.replace("OK OK OK OK ALARM", "OK OK OK OK OK"),
    );
    place.write("short.yaml", &STORY.replace("OK OK OK OK ALARM", "OK"));
    place.write("metric.yaml", &STORY.replace("error_rate", "eror_rate"));
    let (code, said, _) = alarms(&place, &["test", "good.yaml"]);
    assert_eq!((code, said.as_str()), (0, "1 story holds\n"));
    let (code, said, told) = alarms(&place, &["test", "failing.yaml"]);
    assert_eq!((code, told.as_str()), (1, "1 of 1 story fails\n"));
    assert_eq!(
        said,
        "failing.yaml:1: two breaching of three: expected \"OK OK OK OK OK\", came \
         \"OK OK OK OK ALARM\", different from token 5 on\n"
    );
    let (code, _, told) = alarms(&place, &["test", "short.yaml", "failing.yaml"]);
    assert_eq!(code, 64);
    assert!(
        told.starts_with("short.yaml:4: datapoints.error_rate: 5 tokens"),
        "{told}"
    );
    let (code, _, told) = alarms(&place, &["test", "metric.yaml"]);
    assert_eq!(code, 64);
    assert!(told.contains("did you mean error_rate?"), "{told}");
    assert_eq!(alarms(&place, &["test", "missing.yaml"]).0, 64);
}

#[test]
fn the_shipped_alarms_are_good_and_faults_are_told_together() {
    let place = Place::new();
    let (code, said, _) = alarms(&place, &["check"]);
    assert!(
        code == 0 && said.contains("ClaudeCode-HighErrorRate"),
        "{said}"
    );
    place.write(
        "bad.yaml",
        &TEMPLATE
            .replace("60", "45")
            .replace("disk_utilization", "disk_use"),
    );
    let (code, _, told) = alarms(&place, &["check", "bad.yaml"]);
    assert_eq!(code, 64);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(
        lines,
        [
            "bad.yaml:11: Period: must be 10, 20, 30 or a multiple of 60, got 45",
            "bad.yaml:9: MetricName: ClaudeCode/Enterprise has no metric disk_use",
        ]
    );
    place.write("good.yaml", TEMPLATE);
    let (code, said, _) = alarms(&place, &["check", "good.yaml", "--parameter", "Limit=80"]);
    assert!(
        code == 0 && said.contains("disk_utilization > 80"),
        "{said}"
    );
    // The configuration's own alarms, and its faults.
    let file = place.path("good.yaml");
    place.configure(&format!(
        "[alarms]\nfiles = [{file:?}]\nparameters = {{Limit = 70}}\n"
    ));
    let (code, said, _) = alarms(&place, &["check"]);
    assert!(
        code == 0 && said.contains("disk_utilization > 70"),
        "{said}"
    );
    place.write("good.yaml", "Resources: 7");
    let mut check = place.command(&["check"]);
    assert_eq!(check.status().unwrap().code(), Some(64));
    assert!(
        place.log().contains("Resources: must be a map"),
        "{}",
        place.log()
    );
}

fn place_with_template() -> Arc<Place> {
    let place = Place::new();
    let file = place.write("disk.yaml", TEMPLATE);
    place.configure(&format!("[alarms]\nfiles = ['{}']\n", file.display()));
    place
}

#[tokio::test]
async fn alarms_are_listed_and_a_faulty_file_leaves_them() {
    let place = place_with_template();
    let daemon = place.start().await;
    let listed = async || {
        let answer = daemon.json("/api/v1/alarms").await;
        answer["alarms"][0].clone()
    };
    let first = until("the first round", async || {
        let alarm = listed().await;
        alarm["state"].is_string().then_some(alarm)
    });
    let alarm = first.await;
    assert_eq!(
        [
            &alarm["name"],
            &alarm["threshold"],
            &alarm["evaluated_here"],
            &alarm["transitions"]
        ],
        [&json!("disk"), &json!(90.0), &json!(true), &json!([])]
    );
    place.write("disk.yaml", &TEMPLATE.replace("Resources", "Resuorces"));
    until("the fault", async || {
        let faulty = daemon
            .scrape()
            .await
            .sum("tallyd_alarms_reload_success", &[])
            == 0.0;
        faulty.then_some(())
    })
    .await;
    assert!(place.log().contains("did you mean Resources?"));
    assert_eq!(listed().await["name"], "disk");
    place.write(
        "disk.yaml",
        &TEMPLATE.replace("AlarmName: disk", "AlarmName: full"),
    );
    until("the new alarm", async || {
        (listed().await["name"] == "full").then_some(())
    })
    .await;
    assert_eq!(
        daemon
            .scrape()
            .await
            .sum("tallyd_alarms_reload_success", &[]),
        1.0
    );
}

#[tokio::test]
async fn looking_back_asks_the_daemon() {
    let place = place_with_template();
    let daemon = place.start().await;
    let look = async |body: Value| daemon.post("/api/v1/alarms/backtest", &body).await;
    let (status, answer) = look(json!({})).await;
    assert_eq!(
        (status, &answer["alarms"]),
        (200, &json!([])),
        "no minute is sealed yet"
    );
    let (status, problem) = look(json!({"metrics": ["disk_use"]})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_body")));
    let (status, problem) = look(json!({"template": "Resources: {A: {}}"})).await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("invalid_template"))
    );
    assert_eq!(problem["detail"], "template:1: Resources.A.Type: is needed");
    assert_eq!(look(json!({"days": 0})).await.0, 400);
    let look = ["backtest", "disk.yaml", "--url", &daemon.http];
    let (code, said, _) = alarms(&place, &look);
    assert!(code == 0 && said.contains("fired"), "{said}");
    let text = TEMPLATE.replace("MetricName: disk", "MetricName: dsk");
    place.write("wrong.yaml", &text);
    let look = ["backtest", "wrong.yaml", "--url", &daemon.http];
    let (code, _, told) = alarms(&place, &look);
    let expected = "wrong.yaml:9: MetricName: ClaudeCode/Enterprise has no metric \
                    dsk_utilization; did you mean disk_utilization?\n";
    assert_eq!((code, told.as_str()), (64, expected));
    let look = ["backtest", "--metric", "eror_rate", "--url", &daemon.http];
    let (code, _, told) = alarms(&place, &look);
    let expected = "metrics: there is no metric eror_rate; did you mean error_rate?; there are \
                    requests_per_minute, ";
    assert!(code == 64 && told.starts_with(expected), "{code} {told}");
}
