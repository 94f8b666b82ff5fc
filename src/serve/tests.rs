use std::net::SocketAddr;
use std::path::Path;

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, Environment, Tls};
use crate::model::catalogue;
use crate::registry::Registry;

struct Running {
    address: SocketAddr,
    grpc: SocketAddr,
    turned_away: TurnedAway,
    stop: Stop,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Serves a router on the HTTP and the gRPC listener with the given limits.
async fn start(router: Router, limits: &str, certificate: Option<Arc<Certificate>>) -> Running {
    let text = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\notlp_http = \"\"\ngrpc = \"127.0.0.1:0\"\n\
         [limits]\n{limits}\n"
    );
    let config = Config::parse(&text, &Environment::default()).unwrap();
    let listeners = Listeners::bind(&config.listen).await.unwrap();
    assert_eq!(listeners.addresses().otlp_http, None);
    let address = listeners.addresses().http.unwrap();
    let grpc = listeners.addresses().grpc.unwrap();
    let turned_away = TurnedAway {
        registry: Arc::new(Registry::new(1_000)),
        heard: Arc::default(),
        clock: Clock::System,
    };
    let doors = Doors {
        http: router.clone(),
        otlp_http: Router::new(),
        grpc: router,
        turned_away: turned_away.clone(),
    };
    let stop = Stop::new();
    let stopping = stop.clone();
    let task = tokio::spawn(async move {
        listeners
            .serve(doors, &config.limits, certificate, stopping)
            .await
    });
    Running {
        address,
        grpc,
        turned_away,
        stop,
        task,
    }
}

/// A route that says when a request came and answers when it is told to.
fn slow_route() -> (Router, mpsc::Receiver<()>, Arc<Semaphore>) {
    let (came, comes) = mpsc::channel(8);
    let go = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&go);
    let answer = move || async move {
        came.send(()).await.unwrap();
        let _ = wait.acquire().await;
        "done"
    };
    let router = Router::new()
        .route("/slow", get(answer.clone()).post(answer.clone()))
        .route("/v1/logs", post(answer))
        .route("/healthz", get(|| async { "ok" }))
        .route("/metrics", get(|| async { "ok" }));
    (router, comes, go)
}

async fn get_text(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{address}{path}"))
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_request_in_progress_is_answered_after_stop_and_no_new_one_is_taken() {
    let (router, mut comes, go) = slow_route();
    let running = start(router, "", None).await;
    let address = running.address;
    let request = tokio::spawn(get_text(address, "/slow"));
    comes.recv().await.unwrap();
    running.stop.stop();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.add_permits(1);
    assert_eq!(request.await.unwrap(), (200, "done".to_owned()));
    running.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let (router, _comes, _go) = slow_route();
    let running = start(router, "", None).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let _silent = TcpStream::connect(running.address).await.unwrap();
    running.stop.stop();
    let ended = tokio::time::timeout(DRAIN_TIMEOUT / 2, running.task).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn beyond_the_limit_callers_get_429_and_probes_still_pass() {
    let (router, mut comes, go) = slow_route();
    let running = start(router, "concurrency = 1", None).await;
    let address = running.address;
    let request = tokio::spawn(get_text(address, "/slow"));
    comes.recv().await.unwrap();
    let (status, text) = get_text(address, "/slow").await;
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &problem["code"]),
        (429, &"too_many_requests".into())
    );
    let grpc = reqwest::Client::new()
        .post(format!("http://{address}/slow"))
        .header("content-type", "application/grpc")
        .send();
    let grpc = grpc.await.unwrap();
    assert_eq!(
        (grpc.status().as_u16(), &grpc.headers()["grpc-status"]),
        (200, &"14".parse().unwrap())
    );
    for path in ["/healthz", "/metrics"] {
        assert_eq!(get_text(address, path).await, (200, "ok".to_owned()));
    }
    assert_eq!(counted(&running, "busy"), Some(2));
    go.add_permits(1);
    assert_eq!(request.await.unwrap(), (200, "done".to_owned()));
}

