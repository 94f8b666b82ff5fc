//! The ledger as a whole: any order of arrival, any grouping into commits, any restart.

mod backfill;
mod counters;
mod day_sheets;
mod log_object;
mod ranges;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::model::query::{Dimension, UsageRow};
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::{
    Activity, ActivityMetric, Band, Counted, Point, Sku, Temporality, UsageRecord, Verdict, source,
};

/// Noon of a Sunday, a month before its end.
const NOON: &str = "2026-11-22T12:00:00Z";

fn clock() -> Clock {
    Clock::manual(NOON.parse().unwrap())
}

/// A ledger in a folder, and what it has published.
struct Open {
    ledger: Ledger,
    thread: WriterThread,
    published: Arc<Mutex<BTreeMap<UsageLabels, Difference>>>,
}

impl Open {
    fn at(folder: &Path) -> Self {
        let settings = Settings {
            folder: folder.to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Terms {
            order: ["gateway", "litellm", "events"].map(str::to_owned).to_vec(),
            ..Terms::default()
        };
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let opened = Ledger::open(&settings, terms, clock()).unwrap();
        let published = Arc::new(Mutex::new(BTreeMap::new()));
        grow(&published, &opened.restored.growth);
        let heard = published.clone();
        let (ledger, thread) = opened
            .start(Box::new(move |effects, _| grow(&heard, &effects.growth)))
            .unwrap();
        Self {
            ledger,
            thread,
            published,
        }
    }

    fn close(self) -> BTreeMap<UsageLabels, Difference> {
        self.ledger.close();
        self.thread.join();
        self.published.lock().unwrap().clone()
    }

    async fn totals(&self, group_by: &[Dimension]) -> Vec<UsageRow> {
        let query = UsageQuery {
            from: "2026-11-01T00:00:00Z".parse().unwrap(),
            to: "2026-12-01T00:00:00Z".parse().unwrap(),
            group_by: group_by.to_vec(),
            zone: TimeZone::UTC,
            user: None,
        };
        self.ledger.usage(query).await.unwrap().rows
    }
}

/// Counters only grow: a negative growth fails here.
fn grow(published: &Mutex<BTreeMap<UsageLabels, Difference>>, growth: &Growth) {
    let mut published = published.lock().unwrap();
    for (labels, amounts) in &growth.usage {
        assert!(amounts.iter().all(|amount| *amount >= 0));
        let sums = published.entry((**labels).clone()).or_default();
        for (sum, amount) in sums.iter_mut().zip(amounts) {
            *sum += amount;
        }
    }
}

/// A fact of any source, in few words.
#[derive(Clone, Debug)]
enum Any {
    Request {
        source: &'static str,
        id: u8,
        request_id: Option<u8>,
        session: Option<u8>,
        hour: u8,
        input: u64,
    },
    Counter {
        session: Option<u8>,
        device: bool,
        cumulative: bool,
        start: u8,
        hour: u8,
        value: u64,
    },
}

fn at(hour: u8) -> Timestamp {
    let noon: Timestamp = NOON.parse().unwrap();
    noon.checked_sub(jiff::SignedDuration::from_hours(30 - i64::from(hour)))
        .unwrap()
}

fn sku(band: Band) -> Arc<Sku> {
    Arc::new(Sku {
        band,
        ..Sku::plain("claude-sonnet-4-6")
    })
}

fn identity(user: Option<&str>, device: Option<&str>) -> Arc<Identity> {
    Arc::new(Identity {
        user: user.map(Into::into),
        device: device.map(Into::into),
        ..Identity::default()
    })
}

fn intake(fact: &Any) -> Intake {
    let mut intake = Intake::default();
    match fact {
        Any::Request {
            source,
            id,
            request_id,
            session,
            hour,
            input,
        } => {
            let client = *source == source::EVENTS;
            let tokens = Tokens {
                input: *input,
                output: 1,
                ..Tokens::default()
            };
            intake.records.push(UsageRecord {
                request_id: request_id.map(|id| format!("req_{id}").into()),
                session: session.map(|session| session.to_string().into()),
                identity: if client {
                    identity(None, Some("device"))
                } else {
                    identity(Some("alice"), None)
                },
                sku: sku(Band::of(&tokens)),
                tokens,
                duration_ms: Some(100),
                ..UsageRecord::plain(source, &id.to_string(), at(*hour))
            });
        }
        Any::Counter {
            session,
            device,
            cumulative,
            start,
            hour,
            value,
        } => {
            intake.points.push(Point {
                source: source::METRICS.into(),
                series: [session.map_or(9, |s| s)
                    + 16 * u8::from(*cumulative)
                    + 32 * u8::from(*device); 16],
                temporality: if *cumulative {
                    Temporality::Cumulative
                } else {
                    Temporality::Delta
                },
                start: at(*start),
                at: at(*hour),
                value: *value,
                identity: identity(None, device.then_some("device")),
                session: session.map(|session| session.to_string().into()),
                what: Counted::Tokens {
                    kind: TokenKind::Input,
                    sku: sku(Band::Mixed),
                },
            });
        }
    }
    intake
}

fn any_fact() -> impl Strategy<Value = Any> {
    let session = || proptest::option::weighted(0.8, 0..2_u8);
    let request = (
        proptest::sample::select(vec!["gateway", "litellm", source::EVENTS]),
        any::<u8>(),
        proptest::option::weighted(0.4, 0..4_u8),
        session(),
        0..30_u8,
        10..13_u64,
    )
        .prop_map(
            |(source, id, request_id, session, hour, input)| Any::Request {
                source,
                id,
                request_id,
                session,
                hour,
                input,
            },
        );
    let counter = (session(), any::<bool>(), any::<bool>(), 0..3_u8, 0..30_u8).prop_map(
        |(session, device, cumulative, start, hour)| {
            let (start, hour) = (start * 8, hour.max(start * 8));
            Any::Counter {
                session,
                device,
                cumulative,
                start,
                hour,
                // Equal keys must carry equal values, or the first of two facts wins.
                value: 5 + u64::from(hour),
            }
        },
    );
    prop_oneof![3 => request, 2 => counter]
}

/// Drops facts that reuse a key with other content.
fn unique(facts: Vec<Any>) -> Vec<Any> {
    let mut seen = std::collections::HashSet::new();
    facts
        .into_iter()
        .filter(|fact| match fact {
            Any::Request { source, id, .. } => seen.insert((*source, u64::from(*id))),
            Any::Counter { .. } => true,
        })
        .collect()
}

const ALL: [Dimension; 6] = [
    Dimension::User,
    Dimension::Team,
    Dimension::Provider,
    Dimension::Model,
    Dimension::Hour,
    Dimension::TokenType,
];

/// Plays facts into a new ledger, some per commit, with a restart half way.
fn play(facts: &[Any], per_commit: usize) -> (Vec<UsageRow>, Vec<UsageRow>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let mut open = Open::at(folder.path());
        for (index, chunk) in facts.chunks(per_commit).enumerate() {
            if index == facts.len() / per_commit / 2 {
                let before = open.close();
                open = Open::at(folder.path());
                assert_eq!(*open.published.lock().unwrap(), before);
            }
            let mut whole = Intake::default();
            for fact in chunk {
                let one = intake(fact);
                whole.records.extend(one.records);
                whole.points.extend(one.points);
            }
            open.ledger.append(whole).await.unwrap();
        }
        let rows = open.totals(&ALL).await;
        let sum = open.totals(&[]).await;
        let debt = open.ledger.debt().await.unwrap();
        let published = open.close();
        let net = |place: usize| {
            let values = published.values().map(|amounts| amounts[place]);
            values.sum::<i64>() - debt[place]
        };
        let total = sum.first().map_or_else(Tokens::default, |row| row.tokens);
        assert_eq!(net(0), fact::signed(total.input), "published less debt");
        assert_eq!(net(1), fact::signed(total.output), "published less debt");
        (rows, sum)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_order_of_arrival_gives_the_same_ledger(
        (facts, shuffled) in proptest::collection::vec(any_fact(), 1..14)
            .prop_map(unique)
            .prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        per_commit in 1..4_usize,
    ) {
        let (rows, sum) = play(&facts, 100);
        prop_assert_eq!(&play(&shuffled, per_commit), &(rows.clone(), sum.clone()));
        let twice: Vec<Any> = facts.iter().chain(&shuffled).cloned().collect();
        prop_assert_eq!(play(&twice, per_commit), (rows, sum));
    }
}

#[test]
fn a_request_leaves_the_session_that_it_was_counted_in() {
    // The gateway's report has no session and joins those of two, which a later report finds
    // from the other side.
    let request = |source, id, request_id, session, hour, input| Any::Request {
        source,
        id,
        request_id,
        session,
        hour,
        input,
    };
    let facts = [
        request(source::EVENTS, 183, Some(0), Some(0), 0, 11),
        request("litellm", 163, Some(0), Some(1), 24, 11),
        Any::Counter {
            session: Some(0),
            device: true,
            cumulative: false,
            start: 16,
            hour: 24,
            value: 29,
        },
        request("gateway", 78, Some(0), None, 16, 11),
        request("litellm", 235, None, Some(0), 18, 10),
        request("litellm", 184, None, Some(0), 23, 11),
    ];
    assert_eq!(play(&facts, 1), play(&facts, 100));
}

#[tokio::test]
async fn days_and_months_equal_their_quarter_hours_before_and_after_upkeep() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    for hour in 0..30 {
        let fact = Any::Request {
            source: "gateway",
            id: hour,
            request_id: None,
            session: None,
            hour,
            input: 100 + u64::from(hour),
        };
        open.ledger.append(intake(&fact)).await.unwrap();
    }
    let before = open.totals(&[Dimension::Day, Dimension::User]).await;
    let later: Timestamp = "2026-12-02T12:00:00Z".parse().unwrap();
    while open.ledger.upkeep(later).await.unwrap() {}
    assert_eq!(
        open.totals(&[Dimension::Day, Dimension::User]).await,
        before
    );
    let late = Any::Request {
        source: "gateway",
        id: 200,
        request_id: None,
        session: None,
        hour: 3,
        input: 7,
    };
    open.ledger.append(intake(&late)).await.unwrap();
    let stale = open.totals(&[Dimension::Month]).await;
    assert_eq!(
        stale[0].tokens.input,
        before.iter().map(|r| r.tokens.input).sum::<u64>() + 7
    );
    while open.ledger.upkeep(later).await.unwrap() {}
    assert_eq!(open.totals(&[Dimension::Month]).await, stale);
    open.close();
}

