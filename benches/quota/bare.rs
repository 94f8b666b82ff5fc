//! The floors: servers that read the same and answer the same.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tallyd::grpc::proto::{DescriptorStatus, RateLimitRequest, RateLimitResponse};
use tallyd::schedule::Stop;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic_prost::ProstCodec;

#[derive(Deserialize)]
struct Ask {
    id: String,
    subject: Subject,
    model: String,
    estimate: Estimate,
    mode: String,
    ttl_ms: u64,
}

#[derive(Deserialize)]
struct Subject {
    user: String,
    team: String,
    project: String,
}

#[derive(Deserialize)]
struct Estimate {
    input_tokens: u64,
    max_output_tokens: u64,
}

/// As large as tallyd's answer.
#[derive(Serialize)]
struct Answer {
    decision: &'static str,
    id: String,
    status: &'static str,
    replayed: bool,
    held: Held,
    max_output_tokens: u64,
    expires_at: &'static str,
    policy_version: u64,
    model: String,
    limits: [Limit; 3],
    shadow_denials: [String; 0],
    decision_source: &'static str,
    client_headers: Headers,
}

#[derive(Serialize)]
struct Held {
    input_tokens: u64,
    output_tokens: u64,
    cached_input_tokens: u64,
    cache_write_tokens: u64,
    total_tokens: u64,
    cost_usd: &'static str,
}

#[derive(Clone, Serialize)]
struct Limit {
    name: &'static str,
    scope: Scope,
    unit: &'static str,
    limit: u64,
    used: u64,
    reserved: u64,
    remaining: u64,
    over_by: u64,
    mode: &'static str,
    window: Window,
    reset_after_s: u64,
}

#[derive(Clone, Serialize)]
struct Scope {
    user: String,
}

#[derive(Clone, Serialize)]
struct Window {
    start: &'static str,
    end: &'static str,
    tz: &'static str,
}

#[derive(Serialize)]
struct Headers {}

async fn answer(Json(ask): Json<Ask>) -> Response {
    let limit = Limit {
        name: "user-day",
        scope: Scope {
            user: ask.subject.user,
        },
        unit: "weighted_tokens",
        limit: 900_000_000_000_000,
        used: ask.subject.team.len() as u64 + ask.subject.project.len() as u64,
        reserved: ask.mode.len() as u64,
        remaining: 899_999_999_994_704,
        over_by: 0,
        mode: "enforce",
        window: Window {
            start: "2026-11-22T00:00:00+09:00",
            end: "2026-11-23T00:00:00+09:00",
            tz: "Asia/Tokyo",
        },
        reset_after_s: ask.ttl_ms,
    };
    let answer = Answer {
        decision: "allow",
        id: ask.id,
        status: "live",
        replayed: false,
        held: Held {
            input_tokens: ask.estimate.input_tokens,
            output_tokens: ask.estimate.max_output_tokens,
            cached_input_tokens: 0,
            cache_write_tokens: 0,
            total_tokens: ask.estimate.input_tokens + ask.estimate.max_output_tokens,
            cost_usd: "0.065040",
        },
        max_output_tokens: ask.estimate.max_output_tokens,
        expires_at: "2026-11-22T03:06:46.650Z",
        policy_version: 1,
        model: ask.model,
        limits: [limit.clone(), limit.clone(), limit],
        shadow_denials: [],
        decision_source: "authoritative",
        client_headers: Headers {},
    };
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn say_ok(request: Request) -> Response {
    let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
    let service = tower::service_fn(|request: tonic::Request<RateLimitRequest>| async move {
        let status = DescriptorStatus {
            code: 1,
            ..DescriptorStatus::default()
        };
        let statuses = vec![status; request.get_ref().descriptors.len()];
        let answer = RateLimitResponse {
            overall_code: 1,
            statuses,
            ..RateLimitResponse::default()
        };
        Ok::<_, tonic::Status>(tonic::Response::new(answer))
    });
    tonic::server::Grpc::new(codec)
        .unary(service, request)
        .await
        .map(axum::body::Body::new)
}

/// A floor that answers.
pub(crate) struct Bare {
    pub(crate) address: SocketAddr,
    stop: Stop,
    running: JoinHandle<std::io::Result<()>>,
}

pub(crate) async fn start() -> anyhow::Result<Bare> {
    let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
    let grpc = |request: Request| async move { Ok::<_, Infallible>(say_ok(request).await) };
    let router = Router::new()
        .route("/api/v1/quota/reservations", post(answer))
        .route_service(path, tower::service_fn(grpc));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let stop = Stop::new();
    let stopped = stop.clone();
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopped.stopped().await });
    let running = tokio::spawn(async move { serving.await });
    Ok(Bare {
        address,
        stop,
        running,
    })
}

impl Bare {
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.stop();
        Ok(self.running.await??)
    }
}
