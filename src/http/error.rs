//! The one shape of an error answer: `application/problem+json` with a stable `code` (RFC 9457).
//!
//! Every door of this folder answers errors through [`Problem`], and only here is a status chosen
//! for an error of a lower floor.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::access::Denied;
use crate::model::usage::Refusal;
use crate::record::RecordError;
use crate::store::QueryError;

/// Seconds after which an overloaded daemon is worth asking again.
const RETRY_OVERLOADED_SECONDS: u32 = 1;

/// Seconds after which a store that could not be written or read is worth asking again.
const RETRY_UNAVAILABLE_SECONDS: u32 = 5;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people; names the field or parameter, holds no secret and no text of the body.
    pub detail: String,
    /// The value of `Retry-After`.
    pub retry_after_seconds: Option<u32>,
}

/// A problem as it is written (`application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always `about:blank`: the `code` tells problems apart.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    #[schema(example = "Bad Request")]
    title: &'static str,
    #[schema(example = 400)]
    status: u16,
    /// Stable, for programs.
    #[schema(example = "invalid_parameter")]
    code: &'static str,
    /// A sentence for people that names the field or parameter.
    #[schema(example = "timezone: must be an IANA time zone such as Asia/Tokyo")]
    detail: String,
}

impl Problem {
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after_seconds: None,
        }
    }

    /// A query or path parameter that cannot be understood.
    #[must_use]
    pub fn parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail)
    }

    /// A body that is not what its content type says.
    #[must_use]
    pub fn body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", detail)
    }

    /// Our own fault: the answer says no more than that.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "an error inside tallyd; its log has the details",
        )
    }

    /// More is being worked on than fits.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "overloaded",
            "too many requests are in work",
        )
        .retry_after(RETRY_OVERLOADED_SECONDS)
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tallyd\""),
            );
        }
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let status = match denied {
            Denied::Missing | Denied::Unknown => StatusCode::UNAUTHORIZED,
            Denied::Scope(_) => StatusCode::FORBIDDEN,
        };
        Self::new(status, denied.code(), denied.to_string())
    }
}

impl From<Refusal> for Problem {
    /// A field of a body that holds one thing only.
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            "identity_not_allowed" => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, refusal.code, refusal.message)
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        let (status, code, seconds) = match &error {
            RecordError::Overloaded => (
                StatusCode::TOO_MANY_REQUESTS,
                "overloaded",
                RETRY_OVERLOADED_SECONDS,
            ),
            RecordError::Unavailable { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                RETRY_UNAVAILABLE_SECONDS,
            ),
            RecordError::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                RETRY_UNAVAILABLE_SECONDS,
            ),
        };
        Self::new(status, code, error.to_string()).retry_after(seconds)
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::TooLarge(detail) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_large", detail)
            }
            QueryError::TooFine(detail) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_fine", detail)
            }
            QueryError::Store(reason) => {
                tracing::error!(error = %reason, "a question to the ledger failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "the ledger cannot be read just now",
                )
                .retry_after(RETRY_UNAVAILABLE_SECONDS)
            }
            QueryError::Dropped => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                error.to_string(),
            )
            .retry_after(RETRY_UNAVAILABLE_SECONDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::access::Scope;
    use crate::store::StoreError;

    #[test]
    fn every_error_of_a_lower_floor_has_its_status() {
        let seen = [
            Problem::from(Denied::Missing),
            Problem::from(Denied::Unknown),
            Problem::from(Denied::Scope(Scope::Admin)),
            Problem::from(RecordError::Overloaded),
            Problem::from(RecordError::Unavailable {
                reason: "disk full".to_owned(),
            }),
            Problem::from(RecordError::Stopping),
            Problem::from(QueryError::TooLarge("too much".to_owned())),
            Problem::from(QueryError::Store(StoreError::Dangling { id: 7 })),
        ]
        .map(|problem| {
            (
                problem.status.as_u16(),
                problem.code,
                problem.retry_after_seconds,
            )
        });
        assert_eq!(
            seen,
            [
                (401, "token_missing", None),
                (401, "token_unknown", None),
                (403, "scope_missing", None),
                (429, "overloaded", Some(1)),
                (503, "store_unavailable", Some(5)),
                (503, "stopping", Some(5)),
                (422, "too_large", None),
                (503, "store_unavailable", Some(5)),
            ]
        );
    }

    #[test]
    fn a_turned_away_caller_is_told_how_to_authenticate() {
        let response = Problem::from(Denied::Missing).into_response();
        assert_eq!(
            response
                .headers()
                .get(WWW_AUTHENTICATE)
                .map(HeaderValue::as_bytes),
            Some(b"Bearer realm=\"tallyd\"".as_slice())
        );
        assert_eq!(
            response
                .headers()
                .get(CONTENT_TYPE)
                .map(HeaderValue::as_bytes),
            Some(b"application/problem+json".as_slice())
        );
    }
}
