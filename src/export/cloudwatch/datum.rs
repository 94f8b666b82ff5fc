//! One datum of `PutMetricData`: made of datapoints, checked against every limit before it is sent.
//!
//! One datum that CloudWatch refuses makes it refuse the whole call, so nothing may leave that is
//! known to be wrong.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension as SdkDimension, MetricDatum, StandardUnit, StatisticSet,
};

use crate::model::minute::{self, Datapoint, Dimension, SeriesKey, Shape, Unit, encoded};

/// AWS: `PutMetricData`, values are between -2^360 and 2^360.
const MAX_MAGNITUDE: f64 = 2.348_542_582_773_833_2e108;

/// AWS: a value of a dimension has at most 1,024 characters.
const MAX_DIMENSION_VALUE: usize = 1_024;

/// AWS: at most 150 distinct values in a datum.
const MAX_VALUES: usize = 150;

/// Minutes after which CloudWatch takes a datapoint no more: two weeks, less what a call may take
/// with all its attempts.
const MAX_AGE_MINUTES: i64 = 14 * 24 * 60 - 10;

/// Minutes that CloudWatch takes from the future: two hours, less a difference of clocks.
const MAX_AHEAD_MINUTES: i64 = 2 * 60 - 5;

/// One minute, the resolution that costs nothing extra and is kept for 15 days.
const RESOLUTION_SECONDS: i32 = 60;

/// A datum of one series and minute, and the rows of the outbox that it is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Datum {
    pub(super) minute: i64,
    pub(super) metric: &'static str,
    pub(super) unit: Unit,
    /// As CloudWatch gets them: ASCII, by name.
    pub(super) dimensions: Vec<(&'static str, String)>,
    pub(super) datapoint: Datapoint,
    pub(super) ids: Vec<i64>,
}

/// Why a datapoint is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("the metric is not one of this build")]
    UnknownMetric,
    #[error("it has no values")]
    Empty,
    #[error("a value is not a number")]
    NotANumber,
    #[error("a value is beyond 2^360")]
    OutOfRange,
    #[error("it has more than {MAX_VALUES} distinct values")]
    TooManyValues,
    #[error("the number of values does not add up")]
    WrongCount,
    #[error("the value of a dimension is too long")]
    LongDimension,
}

/// Where a minute stands in the window that CloudWatch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fits,
    TooOld,
    /// The clock went back; its time comes.
    TooEarly,
}

pub(super) fn age(minute: i64, now_minute: i64) -> Age {
    match now_minute - minute {
        age if age > MAX_AGE_MINUTES => Age::TooOld,
        age if age < -MAX_AHEAD_MINUTES => Age::TooEarly,
        _ => Age::Fits,
    }
}

impl Datum {
    /// Makes a datum and checks it.
    pub(super) fn new(
        minute: i64,
        series: &SeriesKey,
        datapoint: Datapoint,
        ids: Vec<i64>,
    ) -> Result<Self, Unfit> {
        let metric = minute::find(series.metric).ok_or(Unfit::UnknownMetric)?;
        check(&datapoint)?;
        let dimensions = dimensions(&series.dimensions);
        if dimensions
            .iter()
            .any(|(_, value)| value.len() > MAX_DIMENSION_VALUE)
        {
            return Err(Unfit::LongDimension);
        }
        Ok(Self {
            minute,
            metric: metric.name,
            unit: metric.unit,
            dimensions,
            datapoint,
            ids,
        })
    }

    /// At most so many bytes of CBOR: names and values as they are, everything else as it is at
    /// its longest.
    pub(super) fn size(&self) -> usize {
        /// Names of members, time, unit, resolution, and the statistics.
        const FRAME: usize = 320;
        /// Names of members and lengths of a dimension.
        const DIMENSION: usize = 24;
        /// A value and its count, each a float.
        const VALUE: usize = 18;
        let dimensions = self.dimensions.iter();
        let dimensions = dimensions.map(|(name, value)| DIMENSION + name.len() + value.len());
        FRAME + self.metric.len() + dimensions.sum::<usize>() + VALUE * self.datapoint.values.len()
    }

