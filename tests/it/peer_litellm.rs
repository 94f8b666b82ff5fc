//! The real LiteLLM proxy asks the daemon by `deploy/litellm/`, in front of a model that keeps
//! account of what it told; and the real Claude Code, in front of both.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tallyd::clock::{Clock, Stopwatch};

use crate::dashboards::root;
use crate::harness::{Daemon, Owned, Place, answer, until};
use crate::peers::python;
use crate::quota::balance;

/// Each user has a day's tokens; Bob has used his.
pub(crate) const POLICY: &str = r#"
timezone = "UTC"
contact = "the platform team"

[[limits]]
name = "user-day"
per = ["user"]
unit = "tokens"
limit = 10_000_000
window = "day"
"#;

/// What people read of it.
pub(crate) const USED_UP: &str = "10,000,000 of 10,000,000 tokens are used";

const SESSION: &str = "3d0c7f4e-5a4e-4b5e-9a58-0d7f3b8c9a10";

/// Routes by which a model is used, with the bodies that they take.
fn routes() -> Vec<(&'static str, Value)> {
    let prompt = json!([{"role": "user", "content": "Is all well?"}]);
    let messages = |stream: bool| json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": prompt, "stream": stream});
    let chat =
        |model: &str, stream: bool| json!({"model": model, "messages": prompt, "stream": stream});
    let converse = json!({
        "messages": [{"role": "user", "content": [{"text": "Is all well?"}]}],
        "inferenceConfig": {"maxTokens": 50}
    });
    let invoke = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": prompt
    });
    vec![
        ("/v1/messages", messages(false)),
        ("/v1/messages", messages(true)),
        ("/chat/completions", chat("claude-sonnet-4-5", false)),
        ("/chat/completions", chat("claude-sonnet-4-5", true)),
        ("/chat/completions", chat("gpt-5", false)),
        ("/chat/completions", chat("gpt-5", true)),
        (
            "/v1/responses",
            json!({"model": "claude-sonnet-4-5", "input": "Is all well?"}),
        ),
        ("/bedrock/model/bedrock-sonnet/converse", converse.clone()),
        (
            "/bedrock/model/bedrock-sonnet/converse-stream",
            converse.clone(),
        ),
        ("/bedrock/model/bedrock-sonnet/invoke", invoke.clone()),
        (
            "/bedrock/model/bedrock-sonnet/invoke-with-response-stream",
            invoke,
        ),
        (
            "/bedrock/model/us.anthropic.claude-haiku-4-5-20251001-v1:0/converse",
            converse,
        ),
        ("/anthropic/v1/messages", messages(false)),
    ]
}

