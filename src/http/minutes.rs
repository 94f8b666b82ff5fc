//! `GET /api/v1/minutes`: one-minute datapoints of sealed minutes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::error::Problem;
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::minute::{self, Datapoint, MINUTE_METRICS, Minute};
use crate::store::{Dimensions, MinuteQuery, QueryError, minute_at};

/// Datapoints in one answer: 15 days of two metrics. It has to be built in memory.
const MAX_LINES: usize = 50_000;

/// What is told where `from` is absent.
const DEFAULT_RANGE: SignedDuration = SignedDuration::from_hours(1);

/// Datapoints of sealed minutes, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "from": "2026-11-22T03:00:00Z", "to": "2026-11-22T04:00:00Z",
    "minutes": [{"minute": "2026-11-22T03:00:00Z", "metric": "response_time",
        "unit": "Milliseconds", "count": 3, "sum": 7000.0, "min": 1000.0, "max": 4000.0,
        "average": 2333.3, "p50": 2000.0, "p95": 4000.0, "p99": 4000.0}]
}))]
pub(super) struct MinutesAnswer {
    from: String,
    /// Exclusive.
    to: String,
    minutes: Vec<MinuteLine>,
}

/// What happened to one metric in one minute. A minute in which nothing is known is missing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MinuteLine {
    /// Its begin.
    minute: String,
    metric: &'static str,
    unit: &'static str,
    /// Absent for the series of everything together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dimensions: BTreeMap<&'static str, String>,
    /// How many values there were.
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    average: Option<f64>,
    /// Percentiles are values at the nearest rank. With more than 150 distinct values they may be
    /// a few percent off.
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

impl MinuteLine {
    fn of(minute: &Minute) -> Self {
        let datapoint: &Datapoint = &minute.datapoint;
        let metric = minute.series.metric;
        let dimensions = minute.series.dimensions.iter();
        Self {
            minute: begin(minute.minute).to_string(),
            metric,
            unit: minute::find(metric).map_or("None", |metric| metric.unit.name()),
            dimensions: dimensions
                .map(|(dimension, value)| (dimension.name(), value.to_string()))
                .collect(),
            count: datapoint.count,
            sum: datapoint.sum,
            min: datapoint.min,
            max: datapoint.max,
            average: datapoint.average(),
            p50: datapoint.percentile(50.0),
            p95: datapoint.percentile(95.0),
            p99: datapoint.percentile(99.0),
        }
    }
}

fn begin(minute: i64) -> Timestamp {
    Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Ask for one-minute datapoints
///
/// Tells the sealed minutes that begin in `[from, to)`: what alarms are evaluated on and what goes
/// to CloudWatch. A minute is sealed 15 seconds after its end and never changes; one in which
/// tallyd did not run is missing.
#[utoipa::path(
    get, path = "/api/v1/minutes", tag = "usage",
    operation_id = "getMinutes",
    security((), ("bearer" = ["read"])),
    params(
        ("metric" = Option<String>, Query, description = "Names of minute metrics, separated by \
            commas. All where absent.", example = "error_rate,response_time"),
        ("from" = Option<String>, Query, description = "RFC 3339 time or date. An hour before \
            `to` where absent.", example = "2026-11-22T03:00:00Z"),
        ("to" = Option<String>, Query, description = "RFC 3339 time or date, exclusive. Now \
            where absent."),
        ("dimensions" = Option<String>, Query, description = "`none` (where absent) for the \
            series of everything together, `all` for those with dimensions too."),
        ("timezone" = Option<String>, Query, description = "IANA zone of dates. The configured \
            one where absent."),
    ),
    responses(
        (status = 200, description = "The datapoints.", body = MinutesAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<MinutesAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let known = ["metric", "from", "to", "dimensions", "timezone"];
    let parameters = Parameters::of(&uri, &known)?;
    let zone = parameters.zone(&api.zone)?;
    let range = parameters.range_ending(api.clock.now(), DEFAULT_RANGE, &zone)?;
    let query = MinuteQuery {
        // The first minute that begins in the range, and the first that does not any more.
        from: first_from(range.start),
        to: first_from(range.end),
        metrics: metrics(parameters.get("metric"))?,
        dimensions: dimensions(parameters.get("dimensions"))?,
    };
    let minutes = api.ledger.minutes(query).await?;
    if minutes.len() > MAX_LINES {
        let detail = "ask for a shorter range or for fewer metrics";
        let detail = format!("more than {MAX_LINES} datapoints: {detail}");
        return Err(QueryError::TooLarge(detail).into());
    }
    let Range { start, end } = range;
    Ok(Json(MinutesAnswer {
        from: start.to_string(),
        to: end.to_string(),
        minutes: minutes.iter().map(MinuteLine::of).collect(),
    }))
}

fn first_from(at: Timestamp) -> i64 {
    let minute = minute_at(at);
    if begin(minute) < at {
        minute + 1
    } else {
        minute
    }
}

fn metrics(names: Option<&str>) -> Result<Vec<&'static str>, Problem> {
    let names = names.into_iter().flat_map(|names| names.split(','));
    names
        .map(|name| {
            let found = minute::find(name.trim()).map(|metric| metric.name);
            found.ok_or_else(|| {
                let known: Vec<_> = MINUTE_METRICS.iter().map(|metric| metric.name).collect();
                Problem::parameter(format!("metric: must be a list of {}", known.join(", ")))
            })
        })
        .collect()
}

fn dimensions(name: Option<&str>) -> Result<Dimensions, Problem> {
    match name {
        None | Some("none") => Ok(Dimensions::Totals),
        Some("all") => Ok(Dimensions::All),
        Some(_) => Err(Problem::parameter("dimensions: must be none or all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_the_minutes_that_begin_in_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let firsts = [119, 120, 121].map(|second| first_from(at(second)));
        assert_eq!(firsts, [2, 2, 3]);
    }
}
