//! Since when tallyd runs, and where it did not.

use jiff::Timestamp;

/// Rounds come every five seconds. A longer time without one is a gap: the machine slept, the
/// process was stopped, or the clock was set forward.
const LONGEST_SILENCE_MS: i64 = 30_000;

/// Stretches remembered: minutes are sealed soon after they end, so older ones are not asked for.
const MAX_STRETCHES: usize = 16;

/// Milliseconds in a minute.
const MINUTE_MS: i64 = 60_000;

/// The stretches of time through which tallyd ran, in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Ran {
    stretches: Vec<(i64, i64)>,
}

impl Ran {
    pub(super) fn since(now: Timestamp) -> Self {
        let now = now.as_millisecond();
        Self {
            stretches: vec![(now, now)],
        }
    }

    /// Tallyd runs now. After a gap, or when the clock went back, a new stretch begins.
    pub(super) fn note(&mut self, now: Timestamp) {
        let now = now.as_millisecond();
        if let Some((_, until)) = self.stretches.last_mut()
            && (*until..=until.saturating_add(LONGEST_SILENCE_MS)).contains(&now)
        {
            *until = now;
            return;
        }
        if self.stretches.len() >= MAX_STRETCHES {
            self.stretches.remove(0);
        }
        self.stretches.push((now, now));
    }

    /// True if tallyd ran from the begin of a minute to its end.
    pub(super) fn through(&self, minute: i64) -> bool {
        let (begin, end) = (minute * MINUTE_MS, (minute + 1) * MINUTE_MS);
        self.stretches
            .iter()
            .any(|(since, until)| *since <= begin && *until >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(start: i64, seconds: &[i64]) -> Ran {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut ran = Ran::since(at(start));
        for second in seconds {
            ran.note(at(*second));
        }
        ran
    }

    fn whole(ran: &Ran) -> Vec<i64> {
        (0..10).filter(|minute| ran.through(*minute)).collect()
    }

    #[test]
    fn only_minutes_from_begin_to_end_are_whole() {
        assert_eq!(whole(&ran(0, &[30, 60, 75])), [0]);
        assert_eq!(whole(&ran(1, &[30, 60, 90, 120, 135])), [1]);
    }

    #[test]
    fn a_gap_leaves_the_minutes_that_it_touches_out() {
        let slept = ran(0, &[30, 60, 65, 305, 330, 360, 390, 420]);
        assert_eq!(whole(&slept), [0, 6]);
    }

    #[test]
    fn a_clock_that_went_back_begins_anew() {
        let back = ran(180, &[210, 240, 30, 60, 90, 120, 135]);
        assert_eq!(whole(&back), [1, 3]);
    }
}