#[tokio::test]
async fn old_reports_are_let_go_and_their_sums_stay() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let fact = Any::Request {
        source: "gateway",
        id: 1,
        request_id: Some(1),
        session: Some(1),
        hour: 1,
        input: 10,
    };
    open.ledger.append(intake(&fact)).await.unwrap();
    let before = open.totals(&[Dimension::Day]).await;
    let later: Timestamp = "2027-06-01T00:00:00Z".parse().unwrap();
    while open.ledger.upkeep(later).await.unwrap() {}
    assert_eq!(open.totals(&[Dimension::Day]).await, before);
    let path = folder.path().join(open::FILE);
    open.close();
    let connection = open::read_only(&path).unwrap();
    let left = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(left("SELECT count(*) FROM fact"), 0);
    assert_eq!(left("SELECT count(*) FROM usage_quarter"), 0);
}

#[tokio::test]
async fn a_second_daemon_a_damaged_file_and_a_newer_schema_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let settings = Settings {
        folder: folder.path().to_owned(),
        retain_raw: Duration::from_secs(1),
        zone: TimeZone::UTC,
    };
    let again = || Ledger::open(&settings, Arc::default(), clock()).map(drop);
    assert!(matches!(again(), Err(StoreError::Locked { .. })));
    open.close();
    let path = folder.path().join(open::FILE);
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 999).unwrap();
    drop(newer);
    assert!(matches!(
        again(),
        Err(StoreError::NewerSchema { found: 999, .. })
    ));
    std::fs::write(&path, [b'x'; 8192]).unwrap();
    assert!(matches!(again(), Err(StoreError::Corrupt { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 8192]);
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE notes (text)").unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(again(), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn the_same_id_with_other_counts_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let fact = |input| Any::Request {
        source: "gateway",
        id: 1,
        request_id: None,
        session: None,
        hour: 1,
        input,
    };
    let mut verdicts = Vec::new();
    for input in [10, 10, 11] {
        let receipt = open.ledger.append(intake(&fact(input))).await.unwrap();
        verdicts.extend(receipt.records);
    }
    assert_eq!(verdicts[..2], [Verdict::Accepted, Verdict::Duplicate]);
    assert!(matches!(&verdicts[2], Verdict::Rejected(refusal) if refusal.code == "id_conflict"));
    open.close();
}

