//! SNS: the message that CloudWatch itself publishes, field by field, so that what subscribes to
//! its topics works unchanged.

use aws_smithy_types::retry::RetryConfig;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::outcome::{Again, Outcome};
use crate::aws::{Aws, Failure, Kind, Permission};
use crate::config::TopicArn;
use crate::model::alarm::{Statistic, Transition};
use crate::model::minute::encoded;

/// A subject has fewer characters than this, all printable ASCII (SNS: Publish).
const MAX_SUBJECT: usize = 100;

/// A topic of SNS.
#[derive(Debug)]
pub(super) struct Sns {
    pub(super) topic: TopicArn,
    pub(super) aws: Aws,
    /// When the alarms were read.
    pub(super) configured: Timestamp,
}

impl Sns {
    pub(super) async fn send(&self, transition: &Transition) -> Outcome {
        let config = match self.aws.config_in(None, &self.topic.region).await {
            Ok(config) => config,
            Err(trouble) => return again(trouble.to_string(), false),
        };
        let sent = aws_sdk_sns::Client::new(&config)
            .publish()
            .topic_arn(&self.topic.arn)
            .subject(subject(transition, &self.topic))
            .message(message(transition, &self.topic, self.configured))
            .customize()
            // The SDK would send again what may have been taken.
            .config_override(
                aws_sdk_sns::config::Builder::new().retry_config(RetryConfig::disabled()),
            )
            .send()
            .await;
        let permission = Permission::on("sns:Publish", &self.topic.arn);
        match sent {
            Ok(_) => {
                self.aws.note(&permission, Ok(()));
                Outcome::Taken
            }
            Err(error) => {
                let failure = Failure::of(&error);
                self.aws.note(&permission, Err(&failure));
                outcome(&failure)
            }
        }
    }
}

fn again(why: String, is_fate_unknown: bool) -> Outcome {
    Outcome::Again(Again {
        why,
        wish: None,
        is_fate_unknown,
    })
}

/// What may be mended on AWS' side is worth another attempt: a permission, a topic.
fn outcome(failure: &Failure) -> Outcome {
    let is_invalid = failure.kind == Kind::Invalid || failure.code.starts_with("InvalidParameter");
    match failure.kind {
        _ if is_invalid => Outcome::Unfit(failure.to_string()),
        Kind::TooLarge => Outcome::Unfit(failure.to_string()),
        kind => again(failure.to_string(), kind == Kind::Lost),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    alarm_name: &'a str,
    alarm_description: Option<&'a str>,
    #[serde(rename = "AWSAccountId")]
    account: &'a str,
    alarm_configuration_updated_timestamp: String,
    new_state_value: &'a str,
    new_state_reason: &'a str,
    state_change_time: String,
    region: &'a str,
    alarm_arn: String,
    old_state_value: &'a str,
    #[serde(rename = "OKActions")]
    ok_actions: &'a [String],
    alarm_actions: &'a [String],
    insufficient_data_actions: &'a [String],
    trigger: Trigger<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Trigger<'a> {
    metric_name: &'a str,
    namespace: &'a str,
    statistic_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extended_statistic: Option<String>,
    unit: Option<&'a str>,
    dimensions: Vec<Dimension<'a>>,
    period: u32,
    evaluation_periods: u32,
    datapoints_to_alarm: u32,
    comparison_operator: &'a str,
    threshold: f64,
    treat_missing_data: &'a str,
    evaluate_low_sample_count_percentile: &'a str,
}

/// CloudWatch writes these two in lower case, and nothing else.
#[derive(Serialize)]
struct Dimension<'a> {
    value: String,
    name: &'a str,
}

/// The message as JSON, its fields in CloudWatch's order.
pub(super) fn message(transition: &Transition, topic: &TopicArn, configured: Timestamp) -> String {
    let alarm = &transition.alarm;
    let (partition, region, account) = (&topic.partition, &topic.region, &topic.account);
    let statistic = upper_case(alarm.statistic);
    let message = Message {
        alarm_name: &alarm.name,
        alarm_description: (!alarm.description.is_empty()).then_some(&alarm.description),
        account,
        alarm_configuration_updated_timestamp: time(configured),
        new_state_value: transition.to.name(),
        new_state_reason: &transition.reason,
        state_change_time: time(transition.at),
        region: region_name(region),
        alarm_arn: format!(
            "arn:{partition}:cloudwatch:{region}:{account}:alarm:{}",
            alarm.name
        ),
        old_state_value: transition.from.name(),
        ok_actions: &alarm.actions.ok,
        alarm_actions: &alarm.actions.alarm,
        insufficient_data_actions: &alarm.actions.insufficient_data,
        trigger: Trigger {
            metric_name: &alarm.metric,
            namespace: &alarm.namespace,
            statistic_type: if statistic.is_some() {
                "Statistic"
            } else {
                "ExtendedStatistic"
            },
            statistic,
            extended_statistic: statistic.is_none().then(|| alarm.statistic.name()),
            unit: None,
            dimensions: alarm
                .dimensions
                .iter()
                .map(|(name, value)| Dimension {
                    value: encoded(value),
                    name,
                })
                .collect(),
            period: alarm.period_seconds,
            evaluation_periods: alarm.evaluation_periods,
            datapoints_to_alarm: alarm.datapoints_to_alarm,
            comparison_operator: alarm.comparison.name(),
            threshold: alarm.threshold,
            treat_missing_data: alarm.missing_data.name(),
            evaluate_low_sample_count_percentile: if alarm.evaluates_low_samples {
                ""
            } else {
                "ignore"
            },
        },
    };
    serde_json::to_string(&message).expect("all keys are texts")
}

