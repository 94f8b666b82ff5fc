//! A real Prometheus scrapes the daemon, over kill and restart.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::SignedDuration;
use reqwest::Client;
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::facts::Request;
use crate::harness::{Daemon, Owned, Place, until};

/// A running Prometheus and its address.
pub(crate) struct Prometheus {
    _process: Owned,
    url: String,
    client: Client,
}

/// A port that was free a moment ago, for programs that cannot tell which one they took.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Prometheus {
    /// Starts one that scrapes `target` every second.
    pub(crate) async fn start(place: &Place, target: &str) -> Self {
        Self::with_rules(place, target, &[]).await
    }

    /// As [`Self::start`], with files of rules.
    pub(crate) async fn with_rules(place: &Place, target: &str, rules: &[&str]) -> Self {
        let config = format!(
            "global: {{scrape_interval: 1s}}\nrule_files: {rules:?}\nscrape_configs:\n\
             - {{job_name: tallyd, static_configs: [{{targets: ['{target}']}}]}}\n"
        );
        let config = place.write("prometheus.yml", &config);
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!(
            "--storage.tsdb.path={}",
            place.path("tsdb").display()
        ));
        command.arg(format!("--web.listen-address={address}"));
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Owned(quiet.spawn().unwrap());
        let prometheus = Self {
            _process: process,
            url: format!("http://{address}"),
            client: Client::builder().no_proxy().build().unwrap(),
        };
        until("Prometheus", async || prometheus.ask("1").await).await;
        prometheus
    }

    async fn answer(&self, query: &str) -> Option<Value> {
        let query = percent_encoded(query);
        self.get(&format!("query?query={query}")).await
    }

    /// Whether a query has a result that is a number. Panics if it is no query.
    pub(crate) async fn shows(&self, query: &str) -> bool {
        let answer = self.answer(query).await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let mut results = answer["data"]["result"].as_array().unwrap().iter();
        results.any(|result| result["value"][1] != "NaN")
    }

    /// The value of a query with one result, if there is one.
    pub(crate) async fn ask(&self, query: &str) -> Option<f64> {
        let answer = self.answer(query).await?;
        let result = &answer["data"]["result"];
        let value = if answer["data"]["resultType"] == "scalar" {
            &result[1]
        } else {
            &result[0]["value"][1]
        };
        value.as_str()?.parse().ok()
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let url = format!("{}/api/v1/{path}", self.url);
        let response = self.client.get(url).send().await.ok()?;
        response.json().await.ok()
    }

    pub(crate) async fn wait_for(&self, query: &str, expected: f64) {
        let what = format!("{query} to be {expected}");
        until(&what, async || {
            (self.ask(query).await == Some(expected)).then_some(())
        })
        .await;
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let _ = write!(encoded, "%{byte:02x}");
    }
    encoded
}

async fn report(daemon: &Daemon, ids: std::ops::Range<u32>) {
    let at = Clock::System.now() - SignedDuration::from_mins(5);
    let request = Request {
        session: None,
        known_as: None,
        ..Request::new(at)
    };
    let records: Vec<_> = ids.map(|id| request.by_gateway(&id.to_string())).collect();
    daemon.report(&json!(records)).await;
}

const INPUT: &str = "claude_code_token_usage_tokens_total{type=\"input\"}";

#[tokio::test]
#[ignore = "needs prometheus"]
async fn counters_show_no_phantom_over_kill_and_restart() {
    let place = Place::new();
    let daemon = place.start().await;
    let target = daemon.http.strip_prefix("http://").unwrap().to_owned();
    let prometheus = Prometheus::start(&place, &target).await;
    report(&daemon, 0..10).await;
    prometheus.wait_for(INPUT, 12_000.0).await;
    prometheus
        .wait_for("claude_code_api_requests_total{outcome=\"ok\"}", 10.0)
        .await;

    daemon.kill();
    prometheus.wait_for("up", 0.0).await;
    // Prometheus looks for it where it was.
    let mut command = place.command(&["run"]);
    command.env("TALLYD_LISTEN_HTTP", &target);
    let daemon = place.spawn(&mut command).await;
    prometheus.wait_for("up", 1.0).await;
    prometheus.wait_for(INPUT, 12_000.0).await;
    report(&daemon, 5..15).await;
    prometheus.wait_for(INPUT, 18_000.0).await;

    let over_all = |function: &str| format!("max({function}({INPUT}[1h]))");
    assert_eq!(prometheus.ask(&over_all("resets")).await, Some(0.0));
    assert_eq!(
        prometheus.ask(&over_all("max_over_time")).await,
        Some(18_000.0)
    );
    let any = "max(resets({__name__=~\"claude_code_.*_total\"}[1h]))";
    assert_eq!(prometheus.ask(any).await, Some(0.0));
}

#[tokio::test]
#[ignore = "needs promtool"]
async fn promtool_finds_nothing_to_object_to() {
    let place = Place::new();
    let daemon = Arc::new(place.start().await);
    report(&daemon, 0..10).await;
    for session in ["delta-json", "api-errors-json"] {
        crate::sessions::send_all(&daemon, session).await;
    }
    let text = daemon.get("/metrics").await.text().await.unwrap();
    let metrics = place.write("metrics.txt", &text);
    let mut promtool = Command::new("promtool");
    let promtool = promtool.args(["check", "metrics"]);
    let input = std::fs::File::open(metrics).unwrap();
    let checked = promtool.stdin(input).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!((checked.status.code(), said.as_str()), (Some(0), ""));
}
