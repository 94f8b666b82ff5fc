//! `GET /api/v1/quota/balances`: how limits stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::figures::zone_name;
use super::quota::{Failed, permit};
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::label;
use crate::quota::answer::{LimitStanding, limits};
use crate::quota::{Claims, Refused};

/// Counters in one answer at most.
const MAX_COUNTERS: usize = 1_000;

/// How limits stand now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BalancesAnswer<'a> {
    now: String,
    timezone: String,
    policy_version: u64,
    limits: Vec<LimitStanding<'a>>,
    /// Counters that were left out: the emptiest ones.
    left_out: usize,
}

/// Ask how limits stand
///
/// With a user, team, project or model: the limits that concern them, unlimited ones included.
/// Without any: every counter that holds or counts something, the fullest first.
#[utoipa::path(
    get, path = "/api/v1/quota/balances", tag = "quota",
    operation_id = "getBalances",
    security((), ("bearer" = ["read"]), ("bearer" = ["quota"])),
    params(
        ("user" = Option<String>, Query, example = "alice@example.com",
            description = "The case does not matter."),
        ("team" = Option<String>, Query, description = "As the directory has it."),
        ("project" = Option<String>, Query, description = "As the directory has it."),
        ("model" = Option<String>, Query, example = "claude-sonnet-4-6",
            description = "For limits that match on models."),
    ),
    responses(
        (status = 200, description = "The limits.", body = BalancesAnswer<'static>),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
    ),
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Failed> {
    let grant = auth::grant_any(&api, &headers, &[Scope::Read, Scope::Quota])?;
    let parameters = Parameters::of(&uri, &["user", "team", "project", "model"])?;
    let name = |field| parameters.get(field).map(Box::from);
    let claims = Claims {
        user: parameters
            .get("user")
            .and_then(|user| label::fold(user).map(|user| user.as_ref().into())),
        team: name("team"),
        project: name("project"),
        ..Claims::default()
    };
    permit(&grant, &api.quota, &claims)?;
    let now = api.clock.now();
    let model = parameters.get("model");
    let balances = if claims == Claims::default() && model.is_none() {
        api.quota.all_balances(now)
    } else {
        api.quota.balances(&claims, model, &grant.name, now)
    };
    let mut balances = balances.ok_or_else(|| Failed::refused(&Refused::NoPolicy, &api.quota))?;
    let left_out = balances.standings.len().saturating_sub(MAX_COUNTERS);
    balances.standings.truncate(MAX_COUNTERS);
    let answer = BalancesAnswer {
        now: now.to_string(),
        timezone: zone_name(&balances.policy.zone),
        policy_version: balances.version,
        limits: limits(&balances.policy, &balances.standings, now),
        left_out,
    };
    Ok(Json(answer).into_response())
}
