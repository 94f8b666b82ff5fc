//! What is read when: windows that end where values have settled, and full batches of queries.

use std::collections::BTreeMap;

use super::metric::Query;

/// CloudWatch takes at most 500 queries in one `GetMetricData` call.
const MAX_QUERIES: usize = 500;

/// CloudWatch gives at most 100,800 datapoints in one answer, and each further page of a call is
/// billed as the call was. So a batch is no larger than one answer holds.
const MAX_DATAPOINTS: i64 = 100_800;

/// A day: what the control total compares.
pub(super) const DAY: i64 = 86_400;

/// How far behind the day of the control total may end, in seconds.
pub(super) const MAX_LAG: i64 = 4_500;

/// The times of reading, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) period: i64,
    pub(super) delay: i64,
    pub(super) overlap: i64,
}

impl Times {
    /// Where the last complete period ends whose values have settled.
    pub(super) fn end(&self, now: i64) -> i64 {
        floor(now - self.delay, self.period)
    }

    /// How long values of a metric are kept.
    pub(super) fn kept(&self, query: &Query) -> i64 {
        if query.metric.measure().is_some() {
            (DAY + MAX_LAG).max(self.reread())
        } else {
            self.reread()
        }
    }

    /// The overlap in whole periods, and at least one: the last period is what gauges show.
    fn reread(&self) -> i64 {
        let up = floor(self.overlap + self.period - 1, self.period);
        up.max(self.period)
    }
}

fn floor(at: i64, step: i64) -> i64 {
    at.div_euclid(step) * step
}

/// One series of CloudWatch as far as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) query: Query,
    /// Values by the begin of their period.
    values: BTreeMap<i64, f64>,
    /// All before this was read whole.
    pub(super) read_to: Option<i64>,
}

impl Series {
    pub(super) const fn new(query: Query) -> Self {
        Self {
            query,
            values: BTreeMap::new(),
            read_to: None,
        }
    }

    /// Where the window up to `end` begins: at what was not read yet, and the overlap before it.
    fn window_from(&self, end: i64, times: &Times) -> i64 {
        let oldest = end - times.kept(&self.query);
        let read_to = self.read_to.unwrap_or(i64::MIN).min(end);
        read_to.saturating_sub(times.reread()).max(oldest)
    }

    /// Takes readings of a window that ends at `end`. Newer readings replace older ones. Returns
    /// how many values of what had been read before changed.
    pub(super) fn merge(&mut self, points: &[(i64, f64)], end: i64, is_whole: bool) -> u64 {
        let mut corrected = 0;
        for (at, value) in points {
            if !value.is_finite() {
                continue;
            }
            let old = self.values.insert(*at, *value);
            let known = self.read_to.is_some_and(|read_to| *at < read_to);
            if known && old.is_none_or(|old| old.total_cmp(value).is_ne()) {
                corrected += 1;
            }
        }
        if is_whole {
            self.read_to = Some(end);
        }
        corrected
    }

    /// Forgets what no window reaches any more.
    pub(super) fn prune(&mut self, end: i64, times: &Times) {
        self.values = self.values.split_off(&(end - times.kept(&self.query)));
    }

    /// The value of the period that begins at `at`.
    pub(super) fn value(&self, at: i64) -> Option<f64> {
        self.values.get(&at).copied()
    }

    /// The sum over periods that begin in `[from, to)`.
    pub(super) fn sum(&self, from: i64, to: i64) -> f64 {
        self.values.range(from..to).map(|(_, value)| value).sum()
    }

    /// The begin of the newest period before `to` with a value above zero.
    pub(super) fn last_busy(&self, to: i64) -> Option<i64> {
        let newest_first = self.values.range(..to).rev();
        let mut busy = newest_first.filter(|(_, value)| **value > 0.0);
        busy.next().map(|(at, _)| *at)
    }
}

/// One `GetMetricData` call: a window and the queries read over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) from: i64,
    pub(super) to: i64,
    /// Places in the list of series.
    pub(super) series: Vec<usize>,
}

/// Sorts series into full batches. One batch has one window: a call with several would read some
/// series too far and others not far enough.
pub(super) fn batches(series: &[Series], end: i64, times: &Times) -> Vec<Batch> {
    let mut windows: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (place, series) in series.iter().enumerate() {
        let from = series.window_from(end, times);
        windows.entry(from).or_default().push(place);
    }
    let mut batches = Vec::new();
    for (from, places) in windows {
        let periods = ((end - from) / times.period).max(1);
        let fitting = usize::try_from(MAX_DATAPOINTS / periods).unwrap_or(MAX_QUERIES);
        for places in places.chunks(fitting.clamp(1, MAX_QUERIES)) {
            batches.push(Batch {
                from,
                to: end,
                series: places.to_vec(),
            });
        }
    }
    batches
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "counts are exact: whole numbers far below 2^53"
)]
mod tests {
    use super::super::metric::Metric;
    use super::*;

