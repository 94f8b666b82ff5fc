//! `POST /api/v1/quota/check` and `/api/v1/quota/reservations`: may this call be made?

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use super::lenient::{Count, Part, Text, invalid, missing};
use super::quota::{Failed, Held, WireClaims, claims_of, lease, object, permit};
use crate::model::access::Scope;
use crate::model::policy::Field;
use crate::model::quota::{Decision, Grant, Phase};
use crate::model::usage::Refusal;
use crate::quota::answer::{LimitStanding, headers as rate_headers, warning};
use crate::quota::{Answer, Ask};

/// Output tokens of a call that names no maximum.
const DEFAULT_OUTPUT: u64 = 4_096;

/// Milliseconds of a lease that the caller does not name.
const DEFAULT_LEASE_MS: u64 = 120_000;

const FIELDS: &str = "id, subject, model and estimate";

/// A call that is about to be made.
#[derive(Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = QuotaRequest, example = json!({
    "id": "01JD8P2M6FYZ", "subject": {"user": "alice@example.com", "project": "checkout"},
    "model": "claude-sonnet-4-6",
    "estimate": {"input_tokens": 1200, "max_output_tokens": 4096},
    "mode": "strict", "ttl_ms": 120_000
}))]
pub(super) struct WireAsk<'a> {
    /// Made by the caller, unique for ever. `check` needs none; else `Idempotency-Key` may carry
    /// it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, max_length = 256)]
    id: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = WireClaims<'static>)]
    subject: Part<WireClaims<'a>>,
    /// The model as the provider names it.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    model: Text<'a>,
    /// Told by the model's name where absent.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    provider: Text<'a>,
    #[schema(value_type = Option<WireEstimate>)]
    estimate: Part<WireEstimate>,
    /// `strict` holds all or nothing; `cap` holds less output where the whole does not fit.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^(strict|cap)$", default = "strict")]
    mode: Text<'a>,
    /// The lease in milliseconds, from a second to a day.
    #[schema(value_type = Option<u64>, maximum = 86_400_000, default = 120_000)]
    ttl_ms: Count,
}

/// The most that a call may use. Kinds are disjoint: `input_tokens` holds no cached ones.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = QuotaEstimate)]
pub(super) struct WireEstimate {
    #[schema(value_type = Option<u64>)]
    input_tokens: Count,
    /// Expected to be read from the cache.
    #[schema(value_type = Option<u64>)]
    cached_input_tokens: Count,
    /// The call's `max_tokens`; above the model's own maximum, that one is held.
    #[schema(value_type = Option<u64>, default = 4096)]
    max_output_tokens: Count,
    /// Always 1: a reservation is for one call.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1)]
    requests: Count,
}

/// A call that may be made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaAnswer)]
pub(super) struct AllowAnswer<'a> {
    /// Always `allow`: what is denied is a problem.
    #[schema(example = "allow")]
    decision: &'static str,
    /// Absent for a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// `live`, `settled`, `released` or `expired`; absent for a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// The same reservation was made before; nothing more is held.
    replayed: bool,
    held: Held,
    /// What the call may write at most; less than asked for in mode `cap`.
    max_output_tokens: u64,
    /// The end of the lease; absent for a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    policy_version: u64,
    /// The canonical name.
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<RoleAnswer<'a>>,
    limits: Vec<LimitStanding<'a>>,
    /// Limits in shadow mode that would have denied.
    #[schema(value_type = Vec<String>)]
    shadow_denials: Vec<Arc<str>>,
    /// Always `authoritative`: decided by the process that keeps the counters.
    decision_source: &'static str,
    /// Headers to add to the client's answer: a warning from three quarters of a limit on.
    client_headers: BTreeMap<&'static str, String>,
}

/// What the policy says of the role besides its limits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoleAnswer<'a> {
    name: &'a str,
    /// For the gateway to enforce.
    can_access_external_apis: bool,
    /// `minimal`, `standard` or `full`.
    audit_level: &'static str,
}

struct Asked {
    id: Option<String>,
    ask: Ask,
    is_capped: bool,
    lease: jiff::SignedDuration,
}

impl WireAsk<'_> {
    fn asked(self, headers: &HeaderMap) -> Result<Asked, Refusal> {
        let key = headers
            .get("idempotency-key")
            .and_then(|value| value.to_str().ok());
        let key = key.map_or(Text::Absent, |key| Text::Is(Cow::Borrowed(key)));
        let id = match self.id.optional("id")? {
            Some(id) => Some(id),
            None => key.optional("Idempotency-Key")?,
        };
        let id = id.map(String::from);
        let is_capped = match self.mode.optional("mode")?.as_deref() {
            None | Some("strict") => false,
            Some("cap") => true,
            Some(_) => return Err(invalid("mode", "must be strict or cap")),
        };
        let estimate = self.estimate.optional("estimate")?.unwrap_or_default();
        let requests = estimate.requests.up_to(1, "estimate.requests")?;
        if requests == Some(0) {
            return Err(invalid("estimate.requests", "must be 1"));
        }
        let output = match estimate.max_output_tokens {
            Count::Absent => DEFAULT_OUTPUT,
            output => output.tokens("estimate.max_output_tokens")?,
        };
        let ask = Ask {
            claims: claims_of(self.subject)?,
            model: self.model.required("model")?.into(),
            provider: self.provider.optional("provider")?.map(Box::from),
            input_tokens: estimate.input_tokens.tokens("estimate.input_tokens")?,
            cached_input_tokens: estimate
                .cached_input_tokens
                .tokens("estimate.cached_input_tokens")?,
            max_output_tokens: output,
        };
        Ok(Asked {
            id,
            ask,
            is_capped,
            lease: lease(self.ttl_ms, DEFAULT_LEASE_MS)?,
        })
    }
}

