//! Requests through the router and the gRPC services, without a network.

use std::io::Write;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tower::ServiceExt;

use super::support::{fixture, log};
use crate::clock::Clock;
use crate::heard::Heard;
use crate::model::access::{AccessList, Binding, Grant, Scope, hash_token};
use crate::model::identify::IdentityRules;
use crate::model::identity::Origin;
use crate::model::names::ModelNames;
use crate::otlp::{OtlpDoor, Signal, grpc_routes, router};
use crate::record::testing::Scratch;

const MAX_BODY: usize = 1 << 20;

fn door_with(access: AccessList) -> OtlpDoor {
    OtlpDoor {
        recorder: Scratch::new(Clock::System).recorder,
        access: Arc::new(ArcSwap::from_pointee(access)),
        names: Arc::new(ArcSwap::from_pointee(ModelNames::default())),
        rules: Arc::new(ArcSwap::from_pointee(IdentityRules::default())),
        heard: Arc::new(Heard::default()),
        clock: Clock::manual(Timestamp::UNIX_EPOCH),
        max_body: MAX_BODY,
        forward: None,
    }
}

fn door() -> Arc<OtlpDoor> {
    Arc::new(door_with(AccessList::default()))
}

fn locked(scope: Scope, binding: Binding) -> Arc<OtlpDoor> {
    let grant = Grant {
        name: "ci".into(),
        scopes: vec![scope],
        binding,
        authenticated: true,
    };
    Arc::new(door_with(AccessList::new([(hash_token("secret"), grant)])))
}

async fn send(door: &Arc<OtlpDoor>, request: Request<Body>) -> (StatusCode, Response<Bytes>) {
    let response = router(Arc::clone(door)).oneshot(request).await;
    let (head, body) = response.expect("a router never fails").into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    (head.status, Response::from_parts(head, body))
}

fn post(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", content_type);
    request.body(body.into()).expect("a request")
}

fn with(mut request: Request<Body>, name: &'static str, value: &'static str) -> Request<Body> {
    let value = axum::http::HeaderValue::from_static(value);
    request.headers_mut().insert(name, value);
    request
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).expect("JSON")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).expect("memory");
    packer.finish().expect("memory")
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

fn bad_log() -> String {
    log(&json!({ "event.name": "api_request", "model": "m", "input_tokens": -1 })).to_string()
}

#[tokio::test]
async fn an_export_is_answered_with_an_empty_message_in_its_encoding() {
    let door = door();
    let body = fixture("delta-json/00-logs.json");
    let (status, response) = send(&door, post("/v1/logs", JSON, body)).await;
    assert_eq!((status, &response.body()[..]), (StatusCode::OK, &b"{}"[..]));
    assert_eq!(response.headers()["content-type"], JSON);
    let body = fixture("delta-protobuf-gzip/01-metrics.pb.gz");
    let (status, response) = send(&door, post("/v1/metrics", PROTOBUF, body)).await;
    assert_eq!((status, &response.body()[..]), (StatusCode::OK, &b""[..]));
    assert_eq!(response.headers()["content-type"], PROTOBUF);
}

#[tokio::test]
async fn packed_bodies_are_taken_chunked_or_not() {
    let plain = fixture("delta-json/00-logs.json");
    let packed = [
        ("gzip", gzip(&plain)),
        ("zstd", zstd::encode_all(&plain[..], 1).expect("memory")),
        ("identity", plain),
    ];
    for (coding, body) in packed {
        let door = door();
        let chunks: Vec<Result<Bytes, std::io::Error>> = body
            .chunks(100)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let request = with(post("/v1/logs", JSON, body), "content-encoding", coding);
        let (status, _) = send(&door, request).await;
        assert_eq!(status, StatusCode::OK, "{coding}");
        assert_eq!(door.heard.list()[0].1.accepted, 6);
    }
}

#[tokio::test]
async fn refused_items_are_a_partial_success() {
    let (status, response) = send(&door(), post("/v1/logs", JSON, bad_log())).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        json_of(&response),
        json!({ "partialSuccess": {
            "rejectedLogRecords": "1", "errorMessage": "input_tokens: is negative",
        }})
    );
}

#[tokio::test]
async fn senders_are_heard_with_what_was_refused() {
    let door = door();
    let body = fixture("bedrock-json/00-logs.json");
    send(&door, post("/v1/logs", JSON, body)).await;
    send(&door, post("/v1/logs", JSON, bad_log())).await;
    let list = door.heard.list();
    let (sender, hearing) = &list[0];
    let told = (
        sender.client.as_str(),
        sender.version.as_str(),
        sender.signal,
    );
    assert_eq!(told, ("claude-code", "2.1.197", "logs"));
    assert_eq!(sender.source, "events");
    assert_eq!((hearing.accepted, hearing.origins[&Origin::Device]), (4, 4));
    assert_eq!(list[1].1.refused["negative"], 1);
}

