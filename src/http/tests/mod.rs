//! The door as a whole: requests in, answers out.

mod bad_input;
mod description;
mod figures;
mod litellm;
mod mutes;
mod optimize;
mod properties;
mod records;
mod routes;
mod webhooks;

use std::io::Write;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::aws::Aws;
use crate::config::{Config, Environment};
use crate::model::access::{Binding, Grant, Scope, hash_token};
use crate::model::catalogue::Kind;
use crate::notify::Setup;
use crate::record::testing::Scratch;

/// The time at which all of these tests take place.
const NOW: &str = "2026-11-22T04:00:00Z";

static REQUESTS: Desc = Desc {
    name: "tallyd_http_requests_total",
    kind: Kind::Counter,
    scale: 0,
    unit: "",
    labels: &["route", "status"],
    help: "HTTP requests answered.",
};

static DURATION: Desc = Desc {
    name: "tallyd_http_request_duration_seconds",
    kind: Kind::Histogram(&[0.01, 0.1, 1.0]),
    scale: 9,
    unit: "seconds",
    labels: &["route"],
    help: "Duration of HTTP requests in seconds.",
};

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// An API over fresh tools, open to everyone.
fn api() -> Api {
    let clock = Clock::manual(now());
    // The closure below keeps the ledger's folder until the API is dropped.
    let scratch = Scratch::new(clock.clone());
    let recorder = scratch.recorder.clone();
    let (quota, _) = Quota::open(
        scratch.folder(),
        Arc::new(ArcSwap::from_pointee(crate::store::Terms::default())),
        Arc::default(),
    )
    .expect("a fresh journal");
    let config = Config::parse("", &Environment::default()).expect("defaults are valid");
    let setup = Setup {
        ledger: recorder.ledger().clone(),
        client: crate::notify::client(None).expect("a client"),
        aws: Aws::new(&config.aws).expect("a set-up"),
        config: Arc::new(ArcSwap::from_pointee(config)),
        instance: "host".to_owned(),
        started: now(),
    };
    Api {
        notify: Arc::new(Notify::new(&setup)),
        quota,
        clock,
        access: Arc::default(),
        names: Arc::default(),
        ledger: recorder.ledger().clone(),
        alarms: Arc::default(),
        reports: Reports {
            ledger: recorder.ledger().clone(),
            config: setup.config.clone(),
            terms: Arc::default(),
            heard: Arc::default(),
        },
        recorder,
        heard: Arc::default(),
        readiness: Arc::default(),
        registry: Arc::default(),
        families: Families {
            requests: &REQUESTS,
            duration: &DURATION,
        },
        expose: Arc::new(move |accept, encoding| {
            let _kept = &scratch;
            Some(Exposition {
                content_type: "text/plain; version=0.0.4",
                encoding: encoding.contains("gzip").then_some("gzip"),
                body: Bytes::from(format!("accept {accept}")),
            })
        }),
        zone: TimeZone::get("Asia/Tokyo").expect("the zone is bundled"),
        importing: tokio::sync::Mutex::default(),
        body_limits: BodyLimits {
            bytes: 1_000_000,
            ..BodyLimits::default()
        },
        cloudwatch: Config::parse("", &Environment::default())
            .expect("defaults are valid")
            .cloudwatch,
    }
}

/// An API with one token for each scope, named like it, and one bound to a team.
fn guarded_api() -> Api {
    let grant = |name: &str, scope, binding| {
        let grant = Grant {
            name: name.into(),
            scopes: vec![scope],
            binding,
            authenticated: true,
        };
        (hash_token(name), grant)
    };
    let team = Binding {
        users: Vec::new(),
        teams: vec!["payments".into()],
    };
    let grants = Scope::ALL
        .map(|scope| grant(scope.name(), scope, Binding::default()))
        .into_iter()
        .chain([grant("payments", Scope::Ingest, team)]);
    let access = ArcSwap::from_pointee(AccessList::new(grants));
    Api {
        access: Arc::new(access),
        ..api()
    }
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    /// The code of a problem; empty if it is none.
    fn json_code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.and_then(Result::ok).unwrap_or_default()
    }

    /// Status and code of a problem, whose shape is checked.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        assert_eq!(body["type"], "about:blank");
        assert!(body["title"].is_string() && body["detail"].is_string());
        (
            self.status,
            body["code"].as_str().expect("a code").to_owned(),
        )
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router
        .clone()
        .oneshot(request)
        .await
        .expect("the router is infallible");
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: to_bytes(body, usize::MAX).await.expect("a whole body"),
    }
}

fn open_router() -> Router {
    router(Arc::new(api()), Router::new())
}

async fn get(path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    send(&open_router(), request).await
}

async fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).expect("a request");
    send(&open_router(), request).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}
