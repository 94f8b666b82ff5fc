//! `/api/v1/quota/adjustments`: corrections of counters by hand.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use super::lenient::{Text, invalid};
use super::quota::{Failed, object};
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::adjustment::Adjustment;
use crate::model::label;
use crate::model::policy::Field;
use crate::model::usage::Refusal;
use crate::quota::answer::{LimitStanding, limits};
use crate::quota::{Correction, CorrectionError, Refused};

/// What is listed where the question does not say: corrections of 30 days, 100 of them.
const DEFAULT_RANGE: SignedDuration = SignedDuration::from_hours(30 * 24);
const DEFAULT_SHOWN: usize = 100;

/// Corrections in one answer at most.
const MAX_SHOWN: usize = 1_000;

/// A correction of one counter in the window that is open now.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = QuotaAdjustment, example = json!({
    "id": "ticket-4711", "limit": "role-developer-day", "scope": {"user": "alice@example.com"},
    "amount": -20_000, "reason": "a runaway loop of ours, not hers"
}))]
pub(super) struct WireAdjustment<'a> {
    /// Made by the caller, unique for ever.
    #[serde(borrow)]
    #[schema(value_type = String, max_length = 256)]
    id: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = String)]
    limit: Text<'a>,
    /// A value for each field by which the limit counts.
    #[serde(borrow, default)]
    #[schema(value_type = BTreeMap<String, String>)]
    scope: BTreeMap<Cow<'a, str>, Text<'a>>,
    /// In the limit's unit: a whole number, or USD as text. What is positive is used up, what is
    /// negative is given back.
    #[schema(value_type = serde_json::Value)]
    amount: WireAmount,
    /// For whoever reads it later.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    reason: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WireAmount {
    Whole(i64),
    Decimal(Box<str>),
}

/// A correction that is on disk and counted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdjustmentAnswer<'a> {
    id: Box<str>,
    /// It was made before with the same body; nothing more is counted.
    replayed: bool,
    policy_version: u64,
    /// How the counter stands now.
    limits: Vec<LimitStanding<'a>>,
}

impl WireAdjustment<'_> {
    fn correction(self, created_by: &str) -> Result<Correction, Refusal> {
        let mut scope = BTreeMap::new();
        for (name, value) in self.scope {
            let known = Field::ALL.into_iter().find(|field| field.name() == name);
            let field = known.ok_or_else(|| {
                let names = Field::ALL.map(Field::name).join(", ");
                invalid("scope", format_args!("may have the fields {names}"))
            })?;
            let value = value.required(&format!("scope.{}", field.name()))?;
            let value = match field {
                Field::User | Field::Role => label::fold(&value).unwrap_or_default(),
                _ => Cow::Borrowed(&*value),
            };
            scope.insert(field, value.into());
        }
        let limit = self.limit.required("limit")?;
        Ok(Correction {
            id: self.id.required("id")?.into(),
            limit: label::fold(&limit).unwrap_or_default().into(),
            scope,
            amount: match self.amount {
                WireAmount::Whole(amount) => amount.to_string().into(),
                WireAmount::Decimal(amount) => amount,
            },
            reason: self.reason.required("reason")?.into(),
            created_by: created_by.into(),
        })
    }
}

