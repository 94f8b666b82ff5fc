//! `GET /api/v1/quota/verify` and `POST /api/v1/quota/simulate`: what the ledger says of limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use jiff::SignedDuration;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use super::quota::Failed;
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::policy::{Policy, SCOPE_SEPARATOR};
use crate::quota::answer::{Amount, grains};
use crate::quota::{Refused, Stopped};

/// Commits wait for a simulation, so it must not take long.
const LONGEST_RANGE: SignedDuration = SignedDuration::from_hours(35 * 24);

/// Counters in one answer at most.
const MAX_STOPPED: usize = 10_000;

/// How the live counters compare with the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaVerification)]
pub(super) struct VerifyAnswer {
    /// Counters that were compared.
    compared: usize,
    /// Empty if all are right.
    differences: Vec<DifferenceAnswer>,
}

/// A counter whose live value is not the ledger's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaDifference)]
pub(super) struct DifferenceAnswer {
    limit: Box<str>,
    scope: BTreeMap<&'static str, String>,
    unit: &'static str,
    live: Amount,
    ledger: Amount,
}

/// Who a policy would have stopped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaSimulation)]
pub(super) struct SimulateAnswer {
    from: String,
    to: String,
    stopped: Vec<StoppedAnswer>,
    /// Requests for which the role would not have been allowed the model or the project, or that
    /// no role covers.
    refused: Vec<RefusedAnswer>,
    /// False if there were more counters than can be kept or shown.
    complete: bool,
}

/// A counter that would have been full.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaStopped)]
pub(super) struct StoppedAnswer {
    limit: Box<str>,
    scope: BTreeMap<&'static str, String>,
    unit: &'static str,
    /// The begin of the window; of a rolling one, the quarter hour in which it was full.
    window: String,
    /// The quarter hour in which the bound was passed.
    at: String,
    bound: Amount,
    /// The most that was used.
    used: Amount,
}

/// Requests of one user that would have been refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaRefused)]
pub(super) struct RefusedAnswer {
    user: Box<str>,
    /// `no_policy`, `model_not_allowed` or `project_type_not_allowed`.
    code: &'static str,
    requests: i64,
}

/// Compare counters with the ledger
///
/// Fills all counters anew, between two commits, and names each that differs from the live one.
/// Windows of a minute are left out.
#[utoipa::path(
    get, path = "/api/v1/quota/verify", tag = "quota",
    operation_id = "verifyQuota",
    security((), ("bearer" = ["admin"])),
    responses(
        (status = 200, description = "What differs.", body = VerifyAnswer),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn verify(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<VerifyAnswer>, Failed> {
    auth::grant(&api, &headers, Scope::Admin)?;
    let verified = api.quota.verify(&api.ledger, api.clock.now()).await;
    let verified = verified.map_err(Problem::from)?;
    let verified = verified.ok_or_else(|| Failed::refused(&Refused::NoPolicy, &api.quota))?;
    let policy = &*verified.policy;
    let difference = verified.differences.iter().map(|one| {
        let rule = &policy.limits[one.limit];
        let amount = |amount| grains(amount, rule.unit, &policy.weights);
        DifferenceAnswer {
            limit: (&*rule.name).into(),
            scope: scope(policy, one.limit, &one.scope),
            unit: rule.unit.name(),
            live: amount(one.live),
            ledger: amount(one.ledger),
        }
    });
    Ok(Json(VerifyAnswer {
        compared: verified.compared,
        differences: difference.collect(),
    }))
}

/// Try a policy on what was used
///
/// Replays what was booked in a range of 35 days at most against the policy of the body and lists
/// who would have been stopped, and when. To the quarter hour; windows of a minute, raises and
/// adjustments are left out.
#[utoipa::path(
    post, path = "/api/v1/quota/simulate", tag = "quota",
    operation_id = "simulateQuota",
    security((), ("bearer" = ["admin"])),
    params(
        ("from" = Option<String>, Query, example = "2026-11-01",
            description = "A date or an RFC 3339 time; without it: today."),
        ("to" = Option<String>, Query, example = "2026-11-08", description = "Exclusive."),
    ),
    request_body(content = String, content_type = "application/toml",
        description = "A policy file."),
    responses(
        (status = 200, description = "Who would have been stopped.", body = SimulateAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn simulate(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Json<SimulateAnswer>, Failed> {
    auth::grant(&api, &headers, Scope::Admin)?;
    body::media_type(&headers, &["application/toml"])?;
    let parameters = Parameters::of(&uri, &["from", "to"])?;
    let bytes = body::read(&headers, body, api.body_limits).await?;
    let policy = parse(&bytes)?;
    let range = parameters.range(api.clock.now(), &policy.zone)?;
    if range.end.duration_since(range.start) > LONGEST_RANGE {
        return Err(Problem::parameter("from, to: must be 35 days apart at most").into());
    }
    let simulated = api.quota.simulate(policy, range.clone(), &api.ledger).await;
    let simulated = simulated.map_err(Problem::from)?;
    let policy = &*simulated.policy;
    let stopped = simulated.stopped.iter().take(MAX_STOPPED);
    let refused = simulated.refused.into_iter();
    let refused = refused.map(|((user, code), requests)| RefusedAnswer {
        user,
        code,
        requests,
    });
    Ok(Json(SimulateAnswer {
        from: range.start.to_string(),
        to: range.end.to_string(),
        stopped: stopped.map(|one| answer(policy, one)).collect(),
        refused: refused.collect(),
        complete: simulated.complete && simulated.stopped.len() <= MAX_STOPPED,
    }))
}

fn parse(bytes: &[u8]) -> Result<Policy, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::body("the policy must be UTF-8".to_owned()))?;
    Policy::parse(text).map_err(|faults| {
        let lines = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.place, fault.message));
        Problem::body(lines.collect::<Vec<_>>().join("; "))
    })
}

fn answer(policy: &Policy, stopped: &Stopped) -> StoppedAnswer {
    let rule = &policy.limits[stopped.limit];
    let amount = |amount| grains(amount, rule.unit, &policy.weights);
    StoppedAnswer {
        limit: (&*rule.name).into(),
        scope: scope(policy, stopped.limit, &stopped.scope),
        unit: rule.unit.name(),
        window: stopped.window.to_string(),
        at: stopped.at.to_string(),
        bound: amount(stopped.bound),
        used: amount(stopped.used),
    }
}

fn scope(policy: &Policy, limit: usize, scope: &str) -> BTreeMap<&'static str, String> {
    let fields = policy.limits[limit].per.iter().map(|field| field.name());
    let values = scope.split(SCOPE_SEPARATOR).map(str::to_owned);
    fields.zip(values).collect()
}
