//! The calls to CloudWatch, each counted with what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, DimensionFilter, Metric as CloudWatchMetric, MetricDataQuery, MetricDataResult,
    MetricStat, ScanBy, StatusCode,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::metric::{Metric, Query};
use super::window::{Batch, Series};
use crate::aws;
use crate::model::catalogue;
use crate::registry::Registry;

const NAMESPACE: &str = "AWS/Bedrock";
const MODEL_ID: &str = "ModelId";
const SERVICE: &str = "cloudwatch";

/// Pages of one list or one batch at most: 500 metrics a page, and batches are made to fit one.
/// A token that never ends must not cost money for ever.
const MAX_PAGES: usize = 40;

/// What a call did not bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) operation: &'static str,
    /// One of the words of the label `reason`.
    pub(super) reason: &'static str,
    /// All that is known, for the log.
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(
        operation: &'static str,
        reason: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            reason,
            detail: detail.into(),
        }
    }
}

/// Counts calls and what they cost.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) registry: Arc<Registry>,
    /// Of one metric read and of one list, in pico-USD.
    pub(super) price: u128,
}

impl Meter {
    fn called(&self, operation: &str, billed: u64) {
        let labels = [SERVICE, operation];
        self.registry.add(catalogue::AWS_REQUESTS, &labels, 1);
        let cost = self.price.saturating_mul(billed.into());
        self.registry
            .add(catalogue::AWS_REQUEST_COST, &labels, cost);
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let labels = [SERVICE, failure.operation, failure.reason];
        self.registry
            .add(catalogue::AWS_REQUEST_FAILURES, &labels, 1);
    }

    fn requested(&self, metrics: usize) {
        let metrics = u128::try_from(metrics).unwrap_or(u128::MAX);
        let family = catalogue::CLOUDWATCH_METRICS_REQUESTED;
        self.registry.add(family, &[], metrics);
    }
}

/// Asks which metrics of which models there are.
pub(super) async fn list(
    client: &Client,
    meter: &Meter,
) -> Result<BTreeSet<(Metric, Arc<str>)>, Failure> {
    let mut found = BTreeSet::new();
    let mut token = None;
    for _ in 0..MAX_PAGES {
        meter.called("ListMetrics", 1);
        let by_model = DimensionFilter::builder().name(MODEL_ID).build();
        let page = client
            .list_metrics()
            .namespace(NAMESPACE)
            .dimensions(by_model)
            .set_next_token(token)
            .send()
            .await
            .map_err(|error| failure("ListMetrics", &error))
            .inspect_err(|failure| meter.failed(failure))?;
        found.extend(page.metrics().iter().filter_map(model_metric));
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok(found);
        }
    }
    let failure = Failure::new("ListMetrics", "refused", too_many_pages());
    meter.failed(&failure);
    Err(failure)
}

/// A metric that is wanted and told by model alone: those with further dimensions are parts of it.
fn model_metric(found: &CloudWatchMetric) -> Option<(Metric, Arc<str>)> {
    let metric = Metric::parse(found.metric_name()?)?;
    let [only] = found.dimensions() else {
        return None;
    };
    (only.name() == Some(MODEL_ID)).then_some(())?;
    let model_id = only.value().filter(|id| !id.is_empty())?;
    Some((metric, model_id.into()))
}

/// One series' part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The place in the list of series.
    pub(super) series: usize,
    /// Begins of periods and values.
    pub(super) points: Vec<(i64, f64)>,
    pub(super) status: Status,
}

/// How whole an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Complete,
    PartialData,
    InternalError,
    Forbidden,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Complete => "Complete",
            Self::PartialData => "PartialData",
            Self::InternalError => "InternalError",
            Self::Forbidden => "Forbidden",
        }
    }

    fn of(code: Option<&StatusCode>) -> Self {
        match code {
            Some(StatusCode::Complete) => Self::Complete,
            Some(StatusCode::PartialData) => Self::PartialData,
            Some(StatusCode::Forbidden) => Self::Forbidden,
            // A word that is not known is no promise that all is there.
            _ => Self::InternalError,
        }
    }
}

