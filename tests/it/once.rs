//! Counting once, through the front door: whoever tells of a request, in whatever order, with
//! the daemon killed between any two reports.

use jiff::{SignedDuration, Timestamp, ToSpan, Unit};
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::facts::{Counts, DEVICE, Request};
use crate::harness::{Daemon, Place, until};

/// One delivery.
#[derive(Clone, Debug)]
enum Step {
    Gateway(Value),
    Events(Value),
    Metrics(Value),
}

async fn take(daemon: &Daemon, step: &Step) {
    match step {
        Step::Gateway(record) => {
            assert_eq!(daemon.report(record).await["accepted"], 1);
        }
        Step::Events(export) => daemon.export("logs", export).await,
        Step::Metrics(export) => daemon.export("metrics", export).await,
    }
}

fn add(counts: &[Counts]) -> Counts {
    std::array::from_fn(|kind| counts.iter().map(|counts| counts[kind]).sum())
}

/// What the ledger holds over all time: tokens and requests.
async fn ledger(daemon: &Daemon) -> (Counts, u64) {
    let now = Clock::System.now();
    let from = (now - SignedDuration::from_hours(700 * 24)).to_string();
    let to = (now + SignedDuration::from_hours(48)).to_string();
    let answer = daemon
        .json(&format!("/api/v1/usage?from={from}&to={to}"))
        .await;
    sums(&answer["totals"])
}

fn sums(row: &Value) -> (Counts, u64) {
    let of = |kind: &str| row["tokens"][kind].as_u64().unwrap();
    let writes = of("cache_write_5m") + of("cache_write_1h") + of("cache_write_unknown");
    let counts = [of("input"), of("output"), of("cache_read"), writes];
    (counts, row["requests"].as_u64().unwrap())
}

fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    if steps.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for first in 0..steps.len() {
        let mut rest = steps.to_vec();
        let step = rest.remove(first);
        for mut order in self::orders(&rest) {
            order.insert(0, step.clone());
            orders.push(order);
        }
    }
    orders
}

/// Every order of arrival, with a crash after each delivery, gives these totals in the ledger
/// and at `/metrics`; sending all of it again changes nothing.
async fn assert_in_every_order(steps: &[Step], tokens: Counts, requests: u64) {
    for order in orders(steps) {
        let mut daemon = Place::new().start().await;
        for step in &order {
            take(&daemon, step).await;
            let before = daemon.scrape().await;
            daemon = daemon.crash().await;
            let after = daemon.scrape().await;
            assert_eq!(after.lasting(), before.lasting(), "{order:?}");
        }
        assert_eq!(ledger(&daemon).await, (tokens, requests), "{order:?}");
        let scrape = daemon.scrape().await;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let expected = (tokens.map(|n| n as f64), requests as f64);
        assert_eq!(
            (scrape.tokens(), scrape.requests("ok")),
            expected,
            "{order:?}"
        );
        for step in order
            .iter()
            .filter(|step| !matches!(step, Step::Gateway(_)))
        {
            take(&daemon, step).await;
        }
        assert_eq!(
            daemon.scrape().await.lasting(),
            scrape.lasting(),
            "{order:?}"
        );
    }
}

fn an_hour_ago() -> Timestamp {
    let now = Clock::System.now() - SignedDuration::from_hours(1);
    now.round(Unit::Millisecond).unwrap()
}

#[tokio::test]
async fn metrics_event_and_gateway_of_one_request_are_one_in_any_order() {
    let request = Request::new(an_hour_ago());
    let steps = [
        Step::Gateway(request.by_gateway("1")),
        Step::Events(request.by_client()),
        Step::Metrics(request.by_metrics(request.counts)),
    ];
    assert_in_every_order(&steps, request.counts, 1).await;
}

#[tokio::test]
async fn without_a_request_id_session_and_counts_tell_that_it_is_one() {
    let mut request = Request::new(an_hour_ago());
    request.known_as = None;
    request.model = "us.anthropic.claude-sonnet-4-6-v1:0";
    let mut seen_by_gateway = request.clone();
    seen_by_gateway.at = request.at + SignedDuration::from_millis(1200);
    let steps = [
        Step::Gateway(seen_by_gateway.by_gateway("1")),
        Step::Events(request.by_client()),
        Step::Metrics(request.by_metrics(request.counts)),
    ];
    assert_in_every_order(&steps, request.counts, 1).await;
}

