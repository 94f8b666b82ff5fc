//! OTLP over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::answer::Failure;
use super::body::{Coding, UnpackError};
use super::{Delivery, Encoding, INLINE_BYTES, OtlpDoor, Signal};
use crate::model::access::{Grant, Scope};

/// The routes `/v1/logs`, `/v1/metrics` and `/v1/traces`.
pub fn router(door: Arc<OtlpDoor>) -> Router {
    let mut router = Router::new();
    for signal in Signal::ALL {
        let export = move |State(door): State<Arc<OtlpDoor>>, request: Request| async move {
            export(&door, signal, request).await
        };
        router = router.route(signal.path(), post(export));
    }
    router.with_state(door)
}

async fn export(door: &Arc<OtlpDoor>, signal: Signal, request: Request) -> Response {
    let encoding = encoding_of(request.headers());
    let answer_in = answer_encoding(request.headers());
    let taken = match encoding {
        Some(encoding) => take(door, signal, encoding, request).await,
        None => Err(Failure::ContentType),
    };
    match taken {
        Ok(body) => ([(header::CONTENT_TYPE, answer_in.content_type())], body).into_response(),
        Err(failure) => {
            door.turn_away(signal, &failure);
            respond(&failure, answer_in)
        }
    }
}

/// Why an export did not come through to its door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Too many requests are in progress: 429.
    Busy,
    /// Its time is over: 503.
    Slow,
}

/// The encoding in which a sender can read its answer. One that is not known can most likely
/// read JSON.
#[must_use]
pub fn answer_encoding(headers: &HeaderMap) -> Encoding {
    encoding_of(headers).unwrap_or(Encoding::Json)
}

/// What an export is answered that did not come through to its door.
#[must_use]
pub fn late(why: Late, encoding: Encoding) -> Response {
    match why {
        Late::Busy => respond(&Failure::Busy, encoding),
        Late::Slow => respond(&Failure::Slow, encoding),
    }
}

fn respond(failure: &Failure, encoding: Encoding) -> Response {
    let status = StatusCode::from_u16(failure.http_status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = (header::CONTENT_TYPE, encoding.content_type());
    let mut response = (status, [content_type], failure.encode(encoding)).into_response();
    let headers = response.headers_mut();
    if let Some(seconds) = failure.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn take(
    door: &Arc<OtlpDoor>,
    signal: Signal,
    encoding: Encoding,
    request: Request,
) -> Result<Vec<u8>, Failure> {
    let (head, body) = request.into_parts();
    let grant = authorize(door, &head.headers)?;
    let coding = Coding::of(&head.headers).ok_or(Failure::ContentEncoding)?;
    let packed = read(body, &head.headers, door.max_body).await?;
    let delivery = Delivery {
        signal,
        encoding,
        body: unpack(coding, packed, door.max_body).await?,
        headers: head.headers,
        grant,
    };
    door.receive(delivery).await
}

/// What the bearer token of a request allows.
pub(super) fn authorize(door: &OtlpDoor, headers: &HeaderMap) -> Result<Arc<Grant>, Failure> {
    let value = headers.get(header::AUTHORIZATION);
    let bearer = value.and_then(|value| bearer(value.to_str().ok()?));
    let access = door.access.load();
    access
        .authorize(bearer, Scope::Ingest)
        .map_err(Failure::Denied)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    [Encoding::Protobuf, Encoding::Json]
        .into_iter()
        .find(|encoding| essence.eq_ignore_ascii_case(encoding.content_type()))
}

/// Reads a body of at most `limit` bytes, chunked or with a length.
async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Failure> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Failure::TooLarge(limit));
    }
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Failure::Cut)?;
        if whole.len() + chunk.len() > limit {
            return Err(Failure::TooLarge(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Unpacks a small body at once, a large one where it does not hold up other requests. How large
/// it is, unpacking tells.
async fn unpack(coding: Coding, packed: Bytes, limit: usize) -> Result<Bytes, Failure> {
    let inline = INLINE_BYTES.min(limit);
    let unpacked = match coding {
        Coding::Identity => coding.unpack(&packed, limit),
        _ => match coding.unpack(&packed, inline) {
            Err(UnpackError::TooLarge) if inline < limit => {
                let large = move || coding.unpack(&packed, limit);
                let unpacking = tokio::task::spawn_blocking(large);
                unpacking.await.map_err(|_| Failure::Internal)?
            }
            unpacked => unpacked,
        },
    };
    unpacked.map_err(|error| match error {
        UnpackError::TooLarge => Failure::TooLarge(limit),
        UnpackError::Corrupt => Failure::NotUnpacked,
        UnpackError::Window => Failure::Window,
    })
}
