//! Reads the alarms of an account and carries a [`Plan`] out, at the pace that CloudWatch allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::Builder;
use aws_sdk_cloudwatch::error::{BuildError, SdkError};
use aws_sdk_cloudwatch::types::{
    AlarmType, ComparisonOperator, Dimension, MetricAlarm, Statistic as Simple, Tag,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use tokio::time::{Interval, MissedTickBehavior};

use super::plan::{Change, Configuration, Existing, Plan, Wanted};
use crate::aws::{Failure, Permission};
use crate::model::alarm::Statistic;

/// CloudWatch allows 3 calls a second that change alarms, in the whole account.
const WRITE_EVERY: Duration = Duration::from_millis(400);

/// CloudWatch allows 9 `DescribeAlarms` a second, in the whole account.
const READ_EVERY: Duration = Duration::from_millis(150);

/// Attempts of a call: others may use up the account's rate for a while.
const ATTEMPTS: u32 = 8;

/// Alarms in a page of `DescribeAlarms`, the most that CloudWatch gives.
const PAGE: i32 = 100;

/// Why a call did not do.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{action}: {failure}{}", mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default())]
    Call {
        action: &'static str,
        failure: Failure,
        mend: Option<String>,
    },
    #[error("cannot make the call")]
    Build(#[from] BuildError),
}

/// The alarms of an account, at a pace.
#[derive(Debug)]
pub struct Account {
    client: Client,
    reads: Interval,
    writes: Interval,
}

impl Account {
    /// Nothing is asked before the first call. Needs a runtime with a timer.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            reads: every(READ_EVERY),
            writes: every(WRITE_EVERY),
        }
    }

    /// The metric alarms that a plan for `wanted` concerns: those of the same names, and those in
    /// the same namespaces, where alarms that the set had before are looked for.
    pub async fn read(&mut self, wanted: &[Wanted]) -> Result<Vec<Existing>, ApplyError> {
        let names: BTreeSet<&str> = wanted.iter().map(|alarm| &*alarm.name).collect();
        let namespaces = wanted.iter().map(|alarm| &*alarm.configuration.namespace);
        let namespaces: BTreeSet<&str> = namespaces.collect();
        let mut found = Vec::new();
        for alarm in self.describe().await? {
            let (Some(name), Some(arn)) = (alarm.alarm_name(), alarm.alarm_arn()) else {
                continue;
            };
            if !names.contains(name) && !namespaces.contains(alarm.namespace().unwrap_or_default())
            {
                continue;
            }
            found.push(Existing {
                name: name.to_owned(),
                arn: arn.to_owned(),
                configuration: configuration(&alarm),
                tags: self.tags(arn).await?,
            });
        }
        Ok(found)
    }

    async fn describe(&mut self) -> Result<Vec<MetricAlarm>, ApplyError> {
        let mut alarms = Vec::new();
        let mut next = None;
        loop {
            self.reads.tick().await;
            let call = self.client.describe_alarms();
            let call = call.alarm_types(AlarmType::MetricAlarm).max_records(PAGE);
            let call = call.set_next_token(next.take());
            let page = call.customize().config_override(patient()).send().await;
            let page = page.map_err(|error| failed("cloudwatch:DescribeAlarms", "*", &error))?;
            alarms.extend(page.metric_alarms.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(alarms);
            }
        }
    }

    async fn tags(&mut self, arn: &str) -> Result<BTreeMap<String, String>, ApplyError> {
        self.reads.tick().await;
        let call = self.client.list_tags_for_resource().resource_arn(arn);
        let answer = call.customize().config_override(patient()).send().await;
        let answer =
            answer.map_err(|error| failed("cloudwatch:ListTagsForResource", arn, &error))?;
        let tags = answer.tags.unwrap_or_default().into_iter();
        let pair = |tag: Tag| Some((tag.key?, tag.value.unwrap_or_default()));
        Ok(tags.filter_map(pair).collect())
    }

    /// Makes one change.
    pub async fn make(&mut self, change: &Change) -> Result<(), ApplyError> {
        match change {
            Change::Create(wanted) => self.put(wanted, Some(&wanted.tags)).await,
            Change::Update {
                wanted,
                arn,
                fields,
                tags,
            } => {
                if !fields.is_empty() {
                    self.put(wanted, None).await?;
                }
                if !tags.is_empty() {
                    self.tag(arn, tags).await?;
                }
                Ok(())
            }
            Change::Delete { name } => self.delete(name).await,
        }
    }

    /// Makes all changes of a plan, and goes on after one that fails. Returns those that failed,
    /// by name.
    pub async fn carry_out(&mut self, plan: &Plan) -> Vec<(String, ApplyError)> {
        let mut failures = Vec::new();
        for change in &plan.changes {
            if let Err(error) = self.make(change).await {
                failures.push((change.name().to_owned(), error));
            }
        }
        failures
    }

    /// Writes the whole configuration: what an update leaves out is reset.
    async fn put(
        &mut self,
        wanted: &Wanted,
        tags: Option<&BTreeMap<String, String>>,
    ) -> Result<(), ApplyError> {
        let of = &wanted.configuration;
        let list = |items: &BTreeSet<String>| Some(items.iter().cloned().collect());
        let dimensions = of.dimensions.iter();
        let dimension = |(name, value): (&String, &String)| {
            Dimension::builder().name(name).value(value).build()
        };
        let mut call = self
            .client
            .put_metric_alarm()
            .alarm_name(&wanted.name)
            .alarm_description(&of.description)
            .namespace(&of.namespace)
            .metric_name(&of.metric)
            .set_dimensions(Some(dimensions.map(dimension).collect()))
            .period(of.period_seconds)
            .evaluation_periods(of.evaluation_periods)
            .datapoints_to_alarm(of.datapoints_to_alarm)
            .threshold(of.threshold)
            .comparison_operator(ComparisonOperator::from(of.comparison.as_str()))
            .treat_missing_data(&of.missing_data)
            .actions_enabled(of.actions_enabled)
            .set_alarm_actions(list(&of.alarm_actions))
            .set_ok_actions(list(&of.ok_actions))
            .set_insufficient_data_actions(list(&of.insufficient_data_actions))
            .set_tags(tags.map(tag_list));
        call = if of.statistic.starts_with('p') {
            call.extended_statistic(&of.statistic)
                .evaluate_low_sample_count_percentile(&of.low_samples)
        } else {
            call.statistic(Simple::from(of.statistic.as_str()))
        };
        self.writes.tick().await;
        let sent = call.customize().config_override(patient()).send().await;
        let on = arn_pattern(&wanted.name);
        sent.map_err(|error| failed("cloudwatch:PutMetricAlarm", &on, &error))?;
        Ok(())
    }

    async fn tag(&mut self, arn: &str, tags: &BTreeMap<String, String>) -> Result<(), ApplyError> {
        self.writes.tick().await;
        let call = self.client.tag_resource().resource_arn(arn);
        let call = call.set_tags(Some(tag_list(tags)));
        let sent = call.customize().config_override(patient()).send().await;
        sent.map_err(|error| failed("cloudwatch:TagResource", arn, &error))?;
        Ok(())
    }

    async fn delete(&mut self, name: &str) -> Result<(), ApplyError> {
        self.writes.tick().await;
        let call = self.client.delete_alarms().alarm_names(name);
        let sent = call.customize().config_override(patient()).send().await;
        let on = arn_pattern(name);
        sent.map_err(|error| failed("cloudwatch:DeleteAlarms", &on, &error))?;
        Ok(())
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// All these calls can be made twice without harm, so the SDK tries again where that helps.
fn patient() -> Builder {
    Builder::new().retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
}

fn arn_pattern(name: &str) -> String {
    format!("arn:aws:cloudwatch:*:*:alarm:{name}")
}

fn failed<E>(action: &'static str, resource: &str, error: &SdkError<E, HttpResponse>) -> ApplyError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = Failure::of(error);
    let mend = failure.mend(&Permission::on(action, resource));
    ApplyError::Call {
        action,
        failure,
        mend,
    }
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect()
}

/// What the account says of an alarm, in the same words as [`super::plan::wanted`].
fn configuration(alarm: &MetricAlarm) -> Configuration {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let set = |items: &[String]| items.iter().cloned().collect::<BTreeSet<_>>();
    let percentile = alarm.extended_statistic();
    let statistic = match (percentile, alarm.statistic()) {
        (Some(name), _) => {
            Statistic::parse_percentile(name).map_or_else(|| name.to_owned(), Statistic::name)
        }
        (None, Some(simple)) => simple.as_str().to_owned(),
        (None, None) => String::new(),
    };
    let low_samples = alarm.evaluate_low_sample_count_percentile();
    let low_samples = percentile.map(|_| low_samples.unwrap_or("evaluate"));
    let dimensions = alarm.dimensions().iter();
    let pair = |dimension: &Dimension| {
        let (name, value) = (dimension.name(), dimension.value());
        (text(name), text(value))
    };
    let evaluation_periods = alarm.evaluation_periods().unwrap_or_default();
    Configuration {
        description: text(alarm.alarm_description()),
        namespace: text(alarm.namespace()),
        metric: text(alarm.metric_name()),
        dimensions: dimensions.map(pair).collect(),
        statistic,
        period_seconds: alarm.period().unwrap_or_default(),
        evaluation_periods,
        datapoints_to_alarm: alarm.datapoints_to_alarm().unwrap_or(evaluation_periods),
        threshold: alarm.threshold().unwrap_or_default(),
        comparison: text(alarm.comparison_operator().map(ComparisonOperator::as_str)),
        missing_data: alarm.treat_missing_data().unwrap_or("missing").to_owned(),
        low_samples: text(low_samples),
        actions_enabled: alarm.actions_enabled().unwrap_or(true),
        alarm_actions: set(alarm.alarm_actions()),
        ok_actions: set(alarm.ok_actions()),
        insufficient_data_actions: set(alarm.insufficient_data_actions()),
        beyond: beyond(alarm),
    }
}

fn beyond(alarm: &MetricAlarm) -> BTreeSet<&'static str> {
    let parts = [
        ("unit", alarm.unit().is_some()),
        ("metric math", !alarm.metrics().is_empty()),
        ("anomaly detection", alarm.threshold_metric_id().is_some()),
        ("query", alarm.evaluation_criteria().is_some()),
    ];
    let there = parts.into_iter().filter(|(_, there)| *there);
    there.map(|(name, _)| name).collect()
}
