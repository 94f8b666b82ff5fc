//! Load over kept connections, as cheap as can be: what the generator takes, all share.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::body::{Body, Bytes};
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tallyd::clock::Stopwatch;
use tallyd::grpc::proto::{Descriptor, Entry, RateLimitRequest, RateLimitResponse, UInt64Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::daemon::Size;

/// What was seen in one turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Exchanges a second.
    pub(crate) rate: f64,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_micros();
        let (median, p99) = (micros(self.median), micros(self.p99));
        write!(f, "{:.0}/s, median {median} us, p99 {p99} us", self.rate)
    }
}

impl Load {
    fn of(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        Self {
            rate: times.len() as f64 / took.as_secs_f64(),
            median: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
        }
    }
}

/// The turn in the middle.
pub(crate) fn median(mut loads: Vec<Load>) -> Load {
    loads.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let middle = loads.len() / 2;
    loads.swap_remove(middle)
}

/// A request of a connection by its number: the bytes as they go on the wire.
type Requests = Arc<dyn Fn(usize, usize) -> String + Send + Sync>;

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: tallyd\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Users take turns, in an order that leaps.
fn reserve(size: Size, connection: usize, number: usize) -> String {
    let user = (connection * 7_919 + number * 104_729) % size.users;
    let team = user % size.teams;
    let body = format!(
        "{{\"id\":\"01JD8P2M6FYZ-{connection}-{number}\",\"subject\":{{\"user\":\
         \"user{user}@example.com\",\"team\":\"team{team}\",\"project\":\"checkout\"}},\
         \"model\":\"claude-sonnet-4-6\",\"estimate\":{{\"input_tokens\":1200,\
         \"max_output_tokens\":4096}},\"mode\":\"strict\",\"ttl_ms\":60000}}"
    );
    post("/api/v1/quota/reservations", &body)
}

/// Reservations with ids of their own.
pub(crate) fn reserves(size: Size) -> Requests {
    Arc::new(move |connection, number| reserve(size, connection, number))
}

/// A connection that waits for each answer.
struct Http {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Http {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let read = Vec::with_capacity(8_192);
        Ok(Self { stream, read })
    }

    /// Fails unless the answer's status is 2xx.
    async fn exchange(&mut self, request: &str) -> anyhow::Result<()> {
        self.stream.write_all(request.as_bytes()).await?;
        self.read.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "closed");
            let end = self.read.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let head = std::str::from_utf8(&self.read[..end])?.to_ascii_lowercase();
            ensure!(head.starts_with("http/1.1 2"), "{head}");
            let (_, length) = head
                .split_once("content-length: ")
                .context("an answer without a length")?;
            let length: usize = length.lines().next().unwrap_or_default().parse()?;
            while self.read.len() < end + 4 + length {
                ensure!(self.stream.read_buf(&mut self.read).await? > 0, "closed");
            }
            return Ok(());
        }
    }
}

/// Sends requests on each connection until the time is over.
pub(crate) async fn http(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    requests: Requests,
) -> anyhow::Result<Load> {
    let watch = Stopwatch::start();
    let mut senders = JoinSet::new();
    for connection in 0..connections {
        let requests = requests.clone();
        senders.spawn(async move {
            let mut http = Http::open(address).await?;
            let mut times = Vec::new();
            while watch.elapsed() < time {
                let request = requests(connection, times.len());
                let one = Stopwatch::start();
                http.exchange(&request).await?;
                times.push(one.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    gather(senders, watch).await
}

/// Reserves and settles. A pair is one exchange.
pub(crate) async fn pairs(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    size: Size,
) -> anyhow::Result<Load> {
    let watch = Stopwatch::start();
    let mut senders = JoinSet::new();
    for connection in 0..connections {
        senders.spawn(async move {
            let mut http = Http::open(address).await?;
            let mut times = Vec::new();
            while watch.elapsed() < time {
                let number = times.len();
                let request = reserve(size, connection, number);
                let path =
                    format!("/api/v1/quota/reservations/01JD8P2M6FYZ-{connection}-{number}/settle");
                let settle = post(
                    &path,
                    "{\"tokens\":{\"input\":1200,\"output\":310,\"cache_read\":5600},\
                     \"outcome\":\"ok\",\"duration_ms\":1830}",
                );
                let one = Stopwatch::start();
                http.exchange(&request).await?;
                http.exchange(&settle).await?;
                times.push(one.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    gather(senders, watch).await
}

async fn gather(
    mut senders: JoinSet<anyhow::Result<Vec<Duration>>>,
    watch: Stopwatch,
) -> anyhow::Result<Load> {
    let mut all = Vec::new();
    while let Some(times) = senders.join_next().await {
        all.extend(times??);
    }
    Ok(Load::of(all, watch.elapsed()))
}

fn message(connection: usize, number: usize, hits: u64) -> Bytes {
    let user = (connection * 7_919 + number * 104_729) % 1_000;
    let entry = |key: &str, value: String| Entry {
        key: key.to_owned(),
        value,
    };
    let request = RateLimitRequest {
        domain: "llm".to_owned(),
        descriptors: vec![Descriptor {
            entries: vec![
                entry("user", format!("user{user}@example.com")),
                entry("team", format!("team{}", user % 20)),
                entry("model", "claude-sonnet-4-6".to_owned()),
            ],
            hits_addend: Some(UInt64Value { value: hits }),
            is_negative_hits: false,
        }],
        hits_addend: 0,
    };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    [&[0], &length[..], &message].concat().into()
}

/// Streams on four connections, as Envoy's workers have them.
pub(crate) async fn grpc(
    address: SocketAddr,
    streams: usize,
    time: Duration,
    hits: u64,
) -> anyhow::Result<Load> {
    let watch = Stopwatch::start();
    let mut senders = JoinSet::new();
    for connection in 0..4 {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let executor = TokioExecutor::new();
        let handshake = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream));
        let (client, driver) = handshake.await?;
        tokio::spawn(driver);
        for stream in 0..streams / 4 {
            let mut client = client.clone();
            senders.spawn(async move {
                let mut times = Vec::new();
                while watch.elapsed() < time {
                    let body = message(connection * 100 + stream, times.len(), hits);
                    let path =
                        "http://tallyd/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
                    let request = Request::post(path)
                        .header("content-type", "application/grpc")
                        .header("te", "trailers")
                        .body(Body::from(body))?;
                    let one = Stopwatch::start();
                    client.ready().await?;
                    let answer = client.send_request(request).await?;
                    let body = axum::body::to_bytes(Body::new(answer.into_body()), 65_536).await?;
                    times.push(one.elapsed());
                    let message = body.get(5..).context("an answer without a message")?;
                    let answer = RateLimitResponse::decode(message)?;
                    ensure!(answer.overall_code == 1, "{answer:?}");
                }
                anyhow::Ok(times)
            });
        }
    }
    gather(senders, watch).await
}
