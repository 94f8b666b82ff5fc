//! Starts the real daemon in a folder of its own, asks it, kills it, starts it again.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;

/// Longest time that a test waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks at a value that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` finds something, and fails with `what` if it does not come.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    let Ok(found) = found.await else {
        panic!("waited in vain for {what}");
    };
    found
}

/// A folder with a configuration, a store and a log, in which daemons run one after the other.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    store: PathBuf,
    /// The last value of every counter that survives restarts.
    seen: Mutex<BTreeMap<String, f64>>,
}

impl Place {
    /// A place with defaults and free ports.
    pub(crate) fn new() -> Arc<Self> {
        Self::with("")
    }

    /// A place with further sections of the configuration.
    pub(crate) fn with(settings: &str) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        Self::at(folder, store, settings)
    }

    /// A place whose store is in a folder of the caller's.
    pub(crate) fn at(folder: TempDir, store: PathBuf, settings: &str) -> Arc<Self> {
        let place = Self {
            folder,
            store,
            seen: Mutex::default(),
        };
        place.configure(settings);
        Arc::new(place)
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, settings: &str) {
        let store = self.store.display();
        let text = format!(
            "{settings}\n[store]\npath = \"{store}\"\n[listen]\nhttp = \"127.0.0.1:0\"\n\
             otlp_http = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\n"
        );
        self.write("tallyd.toml", &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.store.join("ledger.sqlite")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// All that daemons in this place have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// `tallyd` with arguments, an empty environment and its log in this place.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(self.append_log());
        command.env("TALLYD_CONFIG", self.path("tallyd.toml"));
        command.env("TALLYD_LOG_FORMAT", "json");
        command
    }

    /// The log, open to be written on.
    pub(crate) fn append_log(&self) -> File {
        let mut log = File::options();
        let log = log.create(true).append(true).open(self.path("log"));
        log.unwrap()
    }

    /// Runs `tallyd` until it ends by itself. Returns its exit code and what it said.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let before = self.log_length();
        let mut child = Owned(self.command(arguments).spawn().unwrap());
        let status = until("the end of tallyd", async || child.0.try_wait().unwrap()).await;
        (status.code(), self.log().split_off(before))
    }

    fn log_length(&self) -> usize {
        std::fs::metadata(self.path("log")).map_or(0, |file| file.len().try_into().unwrap())
    }

    /// Starts the daemon and waits until it listens.
    pub(crate) async fn start(self: &Arc<Self>) -> Daemon {
        self.spawn(&mut self.command(&["run"])).await
    }

    /// As [`Self::start`], with a command of the caller's that runs the daemon in the end.
    pub(crate) async fn spawn(self: &Arc<Self>, command: &mut Command) -> Daemon {
        let before = self.log_length();
        let mut child = Owned(command.spawn().unwrap());
        let listening = until("the line `listening`", async || {
            let log = self.log().split_off(before);
            assert_eq!(child.0.try_wait().unwrap(), None, "it ended: {log}");
            log.lines().find_map(listening)
        });
        let [http, otlp_http, grpc] = listening.await;
        Daemon {
            child,
            place: self.clone(),
            http,
            otlp_http,
            grpc,
            token: None,
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }
}

/// The addresses in a line of the log, if it is the one that tells them.
fn listening(line: &str) -> Option<[String; 3]> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "listening").then(|| {
        let url = |key: &str| format!("http://{}", line[key].as_str().unwrap());
        [url("http"), url("otlp_http"), url("grpc")]
    })
}

/// A process that ends with the test.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Owned {
    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.0.id());
        let sent = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(sent.success());
    }
}

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Owned,
    pub(crate) place: Arc<Place>,
    pub(crate) http: String,
    pub(crate) otlp_http: String,
    pub(crate) grpc: String,
    pub(crate) token: Option<String>,
    client: Client,
}

