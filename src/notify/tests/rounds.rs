//! Rounds over a ledger, with targets that are up, down, slow to say yes, or gone.

use super::super::webhook::signature;
use super::slack_checks::slack_refuses;
use super::*;

#[tokio::test]
async fn an_alarm_is_told_once_and_its_recovery_once() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["errors"], 0).await;
    for seconds in [0, 5, 10] {
        world.round(seconds).await;
    }
    world.recover(&["errors"], 60).await;
    for seconds in [60, 65] {
        world.round(seconds).await;
    }
    assert_eq!(hook.told(), [["errors ALARM"], ["errors OK"]]);
    assert_eq!(world.results("ops"), [("delivered", 2)]);
}

#[tokio::test]
async fn who_wants_alarms_only_hears_each_of_them_but_none_twice() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let targets = [webhook("ops", &hook, "states = [\"ALARM\"]")];
    let mut world = World::open(folder.path(), &targets).await;
    let states = [
        State::Alarm,
        // As long as nobody knows that it is over, it is the same alarm.
        State::InsufficientData,
        State::Alarm,
        State::Ok,
        State::Alarm,
        State::InsufficientData,
        State::Ok,
        State::Alarm,
    ];
    for (state, minute) in states.into_iter().zip(0..) {
        world
            .settle(&[transition("errors", state, minute * 60)])
            .await;
        world.close();
        world = World::open(folder.path(), &targets).await;
        world.round(minute * 60).await;
    }
    // Nor is one lost that came back before anyone was told.
    for (state, seconds) in [(State::Ok, 600), (State::Alarm, 660), (State::Ok, 720)] {
        world.settle(&[transition("errors", state, seconds)]).await;
    }
    world.fire(&["errors"], 780).await;
    for seconds in [780, 785, 790] {
        world.round(seconds).await;
    }
    assert_eq!(hook.told(), vec![["errors ALARM"]; 5]);
}

#[tokio::test]
async fn what_ended_while_nobody_listened_is_told_when_it_comes_again() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["errors"], 0).await;
    world.round(0).await;
    world.close();
    let others = [webhook("ops", &hook, "alarms = [\"latency\"]")];
    let world = World::open(folder.path(), &others).await;
    world.recover(&["errors"], 60).await;
    world.close();
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["errors"], 120).await;
    world.round(120).await;
    assert_eq!(hook.told(), vec![["errors ALARM"]; 2]);
}

#[tokio::test]
async fn a_webhook_can_check_who_sent_a_message_and_when() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["errors"], 0).await;
    world.round(0).await;
    let got = &hook.got()[0];
    let timestamp = &got.headers["x-tallyd-timestamp"];
    assert_eq!(*timestamp, at(0).as_second().to_string());
    assert_eq!(
        got.headers["x-tallyd-signature"],
        signature(SECRET, timestamp, got.text.as_bytes())
    );
    assert_eq!(got.headers["x-tallyd-id"], got.body["id"].as_str().unwrap());
    assert_eq!(got.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_restart_between_rounds_neither_loses_nor_repeats() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let targets = [webhook("ops", &hook, "")];
    let world = World::open(folder.path(), &targets).await;
    world.fire(&["told"], 0).await;
    world.round(0).await;
    world.fire(&["waiting"], 5).await;
    world.close();
    let world = World::open(folder.path(), &targets).await;
    world.round(10).await;
    world.recover(&["told", "waiting"], 20).await;
    world.close();
    let world = World::open(folder.path(), &targets).await;
    world.round(20).await;
    world.round(25).await;
    assert_eq!(
        hook.told(),
        [
            ["told ALARM"],
            ["waiting ALARM"],
            ["told OK"],
            ["waiting OK"]
        ]
    );
}

