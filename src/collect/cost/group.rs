//! Answers of Cost Explorer, taken apart. Amounts stay exact.

use std::collections::HashMap;

use aws_sdk_costexplorer::operation::get_cost_forecast::GetCostForecastOutput;
use aws_sdk_costexplorer::types::{MetricValue, ResultByTime};
use jiff::civil::Date;

use crate::model::bill::Amounts;
use crate::model::money::{DecimalError, PicoUsd};

pub(super) const UNBLENDED: &str = "UnblendedCost";
pub(super) const NET: &str = "NetUnblendedCost";
pub(super) const BLENDED: &str = "BlendedCost";
pub(super) const QUANTITY: &str = "UsageQuantity";

/// One day of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) day: Date,
    pub(super) estimated: bool,
    pub(super) groups: Vec<Group>,
    /// Amounts that had more than twelve decimal places.
    pub(super) rounded: u64,
}

/// One group of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) keys: [String; 2],
    pub(super) amounts: Amounts,
    pub(super) currency: String,
    pub(super) quantity: String,
    pub(super) unit: String,
}

/// What the rest of a month may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forecast {
    pub(super) currency: String,
    pub(super) low: PicoUsd,
    pub(super) mid: PicoUsd,
    pub(super) high: PicoUsd,
}

/// Adds a day, or a further page of one.
pub(super) fn add(days: &mut Vec<Day>, day: Day) {
    match days.iter_mut().find(|known| known.day == day.day) {
        Some(known) => {
            known.estimated |= day.estimated;
            known.groups.extend(day.groups);
            known.rounded += day.rounded;
        }
        None => days.push(day),
    }
}

/// Reads one day. The error says what is wrong with it.
pub(super) fn day(result: &ResultByTime) -> Result<Day, String> {
    let start = result
        .time_period()
        .map(aws_sdk_costexplorer::types::DateInterval::start);
    let start = start.unwrap_or_default();
    let day = start
        .get(..10)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("TimePeriod.Start is no day: {start}"))?;
    let mut rounded = 0;
    let mut groups = Vec::with_capacity(result.groups().len());
    for group in result.groups() {
        let keys: [String; 2] = <[String; 2]>::try_from(group.keys().to_vec())
            .map_err(|keys| format!("{day}: a group has {} keys instead of 2", keys.len()))?;
        let wrong = |what: String| format!("{day} {} {}: {what}", keys[0], keys[1]);
        let metrics = group
            .metrics()
            .ok_or_else(|| wrong("has no metrics".to_owned()))?;
        let mut amount = |name: &str| amount(metrics, name, &mut rounded).map_err(wrong);
        let amounts = Amounts {
            unblended: amount(UNBLENDED)?,
            net: amount(NET)?,
            blended: amount(BLENDED)?,
        };
        let unit = |name: &str| metrics.get(name).and_then(MetricValue::unit);
        let currency = [UNBLENDED, BLENDED, NET].into_iter().find_map(unit);
        let quantity = metrics.get(QUANTITY).and_then(MetricValue::amount);
        groups.push(Group {
            amounts,
            currency: currency.unwrap_or("USD").to_owned(),
            quantity: quantity.unwrap_or_default().to_owned(),
            unit: unit(QUANTITY).unwrap_or_default().to_owned(),
            keys,
        });
    }
    Ok(Day {
        day,
        estimated: result.estimated(),
        groups,
        rounded,
    })
}

fn amount(
    metrics: &HashMap<String, MetricValue>,
    name: &str,
    rounded: &mut u64,
) -> Result<Option<PicoUsd>, String> {
    let Some(text) = metrics.get(name).and_then(MetricValue::amount) else {
        return Ok(None);
    };
    decimal(text, rounded)
        .map(Some)
        .map_err(|error| format!("{name} is {text}: {error}"))
}

/// Reads an amount; what has more than twelve decimal places is rounded half-even and counted.
pub(super) fn decimal(text: &str, rounded: &mut u64) -> Result<PicoUsd, DecimalError> {
    match PicoUsd::parse(text) {
        Err(DecimalError::TooFine { .. }) => {
            *rounded += 1;
            PicoUsd::parse_rounded(text)
        }
        other => other,
    }
}

/// Reads a forecast: the sum over its months.
pub(super) fn forecast(answer: &GetCostForecastOutput) -> Result<Forecast, String> {
    let mut ignored = 0;
    let mut read = |name: &str, text: Option<&str>| {
        let text = text.ok_or_else(|| format!("{name} is missing"))?;
        decimal(text, &mut ignored).map_err(|error| format!("{name} is {text}: {error}"))
    };
    let total = answer.total();
    let mid = read("Total", total.and_then(MetricValue::amount))?;
    let (mut low, mut high) = (PicoUsd::ZERO, PicoUsd::ZERO);
    let too_large = || "the range is too large".to_owned();
    for month in answer.forecast_results_by_time() {
        let lower = month.prediction_interval_lower_bound();
        let upper = month.prediction_interval_upper_bound();
        let lower = read("PredictionIntervalLowerBound", lower)?;
        let upper = read("PredictionIntervalUpperBound", upper)?;
        low = low.checked_add(lower).ok_or_else(too_large)?;
        high = high.checked_add(upper).ok_or_else(too_large)?;
    }
    let currency = total.and_then(MetricValue::unit).unwrap_or("USD");
    Ok(Forecast {
        currency: currency.to_owned(),
        low,
        mid,
        high,
    })
}
