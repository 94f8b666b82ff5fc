//! `/api/v1/quota/reservations/{id}`: what becomes of a reservation.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use super::lenient::{Count, Part, Text, invalid};
use super::quota::{Failed, Held, WireClaims, answer, claims_of, lease, object, permit, total};
use super::range::Parameters;
use super::usage_record::{WireTokens, WireUsage, outcome_of, tokens_of};
use crate::model::access::{Grant, Scope};
use crate::model::policy::Subject;
use crate::model::quota::{Phase, QuotaError};
use crate::model::usage::Refusal;
use crate::quota::answer::{LimitStanding, headers as rate_headers, limits, warning};
use crate::quota::{Refused, Settle, SettleError, Settled};

/// Milliseconds by which a lease goes on that the caller does not name.
const DEFAULT_EXTENSION_MS: u64 = 60_000;

type IdPath = Result<Path<String>, PathRejection>;

/// What a call really used.
#[derive(Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = Settlement, example = json!({
    "tokens": {"input": 1180, "output": 903, "cache_read": 5600, "cache_write_5m": 340},
    "outcome": "success", "occurred_at": "2026-11-22T03:06:46.650Z"
}))]
pub(super) struct WireSettle<'a> {
    /// Either this, as in a usage record, or `usage`.
    #[schema(value_type = Option<WireTokens>)]
    tokens: Part<WireTokens>,
    /// As Anthropic's API names them.
    #[schema(value_type = Option<WireUsage>)]
    usage: Part<WireUsage>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>,
        pattern = "^(success|ok|error|cancelled|refused|unknown)$", default = "success")]
    outcome: Text<'a>,
    /// When the call ended (RFC 3339); default: now.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Text<'a>,
    /// The provider's id of the request: reports of other sources about it count once with this.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    request_id: Text<'a>,
    /// The client's session (`x-claude-code-session-id`): its own reports of the call count once
    /// with this.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    session: Text<'a>,
    #[schema(value_type = Option<u32>)]
    duration_ms: Count,
    #[schema(value_type = Option<u32>)]
    ttft_ms: Count,
    /// With `?upsert=true`: whom to charge if nobody knows the reservation.
    #[serde(borrow)]
    #[schema(value_type = Option<WireClaims<'static>>)]
    subject: Part<WireClaims<'a>>,
    /// With `?upsert=true`: the model, if nobody knows the reservation.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    model: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    provider: Text<'a>,
}

/// What a settlement did. It is on disk when this is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettlementAnswer)]
pub(super) struct SettleAnswer<'a> {
    /// Always `settled`.
    #[schema(example = "settled")]
    status: &'static str,
    charged: Held,
    /// Tokens that were held and not used.
    released: u64,
    /// Tokens that were used beyond what was held; they are charged.
    overage: u64,
    /// The lease had ended before.
    late: bool,
    /// It was settled with the same counts before; nothing more is charged.
    replayed: bool,
    limits: Vec<LimitStanding<'a>>,
    /// Headers to add to the client's answer: a warning from three quarters of a limit on.
    client_headers: BTreeMap<&'static str, String>,
}

/// Settle a reservation
///
/// Charges what was used to the windows in which it was reserved, once, and frees the hold.
/// Limits never refuse it. The same counts again change nothing; others are a conflict.
#[utoipa::path(
    post, path = "/api/v1/quota/reservations/{id}/settle", tag = "quota",
    operation_id = "settleReservation",
    security((), ("bearer" = ["quota"])),
    params(
        ("id" = String, Path, description = "The reservation."),
        ("upsert" = Option<bool>, Query,
            description = "Charge the body's subject if nobody knows the reservation."),
    ),
    request_body = WireSettle<'static>,
    responses(
        (status = 200, description = "It is settled.", body = SettleAnswer<'static>),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, response = super::openapi::UnknownReservation),
        (status = 409, response = super::openapi::QuotaConflict),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::SettlementRefused),
        (status = 429, response = super::openapi::Overloaded),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn settle(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
    path: IdPath,
    body: Body,
) -> Result<Response, Failed> {
    let grant = auth::grant(&api, &headers, Scope::Quota)?;
    let id = id_of(path)?;
    let parameters = Parameters::of(&uri, &["upsert"])?;
    let is_upsert = match parameters.get("upsert") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::parameter("upsert: must be true or false").into()),
    };
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let wire: WireSettle<'_> = object(&body, "tokens")?;
    let now = api.clock.now();
    let settle = settle_of(wire, is_upsert, now)?;
    let known = permit_reserved(&api, &grant, &id)?;
    if !known && let Some((claims, ..)) = &settle.otherwise {
        permit(&grant, &api.quota, claims)?;
    }
    let settled = api
        .quota
        .settle(&api.recorder, &id, &settle, &grant.name)
        .await?;
    Ok(settle_answer(&api, &settled, now))
}

