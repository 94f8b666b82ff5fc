//! `POST /api/v1/store/backup`: a consistent copy of the ledger while it is in use.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use crate::model::access::Scope;
use crate::model::catalogue;
use crate::model::label;
use crate::store::{QueryError, StoreError};

/// Where to put the copy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupRequest {
    /// An absolute path on tallyd's host.
    #[schema(example = "/var/backups/tallyd/ledger-2026-11-22.db")]
    path: String,
}

/// The copy that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BackupAnswer {
    path: String,
    bytes: u64,
}

/// Back the ledger up
///
/// Writes a consistent copy of the whole ledger to a path on tallyd's host, while it goes on
/// working.
#[utoipa::path(
    post, path = "/api/v1/store/backup", tag = "operation",
    operation_id = "backUpStore",
    security((), ("bearer" = ["admin"])),
    request_body = BackupRequest,
    responses(
        (status = 200, description = "The copy is complete.", body = BackupAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 409, description = "There is a file with that name already (`path_exists`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BackupAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Admin)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let request: BackupRequest = serde_json::from_slice(&body)
        .map_err(|_| Problem::body("the body must be {\"path\": \"/absolute/path\"}"))?;
    if !Path::new(&request.path).is_absolute() {
        return Err(Problem::body("path: must be an absolute path"));
    }
    let copied = api.ledger.backup(Path::new(&request.path)).await;
    let bytes = copied.map_err(|error| match error {
        QueryError::Store(StoreError::Exists { .. }) => Problem::new(
            StatusCode::CONFLICT,
            "path_exists",
            "path: there is a file already, choose another name",
        ),
        // The administrator chose the path, so the reason is theirs to know.
        QueryError::Store(reason) => {
            tracing::warn!(error = %reason, "a backup failed");
            let detail = label::with_sources(&reason);
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "backup_failed", detail)
        }
        error => error.into(),
    })?;
    // Where backups are scheduled, one by hand is as good.
    if api
        .registry
        .gauge(catalogue::BACKUP_LAST_SUCCESS, &[])
        .is_some()
    {
        let now = api.clock.now().as_second() as f64;
        api.registry.set(catalogue::BACKUP_LAST_SUCCESS, &[], now);
    }
    Ok(Json(BackupAnswer {
        path: request.path,
        bytes,
    }))
}
