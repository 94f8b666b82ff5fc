//! What both usage doors share between the body and the batch.

use axum::body::Bytes;
use axum::http::StatusCode;

use super::Api;
use super::delivery::Batch;
use super::elements::BodyFault;
use super::error::Problem;
use crate::heard::Rejection;

/// Bodies above this size are read beside the event loop: they take longer than a millisecond.
const LARGE_BODY_BYTES: usize = 128 * 1024;

/// Notes a delivery of usage that is refused whole.
pub(super) fn turned_away(api: &Api) -> impl FnOnce(&Problem) + '_ {
    |problem| {
        let rejection = Rejection {
            signal: "usage",
            code: problem.code,
        };
        api.heard
            .reject(rejection, &problem.detail, api.clock.now());
    }
}

/// Reads a body into a batch, on another thread if it is large.
pub(super) async fn off_thread(
    body: Bytes,
    read: impl FnOnce(&[u8]) -> Result<Batch, BodyFault> + Send + 'static,
) -> Result<Batch, Problem> {
    let batch = if body.len() <= LARGE_BODY_BYTES {
        read(&body)
    } else {
        tokio::task::spawn_blocking(move || read(&body))
            .await
            .map_err(|error| {
                tracing::error!(%error, "reading a body failed");
                Problem::internal()
            })?
    };
    batch.map_err(Problem::from)
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooMany => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_records",
                fault.to_string(),
            ),
            fault => Self::body(fault.to_string()),
        }
    }
}
