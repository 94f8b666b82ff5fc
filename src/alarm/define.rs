//! From the properties of an `AWS::CloudWatch::Alarm` to an [`Alarm`], within CloudWatch's limits.
//!
//! AWS: `PutMetricAlarm`; template reference, `AWS::CloudWatch::Alarm`.

use std::collections::{BTreeMap, BTreeSet};

use super::action::actions;
use super::fault::{Faults, hint, is_near};
use super::properties::Properties;
use super::resolve::{Known, Shape};
use crate::model::alarm::{Alarm, Comparison, MissingData, Statistic};
use crate::model::minute::{self, DIMENSIONED, Dimension, MINUTE_METRICS};

const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 1024;
const MAX_DIMENSIONS: usize = 30;
const MAX_TAGS: usize = 50;

/// What all periods together may span: a day, and a week for periods of an hour and more.
const DAY_SECONDS: u64 = 86_400;
const WEEK_SECONDS: u64 = 7 * DAY_SECONDS;
const HOUR_SECONDS: u32 = 3600;

/// What is measured here, so that an alarm on anything else is seen at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The namespace of tallyd's own metrics.
    pub namespace: String,
    /// The dimension sets that have series besides the totals; `None` if that is not known.
    pub dimensions: Option<Vec<BTreeSet<Dimension>>>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            namespace: minute::NAMESPACE.to_owned(),
            dimensions: None,
        }
    }
}

/// What a template says of an alarm besides the alarm itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Defined {
    pub alarm: Alarm,
    pub tags: BTreeMap<String, String>,
    /// What may be meant otherwise: its property, and what to say of it.
    pub warning: Option<(&'static str, String)>,
}

/// Properties that mark an alarm of another kind, and what to say of them.
const REFUSED: [(&str, &str); 7] = [
    (
        "Metrics",
        "metric math is not supported: alarm on one metric; what one comparison cannot say is there as a ready gauge",
    ),
    (
        "ThresholdMetricId",
        "anomaly detection is not supported: give a Threshold",
    ),
    (
        "EvaluationCriteria",
        "PromQL alarms are not supported: alarm on one metric",
    ),
    (
        "EvaluationInterval",
        "PromQL alarms are not supported: alarm on one metric",
    ),
    ("EvaluationWindow", "is not supported: the window slides"),
    ("WarmUpConfiguration", "is not supported"),
    ("EvaluationWindows", "is not supported: the window slides"),
];

const KNOWN: [&str; 20] = [
    "ActionsEnabled",
    "AlarmActions",
    "AlarmDescription",
    "AlarmName",
    "ComparisonOperator",
    "DatapointsToAlarm",
    "Dimensions",
    "EvaluateLowSampleCountPercentile",
    "EvaluationPeriods",
    "ExtendedStatistic",
    "InsufficientDataActions",
    "MetricName",
    "Namespace",
    "OKActions",
    "Period",
    "Statistic",
    "Tags",
    "Threshold",
    "TreatMissingData",
    "Unit",
];

