//! Alarm states, notices and maintenance windows over restarts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;

use super::*;
use crate::clock::Clock;
use crate::model::alarm::{Actions, Alarm, Comparison, MissingData, State, Statistic, Transition};
use crate::model::notice::Mute;
use crate::store::{AlarmChange, AlarmStatus, Settings, Warned, WriterThread};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

struct Open {
    ledger: Ledger,
    thread: WriterThread,
}

impl Open {
    fn at(folder: &Path) -> Self {
        let settings = Settings {
            folder: folder.to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Arc::new(ArcSwap::from_pointee(crate::store::Terms::default()));
        let opened = Ledger::open(&settings, terms, Clock::manual(at(0))).unwrap();
        let (ledger, thread) = opened.start(Box::new(|_, _| ())).unwrap();
        Self { ledger, thread }
    }

    fn close(self) {
        self.ledger.close();
        self.thread.join();
    }
}

fn transition(name: &str, to: State, seconds: i64) -> Transition {
    Transition {
        alarm: Alarm {
            name: name.to_owned(),
            description: String::new(),
            metric: "error_rate".to_owned(),
            namespace: "ClaudeCode/Enterprise".to_owned(),
            dimensions: [("team".to_owned(), "payments".to_owned())].into(),
            statistic: Statistic::Percentile(99.9),
            period_seconds: 300,
            evaluation_periods: 2,
            datapoints_to_alarm: 2,
            threshold: 5.0,
            comparison: Comparison::GreaterThan,
            missing_data: MissingData::Missing,
            evaluates_low_samples: true,
            actions: Actions::default(),
            severity: "critical".to_owned(),
            runbook: None,
        },
        from: State::Ok,
        to,
        at: at(seconds),
        reason: "Threshold Crossed".to_owned(),
        value: Some(7.5),
    }
}

fn notice(target: &str, transition: &Transition) -> Notice {
    Notice {
        target: target.to_owned(),
        transition: transition.clone(),
        due: transition.at,
    }
}

fn status(name: &str, state: State, seconds: i64) -> AlarmStatus {
    AlarmStatus {
        name: name.to_owned(),
        state,
        since: at(seconds),
        updated: at(seconds),
        reason: "because".to_owned(),
        value: None,
    }
}

fn queued(id: i64, transition: &Transition) -> Queued {
    Queued {
        id,
        transition: transition.clone(),
        due: transition.at,
        open_since: None,
        batch: None,
        attempts: 0,
    }
}

#[tokio::test]
async fn a_change_of_state_and_what_is_due_survive_a_restart_together() {
    let folder = tempfile::tempdir().unwrap();
    let fired = transition("errors", State::Alarm, 60);
    let open = Open::at(folder.path());
    open.ledger
        .settle_alarms(
            vec![
                status("errors", State::Alarm, 60),
                status("old", State::Ok, 0),
            ],
            Vec::new(),
            vec![AlarmChange::from(&fired)],
            vec![notice("ops", &fired), notice("other", &fired)],
        )
        .await
        .unwrap();
    open.ledger
        .settle_alarms(Vec::new(), vec!["old".to_owned()], Vec::new(), Vec::new())
        .await
        .unwrap();
    open.close();

    let open = Open::at(folder.path());
    let ledger = &open.ledger;
    assert_eq!(
        ledger.alarm_states().await.unwrap(),
        [status("errors", State::Alarm, 60)]
    );
    assert_eq!(
        ledger.alarm_history(at(0), None, 10).await.unwrap(),
        [AlarmChange::from(&fired)]
    );
    assert_eq!(ledger.alarm_history(at(61), None, 10).await.unwrap(), []);
    let started = ledger.start_notices(vec!["ops".to_owned()]).await.unwrap();
    assert_eq!(started, (1, Vec::new()));
    assert_eq!(
        ledger.notices("ops").await.unwrap().waiting,
        [queued(1, &fired)]
    );
}

#[tokio::test]
async fn a_notice_is_gone_once_told_and_its_number_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let ledger = &open.ledger;
    let settle = async |transition: &Transition| {
        let state = status("errors", transition.to, 0);
        let notices = vec![notice("ops", transition)];
        ledger
            .settle_alarms(vec![state], Vec::new(), Vec::new(), notices)
            .await
            .unwrap();
    };
    let (fired, over) = (
        transition("errors", State::Alarm, 60),
        transition("errors", State::Ok, 120),
    );
    settle(&fired).await;
    let claim = Claim {
        opened: vec![1],
        sending: vec![1],
        ..Claim::default()
    };
    ledger.claim_notices("ops", claim, at(61)).await.unwrap();
    ledger
        .notices_done("ops", vec![queued(1, &fired)])
        .await
        .unwrap();
    settle(&over).await;
    let queue = ledger.notices("ops").await.unwrap();
    assert_eq!(queue.waiting, [queued(2, &over)]);
    assert_eq!(
        queue.told,
        [Told {
            transition: fired,
            now: Some(State::Ok),
        }]
    );
}