/// Reads one batch, all pages of it.
pub(super) async fn read(
    client: &Client,
    meter: &Meter,
    period: i64,
    all: &[Series],
    batch: &Batch,
) -> Result<Vec<Answer>, Failure> {
    const OPERATION: &str = "GetMetricData";
    let queries = queries(period, all, batch)
        .map_err(|detail| Failure::new(OPERATION, "refused", detail))
        .inspect_err(|failure| meter.failed(failure))?;
    let mut answers = BTreeMap::new();
    let mut token = None;
    for _ in 0..MAX_PAGES {
        meter.called(OPERATION, u64::try_from(queries.len()).unwrap_or(u64::MAX));
        meter.requested(queries.len());
        let page = client
            .get_metric_data()
            .set_metric_data_queries(Some(queries.clone()))
            .start_time(DateTime::from_secs(batch.from))
            .end_time(DateTime::from_secs(batch.to))
            .scan_by(ScanBy::TimestampAscending)
            .set_next_token(token)
            .send()
            .await
            .map_err(|error| failure(OPERATION, &error))
            .inspect_err(|failure| meter.failed(failure))?;
        for result in page.metric_data_results() {
            add(&mut answers, batch, result);
        }
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok(answers.into_values().collect());
        }
    }
    let failure = Failure::new(OPERATION, "refused", too_many_pages());
    meter.failed(&failure);
    Err(failure)
}

fn too_many_pages() -> String {
    format!("the answer has more than {MAX_PAGES} pages")
}

/// The queries of a batch; the id of each is `q` and its place in the batch.
fn queries(period: i64, all: &[Series], batch: &Batch) -> Result<Vec<MetricDataQuery>, String> {
    let period = i32::try_from(period).map_err(|error| error.to_string())?;
    let query = |(id, place): (usize, &usize)| {
        let Query {
            metric,
            model_id,
            statistic,
        } = &all[*place].query;
        let by_model = Dimension::builder().name(MODEL_ID).value(&**model_id);
        let metric = CloudWatchMetric::builder()
            .namespace(NAMESPACE)
            .metric_name(metric.name())
            .dimensions(by_model.build());
        let statistic = MetricStat::builder()
            .metric(metric.build())
            .period(period)
            .stat(&**statistic);
        MetricDataQuery::builder()
            .id(format!("q{id}"))
            .metric_stat(statistic.build())
            .return_data(true)
            .build()
    };
    Ok(batch.series.iter().enumerate().map(query).collect())
}

/// Adds one page's part of a series. The status of the last page counts.
fn add(answers: &mut BTreeMap<usize, Answer>, batch: &Batch, result: &MetricDataResult) {
    let place = result
        .id()
        .and_then(|id| id.strip_prefix('q')?.parse::<usize>().ok())
        .and_then(|id| batch.series.get(id));
    let Some(place) = place else { return };
    let answer = answers.entry(*place).or_insert_with(|| Answer {
        series: *place,
        points: Vec::new(),
        status: Status::InternalError,
    });
    answer.status = Status::of(result.status_code());
    let points = result.timestamps().iter().zip(result.values());
    let window = batch.from..batch.to;
    answer.points.extend(
        points
            .map(|(at, value)| (at.secs(), *value))
            .filter(|(at, _)| window.contains(at)),
    );
}

/// Sorts an error of the SDK into one of the reasons.
fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let failure = aws::Failure::of(error);
    let reason = if is_about_credentials(error) {
        "credentials"
    } else {
        reason_of(failure.kind)
    };
    Failure::new(operation, reason, failure.to_string())
}

/// Whether no call was made because the role could not be assumed. The SDK tells that in the same
/// shape as a connection that broke.
fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut sources = std::iter::successors(Some(error), |&error| error.source());
    sources.any(<dyn Error>::is::<CredentialsError>)
}

const fn reason_of(kind: aws::Kind) -> &'static str {
    match kind {
        aws::Kind::Unreachable => "unreachable",
        aws::Kind::Lost => "lost",
        aws::Kind::Throttled => "throttled",
        aws::Kind::Fault => "fault",
        aws::Kind::Denied => "denied",
        aws::Kind::Unaccepted => "credentials",
        aws::Kind::Invalid | aws::Kind::TooLarge | aws::Kind::Refused => "refused",
    }
}
