//! The exporter against moto behind a front that is as strict as CloudWatch, through the real SDK.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tallyd::clock::Clock;
use tallyd::model::catalogue;
use tallyd::model::identity::Identity;
use tallyd::model::minute::Datapoint;
use tallyd::model::tokens::Tokens;
use tallyd::model::usage::{Band, Intake, Sku, Tier, UsageRecord};

use crate::cloudwatch::{CloudWatch, Export, minute_of, seed, some_values, this_minute};
use crate::harness::{Place, until};

#[tokio::test]
#[ignore = "needs moto"]
async fn a_day_of_minutes_arrives_complete_and_once_whatever_the_endpoint_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let now = this_minute();
    let (begin, noon, evening) = (now - 1_440, now - 720, now - 60);
    // Half a day while nobody is there.
    let nobody = "http://127.0.0.1:9";
    let mut export = Export::open(&store, nobody, "").await;
    for minute in begin..noon {
        export.seal(minute, some_values(minute)).await;
    }
    export.round().await;
    assert_eq!(export.fates(), [0, 0, 0, 0]);
    assert!(export.waiting().await >= 720 * 7);
    export.close();

    // Then it is there, but not well.
    let front = CloudWatch::start(folder.path()).await;
    let mut export = Export::open(&store, &front.url, "").await;
    let mut next = noon;
    for kind in [
        "throttle", "fault", "drop", "busy", "throttle", "hang", "drop",
    ] {
        front.fault(json!({"kind": kind, "count": 1})).await;
        for minute in next..next + 60 {
            export.seal(minute, some_values(minute)).await;
        }
        next += 60;
        export.round().await;
    }
    for minute in next..evening {
        export.seal(minute, some_values(minute)).await;
    }
    front.fault(json!({"kind": "throttle", "count": 6})).await;
    until("an empty outbox", async || {
        export.round().await;
        (export.waiting().await == 0).then_some(())
    })
    .await;

    let calls = front.calls().await;
    let faulty =
        |kind: &str| -> Vec<&Value> { calls.iter().filter(|call| call["fault"] == kind).collect() };
    let carried = |calls: &[&Value]| -> u64 {
        calls
            .iter()
            .map(|call| call["datums"].as_u64().unwrap())
            .sum()
    };
    let (dropped, hung) = (faulty("drop"), faulty("hang"));
    assert_eq!((dropped.len(), hung.len()), (2, 1));
    // Everything came once, but for the call that was swallowed.
    let stored = front.stored().await;
    assert!(stored.values().all(|times| *times == 1));
    let all = export.minutes().await;
    assert!(all.len() >= 1_380 * 7);
    let came: BTreeSet<_> = stored.into_keys().collect();
    assert!(came.is_subset(&all));
    let missing = (all.len() - came.len()) as u64;
    assert_eq!(missing, carried(&hung));
    // Every datapoint is accounted for.
    let ambiguous = carried(&dropped) + carried(&hung);
    let delivered = all.len() as u64 - ambiguous;
    assert_eq!(export.fates(), [delivered.into(), 0, ambiguous.into(), 0]);
    export.close();
}

#[tokio::test]
#[ignore = "needs moto"]
async fn what_may_have_arrived_is_sent_again_if_the_setting_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let store = folder.path().join("store");
    let mut export = Export::open(&store, &front.url, "ambiguous = \"resend\"").await;
    let minute = this_minute() - 2;
    export.seal(minute, some_values(minute)).await;
    front.fault(json!({"kind": "drop"})).await;
    export.round().await;
    assert_eq!((export.fates(), export.waiting().await), ([0, 0, 8, 0], 8));
    // The round after asks first, with a call that risks nothing.
    export.round().await;
    assert_eq!((export.fates(), export.waiting().await), ([8, 0, 8, 0], 0));
    let sizes: Vec<_> = front
        .calls()
        .await
        .iter()
        .map(|c| c["datums"].clone())
        .collect();
    assert_eq!(sizes, [8, 0, 8]);
    assert!(front.stored().await.values().all(|times| *times == 2));
    export.close();
}

