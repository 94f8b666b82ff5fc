//! Alarms as Prometheus alerting rules.
//!
//! A rule is not the same as an alarm: `promql` says what a statistic becomes,
//! this file what M out of N and missing data become. What Prometheus cannot express is said in the
//! annotation `cloudwatch_difference` of each rule. The rules work from Prometheus 2.42 on.

use std::fmt::Write as _;

use super::promql::{self, Query};
use crate::model::alarm::{Alarm, Comparison, MissingData};

/// Seconds between two evaluations: CloudWatch evaluates every minute.
const INTERVAL_SECONDS: u32 = 60;

/// How long a gap keeps the state where missing data is ignored; longer gaps end the alert.
const KEEP_SECONDS: u32 = 3_600;

/// Rules, and which alarms have none.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    /// A rule file.
    pub rules: String,
    /// Names of alarms that Prometheus cannot have, each with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Writes alarms as one group of rules, named `group`.
#[must_use]
pub fn prometheus(group: &str, alarms: &[Alarm]) -> Rendered {
    let mut left_out = Vec::new();
    let mut rules = format!(
        "# Written by `tallyd alarms render --to prometheus`; change the alarms instead.\n\
         groups:\n  - name: {}\n    interval: {INTERVAL_SECONDS}s\n    rules:\n",
        quoted(group)
    );
    let before = rules.len();
    for alarm in alarms {
        match rule(alarm) {
            Ok(rule) => rules.push_str(&rule),
            Err(reason) => left_out.push((alarm.name.clone(), reason)),
        }
    }
    if rules.len() == before {
        rules.truncate(before - 1);
        rules.push_str(" []\n");
    }
    for (name, reason) in &left_out {
        let _ = writeln!(rules, "# Left out: {}: {reason}", quoted(name));
    }
    Rendered { rules, left_out }
}

fn rule(alarm: &Alarm) -> Result<String, String> {
    let query = promql::query(alarm)?;
    let mut text = String::new();
    let _ = writeln!(text, "      - alert: {}", quoted(&alarm.name));
    let _ = writeln!(
        text,
        "        expr: |-\n          {}",
        expression(alarm, &query)
    );
    if let Some(seconds) = patience(alarm) {
        let _ = writeln!(text, "        for: {seconds}s");
    }
    let _ = writeln!(text, "        labels:");
    let _ = writeln!(text, "          severity: {}", quoted(&alarm.severity));
    let _ = writeln!(text, "        annotations:");
    let mut annotate = |name: &str, value: &str| {
        let _ = writeln!(text, "          {name}: {}", quoted(&untemplated(value)));
    };
    annotate("summary", &summary(alarm));
    annotate("description", &alarm.description);
    if let Some(runbook) = &alarm.runbook {
        annotate("runbook_url", runbook);
    }
    annotate("cloudwatch_difference", &differences(alarm, &query));
    Ok(text)
}

/// The whole condition. It has a value while the alert fires: that of the statistic if one period
/// decides, else the number of breaching periods.
fn expression(alarm: &Alarm, query: &Query) -> String {
    let breaches = breaches(alarm, query);
    match &query.guard {
        Some(guard) => format!("{breaches} and {guard}"),
        None => breaches,
    }
}

fn breaches(alarm: &Alarm, query: &Query) -> String {
    let (symbol, threshold) = (symbol(alarm.comparison), alarm.threshold);
    let value = &query.value;
    let alone = alarm.evaluation_periods == 1;
    if alone {
        match alarm.missing_data {
            MissingData::Missing | MissingData::NotBreaching => {
                return format!("({value}) {symbol} {threshold}");
            }
            MissingData::Ignore => {
                return format!(
                    "last_over_time(({value})[{KEEP_SECONDS}s:60s]) {symbol} {threshold}"
                );
            }
            MissingData::Breaching => {}
        }
    }
    let breaching = format!("({value}) {symbol} bool {threshold}");
    let period = match alarm.missing_data {
        MissingData::Missing | MissingData::NotBreaching => breaching,
        MissingData::Ignore => format!("last_over_time(({breaching})[{KEEP_SECONDS}s:60s])"),
        MissingData::Breaching => format!("{breaching} or vector(1)"),
    };
    if alone {
        return format!("({period}) >= 1");
    }
    let step = alarm.period_seconds;
    let range = window(u64::from(step) * u64::from(alarm.evaluation_periods));
    let needed = alarm.datapoints_to_alarm;
    format!("sum_over_time(({period})[{range}:{step}s]) >= {needed}")
}