fn upper_case(statistic: Statistic) -> Option<&'static str> {
    match statistic {
        Statistic::SampleCount => Some("SAMPLE_COUNT"),
        Statistic::Average => Some("AVERAGE"),
        Statistic::Sum => Some("SUM"),
        Statistic::Minimum => Some("MINIMUM"),
        Statistic::Maximum => Some("MAXIMUM"),
        Statistic::Percentile(_) => None,
    }
}

/// `2026-11-22T12:00:00.000+0000`: without a colon in the offset.
fn time(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f%z").to_string()
}

/// `ALARM: "NAME" in REGION`; what does not fit is cut from the name.
pub(super) fn subject(transition: &Transition, topic: &TopicArn) -> String {
    let printable = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    let name: String = transition.alarm.name.chars().map(printable).collect();
    let around = |name: &str| {
        let state = transition.to.name();
        format!("{state}: \"{name}\" in {}", region_name(&topic.region))
    };
    let room = (MAX_SUBJECT - 1).saturating_sub(around("").len());
    around(&super::message::cut(&name, room))
}

/// Regions by their code (AWS: regions and zones).
const REGIONS: &[(&str, &str)] = &[
    ("af-south-1", "Africa (Cape Town)"),
    ("ap-east-1", "Asia Pacific (Hong Kong)"),
    ("ap-northeast-1", "Asia Pacific (Tokyo)"),
    ("ap-northeast-2", "Asia Pacific (Seoul)"),
    ("ap-northeast-3", "Asia Pacific (Osaka)"),
    ("ap-south-1", "Asia Pacific (Mumbai)"),
    ("ap-south-2", "Asia Pacific (Hyderabad)"),
    ("ap-southeast-1", "Asia Pacific (Singapore)"),
    ("ap-southeast-2", "Asia Pacific (Sydney)"),
    ("ap-southeast-3", "Asia Pacific (Jakarta)"),
    ("ap-southeast-4", "Asia Pacific (Melbourne)"),
    ("ap-southeast-5", "Asia Pacific (Malaysia)"),
    ("ap-southeast-7", "Asia Pacific (Thailand)"),
    ("ca-central-1", "Canada (Central)"),
    ("ca-west-1", "Canada West (Calgary)"),
    ("cn-north-1", "China (Beijing)"),
    ("cn-northwest-1", "China (Ningxia)"),
    ("eu-central-1", "EU (Frankfurt)"),
    ("eu-central-2", "Europe (Zurich)"),
    ("eu-north-1", "EU (Stockholm)"),
    ("eu-south-1", "EU (Milan)"),
    ("eu-south-2", "Europe (Spain)"),
    ("eu-west-1", "EU (Ireland)"),
    ("eu-west-2", "EU (London)"),
    ("eu-west-3", "EU (Paris)"),
    ("il-central-1", "Israel (Tel Aviv)"),
    ("me-central-1", "Middle East (UAE)"),
    ("me-south-1", "Middle East (Bahrain)"),
    ("mx-central-1", "Mexico (Central)"),
    ("sa-east-1", "South America (Sao Paulo)"),
    ("us-east-1", "US East (N. Virginia)"),
    ("us-east-2", "US East (Ohio)"),
    ("us-gov-east-1", "AWS GovCloud (US-East)"),
    ("us-gov-west-1", "AWS GovCloud (US-West)"),
    ("us-west-1", "US West (N. California)"),
    ("us-west-2", "US West (Oregon)"),
];

/// The long name; a region that is not in the table keeps its code.
fn region_name(code: &str) -> &str {
    let known = REGIONS.iter().find(|(known, _)| *known == code);
    known.map_or(code, |(_, name)| name)
}