/// Reads an alarm; nothing after a fault.
pub(super) fn define(known: &Known, measured: &Measured, faults: &mut Faults) -> Option<Defined> {
    let before = faults.len();
    let Shape::Map(entries) = &known.shape else {
        if known.shape != Shape::Faulty {
            faults.add(known.line, "Properties", "must be a map");
        }
        return None;
    };
    let mut properties = Properties::new(known.line, entries, faults);
    properties.refuse(&REFUSED, &KNOWN);
    // A kind of alarm that is not supported lacks what others need; that need not be told too.
    if REFUSED.iter().any(|(name, _)| properties.has(name)) {
        return None;
    }
    let name = name(&mut properties);
    let statistic = statistic(&mut properties);
    let windows = windows(&mut properties);
    let namespace = namespace(&mut properties);
    let metric = properties.needed("MetricName");
    let is_ours = namespace.as_ref() == Some(&measured.namespace);
    let dimensions = dimensions(&mut properties, is_ours);
    if let (Some(namespace), Some(metric)) = (&namespace, &metric) {
        check_metric(&mut properties, measured, namespace, metric, &dimensions);
    }
    let comparison = comparison(&mut properties);
    let threshold = properties.number::<f64>("Threshold", "a number");
    let missing = properties.word("TreatMissingData", MissingData::parse, &names_of_missing());
    let low = properties.word(
        "EvaluateLowSampleCountPercentile",
        |word| match word {
            "evaluate" => Some(true),
            "ignore" => Some(false),
            _ => None,
        },
        &["evaluate", "ignore"],
    );
    let is_percentile = matches!(statistic, Some(Statistic::Percentile(_)) | None);
    if low.is_some() && !is_percentile {
        let message = "goes with ExtendedStatistic only";
        properties.fault("EvaluateLowSampleCountPercentile", message);
    }
    let description = description(&mut properties);
    let actions = actions(&mut properties);
    let tags = tags(&mut properties);
    if faults.len() > before {
        return None;
    }
    let (period_seconds, evaluation_periods, datapoints_to_alarm) = windows?;
    let severity = tags.get("severity").cloned();
    let runbook = tags.get("runbook").cloned();
    let alarm = Alarm {
        name: name?,
        runbook: runbook.or_else(|| link(&description)),
        description,
        metric: metric?,
        namespace: namespace?,
        dimensions,
        statistic: statistic?,
        period_seconds,
        evaluation_periods,
        datapoints_to_alarm,
        threshold: threshold?,
        comparison: comparison?,
        missing_data: missing.unwrap_or_default(),
        evaluates_low_samples: low.unwrap_or(true),
        actions,
        severity: severity.unwrap_or_else(|| "warning".to_owned()),
    };
    let warning = (!is_ours && is_near(&alarm.namespace, &measured.namespace)).then(|| {
        let (theirs, ours) = (&alarm.namespace, &measured.namespace);
        let message = format!("{theirs} is not evaluated here; did you mean {ours}?");
        ("Namespace", message)
    });
    Some(Defined {
        alarm,
        tags,
        warning,
    })
}

fn name(properties: &mut Properties<'_>) -> Option<String> {
    if !properties.has("AlarmName") {
        let message = "is needed: CloudFormation would make up a name that nobody knows before";
        properties.fault("AlarmName", message);
        return None;
    }
    let name = properties.needed("AlarmName")?;
    let length = name.chars().count();
    if !(1..=MAX_NAME).contains(&length) {
        let message = format!("must have 1 to {MAX_NAME} characters, got {length}");
        properties.fault("AlarmName", message);
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        properties.fault("AlarmName", "must not have control characters");
    }
    Some(name)
}

fn description(properties: &mut Properties<'_>) -> String {
    let description = properties.text("AlarmDescription").unwrap_or_default();
    let length = description.chars().count();
    if length > MAX_DESCRIPTION {
        let message = format!("must have at most {MAX_DESCRIPTION} characters, got {length}");
        properties.fault("AlarmDescription", message);
    }
    description
}

/// The first link of a description: to the runbook, by convention.
fn link(description: &str) -> Option<String> {
    let start = description
        .find("https://")
        .or_else(|| description.find("http://"))?;
    let rest = &description[start..];
    let end = rest.find(|c: char| c.is_whitespace() || "<>\"'".contains(c));
    let link = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', ',', ';', ')', '!']);
    Some(link.to_owned())
}

