//! What can be done with datapoints: observe, merge, and the statistics of alarms.
//!
//! Distinct values are kept as they are while they fit. Beyond [`MAX_VALUES`] all of them are
//! put on a grid that is even in their logarithm, and a value becomes the middle of its cell.
//! How fine the grid is depends on the least and the greatest value only, and each coarser grid
//! joins pairs of cells of the finer one; so values that were merged before, in whatever order,
//! are off by no more than half a cell of the last grid.

use super::{Datapoint, MAX_VALUES};

/// The finest grid has 2^10 cells for each doubling.
const FINEST: i32 = 10;

/// The coarsest grid has one cell for 2^10 doublings, which is more than a float can hold on
/// either side of 1.
const COARSEST: i32 = -10;

/// Magnitudes below this one are taken for 0 once values are merged: less than a microsecond
/// where values are milliseconds.
const TINY: f64 = 0.001;

impl Datapoint {
    /// A datapoint of one value.
    #[must_use]
    pub fn of(value: f64) -> Self {
        let mut datapoint = Self::default();
        datapoint.observe(value);
        datapoint
    }

    /// A datapoint of many values; those that are not finite are passed over.
    #[must_use]
    pub fn of_all(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let mut datapoint = Self {
            count: values.len() as u64,
            sum: values.iter().sum(),
            min: values.first().copied().unwrap_or_default(),
            max: values.last().copied().unwrap_or_default(),
            values: Vec::new(),
        };
        datapoint.values = joined(values.into_iter().map(|value| (value, 1)));
        datapoint.bound();
        datapoint
    }

    /// Adds a value. One that is not finite changes nothing.
    pub fn observe(&mut self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Adds a value that came `times`. One that is not finite changes nothing.
    pub fn observe_many(&mut self, value: f64, times: u64) {
        if value.is_finite() && times > 0 {
            self.merge(&Self {
                count: times,
                sum: value * times as f64,
                min: value,
                max: value,
                values: vec![(value, times)],
            });
        }
    }

    /// Adds all that another datapoint saw. Count, least and greatest value are exact, and so is
    /// the sum as far as floats are.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.clone_from(other);
            self.bound();
            return;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        let mut all = [&*self.values, &*other.values].concat();
        all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        self.values = joined(all.into_iter());
        self.bound();
    }

    /// The mean; `None` without values.
    #[must_use]
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The least kept value that at least `percent` of all values do not exceed (the nearest
    /// rank); `None` without values. `percent` is between 0 and 100.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let rank = (percent / 100.0 * self.count as f64).ceil().max(1.0);
        let mut below = 0_u64;
        for (value, times) in &self.values {
            below = below.saturating_add(*times);
            if below as f64 >= rank {
                return Some(*value);
            }
        }
        self.values.last().map(|(value, _)| *value)
    }

    /// By how much a kept value may be off at most, as a share of the true one, should distinct
    /// values have been merged: 2.2 % where the greatest value is up to 600 times the least,
    /// 4.5 % up to 400,000 times and 9.1 % up to 10^11 times. 0 where each value came once.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        let distinct = self.values.len() as u64;
        if distinct == self.count {
            return 0.0;
        }
        let half_cell = 0.5 / f64::from(grid(self.min, self.max)).exp2();
        half_cell.exp2() - 1.0
    }

    /// Keeps the bound on distinct values.
    fn bound(&mut self) {
        if self.values.len() <= MAX_VALUES {
            return;
        }
        let (fineness, min, max) = (grid(self.min, self.max), self.min, self.max);
        let on_grid = self.values.iter().map(|(value, times)| {
            // Between the least and the greatest value, which are exact.
            let middle = middle(cell(*value, fineness), fineness).clamp(min, max);
            (middle, *times)
        });
        self.values = joined(on_grid);
    }
}

/// Makes one of neighbours with equal values; what comes is ascending.
fn joined(sorted: impl Iterator<Item = (f64, u64)>) -> Vec<(f64, u64)> {
    let mut values: Vec<(f64, u64)> = Vec::new();
    for (value, times) in sorted {
        match values.last_mut() {
            Some((last, sum)) if *last >= value => *sum = sum.saturating_add(times),
            _ => values.push((value, times)),
        }
    }
    values
}

/// The cell of a value: its sign, and the place of its magnitude. 0 is a cell of its own.
type Cell = (f64, f64);

fn cell(value: f64, fineness: i32) -> Cell {
    if value.abs() < TINY {
        return (0.0, 0.0);
    }
    // A power of two as the factor: the cells of a coarser grid are exactly pairs of these.
    let place = (value.abs().log2() * f64::from(fineness).exp2()).floor();
    (value.signum(), place)
}

fn middle((sign, place): Cell, fineness: i32) -> f64 {
    sign * ((place + 0.5) / f64::from(fineness).exp2()).exp2()
}

