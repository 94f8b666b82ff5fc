//! The OpenTelemetry door: OTLP over HTTP (protobuf and JSON) and gRPC.
//!
//! A request is unpacked within a bound (`body`), read item by item (`protobuf`, `json`)
//! into one borrowed form (`item`, `value`) and mapped to facts (`events`, `counters`,
//! `genai`). Nothing but known attributes gets past the mapping, so prompts and code stay out.
//! What is wrong with one item costs that item; the answer says how many and why.

mod answer;
mod body;
mod counters;
mod events;
mod genai;
mod grpc;
mod http;
mod ids;
mod item;
mod json;
mod json_repair;
mod json_scalar;
mod json_value;
mod key;
mod map;
mod protobuf;
mod recent;
mod tally;
mod value;
mod who;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use bytes::Bytes;

use crate::clock::Clock;
use crate::heard::{Heard, Rejection};
use crate::model::access::{AccessList, Grant};
use crate::model::identify::IdentityRules;
use crate::model::names::ModelNames;
use crate::model::usage::{Intake, Receipt};
use crate::record::{RecordError, Recorder};

pub use self::grpc::routes as grpc_routes;
pub use self::http::{Late, answer_encoding, late, router};
pub use self::map::Context;

/// Unpacked bytes that are read on the runtime's own threads; more would hold up other requests.
const INLINE_BYTES: usize = 256 * 1024;

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Logs,
    Metrics,
    Traces,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Logs, Self::Metrics, Self::Traces];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }

    /// The signal that a path of HTTP or gRPC takes.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let takes = |signal: &Self| path == signal.path() || path == grpc::path(*signal);
        Self::ALL.into_iter().find(takes)
    }

    /// The path of the signal on HTTP.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
            Self::Traces => "/v1/traces",
        }
    }
}

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Passes on an unpacked request that was taken. It is called on the request's own task and must
/// not wait.
pub type Forward = Arc<dyn Fn(Signal, Encoding, Bytes) + Send + Sync>;

/// What the OTLP services share.
pub struct OtlpDoor {
    pub recorder: Recorder,
    pub access: Arc<ArcSwap<AccessList>>,
    pub names: Arc<ArcSwap<ModelNames>>,
    pub rules: Arc<ArcSwap<IdentityRules>>,
    pub heard: Arc<Heard>,
    pub clock: Clock,
    /// Bytes of a body at most, packed and unpacked.
    pub max_body: usize,
    pub forward: Option<Forward>,
}

/// Why bytes are no OTLP request. Content is never quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("malformed protobuf: {0}")]
    Protobuf(&'static str),
    #[error("malformed JSON, or not an OTLP request, at line {line} column {column}")]
    Json { line: usize, column: usize },
}

/// A request in facts.
#[derive(Debug)]
pub struct Decoded {
    pub intake: Intake,
    tally: tally::Tally,
}

impl Decoded {
    /// How many items were refused at the door, and the first reasons.
    #[must_use]
    pub fn refused(self) -> (u64, String) {
        let settled = self.tally.settle(Receipt::default());
        (settled.rejected, settled.message)
    }
}

/// Reads a request. It is pure: nothing is recorded.
///
/// JSON with text that was cut within a character is mended and read again.
pub fn decode(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    context: Context<'_>,
) -> Result<Decoded, Malformed> {
    let read = walk(signal, encoding, body, context);
    if read.is_err()
        && encoding == Encoding::Json
        && let Some(mended) = json_repair::repair(body)
    {
        return walk(signal, encoding, &mended, context);
    }
    read
}

fn walk(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    context: Context<'_>,
) -> Result<Decoded, Malformed> {
    let mut mapper = map::Mapper::new(context, signal);
    match encoding {
        Encoding::Protobuf => protobuf::walk(body, &mut mapper)
            .map_err(|error| Malformed::Protobuf(error.reason()))?,
        Encoding::Json => {
            json::walk(body, &mut mapper).map_err(|error| Malformed::Json {
                line: error.line(),
                column: error.column(),
            })?;
        }
    }
    let (intake, tally) = mapper.finish();
    Ok(Decoded { intake, tally })
}

/// One request with all that its transport told.
struct Delivery {
    signal: Signal,
    encoding: Encoding,
    body: Bytes,
    grant: Arc<Grant>,
    headers: HeaderMap,
}

impl OtlpDoor {
    /// Takes a delivery and gives the body of the answer, once all that was accepted is durable.
    async fn receive(self: &Arc<Self>, delivery: Delivery) -> Result<Vec<u8>, answer::Failure> {
        let (signal, encoding) = (delivery.signal, delivery.encoding);
        let body = delivery.body.clone();
        let decoded = if body.len() > INLINE_BYTES {
            let door = Arc::clone(self);
            let read = tokio::task::spawn_blocking(move || door.read(&delivery));
            read.await.map_err(|_| answer::Failure::Internal)??
        } else {
            self.read(&delivery)?
        };
        let Decoded { intake, tally } = decoded;
        let receipt = if intake == Intake::default() {
            Receipt::default()
        } else {
            self.recorder.record(intake).await?
        };
        let mut settled = tally.settle(receipt);
        let now = self.clock.now();
        for (sender, heard) in settled.senders.drain(..) {
            self.heard.note(sender, heard, now);
        }
        if let Some(forward) = &self.forward {
            forward(signal, encoding, body);
        }
        Ok(answer::success(signal, encoding, &settled))
    }

    /// Notes a delivery that is refused whole.
    fn turn_away(&self, signal: Signal, failure: &answer::Failure) {
        let rejection = Rejection {
            signal: signal.name(),
            code: failure.reason_code(),
        };
        let now = self.clock.now();
        self.heard.reject(rejection, &failure.to_string(), now);
    }

    fn read(&self, delivery: &Delivery) -> Result<Decoded, Malformed> {
        let (names, rules) = (self.names.load(), self.rules.load());
        let context = Context {
            names: &names,
            rules: &rules,
            headers: &delivery.headers,
            grant: &delivery.grant,
        };
        decode(delivery.signal, delivery.encoding, &delivery.body, context)
    }
}

impl From<RecordError> for answer::Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Overloaded => Self::Overloaded,
            RecordError::Unavailable { .. } | RecordError::Stopping => Self::Unavailable,
        }
    }
}
