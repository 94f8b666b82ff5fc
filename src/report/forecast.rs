//! What a budget will have cost at its end: the run rate by day of the week.
//!
//! Pure and in integers. The rate of a weekday is the mean of its last eight. The two newest days
//! are not learned from, because reports of them still come in; with fewer than 14 days before
//! them there is no forecast. How wrong the same rule was over past weeks is told with it.
#![deny(clippy::float_arithmetic)]

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

use crate::model::money::PicoUsd;

/// Days at the end of the history that are not learned from.
const YOUNG_DAYS: usize = 2;

/// Days without which nothing is told.
pub const MIN_DAYS: usize = 14;

/// Days that are learned from at most: eight of each weekday.
pub const LEARNED_DAYS: usize = 56;

/// The interval holds four of five outcomes, if days differ from their rate as they did before:
/// the normal distribution's 90th percentile, in millionths.
const SPREAD_MILLIONTHS: i128 = 1_281_552;

const MILLION: i128 = 1_000_000;

/// Squares of amounts are in micro-USD, so that they fit.
const PICO_PER_MICRO: i128 = 1_000_000;

/// Days that one test of the past adds up.
const TESTED_DAYS: usize = 7;

/// Tests of the past at most, a day apart.
const MAX_TESTS: usize = 28;

const WEEK: usize = 7;

/// Amounts of consecutive days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daily {
    pub first: Date,
    pub amounts: Vec<PicoUsd>,
}

/// What is expected of some days, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub low: PicoUsd,
    pub mid: PicoUsd,
    pub high: PicoUsd,
}

/// A learned run rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRate {
    /// By weekday, Monday first.
    rates: [PicoUsd; WEEK],
    /// Root of the mean square by which days differed from their rate, in micro-USD.
    spread: i128,
    /// Days that were learned from.
    pub learned: usize,
    /// The mean error of the rule over past weeks in millionths of what they cost; `None` if the
    /// history is too short to test it.
    pub error: Option<i64>,
}

impl Daily {
    /// The day after the last one.
    #[must_use]
    pub fn end(&self) -> Date {
        self.day(self.amounts.len())
    }

    fn day(&self, index: usize) -> Date {
        self.first.saturating_add(days(index))
    }

    /// The amount of a day; `None` outside.
    #[must_use]
    pub fn on(&self, day: Date) -> Option<PicoUsd> {
        let index = self.first.until(day).ok()?.get_days();
        self.amounts.get(usize::try_from(index).ok()?).copied()
    }

    fn weekday(&self, index: usize) -> usize {
        weekday(self.day(index))
    }
}

impl RunRate {
    /// Learns from a history that ends with the last complete day. `None` if it is too short.
    #[must_use]
    pub fn learn(history: &Daily) -> Option<Self> {
        let end = history.amounts.len().checked_sub(YOUNG_DAYS)?;
        let learned = end.min(LEARNED_DAYS);
        let rates = rates(history, end)?;
        let squares = (end - learned..end).map(|index| {
            let rate = rates[history.weekday(index)];
            let off = (history.amounts[index].0 - rate.0) / PICO_PER_MICRO;
            off.saturating_mul(off)
        });
        let sum = squares.fold(0_i128, i128::saturating_add);
        // Seven rates were taken from as many days: what is left tells the spread.
        let freedom = i128::try_from(learned - WEEK).unwrap_or(1);
        Some(Self {
            rates,
            spread: (sum / freedom).isqrt(),
            learned,
            error: past_error(history, end),
        })
    }

    /// What a day is expected to cost.
    #[must_use]
    pub fn of(&self, day: Date) -> PicoUsd {
        self.rates[weekday(day)]
    }