/// Ask whether a call would be admitted
///
/// Holds nothing and promises nothing: another call may take the room. What would be denied is
/// answered as a reservation would be.
#[utoipa::path(
    post, path = "/api/v1/quota/check", tag = "quota",
    operation_id = "checkQuota",
    security((), ("bearer" = ["quota"])),
    request_body = WireAsk<'static>,
    responses(
        (status = 200, description = "It would be admitted.", body = AllowAnswer<'static>),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::NeverAdmissible),
        (status = 429, response = super::openapi::QuotaExceeded),
    ),
)]
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failed> {
    let grant = auth::grant(&api, &headers, Scope::Quota)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let asked = object::<WireAsk<'_>>(&body, FIELDS)?.asked(&headers)?;
    permit(&grant, &api.quota, &asked.ask.claims)?;
    let now = api.clock.now();
    let answer = api
        .quota
        .check(&asked.ask, &grant.name, now)
        .map_err(|refused| Failed::refused(&refused, &api.quota))?;
    respond(&api, None, &answer, now)
}

/// Reserve what a call may use
///
/// Holds the estimate under every limit that applies, or under none. The same id with the same
/// body gets its hold again (`replayed`), with how limits stand now; with another body it is a
/// conflict. A denial holds nothing and is not remembered.
#[utoipa::path(
    post, path = "/api/v1/quota/reservations", tag = "quota",
    operation_id = "reserveQuota",
    security((), ("bearer" = ["quota"])),
    request_body = WireAsk<'static>,
    responses(
        (status = 200, description = "It was reserved before.", body = AllowAnswer<'static>),
        (status = 201, description = "It is reserved.", body = AllowAnswer<'static>),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
        (status = 409, response = super::openapi::QuotaConflict),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::NeverAdmissible),
        (status = 429, response = super::openapi::QuotaExceeded),
        (status = 503, response = super::openapi::QuotaUnavailable),
    ),
)]
pub(super) async fn reserve(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failed> {
    let grant = auth::grant(&api, &headers, Scope::Quota)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let asked = object::<WireAsk<'_>>(&body, FIELDS)?.asked(&headers)?;
    let id = asked.id.ok_or_else(|| missing("id"))?;
    permit(&grant, &api.quota, &asked.ask.claims)?;
    let now = api.clock.now();
    let quota = &api.quota;
    let answer = if asked.is_capped {
        quota.reserve_capped(&id, &asked.ask, asked.lease, &grant.name, now)
    } else {
        quota.reserve(&id, &asked.ask, asked.lease, &grant.name, now)
    };
    let answer = answer.map_err(|refused| Failed::refused(&refused, quota))?;
    respond(&api, Some(&id), &answer, now)
}

fn respond(
    api: &Api,
    id: Option<&str>,
    answer: &Answer,
    now: Timestamp,
) -> Result<Response, Failed> {
    let rates = rate_headers(&answer.policy, answer.standings(), now);
    if let Some(explanation) = answer.explanation(now) {
        return Err(Failed::explained(explanation, answer.limits(now), rates));
    }
    let Decision::Allowed(grant) = &answer.decision else {
        return Err(Problem::internal().into());
    };
    let status = if id.is_some() && !grant.replayed {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let body = allow(api, id, answer, grant, now);
    Ok(super::quota::answer(status, &body, rates))
}

fn allow<'a>(
    api: &Api,
    id: Option<&'a str>,
    answer: &'a Answer,
    grant: &Grant,
    now: Timestamp,
) -> AllowAnswer<'a> {
    let phase = match id {
        Some(id) if grant.replayed => api.quota.reservation(id).map(|known| known.phase),
        Some(_) => Some(Phase::Live),
        None => None,
    };
    let estimate = &answer.resolved.estimate;
    let role = answer.resolved.subject().get(Field::Role);
    AllowAnswer {
        decision: "allow",
        status: phase.map(Phase::name),
        replayed: grant.replayed,
        held: Held::of(estimate),
        max_output_tokens: u64::try_from(estimate.output).unwrap_or(0),
        expires_at: id.map(|_| grant.expires_at.to_string()),
        id,
        policy_version: answer.version,
        model: &answer.resolved.asked.sku.model,
        role: answer.policy.roles.get(role).map(|rules| RoleAnswer {
            name: role,
            can_access_external_apis: rules.can_access_external_apis,
            audit_level: rules.audit_level.name(),
        }),
        limits: answer.limits(now),
        shadow_denials: answer.shadow_denials(),
        decision_source: "authoritative",
        client_headers: warning(&answer.policy, answer.standings()),
    }
}
