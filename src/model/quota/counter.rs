//! What was posted and is held in one window of one scope.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::bounds::Bounds;
use crate::model::policy::Span;
use crate::model::window::QUARTER_SECONDS;

/// The counters of one limit, by scope.
#[derive(Debug, Default)]
pub(super) struct Counters {
    by_scope: HashMap<Arc<str>, Counter>,
    calendar: Calendar,
}

/// The window that began last; counters that begin in it share it.
#[derive(Debug, Default)]
struct Calendar {
    latest: Option<Arc<Bounds>>,
}

impl Counters {
    /// The counter of a scope in its window of now; made where it is missing.
    pub(super) fn of(
        &mut self,
        scope: &str,
        span: Span,
        zone: &TimeZone,
        now: Timestamp,
    ) -> &mut Counter {
        match self.by_scope.entry_ref(scope) {
            EntryRef::Occupied(known) => {
                let counter = known.into_mut();
                counter.roll(&mut self.calendar, span, zone, now);
                counter
            }
            EntryRef::Vacant(missing) => {
                let scope: Arc<str> = scope.into();
                let window = self.calendar.window(span, zone, now);
                let counter = Counter::new(scope.clone(), span, window);
                missing.insert_with_key(scope, counter)
            }
        }
    }

    /// The counter of a scope as it was left.
    pub(super) fn known(&mut self, scope: &str) -> Option<&mut Counter> {
        self.by_scope.get_mut(scope)
    }

    /// All in their windows of now.
    pub(super) fn all(
        &mut self,
        span: Span,
        zone: &TimeZone,
        now: Timestamp,
    ) -> impl Iterator<Item = &Counter> {
        let calendar = &mut self.calendar;
        self.by_scope.values_mut().map(move |counter| {
            counter.roll(calendar, span, zone, now);
            &*counter
        })
    }

    /// Forgets those that hold and count nothing.
    pub(super) fn prune(&mut self, span: Span, zone: &TimeZone, now: Timestamp) {
        let calendar = &mut self.calendar;
        self.by_scope.retain(|_, counter| {
            counter.roll(calendar, span, zone, now);
            !counter.is_empty()
        });
    }
}

impl Calendar {
    fn window(&mut self, span: Span, zone: &TimeZone, now: Timestamp) -> Arc<Bounds> {
        match span {
            Span::Calendar(window) => match &self.latest {
                Some(latest) if latest.contains(&now) => latest.clone(),
                _ => {
                    let window = Arc::new(Bounds::new(window.containing(now, zone)));
                    self.latest = Some(window.clone());
                    window
                }
            },
            Span::Rolling { seconds } => {
                let start = now
                    .saturating_sub(SignedDuration::from_secs(seconds))
                    .unwrap_or(Timestamp::MIN);
                Arc::new(Bounds::new(start..now))
            }
        }
    }
}

/// Amounts are in grains of the limit's unit.
#[derive(Debug)]
pub(super) struct Counter {
    /// The values by which the limit counts, joined.
    pub(super) scope: Arc<str>,
    window: Arc<Bounds>,
    posted: i128,
    pub(super) held: i128,
    /// Posted for the time after the window, by clocks that are ahead.
    ahead: i128,
    /// Of rolling windows: quarter hours, the oldest first, with what was posted in each.
    quarters: VecDeque<(i64, i128)>,
    rolling: bool,
}

impl Counter {
    fn new(scope: Arc<str>, span: Span, window: Arc<Bounds>) -> Self {
        Self {
            scope,
            window,
            posted: 0,
            held: 0,
            ahead: 0,
            quarters: VecDeque::new(),
            rolling: matches!(span, Span::Rolling { .. }),
        }
    }

    /// Goes on to the window of `now`. A clock that is set back changes nothing: a window that has
    /// begun stays until its end.
    fn roll(&mut self, calendar: &mut Calendar, span: Span, zone: &TimeZone, now: Timestamp) {
        if let Span::Rolling { seconds } = span {
            let from = (now.as_second() - seconds).div_euclid(QUARTER_SECONDS);
            while let Some((quarter, amount)) = self.quarters.front().copied() {
                if quarter >= from {
                    break;
                }
                self.quarters.pop_front();
                self.posted -= amount;
            }
            self.window = calendar.window(span, zone, now);
            return;
        }
        if now < self.window.end {
            return;
        }
        let next = calendar.window(span, zone, now);
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

    pub(super) fn window(&self) -> Arc<Bounds> {
        self.window.clone()
    }

    fn is_empty(&self) -> bool {
        self.posted == 0 && self.held == 0 && self.ahead == 0
    }
}
