//! The bound on requests in progress, and on the time of each.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::config::Limits;

/// Shared by all listeners.
#[derive(Clone, Debug)]
pub(super) struct Limiter(Arc<Bounds>);

#[derive(Debug)]
struct Bounds {
    permits: Semaphore,
    timeout: Duration,
}

/// When a caller that was turned away should come again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// gRPC's status `UNAVAILABLE`: OTLP senders come again.
const GRPC_UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// Why a request is not answered by its door.
#[derive(Clone, Copy, Debug)]
enum Turned {
    Busy,
    Slow,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self(Arc::new(Bounds {
            permits: Semaphore::new(limits.concurrency),
            timeout: limits.request_timeout,
        }))
    }

    /// Lets a request pass to a router if there is room, and ends it when its time is over.
    pub(super) async fn answer(&self, request: Request, router: Router) -> Response<Body> {
        // A daemon that is busy is alive: probes pass, or it would be killed under load.
        let probe = matches!(request.uri().path(), "/healthz" | "/readyz");
        let is_grpc = is_grpc(&request);
        let permit = self.0.permits.try_acquire();
        if permit.is_err() && !probe {
            return turn_away(Turned::Busy, is_grpc);
        }
        match tokio::time::timeout(self.0.timeout, router.oneshot(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => turn_away(Turned::Slow, is_grpc),
        }
    }
}

fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn turn_away(turned: Turned, is_grpc: bool) -> Response<Body> {
    let (status, code, title) = match turned {
        Turned::Busy => (
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "too many requests are in progress",
        ),
        Turned::Slow => (
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "the request took too long",
        ),
    };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    if is_grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", GRPC_UNAVAILABLE);
        headers.insert("grpc-message", HeaderValue::from_static(title));
        return response;
    }
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "code": code,
    });
    *response.body_mut() = Body::from(body.to_string());
    *response.status_mut() = status;
    response
}