    /// What the days of `[from, to)` will have cost, with what is seen of them already: a day
    /// costs at least that.
    #[must_use]
    pub fn expect(&self, from: Date, to: Date, seen: impl Fn(Date) -> PicoUsd) -> Range {
        let (mut least, mut mid, mut count) = (0_i128, 0_i128, 0_i128);
        let mut day = from;
        while day < to {
            let seen = seen(day);
            least += seen.0;
            mid += seen.max(self.of(day)).0;
            count += 1;
            day = day.saturating_add(1.day());
        }
        // Each day varies by itself, and the rate is off by the same in all of them.
        let learned = i128::try_from(self.learned).unwrap_or(1).max(1);
        let varied = count + count * count / learned;
        let square = self.spread.saturating_mul(self.spread);
        let off = square.saturating_mul(varied).isqrt();
        let off = off.saturating_mul(SPREAD_MILLIONTHS) / MILLION * PICO_PER_MICRO;
        Range {
            low: PicoUsd((mid - off).max(least)),
            mid: PicoUsd(mid),
            high: PicoUsd(mid + off),
        }
    }

    /// The day on which `left` is used up at this rate, beginning with `from`; `None` if it lasts
    /// until `to`.
    #[must_use]
    pub fn runs_out(&self, left: PicoUsd, from: Date, to: Date) -> Option<Date> {
        let mut left = left.0;
        let mut day = from;
        while day < to {
            left -= self.of(day).0;
            if left <= 0 {
                return Some(day);
            }
            day = day.saturating_add(1.day());
        }
        None
    }
}

/// The mean of each weekday over the last days before `end`; `None` with too few.
fn rates(history: &Daily, end: usize) -> Option<[PicoUsd; WEEK]> {
    if end < MIN_DAYS {
        return None;
    }
    let mut sums = [0_i128; WEEK];
    let mut counts = [0_i128; WEEK];
    for index in end - end.min(LEARNED_DAYS)..end {
        let weekday = history.weekday(index);
        sums[weekday] += history.amounts[index].0;
        counts[weekday] += 1;
    }
    // Fourteen days hold each weekday twice.
    let mut rates = [PicoUsd::ZERO; WEEK];
    for (rate, (sum, count)) in rates.iter_mut().zip(sums.into_iter().zip(counts)) {
        *rate = PicoUsd(sum / count.max(1));
    }
    Some(rates)
}

/// The mean absolute error, in millionths, of weeks of the past that were forecast from what was
/// known before them. Weeks that cost nothing tell nothing.
fn past_error(history: &Daily, end: usize) -> Option<i64> {
    let (mut sum, mut tests) = (0_i128, 0_i128);
    let last = end.checked_sub(TESTED_DAYS)?;
    for begin in (MIN_DAYS + YOUNG_DAYS..=last).rev().take(MAX_TESTS) {
        let Some(rates) = rates(history, begin - YOUNG_DAYS) else {
            continue;
        };
        let week = begin..begin + TESTED_DAYS;
        let expected: i128 = week.clone().map(|i| rates[history.weekday(i)].0).sum();
        let actual: i128 = history.amounts[week].iter().map(|amount| amount.0).sum();
        if actual <= 0 {
            continue;
        }
        let off = (expected - actual).abs() / PICO_PER_MICRO;
        sum += off.saturating_mul(MILLION) / (actual / PICO_PER_MICRO).max(1);
        tests += 1;
    }
    (tests > 0).then(|| i64::try_from(sum / tests).unwrap_or(i64::MAX))
}

fn weekday(day: Date) -> usize {
    usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or(0)
}

