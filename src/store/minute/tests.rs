//! Minutes as commits write them: once, in the right place, and never in a sealed one.

use super::*;
use crate::model::minute::{Datapoint, Dimension};
use crate::model::usage::{Activity, ActivityMetric, Intake, Outcome, UsageRecord, source};

mod open;
mod random;

use open::{Open, at, first, person, point, request, seal};

#[tokio::test]
async fn a_request_is_in_its_minute_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(30));
    let requests = vec![
        UsageRecord {
            duration_ms: Some(900),
            ttft_ms: Some(200),
            ..request("a", 20, 100)
        },
        UsageRecord {
            duration_ms: Some(100),
            outcome: Outcome::Error,
            status_code: Some(529),
            ..request("b", 25, 0)
        },
        UsageRecord {
            outcome: Outcome::Cancelled,
            ..request("c", 25, 7)
        },
    ];
    open.take(requests.clone()).await;
    open.take(requests).await;
    assert_eq!(open.all(&[]).await, [], "open minutes are not shown");
    assert!(open.seal(first()).await);
    let datapoint = |count, sum, values: &[(f64, u64)]| Datapoint {
        count,
        sum,
        min: values[0].0,
        max: values[values.len() - 1].0,
        values: values.to_vec(),
    };
    let shown = open.all(&[]).await.into_iter();
    let shown: BTreeMap<_, _> = shown.map(|m| (m.series.metric, m.datapoint)).collect();
    let expected = BTreeMap::from([
        ("requests_per_minute", Datapoint::of(3.0)),
        ("tokens_processed", Datapoint::of(107.0)),
        ("unpriced_tokens", Datapoint::of(107.0)),
        ("throttled_requests", Datapoint::of(1.0)),
        ("code_lines_generated", Datapoint::of(0.0)),
        ("error_rate", datapoint(3, 100.0, &[(0.0, 2), (100.0, 1)])),
        (
            "response_time",
            datapoint(2, 1_000.0, &[(100.0, 1), (900.0, 1)]),
        ),
        ("time_to_first_token", Datapoint::of(200.0)),
    ]);
    assert_eq!(shown, expected);
    let told = open.told.lock().unwrap();
    assert_eq!((told.throttled, &*told.first_tokens), (1, &[200][..]));
}

#[tokio::test]
async fn a_late_fact_joins_the_open_minute_and_a_very_late_one_none() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(70));
    // Within 15 seconds of its end a minute takes facts; from then on it does not.
    open.take(vec![request("a", 59, 1)]).await;
    open.set(75);
    open.take(vec![request("b", 59, 10)]).await;
    open.take(vec![request("an hour", 75 - 3_600, 100)]).await;
    open.take(vec![request("more", 74 - 3_600, 1_000)]).await;
    open.take(vec![request("future", 700, 10_000)]).await;
    for minute in [0, 1] {
        assert!(open.seal(first() + minute).await);
    }
    assert_eq!(
        open.sums("tokens_processed").await,
        [(0, 1.0), (1, 10_110.0)]
    );
    assert_eq!(open.left_out(LeftOut::TooOld), (1, 1_000));
}

#[tokio::test]
async fn a_sealed_minute_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(10));
    open.take(vec![request("a", 5, 1)]).await;
    assert!(open.seal(first()).await);
    let before = open.all(&[]).await;
    assert!(!open.seal(first()).await);
    open.take(vec![request("b", 5, 10)]).await;
    assert_eq!(open.all(&[]).await, before);
    assert!(open.seal(first() + 1).await);
    assert_eq!(open.sums("tokens_processed").await, [(0, 1.0), (1, 10.0)]);
}

#[tokio::test]
async fn a_better_report_adds_what_comes_on_top_and_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(30));
    let told = |source: &str, id: &str, input, duration_ms| UsageRecord {
        source: source.into(),
        request_id: Some(format!("req_{id}").into()),
        duration_ms,
        ..request(&format!("{source} {id}"), 20, input)
    };
    open.take(vec![
        told("events", "more", 100, Some(50)),
        told("events", "less", 100, None),
    ])
    .await;
    assert!(open.seal(first()).await);
    open.set(90);
    open.take(vec![
        told("gateway", "more", 130, Some(60)),
        told("gateway", "less", 60, Some(70)),
    ])
    .await;
    assert!(open.seal(first() + 1).await);
    assert_eq!(open.sums("tokens_processed").await, [(0, 200.0), (1, 30.0)]);
    assert_eq!(open.sums("requests_per_minute").await, [(0, 2.0), (1, 0.0)]);
    assert_eq!(open.sums("error_rate").await, [(0, 0.0)]);
    assert_eq!(open.sums("response_time").await, [(0, 50.0), (1, 70.0)]);
    assert_eq!(open.left_out(LeftOut::NegativeCorrection), (1, 40));
}

