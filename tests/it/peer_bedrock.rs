//! The collector `bedrock` against moto: an estate of several accounts, and what goes wrong in one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use reqwest::Client;
use serde_json::json;
use tallyd::clock::Clock;
use tempfile::TempDir;

use crate::cloudwatch::CloudWatch;
use crate::harness::{Daemon, Place, Scrape, until};

const ACCOUNTS: [&str; 2] = ["111111111111", "222222222222"];
const SONNET: &str = "us.anthropic.claude-sonnet-4-6-v1:0";
const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

/// What a test wants to go wrong.
#[derive(Debug, Default)]
struct Faults {
    /// The account whose role may not be assumed.
    denied_account: Option<&'static str>,
    /// Whether metrics may be listed, but not read.
    deny_reading: bool,
    /// Answers that are to be called partial.
    partial: usize,
    /// Calls of an operation that are refused as too many.
    throttled: BTreeMap<&'static str, usize>,
    /// Calls that came, by operation.
    calls: BTreeMap<String, usize>,
}

/// Stands between the daemon and CloudWatch.
#[derive(Debug)]
struct Between {
    front: String,
    client: Client,
    faults: Mutex<Faults>,
}

impl Between {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// What is answered in place of CloudWatch.
    fn refusal(&self, operation: &str, body: &[u8]) -> Option<Response> {
        let mut faults = self.faults();
        *faults.calls.entry(operation.to_owned()).or_default() += 1;
        if let Some(account) = faults.denied_account
            && operation == "AssumeRole"
            && contains(body, account.as_bytes())
        {
            return Some(denied_by_sts());
        }
        if faults.deny_reading && operation == "GetMetricData" {
            return Some(cbor_error(StatusCode::FORBIDDEN, "AccessDenied"));
        }
        let left = faults.throttled.get_mut(operation)?;
        *left = left.checked_sub(1)?;
        Some(cbor_error(StatusCode::BAD_REQUEST, "Throttling"))
    }

    fn takes_a_part_away(&self) -> bool {
        let mut faults = self.faults();
        let is_partial = faults.partial > 0;
        faults.partial = faults.partial.saturating_sub(1);
        is_partial
    }
}

async fn pass_on(
    State(between): State<Arc<Between>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let operation = match uri.path().rsplit_once("/operation/") {
        Some((_, operation)) => operation.to_owned(),
        None if contains(&body, b"Action=AssumeRole") => "AssumeRole".to_owned(),
        None => "another".to_owned(),
    };
    if let Some(refusal) = between.refusal(&operation, &body) {
        return refusal;
    }
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::HOST);
    let url = format!("{}{uri}", between.front);
    let request = between
        .client
        .request(method, url)
        .headers(headers)
        .body(body);
    let answer = request.send().await.unwrap();
    let mut passed = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            passed = passed.header(name, value);
        }
    }
    let mut body = answer.bytes().await.unwrap();
    if operation == "GetMetricData" && between.takes_a_part_away() {
        // Texts of CBOR with their lengths.
        body = replace(&body, b"\x68Complete", b"\x6bPartialData").into();
    }
    passed.body(Body::from(body)).unwrap()
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn replace(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = body;
    while let Some(byte) = rest.first() {
        if rest.starts_with(from) {
            replaced.extend(to);
            rest = &rest[from.len()..];
        } else {
            replaced.push(*byte);
            rest = &rest[1..];
        }
    }
    replaced
}

fn denied_by_sts() -> Response {
    let body = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
                <Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized</Message>\
                </Error><RequestId>1</RequestId></ErrorResponse>";
    let answer = Response::builder().status(StatusCode::FORBIDDEN);
    let answer = answer.header(header::CONTENT_TYPE, "text/xml");
    answer.body(body.into()).unwrap()
}

/// An error as the protocol rpc-v2-cbor has it.
fn cbor_error(status: StatusCode, code: &str) -> Response {
    let mut body = b"\xa1\x66__type".to_vec();
    body.push(0x60 + u8::try_from(code.len()).unwrap());
    body.extend(code.as_bytes());
    Response::builder()
        .status(status)
        .header("smithy-protocol", "rpc-v2-cbor")
        .header(header::CONTENT_TYPE, "application/cbor")
        .header("x-amzn-query-error", format!("{code};Sender"))
        .body(body.into())
        .unwrap()
}