#[tokio::test]
async fn what_a_crash_left_without_an_answer_is_told_again_with_the_same_id() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let targets = [webhook("ops", &hook, "")];
    let world = World::open(folder.path(), &targets).await;
    world.fire(&["errors"], 0).await;
    world.round(0).await;
    // As a crash between the answer and the note of it leaves it.
    world.fire(&["latency"], 5).await;
    let claim = crate::store::Claim {
        sending: vec![2],
        ..Default::default()
    };
    world
        .ledger
        .claim_notices("ops", claim, at(5))
        .await
        .unwrap();
    world.close();
    let world = World::open(folder.path(), &targets).await;
    world.round(10).await;
    world.round(15).await;
    assert_eq!(hook.told(), [["errors ALARM"], ["latency ALARM"]]);
    assert_eq!(world.results("ops"), [("delivered", 1), ("repeated", 1)]);
}

#[tokio::test]
async fn a_target_that_is_down_for_an_hour_hears_everything_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let down_until = Arc::new(Mutex::new(true));
    let is_down = down_until.clone();
    let hook = StandIn::start(move |_, _| {
        if *is_down.lock().unwrap() {
            Reply::Status(503, "down")
        } else {
            Reply::Status(200, "")
        }
    })
    .await;
    let other = StandIn::scripted([]).await;
    let targets = [webhook("ops", &hook, ""), webhook("other", &other, "")];
    let world = World::open(folder.path(), &targets).await;
    world.fire(&["errors"], 0).await;
    for seconds in (0..3_600).step_by(5) {
        if seconds == 1_800 {
            world.recover(&["errors"], 1_800).await;
        }
        world.round(seconds).await;
    }
    // The pause doubles up to five minutes: 5, 10, 20, ..., 160, then 300 seconds.
    assert_eq!(hook.got().len(), 17);
    assert_eq!(other.told(), [["errors ALARM"], ["errors OK"]]);
    let counts = world.counts("ops");
    assert_eq!((counts.waiting, counts.oldest), (2, Some(at(0))));
    *down_until.lock().unwrap() = false;
    for seconds in (3_600..4_000).step_by(5) {
        world.round(seconds).await;
    }
    assert_eq!(hook.told()[17..], [["errors ALARM"], ["errors OK"]]);
    assert_eq!(world.results("ops"), [("delivered", 2), ("failed", 17)]);
    let counts = world.counts("ops");
    assert_eq!((counts.waiting, counts.oldest), (0, None));
}

#[tokio::test]
async fn what_cannot_be_delivered_for_a_day_is_given_up_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let hook = StandIn::start(|_, _| Reply::Status(500, "")).await;
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["errors"], 0).await;
    for seconds in (0..86_500).step_by(100) {
        world.round(seconds).await;
    }
    let results = world.results("ops");
    assert_eq!(results[0], ("expired", 1));
    assert_eq!(world.counts("ops").waiting, 0);
}

#[tokio::test]
async fn a_recovery_that_was_given_up_does_not_hide_the_next_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let is_down = Arc::new(Mutex::new(false));
    let down = is_down.clone();
    let hook = StandIn::start(move |_, got| match *down.lock().unwrap() {
        true => Reply::Status(503, "down"),
        false if got.text.contains("poison") => Reply::Status(422, "cannot read that"),
        false => Reply::Status(200, ""),
    })
    .await;
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["errors"], 0).await;
    world.round(0).await;
    let mut over = transition("errors", State::Ok, 60);
    over.reason = "poison".to_owned();
    world.settle(&[over]).await;
    world.round(60).await;
    world.fire(&["errors"], 120).await;
    world.round(120).await;
    // The same where it could not be delivered in time.
    *is_down.lock().unwrap() = true;
    world.recover(&["errors"], 180).await;
    for seconds in [180, 300, 180 + 86_400] {
        world.round(seconds).await;
    }
    *is_down.lock().unwrap() = false;
    let day = 200 + 86_400;
    world.fire(&["errors"], day).await;
    world.round(day).await;
    let told = hook.told();
    let taken = [0, 2, told.len() - 1].map(|index| told[index].concat());
    assert_eq!(taken, ["errors ALARM"; 3]);
    assert_eq!(
        world.results("ops"),
        [
            ("delivered", 3),
            ("expired", 1),
            ("failed", 2),
            ("refused", 1)
        ]
    );
}

