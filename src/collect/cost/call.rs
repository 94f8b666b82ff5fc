//! The calls to Cost Explorer: each is counted before it is made, with what it costs.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_costexplorer::Client;
use aws_sdk_costexplorer::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_costexplorer::operation::get_cost_and_usage::GetCostAndUsageOutput;
use aws_sdk_costexplorer::types::{
    DateInterval, Dimension, DimensionValues, Expression, Granularity, GroupDefinition,
    GroupDefinitionType, Metric,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::retry::RetryConfig;
use jiff::Timestamp;
use jiff::civil::Date;

use super::group::{self, Day, Forecast};
use crate::aws;
use crate::model::catalogue;
use crate::registry::Registry;
use crate::schedule::jitter;
use crate::store::Ledger;

const SERVICE: &str = "ce";
pub(super) const USAGE: &str = "GetCostAndUsage";
pub(super) const FORECAST: &str = "GetCostForecast";

/// Attempts of one page that AWS throttles or fails.
const MAX_ATTEMPTS: u32 = 5;

/// Times that a query is begun anew because its pages no longer fit together.
const MAX_STARTS: u32 = 3;

/// Pages of one query at most. A token that never ends must not cost money for ever.
const MAX_PAGES: usize = 200;

/// How sure a forecast's range is, in percent.
pub(super) const LEVEL: u8 = 80;

/// What a call did not bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) operation: &'static str,
    /// One of the words of the label `reason`.
    pub(super) reason: &'static str,
    /// AWS' code, empty if it told none.
    pub(super) code: String,
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
            code: String::new(),
            detail: detail.into(),
        }
    }
}

/// Counts calls and what they cost, and holds the ceiling.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) registry: Arc<Registry>,
    pub(super) ledger: Ledger,
    /// Of one call, in pico-USD.
    pub(super) price: u128,
    pub(super) max_calls: u64,
    /// The wait after the first failed attempt; it doubles.
    pub(super) backoff: Duration,
}

impl Meter {
    /// Books a call that is about to be made.
    async fn book(&self, operation: &'static str, now: Timestamp) -> Result<(), Failure> {
        let booked = self.ledger.book_bill_call(now, self.max_calls).await;
        let booked = booked.map_err(|error| Failure::new(operation, "store", error.to_string()))?;
        if !booked {
            let detail = format!(
                "cost.max_calls ({}) calls were made in this month; raise it, or wait for the \
                 next month",
                self.max_calls
            );
            return Err(Failure::new(operation, "ceiling", detail));
        }
        let labels = [SERVICE, operation];
        self.registry.add(catalogue::AWS_REQUESTS, &labels, 1);
        self.registry
            .add(catalogue::AWS_REQUEST_COST, &labels, self.price);
        Ok(())
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let labels = [SERVICE, failure.operation, failure.reason];
        self.registry
            .add(catalogue::AWS_REQUEST_FAILURES, &labels, 1);
    }
}

/// What is asked for, day by day.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) from: Date,
    /// Exclusive.
    pub(super) to: Date,
    pub(super) records: Records,
    pub(super) group_by: [Group; 2],
    pub(super) metrics: Vec<&'static str>,
}

/// Which record types are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Records {
    Usage,
    AllButUsage,
}

/// What a query is grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Dimension(&'static str),
    Tag(String),
}

/// Asks, all pages of the answer. Every attempt and every page is a call.
pub(super) async fn ask(
    client: &Client,
    meter: &Meter,
    query: &Query,
    now: Timestamp,
) -> Result<Vec<Day>, Failure> {
    let mut starts = 1;
    loop {
        let failure = match pages(client, meter, query, now).await {
            Ok(days) => return Ok(days),
            Err(failure) => failure,
        };
        if !is_lost_page(&failure.code) || starts == MAX_STARTS {
            return Err(failure);
        }
        starts += 1;
    }
}

/// AWS: the pages so far belong to an answer that is no more; the query begins anew.
fn is_lost_page(code: &str) -> bool {
    [
        "RequestChangedException",
        "InvalidNextTokenException",
        "BillExpirationException",
    ]
    .contains(&code)
}

async fn pages(
    client: &Client,
    meter: &Meter,
    query: &Query,
    now: Timestamp,
) -> Result<Vec<Day>, Failure> {
    let mut days = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = page(client, meter, query, token, now).await?;
        for result in page.results_by_time() {
            let day = group::day(result).map_err(|detail| Failure::new(USAGE, "refused", detail));
            group::add(&mut days, day.inspect_err(|failure| meter.failed(failure))?);
        }
        token = page.next_page_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(days);
        }
    }
    let detail = format!("the answer has more than {MAX_PAGES} pages");
    let failure = Failure::new(USAGE, "refused", detail);
    meter.failed(&failure);
    Err(failure)
}