fn settle_of(wire: WireSettle<'_>, is_upsert: bool, now: Timestamp) -> Result<Settle, Refusal> {
    let at = match wire.occurred_at.optional("occurred_at")? {
        None => now,
        Some(text) => text.parse().map_err(|_| {
            invalid(
                "occurred_at",
                "must be a time as in RFC 3339 such as 2026-11-22T03:06:46.650Z",
            )
        })?,
    };
    let otherwise = if is_upsert {
        let claims = claims_of(wire.subject)?;
        let provider = wire.provider.optional("provider")?.map(Box::from);
        Some((claims, wire.model.required("model")?.into(), provider))
    } else {
        None
    };
    Ok(Settle {
        tokens: tokens_of(wire.tokens, wire.usage)?,
        outcome: outcome_of(wire.outcome, None)?,
        at: Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at),
        request_id: wire.request_id.optional("request_id")?.map(Box::from),
        session: wire.session.optional("session")?.map(Box::from),
        duration_ms: wire.duration_ms.small("duration_ms")?,
        ttft_ms: wire.ttft_ms.small("ttft_ms")?,
        otherwise,
    })
}

fn settle_answer(api: &Api, settled: &Settled, now: Timestamp) -> Response {
    let charged = total(&settled.charged);
    let held = settled.held.as_ref().map_or(charged, total);
    let subject = settled.subject.as_ref();
    let known = subject.and_then(|subject| api.quota.standings(subject, now));
    let known = known.as_ref();
    let body = SettleAnswer {
        status: "settled",
        charged: Held::of(&settled.charged),
        released: held.saturating_sub(charged),
        overage: charged.saturating_sub(held),
        late: settled.late,
        replayed: settled.replayed,
        limits: known.map_or_else(Vec::new, |k| limits(&k.policy, &k.standings, now)),
        client_headers: known.map_or_else(BTreeMap::new, |k| warning(&k.policy, &k.standings)),
    };
    let headers = known.map(|known| rate_headers(&known.policy, &known.standings, now));
    answer(StatusCode::OK, &body, headers.unwrap_or_default())
}

/// What a release did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReleaseAnswer {
    /// Always `released`.
    #[schema(example = "released")]
    status: &'static str,
    /// Tokens that were held.
    released: u64,
    /// It was released, or its lease had ended, before.
    replayed: bool,
}

/// Release a reservation
///
/// Frees the hold without a charge: the call was not made, or failed before it used anything.
/// Releasing twice is releasing once.
#[utoipa::path(
    post, path = "/api/v1/quota/reservations/{id}/release", tag = "quota",
    operation_id = "releaseReservation",
    security((), ("bearer" = ["quota"])),
    params(("id" = String, Path, description = "The reservation.")),
    responses(
        (status = 200, description = "It is released.", body = ReleaseAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, response = super::openapi::UnknownReservation),
        (status = 409, response = super::openapi::QuotaConflict),
    ),
)]
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    path: IdPath,
) -> Result<Json<ReleaseAnswer>, Failed> {
    let grant = auth::grant(&api, &headers, Scope::Quota)?;
    let id = id_of(path)?;
    permit_reserved(&api, &grant, &id)?;
    let known = api.quota.reservation(&id);
    api.quota
        .release(&id, api.clock.now())
        .map_err(|refused| Failed::refused(&refused, &api.quota))?;
    let was_live = known
        .as_ref()
        .is_some_and(|known| known.phase == Phase::Live);
    let released = known.filter(|_| was_live).map(|k| total(&k.estimate));
    Ok(Json(ReleaseAnswer {
        status: "released",
        released: released.unwrap_or(0),
        replayed: !was_live,
    }))
}

/// How long a call goes on, and what it has used by now.
#[derive(Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = Extension, example = json!({"ttl_ms": 60_000, "so_far": {"output_tokens": 700}}))]
pub(super) struct WireExtend {
    /// Milliseconds from now, from a second to a day.
    #[schema(value_type = Option<u64>, maximum = 86_400_000, default = 60_000)]
    ttl_ms: Count,
    #[schema(value_type = Option<WireUsage>)]
    so_far: Part<WireUsage>,
}