#[tokio::test]
async fn a_gateway_that_starts_in_mid_session_adds_nothing_and_hides_nothing() {
    let first = Request::new(an_hour_ago());
    let second = Request {
        at: first.at + SignedDuration::from_secs(60),
        known_as: Some("req_2"),
        counts: [17, 5, 0, 0],
        ..first.clone()
    };
    let both = add(&[first.counts, second.counts]);
    let steps = [
        Step::Events(first.by_client()),
        Step::Gateway(second.by_gateway("2")),
        Step::Metrics(second.by_metrics(both)),
    ];
    // The event of the second request was lost: only the gateway and the metrics tell of it.
    assert_in_every_order(&steps, both, 2).await;
}

#[tokio::test]
async fn two_equal_requests_of_one_session_stay_two() {
    let mut first = Request::new(an_hour_ago());
    first.known_as = None;
    let mut second = first.clone();
    second.at = first.at + SignedDuration::from_secs(5);
    let steps = [
        Step::Events(first.by_client()),
        Step::Events(second.by_client()),
        Step::Gateway(second.by_gateway("2")),
    ];
    let both = add(&[first.counts, second.counts]);
    assert_in_every_order(&steps, both, 2).await;
}

#[tokio::test]
async fn reports_without_a_session_are_compared_by_device_and_day() {
    // The middle of yesterday: all of it is on one day.
    let today = Clock::System.now().as_second().div_euclid(86_400);
    let noon = Timestamp::from_second((today - 1) * 86_400 + 43_200).unwrap();
    let mut request = Request::new(noon);
    request.session = None;
    let lost = [100, 10, 0, 7];
    let metered = add(&[request.counts, lost]);
    let steps = [
        Step::Events(request.by_client()),
        Step::Metrics(request.by_metrics(metered)),
    ];
    assert_in_every_order(&steps, metered, 1).await;
}

