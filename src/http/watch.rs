//! Around every request: count it, time it, and keep a panic from taking the connection down.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::Api;
use super::error::Problem;
use crate::clock::Stopwatch;

/// The route of requests that none answers.
const NO_ROUTE: &str = "none";

/// Counts and times a request by its route, and answers 500 if it panics.
pub(super) async fn watch(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let stopwatch = Stopwatch::start();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        // The panic hook has logged what and where.
        tracing::error!(route, "a request panicked");
        Problem::internal().into_response()
    });
    let status = response.status();
    let labels = [route, status.as_str()];
    api.registry.add(api.families.requests, &labels, 1);
    let seconds = stopwatch.elapsed().as_secs_f64();
    api.registry
        .observe(api.families.duration, &[route], seconds);
    response
}

/// What no route answers.
pub(super) async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this address; / lists what there is",
    )
}

/// What a route does not answer to this method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address does not take this method; the header Allow lists those it takes",
    )
}
