//! The HTTP API: usage in, figures out, and what operators need.
//!
//! One file per address, listed once in `routes`. What is not HTTP happens below: doors parse,
//! ask a tool, and write the answer. Errors have one shape ([`error::Problem`]).

mod alarms;
mod auth;
mod backup;
mod bills;
mod bills_import;
mod body;
mod business_events;
mod cloud_event;
mod cloudwatch;
pub mod delivery;
pub mod elements;
pub mod error;
mod figures;
mod health;
mod identities;
mod intake;
mod lenient;
pub mod litellm;
mod litellm_call;
mod litellm_fields;
mod metrics;
mod minutes;
mod month_close;
mod mutes;
mod notify;
mod openapi;
mod optimize;
mod prices;
mod quota;
mod quota_adjust;
mod quota_ask;
mod quota_balances;
mod quota_list;
mod quota_policies;
mod quota_replay;
mod quota_settle;
mod range;
mod receipt;
mod reports;
mod sources;
#[cfg(test)]
mod tests;
pub mod usage_events;
mod usage_import;
mod usage_query;
mod usage_record;
mod watch;
mod webhooks;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use jiff::tz::TimeZone;

pub use body::BodyLimits;
pub use metrics::{Expose, Exposition};
pub use openapi::document;

use crate::alarm::Alarms;
use crate::clock::Clock;
use crate::config;
use crate::heard::Heard;
use crate::model::access::AccessList;
use crate::model::catalogue::Desc;
use crate::model::names::ModelNames;
use crate::notify::Notify;
use crate::quota::Quota;
use crate::ready::Readiness;
use crate::record::Recorder;
use crate::registry::Registry;
use crate::report::Reports;
use crate::store::Ledger;

/// The metric families of this door.
#[derive(Clone, Copy, Debug)]
pub struct Families {
    /// A counter with the labels `route` and `status`.
    pub requests: &'static Desc,
    /// A histogram in seconds with the label `route`.
    pub duration: &'static Desc,
}

/// What the API works with.
pub struct Api {
    pub clock: Clock,
    /// Replaced when the configuration is read again.
    pub access: Arc<ArcSwap<AccessList>>,
    /// Replaced when the configuration is read again.
    pub names: Arc<ArcSwap<ModelNames>>,
    pub recorder: Recorder,
    pub ledger: Ledger,
    pub alarms: Arc<Alarms>,
    pub heard: Arc<Heard>,
    pub readiness: Arc<Readiness>,
    pub registry: Arc<Registry>,
    pub notify: Arc<Notify>,
    pub quota: Quota,
    pub reports: Reports,
    pub families: Families,
    pub expose: Expose,
    /// The zone of days and months where a query names none.
    pub zone: TimeZone,
    pub body_limits: BodyLimits,
    /// Held while a bill is imported: it may take much memory.
    pub importing: tokio::sync::Mutex<()>,
    /// What the plan for CloudWatch is made with.
    pub cloudwatch: config::CloudWatch,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Builds the router of the HTTP listener: the API, and `others` (the page, OTLP) beside it.
///
/// All requests are counted and timed; what no route answers is a problem like any other.
pub fn router(api: Arc<Api>, others: Router) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    watched(router.with_state(Arc::clone(&api)).merge(others), api)
}

/// Counts and times the requests of a router; what no route answers is a problem.
pub fn watched(router: Router, api: Arc<Api>) -> Router {
    router
        .method_not_allowed_fallback(watch::method_not_allowed)
        .fallback(watch::not_found)
        .layer(from_fn_with_state(api, watch::watch))
}

/// All addresses of the API.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<Api>>)> {
    vec![
        ("/api/v1/usage/events", post(usage_events::post)),
        ("/api/v1/usage/litellm", post(litellm::post)),
        ("/api/v1/usage/import", post(usage_import::post)),
        ("/api/v1/usage", get(usage_query::usage)),
        ("/api/v1/usage/control", get(usage_query::control)),
        ("/api/v1/users/{user}/usage", get(usage_query::user_usage)),
        ("/api/v1/quota/check", post(quota_ask::check)),
        (
            "/api/v1/quota/reservations",
            post(quota_ask::reserve).get(quota_list::list),
        ),
        ("/api/v1/quota/reservations/{id}", get(quota_settle::show)),
        (
            "/api/v1/quota/reservations/{id}/settle",
            post(quota_settle::settle),
        ),
        (
            "/api/v1/quota/reservations/{id}/release",
            post(quota_settle::release),
        ),
        (
            "/api/v1/quota/reservations/{id}/extend",
            post(quota_settle::extend),
        ),
        ("/api/v1/quota/balances", get(quota_balances::get)),
        (
            "/api/v1/quota/adjustments",
            post(quota_adjust::post).get(quota_adjust::list),
        ),
        ("/api/v1/quota/policies", get(quota_policies::get)),
        ("/api/v1/quota/verify", get(quota_replay::verify)),
        ("/api/v1/quota/simulate", post(quota_replay::simulate)),
        ("/api/v1/minutes", get(minutes::get)),
        ("/api/v1/identities/unknown", get(identities::unknown)),
        ("/api/v1/identities/forget", post(identities::forget)),
        ("/api/v1/optimize/model", post(optimize::model)),
        ("/api/v1/optimize/batch", post(optimize::batch)),
        ("/api/v1/webhooks/github", post(webhooks::github)),
        ("/api/v1/webhooks/gitlab", post(webhooks::gitlab)),
        ("/api/v1/business/events", post(business_events::post)),
        ("/api/v1/prices/missing", get(prices::missing)),
        ("/api/v1/prices/reprice", post(prices::reprice)),
        ("/api/v1/prices/adjustments", get(prices::adjustments)),
        (
            "/api/v1/reports/{name}",
            get(reports::get).post(month_close::post),
        ),
        ("/api/v1/sources", get(sources::list)),
        ("/api/v1/bills", get(bills::list).post(bills_import::post)),
        ("/api/v1/alarms", get(alarms::list)),
        ("/api/v1/alarms/backtest", post(alarms::backtest)),
        ("/api/v1/store/backup", post(backup::post)),
        ("/api/v1/cloudwatch/plan", get(cloudwatch::get_plan)),
        ("/api/v1/notify/{name}/test", post(notify::test)),
        ("/api/v1/mutes", get(mutes::list).post(mutes::add)),
        ("/api/v1/mutes/{id}", delete(mutes::end)),
        ("/api/v1/openapi.json", get(openapi::get)),
        ("/metrics", get(metrics::get)),
        ("/healthz", get(health::healthz)),
        ("/readyz", get(health::readyz)),
    ]
}
