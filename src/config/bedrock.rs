//! `[bedrock]`: what Amazon Bedrock itself counted.

use std::time::Duration;

use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{count, duration, flag, text, texts};
use crate::model::money::PicoUsd;

/// How the metrics of Bedrock are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bedrock {
    pub enabled: bool,
    /// Length of a datapoint and time between two rounds: one or five minutes.
    pub period: Duration,
    /// Datapoints younger than this are not read: they still change.
    pub delay: Duration,
    /// How far each round reads back again, for values that came late.
    pub overlap: Duration,
    /// Of latency and time to first token.
    pub latency_statistics: Vec<String>,
    /// Regions of the own account; empty: the one of `[aws]`, unless accounts are named there.
    pub own_regions: Vec<String>,
    /// Models of other vendors, too.
    pub all_models: bool,
    /// Metrics read from one account and region in a round: each is billed.
    pub max_metrics: usize,
    /// Time that one account and region may take in a round.
    pub timeout: Duration,
    /// For 1,000 metrics read, and for 1,000 lists of metrics.
    pub price: PicoUsd,
}

/// Both are kept by CloudWatch for longer than the day that is read back at start.
const PERIODS: [Duration; 2] = [Duration::from_mins(1), Duration::from_mins(5)];
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
/// Values settle within ten minutes, and what is much older tells nothing of telemetry that is
/// silent now.
const LONGEST_DELAY: Duration = Duration::from_mins(15);
/// Reading back further each round costs time and corrects nothing.
const LONGEST_OVERLAP: Duration = Duration::from_hours(6);

