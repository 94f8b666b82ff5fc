//! `POST /api/v1/notify/{name}/test`: a marked test to a target of notifications.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::error::Problem;
use crate::model::access::Scope;
use crate::notify::TestError;

/// The test was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestAnswer {
    #[schema(example = "ops")]
    target: String,
    #[schema(example = "2026-11-22T03:06:46.65Z")]
    at: String,
}

/// Send a test notification
///
/// Sends a message that says of itself that it is a test, at once and whatever is muted, and
/// answers when the target has taken it.
#[utoipa::path(
    post, path = "/api/v1/notify/{name}/test", tag = "operation",
    operation_id = "testNotification",
    security((), ("bearer" = ["admin"])),
    params(("name" = String, Path, description = "NAME of `[notify.NAME]`.")),
    responses(
        (status = 200, description = "The target took it.", body = TestAnswer),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, description = "There is no such target (`target_unknown`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The target did not take it (`notify_failed`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TestAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Admin)?;
    let now = api.clock.now();
    api.notify.test(&name, now).await.map_err(|error| {
        let (status, code) = match &error {
            TestError::Unknown(_) => (StatusCode::NOT_FOUND, "target_unknown"),
            TestError::Failed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "notify_failed"),
        };
        Problem::new(status, code, error.to_string())
    })?;
    Ok(Json(TestAnswer {
        target: name,
        at: now.to_string(),
    }))
}