/// CloudWatch in several accounts.
struct Estate {
    _folder: TempDir,
    _cloud: CloudWatch,
    between: Arc<Between>,
    url: String,
}

impl Estate {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cloud = CloudWatch::start(folder.path()).await;
        let between = Arc::new(Between {
            front: cloud.url.clone(),
            client: Client::builder().no_proxy().build().unwrap(),
            faults: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass_on).with_state(between.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            _folder: folder,
            _cloud: cloud,
            between,
            url,
        }
    }

    /// Puts one value a minute into each of the minutes that begin `ago` minutes ago.
    async fn put(
        &self,
        account: &str,
        model_id: &str,
        minutes: std::ops::Range<i64>,
        values: &[(&str, f64)],
    ) {
        let now = Clock::System.now().as_second().div_euclid(60) * 60;
        let data: Vec<_> = minutes
            .flat_map(|minute| {
                values
                    .iter()
                    .map(move |(name, value)| (minute, name, value))
            })
            .map(|(minute, name, value)| {
                json!({
                    "MetricName": name,
                    "Timestamp": now + minute * 60,
                    "Value": value,
                    "Dimensions": [{"Name": "ModelId", "Value": model_id}],
                })
            })
            .collect();
        let scope = "Credential=x/20260101/us-east-1/monitoring/aws4_request";
        let request = self
            .between
            .client
            .post(&self.between.front)
            .header("content-type", "application/x-amz-json-1.0")
            .header(
                "x-amz-target",
                "GraniteServiceVersion20100801.PutMetricData",
            )
            // Passed on to moto as it is, which lets everybody put into Amazon's own namespaces.
            .header("x-moto-account-id", account)
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=x"),
            )
            .body(json!({"Namespace": "AWS/Bedrock", "MetricData": data}).to_string());
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// A place whose daemon reads both accounts.
    fn place(&self) -> Arc<Place> {
        let url = &self.url;
        let [one, two] = ACCOUNTS;
        Place::with(&format!(
            "[bedrock]\nenabled = true\nperiod = \"1m\"\ndelay = \"0s\"\n\
             latency_statistics = [\"Average\", \"Maximum\"]\n\
             [aws]\nregion = \"us-east-1\"\nendpoint_url = \"{url}\"\n\
             [[aws.accounts]]\nid = \"{one}\"\nrole = \"arn:aws:iam::{one}:role/tallyd\"\n\
             [[aws.accounts]]\nid = \"{two}\"\nrole = \"arn:aws:iam::{two}:role/tallyd\"\n\
             regions = [\"us-east-1\"]"
        ))
    }

    async fn daemon(&self, place: &Arc<Place>) -> Daemon {
        let mut command = place.command(&["run"]);
        command.env("AWS_ACCESS_KEY_ID", "x");
        command.env("AWS_SECRET_ACCESS_KEY", "y");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        place.spawn(&mut command).await
    }
}

/// Waits for the end of the first round.
async fn first_round(daemon: &Daemon) -> Scrape {
    until("the first round of the collector", async || {
        let scrape = daemon.scrape().await;
        let told =
            |series: &String| series.starts_with("tallyd_collector_success{collector=\"bedrock\"}");
        scrape.0.keys().any(told).then_some(scrape)
    })
    .await
}

/// Waits for a later round, which begins within a minute.
async fn later<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(Duration::from_secs(90), async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let Ok(found) = found.await else {
        panic!("waited in vain for {what}");
    };
    found
}

