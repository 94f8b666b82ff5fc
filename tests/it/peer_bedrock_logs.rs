//! The collector `bedrock_logs` and the import against moto's S3 and CloudWatch Logs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tallyd::clock::Clock;
use tempfile::TempDir;

use crate::cloudwatch::CloudWatch;
use crate::harness::{Daemon, Place, until};
use crate::import::{ACCOUNT, MARKER, hour_of, import, numbers, packed, record};
use crate::peer_proxy::{HOST, Proxy};

const BUCKET: &str = "claude-code-bedrock-logs";
const GROUP: &str = "/aws/bedrock/claude-code";

/// S3 and CloudWatch Logs.
struct Cloud {
    _folder: TempDir,
    moto: CloudWatch,
    client: Client,
}

impl Cloud {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cloud = Self {
            moto: CloudWatch::start(folder.path()).await,
            _folder: folder,
            client: Client::builder().no_proxy().build().unwrap(),
        };
        cloud.put("", Vec::new()).await;
        cloud
            .logs("CreateLogGroup", &json!({"logGroupName": GROUP}))
            .await;
        let stream = json!({"logGroupName": GROUP, "logStreamName": "s"});
        cloud.logs("CreateLogStream", &stream).await;
        cloud
    }

    fn request(&self, service: &str, path: &str, method: Method) -> reqwest::RequestBuilder {
        let scope = format!("Credential=x/20260101/us-east-1/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=x");
        let request = self
            .client
            .request(method, format!("{}/{path}", self.moto.url));
        request.header("authorization", authorization)
    }

    /// Puts an object; the bucket itself without a key.
    async fn put(&self, key: &str, bytes: Vec<u8>) {
        let request = self.request("s3", &format!("{BUCKET}/{key}"), Method::PUT);
        let answer = request.body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    async fn logs(&self, operation: &str, body: &Value) {
        let request = self.request("logs", "", Method::POST);
        let target = format!("Logs_20140328.{operation}");
        let request = request.header("x-amz-target", target);
        let request = request.header("content-type", "application/x-amz-json-1.1");
        let answer = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    async fn put_events(&self, records: &[(Timestamp, String)]) {
        let events: Vec<_> = records
            .iter()
            .map(|(at, message)| json!({"timestamp": at.as_millisecond(), "message": message}))
            .collect();
        let body = json!({"logGroupName": GROUP, "logStreamName": "s", "logEvents": events});
        self.logs("PutLogEvents", &body).await;
    }

    fn place(&self, sources: &str) -> Arc<Place> {
        let url = &self.moto.url;
        Place::with(&format!(
            "[bedrock_logs]\nenabled = true\nevery = \"10s\"\nsources = [{sources}]\n\
             counted_accounts = [\"{ACCOUNT}\"]\n\
             [aws]\nregion = \"us-east-1\"\nendpoint_url = \"{url}\""
        ))
    }

    async fn daemon(&self, place: &Arc<Place>) -> Daemon {
        place.spawn(&mut with_credentials(place, &["run"])).await
    }
}

fn with_credentials(place: &Place, arguments: &[&str]) -> std::process::Command {
    let mut command = place.command(arguments);
    command.env("AWS_ACCESS_KEY_ID", "x");
    command.env("AWS_SECRET_ACCESS_KEY", "y");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Requests in the ledger.
async fn counted(daemon: &Daemon) -> u64 {
    let now = Clock::System.now();
    let from = now - SignedDuration::from_hours(48);
    let to = now + SignedDuration::from_hours(1);
    let path = format!("/api/v1/usage?from={from}&to={to}&group_by=model");
    let answer = daemon.json(&path).await;
    answer["totals"]["requests"].as_u64().unwrap()
}

async fn until_counted(daemon: &Daemon, requests: u64) {
    until(&format!("{requests} requests"), async || {
        (counted(daemon).await == requests).then_some(())
    })
    .await;
}

/// Waits for the end of the first round.
async fn first_round(daemon: &Daemon) {
    until("the first round of the collector", async || {
        let scrape = daemon.scrape().await;
        let told = |series: &String| series.starts_with("tallyd_bedrock_logs_success");
        scrape.0.keys().any(told).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs moto"]
async fn objects_in_s3_become_usage_and_late_ones_are_found() {
    let cloud = Cloud::start().await;
    let now = Clock::System.now();
    let earlier = now - SignedDuration::from_hours(2);
    let below = |at, name: &str| format!("bedrock-logs/{}/{name}", hour_of(at));
    let history = [record("r1", earlier), record("r2", earlier)];
    cloud
        .put(&below(earlier, "b.json.gz"), packed(&history))
        .await;
    let whole = packed(&[record("r3", earlier), record("r4", earlier)]);
    let broken = whole[..whole.len() - 9].to_vec();
    cloud.put(&below(earlier, "c.json.gz"), broken).await;
    let check = below(now, "amazon-bedrock-logs-permission-check");
    cloud.put(&check, b"{}".to_vec()).await;
    // Its counts are in a body of its own.
    let mut large = record("r5", earlier);
    let body = below(earlier, "data/r5_output.json.gz");
    large["input"] = json!({"inputContentType": "application/json"});
    large["output"] = json!({"outputBodyS3Path": format!("s3://{BUCKET}/{body}")});
    let answer = json!({"usage": {"input_tokens": 10, "output_tokens": 4}, "content": MARKER});
    cloud.put(&body, packed(&[answer])).await;
    cloud
        .put(&below(earlier, "d.json.gz"), packed(&[large]))
        .await;

    let source = format!("\"s3://{BUCKET}/bedrock-logs/\"");
    let place = cloud.place(&source);
    let daemon = cloud.daemon(&place).await;
    first_round(&daemon).await;
    let before = counted(&daemon).await;
    assert!((3..=5).contains(&before), "{before}");
    // What was before the first round is history.
    assert_eq!(daemon.scrape().await.tokens(), [0.0; 4]);
    // Written late, below an hour and under a name that come before those that were read.
    let late = record("r6", Clock::System.now() + SignedDuration::from_secs(1));
    cloud
        .put(&below(earlier, "a.json.gz"), packed(&[late]))
        .await;
    until_counted(&daemon, before + 1).await;
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.tokens(), [10.0, 4.0, 200.0, 30.0]);
    let result = |name: &'static str| [("result", name)];
    let objects = |name| scrape.sum("tallyd_bedrock_logs_objects_total", &result(name));
    assert_eq!(
        [objects("read"), objects("damaged"), objects("failed")],
        [3.0, 1.0, 0.0]
    );
    let duplicates = scrape.sum("tallyd_bedrock_logs_records_total", &result("duplicate"));
    assert_eq!(duplicates, 0.0);
    assert_eq!(scrape.sum("tallyd_bedrock_logs_success", &[]), 1.0);

    // Over a restart nothing is read again, and the import knows all of it.
    let daemon = daemon
        .crash_with(&mut with_credentials(&place, &["run"]))
        .await;
    let place_of_log = format!("s3://{BUCKET}/bedrock-logs");
    let arguments = ["import", "bedrock-logs", &place_of_log];
    let command = with_credentials(&place, &arguments);
    let (_, summary, said) = import(&daemon, command).await;
    let told = numbers(&summary);
    assert_eq!(
        (told["accepted"], told["known"]),
        (0, before + 1),
        "{summary}{said}"
    );
    assert_eq!(counted(&daemon).await, before + 1);
    daemon.stop().await;
    let ledger = std::fs::read(place.ledger()).unwrap();
    let marker = MARKER.as_bytes();
    assert!(!ledger.windows(marker.len()).any(|part| part == marker));
    assert!(!place.log().contains(MARKER));
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_log_group_is_read_with_an_overlap_and_one_that_is_missing_stops_no_other() {
    let cloud = Cloud::start().await;
    let now = Clock::System.now();
    let earlier = now - SignedDuration::from_hours(2);
    let event = |id: &str, at| (at, record(id, at).to_string());
    let bad = (earlier, "{\"schemaType\": broken".to_owned());
    cloud.put_events(&[event("r1", earlier), bad]).await;
    let place = cloud.place(&format!("\"logs:{GROUP}\", \"logs:absent\""));
    let daemon = cloud.daemon(&place).await;
    first_round(&daemon).await;
    assert_eq!(counted(&daemon).await, 1);
    let late = now - SignedDuration::from_secs(300);
    cloud.put_events(&[event("r2", late)]).await;
    until_counted(&daemon, 2).await;
    let scrape = daemon.scrape().await;
    let group = format!("logs:{GROUP}");
    let skipped = [("source", &*group), ("reason", "bad_line")];
    assert_eq!(
        scrape.sum("tallyd_bedrock_logs_skipped_total", &skipped),
        1.0
    );
    let success = |source| scrape.sum("tallyd_bedrock_logs_success", &[("source", source)]);
    assert_eq!([success(&*group), success("logs:absent")], [1.0, 0.0]);
    let ready = daemon.json("/readyz").await.to_string();
    assert!(
        ready.contains("1 of 2 logs are not read: logs:absent"),
        "{ready}"
    );
    daemon.stop().await;
}

#[tokio::test]
#[ignore = "needs moto"]
async fn s3_is_reached_through_the_proxy_and_trusted_by_the_companys_authority() {
    let cloud = Cloud::start().await;
    let now = Clock::System.now();
    let key = format!("{}/a.json.gz", hour_of(now));
    cloud.put(&key, packed(&[record("r1", now)])).await;
    let proxy = Proxy::start(&cloud.moto.url).await;
    let place = Place::new();
    let bundle = place.write("authority.pem", &proxy.pem);
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        place.configure(&format!(
            "[bedrock_logs]\nenabled = true\nsources = [\"s3://{BUCKET}\"]\n\
             [aws]\nregion = \"us-east-1\"\nendpoint_url = \"https://{HOST}\""
        ));
        let mut command = with_credentials(&place, &["run"]);
        command
            .env("HTTPS_PROXY", &proxy.url)
            .env(variable, &bundle);
        let daemon = place.spawn(&mut command).await;
        first_round(&daemon).await;
        let scrape = daemon.scrape().await;
        assert_eq!(scrape.sum("tallyd_bedrock_logs_success", &[]), 1.0);
        daemon.stop().await;
    }
    let asked = proxy.asked();
    assert!(asked.iter().all(|target| *target == format!("{HOST}:443")));
}