#[tokio::test]
async fn every_report_is_recognised_in_any_run_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let fact = |id: u8, input| Any::Request {
        source: "gateway",
        id,
        request_id: Some(id % 50),
        session: Some(1),
        hour: 1,
        input,
    };
    let open = Open::at(folder.path());
    for id in 0..200 {
        open.ledger.append(intake(&fact(id, 7))).await.unwrap();
    }
    let before = open.totals(&[Dimension::Model]).await;
    assert_eq!((before[0].requests, before[0].tokens.input), (50, 350));
    open.close();
    let open = Open::at(folder.path());
    for id in 0..200 {
        let again = open.ledger.append(intake(&fact(id, 7))).await.unwrap();
        assert_eq!(again.records, [Verdict::Duplicate], "{id}");
    }
    assert_eq!(open.totals(&[Dimension::Model]).await, before);
    open.close();
    let connection = open::read_only(&folder.path().join(open::FILE)).unwrap();
    let runs: Vec<(i64, i64)> = connection
        .prepare("SELECT level, last FROM key_run ORDER BY last")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(runs, [(3, 128), (2, 160), (2, 192), (1, 200)]);
}

#[tokio::test]
async fn a_ledger_from_before_there_were_runs_of_keys_recognises_its_reports() {
    let folder = tempfile::tempdir().unwrap();
    let fact = |id| Any::Request {
        source: "gateway",
        id,
        request_id: None,
        session: None,
        hour: 1,
        input: 7,
    };
    let open = Open::at(folder.path());
    for id in 0..9 {
        open.ledger.append(intake(&fact(id))).await.unwrap();
    }
    open.close();
    let path = folder.path().join(open::FILE);
    let older = Connection::open(&path).unwrap();
    let tables = "DELETE FROM key_run; DELETE FROM key_block;";
    older.execute_batch(tables).unwrap();
    drop(older);
    let open = Open::at(folder.path());
    for id in 0..9 {
        let again = open.ledger.append(intake(&fact(id))).await.unwrap();
        assert_eq!(again.records, [Verdict::Duplicate], "{id}");
    }
    open.close();
}

