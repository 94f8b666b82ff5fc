//! The arithmetic: minutes from quantities, money from minutes, return from money.

use super::{MICRO, Range};
use crate::model::money::{PicoUsd, divide_half_even};

/// A result of a range: the least, the middle where one is stated, and the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub low: i128,
    pub mid: Option<i128>,
    pub high: i128,
}

impl Span {
    /// Nothing, with a middle.
    pub const ZERO: Self = Self {
        low: 0,
        mid: Some(0),
        high: 0,
    };

    /// So many things, each worth `each`; `quantity` counts parts of which `parts` make a thing.
    #[must_use]
    pub fn of(quantity: u64, parts: i128, each: Range) -> Self {
        let times = |each: i64| divide_half_even(i128::from(quantity) * i128::from(each), parts);
        Self {
            low: times(each.low),
            mid: each.mid.map(times),
            high: times(each.high),
        }
    }

    /// Both together; without both middles there is none.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            low: self.low.saturating_add(other.low),
            mid: match (self.mid, other.mid) {
                (Some(mine), Some(theirs)) => Some(mine.saturating_add(theirs)),
                _ => None,
            },
            high: self.high.saturating_add(other.high),
        }
    }

    /// The same amount less at each place.
    #[must_use]
    pub fn less(self, amount: i128) -> Self {
        Self {
            low: self.low.saturating_sub(amount),
            mid: self.mid.map(|mid| mid.saturating_sub(amount)),
            high: self.high.saturating_sub(amount),
        }
    }
}

/// What saved time is worth in pico-USD, of millionths of minutes at an hourly rate.
///
/// `realisation` is the share of saved time that becomes output. A loss of time is not softened:
/// the low end of a loss takes the larger share.
#[must_use]
pub fn value_of(minutes: Span, hourly: PicoUsd, realisation: Range) -> Span {
    let gross = |minutes: i128| divide_half_even(minutes.saturating_mul(hourly.0), 60 * MICRO);
    let share =
        |gross: i128, share: i64| divide_half_even(gross.saturating_mul(i128::from(share)), MICRO);
    let (low, high) = (gross(minutes.low), gross(minutes.high));
    Span {
        low: share(low, realisation.low).min(share(low, realisation.high)),
        mid: match (minutes.mid, realisation.mid) {
            (Some(mid), Some(part)) => Some(share(gross(mid), part)),
            _ => None,
        },
        high: share(high, realisation.low).max(share(high, realisation.high)),
    }
}

/// `(value - cost) / cost` in millionths: 3,000,000 is 300 %. `None` where nothing was spent.
#[must_use]
pub fn return_on(value: Span, cost: PicoUsd) -> Option<Span> {
    if cost.0 <= 0 {
        return None;
    }
    let of = |value: i128| {
        let gain = value.saturating_sub(cost.0);
        divide_half_even(gain.saturating_mul(MICRO), cost.0)
    };
    Some(Span {
        low: of(value.low),
        mid: value.mid.map(of),
        high: of(value.high),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::business::MINUTE_MS;

    fn range(low: i64, mid: Option<i64>, high: i64) -> Range {
        Range { low, mid, high }
    }

    const DOLLAR: i128 = 1_000_000_000_000;

    #[test]
    fn an_hour_at_the_keyboard_saves_what_is_assumed() {
        // Ten hours; low is a loss of 16 %.
        let active_ms = 10 * 3_600_000;
        let saved = Span::of(
            active_ms,
            MINUTE_MS,
            range(-160_000, Some(100_000), 400_000),
        );
        assert_eq!(
            saved,
            Span {
                low: -96_000_000,
                mid: Some(60_000_000),
                high: 240_000_000
            }
        );
        let realised = range(250_000, Some(500_000), 1_000_000);
        let value = value_of(saved, PicoUsd(90 * DOLLAR), realised);
        // A loss of 1.6 hours costs all of its 144 dollars.
        assert_eq!(
            value,
            Span {
                low: -144 * DOLLAR,
                mid: Some(45 * DOLLAR),
                high: 360 * DOLLAR
            }
        );
        assert_eq!(
            return_on(value, PicoUsd(90 * DOLLAR)),
            Some(Span {
                low: -2_600_000,
                mid: Some(-500_000),
                high: 3_000_000
            })
        );
    }

    #[test]
    fn without_a_stated_middle_there_is_none() {
        let saved = Span::of(10, 1, range(1, None, 3));
        assert_eq!(saved.mid, None);
        assert_eq!(saved.plus(Span::ZERO).mid, None);
        let all = range(MICRO_ONE, Some(MICRO_ONE), MICRO_ONE);
        assert_eq!(value_of(saved, PicoUsd(DOLLAR), all).mid, None);
    }

    const MICRO_ONE: i64 = 1_000_000;

    #[test]
    fn a_return_on_nothing_does_not_exist() {
        assert_eq!(return_on(Span::ZERO, PicoUsd::ZERO), None);
        assert_eq!(return_on(Span::ZERO, PicoUsd(-1)), None);
    }

    fn ordered() -> impl Strategy<Value = Range> {
        prop::array::uniform3(-1_000_000_000_i64..1_000_000_000).prop_map(|mut ends| {
            ends.sort_unstable();
            range(ends[0], Some(ends[1]), ends[2])
        })
    }

    fn shares() -> impl Strategy<Value = Range> {
        prop::array::uniform3(0_i64..=1_000_000).prop_map(|mut ends| {
            ends.sort_unstable();
            range(ends[0], Some(ends[1]), ends[2])
        })
    }

    proptest! {
        #[test]
        fn low_mid_and_high_stay_in_order(
            quantity in 0_u64..1_000_000_000_000_000,
            each in ordered(),
            realised in shares(),
            rate in 0_i128..1_000_000 * DOLLAR,
            cost in 1_i128..1_000_000_000 * DOLLAR,
        ) {
            let saved = Span::of(quantity, MINUTE_MS, each);
            let mid = saved.mid.unwrap();
            prop_assert!(saved.low <= mid && mid <= saved.high);
            let value = value_of(saved, PicoUsd(rate), realised);
            let mid = value.mid.unwrap();
            prop_assert!(value.low <= mid && mid <= value.high);
            let roi = return_on(value, PicoUsd(cost)).unwrap();
            prop_assert!(roi.low <= roi.mid.unwrap() && roi.mid.unwrap() <= roi.high);
            // Below nothing gained and nothing lost it is negative, above it positive.
            prop_assert_eq!(value.low < cost, roi.low < 0 || (roi.low == 0 && value.low < cost));
        }

        #[test]
        fn minutes_are_within_half_a_millionth_of_the_exact_rational(
            quantity in 0_u64..1_000_000_000_000,
            each in -1_000_000_000_i64..1_000_000_000,
        ) {
            let saved = Span::of(quantity, MINUTE_MS, range(each, None, each)).low;
            let exact_times = i128::from(quantity) * i128::from(each);
            let off = (saved * MINUTE_MS - exact_times).abs();
            prop_assert!(2 * off <= MINUTE_MS);
        }

        #[test]
        fn parts_add_up_to_the_whole(
            parts in prop::collection::vec(0_u64..1_000_000_000, 0..20),
            each in ordered(),
        ) {
            let mut sum = Span::ZERO;
            for part in &parts {
                sum = sum.plus(Span::of(*part, 1, each));
            }
            prop_assert_eq!(sum, Span::of(parts.iter().sum(), 1, each));
        }
    }
}