/// Usage by a dimension of time: the key and the number of requests.
async fn requests_by(daemon: &Daemon, dimension: &str, from: Timestamp) -> Vec<(String, u64)> {
    let to = Clock::System.now() + SignedDuration::from_hours(1);
    let path = format!("/api/v1/usage?from={from}&to={to}&group_by={dimension}");
    let answer = daemon.json(&path).await;
    let rows = answer["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        let key = row[dimension].as_str().unwrap().to_owned();
        (key, row["requests"].as_u64().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn a_late_record_of_yesterday_is_counted_now_and_belongs_to_yesterday() {
    let daemon = Place::new().start().await;
    let yesterday = Clock::System.now() - SignedDuration::from_hours(24);
    let request = Request::new(yesterday);
    daemon.report(&request.by_gateway("1")).await;
    assert_eq!(daemon.scrape().await.requests("ok"), 1.0);
    let day = yesterday.strftime("%Y-%m-%d").to_string();
    let from = yesterday - SignedDuration::from_hours(48);
    assert_eq!(requests_by(&daemon, "day", from).await, [(day, 1)]);
}

#[tokio::test]
async fn a_correction_across_the_end_of_a_month_moves_the_ledger_and_not_the_counters() {
    let now = Clock::System.now().to_zoned(jiff::tz::TimeZone::UTC);
    let first = now.first_of_month().unwrap().start_of_day().unwrap();
    let last_month = first.checked_sub(1.month()).unwrap();
    // Last month's beginning, so that it is past on every day of this month.
    let midnight = last_month.timestamp();
    let client = Request::new(midnight + SignedDuration::from_secs(1));
    let gateway = Request {
        at: midnight - SignedDuration::from_secs(1),
        ..client.clone()
    };
    let before = gateway.at.strftime("%Y-%m").to_string();
    let after = client.at.strftime("%Y-%m").to_string();
    let from = last_month.checked_sub(1.month()).unwrap().timestamp();

    let daemon = Place::new().start().await;
    daemon.export("logs", &client.by_client()).await;
    let first = daemon.scrape().await;
    assert_eq!(requests_by(&daemon, "month", from).await, [(after, 1)]);
    let daemon = daemon.crash().await;
    daemon.report(&gateway.by_gateway("1")).await;
    let months = requests_by(&daemon, "month", from).await;
    assert_eq!(months, [(before, 1)]);
    let day = gateway.at.strftime("%Y-%m-%d").to_string();
    assert_eq!(requests_by(&daemon, "day", from).await, [(day, 1)]);
    let second = daemon.scrape().await;
    assert_eq!(second.tokens(), first.tokens());
    assert_eq!(second.requests("ok"), 1.0);
}

#[tokio::test]
async fn a_device_that_gets_its_person_moves_in_the_ledger_and_not_in_the_counters() {
    const HEADER: &str = "identity,person,kind,team,project,cost_center,role,from,to\n";
    let place = Place::new();
    let directory = place.write("directory.csv", HEADER);
    let path = directory.display();
    place.configure(&format!("[identity]\ndirectory = \"{path}\"\n"));
    let daemon = place.start().await;
    let mut request = Request::new(an_hour_ago());
    request.user = "";
    daemon.export("logs", &request.by_client()).await;
    let device = format!("device:{}", &DEVICE[..12]);
    assert_eq!(users(&daemon).await, [(device, 1)]);
    let before = daemon.scrape().await;

    let rows = format!("{HEADER}{DEVICE},alice@example.com,device,,,,,,\n");
    place.write("directory.csv", &rows);
    daemon.signal("HUP");
    until("the person of the device", async || {
        (users(&daemon).await == [("alice@example.com".to_owned(), 1)]).then_some(())
    })
    .await;
    assert_eq!(daemon.scrape().await.lasting(), before.lasting());
    let daemon = daemon.crash().await;
    assert_eq!(users(&daemon).await, [("alice@example.com".to_owned(), 1)]);
    assert_eq!(daemon.scrape().await.lasting(), before.lasting());
}

async fn users(daemon: &Daemon) -> Vec<(String, u64)> {
    let from = Clock::System.now() - SignedDuration::from_hours(48);
    requests_by(daemon, "user", from).await
}

/// Requests that a source reported, and how many of them counted.
async fn control(daemon: &Daemon, source: &str) -> (u64, u64) {
    let from = Clock::System.now() - SignedDuration::from_hours(48);
    let to = Clock::System.now() + SignedDuration::from_hours(24);
    let path = format!("/api/v1/usage/control?from={from}&to={to}");
    let answer = daemon.json(&path).await;
    let sources = answer["sources"].as_array().unwrap();
    let row = sources.iter().find(|row| row["source"] == source).unwrap();
    let of = |what: &str| row[what]["requests"].as_u64().unwrap();
    (of("reported"), of("counted"))
}

#[tokio::test]
async fn what_was_not_counted_is_kept_as_control_totals() {
    let daemon = Place::new().start().await;
    let request = Request::new(an_hour_ago());
    daemon.export("logs", &request.by_client()).await;
    assert_eq!(control(&daemon, "events").await, (1, 1));
    daemon.report(&request.by_gateway("1")).await;
    assert_eq!(control(&daemon, "events").await, (1, 0));
    assert_eq!(control(&daemon, "gateway").await, (1, 1));
}

#[tokio::test]
async fn a_source_declared_for_control_is_kept_and_not_counted() {
    let rule = "[sources]\n[[sources.control]]\nsource = \"events\"\nprovider = \"bedrock\"\n";
    let daemon = Place::with(rule).start().await;
    let mut request = Request::new(an_hour_ago());
    request.model = "us.anthropic.claude-sonnet-4-6-v1:0";
    daemon.export("logs", &request.by_client()).await;
    assert_eq!(ledger(&daemon).await, ([0; 4], 0));
    assert_eq!(control(&daemon, "events").await, (1, 0));
    request.model = "claude-sonnet-4-6";
    request.session = Some("another");
    daemon.export("logs", &request.by_client()).await;
    assert_eq!(ledger(&daemon).await, (request.counts, 1));
    assert_eq!(control(&daemon, "events").await, (2, 1));
    assert_eq!(daemon.scrape().await.requests("ok"), 1.0);
}

#[tokio::test]
async fn a_key_with_other_counts_is_a_conflict_and_with_the_same_a_duplicate() {
    let daemon = Place::new().start().await;
    let request = Request::new(an_hour_ago());
    daemon.report(&request.by_gateway("1")).await;
    let daemon = daemon.crash().await;
    let other = Request {
        counts: [1, 1, 1, 1],
        ..request.clone()
    };
    let both = json!([request.by_gateway("1"), other.by_gateway("1")]);
    let answer = daemon.report(&both).await;
    assert_eq!(
        (&answer["accepted"], &answer["duplicates"]),
        (&json!(0), &json!(1))
    );
    let rejected = &answer["rejected"][0];
    assert_eq!(
        (&rejected["index"], &rejected["code"]),
        (&json!(1), &json!("id_conflict"))
    );
    assert_eq!(ledger(&daemon).await, (request.counts, 1));
    assert_eq!(daemon.scrape().await.requests("ok"), 1.0);
}