/// How long a condition has to hold where missing data breaches: to a Prometheus that has just begun
/// all is missing, until a period with data keeps the others from being enough. An evaluation more
/// leaves time for the first scrape.
fn patience(alarm: &Alarm) -> Option<u32> {
    if alarm.missing_data != MissingData::Breaching {
        return None;
    }
    let (n, m) = (alarm.evaluation_periods, alarm.datapoints_to_alarm);
    let periods = n.saturating_sub(m).saturating_add(1);
    let seconds = periods.saturating_mul(alarm.period_seconds);
    Some(seconds.saturating_add(INTERVAL_SECONDS))
}

/// A range without its left end. Prometheus 2 counts both ends of a range, so that at the full
/// minute a step too many would fall into it.
pub(super) fn window(seconds: u64) -> String {
    format!("{}ms", seconds * 1_000 - 1)
}

const fn symbol(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::GreaterThanOrEqual => ">=",
        Comparison::GreaterThan => ">",
        Comparison::LessThan => "<",
        Comparison::LessThanOrEqual => "<=",
    }
}

fn summary(alarm: &Alarm) -> String {
    format!(
        "{} of {} {} {}, in {} of {} periods of {} s",
        alarm.statistic.name(),
        alarm.metric,
        symbol(alarm.comparison),
        alarm.threshold,
        alarm.datapoints_to_alarm,
        alarm.evaluation_periods,
        alarm.period_seconds
    )
}

/// What the rule does not do as the alarm does.
fn differences(alarm: &Alarm, query: &Query) -> String {
    let mut sentences: Vec<String> = Vec::new();
    if alarm.evaluation_periods > 1 {
        let (periods, seconds) = (alarm.evaluation_periods, alarm.period_seconds);
        sentences.push(format!(
            "Periods end at multiples of {seconds} s instead of sliding by the minute, so it may \
             change up to {seconds} s later."
        ));
        if alarm.missing_data != MissingData::Ignore {
            sentences.push(format!(
                "Only the last {periods} periods count; CloudWatch looks further back when some \
                 are missing."
            ));
        }
    }
    sentences.push(match alarm.missing_data {
        MissingData::Missing => {
            "There is no INSUFFICIENT_DATA: without data the alert ends.".to_owned()
        }
        MissingData::Ignore => format!(
            "Without data the state is kept for {KEEP_SECONDS} s at most, in CloudWatch for ever."
        ),
        MissingData::Breaching => format!(
            "It fires {} s later, since to a Prometheus that has just begun all data is missing.",
            patience(alarm).unwrap_or_default()
        ),
        MissingData::NotBreaching => "Without data the alert ends, as in CloudWatch.".to_owned(),
    });
    if query.guard.is_some() {
        sentences.push(
            "With too few samples for the percentile the alert ends; CloudWatch keeps the state."
                .to_owned(),
        );
    }
    sentences.extend(query.differences.iter().map(|&text| text.to_owned()));
    sentences.join(" ")
}

