//! Envoy's rate limit service, version 3, on the gRPC listener.
//!
//! Gateways ask with it before a request and report tokens when the stream is done. Limits come
//! from tallyd's policy; descriptors only say who asks and what is counted. What is reported
//! becomes usage in the ledger, like what any other door brings. See `docs/envoy.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use jiff::Timestamp;
use tonic::Status;
use tonic_prost::ProstCodec;

use crate::clock::Clock;
use crate::config::Envoy;
use crate::heard::{Delivery, Heard, Rejection, Sender};
use crate::model::access::{AccessList, Denied, Grant, Scope};
use crate::quota::Quota;
use crate::record::Recorder;
use call::{Call, Unreadable};
use proto::{RateLimitRequest, RateLimitResponse};

mod call;
mod count;
pub mod proto;
mod refund;
mod status;
#[cfg(test)]
mod tests;

/// The path of the only method.
const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A request with as many and as long entries as there may be is far smaller.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// What the service needs.
#[derive(Debug)]
pub struct EnvoyDoor {
    quota: Quota,
    recorder: Recorder,
    access: Arc<ArcSwap<AccessList>>,
    heard: Arc<Heard>,
    clock: Clock,
    settings: Envoy,
    /// Makes ids for calls without one, together with the time at which this began.
    made: AtomicU64,
    began: Timestamp,
}

impl EnvoyDoor {
    #[must_use]
    pub fn new(
        quota: Quota,
        recorder: Recorder,
        access: Arc<ArcSwap<AccessList>>,
        heard: Arc<Heard>,
        settings: Envoy,
        clock: Clock,
    ) -> Self {
        Self {
            quota,
            recorder,
            access,
            heard,
            settings,
            made: AtomicU64::new(0),
            began: clock.now(),
            clock,
        }
    }

    async fn should_rate_limit(
        self: &Arc<Self>,
        grant: &Grant,
        request: &RateLimitRequest,
    ) -> Result<RateLimitResponse, Status> {
        let now = self.clock.now();
        let call = Call::read(request, &self.settings).inspect_err(|_| {
            self.note(&grant.name, refused("unreadable"), now);
        })?;
        let mut outcomes = Vec::with_capacity(call.groups.len());
        for group in &call.groups {
            outcomes.push(self.count(grant, group, now).await?);
        }
        Ok(status::response(&call, &outcomes, now))
    }

    /// Tells what came from a gateway.
    fn note(&self, sender: &str, delivery: Delivery, now: Timestamp) {
        let sender = Sender {
            client: sender.to_owned(),
            version: String::new(),
            signal: "usage",
            source: self.settings.source.clone(),
        };
        self.heard.note(sender, delivery, now);
    }

    /// An id that no call had before.
    fn new_id(&self) -> String {
        let began = self.began.as_microsecond();
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        format!("envoy-{began:x}-{number:x}")
    }
}

impl From<Unreadable> for Status {
    fn from(unreadable: Unreadable) -> Self {
        Self::invalid_argument(unreadable.to_string())
    }
}

/// The route of the service.
pub fn router(door: Arc<EnvoyDoor>) -> Router {
    let answer = |State(door): State<Arc<EnvoyDoor>>, request: Request| answer(door, request);
    Router::new().route(PATH, post(answer)).with_state(door)
}

async fn answer(door: Arc<EnvoyDoor>, request: Request) -> Response {
    let grant = match authorize(&door, request.headers()) {
        Ok(grant) => grant,
        Err(denied) => {
            let rejection = Rejection {
                signal: "usage",
                code: denied.code(),
            };
            let now = door.clock.now();
            door.heard.reject(rejection, &denied.to_string(), now);
            return refusal(denied).into_http();
        }
    };
    let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
    let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let service = tower::service_fn(move |request: tonic::Request<RateLimitRequest>| {
        let (door, grant) = (door.clone(), grant.clone());
        async move {
            let answer = door.should_rate_limit(&grant, request.get_ref()).await?;
            Ok(tonic::Response::new(answer))
        }
    });
    grpc.unary(service, request)
        .await
        .map(axum::body::Body::new)
}

fn authorize(door: &EnvoyDoor, headers: &HeaderMap) -> Result<Arc<Grant>, Denied> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    door.access.load().authorize(bearer, Scope::Quota)
}

/// A delivery of which nothing was taken.
fn refused(code: &str) -> Delivery {
    Delivery {
        refused: [(code.to_owned(), 1)].into(),
        ..Delivery::default()
    }
}

fn refusal(denied: Denied) -> Status {
    match denied {
        Denied::Scope(_) => Status::permission_denied(denied.to_string()),
        Denied::Missing | Denied::Unknown => Status::unauthenticated(denied.to_string()),
    }
}
