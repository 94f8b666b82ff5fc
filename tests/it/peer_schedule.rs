//! Scheduled reports on their ways out: a bucket (moto's), and a webhook that is down at first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::Sha256;
use tallyd::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::billed::with_credentials;
use crate::cloudwatch::CloudWatch;
use crate::facts::Request;
use crate::harness::{Daemon, Place, until};
use crate::report_schedule::{hash, hex, zone};

const KEY: &str = "a key of the receiver";

/// Longer than two rounds: what failed is tried again after a minute at the earliest.
const TWO_ROUNDS: Duration = Duration::from_secs(150);

/// The last week and the last month in a zone, each from its first day to the one after its last.
fn periods(now: Timestamp, zone: &TimeZone) -> [(Date, Date); 2] {
    let today = now.to_zoned(zone.clone()).date();
    let weekday = i32::from(today.weekday().to_monday_zero_offset());
    let monday = today.saturating_sub(weekday.days());
    let first = today.first_of_month();
    [
        (monday.saturating_sub(7.days()), monday),
        (first.saturating_sub(1.month()), first),
    ]
}

/// A place with a request in the middle of each period.
async fn place_with_usage(periods: &[(Date, Date)], zone: &TimeZone) -> Arc<Place> {
    let place = Place::new();
    let daemon = place.start().await;
    let records: Vec<Value> = periods
        .iter()
        .map(|(first, _)| {
            let noon = first.saturating_add(2.days()).at(12, 0, 0, 0);
            let request = Request::new(noon.to_zoned(zone.clone()).unwrap().timestamp());
            let unnamed = Request {
                session: None,
                known_as: None,
                ..request
            };
            unnamed.by_gateway(&first.to_string())
        })
        .collect();
    daemon.report(&json!(records)).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
    place
}

fn schedule(name: &str, every: &str, formats: &str, zone: &str, to: &str) -> String {
    format!(
        "[[report.schedule]]\nname = \"{name}\"\nreport = \"chargeback\"\n{every}\n\
         formats = [{formats}]\ngroup_by = [\"team\"]\ntimezone = \"{zone}\"\n{to}\n"
    )
}

/// The lines of a CSV file's manifest, by name, and its content.
fn opened(bytes: &[u8]) -> (BTreeMap<String, String>, String) {
    let text = std::str::from_utf8(bytes).unwrap();
    let fact = |line: &str| {
        let (name, value) = line.strip_prefix("# ")?.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    let is_data = |line: &&str| !line.starts_with('#');
    let data: String = text.split_inclusive('\n').filter(is_data).collect();
    (text.lines().filter_map(fact).collect(), data)
}

/// A CSV file tells of exactly a period, and its content is what its manifest says.
fn is_of(bytes: &[u8], (first, end): (Date, Date), zone: &TimeZone) {
    let (manifest, data) = opened(bytes);
    let midnight = |day: Date| day.to_zoned(zone.clone()).unwrap().timestamp();
    let told = ["from", "to"].map(|name| manifest[name].parse::<Timestamp>().unwrap());
    assert_eq!(told, [midnight(first), midnight(end)]);
    assert_eq!(manifest["content_sha256"], hash(data.as_bytes()));
    assert!(data.contains("payments"), "{data}");
}

async fn last_success(daemon: &Daemon, schedules: &[&str]) {
    let family = "tallyd_report_schedule_last_success_timestamp_seconds";
    until("all that was written", async || {
        let scrape = daemon.scrape().await;
        let written = |name: &&str| scrape.sum(family, &[("schedule", name)]) > 0.0;
        schedules.iter().all(written).then_some(())
    })
    .await;
}

/// A bucket of moto.
struct Bucket {
    url: String,
    client: Client,
}

impl Bucket {
    async fn ask(&self, method: Method, key: &str) -> reqwest::Response {
        let scope = "Credential=x/20260101/us-east-1/s3/aws4_request";
        let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=x");
        let url = format!("{}/finance-reports{key}", self.url);
        let request = self.client.request(method, url);
        let answer = request.header("authorization", authorization).send();
        let answer = answer.await.unwrap();
        assert!(answer.status().is_success(), "{key}: {}", answer.status());
        answer
    }

    async fn keys(&self) -> Vec<String> {
        let list = self.ask(Method::GET, "?list-type=2").await;
        let list = list.text().await.unwrap();
        let keys = list.split("<Key>").skip(1);
        keys.map(|rest| rest.split_once('<').unwrap().0.to_owned())
            .collect()
    }
}

#[tokio::test]
#[ignore = "needs moto"]
async fn weeks_and_months_are_put_into_a_bucket_once() {
    let now = Clock::System.now();
    let (zone_name, zone) = zone(now);
    let periods = periods(now, &zone);
    let place = place_with_usage(&periods, &zone).await;
    let aws = CloudWatch::start(&place.path("")).await;
    let bucket = Bucket {
        url: aws.url.clone(),
        client: Client::builder().no_proxy().build().unwrap(),
    };
    bucket.ask(Method::PUT, "").await;
    let to = "to = \"s3://finance-reports/tallyd/books\"";
    let schedules = [
        schedule(
            "weekly",
            "every = \"week\"",
            r#""csv", "xlsx""#,
            zone_name,
            to,
        ),
        schedule(
            "monthly",
            "every = \"month\"\non_day = 1",
            r#""csv", "focus""#,
            zone_name,
            to,
        ),
    ];
    place.configure(&format!(
        "[aws]\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\n{}",
        aws.url,
        schedules.concat()
    ));
    let start = async || {
        let mut command = place.command(&["run"]);
        place.spawn(with_credentials(&mut command)).await
    };
    let daemon = start().await;
    until("both reports", async || {
        (bucket.keys().await.len() == 5).then_some(())
    })
    .await;
    last_success(&daemon, &["weekly", "monthly"]).await;
    let keys = bucket.keys().await;
    let get = async |beginning: &str, end: &str| {
        let whole = format!("tallyd/books/{beginning}-");
        let fits = |key: &&String| key.starts_with(&whole) && key.ends_with(end);
        let key = keys
            .iter()
            .find(|key| fits(key) && !key.ends_with(&format!(".focus{end}")));
        let answer = bucket.ask(Method::GET, &format!("/{}", key.unwrap())).await;
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        (kind, answer.bytes().await.unwrap())
    };
    for (name, period) in ["weekly", "monthly"].into_iter().zip(periods) {
        let (kind, bytes) = get(name, ".csv").await;
        assert!(kind.starts_with("text/csv"), "{kind}");
        is_of(&bytes, period, &zone);
    }
    let (kind, workbook) = get("weekly", ".xlsx").await;
    assert!(kind.contains("spreadsheetml") && workbook.starts_with(b"PK"));
    let (_, manifest) = get("monthly", ".focus.csv.manifest.json").await;
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let month = periods[1].0.strftime("%Y-%m");
    let focus = format!("/tallyd/books/monthly-{month}.focus.csv");
    let focus = bucket.ask(Method::GET, &focus).await.bytes().await.unwrap();
    assert_eq!(manifest["content_sha256"], hash(&focus));

    // What was written is known after a restart, and not written again.
    assert_eq!(daemon.stop().await.code(), Some(0));
    for key in &keys {
        bucket.ask(Method::DELETE, &format!("/{key}")).await;
    }
    let daemon = start().await;
    last_success(&daemon, &["weekly", "monthly"]).await;
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("tallyd_report_schedule_runs_total", &[]), 0.0);
    assert_eq!(bucket.keys().await, Vec::<String>::new());
    daemon.kill();
}