pub(super) const SECTION: Section = Section {
    name: "bedrock",
    help: "What Amazon Bedrock counted, read from CloudWatch in every account of [[aws.accounts]].",
    settings: &[
        Setting::new(
            "enabled",
            "false",
            "Read it. Each metric that is read costs money (see docs/bedrock.md).",
        ),
        Setting::new(
            "period",
            r#""5m""#,
            "Length of a datapoint and time between two rounds, 1m or 5m.",
        ),
        Setting::new(
            "delay",
            r#""10m""#,
            "Datapoints younger than this are not read: they still change. Up to 15m.",
        ),
        Setting::new(
            "overlap",
            r#""30m""#,
            "How far each round reads back again, so that late values are corrected, up to 6h.",
        ),
        Setting::new(
            "latency_statistics",
            r#"["Average", "p90"]"#,
            "Statistics of latency and time to first token: Average, Minimum, Maximum, p0 to p100.",
        ),
        Setting::new(
            "own_regions",
            "[]",
            "Regions of tallyd's own account. Empty: the region of [aws] if [[aws.accounts]] names \
             no account, else none.",
        ),
        Setting::new(
            "all_models",
            "false",
            "Read models of other vendors than Anthropic, too.",
        ),
        Setting::new(
            "max_metrics",
            "500",
            "Metrics read from one account and region in a round at most; further ones are left \
             out and counted.",
        ),
        Setting::new(
            "timeout",
            r#""30s""#,
            "Time that one account and region may take in a round, less than period.",
        ),
        Setting::new(
            "price",
            r#""0.01""#,
            "Price in USD of 1,000 metrics read, and of 1,000 lists of metrics.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Bedrock {
    let mut section = reader.section(&SECTION);
    let bedrock = Bedrock {
        enabled: section.get("enabled", flag),
        period: section.get("period", period),
        delay: section.get("delay", |value| duration(value, Duration::ZERO)),
        overlap: section.get("overlap", |value| duration(value, Duration::ZERO)),
        latency_statistics: section.get("latency_statistics", statistics),
        own_regions: section.get("own_regions", regions),
        all_models: section.get("all_models", flag),
        max_metrics: section.get("max_metrics", |value| count(value, 1, 10_000)),
        timeout: section.get("timeout", |value| duration(value, SHORTEST_TIMEOUT)),
        price: section.get("price", price),
    };
    let show = humantime::format_duration;
    if bedrock.timeout >= bedrock.period {
        let (period, timeout) = (show(bedrock.period), show(bedrock.timeout));
        section.fault(
            "timeout",
            &format!("must be less than bedrock.period ({period}), got {timeout}"),
        );
    }
    for (key, value, longest) in [
        ("delay", bedrock.delay, LONGEST_DELAY),
        ("overlap", bedrock.overlap, LONGEST_OVERLAP),
    ] {
        if value > longest {
            let (longest, value) = (show(longest), show(value));
            section.fault(key, &format!("must be at most {longest}, got {value}"));
        }
    }
    bedrock
}

fn period(value: &Value) -> Converted<Duration> {
    match duration(value, Duration::ZERO) {
        Ok(period) if PERIODS.contains(&period) => Ok(period),
        _ => must_be("1m or 5m", value),
    }
}

/// Regions become part of host names.
fn regions(value: &Value) -> Converted<Vec<String>> {
    let regions = texts(value)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if regions.iter().all(|region| region.chars().all(plain)) {
        return Ok(regions);
    }
    must_be("regions such as eu-central-1", value)
}

fn price(value: &Value) -> Converted<PicoUsd> {
    match PicoUsd::parse(&text(value)?) {
        Ok(price) if price.0 >= 0 => Ok(price),
        _ => must_be("an amount in USD in quotes, such as \"0.01\"", value),
    }
}

fn statistics(value: &Value) -> Converted<Vec<String>> {
    let statistics = texts(value)?;
    let problems: Vec<_> = statistics
        .iter()
        .enumerate()
        .filter(|(_, name)| !is_statistic(name))
        .map(|(index, name)| Problem {
            at: format!("[{index}]"),
            message: "must be Average, Minimum, Maximum or a percentile such as p90".to_owned(),
            got: Some(name.clone()),
        })
        .collect();
    if problems.is_empty() {
        Ok(statistics)
    } else {
        Err(problems)
    }
}

fn is_statistic(name: &str) -> bool {
    if ["Average", "Minimum", "Maximum"].contains(&name) {
        return true;
    }
    let Some(number) = name.strip_prefix('p') else {
        return false;
    };
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain
        && number
            .parse::<f64>()
            .is_ok_and(|p| (0.0..=100.0).contains(&p))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};
    use super::*;

    #[test]
    fn faults_name_the_setting_and_the_mend() {
        let text = r#"
            [bedrock]
            period = "2m"
            delay = "7h"
            timeout = "10m"
            latency_statistics = ["p95", "average", "p101"]
            max_metrics = 0
        "#;
        let faults = Config::parse(text, &Environment::default()).unwrap_err().0;
        assert_eq!(
            faults,
            [
                "bedrock.period: must be 1m or 5m, got 2m",
                "bedrock.latency_statistics[1]: must be Average, Minimum, Maximum or a percentile \
                 such as p90, got average",
                "bedrock.latency_statistics[2]: must be Average, Minimum, Maximum or a percentile \
                 such as p90, got p101",
                "bedrock.max_metrics: must be a number from 1 to 10000, got 0",
                "bedrock.timeout: must be less than bedrock.period (5m), got 10m",
                "bedrock.delay: must be at most 15m, got 7h",
            ]
        );
    }

    #[test]
    fn reading_is_off_until_asked_for() {
        let config = Config::parse("", &Environment::default()).unwrap();
        assert_eq!(
            config.bedrock,
            Bedrock {
                enabled: false,
                period: Duration::from_mins(5),
                delay: Duration::from_mins(10),
                overlap: Duration::from_mins(30),
                latency_statistics: vec!["Average".to_owned(), "p90".to_owned()],
                own_regions: Vec::new(),
                all_models: false,
                max_metrics: 500,
                timeout: Duration::from_secs(30),
                price: PicoUsd(10_000_000_000),
            }
        );
    }
}