async fn detail(daemon: &Daemon) -> String {
    let ready = daemon.json("/readyz").await;
    let conditions = ready["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|one| one["name"] == "bedrock");
    condition.unwrap()["detail"].as_str().unwrap().to_owned()
}

/// Three hours ago, for ten minutes: within the day that is compared, whenever the test runs.
const BEFORE: std::ops::Range<i64> = -180..-170;

/// The last hour and the next minutes: whichever minute a round takes for the last one.
const NOW: std::ops::Range<i64> = -60..10;

#[tokio::test]
#[ignore = "needs moto"]
async fn an_estate_is_read_as_one_and_held_against_the_ledger() {
    let estate = Estate::start().await;
    let usage = [
        ("Invocations", 2.0),
        ("InputTokenCount", 300.0),
        ("OutputTokenCount", 40.0),
        ("CacheReadInputTokenCount", 5_000.0),
    ];
    for account in ACCOUNTS {
        estate.put(account, SONNET, BEFORE, &usage).await;
    }
    let busy = [
        ("Invocations", 7.0),
        ("InvocationThrottles", 1.0),
        ("InvocationLatency", 1_500.0),
        ("TimeToFirstToken", 300.0),
    ];
    estate.put(ACCOUNTS[1], HAIKU, NOW, &busy).await;
    estate
        .put(ACCOUNTS[1], "amazon.nova-pro-v1:0", NOW, &busy)
        .await;
    let place = estate.place();
    let daemon = estate.daemon(&place).await;
    let at = Clock::System.now() - jiff::SignedDuration::from_mins(175);
    let record = json!([{
        "id": "a", "at": at.to_string(), "user": "ada@example.com", "provider": "bedrock",
        "model": SONNET,
        "tokens": {"input": 3_000, "output": 400, "cache_read": 100_000},
    }]);
    daemon.report(&record).await;
    daemon.kill();

    let daemon = estate.daemon(&place).await;
    let scrape = first_round(&daemon).await;
    let of = |name: &str, model, more: &[(&str, &str)]| {
        let labels: Vec<_> = [("model", model)].iter().chain(more).copied().collect();
        scrape.sum(name, &labels)
    };
    let coverage = |measure| {
        ["provider", "counted", "ratio"].map(|side| {
            let name = format!("tallyd_usage_coverage_{side}");
            of(&name, "claude-sonnet-4-6", &[("measure", measure)])
        })
    };
    assert_eq!(coverage("requests"), [40.0, 1.0, 0.025]);
    assert_eq!(coverage("input"), [6_000.0, 3_000.0, 0.5]);
    assert_eq!(coverage("output"), [800.0, 400.0, 0.5]);
    assert_eq!(coverage("cacheRead"), [100_000.0, 100_000.0, 1.0]);
    let haiku = |name, more: &[_]| of(name, "claude-haiku-4-5", more);
    let account = ("account", ACCOUNTS[1]);
    assert_eq!(haiku("aws_bedrock_invocations", &[account]), 7.0);
    assert_eq!(haiku("aws_bedrock_invocation_throttles", &[account]), 1.0);
    for statistic in ["Average", "Maximum"] {
        let labels = [("statistic", statistic)];
        assert_eq!(
            haiku("aws_bedrock_invocation_latency_seconds", &labels),
            1.5
        );
        assert_eq!(
            haiku("aws_bedrock_time_to_first_token_seconds", &labels),
            0.3
        );
    }
    assert_eq!(scrape.sum("aws_bedrock_invocations", &[]), 7.0);
    assert_eq!(scrape.sum("tallyd_bedrock_account_success", &[]), 2.0);
    assert_eq!(detail(&daemon).await, "2 accounts and regions are read");
    until("the evidence that models are in use", async || {
        let series = daemon.scrape().await.0;
        series.get("tallyd_telemetry_silent_seconds").copied()
    })
    .await;
    // Four metrics in each account, and in the second two counts and two statistics of two times.
    let asked = 4.0 + 4.0 + 6.0;
    assert_eq!(
        scrape.sum("tallyd_cloudwatch_metrics_requested_total", &[]),
        asked
    );
    let complete = [("status", "Complete")];
    assert_eq!(scrape.sum("tallyd_bedrock_results_total", &complete), asked);
    let cost = scrape.sum(
        "tallyd_aws_request_cost_USD_total",
        &[("operation", "GetMetricData")],
    );
    assert!((cost - asked * 0.000_01).abs() < 1e-12, "{cost}");
}

#[tokio::test]
#[ignore = "needs moto"]
async fn one_account_that_fails_hides_no_other_and_is_read_again_later() {
    let estate = Estate::start().await;
    for account in ACCOUNTS {
        estate
            .put(account, HAIKU, NOW, &[("Invocations", 7.0)])
            .await;
    }
    estate.between.faults().denied_account = Some(ACCOUNTS[1]);
    // Fewer than the SDK tries again by itself.
    estate.between.faults().throttled = BTreeMap::from([("GetMetricData", 2)]);
    let place = estate.place();
    let daemon = estate.daemon(&place).await;
    let scrape = first_round(&daemon).await;
    let values = |scrape: &Scrape, name: &str| {
        ACCOUNTS.map(|account| scrape.sum(name, &[("account", account)]))
    };
    assert_eq!(
        values(&scrape, "tallyd_bedrock_account_success"),
        [1.0, 0.0]
    );
    assert_eq!(values(&scrape, "aws_bedrock_invocations"), [7.0, 0.0]);
    assert_eq!(scrape.sum("tallyd_usage_coverage_provider", &[]), 0.0);
    let failures = [("operation", "ListMetrics"), ("reason", "credentials")];
    assert_eq!(
        scrape.sum("tallyd_aws_request_failures_total", &failures),
        1.0
    );
    assert_eq!(
        detail(&daemon).await,
        "1 of 2 accounts and regions are not read\n222222222222 us-east-1: ListMetrics \
         credentials; check that arn:aws:iam::222222222222:role/tallyd is there and trusts the \
         role of tallyd"
    );
    assert_eq!(daemon.get("/readyz").await.status(), 200);

    // What came late is added, and one answer of the next round is a part.
    estate
        .put(ACCOUNTS[0], HAIKU, NOW, &[("Invocations", 3.0)])
        .await;
    estate.between.faults().denied_account = None;
    let scrape = later("the second account", async || {
        let scrape = daemon.scrape().await;
        (values(&scrape, "tallyd_bedrock_account_success") == [1.0, 1.0]).then_some(scrape)
    })
    .await;
    assert_eq!(values(&scrape, "aws_bedrock_invocations"), [10.0, 7.0]);
    assert!(values(&scrape, "tallyd_bedrock_values_corrected_total")[0] >= 30.0);
    assert!(scrape.sum("tallyd_usage_coverage_provider", &[]) > 0.0);
    assert_eq!(detail(&daemon).await, "2 accounts and regions are read");
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_denied_call_is_told_with_its_statement_and_partial_answers_are_no_success() {
    let estate = Estate::start().await;
    for account in ACCOUNTS {
        estate
            .put(account, HAIKU, NOW, &[("Invocations", 7.0)])
            .await;
    }
    estate.between.faults().deny_reading = true;
    let place = estate.place();
    let daemon = estate.daemon(&place).await;
    let scrape = first_round(&daemon).await;
    let collector = [("collector", "bedrock")];
    assert_eq!(scrape.sum("tallyd_collector_success", &collector), 0.0);
    assert_eq!(scrape.sum("tallyd_bedrock_account_success", &[]), 0.0);
    let no_answer = [("status", "NoAnswer")];
    assert_eq!(scrape.sum("tallyd_bedrock_results_total", &no_answer), 2.0);
    let statement = r#"allow it with {"Effect":"Allow","Action":["cloudwatch:ListMetrics","cloudwatch:GetMetricData"],"Resource":"*"}"#;
    let detail = detail(&daemon).await;
    assert_eq!(detail.matches(statement).count(), 2, "{detail}");
    assert!(place.log().contains("cannot read the metrics of Bedrock"));
    daemon.kill();

    let partial = Faults {
        partial: 2,
        ..Faults::default()
    };
    *estate.between.faults() = partial;
    let daemon = estate.daemon(&place).await;
    let scrape = first_round(&daemon).await;
    assert_eq!(scrape.sum("tallyd_collector_success", &collector), 1.0);
    assert_eq!(scrape.sum("tallyd_bedrock_account_success", &[]), 0.0);
    let parts = [("status", "PartialData")];
    assert_eq!(scrape.sum("tallyd_bedrock_results_total", &parts), 2.0);
    assert_eq!(scrape.sum("tallyd_usage_coverage_provider", &[]), 0.0);
    // A scrape never asks AWS.
    let calls = estate.between.faults().calls.clone();
    for _ in 0..5 {
        daemon.scrape().await;
    }
    assert_eq!(
        estate.between.faults().calls["ListMetrics"],
        calls["ListMetrics"]
    );
}
