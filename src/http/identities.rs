//! `/api/v1/identities/...`: identities that nobody has placed, and persons to be forgotten.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use super::prices::{days, midnight};
use crate::model::access::Scope;
use crate::model::label;
use crate::store::UnknownIdentity;

/// Identities without a place.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnknownAnswer {
    /// UTC days, half-open.
    from: String,
    to: String,
    /// The most tokens first.
    identities: Vec<UnknownLine>,
}

/// An identity, what is not known of it, and what it used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnknownLine {
    /// `nobody` (neither user nor device was told), `device_only` (a device without a person),
    /// `no_row` (the directory has none), `no_team`.
    reason: &'static str,
    /// What to write into the directory's column `identity`: user, account or device. Absent for
    /// `nobody`.
    identity: Option<String>,
    /// How the user became known.
    origin: &'static str,
    organization: Option<String>,
    requests: u64,
    tokens: u64,
    first_seen: String,
    last_seen: String,
}

/// List identities without a place
///
/// Identities that used something and have no user, no row in the directory, or no team. Without
/// a range it is of the last 30 days.
#[utoipa::path(
    get, path = "/api/v1/identities/unknown", tag = "identities",
    operation_id = "listUnknownIdentities",
    security((), ("bearer" = ["read"])),
    params(
        ("from" = Option<String>, Query, example = "2026-11-01", description = "A UTC day."),
        ("to" = Option<String>, Query, example = "2026-12-01", description = "Exclusive."),
    ),
    responses(
        (status = 200, description = "The identities.", body = UnknownAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn unknown(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<UnknownAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let [from, to] = days(&uri, api.clock.now())?;
    let found = api
        .ledger
        .unknown_identities(midnight(from)?, midnight(to)?);
    let found = found.await?;
    Ok(Json(UnknownAnswer {
        from: from.to_string(),
        to: to.to_string(),
        identities: found.into_iter().map(UnknownLine::of).collect(),
    }))
}

impl UnknownLine {
    fn of(unknown: UnknownIdentity) -> Self {
        let who = unknown.identity;
        let key = who.user.or(who.account).or(who.device);
        Self {
            reason: unknown.reason.name(),
            identity: key.map(String::from),
            origin: who.origin.name(),
            organization: who.organization.map(String::from),
            requests: unknown.requests,
            tokens: unknown.tokens,
            first_seen: unknown.first.to_string(),
            last_seen: unknown.last.to_string(),
        }
    }
}

/// Who is to be forgotten.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForgetRequest {
    /// As shown: the person of the directory, else the user, else `device:` and its first twelve
    /// characters. The case does not matter.
    #[schema(example = "alice@example.com")]
    user: String,
}

/// What was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForgetAnswer {
    /// The name under which all sums of the person stand from now on.
    #[schema(example = "forgotten-1")]
    stand_in: String,
    /// Raw identities that were the person's.
    identities: usize,
    /// Lines of closed months in which the name was replaced; their amounts stay.
    closed_lines: usize,
}

/// Forget a person
///
/// Replaces the person's names and devices in the ledger, closed months included, and in `/metrics`
/// by a name that says nothing. Sums stay. What comes in later names the person anew.
#[utoipa::path(
    post, path = "/api/v1/identities/forget", tag = "identities",
    operation_id = "forgetIdentity",
    security((), ("bearer" = ["admin"])),
    request_body = ForgetRequest,
    responses(
        (status = 200, description = "The person is forgotten.", body = ForgetAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, description = "Nobody is known by this name (`unknown_identity`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ForgetAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Admin)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let request: ForgetRequest = serde_json::from_slice(&body)
        .map_err(|_| Problem::body("the body must be {\"user\": \"alice@example.com\"}"))?;
    if label::fold(&request.user).is_none() {
        return Err(Problem::body("user: must be a name"));
    }
    let Some(forgotten) = api.recorder.forget(&request.user).await? else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_identity",
            "user: nobody is known by this name; see `tallyd usage --group-by user`",
        ));
    };
    tracing::info!(
        stand_in = forgotten.stand_in,
        identities = forgotten.identities,
        "a person was forgotten"
    );
    Ok(Json(ForgetAnswer {
        stand_in: forgotten.stand_in,
        identities: forgotten.identities,
        closed_lines: forgotten.closed_lines,
    }))
}
