//! CloudWatch's published tables, evaluators known to be wrong, and an oracle.

mod conformance;
mod oracle;
mod told;

use std::collections::BTreeMap;

use super::*;

/// An alarm on the average of `error_rate` above 5, a minute a period.
fn alarm(periods: u32, to_alarm: u32, missing: MissingData) -> Alarm {
    Alarm {
        name: "errors".to_owned(),
        description: String::new(),
        metric: "error_rate".to_owned(),
        namespace: "ClaudeCode/Enterprise".to_owned(),
        dimensions: BTreeMap::new(),
        statistic: Statistic::Average,
        period_seconds: 60,
        evaluation_periods: periods,
        datapoints_to_alarm: to_alarm,
        threshold: 5.0,
        comparison: Comparison::GreaterThan,
        missing_data: missing,
        evaluates_low_samples: true,
        actions: Actions::default(),
        severity: "warning".to_owned(),
        runbook: None,
    }
}

/// `0` is a period that does not breach, `X` one that does, `-` one without data.
fn periods(row: &str) -> Vec<Option<Reading>> {
    let period = |mark: &str| {
        let value = match mark {
            "X" => 9.0,
            "-" => return None,
            _ => 0.0,
        };
        Some(Reading { value, samples: 1 })
    };
    row.split_whitespace().map(period).collect()
}

fn state(alarm: &Alarm, row: &str, previous: State) -> State {
    evaluate(alarm, &periods(row), previous, Timestamp::UNIX_EPOCH).state
}