#[tokio::test]
async fn what_was_handed_over_without_an_answer_is_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let names = ["a", "b", "c"];
    let fired = names.map(|name| transition(name, State::Alarm, 60));
    let notices = fired.iter().map(|fired| notice("ops", fired)).collect();
    open.ledger
        .settle_alarms(Vec::new(), Vec::new(), Vec::new(), notices)
        .await
        .unwrap();
    let claim = Claim {
        dropped: vec![1],
        settled: Vec::new(),
        opened: vec![2, 3],
        sending: vec![2, 3],
    };
    open.ledger
        .claim_notices("ops", claim, at(70))
        .await
        .unwrap();
    open.close();

    let open = Open::at(folder.path());
    let ops = || vec!["ops".to_owned()];
    let started = open.ledger.start_notices(ops()).await.unwrap();
    assert_eq!(started, (0, vec!["ops".to_owned(), "ops".to_owned()]));
    assert_eq!(open.ledger.start_notices(ops()).await.unwrap().1, [""; 0]);
    let tried = |id: i64, due, batch| Queued {
        due: at(due),
        open_since: Some(at(70)),
        batch,
        attempts: 1,
        ..queued(id, &fired[usize::try_from(id).unwrap() - 1])
    };
    let waiting = || async { open.ledger.notices("ops").await.unwrap().waiting };
    assert_eq!(
        waiting().await,
        [tried(2, 60, Some(2)), tried(3, 60, Some(2))]
    );
    let ids = vec![2, 3];
    let failed = open
        .ledger
        .notices_retry(ids, at(100), "503".to_owned(), false);
    failed.await.unwrap();
    assert_eq!(waiting().await, [tried(2, 100, None), tried(3, 100, None)]);
    open.ledger
        .notices_done("ops", waiting().await)
        .await
        .unwrap();
    assert_eq!(waiting().await, []);
}

#[tokio::test]
async fn a_maintenance_window_can_be_ended_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let ledger = &open.ledger;
    let mute = Mute {
        id: None,
        from: at(100),
        to: at(200),
        alarms: "*".to_owned(),
        reason: "upgrade".to_owned(),
        created_by: "ops".to_owned(),
    };
    let id = ledger.add_mute(mute.clone()).await.unwrap();
    let kept = |to| Mute {
        id: Some(id),
        to: at(to),
        ..mute.clone()
    };
    assert_eq!(ledger.mutes().await.unwrap(), [kept(200)]);
    assert!(ledger.end_mute(id, at(150)).await.unwrap());
    assert!(!ledger.end_mute(id, at(160)).await.unwrap());
    assert_eq!(ledger.mutes().await.unwrap(), [kept(150)]);
}

#[tokio::test]
async fn what_is_too_old_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let ledger = &open.ledger;
    let changes =
        [0, 86_400].map(|seconds| AlarmChange::from(&transition("errors", State::Alarm, seconds)));
    ledger
        .settle_alarms(Vec::new(), Vec::new(), changes.to_vec(), Vec::new())
        .await
        .unwrap();
    while ledger.upkeep(at(90 * 86_400 + 1)).await.unwrap() {}
    assert_eq!(
        ledger.alarm_history(at(0), None, 10).await.unwrap(),
        [changes[1].clone()]
    );
}

#[tokio::test]
async fn what_was_told_of_warnings_goes_a_week_after_they_stand_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let ledger = &open.ledger;
    let names = [
        "errors",
        "quota:day/ada/90",
        "quota:month/ada/90",
        "quota:day/bob/90",
    ];
    let fired = names.map(|name| transition(name, State::Alarm, 0));
    let standing = Warned {
        ends: None,
        transition: fired[2].clone(),
    };
    let notices = fired.iter().map(|fired| notice("ops", fired)).collect();
    let changed = ledger.change_warnings(Vec::new(), vec![standing], notices);
    changed.await.unwrap();
    let mut told = ledger.notices("ops").await.unwrap().waiting;
    let week = 7 * 86_400;
    told[3].transition.at = at(week);
    ledger.notices_done("ops", told).await.unwrap();
    while ledger.upkeep(at(week + 1)).await.unwrap() {}
    let kept = ledger.notices("ops").await.unwrap().told;
    let kept: Vec<_> = kept
        .iter()
        .map(|told| &*told.transition.alarm.name)
        .collect();
    assert_eq!(kept, [names[0], names[3], names[2]]);
}

#[tokio::test]
async fn a_store_of_the_version_before_gets_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let before = Connection::open(&path).unwrap();
    for step in [
        include_str!("../schema_1.sql"),
        include_str!("../schema_2.sql"),
    ] {
        before.execute_batch(step).unwrap();
    }
    before.pragma_update(None, "user_version", 2).unwrap();
    drop(before);
    let open = Open::at(folder.path());
    assert_eq!(open.ledger.alarm_states().await.unwrap(), []);
    let fired = transition("errors", State::Alarm, 60);
    let notices = vec![notice("ops", &fired)];
    open.ledger
        .settle_alarms(Vec::new(), Vec::new(), Vec::new(), notices)
        .await
        .unwrap();
    let queue = open.ledger.notices("ops").await.unwrap();
    assert_eq!(queue.waiting, [queued(1, &fired)]);
}