#[tokio::test]
async fn tokens_that_counters_told_first_are_not_added_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(30));
    let points = Intake {
        points: vec![point("s", 20, 100)],
        ..Intake::default()
    };
    open.ledger.append(points).await.unwrap();
    assert!(open.seal(first()).await);
    open.set(90);
    let explained = UsageRecord {
        source: source::EVENTS.into(),
        session: Some("s".into()),
        ..request("a", 10, 80)
    };
    open.take(vec![explained]).await;
    assert!(open.seal(first() + 1).await);
    assert_eq!(open.sums("tokens_processed").await, [(0, 100.0), (1, 0.0)]);
    assert_eq!(open.sums("requests_per_minute").await, [(0, 0.0), (1, 1.0)]);
    assert_eq!(open.left_out(LeftOut::NegativeCorrection), (0, 0));
}

#[tokio::test]
async fn added_lines_are_counted_and_removed_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(30));
    let lines = |id: u8, kind: &str, amount| Activity {
        source: source::METRICS.into(),
        id: [id; 16],
        at: at(20),
        identity: person("alice"),
        metric: ActivityMetric::Lines,
        labels: [kind, "claude-sonnet-4-6"].map(Box::from).into(),
        amount,
    };
    let intake = Intake {
        activities: vec![
            lines(1, "added", 12),
            lines(2, "removed", 5),
            lines(1, "added", 12),
        ],
        ..Intake::default()
    };
    open.ledger.append(intake).await.unwrap();
    assert!(open.seal(first()).await);
    assert_eq!(open.sums("code_lines_generated").await, [(0, 12.0)]);
}

#[tokio::test]
async fn a_restart_in_a_minute_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(10));
    open.take(vec![request("a", 5, 1)]).await;
    open.close();
    let open = Open::at(folder.path(), at(20));
    open.take(vec![request("a", 5, 1), request("b", 15, 10)])
        .await;
    let from = first() - 10;
    assert_eq!(
        open.ledger.unsealed_minutes(from, first()).await.unwrap(),
        [first()]
    );
    assert!(open.seal(first()).await);
    assert_eq!(open.sums("tokens_processed").await, [(0, 11.0)]);
    let none: [i64; 0] = [];
    assert_eq!(
        open.ledger.unsealed_minutes(from, first()).await.unwrap(),
        none
    );
    assert_eq!(
        open.ledger.last_sealed_minute().await.unwrap(),
        Some(first())
    );
}

#[tokio::test]
async fn a_clock_that_went_back_fills_what_is_not_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(600));
    for minute in [2, 10, 11, 12, 13, 14, 15, 16] {
        assert!(open.seal(first() + minute).await);
    }
    // Minute 1 was never sealed; 2 is, and 3 stands in; no minute near 10 is free.
    open.set(90);
    open.take(vec![request("a", 90, 1)]).await;
    open.set(150);
    open.take(vec![request("b", 150, 10)]).await;
    open.set(600);
    open.take(vec![request("c", 600, 100)]).await;
    for minute in [1, 3] {
        assert!(open.seal(first() + minute).await);
    }
    let sums = open.sums("tokens_processed").await;
    let filled: Vec<_> = sums.into_iter().filter(|(_, sum)| *sum > 0.0).collect();
    assert_eq!(filled, [(1, 1.0), (3, 10.0)]);
    assert_eq!(open.left_out(LeftOut::ClockBack), (1, 100));
}

