//! Passes accepted telemetry on to another OTLP endpoint, without ever holding up the intake.
//!
//! One queue, bounded in requests and bytes; one task that sends. What does not fit or cannot be
//! delivered is lost and counted: the ledger is the truth, this is a courtesy.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::config::{self, Signal};
use crate::schedule::Stop;

/// Most bytes that may wait, whatever the number of requests: it bounds the memory.
const MAX_QUEUE_BYTES: usize = 64 << 20;

/// Attempts for one request. With the pauses between them, one and a half minutes.
const MAX_ATTEMPTS: u32 = 8;

/// Time for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time to deliver what waits when tallyd stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Pauses between attempts: doubled from the first to the longest.
const PACE: Pace = Pace {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
};

/// Why the sender cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for {endpoint}")]
pub struct ForwardError {
    endpoint: Url,
    #[source]
    source: reqwest::Error,
}

/// The entrance of the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Forward {
    queue: mpsc::Sender<Delivery>,
    signals: Arc<[Signal]>,
    state: Arc<State>,
}

/// Numbers since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that wait now.
    pub waiting: u64,
    pub sent: u64,
    /// Lost because too much was waiting.
    pub queue_full: u64,
    /// Lost because the endpoint refused them for good.
    pub refused: u64,
    /// Lost because the endpoint could not take them, however often they were sent.
    pub unreachable: u64,
    /// Lost because tallyd stopped.
    pub stopped: u64,
}

#[derive(Debug, Default)]
struct State {
    waiting: AtomicU64,
    waiting_bytes: AtomicUsize,
    sent: AtomicU64,
    queue_full: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    stopped: AtomicU64,
}

#[derive(Debug)]
struct Delivery {
    signal: Signal,
    content_type: String,
    content_encoding: Option<String>,
    body: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Duration,
    longest: Duration,
}

/// What became of one attempt.
enum Attempt {
    Sent,
    Refused(StatusCode),
    /// Worth another attempt, after a pause if the endpoint named one.
    Again(Option<Duration>),
}

impl Forward {
    /// Builds the queue and the task that empties it; the caller runs the task.
    pub fn new(settings: &config::Forward) -> Result<(Self, Forwarder), ForwardError> {
        let client = Client::builder()
            .timeout(ATTEMPT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tallyd/", env!("CARGO_PKG_VERSION")))
            .default_headers(settings.headers.expose().clone())
            .build()
            .map_err(|source| ForwardError {
                endpoint: settings.endpoint.clone(),
                source,
            })?;
        let (queue, deliveries) = mpsc::channel(settings.queue);
        let state = Arc::new(State::default());
        let forward = Self {
            queue,
            signals: settings.signals.clone().into(),
            state: Arc::clone(&state),
        };
        let forwarder = Forwarder {
            client,
            endpoint: settings.endpoint.clone(),
            deliveries,
            state,
            pace: PACE,
        };
        Ok((forward, forwarder))
    }

    /// Takes one accepted request as it came, compressed or not. Returns at once; what does not
    /// fit is counted as lost.
    pub fn offer(
        &self,
        signal: Signal,
        content_type: &str,
        content_encoding: Option<&str>,
        body: Bytes,
    ) {
        if !self.signals.contains(&signal) {
            return;
        }
        let state = &self.state;
        let bytes = body.len();
        let before = state.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let delivery = Delivery {
            signal,
            content_type: content_type.to_owned(),
            content_encoding: content_encoding.map(str::to_owned),
            body,
        };
        // Counted before it is queued, so that the sender cannot count it out first.
        state.waiting.fetch_add(1, Ordering::Relaxed);
        if before + bytes <= MAX_QUEUE_BYTES && self.queue.try_send(delivery).is_ok() {
            return;
        }
        state.done(bytes);
        let lost = state.queue_full.fetch_add(1, Ordering::Relaxed) + 1;
        // Every loss is in the metric; the log tells each doubling.
        if lost.is_power_of_two() {
            warn!(
                lost,
                "the forward queue is full, telemetry is not passed on"
            );
        }
    }

    /// The numbers since start.
    pub fn counts(&self) -> Counts {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Counts {
            waiting: read(&self.state.waiting),
            sent: read(&self.state.sent),
            queue_full: read(&self.state.queue_full),
            refused: read(&self.state.refused),
            unreachable: read(&self.state.unreachable),
            stopped: read(&self.state.stopped),
        }
    }
}

impl State {
    fn done(&self, bytes: usize) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The task that sends.
#[derive(Debug)]
pub struct Forwarder {
    client: Client,
    endpoint: Url,
    deliveries: mpsc::Receiver<Delivery>,
    state: Arc<State>,
    pace: Pace,
}

impl Forwarder {
    /// Sends until `stop`, then tries to deliver what waits within a bound.
    pub async fn run(mut self, stop: Stop) {
        loop {
            let delivery = tokio::select! {
                biased;
                () = stop.stopped() => break,
                delivery = self.deliveries.recv() => delivery,
            };
            let Some(delivery) = delivery else { return };
            tokio::select! {
                () = self.deliver(&delivery) => {}
                () = stop.stopped() => {
                    self.state.stopped.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.state.done(delivery.body.len());
        }
        self.flush().await;
    }

    /// Delivers what waits with one attempt each; the rest is lost.
    async fn flush(&mut self) {
        self.deliveries.close();
        let flush = async {
            while let Some(delivery) = self.deliveries.recv().await {
                let counter = match self.attempt(&delivery).await {
                    Attempt::Sent => &self.state.sent,
                    _ => &self.state.stopped,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                self.state.done(delivery.body.len());
            }
        };
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, flush).await;
        let left = self.state.waiting.load(Ordering::Relaxed);
        let lost = self.state.stopped.fetch_add(left, Ordering::Relaxed) + left;
        if lost > 0 {
            warn!(lost, "stopped before all telemetry was passed on");
        }
    }

    async fn deliver(&self, delivery: &Delivery) {
        let signal = delivery.signal.name();
        let mut pause = self.pace.first;
        for _ in 1..MAX_ATTEMPTS {
            match self.attempt(delivery).await {
                Attempt::Sent => {
                    self.state.sent.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Attempt::Refused(status) => {
                    self.state.refused.fetch_add(1, Ordering::Relaxed);
                    warn!(signal, %status, "the forward endpoint refused a request");
                    return;
                }
                Attempt::Again(wish) => {
                    let wanted = wish.unwrap_or(pause);
                    tokio::time::sleep(wanted.min(self.pace.longest)).await;
                    pause = (pause * 2).min(self.pace.longest);
                }
            }
        }
        self.state.unreachable.fetch_add(1, Ordering::Relaxed);
        warn!(
            signal,
            "the forward endpoint cannot be reached, a request is lost"
        );
    }

    async fn attempt(&self, delivery: &Delivery) -> Attempt {
        let base = self.endpoint.as_str().trim_end_matches('/');
        let url = format!("{base}/v1/{}", delivery.signal.name());
        let mut request = self.client.post(url);
        request = request.header(CONTENT_TYPE, &delivery.content_type);
        if let Some(encoding) = &delivery.content_encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        let response = match request.body(delivery.body.clone()).send().await {
            Ok(response) => response,
            Err(error) => {
                debug!(error = %error.without_url(), "an attempt to forward failed");
                return Attempt::Again(None);
            }
        };
        let status = response.status();
        if status.is_success() {
            return Attempt::Sent;
        }
        if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
            return Attempt::Refused(status);
        }
        let wish = response.headers().get(RETRY_AFTER);
        let seconds = wish.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Attempt::Again(seconds.map(Duration::from_secs))
    }
}