/// Correct a counter
///
/// Adds to what is used in the window that is open now, or takes back. Corrections are kept and
/// never changed: to undo one, send the opposite. The same id with the same body changes nothing.
#[utoipa::path(
    post, path = "/api/v1/quota/adjustments", tag = "quota",
    operation_id = "adjustQuota",
    security((), ("bearer" = ["admin"])),
    request_body = WireAdjustment<'static>,
    responses(
        (status = 200, description = "It was made before.", body = AdjustmentAnswer<'static>),
        (status = 201, description = "It is made.", body = AdjustmentAnswer<'static>),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
        (status = 409, response = super::openapi::QuotaConflict),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failed> {
    let grant = auth::grant(&api, &headers, Scope::Admin)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let wire: WireAdjustment<'_> = object(&body, "id, limit, scope, amount and reason")?;
    let correction = wire.correction(&grant.name)?;
    let id = correction.id.clone();
    let now = api.clock.now();
    let corrected = api.quota.correct(&api.ledger, correction, now).await;
    let (replayed, balances) = corrected.map_err(|error| failed(&api, error))?;
    let status = if replayed {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let answer = AdjustmentAnswer {
        id,
        replayed,
        policy_version: balances.version,
        limits: limits(&balances.policy, &balances.standings, now),
    };
    Ok((status, Json(answer)).into_response())
}

/// Corrections, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaAdjustmentsAnswer)]
pub(super) struct AdjustmentsAnswer {
    from: String,
    to: String,
    adjustments: Vec<AdjustmentItem>,
    /// How many there are in the range, those that are not shown included.
    total: usize,
}

/// A correction that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaAdjustmentItem)]
pub(super) struct AdjustmentItem {
    id: Box<str>,
    at: String,
    limit: Box<str>,
    unit: &'static str,
    scope: BTreeMap<&'static str, Box<str>>,
    /// In the unit, decimal. What is positive was used up, what is negative was given back.
    amount: Box<str>,
    reason: Box<str>,
    /// The name of the token.
    created_by: Box<str>,
}

impl From<Adjustment> for AdjustmentItem {
    fn from(made: Adjustment) -> Self {
        let scope = made.scope.into_iter();
        Self {
            id: made.id,
            at: made.at.to_string(),
            limit: made.limit,
            unit: made.unit.name(),
            scope: scope.map(|(field, value)| (field.name(), value)).collect(),
            amount: made.amount,
            reason: made.reason,
            created_by: made.created_by,
        }
    }
}

/// List corrections
///
/// Those of all limits, of ended windows too, the newest first. What Envoy gave back is among them.
#[utoipa::path(
    get, path = "/api/v1/quota/adjustments", tag = "quota",
    operation_id = "listQuotaAdjustments",
    security((), ("bearer" = ["admin"])),
    params(
        ("from" = Option<String>, Query, description = "RFC 3339 time or date. 30 days before \
            `to` where absent.", example = "2026-11-01"),
        ("to" = Option<String>, Query, description = "RFC 3339 time or date, exclusive. Now \
            where absent."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000,
            description = "How many at most; 100 where absent."),
        ("timezone" = Option<String>, Query, description = "IANA zone of dates. The configured \
            one where absent."),
    ),
    responses(
        (status = 200, description = "The corrections.", body = AdjustmentsAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<AdjustmentsAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Admin)?;
    let parameters = Parameters::of(&uri, &["from", "to", "limit", "timezone"])?;
    let zone = parameters.zone(&api.zone)?;
    let range = parameters.range_ending(api.clock.now(), DEFAULT_RANGE, &zone)?;
    let most = match parameters.get("limit").map(str::parse) {
        None => DEFAULT_SHOWN,
        Some(Ok(most @ 1..=MAX_SHOWN)) => most,
        Some(_) => {
            let detail = format!("limit: must be 1 to {MAX_SHOWN}");
            return Err(Problem::parameter(detail));
        }
    };
    let (made, total) = api.ledger.latest_adjustments(range.clone(), most).await?;
    Ok(Json(AdjustmentsAnswer {
        from: range.start.to_string(),
        to: range.end.to_string(),
        adjustments: made.into_iter().map(AdjustmentItem::from).collect(),
        total,
    }))
}

fn failed(api: &Api, error: CorrectionError) -> Failed {
    match error {
        CorrectionError::NoPolicy => Failed::refused(&Refused::NoPolicy, &api.quota),
        CorrectionError::Conflict => Failed::Problem(Problem::new(
            StatusCode::CONFLICT,
            "idempotency_conflict",
            format!("id: {error}"),
        )),
        CorrectionError::Query(error) => Failed::Problem(error.into()),
        error => Failed::Problem(Problem::body(error.to_string())),
    }
}