fn installed(path: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    target.parent().unwrap().join("peers").join(path)
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

pub(crate) fn place() -> Arc<Place> {
    let place = Place::new();
    let policy = place.write("policy.toml", POLICY);
    place.configure(&format!("[quota]\npolicy = \"{}\"\n", policy.display()));
    place
}

/// Starts the daemon where the gateway looks for it.
pub(crate) async fn start(place: &Arc<Place>, address: &str) -> Daemon {
    let mut command = place.command(&["run"]);
    command.env("TALLYD_LISTEN_HTTP", address);
    place.spawn(&mut command).await
}

pub(crate) async fn spent_by_bob(daemon: &Daemon) {
    let at = Clock::System.now().to_string();
    let record = json!([{"id": "before", "at": at, "user": "bob@example.com",
        "model": "claude-sonnet-4-5", "tokens": {"input": 10_000_000}}]);
    daemon.report(&record).await;
}

/// The proxy with the model behind it.
pub(crate) struct Gateway {
    pub(crate) model_process: Owned,
    _proxy: Owned,
    pub(crate) model: String,
    pub(crate) url: String,
    pub(crate) client: Client,
}

/// Hosts of providers. In front of the proxy all of them are the model.
const HOSTS: [&str; 4] = [
    "api.anthropic.com",
    "api.openai.com",
    "generativelanguage.googleapis.com",
    "us-east5-aiplatform.googleapis.com",
];

/// What the configuration of tests has beside the shipped one.
const FALLBACKS: &str = "litellm_settings:\n  fallbacks: [{claude-opus-4-5: [gpt-5]}]\n";

impl Gateway {
    /// Starts both in a place; the proxy asks the daemon at `address`.
    pub(crate) async fn start(place: &Place, address: &str, settings: &[(&str, &str)]) -> Self {
        let peers = root().join("tests/peers");
        let made = rcgen::generate_simple_self_signed(HOSTS.map(str::to_owned)).unwrap();
        let authority = place.write("hosts.pem", &made.cert.pem());
        let pair = made.cert.pem() + &made.signing_key.serialize_pem();
        let mut model = Owned(
            Command::new(python())
                .arg(peers.join("fake_model.py"))
                .arg(place.write("pair.pem", &pair))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut port = String::new();
        let said = model.0.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut port).unwrap();
        let model_url = format!("http://127.0.0.1:{}", port.trim());

        let hook = root().join("deploy/litellm/tallyd_hook.py");
        fs::copy(hook, place.path("tallyd_hook.py")).unwrap();
        let auth = peers.join("litellm_auth.py");
        fs::copy(auth, place.path("litellm_auth.py")).unwrap();
        let config = fs::read_to_string(root().join("deploy/litellm/config.yaml")).unwrap();
        let config = config.replace("litellm_settings:\n", FALLBACKS);
        let config = format!("{config}  custom_auth: litellm_auth.user_api_key_auth\n");
        let config = place.write("config.yaml", &config);

        let listen = free_address();
        let port = listen.rsplit_once(':').unwrap().1;
        let log = fs::File::create(place.path("litellm.log")).unwrap();
        let mut command = Command::new(installed("litellm/bin/litellm"));
        command.arg("--config").arg(config);
        command.args(["--host", "127.0.0.1", "--port", port]);
        command.current_dir(place.path("")).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let environment = [
            ("TALLYD_URL", format!("http://{address}")),
            ("TALLYD_SPOOL", place.path("spool").display().to_string()),
            ("ANTHROPIC_API_BASE", model_url.clone()),
            ("OPENAI_API_BASE", format!("{model_url}/v1")),
            ("AWS_BEDROCK_RUNTIME_ENDPOINT", model_url.clone()),
            ("HTTPS_PROXY", model_url.clone()),
            ("SSL_CERT_FILE", authority.display().to_string()),
        ];
        command.envs(environment);
        command.envs([
            ("ANTHROPIC_API_KEY", "test"),
            ("OPENAI_API_KEY", "test"),
            ("GEMINI_API_KEY", "test"),
            ("AIOHTTP_TRUST_ENV", "True"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION_NAME", "us-east-1"),
            ("LITELLM_MASTER_KEY", "sk-test"),
            // Asks the network for nothing at start.
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
        ]);
        command.envs(settings.iter().copied());
        let gateway = Self {
            model_process: model,
            _proxy: Owned(command.spawn().unwrap()),
            model: model_url,
            url: format!("http://{listen}"),
            client: Client::builder().no_proxy().build().unwrap(),
        };
        gateway.ready(place).await;
        gateway
    }

    /// It takes long to import; a busy machine may need minutes.
    async fn ready(&self, place: &Place) {
        let mut looks = 0;
        while looks < 8 {
            looks += 1;
            let asked = async || {
                let url = format!("{}/health/liveliness", self.url);
                self.client.get(url).send().await.ok()
            };
            let answered = async {
                loop {
                    if asked().await.is_some_and(|answer| answer.status() == 200) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(30), answered)
                .await
                .is_ok()
            {
                return;
            }
        }
        let log = fs::read_to_string(place.path("litellm.log")).unwrap();
        panic!("LiteLLM does not start: {log}");
    }

    pub(crate) async fn ask(&self, who: &str, path: &str, body: &Value) -> Response {
        let request = self.client.post(format!("{}{path}", self.url));
        let request = request.bearer_auth(format!("sk-{who}"));
        let request = request.header("x-claude-code-session-id", SESSION);
        request.json(body).send().await.unwrap()
    }

    /// Makes as many of the next requests fail.
    pub(crate) async fn fail(&self, times: u32) {
        let request = self.client.post(format!("{}/fail", self.model));
        request.json(&times).send().await.unwrap();
    }

    pub(crate) async fn told(&self) -> Value {
        let answer = self.client.get(&self.model).send().await.unwrap();
        answer.json().await.unwrap()
    }
}

/// Waits until the ledger has what the model told, no more and no less.
pub(crate) async fn agreed(daemon: &Daemon, gateway: &Gateway, user: &str) {
    let told = gateway.told().await;
    let expected = (&told["requests"], &told["tokens"]);
    let path = "/api/v1/usage?group_by=user";
    let found = until("the totals of the model in the ledger", async || {
        let usage = daemon.json(path).await;
        let rows = usage["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["user"] == user)?;
        let tokens = &row["tokens"];
        let tokens = json!({
            "input": tokens["input"], "output": tokens["output"],
            "cache_read": tokens["cache_read"], "cache_write": tokens["cache_write_unknown"],
        });
        let is_all = row["requests"].as_u64() >= told["requests"].as_u64();
        is_all.then_some((row["requests"].clone(), tokens))
    });
    let (requests, tokens) = found.await;
    assert_eq!((&requests, &tokens), expected);
}

#[tokio::test]
#[ignore = "needs litellm"]
async fn every_route_is_limited_and_charged_once() {
    let address = free_address();
    let place = place();
    let daemon = start(&place, &address).await;
    spent_by_bob(&daemon).await;
    let patient = [("TALLYD_DEADLINE_MS", "30000")];
    let gateway = Gateway::start(&place, &address, &patient).await;

    for (path, body) in routes() {
        let response = gateway.ask("alice", path, &body).await;
        let status = response.status();
        let shown = response.headers().contains_key("ratelimit");
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        let is_passed_through = path.starts_with("/anthropic");
        assert_eq!(shown, !is_passed_through, "{path}");
    }
    for path in [
        "/v1/messages/count_tokens",
        "/anthropic/v1/messages/count_tokens",
    ] {
        let (_, body) = &routes()[0];
        for who in ["alice", "bob"] {
            let response = gateway.ask(who, path, body).await;
            assert_eq!(response.status(), 200, "{path}");
        }
    }
    agreed(&daemon, &gateway, "alice@example.com").await;

    let before = gateway.told().await;
    for (path, body) in routes() {
        let response = gateway.ask("bob", path, &body).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(response.status(), 429, "{path}");
        assert_eq!(header("x-should-retry"), "false", "{path}");
        assert!(header("retry-after").parse::<u32>().unwrap() > 0, "{path}");
        let (_, body) = answer(response).await;
        let said = body["error"]["message"].as_str().unwrap();
        assert!(said.contains(USED_UP), "{path}: {body}");
        if path == "/v1/messages" {
            assert_eq!(body["type"], "error");
            assert_eq!(body["error"]["type"], "rate_limit_error");
        }
    }
    assert_eq!(gateway.told().await, before);
}

#[tokio::test]
#[ignore = "needs litellm"]
async fn a_retried_request_is_charged_once_and_a_failed_one_not_at_all() {
    let address = free_address();
    let place = place();
    let daemon = start(&place, &address).await;
    let patient = [("TALLYD_DEADLINE_MS", "5000")];
    let gateway = Gateway::start(&place, &address, &patient).await;
    let (path, body) = &routes()[1];
    gateway.fail(1).await;
    let response = gateway.ask("alice", path, body).await;
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap();
    agreed(&daemon, &gateway, "alice@example.com").await;
    gateway.fail(100).await;
    assert_eq!(gateway.ask("alice", path, body).await.status(), 500);
    gateway.fail(0).await;
    agreed(&daemon, &gateway, "alice@example.com").await;
    until("the end of all holds", async || {
        (balance(&daemon, "alice@example.com").await[2] == 0).then_some(())
    })
    .await;

    // Frozen, then gone: the answer is the policy's, within the deadline.
    drop(gateway);
    let gateway = Gateway::start(&place, &address, &[("TALLYD_DEADLINE_MS", "50")]).await;
    // Its first request loads much of LiteLLM.
    gateway
        .ask("alice", path, body)
        .await
        .bytes()
        .await
        .unwrap();
    daemon.signal("STOP");
    for _ in 0..5 {
        let asked = Stopwatch::start();
        let response = gateway.ask("alice", path, body).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["x-should-retry"], "false");
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    daemon.signal("CONT");
}

#[tokio::test]
#[ignore = "needs litellm"]
async fn what_was_used_while_the_daemon_was_down_is_charged_afterwards() {
    let address = free_address();
    let place = place();
    let daemon = start(&place, &address).await;
    let open = [("TALLYD_ON_ERROR", "open"), ("TALLYD_DEADLINE_MS", "5000")];
    let gateway = Gateway::start(&place, &address, &open).await;
    let routes = routes();
    let load = async |rounds: usize| {
        let call = async |worker: usize| {
            for round in 0..rounds {
                let (path, body) = &routes[(worker + round) % routes.len()];
                let response = gateway.ask("alice", path, body).await;
                assert_eq!(response.status(), 200, "{path}");
                response.bytes().await.unwrap();
            }
        };
        tokio::join!(call(0), call(3), call(6), call(9));
    };
    load(5).await;
    let outage = async {
        daemon.kill();
        until("the first request without the daemon", async || {
            let spool = fs::read_dir(place.path("spool")).unwrap();
            let sizes = spool.map(|file| file.unwrap().metadata().unwrap().len());
            (sizes.sum::<u64>() > 5_000).then_some(())
        })
        .await;
        start(&place, &address).await
    };
    let (daemon, ()) = tokio::join!(outage, load(25));
    load(2).await;
    agreed(&daemon, &gateway, "alice@example.com").await;
}

/// Runs Claude Code headless against the gateway, reporting to the daemon.
async fn claude(gateway: &Gateway, daemon: &Daemon, who: &str) -> (String, Duration) {
    let home = tempfile::tempdir().unwrap();
    let user = format!("{who}@example.com");
    let arguments = [
        "client-config",
        "--url",
        &daemon.otlp_http,
        "--user",
        &user,
        "--format",
        "managed-settings",
    ];
    let settings = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args(arguments)
        .output()
        .unwrap();
    let settings: Value = serde_json::from_slice(&settings.stdout).unwrap();
    let mut command = Command::new(installed("claude/node_modules/.bin/claude"));
    command.args(["-p", "Is all well?", "--model", "claude-sonnet-4-5"]);
    command.current_dir(home.path()).env("HOME", home.path());
    for (name, value) in settings["env"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    command.env("ANTHROPIC_BASE_URL", &gateway.url);
    command.env("ANTHROPIC_AUTH_TOKEN", format!("sk-{who}"));
    command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    command.stdin(Stdio::null());
    let started = Stopwatch::start();
    let said = tokio::task::spawn_blocking(move || command.output().unwrap());
    let said = said.await.unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    (text, started.elapsed())
}

#[tokio::test]
#[ignore = "needs litellm and Claude Code"]
async fn claude_code_counts_once_and_shows_the_quota_at_once() {
    let address = free_address();
    let place = place();
    let daemon = start(&place, &address).await;
    spent_by_bob(&daemon).await;
    let patient = [("TALLYD_DEADLINE_MS", "5000")];
    let gateway = Gateway::start(&place, &address, &patient).await;

    let (said, admitted) = claude(&gateway, &daemon, "alice").await;
    assert_eq!(said.trim(), "All is well.");
    let told = gateway.told().await;
    // The client has reported its counters and events when it ends.
    until("the session in all three reports", async || {
        let control = daemon.json("/api/v1/usage/control").await;
        let sources = control["sources"].as_array().unwrap();
        let input = &told["tokens"]["input"];
        let has = |name: &str| {
            let source = sources.iter().find(|row| row["source"] == name);
            source.is_some_and(|row| row["reported"]["tokens"]["input"].as_u64() >= input.as_u64())
        };
        (has("gateway") && has("events") && has("metrics")).then_some(())
    })
    .await;
    agreed(&daemon, &gateway, "alice@example.com").await;
    let scrape = daemon.scrape().await;
    let family = "claude_code_token_usage_tokens_total";
    for (label, kind) in [
        ("input", "input"),
        ("output", "output"),
        ("cacheRead", "cache_read"),
    ] {
        let labels = [("user", "alice@example.com"), ("type", label)];
        assert_eq!(
            scrape.sum(family, &labels),
            told["tokens"][kind].as_f64().unwrap()
        );
    }

    let asked = |log: String| log.matches("POST /v1/messages").count();
    let log = || fs::read_to_string(place.path("litellm.log")).unwrap();
    let before = asked(log());
    let (said, denied) = claude(&gateway, &daemon, "bob").await;
    assert!(said.contains("(429)") && said.contains(USED_UP), "{said}");
    assert!(
        denied < admitted + Duration::from_secs(2),
        "{denied:?} after {admitted:?}"
    );
    assert_eq!(asked(log()) - before, 1);
    assert_eq!(gateway.told().await, told);
}
