//! `[cloudwatch]`: minutes that go to Amazon CloudWatch, and what that costs.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::Value;

use super::reader::{Converted, Problem, Reader, SectionReader, must_be};
use super::setting::{Section, Setting};
use super::value::{Row, choice, count, duration, flag, rows, text, texts};
use crate::model::minute::{DIMENSIONED, Dimension, MINUTE_METRICS, NAMESPACE};
use crate::model::money::PicoUsd;

/// What goes to CloudWatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudWatch {
    pub enabled: bool,
    /// Time between two rounds of sending.
    pub interval: Duration,
    pub namespace: String,
    /// Sets of dimensions by which metrics are told apart, beside the totals.
    pub dimensions: Vec<BTreeSet<Dimension>>,
    /// Custom metrics that may exist; beyond it values of dimensions are sent as `other`.
    pub max_metrics: usize,
    pub ambiguous: Ambiguous,
    pub prices: Prices,
}

/// What is done with a call of which nobody knows whether CloudWatch took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// Not sent again: a value may be missing, none is ever counted twice.
    Drop,
    /// Sent again: nothing is missing, a value may be counted twice.
    Resend,
}

/// What CloudWatch asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    /// For a metric and month, ascending; the last tier has no end.
    pub metrics: Vec<Tier>,
    /// For 1,000 requests.
    pub requests: PicoUsd,
    /// For a standard alarm and month.
    pub alarm: PicoUsd,
}

/// A part of the metrics and its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The last metric of this tier, counted from the first of all; `None` in the last tier.
    pub up_to: Option<u64>,
    pub price: PicoUsd,
}

/// A round opens a connection and writes to the ledger.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);

/// What waits longer is seen too late by alarms.
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);

/// More cost more than a million times the price of one.
const MAX_METRICS: usize = 1_000_000;

/// Each set makes metrics of its own.
const MAX_DIMENSION_SETS: usize = 10;