/// The finest grid on which no more than [`MAX_VALUES`] cells lie from `min` to `max`.
fn grid(min: f64, max: f64) -> i32 {
    (COARSEST..=FINEST)
        .rev()
        .find(|fineness| cells(min, max, *fineness) <= MAX_VALUES as f64)
        .unwrap_or(COARSEST)
}

fn cells(min: f64, max: f64, fineness: i32) -> f64 {
    let (low, high) = (cell(min, fineness), cell(max, fineness));
    let least = cell(TINY, fineness).1;
    if low.0 * high.0 > 0.0 {
        return (high.1 - low.1).abs() + 1.0;
    }
    // On both sides of 0, or from it: every magnitude from the least one on.
    let of_side = |(sign, place): Cell| {
        if sign == 0.0 {
            0.0
        } else {
            place - least + 1.0
        }
    };
    of_side(low) + of_side(high) + 1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_values_are_kept_as_they_are() {
        let mut seen = Datapoint::default();
        for value in [0.0, 100.0, 0.0, f64::NAN, 0.0] {
            seen.observe(value);
        }
        let expected = Datapoint {
            count: 4,
            sum: 100.0,
            min: 0.0,
            max: 100.0,
            values: vec![(0.0, 3), (100.0, 1)],
        };
        assert_eq!(seen, expected);
        assert_eq!(seen, Datapoint::of_all(vec![100.0, 0.0, 0.0, 0.0]));
        assert_eq!(seen.average(), Some(25.0));
    }

    #[test]
    fn a_percentile_is_the_value_at_the_nearest_rank() {
        let hundred = Datapoint::of_all((1..=100).map(f64::from).collect());
        let seen = [0.0, 0.1, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0].map(|p| hundred.percentile(p));
        let expected = [1.0, 1.0, 50.0, 90.0, 95.0, 99.0, 100.0, 100.0].map(Some);
        assert_eq!(seen, expected);
        let mut weighted = Datapoint::default();
        weighted.observe_many(10.0, 99);
        weighted.observe_many(5_000.0, 1);
        assert_eq!(weighted.percentile(99.0), Some(10.0));
        assert_eq!(weighted.percentile(99.5), Some(5_000.0));
        assert_eq!(Datapoint::default().percentile(50.0), None);
        assert_eq!(Datapoint::default().average(), None);
    }

    #[test]
    fn the_stated_errors_hold_for_the_stated_ranges() {
        let error = |max: f64| Datapoint {
            count: 1_000,
            sum: 0.0,
            min: 1.0,
            max,
            values: vec![(1.0, 1_000)],
        };
        let seen = [600.0, 400_000.0, 1e11].map(|max| error(max).relative_error());
        assert!(seen[0] <= 0.022, "{seen:?}");
        assert!(seen[1] <= 0.045, "{seen:?}");
        assert!(seen[2] <= 0.091, "{seen:?}");
    }

    fn values() -> impl Strategy<Value = Vec<u32>> {
        let milliseconds = prop_oneof![0_u32..10, 50_u32..120_000, any::<u32>()];
        prop::collection::vec(milliseconds, 1..1_500)
    }

    proptest! {
        #[test]
        fn sums_are_exact_and_values_off_by_the_stated_error(
            values in values(),
            pieces in 1_usize..40,
        ) {
            let floats: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            let mut merged = Datapoint::default();
            for piece in floats.chunks(floats.len().div_ceil(pieces)) {
                merged.merge(&Datapoint::of_all(piece.to_vec()));
            }
            let mut sorted = floats.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert_eq!(merged.count, values.len() as u64);
            let exact = (floats.iter().sum::<f64>(), sorted[0], sorted[sorted.len() - 1]);
            prop_assert_eq!((merged.sum, merged.min, merged.max), exact);
            prop_assert!(merged.values.len() <= MAX_VALUES);
            prop_assert!(merged.values.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert_eq!(merged.values.iter().map(|v| v.1).sum::<u64>(), merged.count);
            let error = merged.relative_error() + 1e-9;
            let kept = merged.values.iter().flat_map(|(value, times)| {
                std::iter::repeat_n(*value, usize::try_from(*times).unwrap())
            });
            for (truth, kept) in sorted.iter().zip(kept) {
                let off = (kept - truth).abs();
                prop_assert!(off <= error * truth.max(kept), "{} became {}", truth, kept);
            }
        }

        #[test]
        fn negative_and_wild_values_keep_the_bound(
            values in prop::collection::vec(any::<f64>(), 1..400),
        ) {
            let all = Datapoint::of_all(values.clone());
            let mut one_by_one = Datapoint::default();
            for value in values {
                one_by_one.observe(value);
            }
            for seen in [all, one_by_one] {
                prop_assert!(seen.values.len() <= MAX_VALUES);
                prop_assert!(seen.values.is_sorted_by(|a, b| a.0 < b.0));
                prop_assert_eq!(seen.values.iter().map(|v| v.1).sum::<u64>(), seen.count);
            }
        }
    }
}