/// A scalar of YAML or a text of `PromQL`: both read JSON's strings.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Text that Prometheus's templates leave as it is.
fn untemplated(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::alarm::{Actions, Statistic};

    fn alarm(metric: &str, statistic: Statistic) -> Alarm {
        Alarm {
            name: "A".to_owned(),
            description: "It {{ breaks }}.".to_owned(),
            metric: metric.to_owned(),
            namespace: "ClaudeCode/Enterprise".to_owned(),
            dimensions: BTreeMap::new(),
            statistic,
            period_seconds: 300,
            evaluation_periods: 1,
            datapoints_to_alarm: 1,
            threshold: 5.5,
            comparison: Comparison::GreaterThan,
            missing_data: MissingData::Missing,
            evaluates_low_samples: true,
            actions: Actions::default(),
            severity: "warning".to_owned(),
            runbook: None,
        }
    }

    fn gauge(missing_data: MissingData, periods: u32, needed: u32) -> String {
        let alarm = Alarm {
            missing_data,
            evaluation_periods: periods,
            datapoints_to_alarm: needed,
            ..alarm("cloudwatch_backlog_seconds", Statistic::Maximum)
        };
        expression(&alarm, &promql::query(&alarm).unwrap())
    }

    const GAUGE: &str = "max_over_time((max(tallyd_cloudwatch_backlog_seconds))[299999ms:60s])";

    #[test]
    fn one_period_is_compared_directly() {
        let direct = format!("({GAUGE}) > 5.5");
        assert_eq!(gauge(MissingData::Missing, 1, 1), direct);
        assert_eq!(gauge(MissingData::NotBreaching, 1, 1), direct);
    }

    #[test]
    fn m_of_n_periods_are_counted() {
        assert_eq!(
            gauge(MissingData::Missing, 3, 2),
            format!("sum_over_time((({GAUGE}) > bool 5.5)[899999ms:300s]) >= 2")
        );
    }

    #[test]
    fn missing_data_that_breaches_is_a_one() {
        assert_eq!(
            gauge(MissingData::Breaching, 1, 1),
            format!("(({GAUGE}) > bool 5.5 or vector(1)) >= 1")
        );
        assert_eq!(
            gauge(MissingData::Breaching, 2, 2),
            format!("sum_over_time((({GAUGE}) > bool 5.5 or vector(1))[599999ms:300s]) >= 2")
        );
    }

    #[test]
    fn missing_data_that_breaches_has_to_do_so_for_longer_than_the_first_data_takes() {
        let rendered = |missing_data, needed| {
            let alarm = Alarm {
                missing_data,
                period_seconds: 60,
                evaluation_periods: 5,
                datapoints_to_alarm: needed,
                ..alarm("cloudwatch_backlog_seconds", Statistic::Maximum)
            };
            prometheus("mine", &[alarm]).rules
        };
        let all = rendered(MissingData::Breaching, 5);
        assert!(
            all.contains("\n        for: 120s\n        labels:"),
            "{all}"
        );
        assert!(all.contains("It fires 120 s later"), "{all}");
        assert!(rendered(MissingData::Breaching, 3).contains("for: 240s"));
        assert!(!rendered(MissingData::Missing, 5).contains("for: "));
    }

    #[test]
    fn missing_data_that_is_ignored_is_what_was_seen_last() {
        assert_eq!(
            gauge(MissingData::Ignore, 1, 1),
            format!("last_over_time(({GAUGE})[3600s:60s]) > 5.5")
        );
        assert_eq!(
            gauge(MissingData::Ignore, 2, 1),
            format!(
                "sum_over_time((last_over_time((({GAUGE}) > bool 5.5)[3600s:60s]))[599999ms:300s]) \
                 >= 1"
            )
        );
    }

    #[test]
    fn a_percentile_of_few_samples_does_not_fire() {
        let alarm = Alarm {
            evaluation_periods: 2,
            datapoints_to_alarm: 2,
            evaluates_low_samples: false,
            ..alarm("response_time", Statistic::Percentile(95.0))
        };
        let expression = expression(&alarm, &promql::query(&alarm).unwrap());
        let guard = " >= 2 and sum(increase(claude_code_api_request_duration_seconds_count[600s])) \
                     >= 200";
        assert!(expression.ends_with(guard), "{expression}");
    }

    #[test]
    fn a_rule_says_what_it_is_and_where_it_differs() {
        let alarm = Alarm {
            runbook: Some("https://example.org/r#a".to_owned()),
            ..alarm("cpu_utilization", Statistic::Average)
        };
        let expected = r#"# Written by `tallyd alarms render --to prometheus`; change the alarms instead.
groups:
  - name: "mine"
    interval: 60s
    rules:
      - alert: "A"
        expr: |-
          (100 * avg_over_time((max(system_cpu_utilization_ratio))[299999ms:60s])) > 5.5
        labels:
          severity: "warning"
        annotations:
          summary: "Average of cpu_utilization > 5.5, in 1 of 1 periods of 300 s"
          description: "It {{ \"{{\" }} breaks }}."
          runbook_url: "https://example.org/r#a"
          cloudwatch_difference: "There is no INSUFFICIENT_DATA: without data the alert ends."
"#;
        let rendered = prometheus("mine", &[alarm]);
        assert_eq!(rendered.rules, expected);
        assert_eq!(rendered.left_out, []);
    }

    #[test]
    fn what_prometheus_cannot_have_is_told() {
        let foreign = Alarm {
            namespace: "AWS/Bedrock".to_owned(),
            ..alarm("Invocations", Statistic::Sum)
        };
        let rendered = prometheus("mine", &[foreign]);
        let reason = "tallyd does not measure Invocations in AWS/Bedrock";
        assert_eq!(rendered.left_out, [("A".to_owned(), reason.to_owned())]);
        let expected = "    rules: []\n# Left out: \"A\": tallyd does not measure Invocations in \
                        AWS/Bedrock\n";
        assert!(rendered.rules.ends_with(expected), "{}", rendered.rules);
    }
}