pub(super) const SECTION: Section = Section {
    name: "cloudwatch",
    help: "One-minute metrics in Amazon CloudWatch. `tallyd cloudwatch plan` tells what would \
           exist and what it would cost.",
    settings: &[
        Setting::new("enabled", "false", "Whether minutes are sent."),
        Setting::new(
            "interval",
            r#""60s""#,
            "Time between two rounds of sending, 10s to 1h. A longer one makes fewer calls and \
             later alarms.",
        ),
        Setting::new(
            "namespace",
            r#""ClaudeCode/Enterprise""#,
            "Namespace of the metrics.",
        ),
        Setting::new(
            "dimensions",
            "[]",
            "Sets of dimensions beside the totals, from provider, model, team, project and user: \
             [[\"model\"], [\"team\", \"model\"]]. Each combination of values is a metric that \
             costs money.",
        ),
        Setting::new(
            "max_metrics",
            "100",
            "Most custom metrics; beyond it the smallest values of dimensions are sent as other.",
        ),
        Setting::new(
            "ambiguous",
            r#""drop""#,
            "When an answer got lost: drop never counts a value twice, resend never misses one. \
             tallyd_cloudwatch_datapoints_total{result=\"ambiguous\"} counts them.",
        ),
        Setting::new(
            "metric_prices",
            r#"[{up_to = 10000, usd = "0.30"}, {up_to = 250000, usd = "0.10"}, {up_to = 1000000, usd = "0.05"}, {usd = "0.02"}]"#,
            "Price of a custom metric and month, by number of metrics.",
        ),
        Setting::new("request_price", r#""0.01""#, "Price of 1,000 requests."),
        Setting::new("alarm_price", r#""0.10""#, "Price of an alarm and month."),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> CloudWatch {
    let mut section = reader.section(&SECTION);
    let read = read_all(&mut section);
    let least = MINUTE_METRICS.len() + read.dimensions.len() * DIMENSIONED.len();
    if read.max_metrics < least {
        let message = format!(
            "must be at least {least}: {} totals, and {} metrics under other for each set of \
             dimensions",
            MINUTE_METRICS.len(),
            DIMENSIONED.len()
        );
        section.fault("max_metrics", &message);
    }
    read
}

fn read_all(section: &mut SectionReader<'_, '_>) -> CloudWatch {
    CloudWatch {
        enabled: section.get("enabled", flag),
        interval: section.get("interval", interval),
        namespace: section.get("namespace", namespace),
        dimensions: section.get("dimensions", dimensions),
        max_metrics: section.get("max_metrics", |value| count(value, 1, MAX_METRICS)),
        ambiguous: section.get("ambiguous", |value| {
            choice(value, "drop, resend", |name| match name {
                "drop" => Some(Ambiguous::Drop),
                "resend" => Some(Ambiguous::Resend),
                _ => None,
            })
        }),
        prices: Prices {
            metrics: section.get("metric_prices", tiers),
            requests: section.get("request_price", price),
            alarm: section.get("alarm_price", price),
        },
    }
}

fn interval(value: &Value) -> Converted<Duration> {
    let interval = duration(value, SHORTEST_INTERVAL)?;
    if interval > LONGEST_INTERVAL {
        return must_be("at most 1h", value);
    }
    Ok(interval)
}

/// AWS: `PutMetricData`, Namespace. ASCII, 1 to 255 characters, `AWS/` is Amazon's own.
fn namespace(value: &Value) -> Converted<String> {
    let name = text(value)?;
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let fits = (1..=255).contains(&name.len()) && name.chars().all(plain);
    if fits && !name.starts_with(':') && !name.starts_with("AWS/") {
        return Ok(name);
    }
    must_be(
        &format!(
            "1 to 255 ASCII characters, not beginning with AWS/ or a colon, such as {NAMESPACE}"
        ),
        value,
    )
}

fn dimensions(value: &Value) -> Converted<Vec<BTreeSet<Dimension>>> {
    let Value::Array(items) = value else {
        return must_be("a list of lists such as [[\"team\"]]", value);
    };
    let mut sets: Vec<BTreeSet<Dimension>> = Vec::new();
    let mut problems = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("[{index}]");
        match set(item) {
            Ok(set) if sets.contains(&set) => problems.push(Problem::new(at, "is there twice")),
            Ok(set) => sets.push(set),
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| problem.at(&at))),
        }
    }
    if sets.len() > MAX_DIMENSION_SETS {
        let message = format!("must be at most {MAX_DIMENSION_SETS} sets");
        problems.push(Problem::new("", message));
    }
    if problems.is_empty() {
        Ok(sets)
    } else {
        Err(problems)
    }
}

fn set(value: &Value) -> Converted<BTreeSet<Dimension>> {
    let mut set = BTreeSet::new();
    for (index, name) in texts(value)?.iter().enumerate() {
        let Some(dimension) = Dimension::parse(name) else {
            return Err(vec![Problem {
                at: format!("[{index}]"),
                message: "must be one of provider, model, team, project, user".to_owned(),
                got: Some(name.clone()),
            }]);
        };
        set.insert(dimension);
    }
    if set.is_empty() {
        return Err(vec![Problem::new("", "must name at least one dimension")]);
    }
    Ok(set)
}

fn price(value: &Value) -> Converted<PicoUsd> {
    match PicoUsd::parse(&text(value)?) {
        Ok(price) if price.0 >= 0 => Ok(price),
        _ => must_be("an amount in USD in quotes, such as \"0.30\"", value),
    }
}

fn tiers(value: &Value) -> Converted<Vec<Tier>> {
    let tiers = rows(value, tier)?;
    let last = tiers.len().wrapping_sub(1);
    let mut before = 0;
    for (index, tier) in tiers.iter().enumerate() {
        let good = match tier.up_to {
            Some(up_to) => index != last && up_to > before,
            None => index == last,
        };
        if !good {
            let message = "must rise from tier to tier, and only the last tier has none";
            return Err(vec![Problem::new(format!("[{index}].up_to"), message)]);
        }
        before = tier.up_to.unwrap_or(before);
    }
    if tiers.is_empty() {
        return Err(vec![Problem::new("", "must name at least one price")]);
    }
    Ok(tiers)
}