#[tokio::test]
#[ignore = "needs moto"]
async fn ten_thousand_datums_leave_in_ten_calls() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let mut export = Export::open(&folder.path().join("store"), &front.url, "").await;
    let now = this_minute();
    for minute in now - 1_000..now {
        let gauges = ["active_users", "cpu_utilization", "memory_utilization"];
        let more = ["disk_utilization", "backup_age_seconds"];
        let gauges = gauges.into_iter().chain(more);
        let values = gauges.map(|metric| (metric, Datapoint::of(7.0)));
        export.seal(minute, values.collect()).await;
    }
    export.round().await;
    let calls = front.calls().await;
    let seen: Vec<_> = calls
        .iter()
        .map(|c| (c["datums"].clone(), c["status"].clone()))
        .collect();
    assert_eq!(seen, vec![(json!(1_000), json!(200)); 10]);
    assert!(calls.iter().all(|call| call["packed"] == true));
    assert!(
        calls
            .iter()
            .all(|call| call["unpacked"].as_u64().unwrap() < 999_000)
    );
    assert_eq!(export.fates(), [10_000, 0, 0, 0]);
    assert_eq!(front.stored().await.len(), 10_000);
    export.close();
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_refused_datum_holds_no_other_back() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let mut export = Export::open(&folder.path().join("store"), &front.url, "").await;
    let now = this_minute();
    for minute in now - 30..now {
        export.seal(minute, some_values(minute)).await;
    }
    let poison =
        json!({"kind": "reject", "metric": "error_rate", "minute": now - 7, "count": null});
    front.fault(poison).await;
    export.round().await;
    let mut all = export.minutes().await;
    let delivered = all.len() as u128 - 1;
    assert_eq!(export.fates(), [delivered, 1, 0, 0]);
    assert_eq!(export.waiting().await, 0);
    all.remove(&("error_rate".to_owned(), now - 7));
    let stored = front.stored().await;
    assert!(stored.values().all(|times| *times == 1));
    assert_eq!(stored.into_keys().collect::<BTreeSet<_>>(), all);
    // Each halving takes two calls, and there were less than 2^9 datums.
    assert!(front.calls().await.len() <= 2 * 9 + 1);
    // A distribution with exact statistics beside it.
    let datums = front.datums().await;
    let error_rate = datums
        .iter()
        .find(|datum| datum["metric"] == "error_rate")
        .unwrap();
    assert_eq!(
        (&error_rate["values"], &error_rate["counts"]),
        (&json!([0.0, 100.0]), &json!([3.0, 1.0]))
    );
    let statistics = json!({"SampleCount": 4.0, "Sum": 100.0, "Minimum": 0.0, "Maximum": 100.0});
    assert_eq!(error_rate["statistics"], statistics);
    assert_eq!(
        (&error_rate["unit"], &error_rate["resolution"]),
        (&json!("Percent"), &json!(60))
    );
    assert_eq!(error_rate["namespace"], "ClaudeCode/Enterprise");
    export.close();
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_call_that_is_too_large_is_halved() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let mut export = Export::open(&folder.path().join("store"), &front.url, "").await;
    let now = this_minute();
    for minute in now - 20..now {
        export
            .seal(minute, vec![("cpu_utilization", Datapoint::of(1.0))])
            .await;
    }
    front
        .fault(json!({"kind": "too_large", "most": 50, "count": null}))
        .await;
    export.round().await;
    assert_eq!(export.fates(), [120, 0, 0, 0]);
    assert!(front.stored().await.values().all(|times| *times == 1));
    let stored = front
        .calls()
        .await
        .into_iter()
        .filter(|call| call["stored"] == true);
    assert_eq!(
        stored
            .map(|call| call["datums"].clone())
            .collect::<Vec<_>>(),
        [30, 30, 30, 30]
    );
    export.close();
}

