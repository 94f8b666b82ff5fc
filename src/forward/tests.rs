use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::*;

/// What a collector got: path, authorization, encoding, body.
type Got = Arc<Mutex<Vec<(String, String, String, Bytes)>>>;

/// A collector that gives the listed answers first, then 200.
async fn collector(answers: &[u16]) -> (Url, Got) {
    let got = Got::default();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let keep = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answers, keep) = (Arc::clone(&answers), Arc::clone(&keep));
            let service = service_fn(move |request: Request<Incoming>| {
                answer(request, Arc::clone(&answers), Arc::clone(&keep))
            });
            let server = http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (url.parse().unwrap(), got)
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    got: Got,
) -> Result<Response<String>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes.extend_from_slice(frame?.data_ref().unwrap());
    }
    let status = answers.lock().unwrap().pop_front().unwrap_or(200);
    if status == 200 {
        let text = |name| {
            let value = head.headers.get(name).map(|value| value.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        got.lock().unwrap().push((
            head.uri.path().to_owned(),
            text("authorization"),
            text("content-encoding"),
            bytes.into(),
        ));
    }
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

fn settings(endpoint: &Url, queue: usize) -> config::Forward {
    let text = format!(
        "[forward]\nendpoint = \"{endpoint}\"\nqueue = {queue}\nsignals = [\"logs\"]\n\
         headers = {{authorization = \"Bearer s3cret\"}}"
    );
    let config = config::Config::parse(&text, &config::Environment::default());
    config.unwrap().forward.unwrap()
}

fn start(endpoint: &Url, queue: usize) -> (Forward, Forwarder) {
    let (forward, mut forwarder) = Forward::new(&settings(endpoint, queue)).unwrap();
    forwarder.pace = Pace {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(2),
    };
    (forward, forwarder)
}

async fn until(forward: &Forward, expected: Counts) {
    let reached = async {
        while forward.counts() != expected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(
        waited.is_ok(),
        "{:?} instead of {expected:?}",
        forward.counts()
    );
}

#[tokio::test]
async fn a_request_is_passed_on_as_it_came_even_if_the_endpoint_stumbles() {
    let (endpoint, got) = collector(&[503, 429, 500]).await;
    let (forward, forwarder) = start(&endpoint, 10);
    tokio::spawn(forwarder.run(Stop::new()));
    let body = Bytes::from_static(b"\x1f\x8b...");
    forward.offer(Signal::Metrics, "application/json", None, Bytes::new());
    forward.offer(
        Signal::Logs,
        "application/x-protobuf",
        Some("gzip"),
        body.clone(),
    );
    let sent = Counts {
        sent: 1,
        ..Counts::default()
    };
    until(&forward, sent).await;
    let expected = (
        "/v1/logs".to_owned(),
        "Bearer s3cret".to_owned(),
        "gzip".to_owned(),
        body,
    );
    assert_eq!(*got.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn losses_are_counted_by_reason() {
    let (endpoint, _) = collector(&[400, 503, 503, 503, 503, 503, 503, 503]).await;
    let (forward, forwarder) = start(&endpoint, 2);
    let offer = || forward.offer(Signal::Logs, "application/json", None, "{}".into());
    offer();
    offer();
    offer();
    let stop = Stop::new();
    let task = tokio::spawn(forwarder.run(stop.clone()));
    let mut counts = Counts {
        queue_full: 1,
        refused: 1,
        unreachable: 1,
        ..Counts::default()
    };
    until(&forward, counts).await;
    offer();
    counts.sent = 1;
    until(&forward, counts).await;
    stop.stop();
    task.await.unwrap();
    offer();
    counts.queue_full = 2;
    assert_eq!(forward.counts(), counts);
}

#[tokio::test]
async fn what_waits_is_delivered_when_tallyd_stops() {
    let (endpoint, got) = collector(&[]).await;
    let (forward, forwarder) = start(&endpoint, 10);
    for _ in 0..3 {
        forward.offer(Signal::Logs, "application/json", None, "{}".into());
    }
    let stop = Stop::new();
    stop.stop();
    forwarder.run(stop).await;
    assert_eq!(got.lock().unwrap().len(), 3);
    let sent = Counts {
        sent: 3,
        ..Counts::default()
    };
    assert_eq!(forward.counts(), sent);
}

#[test]
fn headers_are_never_shown() {
    let endpoint = "http://127.0.0.1:1".parse().unwrap();
    let settings = settings(&endpoint, 1);
    assert!(!format!("{settings:?} {:?}", start(&endpoint, 1)).contains("s3cret"));
}
