//! What the doors of quotas share: who asks and for what, and how refusals are written.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::Problem;
use super::lenient::{Count, Part, Text, invalid, missing};
use crate::model::access::Grant;
use crate::model::label;
use crate::model::policy::Usage;
use crate::model::tokens::Tokens;
use crate::model::usage::Refusal;
use crate::quota::answer::{ClientAnswer, Explanation, Headers, LimitStanding, Usd};
use crate::quota::{Claims, Quota, Refused, SettleError};

/// Roles or groups of one subject at most.
const MAX_NAMES: usize = 100;

/// Who asks. At least one of user, team, project and organization has to be there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = QuotaSubject, example = json!({"user": "alice@example.com", "project": "checkout"}))]
pub(super) struct WireClaims<'a> {
    /// Person or service; the case does not matter.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    user: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    team: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    project: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    organization: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    cost_center: Text<'a>,
    /// Believed from senders that the policy names in `claims_from`.
    #[serde(borrow, default)]
    #[schema(value_type = Vec<String>)]
    roles: Vec<Text<'a>>,
    /// Believed from senders that the policy names in `claims_from`.
    #[serde(borrow, default)]
    #[schema(value_type = Vec<String>)]
    groups: Vec<Text<'a>>,
}

impl WireClaims<'_> {
    pub(super) fn claims(self) -> Result<Claims, Refusal> {
        let name = |text: Text<'_>, field: &str| {
            let text = text.optional(field)?;
            Ok::<_, Refusal>(text.map(|text| Box::from(&*text)))
        };
        let names = |list: Vec<Text<'_>>, field: &str| {
            if list.len() > MAX_NAMES {
                let message = format_args!("must be at most {MAX_NAMES} names");
                return Err(invalid(field, message));
            }
            let folded = |text: Text<'_>| Ok(label::fold(&text.required(field)?).map(boxed));
            let names: Result<Vec<_>, Refusal> = list.into_iter().map(folded).collect();
            Ok(names?.into_iter().flatten().collect())
        };
        let user = self.user.optional("subject.user")?;
        let claims = Claims {
            user: user.and_then(|user| label::fold(&user).map(boxed)),
            team: name(self.team, "subject.team")?,
            project: name(self.project, "subject.project")?,
            organization: name(self.organization, "subject.organization")?,
            cost_center: name(self.cost_center, "subject.cost_center")?,
            roles: names(self.roles, "subject.roles")?,
            groups: names(self.groups, "subject.groups")?,
        };
        let known = [
            &claims.user,
            &claims.team,
            &claims.project,
            &claims.organization,
        ];
        if known.iter().all(|name| name.is_none()) {
            return Err(missing("subject.user"));
        }
        Ok(claims)
    }
}

fn boxed(text: Cow<'_, str>) -> Box<str> {
    text.into()
}

/// The claims of a subject that has to be there.
pub(super) fn claims_of(subject: Part<WireClaims<'_>>) -> Result<Claims, Refusal> {
    match subject.optional("subject")? {
        Some(subject) => subject.claims(),
        None => Err(missing("subject")),
    }
}

/// Refuses a subject that the caller's token is not bound to.
pub(super) fn permit(grant: &Grant, quota: &Quota, claims: &Claims) -> Result<(), Problem> {
    let binding = &grant.binding;
    if binding.users.is_empty() && binding.teams.is_empty() {
        return Ok(());
    }
    Ok(binding.permits(&quota.claimed(claims, &grant.name))?)
}

/// A lease in milliseconds.
pub(super) fn lease(ttl_ms: Count, default_ms: u64) -> Result<jiff::SignedDuration, Refusal> {
    /// A day, the longest lease.
    const MOST: u64 = 86_400_000;
    let millis = ttl_ms.up_to(MOST, "ttl_ms")?.unwrap_or(default_ms);
    Ok(jiff::SignedDuration::from_millis(
        i64::try_from(millis).unwrap_or(i64::MAX),
    ))
}

/// Tokens and money that are held or charged.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Held {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cached_input_tokens: u64,
    pub(super) cache_write_tokens: u64,
    pub(super) total_tokens: u64,
    /// Exact decimal text.
    #[schema(value_type = String, example = "0.0656")]
    pub(super) cost_usd: Usd,
}