/// One page, with waits where AWS has too much to do.
async fn page(
    client: &Client,
    meter: &Meter,
    query: &Query,
    token: Option<String>,
    now: Timestamp,
) -> Result<GetCostAndUsageOutput, Failure> {
    let built = |error: BuildError| Failure::new(USAGE, "refused", error.to_string());
    let mut attempt = 1;
    loop {
        meter.book(USAGE, now).await?;
        let asked = client
            .get_cost_and_usage()
            .time_period(interval(query.from, query.to).map_err(built)?)
            .granularity(Granularity::Daily)
            .filter(query.records.expression())
            .set_metrics(Some(
                query.metrics.iter().map(ToString::to_string).collect(),
            ))
            .set_group_by(Some(query.group_by.iter().map(Group::definition).collect()))
            .set_next_page_token(token.clone())
            .customize()
            .config_override(once())
            .send()
            .await;
        let failure = match asked {
            Ok(page) => return Ok(page),
            Err(error) => failure(USAGE, &error),
        };
        meter.failed(&failure);
        let passes = ["throttled", "fault"].contains(&failure.reason);
        if !passes || attempt == MAX_ATTEMPTS {
            return Err(failure);
        }
        // At least half of the wait: a random part alone may be nothing.
        let wait = meter.backoff.saturating_mul(1 << attempt) / 2;
        tokio::time::sleep(wait / 2 + jitter(wait / 2)).await;
        attempt += 1;
    }
}

/// Attempts are made here, where each is counted: retries of the SDK may be billed, too.
fn once() -> aws_sdk_costexplorer::config::Builder {
    aws_sdk_costexplorer::config::Builder::new().retry_config(RetryConfig::disabled())
}

impl Records {
    fn expression(self) -> Expression {
        let usage = dimension(Dimension::RecordType, ["Usage".to_owned()]);
        match self {
            Self::Usage => usage,
            Self::AllButUsage => Expression::builder().not(usage).build(),
        }
    }
}

impl Group {
    fn definition(&self) -> GroupDefinition {
        let builder = GroupDefinition::builder();
        match self {
            Self::Dimension(key) => builder.r#type(GroupDefinitionType::Dimension).key(*key),
            Self::Tag(key) => builder.r#type(GroupDefinitionType::Tag).key(key),
        }
        .build()
    }
}

fn dimension(key: Dimension, values: impl IntoIterator<Item = String>) -> Expression {
    let values = DimensionValues::builder()
        .key(key)
        .set_values(Some(values.into_iter().collect()))
        .build();
    Expression::builder().dimensions(values).build()
}

fn interval(from: Date, to: Date) -> Result<DateInterval, BuildError> {
    DateInterval::builder()
        .start(from.to_string())
        .end(to.to_string())
        .build()
}

/// Asks what the services will cost in `[from, to)`, which begins today. One attempt: it is worth
/// no more.
pub(super) async fn forecast(
    client: &Client,
    meter: &Meter,
    services: Vec<String>,
    [from, to]: [Date; 2],
    now: Timestamp,
) -> Result<Forecast, Failure> {
    let built = |error: BuildError| Failure::new(FORECAST, "refused", error.to_string());
    meter.book(FORECAST, now).await?;
    let answer = client
        .get_cost_forecast()
        .time_period(interval(from, to).map_err(built)?)
        .metric(Metric::UnblendedCost)
        .granularity(Granularity::Monthly)
        .filter(dimension(Dimension::Service, services))
        .prediction_interval_level(i32::from(LEVEL))
        .customize()
        .config_override(once())
        .send()
        .await
        .map_err(|error| failure(FORECAST, &error))
        .inspect_err(|failure| meter.failed(failure))?;
    group::forecast(&answer)
        .map_err(|detail| Failure::new(FORECAST, "refused", detail))
        .inspect_err(|failure| meter.failed(failure))
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
        reason_of(failure.kind, &failure.code)
    };
    Failure {
        operation,
        reason,
        code: failure.code.clone(),
        detail: failure.to_string(),
    }
}

/// Whether no call was made because the role could not be assumed. The SDK tells that in the same
/// shape as a connection that broke.
fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut sources = std::iter::successors(Some(error), |&error| error.source());
    sources.any(<dyn Error>::is::<CredentialsError>)
}

fn reason_of(kind: aws::Kind, code: &str) -> &'static str {
    if code == "DataUnavailableException" {
        return "unavailable";
    }
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
