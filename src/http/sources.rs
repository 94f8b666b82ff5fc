//! `GET /api/v1/sources`: who is heard, and what was refused from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::error::Problem;
use crate::heard::{Hearing, Rejected, Rejection, Sender};
use crate::model::access::Scope;
use crate::model::usage::source;

/// The senders that were heard since the start.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourcesAnswer {
    #[schema(example = "2026-11-22T03:06:46.65Z")]
    now: String,
    sources: Vec<HeardSender>,
    /// Deliveries that were refused whole, by signal and code.
    refused_deliveries: Vec<RefusedDeliveries>,
}

/// Deliveries that were refused whole for one reason. Who sent them is not known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefusedDeliveries {
    /// `metrics`, `logs`, `traces` or `usage`.
    #[schema(example = "logs")]
    signal: &'static str,
    /// Stable, for programs.
    #[schema(example = "token_missing")]
    code: &'static str,
    /// What the last of them was answered.
    #[schema(example = "a bearer token is needed")]
    reason: String,
    deliveries: u64,
    first_seen: String,
    last_seen: String,
}

impl RefusedDeliveries {
    fn of((rejection, rejected): (Rejection, Rejected)) -> Self {
        Self {
            signal: rejection.signal,
            code: rejection.code,
            reason: rejected.reason,
            deliveries: rejected.deliveries,
            first_seen: rejected.first_seen.to_string(),
            last_seen: rejected.last_seen.to_string(),
        }
    }
}

/// One sender and signal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeardSender {
    /// `service.name` of a client, or the name of the token for the usage API.
    #[schema(example = "claude-code")]
    client: String,
    #[schema(example = "2.1.197")]
    version: String,
    /// `metrics`, `logs`, `traces` or `usage`.
    #[schema(example = "logs")]
    signal: String,
    /// The source of the records: `gateway`, `events`, `metrics`, ...
    #[schema(example = "events")]
    source: String,
    counted: Counted,
    first_seen: String,
    last_seen: String,
    deliveries: u64,
    accepted: u64,
    duplicates: u64,
    /// Refused items by code.
    refused: BTreeMap<String, u64>,
    /// How users became known, by number of items.
    identity: BTreeMap<&'static str, u64>,
}

/// How what a sender says enters the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Counted {
    /// Each request, unless a better source tells the same one.
    Requests,
    /// What goes beyond the requests that other sources told.
    Excess,
    /// Accepted and dropped: it repeats what other signals tell.
    Dropped,
}

impl Counted {
    fn of(sender: &Sender) -> Self {
        match (sender.signal, sender.source.as_str()) {
            ("traces", _) => Self::Dropped,
            (_, source::METRICS | source::GENAI) => Self::Excess,
            _ => Self::Requests,
        }
    }
}

impl HeardSender {
    fn of((sender, hearing): (Sender, Hearing)) -> Self {
        Self {
            counted: Counted::of(&sender),
            client: sender.client,
            version: sender.version,
            signal: sender.signal.to_owned(),
            source: sender.source,
            first_seen: hearing.first_seen.to_string(),
            last_seen: hearing.last_seen.to_string(),
            deliveries: hearing.deliveries,
            accepted: hearing.accepted,
            duplicates: hearing.duplicates,
            refused: hearing.refused,
            identity: hearing
                .origins
                .into_iter()
                .map(|(origin, count)| (origin.name(), count))
                .collect(),
        }
    }
}

/// List who is heard
///
/// Tells per client, version, signal and source when it was heard, what was taken and refused,
/// and how users became known; and which deliveries were refused whole. Both lists begin with the
/// start of tallyd.
#[utoipa::path(
    get, path = "/api/v1/sources", tag = "operation",
    operation_id = "listSources",
    security((), ("bearer" = ["read"])),
    responses(
        (status = 200, description = "The senders.", body = SourcesAnswer),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<SourcesAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let now: Timestamp = api.clock.now();
    Ok(Json(SourcesAnswer {
        now: now.to_string(),
        sources: api.heard.list().into_iter().map(HeardSender::of).collect(),
        refused_deliveries: api
            .heard
            .rejected()
            .into_iter()
            .map(RefusedDeliveries::of)
            .collect(),
    }))
}
