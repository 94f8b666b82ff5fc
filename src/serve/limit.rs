//! The bound on requests in progress, and on the time of each.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::config::Limits;
use crate::heard::{Heard, Rejection};
use crate::model::catalogue;
use crate::otlp::{self, Late, Signal};
use crate::registry::Registry;

/// Shared by all listeners.
#[derive(Clone, Debug)]
pub(super) struct Limiter(Arc<Bounds>);

#[derive(Debug)]
struct Bounds {
    permits: Semaphore,
    timeout: Duration,
    turned_away: TurnedAway,
}

/// Where it is noted who was turned away.
#[derive(Clone, Debug)]
pub struct TurnedAway {
    pub registry: Arc<Registry>,
    pub heard: Arc<Heard>,
    pub clock: Clock,
}

/// When a caller that was turned away should come again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// gRPC's status `UNAVAILABLE`: OTLP senders come again.
const GRPC_UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// What is kept of a request while its door has it.
struct Caller {
    listener: &'static str,
    /// The signal that its path takes, if it is a delivery.
    signal: Option<&'static str>,
    form: Form,
}

/// In what form a caller reads its answer.
#[derive(Clone, Copy, Debug)]
enum Form {
    Problem,
    Grpc,
    Otlp(otlp::Encoding),
}

impl Limiter {
    pub(super) fn new(limits: &Limits, turned_away: TurnedAway) -> Self {
        Self(Arc::new(Bounds {
            permits: Semaphore::new(limits.concurrency),
            timeout: limits.request_timeout,
            turned_away,
        }))
    }

    /// Lets a request pass to a router if there is room, and ends it when its time is over.
    pub(super) async fn answer(
        &self,
        listener: &'static str,
        request: Request,
        router: Router,
    ) -> Response<Body> {
        // A daemon that is busy is alive: probes pass, or it would be killed under load. And
        // scrapes pass, or nobody would see why.
        let passes = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
        let caller = Caller::of(listener, &request);
        let permit = self.0.permits.try_acquire();
        if permit.is_err() && !passes {
            return self.turn_away(&caller, Late::Busy);
        }
        match tokio::time::timeout(self.0.timeout, router.oneshot(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => self.turn_away(&caller, Late::Slow),
        }
    }

    fn turn_away(&self, caller: &Caller, late: Late) -> Response<Body> {
        let TurnedAway {
            registry,
            heard,
            clock,
        } = &self.0.turned_away;
        let (reason, code, title) = match late {
            Late::Busy => (
                "busy",
                "too_many_requests",
                "too many requests are in progress",
            ),
            Late::Slow => ("slow", "timeout", "the request took too long"),
        };
        registry.add(catalogue::TURNED_AWAY, &[caller.listener, reason], 1);
        if let Some(signal) = caller.signal {
            heard.reject(Rejection { signal, code }, title, clock.now());
        }
        match caller.form {
            Form::Otlp(encoding) => otlp::late(late, encoding),
            Form::Grpc => unavailable(title),
            Form::Problem => problem(late, code, title),
        }
    }
}

impl Caller {
    fn of(listener: &'static str, request: &Request) -> Self {
        let path = request.uri().path();
        let signal = Signal::of_path(path);
        let form = if is_grpc(request) {
            Form::Grpc
        } else if signal.is_some() {
            Form::Otlp(otlp::answer_encoding(request.headers()))
        } else {
            Form::Problem
        };
        let reports_usage = request.method() == Method::POST && path.starts_with("/api/v1/usage/");
        Self {
            listener,
            signal: signal
                .map(Signal::name)
                .or_else(|| reports_usage.then_some("usage")),
            form,
        }
    }
}

fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// OTLP senders come again.
fn unavailable(title: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", GRPC_UNAVAILABLE);
    headers.insert("grpc-message", HeaderValue::from_static(title));
    response
}

fn problem(late: Late, code: &'static str, title: &'static str) -> Response<Body> {
    let status = match late {
        Late::Busy => StatusCode::TOO_MANY_REQUESTS,
        Late::Slow => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "code": code,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    response
}