fn days(count: usize) -> Span {
    i64::try_from(count).unwrap_or(i64::MAX).days()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    const USD: i128 = 1_000_000_000_000;

    /// Ten dollars on working days, one on each of the weekend.
    fn office(first: &str, count: usize) -> Daily {
        let first = day(first);
        let amounts = (0..count).map(|index| {
            let weekday = weekday(first.saturating_add(days(index)));
            PicoUsd(if weekday < 5 { 10 * USD } else { USD })
        });
        Daily {
            first,
            amounts: amounts.collect(),
        }
    }

    #[test]
    fn fourteen_days_and_two_young_ones_are_needed() {
        assert_eq!(RunRate::learn(&office("2026-10-01", 15)), None);
        assert_eq!(RunRate::learn(&office("2026-10-01", 1)), None);
        let learned = RunRate::learn(&office("2026-10-01", 16)).unwrap();
        assert_eq!((learned.learned, learned.error), (14, None));
    }

    #[test]
    fn a_steady_week_is_forecast_to_the_cent() {
        let rate = RunRate::learn(&office("2026-09-28", 42)).unwrap();
        let november = rate.expect(day("2026-11-09"), day("2026-12-01"), |_| PicoUsd::ZERO);
        // Sixteen working days and six of weekends.
        let all = PicoUsd(166 * USD);
        assert_eq!(
            november,
            Range {
                low: all,
                mid: all,
                high: all
            }
        );
        assert_eq!(rate.error, Some(0));
    }

    #[test]
    fn the_two_newest_days_are_not_learned_from() {
        let mut history = office("2026-09-28", 42);
        let before = RunRate::learn(&history);
        history.amounts[40] = PicoUsd(900 * USD);
        history.amounts[41] = PicoUsd::ZERO;
        assert_eq!(RunRate::learn(&history), before);
    }

    #[test]
    fn what_is_seen_of_a_day_is_its_least() {
        let rate = RunRate::learn(&office("2026-09-28", 42)).unwrap();
        let seen = |at: Date| {
            let dear = at == day("2026-11-09");
            PicoUsd(if dear { 50 * USD } else { USD })
        };
        let two_days = rate.expect(day("2026-11-09"), day("2026-11-11"), seen);
        assert_eq!(two_days.mid, PicoUsd(60 * USD));
    }

    #[test]
    fn days_that_vary_widen_the_interval_and_show_in_the_error() {
        let mut history = office("2026-09-28", 42);
        for (index, amount) in history.amounts.iter_mut().enumerate() {
            // Every other week costs half more.
            if (index / WEEK).is_multiple_of(2) {
                amount.0 += amount.0 / 2;
            }
        }
        let rate = RunRate::learn(&history).unwrap();
        let week = rate.expect(day("2026-11-09"), day("2026-11-16"), |_| PicoUsd::ZERO);
        assert!(week.low < week.mid && week.mid < week.high, "{week:?}");
        let error = rate.error.unwrap();
        assert!((100_000..400_000).contains(&error), "{error}");
    }

    #[test]
    fn a_budget_runs_out_on_the_day_that_uses_it_up() {
        let rate = RunRate::learn(&office("2026-09-28", 42)).unwrap();
        let from = day("2026-11-09");
        let to = day("2026-12-01");
        let runs_out = |usd: i128| rate.runs_out(PicoUsd(usd * USD), from, to);
        assert_eq!(runs_out(10), Some(from));
        assert_eq!(runs_out(51), Some(day("2026-11-14")));
        assert_eq!(runs_out(166), Some(day("2026-11-30")));
        assert_eq!(runs_out(167), None);
    }

    proptest! {
        #[test]
        fn a_forecast_is_ordered_and_not_below_what_is_seen(
            amounts in prop::collection::vec(0_i128..1_000_000 * USD, 16..80),
            seen in 0_i128..1_000 * USD,
        ) {
            let history = Daily {
                first: day("2026-01-05"),
                amounts: amounts.into_iter().map(PicoUsd).collect(),
            };
            let rate = RunRate::learn(&history).expect("sixteen days are enough");
            let end = history.end();
            let to = end.saturating_add(20.days());
            let range = rate.expect(end, to, |_| PicoUsd(seen));
            prop_assert!(range.low <= range.mid && range.mid <= range.high);
            prop_assert!(range.low.0 >= 20 * seen);
        }
    }
}
