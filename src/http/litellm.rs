//! `POST /api/v1/usage/litellm`: what LiteLLM's proxy logs, unchanged.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::Api;
use super::auth;
use super::body;
use super::delivery::{self, Batch, Context, Door};
use super::elements::{BodyFault, Layout};
use super::error::{Problem, ProblemBody};
use super::intake::{off_thread, turned_away};
use super::litellm_call::WireCall;
use super::receipt::{self, UsageReceipt};
use crate::model::access::Scope;

const JSON: &str = "application/json";

const TYPES: [&str; 5] = [
    JSON,
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
];

/// Reads logged calls into records and refusals. Pure: the same bytes give the same batch.
///
/// Errors: the body as a whole cannot be read.
pub fn parse(body: &[u8], layout: Layout, context: Context<'_>) -> Result<Batch, BodyFault> {
    delivery::read::<WireCall<'_>>(body, layout, context)
}

/// LiteLLM names its lines `application/json` too, so a body that opens with `{` may be lines.
fn layout_of(media_type: &str, body: &[u8]) -> Layout {
    if media_type != JSON {
        return Layout::Lines;
    }
    let first_line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let more = body.trim_ascii_end().len() > first_line.len();
    let whole = first_line.trim_ascii();
    if more && whole.starts_with(b"{") && whole.ends_with(b"}") {
        return Layout::Lines;
    }
    Layout::Json
}

/// Report LiteLLM calls
///
/// Takes LiteLLM's `StandardLoggingPayload` as its `generic_api` callback sends it: one object,
/// an array, or newline-delimited. The source is `litellm`. `prompt_tokens` hold cache reads and
/// writes and are split; a hit in the proxy's own cache is a request without tokens; token
/// counting calls are skipped. Messages and responses are never read.
#[utoipa::path(
    post, path = "/api/v1/usage/litellm", tag = "usage",
    operation_id = "reportLitellm",
    security((), ("bearer" = ["ingest"])),
    request_body(content(
        (serde_json::Value = "application/json", example = json!([{
            "id": "chatcmpl-9d1", "call_type": "acompletion", "status": "success",
            "custom_llm_provider": "bedrock", "model": "us.anthropic.claude-sonnet-4-6-v1:0",
            "prompt_tokens": 7141, "completion_tokens": 42,
            "startTime": 1_795_316_804.82, "endTime": 1_795_316_806.65,
            "metadata": {"user_api_key_user_id": "alice@example.com",
                "user_api_key_team_alias": "payments",
                "usage_object": {"cache_read_input_tokens": 5600,
                    "cache_creation_input_tokens": 340}}
        }])),
        (serde_json::Value = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "Everything accepted is on disk.", body = UsageReceipt),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 408, description = "The body did not arrive in time (`body_timeout`).",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 429, response = super::openapi::Overloaded),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UsageReceipt>, Problem> {
    let taken = take(&api, &headers, body).await;
    taken.inspect_err(turned_away(&api))
}

async fn take(
    api: &Arc<Api>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<UsageReceipt>, Problem> {
    let grant = auth::grant(api, headers, Scope::Ingest)?;
    let media_type = body::media_type(headers, &TYPES)?;
    let body = body::read(headers, body, api.body_limits).await?;
    let now = api.clock.now();
    let names = api.names.load_full();
    let binding = grant.binding.clone();
    let batch = off_thread(body, move |body| {
        let context = Context {
            names: &names,
            binding: &binding,
            now,
            door: Door::Usage,
        };
        parse(body, layout_of(media_type, body), context)
    })
    .await?;
    receipt::record(api, &grant, headers, batch, now).await
}