/// An extended lease.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExtendAnswer {
    expires_at: String,
    /// False if what was used beyond the hold fits under some limit no more: cut the stream.
    #[serde(rename = "continue")]
    goes_on: bool,
}

/// Extend a reservation
///
/// Moves the end of the lease, never to an earlier time, for streams that take longer.
#[utoipa::path(
    post, path = "/api/v1/quota/reservations/{id}/extend", tag = "quota",
    operation_id = "extendReservation",
    security((), ("bearer" = ["quota"])),
    params(("id" = String, Path, description = "The reservation.")),
    request_body = WireExtend,
    responses(
        (status = 200, description = "It is extended.", body = ExtendAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, response = super::openapi::UnknownReservation),
        (status = 409, response = super::openapi::QuotaConflict),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 503, response = super::openapi::QuotaUnavailable),
    ),
)]
pub(super) async fn extend(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    path: IdPath,
    body: Body,
) -> Result<Json<ExtendAnswer>, Failed> {
    let grant = auth::grant(&api, &headers, Scope::Quota)?;
    let id = id_of(path)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let wire: WireExtend = object(&body, "ttl_ms")?;
    let lease = lease(wire.ttl_ms, DEFAULT_EXTENSION_MS)?;
    let so_far = wire.so_far.optional("so_far")?.unwrap_or_default();
    let tokens = so_far.sum("so_far")?;
    permit_reserved(&api, &grant, &id)?;
    let now = api.clock.now();
    let (expires_at, goes_on) = api
        .quota
        .extend(&id, lease, &api.quota.priced(&id, &tokens, now), now)
        .map_err(|refused| Failed::refused(&refused, &api.quota))?;
    Ok(Json(ExtendAnswer {
        expires_at: expires_at.to_string(),
        goes_on,
    }))
}

/// A reservation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub(super) struct ReservationAnswer {
    id: String,
    /// `live`, `settled`, `released` or `expired`.
    status: &'static str,
    /// For whom, as resolved: user, role, team, project, cost center, organization, provider and
    /// model, as far as they are known.
    subject: BTreeMap<&'static str, String>,
    held: Held,
    reserved_at: String,
    expires_at: String,
    /// What it was settled with.
    #[serde(skip_serializing_if = "Option::is_none")]
    charged: Option<Held>,
}

/// Show a reservation
///
/// Live ones, and those that ended less than ten minutes ago.
#[utoipa::path(
    get, path = "/api/v1/quota/reservations/{id}", tag = "quota",
    operation_id = "getReservation",
    security((), ("bearer" = ["quota"])),
    params(("id" = String, Path, description = "The reservation.")),
    responses(
        (status = 200, description = "The reservation.", body = ReservationAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, response = super::openapi::UnknownReservation),
    ),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    path: IdPath,
) -> Result<Json<ReservationAnswer>, Failed> {
    let grant = auth::grant(&api, &headers, Scope::Quota)?;
    let id = id_of(path)?;
    permit_reserved(&api, &grant, &id)?;
    let known = api.quota.reservation(&id).ok_or_else(|| {
        let unknown = Refused::Quota(QuotaError::Unknown);
        Failed::refused(&unknown, &api.quota)
    })?;
    Ok(Json(ReservationAnswer {
        id,
        status: known.phase.name(),
        subject: fields(known.subject()),
        held: Held::of(&known.estimate),
        reserved_at: known.reserved_at.to_string(),
        expires_at: known.expires_at.to_string(),
        charged: known.settled.as_deref().map(Held::of),
    }))
}

fn fields(subject: &Subject) -> BTreeMap<&'static str, String> {
    crate::model::policy::Field::ALL
        .into_iter()
        .map(|field| (field.name(), subject.get(field).to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn id_of(path: IdPath) -> Result<String, Problem> {
    let Path(id) = path.map_err(|_| Problem::parameter("id: must be UTF-8"))?;
    Ok(id)
}

/// Refuses a token that is not bound to those for whom the reservation was made. Returns whether
/// the reservation is known.
fn permit_reserved(api: &Api, grant: &Grant, id: &str) -> Result<bool, Failed> {
    let Some(asked) = api.quota.reserved_for(id) else {
        return Ok(false);
    };
    if grant.binding.permits(&asked.identity).is_err() {
        // As if it did not exist: ids of others are nobody's business.
        return Err(SettleError::Unknown.into());
    }
    Ok(true)
}
