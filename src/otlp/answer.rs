//! Answers as the OTLP specification says: partial success, and `google.rpc.Status` for
//! failures, in the encoding of the request.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;
use tonic::Code;

use super::tally::Settled;
use super::{Encoding, Malformed, Signal};
use crate::model::access::Denied;

/// Why a request got no success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Denied(Denied),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("content-encoding: the body is not packed as it says")]
    NotUnpacked,
    #[error("content-encoding: the zstd window must be at most 16 MiB")]
    Window,
    #[error("the body ended before it was complete")]
    Cut,
    #[error("gRPC: the message is too large, not packed as it says, or incomplete")]
    Transport,
    #[error("content-type: must be application/x-protobuf or application/json")]
    ContentType,
    #[error("content-encoding: must be gzip, zstd or identity")]
    ContentEncoding,
    #[error("too many deliveries are waiting, try again")]
    Overloaded,
    #[error("too many requests are in progress, try again")]
    Busy,
    #[error("the request took too long, try again")]
    Slow,
    #[error("usage cannot be recorded just now, try again")]
    Unavailable,
    #[error("the request could not be read because of a fault in tallyd")]
    Internal,
}

impl Failure {
    /// The HTTP status. OTLP: 429 and 503 are sent again, the others are not.
    pub(super) fn http_status(&self) -> u16 {
        match self {
            Self::Denied(Denied::Scope(_)) => 403,
            Self::Denied(_) => 401,
            Self::Malformed(_) | Self::NotUnpacked | Self::Window | Self::Cut | Self::Transport => {
                400
            }
            Self::TooLarge(_) => 413,
            Self::ContentType | Self::ContentEncoding => 415,
            Self::Overloaded | Self::Busy => 429,
            Self::Unavailable | Self::Slow => 503,
            Self::Internal => 500,
        }
    }

    /// Stable, for the list of refused deliveries.
    pub(super) fn reason_code(&self) -> &'static str {
        match self {
            Self::Denied(denied) => denied.code(),
            Self::Malformed(_) => "malformed",
            Self::TooLarge(_) => "body_too_large",
            Self::NotUnpacked | Self::Window => "not_unpacked",
            Self::Cut => "body_cut",
            Self::Transport => "transport",
            Self::ContentType => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::Overloaded => "overloaded",
            Self::Busy => "too_many_requests",
            Self::Slow => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The gRPC code. OTLP: `UNAVAILABLE` is sent again always, `RESOURCE_EXHAUSTED` only by
    /// clients that read its details.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Denied(Denied::Scope(_)) => Code::PermissionDenied,
            Self::Denied(_) => Code::Unauthenticated,
            Self::Overloaded | Self::Busy | Self::Unavailable | Self::Slow => Code::Unavailable,
            Self::Internal => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }

    /// Seconds after which the request may be sent again, if that can help.
    pub(super) fn retry_after_seconds(&self) -> Option<u8> {
        match self {
            Self::Overloaded | Self::Busy | Self::Slow => Some(1),
            Self::Unavailable => Some(5),
            _ => None,
        }
    }

    /// `google.rpc.Status` in protobuf, with `google.rpc.RetryInfo` where it helps.
    pub(super) fn protobuf(&self) -> Vec<u8> {
        let retry = self.retry_after_seconds().map(|seconds| Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: RetryInfo {
                retry_delay: Some(Duration {
                    seconds: seconds.into(),
                }),
            }
            .encode_to_vec(),
        });
        let status = Status {
            code: self.code().into(),
            message: self.to_string(),
            details: retry.into_iter().collect(),
        };
        status.encode_to_vec()
    }

    pub(super) fn encode(&self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Protobuf => self.protobuf(),
            Encoding::Json => {
                let code: i32 = self.code().into();
                let status = json!({ "code": code, "message": self.to_string() });
                status.to_string().into_bytes()
            }
        }
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The body of an export's success: empty, or what was rejected and why.
pub(super) fn success(signal: Signal, encoding: Encoding, settled: &Settled) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => success_protobuf(signal, settled),
        Encoding::Json if settled.rejected == 0 => b"{}".to_vec(),
        Encoding::Json => {
            let field = match signal {
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
                Signal::Traces => "rejectedSpans",
            };
            // Protobuf's JSON form writes 64-bit integers as text.
            let rejected = settled.rejected.to_string();
            let partial = json!({ field: rejected, "errorMessage": settled.message });
            json!({ "partialSuccess": partial })
                .to_string()
                .into_bytes()
        }
    }
}

fn success_protobuf(signal: Signal, settled: &Settled) -> Vec<u8> {
    if settled.rejected == 0 {
        return Vec::new();
    }
    let rejected = i64::try_from(settled.rejected).unwrap_or(i64::MAX);
    let error_message = settled.message.clone();
    match signal {
        Signal::Logs => ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Traces => ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
    }
}