#[tokio::test]
async fn an_event_that_tells_of_a_request_is_recognised_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let id = [0xab; 16];
    let request = Any::Request {
        source: source::EVENTS,
        id: 1,
        request_id: None,
        session: Some(1),
        hour: 1,
        input: 7,
    };
    let mut delivery = intake(&request);
    delivery.records[0].id = "ab".repeat(16).into();
    delivery.activities.push(Activity {
        source: source::EVENTS.into(),
        id,
        at: at(1),
        identity: delivery.records[0].identity.clone(),
        metric: ActivityMetric::Events,
        labels: ["api_request".into()].into(),
        amount: 1,
    });
    // An event of its own, whose id only begins alike.
    let mut alone = delivery.activities[0].clone();
    alone.id[15] = 0;
    delivery.activities.push(alone);
    let mut twice = delivery.clone();
    twice.records.extend(delivery.records.clone());
    twice.activities.extend(delivery.activities.clone());
    let first = open.ledger.append(twice).await.unwrap();
    let (new, known) = (Verdict::Accepted, Verdict::Duplicate);
    assert_eq!(first.records, [new.clone(), known.clone()]);
    let expected = [new.clone(), new, known.clone(), known.clone()];
    assert_eq!(first.activities, expected);
    let again = open.ledger.append(delivery).await.unwrap();
    assert_eq!(again.activities, [known.clone(), known]);
    open.close();
    let connection = open::read_only(&folder.path().join(open::FILE)).unwrap();
    let sum = "SELECT amount, (SELECT count(*) FROM seen) FROM activity_quarter";
    let row = connection.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(row.unwrap(), (2_i64, 1_i64));
}
