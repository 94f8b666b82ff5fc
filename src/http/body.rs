//! Bodies: bounded, timely, unpacked, and of a known type.

use std::io::Read;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};

use super::error::Problem;

/// The largest window of zstd data, 2^24 bytes: what a decoder allocates before it writes a byte.
const MAX_ZSTD_WINDOW_LOG: u32 = 24;

/// Bytes that are set aside before anything is unpacked.
const FIRST_UNPACKED_BYTES: usize = 64 * 1024;

/// The bounds of a body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The size as sent and after unpacking.
    pub bytes: usize,
    /// The time for all of it to arrive.
    pub timeout: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024 * 1024,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Reads a whole body and unpacks it.
///
/// Errors: 408 if it is not there in time, 413 if it is too large, 415 for an unknown encoding,
/// 400 if it cannot be unpacked.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<Bytes, Problem> {
    let packing = Packing::of(headers)?;
    if announced(headers).is_some_and(|length| length > limits.bytes) {
        return Err(too_large(limits));
    }
    let packed = tokio::time::timeout(limits.timeout, to_bytes(body, limits.bytes))
        .await
        .map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the body did not arrive in time",
            )
        })?
        .map_err(|error| broken_off(&error, limits))?;
    unpack(packed, packing, limits)
}

/// The media type without parameters, lower-cased. Only UTF-8 is taken as charset.
///
/// A missing type is refused as well: every page that a browser has open may send a request
/// without one, but not one with `application/json`.
pub(super) fn media_type(
    headers: &HeaderMap,
    allowed: &[&'static str],
) -> Result<&'static str, Problem> {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let found = allowed.iter().find(|allowed| **allowed == kind.trim());
    let charset = parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().strip_prefix("charset="))
        .all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"));
    match found {
        Some(found) if charset => Ok(found),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!(
                "Content-Type: must be one of {} in UTF-8",
                allowed.join(", ")
            ),
        )),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get(CONTENT_ENCODING) else {
            return Ok(Self::Plain);
        };
        let name = value.to_str().unwrap_or_default().trim();
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "Content-Encoding: must be gzip, zstd or identity",
            )),
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn unpack(packed: Bytes, packing: Packing, limits: BodyLimits) -> Result<Bytes, Problem> {
    let unpacked = match packing {
        Packing::Plain => return Ok(packed),
        Packing::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(packed.as_ref()), limits),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed.as_ref())
                .map_err(|_| Problem::internal())?;
            decoder
                .window_log_max(MAX_ZSTD_WINDOW_LOG)
                .map_err(|_| Problem::internal())?;
            read_bounded(decoder, limits)
        }
    }?;
    Ok(Bytes::from(unpacked))
}

/// Unpacks up to the limit and one byte more, which shows that there is more.
fn read_bounded(reader: impl Read, limits: BodyLimits) -> Result<Vec<u8>, Problem> {
    let mut unpacked = Vec::with_capacity(limits.bytes.min(FIRST_UNPACKED_BYTES));
    let bound = u64::try_from(limits.bytes).map_or(u64::MAX, |bytes| bytes.saturating_add(1));
    reader
        .take(bound)
        .read_to_end(&mut unpacked)
        .map_err(|error| {
            // The error of zstd for a larger window than the bound has no kind of its own.
            if error.to_string().contains("too much memory") {
                return Problem::body("the body's zstd window must be at most 16 MiB");
            }
            Problem::body(format!("the body cannot be unpacked: {error}"))
        })?;
    if unpacked.len() > limits.bytes {
        return Err(too_large(limits));
    }
    Ok(unpacked)
}

fn too_large(limits: BodyLimits) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!(
            "a body may have {} bytes, as sent and unpacked",
            limits.bytes
        ),
    )
}

fn broken_off(error: &axum::Error, limits: BodyLimits) -> Problem {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // The type of the length error is private to a crate below axum; its text is stable.
        if cause.to_string().contains("length limit") {
            return too_large(limits);
        }
        source = cause.source();
    }
    Problem::body("the body broke off")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        bytes: 1000,
        timeout: Duration::from_secs(5),
    };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("a vector takes all");
        encoder.finish().expect("a vector takes all")
    }

    async fn codes(encoding: &'static str, body: impl Into<Body>) -> Result<Bytes, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        read(&headers, body.into(), LIMITS)
            .await
            .map_err(|problem| problem.code)
    }

    #[tokio::test]
    async fn each_encoding_is_unpacked_within_the_bound() {
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("memory can be packed");
        let hello = Ok(Bytes::from_static(b"hello"));
        assert_eq!(codes("identity", "hello").await, hello);
        assert_eq!(codes("GZIP", gzip(b"hello")).await, hello);
        assert_eq!(codes("zstd", zstd(b"hello")).await, hello);
        assert_eq!(codes("br", "hello").await, Err("unsupported_encoding"));
        assert_eq!(codes("gzip", "hello").await, Err("invalid_body"));
        assert_eq!(codes("zstd", "hello").await, Err("invalid_body"));
        let bomb = vec![b' '; 10_000_000];
        assert_eq!(codes("gzip", gzip(&bomb)).await, Err("body_too_large"));
        assert_eq!(codes("zstd", zstd(&bomb)).await, Err("body_too_large"));
        assert_eq!(codes("identity", bomb).await, Err("body_too_large"));
    }

    #[tokio::test]
    async fn a_truncated_gzip_body_is_refused() {
        let mut packed = gzip(b"hello");
        packed.truncate(12);
        assert_eq!(codes("gzip", packed).await, Err("invalid_body"));
    }

    #[test]
    fn a_type_is_compared_without_case_and_parameters() {
        let media = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            media_type(&headers, &["application/json"]).ok()
        };
        let json = Some("application/json");
        assert_eq!(media("Application/JSON; charset=UTF-8"), json);
        assert_eq!(media("application/json;charset=\"utf-8\""), json);
        assert_eq!(media("application/json; charset=latin1"), None);
        assert_eq!(media("text/plain"), None);
        assert_eq!(
            media_type(&HeaderMap::new(), &["application/json"]).ok(),
            None
        );
    }
}
