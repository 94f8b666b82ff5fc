//! `POST /api/v1/usage/import`: usage of the past.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::Api;
use super::auth;
use super::body;
use super::delivery::{Context, Door};
use super::error::{Problem, ProblemBody};
use super::intake::{off_thread, turned_away};
use super::receipt::{self, UsageReceipt};
use super::usage_events::{Writing, parse};
use super::usage_record::WireRecord;
use crate::model::access::Scope;

/// Import usage of the past
///
/// Takes what `/api/v1/usage/events` takes, and `bedrock_logs` as a source. The records count in
/// the ledger, in reports and in the quota windows of their own time. No counter of `/metrics` and
/// no minute moves, so that no alarm hears of them. Sending records again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/usage/import", tag = "usage",
    operation_id = "importUsage",
    security((), ("bearer" = ["admin"])),
    request_body(content(
        (super::openapi::UsageBody = "application/json"),
        (WireRecord<'static> = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "Everything accepted is on disk.", body = UsageReceipt),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 408, description = "The body did not arrive in time (`body_timeout`).",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 429, response = super::openapi::Overloaded),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UsageReceipt>, Problem> {
    let taken = take(&api, &headers, body).await;
    taken.inspect_err(turned_away(&api))
}

async fn take(
    api: &Arc<Api>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<UsageReceipt>, Problem> {
    let grant = auth::grant(api, headers, Scope::Admin)?;
    let writing = Writing::of(headers)?;
    let body = body::read(headers, body, api.body_limits).await?;
    let now = api.clock.now();
    let names = api.names.load_full();
    let batch = off_thread(body, move |body| {
        let context = Context {
            names: &names,
            binding: &grant.binding,
            now,
            door: Door::Import,
        };
        parse(body, &writing, context)
    })
    .await?;
    receipt::record_history(api, batch).await
}