    /// The datum in the words of the SDK. One value is sent as such; several as a distribution
    /// with the exact count, sum, least and greatest value beside it, so that percentiles work
    /// and averages are exact.
    pub(super) fn to_sdk(&self) -> MetricDatum {
        let mut datum = MetricDatum::builder()
            .metric_name(self.metric)
            .timestamp(DateTime::from_secs(self.minute.saturating_mul(60)))
            .unit(unit(self.unit))
            .storage_resolution(RESOLUTION_SECONDS);
        for (name, value) in &self.dimensions {
            let dimension = SdkDimension::builder().name(*name).value(value);
            datum = datum.dimensions(dimension.build());
        }
        let datapoint = &self.datapoint;
        if datapoint.count == 1 {
            return datum.value(datapoint.sum).build();
        }
        let statistics = StatisticSet::builder()
            .sample_count(datapoint.count as f64)
            .sum(datapoint.sum)
            .minimum(datapoint.min)
            .maximum(datapoint.max);
        for (value, times) in &datapoint.values {
            datum = datum.values(*value).counts(*times as f64);
        }
        datum.statistic_values(statistics.build()).build()
    }
}

/// Adds one datapoint to another of the same minute. Totals add up to one value; what has a value
/// for each request keeps all of them.
pub(super) fn join(metric: &str, into: &mut Datapoint, other: &Datapoint) {
    let shape = minute::find(metric).map(|metric| metric.shape);
    if shape == Some(Shape::Total) {
        *into = Datapoint::of(into.sum + other.sum);
    } else {
        into.merge(other);
    }
}

fn check(datapoint: &Datapoint) -> Result<(), Unfit> {
    if datapoint.count == 0 || datapoint.values.is_empty() {
        return Err(Unfit::Empty);
    }
    if datapoint.values.len() > MAX_VALUES {
        return Err(Unfit::TooManyValues);
    }
    let mut counted = 0_u64;
    let values = datapoint.values.iter().map(|(value, times)| {
        counted = counted.saturating_add(*times);
        *value
    });
    for value in values.chain([datapoint.sum, datapoint.min, datapoint.max]) {
        if !value.is_finite() {
            return Err(Unfit::NotANumber);
        }
        if value.abs() > MAX_MAGNITUDE {
            return Err(Unfit::OutOfRange);
        }
    }
    if counted != datapoint.count || datapoint.values.iter().any(|(_, times)| *times == 0) {
        return Err(Unfit::WrongCount);
    }
    Ok(())
}

/// Names and values, by name, in the characters that CloudWatch takes.
pub(super) fn dimensions(
    dimensions: &BTreeMap<Dimension, std::sync::Arc<str>>,
) -> Vec<(&'static str, String)> {
    let mut named: Vec<_> = dimensions
        .iter()
        .map(|(dimension, value)| (dimension.name(), ascii(value)))
        .collect();
    named.sort_unstable();
    named
}

/// A value as CloudWatch has it, which takes no blank one.
fn ascii(value: &str) -> String {
    if value.trim().is_empty() {
        return "unknown".to_owned();
    }
    encoded(value)
}