#[tokio::test]
async fn a_target_is_left_alone_for_as_long_as_it_asks() {
    let folder = tempfile::tempdir().unwrap();
    let hook = StandIn::scripted([Reply::RetryAfter(429, "30")]).await;
    let targets = [slack("ops", &hook, "")];
    let world = World::open(folder.path(), &targets).await;
    world.fire(&["errors"], 0).await;
    world.round(0).await;
    world.round(29).await;
    assert_eq!(hook.got().len(), 1);
    // A restart does not make it forget.
    world.close();
    let world = World::open(folder.path(), &targets).await;
    world.round(29).await;
    assert_eq!(hook.got().len(), 1);
    world.round(30).await;
    world.round(35).await;
    assert_eq!(hook.got().len(), 2);
}

#[tokio::test]
async fn answers_of_slack_that_are_final_are_not_tried_again() {
    for (status, text) in [
        (400, "invalid_payload"),
        (400, "user_not_found"),
        (400, "no_text"),
        (403, "action_prohibited"),
        (404, "channel_not_found"),
        (404, "no_service"),
        (410, "channel_is_archived"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let hook = StandIn::start(move |_, _| Reply::Status(status, text)).await;
        let world = World::open(folder.path(), &[slack("ops", &hook, "")]).await;
        world.fire(&["errors"], 0).await;
        world.round(0).await;
        world.round(600).await;
        assert_eq!(hook.got().len(), 1, "{text}");
        assert_eq!(world.results("ops"), [("refused", 1)], "{text}");
    }
}

#[tokio::test]
async fn an_answer_of_someone_in_between_is_tried_again_also_after_a_restart() {
    for (status, text) in [
        (200, "<html>log in</html>"),
        (302, ""),
        (400, "<html>bad request</html>"),
        (401, ""),
        (403, "<html>blocked by policy</html>"),
        (404, ""),
        (407, ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let chat = StandIn::scripted([Reply::Status(status, text)]).await;
        let hook = StandIn::scripted([Reply::Status(status, text)]).await;
        let targets = [slack("chat", &chat, ""), webhook("hook", &hook, "")];
        let world = World::open(folder.path(), &targets).await;
        world.fire(&["errors"], 0).await;
        world.round(0).await;
        world.close();
        let world = World::open(folder.path(), &targets).await;
        world.round(4).await;
        assert_eq!(chat.got().len(), 1, "{status}");
        world.round(5).await;
        assert_eq!(world.results("chat"), [("delivered", 1)], "{status}");
        // The content is a webhook's to judge, and any 2xx says that it was taken.
        let taken = [("delivered", 1)];
        match status {
            200 | 400 => assert_eq!(world.results("hook"), [], "{status}"),
            _ => assert_eq!(world.results("hook"), taken, "{status}"),
        }
    }
}

#[tokio::test]
async fn a_storm_is_one_message_in_slack() {
    let folder = tempfile::tempdir().unwrap();
    let hook = StandIn::start(|_, got| match slack_refuses(&got.body) {
        None => Reply::Status(200, "ok"),
        Some(error) => Reply::Status(400, error),
    })
    .await;
    let world = World::open(folder.path(), &[slack("ops", &hook, "")]).await;
    let names: Vec<String> = (0..50).map(|number| format!("alarm-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.fire(&names, 0).await;
    world.round(0).await;
    world.round(5).await;
    let got = hook.got();
    assert_eq!(got.len(), 1);
    let text = got[0].body["text"].as_str().unwrap();
    assert_eq!(text, "\u{1f6a8} 50 changes of alarms: 50 ALARM");
    let blocks = got[0].body["blocks"].to_string();
    assert!(
        names
            .iter()
            .all(|name| blocks.contains(&format!("*{name}*")))
    );
    assert_eq!(world.results("ops"), [("delivered", 50)]);
}

#[tokio::test]
async fn a_slow_storm_is_bounded_by_the_rate() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let target = webhook("ops", &hook, "per_minute = 2");
    let world = World::open(folder.path(), &[target]).await;
    for (number, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let seconds = 5 * i64::try_from(number).unwrap();
        world.fire(&[name], seconds).await;
        world.round(seconds).await;
    }
    world.round(59).await;
    assert_eq!(hook.told(), [["a ALARM"], ["b ALARM"]]);
    world.round(60).await;
    assert_eq!(hook.told()[2], ["c ALARM", "d ALARM", "e ALARM"]);
}

#[tokio::test]
async fn one_bad_transition_does_not_hold_back_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let hook = StandIn::start(|_, got| {
        if got.text.contains("poison") {
            Reply::Status(422, "cannot read that")
        } else {
            Reply::Status(202, "")
        }
    })
    .await;
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["a", "b", "poison", "c", "d"], 0).await;
    world.round(0).await;
    world.round(5).await;
    assert_eq!(world.results("ops"), [("delivered", 4), ("refused", 1)]);
    let told: Vec<String> = hook.told().into_iter().flatten().collect();
    for name in ["a", "b", "c", "d"] {
        let alone = hook.told().into_iter().filter(|names| {
            names.contains(&format!("{name} ALARM")) && !names.contains(&"poison ALARM".into())
        });
        assert_eq!(alone.count(), 1, "{name}: {told:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_ambiguous_and_the_message_goes_out_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let hook = StandIn::scripted([Reply::Drop]).await;
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["a", "b", "c", "d"], 0).await;
    world.round(0).await;
    world.fire(&["e"], 1).await;
    for seconds in [5, 10] {
        world.round(seconds).await;
    }
    let got = hook.got();
    assert_eq!(got[0].headers["x-tallyd-id"], got[1].headers["x-tallyd-id"]);
    assert_eq!(got[0].body, got[1].body);
    assert_eq!(hook.told()[2], ["e ALARM"]);
    assert_eq!(
        world.results("ops"),
        [("ambiguous", 4), ("delivered", 5), ("failed", 4)]
    );
}

#[tokio::test]
async fn a_mute_holds_an_alarm_back_until_it_ends() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let window = "[[maintenance.windows]]\nfrom = \"2026-11-22T12:00:00Z\"\n\
                  to = \"2026-11-22T13:00:00Z\"\nalarms = \"db-*\"\nreason = \"upgrade\"\n";
    let targets = [webhook("ops", &hook, ""), (window.to_owned(), Vec::new())];
    let world = World::open(folder.path(), &targets).await;
    let mute = Mute {
        id: None,
        from: at(0),
        to: at(7_200),
        alarms: "web-*".to_owned(),
        reason: "deploy".to_owned(),
        created_by: "ops".to_owned(),
    };
    let id = world.ledger.add_mute(mute).await.unwrap();
    world.fire(&["db-1", "db-2", "web-1", "other"], 60).await;
    world.round(60).await;
    assert_eq!(hook.told(), [["other ALARM"]]);
    world.recover(&["db-2"], 120).await;
    world.round(3_599).await;
    assert_eq!(hook.told().len(), 1);
    world.round(3_600).await;
    assert_eq!(hook.told()[1..], [["db-1 ALARM"]]);
    world.ledger.end_mute(id, at(3_700)).await.unwrap();
    world.round(3_700).await;
    assert_eq!(hook.told()[2..], [["web-1 ALARM"]]);
}

#[tokio::test]
async fn targets_hear_what_they_want_to_hear() {
    let folder = tempfile::tempdir().unwrap();
    let hook = StandIn::scripted([]).await;
    let targets = [
        webhook(
            "pager",
            &hook,
            "severities = [\"critical\"]\nalarms = [\"errors*\"]",
        ),
        webhook("log", &hook, "states = [\"INSUFFICIENT_DATA\"]"),
    ];
    let world = World::open(folder.path(), &targets).await;
    let mut minor = transition("errors-minor", State::Alarm, 0);
    minor.alarm.severity = "warning".to_owned();
    let mut silenced = transition("errors-silenced", State::Alarm, 0);
    silenced.alarm.actions.enabled = false;
    let transitions = [
        transition("errors", State::Alarm, 0),
        transition("latency", State::Alarm, 0),
        transition("errors", State::InsufficientData, 0),
        minor,
        silenced,
    ];
    let notices = world.notify.notices(&transitions, at(0)).into_iter();
    let notices: Vec<_> = notices
        .map(|notice| (notice.target, notice.transition.alarm.name))
        .collect();
    let expected = [("pager", "errors"), ("log", "errors")];
    assert_eq!(
        notices,
        expected.map(|(target, alarm)| (target.to_owned(), alarm.to_owned()))
    );
}

#[tokio::test]
async fn a_test_is_marked_and_its_failure_told_without_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let hook =
        StandIn::scripted([Reply::Status(200, "ok"), Reply::Status(404, "no_service")]).await;
    let world = World::open(folder.path(), &[slack("ops", &hook, "")]).await;
    world.notify.test("ops", at(0)).await.unwrap();
    let text = hook.got()[0].body.to_string();
    assert!(text.contains("\u{1f514} TEST: tallyd-test") && text.contains("TEST of tallyd"));
    let refused = world.notify.test("ops", at(0)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "ops did not take the test: status 404: no_service"
    );
    let unknown = world.notify.test("nobody", at(0)).await.unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no [notify.nobody] in the configuration"
    );
    assert!(!format!("{:?}", world.notify).contains("/hook"));
}

