//! What an operator does to a daemon, and what the world does to it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};
use tallyd::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::facts::Request;
use crate::harness::{Daemon, Place, answer, until};

fn an_hour_ago() -> Timestamp {
    Clock::System.now() - SignedDuration::from_hours(1)
}

/// A new token and the lines for the configuration that admit it.
fn token(name: &str, scope: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    let made = command.args(["token", "new", "--name", name, "--scope", scope]);
    let text = String::from_utf8(made.output().unwrap().stdout).unwrap();
    let token = text.lines().next().unwrap().to_owned();
    let lines = text[text.find("[[auth.tokens]]").unwrap()..].to_owned();
    (token, lines)
}

#[tokio::test]
async fn tokens_open_what_their_scope_says_and_show_up_nowhere() {
    let (writer, write) = token("writer", "ingest");
    let (reader, read) = token("reader", "read");
    let place = Place::with(&format!("{write}{read}[log]\nlevel = \"trace\"\n"));
    let mut daemon = place.start().await;
    let event = Request::new(an_hour_ago()).by_gateway("1");
    let paths = ["/metrics", "/api/v1/usage", "/api/v1/sources"];
    let mut ask = async |token: Option<&str>| {
        daemon.token = token.map(str::to_owned);
        let mut codes = Vec::new();
        for path in paths {
            codes.push(daemon.get(path).await.status().as_u16());
        }
        codes.push(daemon.post("/api/v1/usage/events", &event).await.0);
        codes.push(daemon.post("/v1/logs", &json!({})).await.0);
        codes
    };
    assert_eq!(ask(None).await, [401; 5]);
    assert_eq!(ask(Some("tallyd_wrong-s3cret")).await, [401; 5]);
    assert_eq!(ask(Some(&writer)).await, [403, 403, 403, 200, 200]);
    assert_eq!(ask(Some(&reader)).await, [200, 200, 200, 403, 403]);
    assert_eq!(daemon.get("/healthz").await.status(), 200);

    let (body, sources) = (daemon.scrape().await, daemon.json("/api/v1/sources").await);
    let shown = format!("{body:?}{sources}{}", place.log());
    for secret in [&writer, &reader, "s3cret"] {
        assert!(!shown.contains(secret));
    }
}

#[tokio::test]
async fn deliveries_that_are_refused_whole_are_told_on_every_listener() {
    let (writer, write) = token("writer", "ingest");
    let (reader, read) = token("reader", "read");
    let place = Place::with(&format!("{write}{read}"));
    let mut daemon = place.start().await;
    let plain = reqwest::Client::new();
    let logs = format!("{}/v1/logs", daemon.otlp_http);
    for (token, body, expected) in [
        (None, "{}", 401),
        (Some(&reader), "{}", 403),
        (Some(&writer), "{no", 400),
    ] {
        let request = plain.post(&logs).header("content-type", "application/json");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), expected);
    }
    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let http2 = reqwest::Client::builder().http2_prior_knowledge();
    let call = http2
        .build()
        .unwrap()
        .post(format!("{}{path}", daemon.grpc));
    let call = call.header("content-type", "application/grpc");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "16");

    daemon.token = Some(reader.clone());
    let scrape = daemon.scrape().await;
    let refused = |signal: &str, code: &str| {
        let labels = format!("{{signal=\"{signal}\",code=\"{code}\"}}");
        scrape.0[&format!("tallyd_refused_deliveries_total{labels}")]
    };
    assert_eq!(refused("logs", "token_missing"), 1.0);
    assert_eq!(refused("logs", "scope_missing"), 1.0);
    assert_eq!(refused("logs", "malformed"), 1.0);
    assert_eq!(refused("metrics", "token_missing"), 1.0);
    let requests = "tallyd_http_requests_total{route=\"/v1/logs\",status=\"401\"}";
    assert_eq!(scrape.0[requests], 1.0);
    let calls = format!("tallyd_grpc_requests_total{{method=\"{path}\",code=\"Unauthenticated\"}}");
    assert_eq!(scrape.0[&calls], 1.0);
    let sources = daemon.json("/api/v1/sources").await;
    assert_eq!(
        sources["refused_deliveries"].as_array().map(Vec::len),
        Some(4)
    );
    let log = place.log();
    assert_eq!(log.matches("refused whole deliveries").count(), 4, "{log}");
    let asked = ["doctor", "--url", &daemon.http, "--token", &reader];
    let doctor = place.command(&asked).stdout(Stdio::piped()).spawn();
    let doctor = doctor.unwrap().wait_with_output().unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let told = String::from_utf8(doctor.stdout).unwrap();
    assert!(told.contains("refused whole as token_missing"), "{told}");
}

