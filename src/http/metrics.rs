//! `GET /metrics`: what Prometheus scrapes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::auth;
use super::error::{Problem, ProblemBody};
use crate::model::access::Scope;

/// The exposition, written for one scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    pub content_type: &'static str,
    /// `gzip`, or nothing.
    pub encoding: Option<&'static str>,
    pub body: Bytes,
}

/// Writes the exposition for the values of `Accept` and `Accept-Encoding`; nothing while there is
/// none yet.
pub type Expose = Arc<dyn Fn(&str, &str) -> Option<Exposition> + Send + Sync>;

/// Scrape the metrics
///
/// Prometheus text 0.0.4 or OpenMetrics 1.0, whichever the scraper prefers.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    operation_id = "getMetrics",
    security((), ("bearer" = ["read"])),
    responses(
        (status = 200, description = "The current numbers.", body = String,
            content_type = "text/plain; version=0.0.4"),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 503, description = "There are no numbers yet (`starting`).",
            body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let expose = Arc::clone(&api.expose);
    let (accept, accept_encoding) = (
        joined(&headers, &ACCEPT),
        joined(&headers, &ACCEPT_ENCODING),
    );
    // A hundred thousand series take milliseconds to write.
    let exposition = tokio::task::spawn_blocking(move || expose(&accept, &accept_encoding))
        .await
        .map_err(|error| {
            tracing::error!(%error, "writing the metrics failed");
            Problem::internal()
        })?
        .ok_or_else(|| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "starting",
                "there are no numbers yet",
            )
            .retry_after(1)
        })?;
    let mut response = exposition.body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(exposition.content_type),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Some(encoding) = exposition.encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}

/// All values of a header as one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    values.join(", ")
}