#[tokio::test]
#[ignore = "needs moto"]
async fn what_grew_too_old_is_counted_and_what_is_just_in_time_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let mut export = Export::open(&folder.path().join("store"), &front.url, "").await;
    let two_weeks = 14 * 24 * 60;
    let now = this_minute();
    export.seal(now - two_weeks - 1, Vec::new()).await;
    export.seal(now - two_weeks + 60, Vec::new()).await;
    // The clock was set back by a day: its time comes.
    export.seal(now + 24 * 60, Vec::new()).await;
    let backlog = || export.registry.gauge(catalogue::CLOUDWATCH_BACKLOG, &[]);
    assert_eq!(backlog(), None);
    export.round().await;
    assert_eq!((export.fates(), export.waiting().await), ([5, 0, 0, 5], 5));
    let stored: BTreeSet<_> = front.stored().await.into_keys().map(|(_, at)| at).collect();
    assert_eq!(stored, BTreeSet::from([now - two_weeks + 60]));
    let backlog = export.registry.gauge(catalogue::CLOUDWATCH_BACKLOG, &[]);
    assert_eq!(backlog, Some(0.0));
    export.close();
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_missing_permission_stops_the_round_and_is_told_with_its_statement() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let mut export = Export::open(&folder.path().join("store"), &front.url, "").await;
    let minute = this_minute() - 2;
    export.seal(minute, some_values(minute)).await;
    front.fault(json!({"kind": "deny", "count": 2})).await;
    for calls in 1..=2 {
        export.round().await;
        assert_eq!(front.calls().await.len(), calls);
        let problems = export.aws.problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].line,
            "cloudwatch:PutMetricData: AccessDenied: User is not authorized to perform this \
             action; allow it with {\"Effect\":\"Allow\",\"Action\":\"cloudwatch:PutMetricData\",\
             \"Resource\":\"*\",\"Condition\":{\"StringEquals\":{\"cloudwatch:namespace\":\
             \"ClaudeCode/Enterprise\"}}}"
        );
    }
    export.round().await;
    assert_eq!(
        (export.aws.problems(), export.fates()),
        (vec![], [8, 0, 0, 0])
    );
    export.close();
}

/// The detail of a condition, and that the daemon is ready.
async fn detail(daemon: &crate::harness::Daemon, name: &str) -> Option<String> {
    let ready = daemon.json("/readyz").await;
    let conditions = ready["conditions"].as_array().unwrap();
    let condition = conditions
        .iter()
        .find(|condition| condition["name"] == name);
    Some(condition?["detail"].as_str()?.to_owned())
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_daemon_that_is_killed_in_a_call_sends_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let place = Place::with(&format!(
        "[aws]\nendpoint_url = \"{}\"\nregion = \"eu-central-1\"\n\
         [cloudwatch]\nenabled = true\ninterval = \"10s\"\n",
        front.url
    ));
    let now = this_minute();
    seed(&place, now - 30..now - 20).await;
    let run = || {
        let mut command = place.command(&["run"]);
        let keys = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        command.envs(keys);
        command
    };
    // It stores the call and says nothing: tallyd waits for the answer when it dies.
    let silence = json!({"kind": "drop", "seconds": 60, "count": null});
    front.fault(silence).await;
    let daemon = place.spawn(&mut run()).await;
    until("a call that is stored", async || {
        let calls = front.calls().await;
        calls.iter().find(|call| call["stored"] == true).map(drop)
    })
    .await;
    daemon.kill();
    front.mend().await;
    seed(&place, now - 20..now - 15).await;

    let daemon = place.spawn(&mut run()).await;
    until("the minutes after", async || {
        let scrape = daemon.scrape().await;
        let fate = |fate| scrape.sum("tallyd_cloudwatch_datapoints_total", &[("result", fate)]);
        (fate("delivered") > 0.0).then(|| assert!(fate("ambiguous") >= 70.0))
    })
    .await;
    assert_eq!(
        detail(&daemon, "aws").await.as_deref(),
        Some("ready in eu-central-1")
    );
    let stored = front.stored().await;
    assert!(stored.values().all(|times| *times == 1));
    let minutes: BTreeSet<_> = stored.into_keys().map(|(_, minute)| minute).collect();
    assert!(minutes.is_superset(&(now - 30..now - 15).collect()));
}