impl Daemon {
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.child.signal(name);
    }

    /// Ends it without warning, as a power cut would.
    pub(crate) fn kill(self) {
        drop(self.child);
    }

    /// Kills it and starts it again on the same store.
    pub(crate) async fn crash(self) -> Self {
        let place = self.place.clone();
        let token = self.token.clone();
        self.kill();
        let mut again = place.start().await;
        again.token = token;
        again
    }

    /// As [`Self::crash`], with a command of the caller's.
    pub(crate) async fn crash_with(self, command: &mut Command) -> Self {
        let place = self.place.clone();
        let token = self.token.clone();
        self.kill();
        let mut again = place.spawn(command).await;
        again.token = token;
        again
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        until("the end of the daemon", async || {
            self.child.0.try_wait().unwrap()
        })
        .await
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.http));
        self.authorized(request).send().await.unwrap()
    }

    /// A request that the caller completes.
    pub(crate) fn request(&self, path: &str) -> RequestBuilder {
        self.authorized(self.client.post(format!("{}{path}", self.http)))
    }

    /// Posts JSON and returns the status and the answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(path).json(body).send().await.unwrap()).await
    }

    /// Posts an OTLP export and insists that all of it is taken.
    pub(crate) async fn export(&self, signal: &str, body: &Value) {
        let answer = self.post(&format!("/v1/{signal}"), body).await;
        assert_eq!(answer, (200, serde_json::json!({})));
    }

    /// Posts usage records and returns the answer.
    pub(crate) async fn report(&self, records: &Value) -> Value {
        let (status, answer) = self.post("/api/v1/usage/events", records).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = answer(self.get(path).await).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Reads `/metrics`, and insists that no counter of usage went down since the last look,
    /// over restarts as well.
    pub(crate) async fn scrape(&self) -> Scrape {
        let response = self.get("/metrics").await;
        assert_eq!(response.status(), 200);
        let scrape = Scrape::parse(&response.text().await.unwrap());
        let mut seen = self.place.seen.lock().unwrap();
        for (series, before) in &*seen {
            let now = scrape.0.get(series).copied();
            let now = now.unwrap_or_else(|| panic!("{series} is gone"));
            assert!(now >= *before, "{series} fell from {before} to {now}");
        }
        let lasting = scrape.0.iter().filter(|(series, _)| is_lasting(series));
        *seen = lasting
            .map(|(series, now)| (series.clone(), *now))
            .collect();
        drop(seen);
        scrape
    }
}

/// Counters of usage live longer than the process.
fn is_lasting(series: &str) -> bool {
    let name = series.split('{').next().unwrap();
    let kinds = ["_total", "_bucket", "_count", "_sum"];
    name.starts_with("claude_code_") && kinds.iter().any(|kind| name.ends_with(kind))
}

/// The status and the JSON of an answer; text that is not JSON becomes a JSON text.
pub(crate) async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body)
}

/// What `/metrics` showed: series with labels, and their values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, f64>);

impl Scrape {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let split = lines.map(|line| line.rsplit_once(' ').unwrap());
        Self(
            split
                .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
                .collect(),
        )
    }

    /// The sum over a family's series that have these labels.
    pub(crate) fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |series: &str| {
            let rest = series.strip_prefix(family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
                && labels
                    .iter()
                    .all(|(name, value)| series.contains(&format!("{name}=\"{value}\"")))
        };
        let series = self.0.iter().filter(|(series, _)| wanted(series));
        series.map(|(_, value)| value).sum()
    }

    /// Input, output, cache reads and cache writes.
    pub(crate) fn tokens(&self) -> [f64; 4] {
        ["input", "output", "cacheRead", "cacheCreation"]
            .map(|kind| self.sum("claude_code_token_usage_tokens_total", &[("type", kind)]))
    }

    pub(crate) fn requests(&self, outcome: &str) -> f64 {
        let labels = [("outcome", outcome)];
        self.sum("claude_code_api_requests_total", &labels)
    }

    /// The counters that outlive the process.
    pub(crate) fn lasting(&self) -> BTreeMap<String, f64> {
        let mut series = self.0.clone();
        series.retain(|series, _| is_lasting(series));
        series
    }
}