impl Held {
    pub(super) fn of(usage: &Usage) -> Self {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let [input, output, read, write] = [
            usage.input,
            usage.output,
            usage.cache_read,
            usage.cache_write,
        ]
        .map(count);
        Self {
            input_tokens: input,
            output_tokens: output,
            cached_input_tokens: read,
            cache_write_tokens: write,
            total_tokens: input + output + read + write,
            cost_usd: Usd(usage.cost.into()),
        }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failed {
    /// Not a matter of quotas.
    Problem(Problem),
    /// A problem of quotas, as it is answered.
    Explained(Box<Response>),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Problem(refusal.into())
    }
}

impl Failed {
    pub(super) fn refused(refused: &Refused, quota: &Quota) -> Self {
        let policy = quota.policy();
        let contact = policy
            .as_ref()
            .and_then(|(policy, _)| policy.contact.as_deref());
        let explanation = Explanation::of_refused(refused, contact);
        Self::explained(explanation, Vec::new(), Headers::new())
    }

    /// With how the limits stand that are in the way, and those that are not.
    pub(super) fn explained(
        explanation: Explanation,
        limits: Vec<LimitStanding<'_>>,
        headers: Headers,
    ) -> Self {
        let status = StatusCode::from_u16(explanation.status)
            .expect("explanations have statuses of RFC 9110");
        let body = QuotaProblemBody {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: explanation.status,
            code: explanation.code,
            detail: explanation.text,
            violated: explanation.violated,
            retry_after_s: explanation.retry_after_s,
            allowed_models: explanation.allowed_models,
            fail_mode: explanation.fail_mode,
            limits,
            client_answer: explanation.client_answer,
        };
        let mut response = answer(status, &body, headers);
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, content_type);
        if let Some(seconds) = explanation.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Self::Explained(Box::new(response))
    }
}

impl From<SettleError> for Failed {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Record(error) => Self::Problem(error.into()),
            SettleError::Query(error) => Self::Problem(error.into()),
            error => {
                let explanation = Explanation::of_settle(&error);
                Self::explained(explanation, Vec::new(), Headers::new())
            }
        }
    }
}

/// A problem of quotas (`application/problem+json`): what every problem has, and how limits
/// stand.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaProblem)]
pub(super) struct QuotaProblemBody<'a> {
    /// Always `about:blank`: the `code` tells problems apart.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    #[schema(example = "Too Many Requests")]
    title: &'static str,
    #[schema(example = 429)]
    status: u16,
    /// Stable, for programs.
    #[schema(example = "quota_exceeded")]
    code: &'static str,
    /// For people: what is used, when it resets, whom to ask.
    detail: String,
    /// Names of the limits that had no room.
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    violated: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    /// Patterns of the models that the role may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_models: Vec<Box<str>>,
    /// What the policy says to do where tallyd cannot decide: `closed` or `open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitStanding<'a>>,
    /// What to answer the client, ready to pass on.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_answer: Option<ClientAnswer>,
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Explained(response) => *response,
        }
    }
}

/// An answer about limits. Its room is set aside at once: gateways ask for thousands a second.
pub(super) fn answer(status: StatusCode, body: &impl Serialize, headers: Headers) -> Response {
    /// With a handful of limits.
    const USUAL_BYTES: usize = 2_048;
    let mut text = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut text, body).expect("answers have texts as keys, and no floats");
    let mut all = HeaderMap::with_capacity(headers.len() + 1);
    all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            all.insert(HeaderName::from_static(name), value);
        }
    }
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    *response.headers_mut() = all;
    response
}

/// A body that is one object.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8], fields: &str) -> Result<T, Problem> {
    let object: Part<T> = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::body(format!(
            "the body must be a JSON object with {fields}; line {line}, column {column} is not"
        ))
    })?;
    match object {
        Part::Is(object) => Ok(object),
        Part::Absent | Part::Other(_) => {
            let message = format!("the body must be a JSON object with {fields}");
            Err(Problem::body(message))
        }
    }
}

/// Sums of tokens that were used so far, each kind at most [`Tokens::MAX`].
pub(super) fn total(usage: &Usage) -> u64 {
    Held::of(usage).total_tokens.min(Tokens::MAX * 4)
}
