//! History: it counts in the ledger, and nothing that is published moves.

use super::*;
use crate::model::usage::Reach;

/// A request told by a source, with a request id that others may share.
fn told(source: &'static str, reach: Reach, input: u64) -> Intake {
    let request = Any::Request {
        source,
        id: 1,
        request_id: Some(1),
        session: Some(1),
        hour: 1,
        input,
    };
    Intake {
        reach,
        ..intake(&request)
    }
}

/// Requests and input tokens that were published.
fn published(open: &Open) -> [i64; 2] {
    let published = open.published.lock().unwrap();
    published.values().fold([0; 2], |[requests, input], sums| {
        [requests + sums[REQUESTS], input + sums[0]]
    })
}

async fn counted(open: &Open) -> [u64; 2] {
    let totals = open.totals(&[Dimension::Provider]).await;
    let sum = |of: fn(&UsageRow) -> u64| totals.iter().map(of).sum();
    [sum(|row| row.requests), sum(|row| row.tokens.input)]
}

#[tokio::test]
async fn history_counts_in_the_ledger_and_is_published_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let history = told("gateway", Reach::Backfill, 10);
    let receipt = open.ledger.append(history.clone()).await.unwrap();
    assert_eq!(receipt.records, [Verdict::Accepted]);
    let again = open.ledger.append(history).await.unwrap();
    assert_eq!(again.records, [Verdict::Duplicate]);
    assert_eq!((counted(&open).await, published(&open)), ([1, 10], [0, 0]));
    open.close();
    let open = Open::at(folder.path());
    assert_eq!((counted(&open).await, published(&open)), ([1, 10], [0, 0]));
    open.close();
}

#[tokio::test]
async fn a_live_report_of_an_imported_request_is_published_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let history = told("gateway", Reach::Backfill, 10);
    open.ledger.append(history).await.unwrap();
    let live = told("events", Reach::Live, 10);
    open.ledger.append(live.clone()).await.unwrap();
    assert_eq!((counted(&open).await, published(&open)), ([1, 10], [1, 10]));
    open.ledger.append(live).await.unwrap();
    assert_eq!((counted(&open).await, published(&open)), ([1, 10], [1, 10]));
    open.close();
}

#[tokio::test]
async fn history_that_tells_a_published_request_better_moves_only_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let live = told("events", Reach::Live, 10);
    open.ledger.append(live).await.unwrap();
    for (source, input) in [("litellm", 12), ("gateway", 7)] {
        let history = told(source, Reach::Backfill, input);
        open.ledger.append(history).await.unwrap();
        let expected = ([1, input], [1, 10]);
        assert_eq!((counted(&open).await, published(&open)), expected);
        let debt = open.ledger.debt().await.unwrap();
        assert_eq!(debt, Difference::default());
    }
    open.close();
}

#[tokio::test]
async fn history_is_in_no_minute_and_counts_as_left_out_of_none() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        folder: folder.path().to_owned(),
        retain_raw: Duration::from_hours(90 * 24),
        zone: TimeZone::UTC,
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = seen.clone();
    let opened = Ledger::open(&settings, Arc::default(), clock()).unwrap();
    let (ledger, thread) = opened
        .start(Box::new(move |effects, _| {
            let growth = effects.growth.clone();
            heard
                .lock()
                .unwrap()
                .push((growth, effects.minutes.clone()));
        }))
        .unwrap();
    let mut history = told("gateway", Reach::Backfill, 10);
    history.records[0].duration_ms = Some(900);
    history.records[0].status_code = Some(429);
    let record = &history.records[0];
    history.activities.push(Activity {
        source: "gateway".into(),
        id: [7; 16],
        at: record.at,
        identity: record.identity.clone(),
        metric: ActivityMetric::Commits,
        labels: Arc::default(),
        amount: 1,
    });
    ledger.append(history).await.unwrap();
    ledger.close();
    thread.join();
    let nothing = (Growth::default(), MinuteEffects::default());
    assert_eq!(*seen.lock().unwrap(), [nothing]);
}
