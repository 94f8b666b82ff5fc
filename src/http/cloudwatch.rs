//! `GET /api/v1/cloudwatch/plan`: which metrics CloudWatch would have, and their price.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::error::Problem;
use super::figures::usd;
use super::range::Parameters;
use crate::export::cloudwatch::{Line, Plan, plan};
use crate::model::access::Scope;
use crate::store::minute_at;

/// Series of these minutes are planned for: those of the last day.
const KNOWN_MINUTES: i64 = 24 * 60;

/// The metrics, and what a month of them costs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanAnswer {
    /// Whether minutes are sent now.
    enabled: bool,
    #[schema(example = "ClaudeCode/Enterprise")]
    namespace: String,
    metrics: Vec<PlannedMetric>,
    /// The bound on metrics.
    #[schema(example = 100)]
    max_metrics: usize,
    /// Combinations of dimension values that are sent as `other`.
    folded: usize,
    /// `PutMetricData` calls in a month.
    #[schema(example = 43_800)]
    calls: u64,
    alarms: u64,
    /// Which alarms these are: `given`, as the question has it; `set`, those that are in use; `none`,
    /// since `alarms.evaluate` leaves CloudWatch out.
    #[schema(example = "set")]
    alarms_counted: &'static str,
    prices_usd: PlanPrices,
}

/// One metric: a name and a set of dimensions with their values.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlannedMetric {
    #[schema(example = "requests_per_minute")]
    metric: &'static str,
    #[schema(example = json!({"team": "payments"}))]
    dimensions: BTreeMap<&'static str, String>,
    #[schema(example = "Count")]
    unit: &'static str,
}

/// Prices of a month in USD as exact decimal text, without the free tier.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanPrices {
    #[schema(example = "6.30")]
    metrics: String,
    #[schema(example = "0.438")]
    calls: String,
    #[schema(example = "1.00")]
    alarms: String,
    #[schema(example = "7.738")]
    total: String,
}

impl From<Line> for PlannedMetric {
    fn from(line: Line) -> Self {
        Self {
            metric: line.metric,
            dimensions: line.dimensions.into_iter().collect(),
            unit: line.unit,
        }
    }
}

impl From<&Plan> for PlanPrices {
    fn from(plan: &Plan) -> Self {
        Self {
            metrics: usd(plan.metrics_price),
            calls: usd(plan.calls_price),
            alarms: usd(plan.alarms_price),
            total: usd(plan.price()),
        }
    }
}

/// Plan the export to CloudWatch
///
/// Tells each metric that CloudWatch would have from the series of the last day, and what a month
/// of them would cost at the configured prices, whether or not the export is on.
#[utoipa::path(
    get, path = "/api/v1/cloudwatch/plan", tag = "operation",
    operation_id = "planCloudwatch",
    security((), ("bearer" = ["read"])),
    params(
        ("alarms" = Option<u64>, Query, example = 10,
            description = "How many alarms the price is to include; default: those in use, none where \
                CloudWatch does not act on them."),
    ),
    responses(
        (status = 200, description = "The plan.", body = PlanAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn get_plan(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<PlanAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let parameters = Parameters::of(&uri, &["alarms"])?;
    let (alarms, alarms_counted) = match parameters.get("alarms") {
        None => match api.alarms.loaded().in_cloudwatch() {
            0 => (0, "none"),
            alarms => (alarms, "set"),
        },
        Some(text) => text
            .parse()
            .map(|alarms| (alarms, "given"))
            .map_err(|_| Problem::parameter("alarms: must be a whole number"))?,
    };
    let now = minute_at(api.clock.now());
    let known = api.ledger.series_sums(now - KNOWN_MINUTES, now).await?;
    let had = api.ledger.exported_groups().await?;
    let settings = &api.cloudwatch;
    let plan = plan(&known, had, settings, alarms);
    Ok(Json(PlanAnswer {
        enabled: settings.enabled,
        namespace: settings.namespace.clone(),
        max_metrics: settings.max_metrics,
        folded: plan.folded,
        calls: plan.calls,
        alarms: plan.alarms,
        alarms_counted,
        prices_usd: PlanPrices::from(&plan),
        metrics: plan.lines.into_iter().map(PlannedMetric::from).collect(),
    }))
}
