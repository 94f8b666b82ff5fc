//! `POST /api/v1/reports/month-close`: freezes a month.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use crate::model::access::Scope;
use crate::model::closing::ClosedMonth;
use crate::report::closing::{CloseError, Force, Outcome, close};
use crate::report::{Name, period};

/// The month to close.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseMonth {
    /// `2026-10`, or `last`, in the configured zone.
    #[schema(example = "2026-10")]
    month: String,
    /// Close it although it is not over, or its figures are provisional.
    #[serde(default)]
    force: bool,
}

/// A closed month.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClosedAnswer {
    month: String,
    timezone: String,
    closed_at: String,
    /// The name of the token.
    closed_by: String,
    /// True if it was closed before; then nothing changed.
    already_closed: bool,
    forced: bool,
    /// How sure its figures were: provisional or final.
    standing: String,
    /// Frozen lines; missing if it was closed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<usize>,
    /// Those of them that correct months that were closed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    corrections: Option<usize>,
    /// Of the frozen lines.
    sha256: String,
}

impl ClosedAnswer {
    fn of(month: ClosedMonth, counts: Option<(usize, usize)>) -> Self {
        Self {
            month: month.month.into(),
            timezone: month.zone.into(),
            closed_at: month.closed_at.to_string(),
            closed_by: month.closed_by.into(),
            already_closed: counts.is_none(),
            forced: month.forced,
            standing: month.standing.into(),
            lines: counts.map(|(lines, _)| lines),
            corrections: counts.map(|(_, corrections)| corrections),
            sha256: month.sha256.into(),
        }
    }
}

/// Close a month
///
/// Freezes the lines of its chargeback. Later changes are told as adjustments, and the next month
/// that is closed books them. There is no way back; closing a month again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/reports/{name}", tag = "reports",
    operation_id = "closeMonth",
    security((), ("bearer" = ["finance"])),
    params(("name" = String, Path, example = "month-close", description = "month-close")),
    request_body = CloseMonth,
    responses(
        (status = 201, description = "The month is closed.", body = ClosedAnswer),
        (status = 200, description = "It was closed before.", body = ClosedAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, description = "Only month-close can be posted to (`unknown_report`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The month is not over (`month_open`), or its figures can \
            still change (`month_provisional`); force closes it all the same.",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ClosedAnswer>), Problem> {
    let grant = auth::grant(&api, &headers, Scope::Finance)?;
    if Name::parse(&name) != Some(Name::MonthClose) {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_report",
            "only month-close takes a POST",
        ));
    }
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let wanted: CloseMonth = serde_json::from_slice(&body).map_err(|_| {
        Problem::body("the body must be an object with month, and if wanted force: true or false")
    })?;
    let now = api.clock.now();
    let range = period::month(&wanted.month, now, &api.zone)?;
    let month = range.start.to_zoned(api.zone.clone()).date();
    let force = if wanted.force { Force::Yes } else { Force::No };
    Ok(
        match close(&api.reports, month, &grant.name, force, now).await? {
            Outcome::Closed {
                month,
                lines,
                corrections,
            } => (
                StatusCode::CREATED,
                Json(ClosedAnswer::of(month, Some((lines, corrections)))),
            ),
            Outcome::Before(month) => (StatusCode::OK, Json(ClosedAnswer::of(month, None))),
        },
    )
}

impl From<CloseError> for Problem {
    fn from(error: CloseError) -> Self {
        let code = match error {
            CloseError::Report(error) => return error.into(),
            CloseError::NotOver { .. } => "month_open",
            CloseError::Provisional { .. } => "month_provisional",
        };
        Self::new(StatusCode::CONFLICT, code, error.to_string())
    }
}