#[tokio::test]
async fn a_port_full_of_silent_connections_leaves_the_others_reachable() {
    let (router, _comes, _go) = slow_route();
    let running = start(router, "connections = 1", None).await;
    let _silent = TcpStream::connect(running.grpc).await.unwrap();
    let _waiting = TcpStream::connect(running.grpc).await.unwrap();
    for _ in 0..2 {
        let answer = get_text(running.address, "/healthz").await;
        assert_eq!(answer, (200, "ok".to_owned()));
    }
}

/// How often the HTTP listener turned somebody away for this reason.
fn counted(running: &Running, reason: &str) -> Option<u128> {
    let registry = &running.turned_away.registry;
    registry.counter(catalogue::TURNED_AWAY, &["http", reason])
}

#[tokio::test]
async fn senders_of_otlp_are_turned_away_in_their_own_form() {
    let (router, mut comes, go) = slow_route();
    let running = start(router, "concurrency = 1", None).await;
    let address = running.address;
    let request = tokio::spawn(get_text(address, "/slow"));
    comes.recv().await.unwrap();
    for (content_type, expected) in [
        ("application/x-protobuf", "\u{8}\u{e}\u{12}"),
        ("application/json", r#"{"code":14,"message":"too many"#),
    ] {
        let answer = reqwest::Client::new()
            .post(format!("http://{address}/v1/logs"))
            .header("content-type", content_type)
            .send();
        let answer = answer.await.unwrap();
        let headers = answer.headers();
        assert_eq!(
            (&headers["content-type"], &headers["retry-after"]),
            (&content_type.parse().unwrap(), &"1".parse().unwrap())
        );
        assert_eq!(answer.status(), 429);
        let text = answer.text().await.unwrap();
        assert!(text.starts_with(expected), "{text}");
    }
    let told = running.turned_away.heard.rejected();
    let (kind, rejected) = &told[0];
    assert_eq!(
        (kind.signal, kind.code, rejected.deliveries),
        ("logs", "too_many_requests", 2)
    );
    go.add_permits(1);
    assert_eq!(request.await.unwrap(), (200, "done".to_owned()));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let (router, _comes, _go) = slow_route();
    let running = start(router, "request_timeout = \"1s\"", None).await;
    let (status, text) = get_text(running.address, "/slow").await;
    assert_eq!(status, 503);
    assert!(text.contains(r#""code":"timeout""#), "{text}");
    assert_eq!(counted(&running, "slow"), Some(1));
}

#[tokio::test]
async fn http_2_without_tls_is_understood() {
    let (router, _comes, _go) = slow_route();
    let running = start(router, "", None).await;
    let client = reqwest::Client::builder().http2_prior_knowledge();
    let request = client
        .build()
        .unwrap()
        .get(format!("http://{}/healthz", running.address));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
}

/// Writes a fresh certificate for `localhost` and returns it as PEM.
fn write_certificate(files: &Tls) -> String {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = pair.cert.pem();
    std::fs::write(&files.cert, &pem).unwrap();
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    pem
}

fn files(folder: &Path) -> Tls {
    Tls {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

/// True if the listener shows a certificate that this one vouches for.
async fn trusts(pem: &str, port: u16) -> bool {
    let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]);
    let url = format!("https://localhost:{port}/healthz");
    client.build().unwrap().get(url).send().await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_used_once_its_files_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let first = write_certificate(&files);
    let certificate = Arc::new(Certificate::load(&files).unwrap());
    let (router, _comes, _go) = slow_route();
    let running = start(router, "", Some(Arc::clone(&certificate))).await;
    let port = running.address.port();
    assert!(trusts(&first, port).await);
    assert!(!certificate.refresh().unwrap());

    let second = write_certificate(&files);
    assert!(certificate.refresh().unwrap());
    assert!(trusts(&second, port).await && !trusts(&first, port).await);

    std::fs::write(&files.key, "half written").unwrap();
    certificate.refresh().unwrap_err();
    assert!(trusts(&second, port).await);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let other = write_certificate(&files);
    write_certificate(&files);
    std::fs::write(&files.cert, other).unwrap();
    let fault = format!("{:#}", Certificate::load(&files).unwrap_err());
    assert!(fault.contains("does not fit the certificate"), "{fault}");
}
