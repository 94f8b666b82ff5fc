//! OTLP over gRPC. Messages are taken as bytes, so that both transports share one reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::Routes;

use super::answer::Failure;
use super::http::authorize;
use super::{Delivery, Encoding, OtlpDoor, Signal};

/// The path of a signal's only method.
pub(super) const fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    }
}

/// The three OTLP services; others can be added to them.
pub fn routes(door: Arc<OtlpDoor>) -> Routes {
    let mut router = Router::new();
    for signal in Signal::ALL {
        let export = move |State(door): State<Arc<OtlpDoor>>, request: Request| async move {
            export(door, signal, request).await
        };
        router = router.route(path(signal), post(export));
    }
    Routes::from(router.with_state(door))
}

async fn export(door: Arc<OtlpDoor>, signal: Signal, request: Request) -> Response {
    let grant = match authorize(&door, request.headers()) {
        Ok(grant) => grant,
        Err(failure) => {
            door.turn_away(signal, &failure);
            return status(&failure).into_http();
        }
    };
    let headers = request.headers().clone();
    let mut grpc = tonic::server::Grpc::new(Whole)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(door.max_body);
    let came = Arc::new(AtomicBool::new(false));
    let (inner, has_come) = (Arc::clone(&door), Arc::clone(&came));
    let service = tower::service_fn(move |request: tonic::Request<Bytes>| {
        has_come.store(true, Ordering::Relaxed);
        let delivery = Delivery {
            signal,
            encoding: Encoding::Protobuf,
            body: request.into_inner(),
            grant: grant.clone(),
            headers: headers.clone(),
        };
        let door = Arc::clone(&inner);
        async move {
            let answer = door.receive(delivery).await.map_err(|failure| {
                door.turn_away(signal, &failure);
                status(&failure)
            })?;
            Ok(tonic::Response::new(Bytes::from(answer)))
        }
    });
    let response = grpc.unary(service, request).await;
    if !came.load(Ordering::Relaxed) {
        // Larger than its bound, badly packed, or cut off: it has its answer already.
        door.turn_away(signal, &Failure::Transport);
    }
    response.map(axum::body::Body::new)
}

fn status(failure: &Failure) -> Status {
    let details = Bytes::from(failure.protobuf());
    Status::with_details(failure.code(), failure.to_string(), details)
}

/// Messages as they are.
#[derive(Clone, Copy, Debug)]
struct Whole;

impl Codec for Whole {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
