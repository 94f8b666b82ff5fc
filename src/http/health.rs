//! `GET /healthz` and `GET /readyz`. Both answer everyone and tell nothing confidential.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// Whether tallyd can do its work, and why not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(super) struct ReadyAnswer {
    ready: bool,
    conditions: Vec<ConditionLine>,
}

/// One condition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Condition)]
pub(super) struct ConditionLine {
    #[schema(example = "ledger")]
    name: &'static str,
    ok: bool,
    #[schema(example = "open")]
    detail: String,
}

/// Ask whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "operation",
    operation_id = "getHealth",
    responses((status = 200, description = "It lives.", body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Ask whether tallyd can do its work
#[utoipa::path(get, path = "/readyz", tag = "operation",
    operation_id = "getReadiness",
    responses(
        (status = 200, description = "It can.", body = ReadyAnswer),
        (status = 503, description = "It cannot; the conditions tell why.", body = ReadyAnswer),
    ))]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> (StatusCode, Json<ReadyAnswer>) {
    let conditions: Vec<ConditionLine> = api
        .readiness
        .list()
        .into_iter()
        .map(|condition| ConditionLine {
            name: condition.name,
            ok: condition.ok,
            detail: condition.detail,
        })
        .collect();
    let ready = conditions.iter().all(|condition| condition.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ReadyAnswer { ready, conditions }))
}