#[tokio::test]
async fn a_public_listener_without_tokens_is_refused() {
    let place = Place::new();
    place.configure("");
    let mut command = place.command(&["run"]);
    let refused = command.env("TALLYD_LISTEN_GRPC", "0.0.0.0:0").status();
    assert_eq!(refused.unwrap().code(), Some(64));
    assert!(place.log().contains("grpc"), "{}", place.log());
    assert!(!place.store().exists());
}

#[tokio::test]
async fn check_tells_all_faults_at_once() {
    let settings = "[collect]\nperiod = \"1s\"\n[limits]\nbody = \"huge\"\n\
                    [metrics]\nper_uzer = \"on\"\n[time]\nzone = \"Mars/Olympus\"\n";
    for command in ["check", "run"] {
        let (code, said) = Place::with(settings).run(&[command]).await;
        assert_eq!(code, Some(64));
        for fault in [
            "collect.period",
            "limits.body",
            "metrics.per_uzer",
            "time.zone",
        ] {
            assert!(said.contains(fault), "{fault} is not in {said}");
        }
    }
    assert_eq!(Place::new().run(&["check"]).await.0, Some(0));
}

#[tokio::test]
async fn a_second_daemon_on_a_store_does_not_start() {
    let daemon = Place::new().start().await;
    let (code, said) = daemon.place.run(&["run"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("in use by another tallyd"), "{said}");
    assert_eq!(daemon.get("/healthz").await.status(), 200);
}

/// A store with a record in it, cleanly closed.
async fn closed_store() -> Arc<Place> {
    let daemon = Place::new().start().await;
    let place = daemon.place.clone();
    let records: Vec<_> = (0..500).map(|id| record(&id.to_string())).collect();
    daemon.report(&json!(records)).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
    place
}

fn record(id: &str) -> Value {
    let request = Request {
        session: None,
        known_as: None,
        ..Request::new(an_hour_ago())
    };
    request.by_gateway(id)
}

/// All files of a folder with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

async fn assert_refused_untouched(place: &Arc<Place>) {
    let before = files(place.store());
    let (code, said) = place.run(&["run"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ledger.sqlite is damaged"), "{said}");
    let after = files(place.store());
    let names = |files: &[(String, Vec<u8>)]| -> Vec<_> {
        files
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.len()))
            .collect()
    };
    assert_eq!(names(&after), names(&before));
    assert!(after == before, "a file was changed");
}

#[tokio::test]
async fn a_damaged_ledger_is_named_and_left_alone() {
    let place = closed_store().await;
    let whole = std::fs::read(place.ledger()).unwrap();
    assert!(whole.len() > 100_000, "all is in the file itself");
    let mut no_header = whole.clone();
    no_header[..17].copy_from_slice(b"this is no ledger");
    let mut broken_page = whole.clone();
    broken_page[3 * 4096..4 * 4096].fill(0xaa);
    let cut_off = whole[..whole.len() / 2].to_vec();
    for damaged in [no_header, broken_page, cut_off] {
        std::fs::write(place.ledger(), damaged).unwrap();
        assert_refused_untouched(&place).await;
    }
    std::fs::write(place.ledger(), whole).unwrap();
    assert_counted(&place.start().await, 500).await;
}

#[tokio::test]
async fn damage_after_a_crash_is_not_hidden_by_the_write_ahead_log() {
    let daemon = Place::new().start().await;
    let place = daemon.place.clone();
    daemon.report(&record("1")).await;
    daemon.kill();
    let whole = std::fs::read(place.ledger()).unwrap();
    for damaged in [&b""[..], b"this is no ledger"] {
        std::fs::write(place.ledger(), damaged).unwrap();
        assert_refused_untouched(&place).await;
    }
    std::fs::remove_file(place.ledger()).unwrap();
    assert_refused_untouched(&place).await;
    std::fs::write(place.ledger(), whole).unwrap();
    assert_counted(&place.start().await, 1).await;
}

#[tokio::test]
async fn a_ledger_of_a_newer_tallyd_is_refused() {
    let place = closed_store().await;
    let ledger = Connection::open(place.ledger()).unwrap();
    ledger.pragma_update(None, "user_version", 999).unwrap();
    drop(ledger);
    let before = std::fs::read(place.ledger()).unwrap();
    let (code, said) = place.run(&["run"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("schema version 999"), "{said}");
    assert!(std::fs::read(place.ledger()).unwrap() == before);
}

/// Reports until the store has no room; returns how many records were acknowledged and the
/// delivery that was refused.
async fn fill(daemon: &Daemon) -> (u64, Value) {
    let mut acknowledged = 0;
    loop {
        let ids = acknowledged..acknowledged + 500;
        let batch: Vec<_> = ids.map(|id| record(&id.to_string())).collect();
        let batch = json!(batch);
        let request = daemon.request("/api/v1/usage/events").json(&batch);
        let response = request.send().await.unwrap();
        if response.status() == 503 {
            assert!(response.headers().contains_key("retry-after"));
            return (acknowledged, batch);
        }
        assert_eq!(response.status(), 200);
        acknowledged += 500;
        assert!(acknowledged < 500_000, "the disk does not fill");
    }
}

async fn assert_counted(daemon: &Daemon, requests: u64) {
    let (from, to) = (
        an_hour_ago() - SignedDuration::from_hours(48),
        Clock::System.now(),
    );
    let usage = daemon
        .json(&format!("/api/v1/usage?from={from}&to={to}"))
        .await;
    assert_eq!(usage["totals"]["requests"], requests);
    let published = daemon.scrape().await.requests("ok");
    assert_eq!(json!(published), json!(requests).as_f64().unwrap());
}

/// Fills the store, looks that reads go on, makes room, and looks that writes go on.
async fn fill_and_recover(daemon: Daemon, make_room: impl FnOnce(&Daemon)) {
    let (acknowledged, refused) = fill(&daemon).await;
    assert_counted(&daemon, acknowledged).await;
    assert_eq!(daemon.post("/api/v1/usage/events", &refused).await.0, 503);
    assert_eq!(daemon.get("/healthz").await.status(), 200);
    make_room(&daemon);
    until("room", async || {
        (daemon.post("/api/v1/usage/events", &refused).await.0 == 200).then_some(())
    })
    .await;
    assert_counted(&daemon, acknowledged + 500).await;
    let daemon = daemon.crash().await;
    assert_counted(&daemon, acknowledged + 500).await;
}

/// A daemon to which a limit on the size of files is a full disk; `limit` is the shell's line
/// that sets one.
pub(crate) fn limited(place: &Place, limit: &str) -> Command {
    let tallyd = env!("CARGO_BIN_EXE_tallyd");
    let plain = place.command(&[]);
    let mut command = Command::new("sh");
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.envs(
        plain
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let line = format!("trap '' XFSZ; {limit}; exec {tallyd} run");
    command.args(["-c", &line]).stderr(place.append_log());
    command
}

/// Sets the size that files of a [`limited`] daemon may have: bytes, or `unlimited`.
pub(crate) fn set_limit(daemon: &Daemon, size: &str) {
    let (id, size) = (daemon.id().to_string(), format!("--fsize={size}:"));
    let set = Command::new("prlimit").args(["--pid", &id, &size]).status();
    assert!(set.unwrap().success());
}

#[tokio::test]
async fn a_file_that_may_not_grow_stops_writes_and_nothing_else() {
    let place = Place::new();
    // In blocks of 512 bytes.
    let mut command = limited(&place, "ulimit -S -f 4096");
    let daemon = place.spawn(&mut command).await;
    fill_and_recover(daemon, |daemon| set_limit(daemon, "unlimited")).await;
}

/// A small disk, taken away with the test.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]);
        assert!(mount.arg(folder.path()).status().unwrap().success());
        Self(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        // A disk that is still mounted shows in the failure to remove its folder.
        let _ = umount.arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test]
#[ignore = "needs root: mounts a small disk"]
async fn a_full_disk_stops_writes_and_nothing_else() {
    let disk = Disk::new();
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let store = disk.0.path().join("store");
    let place = Place::at(tempfile::tempdir().unwrap(), store, "");
    let daemon = place.start().await;
    fill_and_recover(daemon, |_| std::fs::remove_file(&ballast).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_load_restores_to_the_same_totals() {
    let daemon = Arc::new(Place::new().start().await);
    let mut senders = JoinSet::new();
    for sender in 0..4 {
        let daemon = daemon.clone();
        senders.spawn(async move {
            for batch in 0..20 {
                let ids = (0..50).map(|id| format!("{sender}-{batch}-{id}"));
                let records: Vec<_> = ids.map(|id| record(&id)).collect();
                daemon.report(&json!(records)).await;
            }
        });
    }
    until("some load", async || {
        (daemon.scrape().await.requests("ok") >= 500.0).then_some(())
    })
    .await;
    let path = daemon.place.path("backup.sqlite");
    let body = json!({"path": path});
    let (status, made) = daemon.post("/api/v1/store/backup", &body).await;
    assert_eq!(status, 200, "{made}");
    let whole = senders.len() == 4;
    senders.join_all().await;
    assert!(whole);
    assert_counted(&daemon, 4000).await;

    let other = Place::new();
    std::fs::create_dir(other.store()).unwrap();
    std::fs::copy(&path, other.ledger()).unwrap();
    let restored = other.start().await;
    let held = restored.scrape().await.requests("ok");
    assert!((500.0..=4000.0).contains(&held), "{held}");
    // Every delivery of 50 is there whole or not at all.
    assert_eq!(held % 50.0, 0.0);
    for sender in 0..4 {
        for batch in 0..20 {
            let ids = (0..50).map(|id| format!("{sender}-{batch}-{id}"));
            let records: Vec<_> = ids.map(|id| record(&id)).collect();
            restored.report(&json!(records)).await;
        }
    }
    assert_counted(&restored, 4000).await;
    let usage = "/api/v1/usage?group_by=user,team,model,provider";
    let rows = async |daemon: &Daemon| daemon.json(usage).await["rows"].clone();
    assert_eq!(rows(&restored).await, rows(&daemon).await);
}

#[tokio::test]
async fn a_request_in_progress_is_answered_before_it_ends() {
    let daemon = Place::new().start().await;
    let body = record("1").to_string();
    let address = daemon.http.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/usage/events HTTP/1.1\r\nHost: tallyd\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.split_at(10);
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(first.as_bytes()).await.unwrap();
    // An answer on another connection tells that this one has been seen.
    assert_eq!(daemon.get("/healthz").await.status(), 200);
    daemon.signal("TERM");
    until("the log to say so", async || {
        daemon.place.log().contains("\"stopping\"").then_some(())
    })
    .await;
    connection.write_all(rest.as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let place = daemon.place.clone();
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert_counted(&place.start().await, 1).await;
}

#[tokio::test]
async fn a_hangup_reads_the_configuration_again_and_a_faulty_one_changes_nothing() {
    let place = Place::new();
    let mut daemon = place.start().await;
    let (reader, lines) = token("reader", "read");
    place.configure(&lines);
    daemon.signal("HUP");
    until("the new token to be asked for", async || {
        (daemon.get("/metrics").await.status() == 401).then_some(())
    })
    .await;
    daemon.token = Some(reader);
    daemon.scrape().await;
    assert!(place.log().contains("auth.tokens"), "{}", place.log());

    place.configure("[collect]\nperiod = \"1s\"\n");
    daemon.signal("HUP");
    until("the failed reload", async || {
        let scrape = daemon.scrape().await;
        (scrape.sum("tallyd_config_reload_success", &[]) == 0.0).then_some(())
    })
    .await;
    assert!(place.log().contains("collect.period"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn hostile_bodies_are_refused_and_the_daemon_lives() {
    let daemon = Place::new().start().await;
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let deep = "[".repeat(200_000).into_bytes();
    let mut truncated = Request::new(an_hour_ago())
        .by_client()
        .to_string()
        .into_bytes();
    truncated.truncate(100);
    for path in [
        "/v1/logs",
        "/v1/metrics",
        "/api/v1/usage/events",
        "/api/v1/usage/litellm",
    ] {
        let send = async |body: &[u8], headers: &[(&str, &str)]| {
            let mut request = daemon.request(path).body(body.to_vec());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            answer(request.send().await.unwrap()).await.0
        };
        let json = ("content-type", "application/json");
        let gz = ("content-encoding", "gzip");
        assert_eq!(send(&bomb, &[json, gz]).await, 413, "{path}: a bomb");
        assert_eq!(send(&deep, &[json]).await, 400, "{path}: deep");
        assert_eq!(send(&truncated, &[json]).await, 400, "{path}: cut off");
        assert_eq!(send(&deep, &[json, gz]).await, 400, "{path}: not packed");
        assert_eq!(
            send(b"{}", &[("content-type", "text/html")]).await,
            415,
            "{path}"
        );
    }
    assert_eq!(daemon.get("/healthz").await.status(), 200);
    let good = json!([record("1"), {"id": "2"}, record("3")]);
    let answer = daemon.report(&good).await;
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["rejected"][0]["index"], 1);
    assert_counted(&daemon, 2).await;
}