#[tokio::test]
async fn a_test_of_an_alertmanager_fires_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let hook = StandIn::scripted([]).await;
    let text = format!(
        "[notify.am]\nkind = \"alertmanager\"\nurl = \"{}/api/v2/alerts\"\n",
        hook.url
    );
    let world = World::open(folder.path(), &[(text, Vec::new())]).await;
    world.notify.test("am", at(0)).await.unwrap();
    let alert = hook.got()[0].body[0].clone();
    let name = &alert["labels"]["alertname"];
    assert_eq!(
        (name, &alert["startsAt"], &alert["endsAt"]),
        (
            &"tallyd-test".into(),
            &"2026-11-22T12:00:00Z".into(),
            &"2026-11-22T12:05:00Z".into()
        )
    );
    // It is no alarm that would be sent again.
    world.round(60).await;
    assert_eq!(hook.got().len(), 1);
}

#[tokio::test]
async fn nobody_listening_is_told_without_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let gone = StandIn {
        url: format!("http://127.0.0.1:{port}/s3cret"),
        got: Arc::default(),
    };
    let world = World::open(folder.path(), &[slack("ops", &gone, "")]).await;
    let error = world
        .notify
        .test("ops", at(0))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("ops did not take the test: no answer ("),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
    world.fire(&["errors"], 0).await;
    world.round(0).await;
    // Nothing was sent, so nothing is ambiguous.
    assert_eq!(world.results("ops"), [("failed", 1)]);
}

#[tokio::test]
async fn no_message_is_begun_after_the_stop() {
    let (folder, hook) = (tempfile::tempdir().unwrap(), StandIn::scripted([]).await);
    let world = World::open(folder.path(), &[webhook("ops", &hook, "")]).await;
    world.fire(&["errors"], 0).await;
    world.notify.stop();
    world.round(0).await;
    assert_eq!(hook.got().len(), 0);
    assert_eq!(world.ledger.notices("ops").await.unwrap().waiting.len(), 1);
}
