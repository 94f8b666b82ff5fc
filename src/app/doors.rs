//! What answers on each listener.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tonic::Code;

use super::Parts;
use crate::config::{Config, Signal};
use crate::export::prometheus::{self, Format};
use crate::forward::Forward;
use crate::grpc::{self, EnvoyDoor};
use crate::http::{self, Api, BodyLimits, Expose, Exposition, Families};
use crate::model::catalogue;
use crate::otlp::{self, OtlpDoor};
use crate::registry::Registry;
use crate::serve::{Doors, TurnedAway};
use crate::web;

pub(super) fn all(parts: &Parts, config: &Config) -> Doors {
    let otlp = Arc::new(OtlpDoor {
        recorder: parts.recorder.clone(),
        access: parts.live.access.clone(),
        names: parts.live.names.clone(),
        rules: parts.live.rules.clone(),
        heard: parts.heard.clone(),
        clock: parts.clock.clone(),
        max_body: config.limits.body,
        forward: parts.forward.clone().map(pass_on),
    });
    let api = Arc::new(Api {
        clock: parts.clock.clone(),
        access: parts.live.access.clone(),
        names: parts.live.names.clone(),
        recorder: parts.recorder.clone(),
        ledger: parts.ledger.clone(),
        alarms: parts.alarms.clone(),
        heard: parts.heard.clone(),
        readiness: parts.readiness.clone(),
        registry: parts.registry.clone(),
        notify: parts.notify.clone(),
        quota: parts.quota.clone(),
        reports: parts.reports(),
        families: Families {
            requests: catalogue::HTTP_REQUESTS,
            duration: catalogue::HTTP_REQUEST_DURATION,
        },
        expose: expose(parts),
        zone: config.time.zone.clone(),
        importing: tokio::sync::Mutex::default(),
        body_limits: BodyLimits {
            bytes: config.limits.body,
            ..BodyLimits::default()
        },
        cloudwatch: config.cloudwatch.clone(),
    });
    let envoy = Arc::new(EnvoyDoor::new(
        parts.quota.clone(),
        parts.recorder.clone(),
        parts.live.access.clone(),
        parts.heard.clone(),
        config.envoy.clone(),
        parts.clock.clone(),
    ));
    let beside = web::router().merge(otlp::router(otlp.clone()));
    let services = otlp::grpc_routes(otlp.clone())
        .into_axum_router()
        .merge(grpc::router(envoy));
    Doors {
        http: http::router(api.clone(), beside),
        otlp_http: http::watched(otlp::router(otlp), api),
        grpc: services.layer(from_fn_with_state(parts.registry.clone(), count_call)),
        turned_away: TurnedAway {
            registry: parts.registry.clone(),
            heard: parts.heard.clone(),
            clock: parts.clock.clone(),
        },
    }
}

/// Counts a gRPC call by its status. A call that failed has it in its headers; one that answers a
/// message ends well.
async fn count_call(
    State(registry): State<Arc<Registry>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let status = response.headers().get("grpc-status");
    let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
    let method = path.as_ref().map_or("none", MatchedPath::as_str);
    let labels = [method, &*format!("{code:?}")];
    registry.add(catalogue::GRPC_REQUESTS, &labels, 1);
    response
}

/// Hands what was accepted to the forwarder, unpacked.
fn pass_on(forward: Forward) -> otlp::Forward {
    Arc::new(move |signal, encoding: otlp::Encoding, body: Bytes| {
        let signal = match signal {
            otlp::Signal::Logs => Signal::Logs,
            otlp::Signal::Metrics => Signal::Metrics,
            otlp::Signal::Traces => Signal::Traces,
        };
        forward.offer(signal, encoding.content_type(), None, body);
    })
}

/// Writes `/metrics`.
fn expose(parts: &Parts) -> Expose {
    let parts = parts.clone();
    Arc::new(move |accept, accept_encoding| {
        if !parts.is_exposing() {
            return None;
        }
        parts.recorder.refresh(parts.clock.now());
        refusals(&parts);
        let format = Format::negotiate(Some(accept));
        let text = prometheus::scrape(&parts.registry, format);
        let packed = prometheus::accepts_gzip(Some(accept_encoding));
        Some(Exposition {
            content_type: format.content_type(),
            encoding: packed.then_some("gzip"),
            body: if packed {
                prometheus::gzip(&text)
            } else {
                text
            }
            .into(),
        })
    })
}

/// Counts what the doors refused, by signal and code.
fn refusals(parts: &Parts) {
    let mut totals: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for (sender, hearing) in parts.heard.list() {
        for (code, count) in hearing.refused {
            *totals.entry((sender.signal, code)).or_default() += count;
        }
    }
    for (rejection, rejected) in parts.heard.rejected() {
        let labels = [rejection.signal, rejection.code];
        let total = rejected.deliveries.into();
        parts
            .registry
            .raise(catalogue::REFUSED_DELIVERIES, &labels, total);
    }
    for ((signal, code), total) in totals {
        let labels = [signal, &*code];
        parts
            .registry
            .raise(catalogue::REFUSED, &labels, total.into());
    }
}