#[tokio::test]
async fn minutes_are_kept_by_dimensions_and_beyond_the_bound_as_other() {
    let folder = tempfile::tempdir().unwrap();
    let sets = vec![
        vec![Dimension::User],
        vec![Dimension::Provider, Dimension::Team],
    ];
    let open = Open::with(folder.path(), at(10), sets);
    // Each user has three series: requests, tokens, errors.
    let many = (0..1_000).map(|user| UsageRecord {
        identity: person(&format!("user-{user}")),
        ..request(&user.to_string(), 5, 1)
    });
    open.take(many.collect()).await;
    assert!(open.seal(first()).await);
    let query = MinuteQuery {
        from: first(),
        to: first() + 1,
        metrics: vec!["tokens_processed"],
        dimensions: Dimensions::All,
    };
    let series = open.ledger.minutes(query).await.unwrap();
    let sum_of = |dimensions: &[(Dimension, &str)]| {
        let wanted = dimensions
            .iter()
            .map(|(name, value)| (*name, Arc::from(*value)));
        let wanted: BTreeMap<Dimension, Arc<str>> = wanted.collect();
        let found = series
            .iter()
            .find(|minute| minute.series.dimensions == wanted);
        found.map(|minute| minute.datapoint.sum)
    };
    assert_eq!(sum_of(&[]), Some(1_000.0));
    let by_team = [
        (Dimension::Provider, "anthropic"),
        (Dimension::Team, "unknown"),
    ];
    assert_eq!(sum_of(&by_team), Some(1_000.0));
    assert_eq!(sum_of(&[(Dimension::User, "user-0")]), Some(1.0));
    let others = sum_of(&[(Dimension::User, "other")]).unwrap();
    let users = series
        .iter()
        .filter(|m| m.series.dimensions.contains_key(&Dimension::User));
    let sum_of_users: f64 = users.map(|m| m.datapoint.sum).sum();
    assert_eq!(Some(sum_of_users), Some(1_000.0));
    assert!((100.0..500.0).contains(&others), "{others}");
    let additions = open.told.lock().unwrap().folded;
    assert!(additions >= 900, "{additions}");
}

#[tokio::test]
async fn the_outbox_holds_what_is_sealed_until_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path(), at(10));
    let fill = |minute| Seal {
        outbox: Outbox::Fill,
        ..seal(minute)
    };
    open.ledger.seal(fill(first())).await.unwrap();
    open.ledger.seal(fill(first() + 1)).await.unwrap();
    open.ledger.seal(fill(first() + 1)).await.unwrap();
    let state = |waiting, oldest_minute| OutboxState {
        waiting,
        oldest_minute,
    };
    let seen = || async { open.ledger.outbox_state().await.unwrap() };
    assert_eq!(seen().await, state(10, Some(first())));
    let read = open.ledger.outbox_oldest(6).await.unwrap();
    assert!(read.is_cut && read.unknown.is_empty());
    let oldest = read.waiting;
    let minutes: Vec<i64> = oldest
        .iter()
        .map(|one| one.minute.minute - first())
        .collect();
    assert_eq!(minutes, [0, 0, 0, 0, 0, 1]);
    // Minutes that wait are kept, however old they are.
    let late = |minute, outbox| Seal {
        keep_from: first() + 2,
        outbox,
        ..seal(minute)
    };
    open.ledger
        .seal(late(first() + 2, Outbox::Fill))
        .await
        .unwrap();
    assert_eq!(open.sums("tokens_processed").await.len(), 3);
    let ids = oldest[..5].iter().map(|one| one.id).collect();
    open.ledger.outbox_done(ids).await.unwrap();
    assert_eq!(seen().await, state(10, Some(first() + 1)));
    open.ledger
        .seal(late(first() + 3, Outbox::Fill))
        .await
        .unwrap();
    let kept = open.sums("tokens_processed").await;
    assert_eq!(kept, [(1, 0.0), (2, 0.0), (3, 0.0)]);
    // Without an exporter nothing holds them.
    open.ledger
        .seal(late(first() + 4, Outbox::Leave))
        .await
        .unwrap();
    let kept = open.sums("tokens_processed").await;
    assert_eq!(kept, [(2, 0.0), (3, 0.0), (4, 0.0)]);
    assert_eq!(seen().await, state(10, Some(first() + 2)));
}

#[tokio::test]
async fn a_store_of_the_version_before_gets_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("ledger.sqlite")).unwrap();
    let before = include_str!("../schema_1.sql");
    connection.execute_batch(before).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let open = Open::at(folder.path(), at(10));
    open.take(vec![request("a", 5, 1)]).await;
    assert!(open.seal(first()).await);
    assert_eq!(open.sums("tokens_processed").await, [(0, 1.0)]);
}