    const TIMES: Times = Times {
        period: 300,
        delay: 600,
        overlap: 1_800,
    };
    /// Read at start for control totals.
    const HISTORY: i64 = DAY + MAX_LAG;
    /// A full hour.
    const END: i64 = 1_795_305_600;

    fn series(metric: Metric) -> Series {
        Series::new(Query {
            metric,
            model_id: "anthropic.claude-sonnet-5".into(),
            statistic: "Sum".into(),
        })
    }

    fn read_to(metric: Metric, read_to: i64) -> Series {
        Series {
            read_to: Some(read_to),
            ..series(metric)
        }
    }

    #[test]
    fn a_window_ends_at_a_period_that_has_settled() {
        assert_eq!(
            [600, 899, 900, 901].map(|after| TIMES.end(END + after)),
            [END, END, END + 300, END + 300]
        );
    }

    #[test]
    fn windows_are_never_mixed_and_what_failed_is_read_as_far_as_it_is_missing() {
        let all = [
            series(Metric::Invocations),
            read_to(Metric::Invocations, END - 300),
            read_to(Metric::Latency, END - 300),
            read_to(Metric::InputTokens, END - 7_200),
            series(Metric::Latency),
            read_to(Metric::OutputTokens, END - 3 * DAY),
            read_to(Metric::Throttles, END + 900),
        ];
        let batch = |from, series: &[usize]| Batch {
            from,
            to: END,
            series: series.to_vec(),
        };
        assert_eq!(
            batches(&all, END, &TIMES),
            [
                batch(END - HISTORY, &[0, 5]),
                batch(END - 9_000, &[3]),
                batch(END - 2_100, &[1]),
                batch(END - 1_800, &[2, 4, 6]),
            ]
        );
    }

    #[test]
    fn batches_are_full_and_fit_one_answer() {
        let lengths = |all: &[Series], times: &Times| -> Vec<usize> {
            let batches = batches(all, END, times);
            batches.iter().map(|batch| batch.series.len()).collect()
        };
        let known = vec![read_to(Metric::Invocations, END - 300); 1_001];
        assert_eq!(lengths(&known, &TIMES), [500, 500, 1]);
        // What is read at start are 303 periods of five minutes, 1,515 of one.
        let fresh = vec![series(Metric::Invocations); 333];
        assert_eq!(lengths(&fresh, &TIMES), [332, 1]);
        let minutes = Times {
            period: 60,
            ..TIMES
        };
        assert_eq!(lengths(&fresh[..133], &minutes), [66, 66, 1]);
    }

    #[test]
    fn a_newer_reading_replaces_an_older_one() {
        let mut series = series(Metric::Invocations);
        assert_eq!(series.merge(&[(END - 600, 3.0)], END - 300, true), 0);
        let later = [(END - 900, 1.0), (END - 600, 5.0), (END - 300, 2.0)];
        assert_eq!(series.merge(&later, END, true), 2);
        assert_eq!(series.sum(END - 900, END), 8.0);
        assert_eq!(series.merge(&later, END, true), 0);
        assert_eq!(series.read_to, Some(END));
    }

    #[test]
    fn what_came_in_part_is_kept_and_read_again() {
        let mut series = series(Metric::Invocations);
        series.merge(&[(END - 600, 3.0)], END, false);
        assert_eq!(series.read_to, None);
        assert_eq!(series.sum(END - DAY, END), 3.0);
        assert_eq!(batches(&[series], END, &TIMES)[0].from, END - HISTORY);
    }

    #[test]
    fn values_that_are_no_numbers_are_not_taken() {
        let mut series = series(Metric::Latency);
        let odd = [
            (END - 900, f64::NAN),
            (END - 600, f64::INFINITY),
            (END - 300, 7.0),
        ];
        series.merge(&odd, END, true);
        assert_eq!(
            [END - 900, END - 600, END - 300].map(|at| series.value(at)),
            [None, None, Some(7.0)]
        );
    }

    #[test]
    fn control_totals_keep_more_than_a_day_and_the_rest_the_overlap() {
        for (metric, kept) in [(Metric::InputTokens, HISTORY), (Metric::Latency, 1_800)] {
            let mut series = series(metric);
            series.merge(&[(END - kept - 300, 1.0), (END - kept, 2.0)], END, true);
            series.prune(END, &TIMES);
            assert_eq!(series.sum(i64::MIN, END), 2.0, "{metric:?}");
        }
    }

    #[test]
    fn the_last_busy_period_is_the_newest_above_zero() {
        let mut series = series(Metric::Invocations);
        assert_eq!(series.last_busy(END), None);
        let points = [(END - 900, 4.0), (END - 600, 0.0), (END, 9.0)];
        series.merge(&points, END, true);
        assert_eq!(series.last_busy(END), Some(END - 900));
    }
}
