//! What is usual: the median of the same weekdays, and how far days are usually from it.
//!
//! Median and median absolute deviation, because one dear day must not make the next one look
//! usual. Pure and in integers.
#![deny(clippy::float_arithmetic)]

use crate::model::money::PicoUsd;

/// Earlier days of the same weekday that are looked at.
pub const WEEKS: usize = 8;

/// Days of the same weekday without which nothing is told.
pub const MIN_WEEKS: usize = 4;

/// A normal distribution's standard deviation is 1.4826 times its median absolute deviation.
const DEVIATION_PER_MAD: (i128, i128) = (14_826, 10_000);

/// Days never spread less than a twentieth of the usual amount: costs that are equal to the cent
/// would make a cent more an anomaly.
const LEAST_SPREAD: i128 = 20;

/// Thousandths, as scores are told.
const MILLI: i128 = 1_000;

/// What is usual for one series on one weekday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    pub median: PicoUsd,
    /// In the same unit; never zero unless the median is.
    pub deviation: PicoUsd,
}

impl Baseline {
    /// From earlier days of the same weekday; `None` with fewer than [`MIN_WEEKS`].
    #[must_use]
    pub fn of(earlier: &[PicoUsd]) -> Option<Self> {
        if earlier.len() < MIN_WEEKS {
            return None;
        }
        let median = middle(earlier.iter().map(|amount| amount.0).collect());
        let off = middle(earlier.iter().map(|a| (a.0 - median).abs()).collect());
        let deviation = off.saturating_mul(DEVIATION_PER_MAD.0) / DEVIATION_PER_MAD.1;
        Some(Self {
            median: PicoUsd(median),
            deviation: PicoUsd(deviation.max(median.abs() / LEAST_SPREAD)),
        })
    }

    /// How many deviations an amount is from the median, in thousandths. Where all earlier days
    /// cost nothing, any cost is as far as the scale goes.
    #[must_use]
    pub fn score(&self, amount: PicoUsd) -> i64 {
        let off = amount.0 - self.median.0;
        if self.deviation.0 == 0 {
            return if off == 0 { 0 } else { MAX_SCORE };
        }
        let score = off.saturating_mul(MILLI) / self.deviation.0;
        i64::try_from(score).map_or(MAX_SCORE, |score| score.clamp(-MAX_SCORE, MAX_SCORE))
    }
}

/// The end of the scale: a thousand deviations.
pub const MAX_SCORE: i64 = 1_000_000;

/// The median; of an even number, the mean of the two in the middle.
fn middle(mut values: Vec<i128>) -> i128 {
    values.sort_unstable();
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        i128::midpoint(values[half - 1], values[half])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(amounts: &[i128]) -> Vec<PicoUsd> {
        let pico = |usd: &i128| PicoUsd(usd * 1_000_000_000_000);
        amounts.iter().map(pico).collect()
    }

    #[test]
    fn one_dear_day_does_not_move_the_baseline() {
        let calm = Baseline::of(&usd(&[10, 11, 9, 10, 10, 12])).unwrap();
        let shaken = Baseline::of(&usd(&[10, 11, 9, 10, 900, 12])).unwrap();
        assert_eq!(calm.median, usd(&[10])[0]);
        assert!(shaken.median <= usd(&[11])[0]);
        assert!(shaken.score(usd(&[40])[0]) > 10_000);
    }

    #[test]
    fn equal_days_still_spread_a_little() {
        let flat = Baseline::of(&usd(&[20, 20, 20, 20])).unwrap();
        assert_eq!(flat.deviation, usd(&[1])[0]);
        assert_eq!(flat.score(usd(&[23])[0]), 3_000);
        assert_eq!(flat.score(usd(&[18])[0]), -2_000);
    }

    #[test]
    fn three_weeks_are_too_few_and_nothing_before_makes_any_cost_unusual() {
        assert_eq!(Baseline::of(&usd(&[1, 2, 3])), None);
        let idle = Baseline::of(&usd(&[0, 0, 0, 0])).unwrap();
        assert_eq!(idle.score(usd(&[0])[0]), 0);
        assert_eq!(idle.score(usd(&[1])[0]), MAX_SCORE);
    }
}