fn statistic(properties: &mut Properties<'_>) -> Option<Statistic> {
    match (
        properties.has("Statistic"),
        properties.has("ExtendedStatistic"),
    ) {
        (true, true) => {
            let message = "give either Statistic or ExtendedStatistic, not both";
            properties.fault("ExtendedStatistic", message);
            None
        }
        (false, false) => {
            properties.fault("Statistic", "is needed, or ExtendedStatistic");
            None
        }
        (true, false) => properties.word(
            "Statistic",
            Statistic::parse_simple,
            &["SampleCount", "Average", "Sum", "Minimum", "Maximum"],
        ),
        (false, true) => {
            let text = properties.needed("ExtendedStatistic")?;
            let read = Statistic::parse_percentile(&text);
            if read.is_none() {
                let message = format!(
                    "must be a percentile such as p95 or p99.9 (more than p0, less than p100; \
                     trimmed statistics are not supported), got {text}"
                );
                properties.fault("ExtendedStatistic", message);
            }
            read
        }
    }
}

/// Period, N and M.
fn windows(properties: &mut Properties<'_>) -> Option<(u32, u32, u32)> {
    let period = properties.number::<u32>("Period", "a number of seconds");
    let period = period.filter(|period| {
        let good = matches!(period, 10 | 20 | 30) || (*period >= 60 && period % 60 == 0);
        if !good {
            let message = format!("must be 10, 20, 30 or a multiple of 60, got {period}");
            properties.fault("Period", message);
        }
        good
    });
    let whole = "a whole number of at least 1";
    let n = properties.number::<u32>("EvaluationPeriods", whole);
    let n = n.filter(|n| properties.must(*n >= 1, "EvaluationPeriods", whole));
    let m = if properties.has("DatapointsToAlarm") {
        let m = properties.number::<u32>("DatapointsToAlarm", whole);
        m.filter(|m| properties.must(*m >= 1, "DatapointsToAlarm", whole))
    } else {
        n
    };
    if let (Some(n), Some(m)) = (n, m)
        && m > n
    {
        let message = format!("must be at most EvaluationPeriods ({n}), got {m}");
        properties.fault("DatapointsToAlarm", message);
    }
    if let (Some(period), Some(n)) = (period, n) {
        let (most, when) = match period {
            HOUR_SECONDS.. => (WEEK_SECONDS, "of an hour and more"),
            _ => (DAY_SECONDS, "of less than an hour"),
        };
        let span = u64::from(period) * u64::from(n);
        if span > most {
            let message = format!(
                "{n} periods of {period} s are {span} s; periods {when} may span at most {most} s"
            );
            properties.fault("EvaluationPeriods", message);
        }
    }
    Some((period?, n?, m?))
}

fn namespace(properties: &mut Properties<'_>) -> Option<String> {
    let namespace = properties.needed("Namespace")?;
    if !(1..=MAX_NAME).contains(&namespace.len())
        || !namespace.is_ascii()
        || namespace.starts_with(':')
    {
        let message =
            format!("must have 1 to {MAX_NAME} ASCII characters and not begin with a colon");
        properties.fault("Namespace", message);
    }
    Some(namespace)
}

/// Values of our own dimensions are had plainly, whichever way they are written.
fn dimensions(properties: &mut Properties<'_>, is_ours: bool) -> BTreeMap<String, String> {
    let mut dimensions = BTreeMap::new();
    let pairs = properties.pairs("Dimensions", "Name", "Value");
    if pairs.len() > MAX_DIMENSIONS {
        let message = format!("must be at most {MAX_DIMENSIONS}, got {}", pairs.len());
        properties.fault("Dimensions", message);
    }
    for (name, value) in pairs {
        let fits = |text: &str, most: usize| {
            (1..=most).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii() && !byte.is_ascii_control())
                && !text.trim().is_empty()
        };
        if !fits(&name, 255) || name.starts_with(':') {
            let message = format!(
                "the name {name:?} must have 1 to 255 ASCII characters and not begin with a colon"
            );
            properties.fault("Dimensions", message);
        }
        let (value, as_sent) = if is_ours && !value.trim().is_empty() {
            let value = minute::plain(&value);
            let as_sent = minute::encoded(&value);
            (value, as_sent)
        } else {
            (value.clone(), value)
        };
        if !fits(&as_sent, 1024) {
            let message = format!("the value of {name} must have 1 to 1024 ASCII characters");
            properties.fault("Dimensions", message);
        }
        if dimensions.insert(name.clone(), value).is_some() {
            properties.fault("Dimensions", format!("{name} is there twice"));
        }
    }
    dimensions
}