#[tokio::test]
async fn traces_are_taken_and_only_heard() {
    let door = door();
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": [] },
        "scopeSpans": [{ "spans": [{ "name": "claude_code.llm_request" }, {}] }],
    }]});
    let (status, response) = send(&door, post("/v1/traces", JSON, body.to_string())).await;
    assert_eq!((status, &response.body()[..]), (StatusCode::OK, &b"{}"[..]));
    assert_eq!(door.heard.list()[0].1.accepted, 2);
}

#[tokio::test]
async fn failures_are_a_status_in_the_encoding_of_the_request() {
    let rows = [
        (post("/v1/logs", JSON, "{"), StatusCode::BAD_REQUEST),
        (
            post("/v1/logs", "text/plain", "{}"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            with(post("/v1/logs", JSON, "{}"), "content-encoding", "br"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            with(post("/v1/logs", JSON, "{}"), "content-encoding", "gzip"),
            StatusCode::BAD_REQUEST,
        ),
        (
            post("/v1/logs", JSON, vec![b' '; MAX_BODY + 1]),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            with(
                post("/v1/logs", JSON, gzip(&vec![b' '; 64 * MAX_BODY])),
                "content-encoding",
                "gzip",
            ),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ];
    for (request, expected) in rows {
        let (status, response) = send(&door(), request).await;
        assert_eq!(status, expected);
        assert_eq!(response.headers()["content-type"], JSON);
        let answer = json_of(&response);
        assert_eq!(answer["code"], 3);
        assert!(!answer["message"].as_str().unwrap_or_default().is_empty());
    }
    let (status, response) = send(&door(), post("/v1/logs", PROTOBUF, &b"\x0a\x05x"[..])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    assert_eq!(&response.body()[..2], [0x08, 3], "code = INVALID_ARGUMENT");
}

#[tokio::test]
async fn other_methods_and_paths_are_not_served() {
    let get = Request::get("/v1/logs")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(send(&door(), get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let other = post("/v1/profiles", JSON, "{}");
    assert_eq!(send(&door(), other).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_large_body_is_taken_too() {
    let event = json!({ "event.name": "user_prompt", "prompt": "x".repeat(400_000) });
    let (status, _) = send(&door(), post("/v1/logs", JSON, log(&event).to_string())).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_with_the_scope_is_needed() {
    let body = || fixture("delta-json/00-logs.json");
    let door = locked(Scope::Ingest, Binding::default());
    let (status, response) = send(&door, post("/v1/logs", JSON, body())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(json_of(&response)["code"], 16);
    let request = with(
        post("/v1/logs", JSON, body()),
        "authorization",
        "bearer secret",
    );
    assert_eq!(send(&door, request).await.0, StatusCode::OK);
    let door = locked(Scope::Read, Binding::default());
    let request = with(
        post("/v1/logs", JSON, body()),
        "authorization",
        "Bearer secret",
    );
    let (status, response) = send(&door, request).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(json_of(&response)["code"], 7);
}

#[tokio::test]
async fn a_bound_token_cannot_report_for_others() {
    let binding = Binding {
        users: vec![],
        teams: vec!["search".into()],
    };
    let door = locked(Scope::Ingest, binding);
    let body = fixture("delta-json/00-logs.json");
    let request = with(
        post("/v1/logs", JSON, body),
        "authorization",
        "Bearer secret",
    );
    let (_, response) = send(&door, request).await;
    assert_eq!(
        json_of(&response)["partialSuccess"],
        json!({ "rejectedLogRecords": "6", "errorMessage": "team: this token may not report it" })
    );
}

#[tokio::test]
async fn identity_headers_are_believed_of_known_senders_only() {
    for (door, expected) in [
        (door(), Origin::Device),
        (locked(Scope::Ingest, Binding::default()), Origin::Header),
    ] {
        let request = post("/v1/logs", JSON, fixture("delta-json/00-logs.json"));
        let request = with(request, "x-user-email", "alice@example.com");
        send(&door, with(request, "authorization", "Bearer secret")).await;
        let origins: Vec<_> = door.heard.list()[0].1.origins.keys().copied().collect();
        assert_eq!(origins, [expected]);
    }
}

#[tokio::test]
async fn identity_headers_have_the_bounds_of_attributes() {
    let rows: [(&[u8], &str); 2] = [
        (&[b'x'; 5_000], "x-user-email: is longer than 256 bytes"),
        (b"al\xffce", "x-user-email: is not valid text"),
    ];
    for (value, expected) in rows {
        let door = locked(Scope::Ingest, Binding::default());
        let request = post("/v1/logs", JSON, fixture("delta-json/00-logs.json"));
        let mut request = with(request, "authorization", "Bearer secret");
        let value = axum::http::HeaderValue::from_bytes(value).expect("a header");
        request.headers_mut().insert("x-user-email", value);
        let (_, response) = send(&door, request).await;
        assert_eq!(
            json_of(&response)["partialSuccess"],
            json!({ "rejectedLogRecords": "6", "errorMessage": expected })
        );
    }
}

#[tokio::test]
async fn what_was_taken_is_passed_on_unpacked() {
    let passed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&passed);
    let mut door = door_with(AccessList::default());
    door.forward = Some(Arc::new(move |signal, encoding, body| {
        seen.lock()
            .expect("not poisoned")
            .push((signal, encoding, body));
    }));
    let door = Arc::new(door);
    let plain = fixture("delta-json/00-logs.json");
    let request = post("/v1/logs", JSON, gzip(&plain));
    send(&door, with(request, "content-encoding", "gzip")).await;
    send(&door, post("/v1/logs", JSON, "{")).await;
    let passed = passed.lock().expect("not poisoned");
    let expected = (
        Signal::Logs,
        super::super::Encoding::Json,
        Bytes::from(plain),
    );
    assert_eq!(*passed, [expected]);
}

fn services(door: &Arc<OtlpDoor>) -> axum::Router {
    grpc_routes(Arc::clone(door)).prepare().into_axum_router()
}

fn recorded() -> ExportLogsServiceRequest {
    let body = fixture("delta-protobuf-gzip/00-logs.pb.gz");
    ExportLogsServiceRequest::decode(&body[..]).expect("protobuf")
}

#[tokio::test]
async fn grpc_takes_plain_and_packed_exports() {
    let door = door();
    let client = LogsServiceClient::new(services(&door));
    let packed = client
        .clone()
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    for mut client in [client, packed] {
        let response = client.export(recorded()).await.expect("an answer");
        assert_eq!(response.into_inner(), ExportLogsServiceResponse::default());
    }
    let mut client = TraceServiceClient::new(services(&door));
    let request = ExportTraceServiceRequest::default();
    client.export(request).await.expect("an answer");
    assert_eq!(door.heard.list()[0].1.deliveries, 2);
}

#[tokio::test]
async fn grpc_tells_what_was_refused() {
    let mut request = recorded();
    let record = &mut request.resource_logs[0].scope_logs[0].log_records[0];
    record.time_unix_nano = 0;
    record.observed_time_unix_nano = 0;
    record
        .attributes
        .retain(|pair| pair.key != "event.timestamp");
    let mut client = LogsServiceClient::new(services(&door()));
    let response = client
        .export(request)
        .await
        .expect("an answer")
        .into_inner();
    let partial = response.partial_success.expect("a refusal");
    assert_eq!(partial.rejected_log_records, 1);
    assert_eq!(partial.error_message, "timeUnixNano: is missing");
}

#[tokio::test]
async fn grpc_needs_a_token_and_bounds_messages() {
    let locked = locked(Scope::Ingest, Binding::default());
    let mut client = LogsServiceClient::new(services(&locked));
    let status = client.export(recorded()).await.expect_err("no token");
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    let mut request = tonic::Request::new(recorded());
    let token = "Bearer secret".parse().expect("ASCII");
    request.metadata_mut().insert("authorization", token);
    client.export(request).await.expect("an answer");

    let mut request = recorded();
    request.resource_logs[0].schema_url = "x".repeat(MAX_BODY + 1);
    let packed = LogsServiceClient::new(services(&door()));
    let mut packed = packed.send_compressed(CompressionEncoding::Gzip);
    let status = packed.export(request).await.expect_err("too large");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
}

#[test]
fn failures_that_pass_ask_to_be_tried_again() {
    use super::super::answer::Failure;
    use crate::record::RecordError;
    let unavailable = Failure::from(RecordError::Unavailable {
        reason: "disk full".to_owned(),
    });
    let told = |failure: &Failure| (failure.http_status(), failure.retry_after_seconds());
    assert_eq!(told(&RecordError::Overloaded.into()), (429, Some(1)));
    assert_eq!(told(&unavailable), (503, Some(5)));
    assert_eq!(told(&RecordError::Stopping.into()), (503, Some(5)));
    assert_eq!(unavailable.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn deliveries_that_are_refused_whole_are_noted_on_http_and_grpc() {
    let door = locked(Scope::Ingest, Binding::default());
    send(&door, post("/v1/logs", JSON, "{}")).await;
    let bearer = |request| with(request, "authorization", "Bearer secret");
    send(&door, bearer(post("/v1/metrics", JSON, "{no"))).await;
    send(&door, bearer(post("/v1/logs", "text/plain", "{}"))).await;
    let large = vec![b' '; MAX_BODY + 1];
    send(&door, bearer(post("/v1/logs", JSON, large.clone()))).await;

    let mut client = LogsServiceClient::new(services(&door));
    client.export(recorded()).await.expect_err("no token");
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    for message in [&large[..], b"\xff"] {
        let length = u32::try_from(message.len()).expect("small");
        let body = [&[0][..], &length.to_be_bytes(), message].concat();
        let request = bearer(post(path, "application/grpc", body));
        let answer = services(&door).oneshot(request).await.expect("an answer");
        assert_ne!(answer.headers()["grpc-status"], "0");
    }
    let told: Vec<_> = door
        .heard
        .rejected()
        .into_iter()
        .map(|(kind, rejected)| (kind.signal, kind.code, rejected.deliveries))
        .collect();
    let expected = [
        ("logs", "body_too_large", 1),
        ("logs", "content_type", 1),
        ("logs", "token_missing", 2),
        ("metrics", "malformed", 1),
        ("traces", "malformed", 1),
        ("traces", "transport", 1),
    ];
    assert_eq!(told, expected);
}
