//! What was posted and is held in one window of one scope.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::model::policy::Span;
use crate::model::window::QUARTER_SECONDS;

/// Amounts are in grains of the limit's unit.
#[derive(Debug)]
pub(super) struct Counter {
    /// The values by which the limit counts, joined.
    pub(super) scope: Arc<str>,
    window: Range<Timestamp>,
    posted: i128,
    pub(super) held: i128,
    /// Posted for the time after the window, by clocks that are ahead.
    ahead: i128,
    /// Of rolling windows: quarter hours, the oldest first, with what was posted in each.
    quarters: VecDeque<(i64, i128)>,
    rolling: bool,
}

impl Counter {
    pub(super) fn new(scope: Arc<str>, span: Span, zone: &TimeZone, now: Timestamp) -> Self {
        Self {
            scope,
            window: window(span, zone, now),
            posted: 0,
            held: 0,
            ahead: 0,
            quarters: VecDeque::new(),
            rolling: matches!(span, Span::Rolling { .. }),
        }
    }

    /// Goes on to the window of `now`. A clock that is set back changes nothing: a window that has
    /// begun stays until its end.
    pub(super) fn roll(&mut self, span: Span, zone: &TimeZone, now: Timestamp) {
        if let Span::Rolling { seconds } = span {
            let from = (now.as_second() - seconds).div_euclid(QUARTER_SECONDS);
            while let Some((quarter, amount)) = self.quarters.front().copied() {
                if quarter >= from {
                    break;
                }
                self.quarters.pop_front();
                self.posted -= amount;
            }
            self.window = window(span, zone, now);
            return;
        }
        if now < self.window.end {
            return;
        }
        let next = window(span, zone, now);
        // What was held stays held for the window it was held in, and that is over.
        self.held = 0;
        self.posted = if next.start == self.window.end {
            self.ahead
        } else {
            0
        };
        self.ahead = 0;
        self.window = next;
    }

    pub(super) fn post(&mut self, amount: i128, booked: Timestamp) {
        if self.rolling {
            let quarter = booked.as_second().div_euclid(QUARTER_SECONDS);
            let from = self.window.start.as_second().div_euclid(QUARTER_SECONDS);
            if quarter < from {
                return;
            }
            let place = self.quarters.partition_point(|(known, _)| *known < quarter);
            match self.quarters.get_mut(place) {
                Some((known, sum)) if *known == quarter => *sum += amount,
                _ => self.quarters.insert(place, (quarter, amount)),
            }
            self.posted += amount;
        } else if booked >= self.window.end {
            self.ahead += amount;
        } else if booked >= self.window.start {
            self.posted += amount;
        }
    }

    /// Frees what a reservation held in the window that began at `window`.
    pub(super) fn free(&mut self, window: Timestamp, amount: i128) {
        if self.rolling || window == self.window.start {
            self.held -= amount;
        }
    }

    pub(super) const fn posted(&self) -> i128 {
        self.posted
    }

    pub(super) fn window(&self) -> Range<Timestamp> {
        self.window.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.posted == 0 && self.held == 0 && self.ahead == 0
    }
}

fn window(span: Span, zone: &TimeZone, now: Timestamp) -> Range<Timestamp> {
    match span {
        Span::Calendar(window) => window.containing(now, zone),
        Span::Rolling { seconds } => {
            let start = now
                .saturating_sub(SignedDuration::from_secs(seconds))
                .unwrap_or(Timestamp::MIN);
            start..now
        }
    }
}