/// Holds an alarm on one of our metrics against what is measured.
fn check_metric(
    properties: &mut Properties<'_>,
    measured: &Measured,
    namespace: &str,
    name: &str,
    dimensions: &BTreeMap<String, String>,
) {
    let unit = properties.text("Unit");
    if namespace != measured.namespace {
        if unit.is_some() {
            let message = "leave it out: an alarm with a unit sees values of that unit only";
            properties.fault("Unit", message);
        }
        return;
    }
    let Some(metric) = minute::find(name) else {
        let hint = hint(name, MINUTE_METRICS.iter().map(|metric| metric.name));
        let message = format!("{namespace} has no metric {name}{hint}");
        properties.fault("MetricName", message);
        return;
    };
    if let Some(unit) = unit.filter(|unit| unit != metric.unit.name()) {
        let message = format!("{name} has the unit {}, not {unit}", metric.unit.name());
        properties.fault("Unit", message);
    }
    if let Some(period) = properties.peek_number("Period")
        && period < 60
    {
        let message =
            format!("{name} has one datapoint a minute: must be a multiple of 60, got {period}");
        properties.fault("Period", message);
    }
    if !dimensions.is_empty() && !DIMENSIONED.contains(&name) {
        let message = format!(
            "{name} is kept as a total only; by dimensions there are {}",
            DIMENSIONED.join(", ")
        );
        properties.fault("Dimensions", message);
        return;
    }
    let mut set = BTreeSet::new();
    for key in dimensions.keys() {
        if let Some(dimension) = Dimension::parse(key) {
            set.insert(dimension);
        } else {
            let known = hint(key, Dimension::ALL.map(Dimension::name));
            let message = format!("{namespace} has no dimension {key}{known}");
            properties.fault("Dimensions", message);
        }
    }
    let Some(known) = &measured.dimensions else {
        return;
    };
    if set.len() == dimensions.len() && !set.is_empty() && !known.contains(&set) {
        let names: Vec<_> = dimensions.keys().map(String::as_str).collect();
        let message = format!(
            "no series has the dimensions {}: configure the set, or alarm on another",
            names.join(", ")
        );
        properties.fault("Dimensions", message);
    }
}

fn comparison(properties: &mut Properties<'_>) -> Option<Comparison> {
    let text = properties.needed("ComparisonOperator")?;
    if text.contains("UpperThreshold") || text.contains("LowerThreshold") {
        let message = format!("{text}: anomaly detection is not supported");
        properties.fault("ComparisonOperator", message);
        return None;
    }
    let names = Comparison::ALL.map(Comparison::name);
    properties.word("ComparisonOperator", Comparison::parse, &names)
}

fn names_of_missing() -> [&'static str; 4] {
    MissingData::ALL.map(MissingData::name)
}

fn tags(properties: &mut Properties<'_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let pairs = properties.pairs("Tags", "Key", "Value");
    if pairs.len() > MAX_TAGS {
        properties.fault(
            "Tags",
            format!("must be at most {MAX_TAGS}, got {}", pairs.len()),
        );
    }
    for (key, value) in pairs {
        let length = key.chars().count();
        if !(1..=128).contains(&length) || key.starts_with("aws:") || value.chars().count() > 256 {
            let message = format!(
                "{key}: a key has 1 to 128 characters and does not begin with aws:, a value has at most 256"
            );
            properties.fault("Tags", message);
        }
        if tags.insert(key.clone(), value).is_some() {
            properties.fault("Tags", format!("{key} is there twice"));
        }
    }
    tags
}