#[tokio::test]
#[ignore = "needs moto"]
async fn without_credentials_the_daemon_works_and_says_so() {
    let place = Place::with("[aws]\nregion = \"eu-central-1\"\n[cloudwatch]\nenabled = true\n");
    let mut command = place.command(&["run"]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let daemon = place.spawn(&mut command).await;
    let detail = until("the state of AWS", async || detail(&daemon, "aws").await).await;
    assert!(
        detail.starts_with("no credentials for AWS were found"),
        "{detail}"
    );
    assert!(
        detail.contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        "{detail}"
    );
    let scrape = daemon.scrape().await;
    assert_eq!(
        scrape.sum("tallyd_aws_problem", &[("action", "credentials")]),
        1.0
    );
    let at = Clock::System.now() - SignedDuration::from_mins(5);
    let request = crate::facts::Request::new(at);
    daemon.report(&json!([request.by_gateway("one")])).await;
    assert_eq!(daemon.scrape().await.requests("ok"), 1.0);
}

fn request_of(team: &str, id: usize, at: Timestamp) -> UsageRecord {
    let identity = Identity {
        user: Some(format!("user of {team}").into()),
        team: Some(team.into()),
        ..Identity::default()
    };
    let sku = Sku {
        provider: "anthropic".into(),
        model: "claude-sonnet-4-6".into(),
        raw_model: "claude-sonnet-4-6".into(),
        scope: "base".into(),
        region: None,
        tier: Tier::Standard,
        band: Band::Mixed,
    };
    let tokens = Tokens {
        input: 10,
        ..Tokens::default()
    };
    let (id, identity, sku) = (format!("{team}-{id}"), Arc::new(identity), Arc::new(sku));
    UsageRecord {
        duration_ms: Some(100),
        ..UsageRecord::new("gateway", id, at, identity, sku, tokens)
    }
}

#[tokio::test]
#[ignore = "needs moto"]
async fn no_more_metrics_than_the_bound_arrive_and_other_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let store = folder.path().join("store");
    // Room for two teams and for other.
    let settings = "dimensions = [[\"team\"]]\nmax_metrics = 52";
    let now = Clock::System.now();
    let mut id = 0;
    let mut records = |teams: &[(&str, usize)], at: Timestamp| {
        let mut records = Vec::new();
        for (team, number) in teams {
            for _ in 0..*number {
                id += 1;
                records.push(request_of(team, id, at));
            }
        }
        Intake {
            records,
            ..Intake::default()
        }
    };
    let before = now - SignedDuration::from_mins(2);
    let first = records(
        &[("small", 1), ("決済", 5), ("big", 9), ("tiny", 1)],
        before,
    );
    let second = records(&[("small", 90), ("big", 1)], now);
    for (intake, at) in [(first, before), (second, now)] {
        // Who has a place keeps it over a restart.
        let clock = Clock::manual(at);
        let mut export = Export::open_at(clock, &store, &front.url, settings).await;
        export.ledger.append(intake).await.unwrap();
        export.seal(minute_of(at), Vec::new()).await;
        export.round().await;
        let as_other = export.registry.gauge(catalogue::CLOUDWATCH_FOLDED, &[]);
        assert!(as_other > Some(0.0));
        export.close();
    }
    let datums = front.datums().await;
    let mut teams: BTreeMap<(&str, i64), f64> = BTreeMap::new();
    let mut metrics = BTreeSet::new();
    for datum in &datums {
        let metric = datum["metric"].as_str().unwrap();
        let team = datum["dimensions"]["team"].as_str().unwrap_or_default();
        metrics.insert((metric, team));
        if metric == "requests_per_minute" {
            let minute = datum["minute"].as_i64().unwrap();
            teams.insert((team, minute), datum["value"].as_f64().unwrap());
        }
    }
    let (one, two) = (minute_of(before), minute_of(now));
    let expected = BTreeMap::from([
        (("", one), 16.0),
        (("big", one), 9.0),
        (("%E6%B1%BA%E6%B8%88", one), 5.0),
        (("other", one), 2.0),
        (("", two), 91.0),
        (("big", two), 1.0),
        (("other", two), 90.0),
    ]);
    assert_eq!(teams, expected);
    assert!(metrics.len() <= 42);
    let times = datums.iter().find(|datum| {
        let is_other = datum["dimensions"]["team"] == "other" && datum["minute"] == one;
        is_other && datum["metric"] == "response_time"
    });
    let times = times.unwrap();
    assert_eq!(
        (&times["values"], &times["counts"]),
        (&json!([100.0]), &json!([2.0]))
    );
}
