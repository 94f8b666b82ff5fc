//! Minutes as commits write them: once, in the right place, and never in a sealed one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::model::identity::Identity;
use crate::model::minute::{Datapoint, Dimension};
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::{
    Activity, ActivityMetric, Band, Counted, Intake, Outcome, Point, Sku, Temporality, Tier,
    UsageRecord, source,
};
use crate::store::{Settings, Terms, WriterThread};

const NOON: &str = "2026-11-22T12:00:00Z";

fn noon() -> Timestamp {
    NOON.parse().unwrap()
}

/// Noon and so many seconds.
fn at(seconds: i64) -> Timestamp {
    noon()
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap()
}

/// The minute of noon.
fn first() -> i64 {
    minute_at(noon())
}

/// What commits told.
#[derive(Debug, Default)]
struct Told {
    tokens: i64,
    left_out: HashMap<LeftOut, (u64, u64)>,
    folded: u64,
    throttled: usize,
    first_tokens: Vec<u32>,
}

struct Open {
    ledger: Ledger,
    thread: WriterThread,
    clock: Clock,
    told: Arc<Mutex<Told>>,
}

impl Open {
    fn at(folder: &Path, now: Timestamp) -> Self {
        Self::with(folder, now, Vec::new())
    }

    fn with(folder: &Path, now: Timestamp, dimensions: Vec<Vec<Dimension>>) -> Self {
        let settings = Settings {
            folder: folder.to_owned(),
            retain_raw: std::time::Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Terms {
            order: ["gateway", "litellm", "events"].map(str::to_owned).to_vec(),
            dimensions,
            ..Terms::default()
        };
        let clock = Clock::manual(now);
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let opened = Ledger::open(&settings, terms, clock.clone()).unwrap();
        let told = Arc::new(Mutex::new(Told::default()));
        let heard = told.clone();
        let (ledger, thread) = opened
            .start(Box::new(move |effects, _| {
                let mut told = heard.lock().unwrap();
                for (_, amounts) in &effects.growth.usage {
                    told.tokens += amounts[..4].iter().sum::<i64>();
                }
                for (reason, (facts, tokens)) in &effects.minutes.left_out {
                    let sum = told.left_out.entry(*reason).or_default();
                    sum.0 += facts;
                    sum.1 += tokens;
                }
                told.folded += effects.minutes.folded;
                told.throttled += effects.minutes.throttled.len();
                let first_tokens = effects.minutes.first_tokens.iter();
                told.first_tokens
                    .extend(first_tokens.map(|(_, millis)| millis));
            }))
            .unwrap();
        Self {
            ledger,
            thread,
            clock,
            told,
        }
    }

    fn close(self) {
        self.ledger.close();
        self.thread.join();
    }

    /// Sets the clock to noon and so many seconds.
    fn set(&self, seconds: i64) {
        let Clock::Manual(millis) = &self.clock else {
            unreachable!("the clock of tests is manual")
        };
        let now = at(seconds).as_millisecond();
        millis.store(now, std::sync::atomic::Ordering::Relaxed);
    }

    async fn take(&self, records: Vec<UsageRecord>) {
        let intake = Intake {
            records,
            ..Intake::default()
        };
        self.ledger.append(intake).await.unwrap();
    }

    async fn seal(&self, minute: i64) -> bool {
        self.ledger.seal(seal(minute)).await.unwrap().is_some()
    }

    /// Values of a total by minutes since noon.
    async fn sums(&self, metric: &'static str) -> Vec<(i64, f64)> {
        let minutes = self.all(&[metric]).await;
        let sum = |minute: &Minute| (minute.minute - first(), minute.datapoint.sum);
        minutes.iter().map(sum).collect()
    }

    async fn all(&self, metrics: &[&'static str]) -> Vec<Minute> {
        let query = MinuteQuery {
            from: first() - 100,
            to: first() + 1_000,
            metrics: metrics.to_vec(),
            dimensions: Dimensions::Totals,
        };
        self.ledger.minutes(query).await.unwrap()
    }

    fn left_out(&self, reason: LeftOut) -> (u64, u64) {
        let told = self.told.lock().unwrap();
        told.left_out.get(&reason).copied().unwrap_or_default()
    }
}

fn seal(minute: i64) -> Seal {
    Seal {
        minute,
        is_whole: true,
        gauges: Vec::new(),
        objective: 0.99,
        outbox: Outbox::Leave,
        keep_from: 0,
    }
}

fn sku() -> Arc<Sku> {
    Arc::new(Sku {
        provider: "anthropic".into(),
        model: "claude-sonnet-4-6".into(),
        raw_model: "claude-sonnet-4-6".into(),
        scope: "base".into(),
        region: None,
        tier: Tier::Standard,
        band: Band::Mixed,
    })
}

fn person(user: &str) -> Arc<Identity> {
    Arc::new(Identity {
        user: Some(user.into()),
        ..Identity::default()
    })
}

fn request(id: &str, seconds: i64, input: u64) -> UsageRecord {
    UsageRecord {
        source: "gateway".into(),
        id: id.into(),
        request_id: None,
        client_request_id: None,
        session: None,
        reservation: None,
        at: at(seconds),
        booked_at: at(seconds),
        identity: person("alice"),
        sku: sku(),
        tokens: Tokens {
            input,
            ..Tokens::default()
        },
        outcome: Outcome::Ok,
        status_code: None,
        duration_ms: None,
        ttft_ms: None,
        tools: None,
        query_source: None,
        entrypoint: None,
        client_cost: None,
    }
}

fn point(session: &str, seconds: i64, value: u64) -> Point {
    Point {
        source: source::METRICS.into(),
        series: [7; 16],
        temporality: Temporality::Delta,
        start: at(seconds - 60),
        at: at(seconds),
        value,
        identity: person("alice"),
        session: Some(session.into()),
        what: Counted::Tokens {
            kind: TokenKind::Input,
            sku: sku(),
        },
    }
}

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

/// Something that arrives, or happens to tallyd.
#[derive(Clone, Debug)]
enum Step {
    Request {
        source: &'static str,
        id: u8,
        session: u8,
        ago: i64,
        input: u64,
    },
    Counter {
        session: u8,
        ago: i64,
        value: u64,
    },
    Restart,
    Pass {
        seconds: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let ago = || prop_oneof![3 => 0_i64..40, 1 => 0_i64..4_000, 1 => -60_i64..0];
    let sources = vec!["gateway", "litellm", source::EVENTS];
    prop_oneof![
        6 => (prop::sample::select(sources), 0..6_u8, 0..2_u8, ago(), 10..14_u64).prop_map(
            |(source, id, session, ago, input)| Step::Request { source, id, session, ago, input }
        ),
        2 => (0..2_u8, ago(), 1..40_u64)
            .prop_map(|(session, ago, value)| Step::Counter { session, ago, value }),
        1 => Just(Step::Restart),
        3 => (1_i64..100).prop_map(|seconds| Step::Pass { seconds }),
        1 => (-200_i64..0).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

async fn seal_due(open: &Open, seconds: i64) {
    let last = last_due(at(seconds));
    for minute in open.ledger.unsealed_minutes(0, last).await.unwrap() {
        assert!(open.seal(minute).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_token_that_counts_is_in_one_minute_or_left_out(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut now = 5_000;
            let mut open = Open::at(folder.path(), at(now));
            let mut left_out = [0_u64; 3];
            let reasons = [LeftOut::TooOld, LeftOut::ClockBack, LeftOut::NegativeCorrection];
            let gather = |open: &Open, left_out: &mut [u64; 3]| {
                for (sum, reason) in left_out.iter_mut().zip(reasons) {
                    *sum += open.left_out(reason).1;
                }
            };
            for (number, step) in steps.into_iter().enumerate() {
                let mut intake = Intake::default();
                match step {
                    Step::Request { source, id, session, ago, input } => {
                        intake.records.push(UsageRecord {
                            source: source.into(),
                            request_id: Some(format!("req_{}", id / 2).into()),
                            session: Some(session.to_string().into()),
                            ..request(&id.to_string(), now - ago, input)
                        });
                    }
                    Step::Counter { session, ago, value } => {
                        let mut series = [session; 16];
                        series[0] = u8::try_from(number).unwrap();
                        let point = point(&session.to_string(), now - ago, value);
                        intake.points.push(Point { series, ..point });
                    }
                    Step::Restart => {
                        gather(&open, &mut left_out);
                        open.close();
                        open = Open::at(folder.path(), at(now));
                    }
                    Step::Pass { seconds } => {
                        now += seconds;
                        open.set(now);
                        seal_due(&open, now).await;
                    }
                }
                if !intake.is_empty() {
                    open.ledger.append(intake).await.unwrap();
                }
            }
            seal_due(&open, now + 1_000).await;
            gather(&open, &mut left_out);
            let in_minutes: f64 = open.sums("tokens_processed").await.iter().map(|m| m.1).sum();
            let usage = open.ledger.usage(crate::model::query::UsageQuery {
                from: at(-86_400),
                to: at(86_400),
                group_by: Vec::new(),
                zone: TimeZone::UTC,
                user: None,
            }).await.unwrap();
            let counted: u64 = usage.iter().map(|row| row.tokens.total()).sum();
            let [too_old, clock_back, negative] = left_out;
            let told = in_minutes + (too_old + clock_back) as f64 - negative as f64;
            assert_eq!(Some(told), Some(counted as f64));
            open.close();
        });
    }
}