const fn unit(unit: Unit) -> StandardUnit {
    match unit {
        Unit::Count => StandardUnit::Count,
        Unit::Percent => StandardUnit::Percent,
        Unit::Seconds => StandardUnit::Seconds,
        Unit::Milliseconds => StandardUnit::Milliseconds,
        Unit::None => StandardUnit::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(metric: &'static str, datapoint: Datapoint) -> Result<Datum, Unfit> {
        Datum::new(0, &SeriesKey::total(metric), datapoint, vec![1])
    }

    #[test]
    fn one_value_is_a_value_and_several_are_a_distribution_with_exact_statistics() {
        let one = total("requests_per_minute", Datapoint::of(7.0))
            .unwrap()
            .to_sdk();
        assert_eq!(
            (one.value(), one.values(), one.counts()),
            (Some(7.0), &[][..], &[][..])
        );
        assert_eq!(one.statistic_values(), None);
        assert_eq!(one.unit(), Some(&StandardUnit::Count));
        let many = Datapoint::of_all(vec![0.0, 100.0, 0.0, 0.0]);
        let many = total("error_rate", many).unwrap().to_sdk();
        assert_eq!(many.value(), None);
        assert_eq!(
            (many.values(), many.counts()),
            (&[0.0, 100.0][..], &[3.0, 1.0][..])
        );
        let statistics = StatisticSet::builder().sample_count(4.0).sum(100.0);
        let statistics = statistics.minimum(0.0).maximum(100.0).build();
        assert_eq!(many.statistic_values(), Some(&statistics));
        assert_eq!(many.storage_resolution(), Some(60));
    }

    #[test]
    fn what_cloudwatch_refuses_is_found_before() {
        let with = |change: fn(&mut Datapoint)| {
            let mut datapoint = Datapoint::of(1.0);
            change(&mut datapoint);
            total("response_time", datapoint).unwrap_err()
        };
        assert_eq!(with(|it| it.sum = f64::NAN), Unfit::NotANumber);
        assert_eq!(with(|it| it.values[0].0 = f64::INFINITY), Unfit::NotANumber);
        assert_eq!(with(|it| it.max = 2_f64.powi(361)), Unfit::OutOfRange);
        assert_eq!(with(|it| *it = Datapoint::default()), Unfit::Empty);
        assert_eq!(with(|it| it.count = 2), Unfit::WrongCount);
        let many = |it: &mut Datapoint| it.values = (0..151).map(|n| (f64::from(n), 1)).collect();
        assert_eq!(with(many), Unfit::TooManyValues);
        assert_eq!(
            total("latency", Datapoint::of(1.0)),
            Err(Unfit::UnknownMetric)
        );
        assert!(total("response_time", Datapoint::of(2_f64.powi(360))).is_ok());
    }

    #[test]
    fn dimensions_come_by_name_and_in_ascii_that_stays_distinct() {
        let values = BTreeMap::from([
            (Dimension::Team, "決済".into()),
            (Dimension::Model, "100%\n".into()),
            (Dimension::Project, " ".into()),
        ]);
        let named = [
            ("model", "100%25%0A"),
            ("project", "unknown"),
            ("team", "%E6%B1%BA%E6%B8%88"),
        ];
        assert_eq!(
            dimensions(&values),
            named.map(|(name, value)| (name, value.to_owned()))
        );
    }

    #[test]
    fn the_window_is_two_weeks_back_and_two_hours_ahead() {
        let ages = [14 * 1_440, 14 * 1_440 - 11, 0, -115, -116].map(|minutes| age(-minutes, 0));
        let fits = Age::Fits;
        assert_eq!(ages, [Age::TooOld, fits, fits, fits, Age::TooEarly]);
    }

    #[test]
    fn totals_add_up_and_distributions_keep_their_values() {
        let mut total = Datapoint::of(3.0);
        join("requests_per_minute", &mut total, &Datapoint::of(4.0));
        assert_eq!(total, Datapoint::of(7.0));
        let mut each = Datapoint::of(0.0);
        join("error_rate", &mut each, &Datapoint::of(100.0));
        assert_eq!(each, Datapoint::of_all(vec![0.0, 100.0]));
    }

    #[test]
    fn the_size_is_never_less_than_what_is_sent() {
        // Longer than any, in every member.
        let dimensions = Dimension::ALL.map(|name| (name, "x".repeat(1_000).into()));
        let series = SeriesKey {
            metric: "error_budget_burn_rate_slow",
            dimensions: BTreeMap::from(dimensions),
        };
        let values = (0..150).map(|n| f64::from(n) + 0.1).collect();
        let datum = Datum::new(29_000_000, &series, Datapoint::of_all(values), vec![1]).unwrap();
        // Members with their one or two bytes of length, as CBOR has them.
        let members = "MetricName Dimensions Timestamp StatisticValues SampleCount Sum Minimum \
                       Maximum Values Counts Unit StorageResolution Milliseconds";
        let frame = members.len() + 13 * 3 + 12 * 9;
        let names = 5 * ("NameValue".len() + 4 * 3) + "providermodelteamprojectuser".len();
        let cbor = frame + series.metric.len() + names + 5_000 + 300 * 9;
        assert!(datum.size() >= cbor, "{} < {cbor}", datum.size());
    }
}
