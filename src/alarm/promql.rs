//! What a statistic of a minute metric is in `PromQL`, over what `/metrics` shows.
//!
//! The table [`SOURCES`] says from which exported metric each minute metric comes. All expressions
//! have one series without labels, so that they can be compared and joined.

use std::fmt::Write as _;

use super::render::{quoted, window};
use crate::model::alarm::{Alarm, Statistic};
use crate::model::minute;

/// A statistic over one period, and what is not as in CloudWatch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) value: String,
    /// What has to hold too: that a percentile has enough samples.
    pub(super) guard: Option<String>,
    /// Sentences.
    pub(super) differences: Vec<&'static str>,
}

/// An exported metric, and the part of its series that is meant.
#[derive(Clone, Copy)]
struct Series {
    name: &'static str,
    matchers: &'static str,
}

/// How the values of a minute metric can be had from what is exported.
enum Source {
    /// 100 for each request of `bad` among those of `all`, else 0.
    Share { bad: Series, all: Series },
    /// A counter that is 0 while nothing happens.
    Counter(Series),
    /// A histogram in seconds; the minute metric has milliseconds.
    Histogram(&'static str),
    /// A gauge times a factor; the largest if there are several.
    Gauge(Series, u32),
    /// The time since what a gauge tells.
    Since(&'static str),
}

struct Row {
    metric: &'static str,
    source: Source,
    /// The dimensions that are labels here.
    dimensions: &'static [&'static str],
}

const fn series(name: &'static str, matchers: &'static str) -> Series {
    Series { name, matchers }
}

const fn row(metric: &'static str, source: Source, dimensions: &'static [&'static str]) -> Row {
    Row {
        metric,
        source,
        dimensions,
    }
}

const fn counter(metric: &'static str, series: Series, dimensions: &'static [&'static str]) -> Row {
    row(metric, Source::Counter(series), dimensions)
}

const fn gauge(metric: &'static str, name: &'static str, matchers: &'static str) -> Row {
    row(metric, Source::Gauge(series(name, matchers), 1), &[])
}

const fn percent(metric: &'static str, name: &'static str) -> Row {
    row(metric, Source::Gauge(series(name, ""), 100), &[])
}

const BY_MODEL: &[&str] = &["provider", "model"];

const REQUESTS: &str = "claude_code_api_requests_total";
const BURN_RATE: &str = "claude_code_error_budget_burn_rate";

/// Shows that tallyd was there, so that a counter without series is 0 and not missing.
const ALIVE: &str = "max(tallyd_build_info)";

/// Every minute metric that `/metrics` has too.
const SOURCES: &[Row] = &[
    counter("requests_per_minute", series(REQUESTS, ""), BY_MODEL),
    counter(
        "tokens_processed",
        series("claude_code_token_usage_tokens_total", ""),
        &["provider", "model", "team"],
    ),
    counter(
        "unpriced_tokens",
        series("claude_code_unpriced_tokens_total", ""),
        &[],
    ),
    gauge("active_users", "claude_code_active_users", "window=\"5m\""),
    row(
        "error_rate",
        Source::Share {
            bad: series(REQUESTS, "outcome=\"error\""),
            all: series(REQUESTS, ""),
        },
        BY_MODEL,
    ),
    row(
        "response_time",
        Source::Histogram("claude_code_api_request_duration_seconds"),
        BY_MODEL,
    ),
    row(
        "time_to_first_token",
        Source::Histogram("claude_code_time_to_first_token_seconds"),
        BY_MODEL,
    ),
    counter(
        "throttled_requests",
        series("claude_code_throttled_requests_total", ""),
        BY_MODEL,
    ),
    percent("cpu_utilization", "system_cpu_utilization_ratio"),
    percent("memory_utilization", "system_memory_utilization_ratio"),
    percent("disk_utilization", "tallyd_ledger_disk_utilization_ratio"),
    counter(
        "code_lines_generated",
        series("claude_code_lines_of_code_count_total", "type=\"added\""),
        &["model", "team"],
    ),
    percent("error_share", "claude_code_error_share_ratio"),
    gauge("error_budget_burn_rate_fast", BURN_RATE, "window=\"fast\""),
    gauge("error_budget_burn_rate_slow", BURN_RATE, "window=\"slow\""),
    gauge(
        "telemetry_silent_seconds",
        "tallyd_telemetry_silent_seconds",
        "",
    ),
    gauge(
        "cloudwatch_backlog_seconds",
        "tallyd_cloudwatch_backlog_seconds",
        "",
    ),
    counter(
        "cloudwatch_datapoints_lost",
        series(
            "tallyd_cloudwatch_datapoints_total",
            "result=~\"rejected|expired\"",
        ),
        &[],
    ),
    row(
        "backup_age_seconds",
        Source::Since("tallyd_backup_last_success_timestamp_seconds"),
        &[],
    ),
    percent("budget_forecast", "tallyd_budget_forecast_ratio"),
    gauge(
        "budget_burn_rate_fast",
        "tallyd_budget_burn_rate",
        "window=\"fast\"",
    ),
    gauge(
        "budget_burn_rate_slow",
        "tallyd_budget_burn_rate",
        "window=\"slow\"",
    ),
    gauge("cost_anomalies", "tallyd_cost_anomalies", ""),
    percent("reconciliation_delta", "tallyd_reconciliation_delta_ratio"),
    percent(
        "quota_pool_utilization",
        "tallyd_quota_pool_utilization_ratio",
    ),
    counter(
        "quota_undecided_requests",
        series("tallyd_quota_decisions_total", "decision=\"unavailable\""),
        &[],
    ),
];

const EXTRAPOLATED: &str = "Increases are estimated from the scrapes within the period.";
const BEGINNING: &str = "What a series shows when it is first scraped is not seen as an increase.";
const INTERPOLATED: &str = "Percentiles are interpolated within the buckets of the histogram.";

/// What an alarm compares, over one of its periods; else why there is no such thing.
pub(super) fn query(alarm: &Alarm) -> Result<Query, String> {
    let metric = &alarm.metric;
    if alarm.namespace.starts_with("AWS/") || minute::find(metric).is_none() {
        return Err(format!(
            "tallyd does not measure {metric} in {}",
            alarm.namespace
        ));
    }
    let row = SOURCES
        .iter()
        .find(|row| row.metric == metric)
        .ok_or_else(|| format!("{metric} is not in /metrics"))?;
    let matchers = dimensions(alarm, row)?;
    let seconds = alarm.period_seconds;
    let value = match &row.source {
        Source::Share { bad, all } => share(alarm.statistic, *bad, *all, &matchers, seconds),
        Source::Counter(series) => total(alarm.statistic, *series, &matchers, seconds),
        Source::Histogram(name) => distribution(alarm, name, &matchers),
        Source::Gauge(series, factor) => {
            let value = format!("max({}{})", series.name, braces(series.matchers, &matchers));
            Some(sampled(alarm.statistic, &value, *factor, seconds))
        }
        Source::Since(name) => {
            let value = format!("time() - max({name})");
            Some(sampled(alarm.statistic, &value, 1, seconds))
        }
    };
    let value = value.ok_or_else(|| {
        let name = alarm.statistic.name();
        format!("/metrics does not tell the statistic {name} of {metric}")
    })?;
    let mut differences = Vec::new();
    if value.contains("increase(") {
        differences.push(EXTRAPOLATED);
        if !matches!(row.source, Source::Counter(_)) {
            differences.push(BEGINNING);
        }
    }
    if value.contains("histogram_quantile(") {
        differences.push(INTERPOLATED);
    }
    Ok(Query {
        value,
        guard: guard(alarm, &row.source, &matchers),
        differences,
    })
}

/// That there are samples enough for a percentile, over all periods together.
fn guard(alarm: &Alarm, source: &Source, matchers: &str) -> Option<String> {
    let (Source::Histogram(name), false) = (source, alarm.evaluates_low_samples) else {
        return None;
    };
    let enough = alarm.statistic.enough_samples();
    if enough == 0.0 {
        return None;
    }
    let seconds = u64::from(alarm.period_seconds) * u64::from(alarm.evaluation_periods);
    let matchers = braces("", matchers);
    // A float adds a little to 1,000 / (100 - 99.9).
    let enough = (enough * 1e3).round() / 1e3;
    Some(format!(
        "sum(increase({name}_count{matchers}[{seconds}s])) >= {enough}"
    ))
}

/// Matchers for the alarm's dimensions.
fn dimensions(alarm: &Alarm, row: &Row) -> Result<String, String> {
    let mut matchers = String::new();
    for (name, value) in &alarm.dimensions {
        if !row.dimensions.contains(&name.as_str()) {
            return Err(format!("{} has no label {name} in /metrics", alarm.metric));
        }
        let comma = if matchers.is_empty() { "" } else { "," };
        let _ = write!(matchers, "{comma}{name}={}", quoted(value));
    }
    Ok(matchers)
}

fn braces(fixed: &str, more: &str) -> String {
    match (fixed, more) {
        ("", "") => String::new(),
        ("", only) | (only, "") => format!("{{{only}}}"),
        (fixed, more) => format!("{{{fixed},{more}}}"),
    }
}

fn increase(series: Series, matchers: &str, seconds: u32) -> String {
    let matchers = braces(series.matchers, matchers);
    format!("sum(increase({}{matchers}[{seconds}s]))", series.name)
}

fn share(
    statistic: Statistic,
    bad: Series,
    all: Series,
    matchers: &str,
    seconds: u32,
) -> Option<String> {
    let bad = increase(bad, matchers, seconds);
    let all = increase(all, matchers, seconds);
    match statistic {
        Statistic::Average => Some(format!("100 * ({bad} or vector(0)) / ({all} > 0)")),
        Statistic::Sum => Some(format!("100 * ({bad} or vector(0)) and {all} > 0")),
        Statistic::SampleCount => Some(format!("{all} > 0")),
        Statistic::Minimum | Statistic::Maximum | Statistic::Percentile(_) => None,
    }
}

/// A counter's growth, one value a minute.
///
/// Unlike `increase`, it counts the first value of a series that begins while tallyd is watched:
/// what is rare begins with what an alarm is for.
fn total(statistic: Statistic, series: Series, matchers: &str, seconds: u32) -> Option<String> {
    let grown = increase(series, matchers, seconds);
    let selector = format!("{}{}", series.name, braces(series.matchers, matchers));
    let born = format!(
        "sum((min_over_time({selector}[{seconds}s]) unless {selector} offset {seconds}s) \
         and on() tallyd_build_info offset {seconds}s)"
    );
    let sum = format!("({grown} or 0 * {ALIVE}) + ({born} or 0 * {ALIVE})");
    match statistic {
        Statistic::Sum => Some(sum),
        Statistic::Average => Some(format!("({sum}) / {}", f64::from(seconds) / 60.0)),
        Statistic::SampleCount => {
            let range = window(u64::from(seconds));
            Some(format!("count_over_time({ALIVE}[{range}:60s])"))
        }
        Statistic::Minimum | Statistic::Maximum | Statistic::Percentile(_) => None,
    }
}

fn distribution(alarm: &Alarm, name: &str, matchers: &str) -> Option<String> {
    let range = format!("{}[{}s]", braces("", matchers), alarm.period_seconds);
    let count = format!("sum(increase({name}_count{range}))");
    let sum = format!("1000 * sum(increase({name}_sum{range}))");
    match alarm.statistic {
        Statistic::Average => Some(format!("{sum} / ({count} > 0)")),
        Statistic::Sum => Some(format!("{sum} and {count} > 0")),
        Statistic::SampleCount => Some(format!("{count} > 0")),
        Statistic::Percentile(percent) => {
            let share = (percent * 1e6).round() / 1e8;
            Some(format!(
                "1000 * histogram_quantile({share}, sum by (le) (increase({name}_bucket{range}))) \
                 and {count} > 0"
            ))
        }
        Statistic::Minimum | Statistic::Maximum => None,
    }
}

/// A gauge that is looked at every minute.
fn sampled(statistic: Statistic, value: &str, factor: u32, seconds: u32) -> String {
    let range = format!("[{}:60s]", window(u64::from(seconds)));
    let over = match statistic {
        Statistic::SampleCount => return format!("count_over_time(({value}){range})"),
        Statistic::Average => format!("avg_over_time(({value}){range})"),
        Statistic::Sum => format!("sum_over_time(({value}){range})"),
        Statistic::Minimum => format!("min_over_time(({value}){range})"),
        Statistic::Maximum => format!("max_over_time(({value}){range})"),
        Statistic::Percentile(percent) => {
            let share = (percent * 1e6).round() / 1e8;
            format!("quantile_over_time({share}, ({value}){range})")
        }
    };
    if factor == 1 {
        over
    } else {
        format!("{factor} * {over}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::alarm::{Actions, Comparison, MissingData};
    use crate::model::catalogue;
    use crate::model::minute::MINUTE_METRICS;

    const ALL: [Statistic; 6] = [
        Statistic::SampleCount,
        Statistic::Average,
        Statistic::Sum,
        Statistic::Minimum,
        Statistic::Maximum,
        Statistic::Percentile(99.0),
    ];

    /// Minute metrics that no scrape shows.
    const ELSEWHERE: [&str; 3] = ["bugs_fixed", "time_saved_minutes", "cost_savings_usd"];

    fn alarm(metric: &str, statistic: Statistic) -> Alarm {
        Alarm {
            name: "A".to_owned(),
            description: String::new(),
            metric: metric.to_owned(),
            namespace: minute::NAMESPACE.to_owned(),
            dimensions: BTreeMap::new(),
            statistic,
            period_seconds: 300,
            evaluation_periods: 1,
            datapoints_to_alarm: 1,
            threshold: 0.0,
            comparison: Comparison::GreaterThan,
            missing_data: MissingData::Missing,
            evaluates_low_samples: false,
            actions: Actions::default(),
            severity: String::new(),
            runbook: None,
        }
    }

    fn value(metric: &str, statistic: Statistic) -> String {
        query(&alarm(metric, statistic)).unwrap().value
    }

    #[test]
    fn every_minute_metric_has_a_source_or_is_known_to_have_none() {
        for metric in MINUTE_METRICS {
            let listed = SOURCES.iter().any(|row| row.metric == metric.name);
            assert_eq!(listed, !ELSEWHERE.contains(&metric.name), "{}", metric.name);
        }
    }

    #[test]
    fn sources_are_exported_with_these_labels() {
        let exported = |name: &str, labels: &[&str]| {
            let desc = catalogue::find(name).unwrap_or_else(|| panic!("{name} is not exported"));
            for label in labels {
                assert!(desc.labels.contains(label), "{name} has no label {label}");
            }
        };
        exported("tallyd_build_info", &[]);
        for row in SOURCES {
            match &row.source {
                Source::Share { bad, all } => {
                    exported(bad.name, row.dimensions);
                    exported(all.name, row.dimensions);
                }
                Source::Counter(series) | Source::Gauge(series, _) => {
                    exported(series.name, row.dimensions);
                }
                Source::Histogram(name) | Source::Since(name) => exported(name, row.dimensions),
            }
        }
    }

    #[test]
    fn the_share_of_failures_is_that_of_the_requests_in_the_period() {
        assert_eq!(
            value("error_rate", Statistic::Average),
            "100 * (sum(increase(claude_code_api_requests_total{outcome=\"error\"}[300s])) or \
             vector(0)) / (sum(increase(claude_code_api_requests_total\
             [300s])) > 0)"
        );
    }

    #[test]
    fn times_come_from_histograms_in_milliseconds() {
        let name = "claude_code_api_request_duration_seconds";
        assert_eq!(
            value("response_time", Statistic::Average),
            format!(
                "1000 * sum(increase({name}_sum[300s])) / (sum(increase({name}_count[300s])) > 0)"
            )
        );
        assert_eq!(
            value("response_time", Statistic::Percentile(99.9)),
            format!(
                "1000 * histogram_quantile(0.999, sum by (le) (increase({name}_bucket[300s]))) \
                 and sum(increase({name}_count[300s])) > 0"
            )
        );
    }

    #[test]
    fn a_total_is_zero_while_tallyd_is_there() {
        assert_eq!(
            value("throttled_requests", Statistic::Sum),
            "(sum(increase(claude_code_throttled_requests_total[300s])) or 0 * \
             max(tallyd_build_info)) + (sum((min_over_time(claude_code_throttled_requests_total\
             [300s]) unless claude_code_throttled_requests_total offset 300s) and on() \
             tallyd_build_info offset 300s) or 0 * max(tallyd_build_info))"
        );
        assert_eq!(
            value("requests_per_minute", Statistic::SampleCount),
            "count_over_time(max(tallyd_build_info)[299999ms:60s])"
        );
    }

    #[test]
    fn dimensions_become_matchers() {
        let mut alarm = alarm("error_rate", Statistic::SampleCount);
        alarm.dimensions = BTreeMap::from([("model".to_owned(), "a\"b".to_owned())]);
        assert_eq!(
            query(&alarm).unwrap().value,
            "sum(increase(claude_code_api_requests_total{model=\"a\\\"b\"}\
             [300s])) > 0"
        );
        alarm.metric = "tokens_processed".to_owned();
        alarm.statistic = Statistic::Sum;
        alarm.dimensions = BTreeMap::from([("team".to_owned(), "決済\u{301}".to_owned())]);
        let tokens = query(&alarm).unwrap().value;
        assert!(tokens.contains("{team=\"決済\u{301}\"}"), "{tokens}");
        alarm.metric = "error_rate".to_owned();
        alarm.statistic = Statistic::SampleCount;
        alarm.dimensions = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let reason = "error_rate has no label team in /metrics";
        assert_eq!(query(&alarm), Err(reason.to_owned()));
    }

    #[test]
    fn every_gauge_has_every_statistic() {
        for row in SOURCES {
            if let Source::Gauge(..) | Source::Since(_) = row.source {
                for statistic in ALL {
                    assert!(query(&alarm(row.metric, statistic)).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_statistic_that_cannot_be_had_is_refused() {
        let reason = "/metrics does not tell the statistic p99 of error_rate";
        let refused = query(&alarm("error_rate", Statistic::Percentile(99.0)));
        assert_eq!(refused, Err(reason.to_owned()));
    }
}
