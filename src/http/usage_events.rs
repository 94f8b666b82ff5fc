//! `POST /api/v1/usage/events`: usage records, plain or as `CloudEvents`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::Api;
use super::auth;
use super::body;
use super::cloud_event::{Envelope, WireEvent};
use super::delivery::{self, Batch, Context, Door};
use super::elements::{BodyFault, Layout};
use super::error::{Problem, ProblemBody};
use super::intake::{off_thread, turned_away};
use super::lenient::Part;
use super::receipt::{self, UsageReceipt};
use super::usage_record::WireRecord;
use crate::model::access::Scope;

const JSON: &str = "application/json";
const EVENT: &str = "application/cloudevents+json";
const EVENT_BATCH: &str = "application/cloudevents-batch+json";

/// The content types, lines last: newline-delimited JSON goes by several names.
const TYPES: [&str; 7] = [
    JSON,
    EVENT,
    EVENT_BATCH,
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
];

/// How a body of records is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Records as a JSON object, an array, or lines.
    Records(Layout),
    /// Structured `CloudEvents`, one or an array.
    Events,
    /// The data of one `CloudEvents` event whose attributes came as headers.
    EventData(Envelope),
}

impl Writing {
    /// Tells by the headers how the body is written.
    ///
    /// Errors: 415 for other content types, 400 for incomplete `ce-` headers.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match body::media_type(headers, &TYPES)? {
            EVENT | EVENT_BATCH => Ok(Self::Events),
            JSON => match Envelope::of(headers) {
                Ok(Some(envelope)) => Ok(Self::EventData(envelope)),
                Ok(None) => Ok(Self::Records(Layout::Json)),
                Err(refusal) => Err(Problem::body(refusal.message)),
            },
            _ => Ok(Self::Records(Layout::Lines)),
        }
    }
}

/// Reads a body into records and refusals. Pure: the same bytes give the same batch.
///
/// Errors: the body as a whole cannot be read.
pub fn parse(body: &[u8], writing: &Writing, context: Context<'_>) -> Result<Batch, BodyFault> {
    match writing {
        Writing::Records(layout) => delivery::read::<WireRecord<'_>>(body, *layout, context),
        Writing::Events => delivery::read::<WireEvent<'_>>(body, Layout::Json, context),
        Writing::EventData(envelope) => {
            let data: Part<WireRecord<'_>> = serde_json::from_slice(body)
                .map_err(|error| BodyFault::Syntax(error.to_string()))?;
            let event = Part::Is(envelope.around(data));
            Ok(delivery::read_one(event, context))
        }
    }
}

/// Report usage
///
/// Takes one record, an array, newline-delimited records, or CloudEvents in structured, batch or
/// binary mode. Good records of a batch are kept, bad ones are named. The key of a record is
/// `(source, id)`: sending it again changes nothing. Bodies may be packed with gzip or zstd.
#[utoipa::path(
    post, path = "/api/v1/usage/events", tag = "usage",
    operation_id = "reportUsage",
    security((), ("bearer" = ["ingest"])),
    request_body(content(
        (super::openapi::UsageBody = "application/json"),
        (WireRecord<'static> = "application/x-ndjson"),
        (WireEvent<'static> = "application/cloudevents+json"),
        (Vec<WireEvent<'static>> = "application/cloudevents-batch+json"),
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
    let writing = Writing::of(headers)?;
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
        parse(body, &writing, context)
    })
    .await?;
    receipt::record(api, &grant, headers, batch, now).await
}