/// A file as it was posted.
#[derive(Clone, Debug)]
struct Posted {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A webhook that answers 500 to the second file that it ever gets.
async fn receiver() -> (String, Arc<Mutex<Vec<Posted>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/books", listener.local_addr().unwrap());
    let taken: Arc<Mutex<Vec<Posted>>> = Arc::default();
    let keep = taken.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let headers: BTreeMap<String, String> = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let mut body = vec![0; headers["content-length"].parse().unwrap()];
            client.read_exact(&mut body).await.unwrap();
            let count = {
                let mut taken = keep.lock().unwrap();
                taken.push(Posted { headers, body });
                taken.len()
            };
            let status = if count == 2 { "500 Oops" } else { "204 Taken" };
            let answer =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, taken)
}

/// As a receiver checks it by `docs/notifications.md`.
fn is_signed(posted: &Posted) {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(posted.headers["x-tallyd-timestamp"].as_bytes());
    mac.update(b".");
    mac.update(&posted.body);
    let digits = hex(&mac.finalize().into_bytes());
    assert_eq!(
        posted.headers["x-tallyd-signature"],
        format!("sha256={digits}")
    );
}

#[tokio::test]
#[ignore = "needs two minutes"]
async fn a_webhook_that_was_down_gets_every_file_signed_and_then_nothing_more() {
    let now = Clock::System.now();
    let (zone_name, zone) = zone(now);
    let [_, month] = periods(now, &zone);
    let place = place_with_usage(&[month], &zone).await;
    let (url, taken) = receiver().await;
    let key = place.write("key", KEY);
    let to = format!("to = \"{url}\"\nsecret_file = \"{}\"", key.display());
    let every = "every = \"month\"\non_day = 1";
    let settings = schedule("books", every, r#""csv", "json", "focus""#, zone_name, &to);
    place.configure(&settings);
    let daemon = place.start().await;
    let whole = async {
        while taken.lock().unwrap().len() < 6 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(TWO_ROUNDS, whole).await;
    let taken = || taken.lock().unwrap().clone();
    assert!(waited.is_ok(), "{} files came", taken().len());
    last_success(&daemon, &["books"]).await;
    let posted = taken();
    posted.iter().for_each(is_signed);
    let base = format!("books-{}", month.0.strftime("%Y-%m"));
    let names = [
        "csv",
        "json",
        "csv",
        "json",
        "focus.csv",
        "focus.csv.manifest.json",
    ];
    let names = names.map(|kind| format!("{base}.{kind}"));
    let told = |name: &str| -> Vec<String> {
        posted.iter().map(|one| one.headers[name].clone()).collect()
    };
    assert_eq!(told("x-tallyd-file"), names);
    let ids = told("x-tallyd-id");
    assert_eq!(
        [&ids[0], &ids[1]],
        [&ids[2], &ids[3]],
        "an attempt more has the same id"
    );
    is_of(&posted[2].body, month, &zone);
    let manifest: Value = serde_json::from_slice(&posted[5].body).unwrap();
    assert_eq!(manifest["content_sha256"], hash(&posted[4].body));
    let runs = daemon.scrape().await;
    let runs = ["failed", "written"]
        .map(|outcome| runs.sum("tallyd_report_schedule_runs_total", &[("outcome", outcome)]));
    assert_eq!(runs, [1.0, 1.0]);
    assert!(place.log().contains("the webhook answered 500"));

    let daemon = daemon.crash().await;
    last_success(&daemon, &["books"]).await;
    assert_eq!(taken().len(), 6);
    daemon.kill();
}
