//! What is made of the values of a period.

use super::{Alarm, Statistic};
use crate::model::minute::Datapoint;

/// A period as an alarm sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The statistic of the period.
    pub value: f64,
    /// How many values it is made of.
    pub samples: u64,
}

impl Statistic {
    /// CloudWatch's word for it: `Average`, `p99.9`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::SampleCount => "SampleCount".to_owned(),
            Self::Average => "Average".to_owned(),
            Self::Sum => "Sum".to_owned(),
            Self::Minimum => "Minimum".to_owned(),
            Self::Maximum => "Maximum".to_owned(),
            Self::Percentile(percent) => format!("p{percent}"),
        }
    }

    /// Reads `Statistic`.
    #[must_use]
    pub fn parse_simple(name: &str) -> Option<Self> {
        match name {
            "SampleCount" => Some(Self::SampleCount),
            "Average" => Some(Self::Average),
            "Sum" => Some(Self::Sum),
            "Minimum" => Some(Self::Minimum),
            "Maximum" => Some(Self::Maximum),
            _ => None,
        }
    }

    /// Reads a percentile as `ExtendedStatistic` has it: `p95`, `p99.9`.
    #[must_use]
    pub fn parse_percentile(name: &str) -> Option<Self> {
        let digits = name.strip_prefix('p')?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit())
        };
        if !plain(whole, 2) || !plain(fraction, 10) {
            return None;
        }
        let percent: f64 = digits.parse().ok()?;
        (percent > 0.0).then_some(Self::Percentile(percent))
    }

    /// The statistic of a period's values; nothing where there are none.
    #[must_use]
    pub fn read(self, datapoint: &Datapoint) -> Option<Reading> {
        (datapoint.count > 0).then(|| Reading {
            value: self.value(datapoint),
            samples: datapoint.count,
        })
    }

    /// The statistic of several datapoints together, those of a period.
    pub fn read_all<'a>(self, datapoints: impl Iterator<Item = &'a Datapoint>) -> Option<Reading> {
        let mut all = Datapoint::default();
        for datapoint in datapoints.filter(|datapoint| datapoint.count > 0) {
            if matches!(self, Self::Percentile(_)) {
                all.merge(datapoint);
                continue;
            }
            // Distinct values, which cost the most, are for percentiles only.
            let is_first = all.count == 0;
            all.min = if is_first {
                datapoint.min
            } else {
                all.min.min(datapoint.min)
            };
            all.max = if is_first {
                datapoint.max
            } else {
                all.max.max(datapoint.max)
            };
            all.sum += datapoint.sum;
            all.count = all.count.saturating_add(datapoint.count);
        }
        self.read(&all)
    }

    fn value(self, datapoint: &Datapoint) -> f64 {
        match self {
            Self::SampleCount => datapoint.count as f64,
            Self::Average => datapoint.sum / datapoint.count as f64,
            Self::Sum => datapoint.sum,
            Self::Minimum => datapoint.min,
            Self::Maximum => datapoint.max,
            Self::Percentile(percent) => datapoint.percentile(percent).unwrap_or(datapoint.max),
        }
    }

    /// Values below which a percentile says little: 10 / (1 - p) for p from 0.5, else 10 / p.
    #[must_use]
    pub fn enough_samples(self) -> f64 {
        match self {
            Self::Percentile(percent) if percent >= 50.0 => 1_000.0 / (100.0 - percent),
            Self::Percentile(percent) => 1_000.0 / percent,
            _ => 0.0,
        }
    }
}

/// True if the values are too few for a percentile and the alarm is told to wait for more.
///
/// AWS counts the values of the whole evaluation, not of one period.
pub(super) fn lacks_samples(alarm: &Alarm, samples: u64) -> bool {
    !alarm.evaluates_low_samples && (samples as f64) < alarm.statistic.enough_samples()
}