fn tier(row: &mut Row<'_>) -> Option<Tier> {
    let up_to = row.optional_number("up_to");
    let usd = row.required("usd")?;
    let price = match PicoUsd::parse(&usd) {
        Ok(price) if price.0 >= 0 => price,
        _ => {
            row.problem(
                "usd",
                "must be an amount in USD in quotes, such as \"0.30\"",
            );
            return None;
        }
    };
    Some(Tier { up_to, price })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn parse(text: &str) -> Result<CloudWatch, Vec<String>> {
        let config = Config::parse(&format!("[cloudwatch]\n{text}"), &Environment::default());
        config
            .map(|config| config.cloudwatch)
            .map_err(|faults| faults.0)
    }

    #[test]
    fn nothing_is_sent_unless_asked_for_and_no_dimension_is_there_by_default() {
        let defaults = parse("").unwrap();
        assert!(!defaults.enabled);
        assert_eq!(defaults.namespace, NAMESPACE);
        assert_eq!(defaults.dimensions, Vec::new());
        assert_eq!(defaults.ambiguous, Ambiguous::Drop);
        assert_eq!(defaults.prices.metrics.len(), 4);
    }

    #[test]
    fn sets_of_dimensions_have_no_order_and_come_once() {
        let sets = parse(r#"dimensions = [["model"], ["team", "model"]]"#)
            .unwrap()
            .dimensions;
        assert_eq!(
            sets,
            [
                BTreeSet::from([Dimension::Model]),
                BTreeSet::from([Dimension::Model, Dimension::Team]),
            ]
        );
        assert_eq!(
            parse(r#"dimensions = [["a"], [], ["model", "team"], ["team", "model"], "team"]"#),
            Err(vec![
                "cloudwatch.dimensions[0][0]: must be one of provider, model, team, project, user, got a".to_owned(),
                "cloudwatch.dimensions[1]: must name at least one dimension".to_owned(),
                "cloudwatch.dimensions[3]: is there twice".to_owned(),
                "cloudwatch.dimensions[4]: must be a list of texts, got team".to_owned(),
            ])
        );
    }

    #[test]
    fn the_bound_has_room_for_the_totals_and_for_other() {
        let text = "max_metrics = 30\ndimensions = [[\"team\"], [\"model\"]]";
        assert_eq!(
            parse(text),
            Err(vec![
                "cloudwatch.max_metrics: must be at least 43: 29 totals, and 7 metrics under other \
                 for each set of dimensions"
                    .to_owned()
            ])
        );
    }

    #[test]
    fn the_namespace_is_one_that_cloudwatch_takes() {
        for name in ["AWS/Bedrock", ":a", "a\\u0007", "ä"] {
            let fault = parse(&format!("namespace = \"{name}\"")).unwrap_err();
            assert!(
                fault[0].starts_with("cloudwatch.namespace: must be 1 to 255"),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn price_tiers_rise_and_the_last_one_is_open() {
        let fault = |tiers: &str| parse(&format!("metric_prices = {tiers}")).unwrap_err();
        let rise = "must rise from tier to tier, and only the last tier has none";
        assert_eq!(
            fault(r#"[{up_to = 10, usd = "1"}, {up_to = 5, usd = "1"}, {usd = "1"}]"#),
            [format!("cloudwatch.metric_prices[1].up_to: {rise}")]
        );
        assert_eq!(
            fault(r#"[{up_to = 10, usd = "1"}]"#),
            [format!("cloudwatch.metric_prices[0].up_to: {rise}")]
        );
        assert_eq!(
            fault(r#"[{usd = "-1"}]"#),
            [
                "cloudwatch.metric_prices[0].usd: must be an amount in USD in quotes, such as \"0.30\""
            ]
        );
    }
}
