//! When periodic jobs run, and how everything stops.
//!
//! A job is `while let Some(now) = ticks.next().await { round(now).await }`. Ticks stand at fixed
//! places of the wall clock, at an offset that depends on the job's name only: jobs of the same
//! period spread, and a restart does not move them. A tick that comes while the job still works
//! is left out and counted, never made up for.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;

/// The longest sleep: the wall clock may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_mins(1);

/// Tells everyone who holds a clone to stop.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells all clones to stop, for good.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when [`Stop::stop`] was called on any clone, at once if it was before.
    pub async fn stopped(&self) {
        let mut changes = self.0.subscribe();
        changes
            .wait_for(|stopped| *stopped)
            .await
            .expect("self holds the sender, so the channel is open");
    }
}

/// A random time from 0 to `longest`: what many do at once, they do not do at the same moment.
#[must_use]
pub fn jitter(longest: Duration) -> Duration {
    // The standard library has no generator, but its hash maps have random keys.
    let random = RandomState::new().hash_one(0);
    longest.mul_f64(random as f64 / u64::MAX as f64)
}

/// The ticks of one job.
#[derive(Debug)]
pub struct Ticks {
    clock: Clock,
    stop: Stop,
    plan: Plan,
}

impl Ticks {
    /// Ticks every `period` (at least a millisecond) until `stop`, at an offset given by the
    /// job's name. The first tick is the first such place after now.
    #[must_use]
    pub fn every(job: &str, period: Duration, clock: Clock, stop: Stop) -> Self {
        let plan = Plan::new(job, period, clock.now());
        Self { clock, stop, plan }
    }

    /// Lets the first tick come at once.
    #[must_use]
    pub fn starting_now(mut self) -> Self {
        self.plan.due = self.clock.now().as_millisecond();
        self
    }

    /// Moves the ticks to another place within the period.
    #[must_use]
    pub fn at(mut self, offset: Duration) -> Self {
        let offset = i64::try_from(offset.as_millis()).unwrap_or(0);
        self.plan.offset = offset.rem_euclid(self.plan.period);
        self.plan.due = self.plan.first_after(self.clock.now().as_millisecond());
        self
    }

    /// Waits for the next tick and returns the time, or `None` when it is time to stop.
    pub async fn next(&mut self) -> Option<Timestamp> {
        loop {
            if self.stop.is_stopped() {
                return None;
            }
            let now = self.clock.now();
            let Some(wait) = self.plan.wait(now) else {
                return Some(now);
            };
            tokio::select! {
                () = self.stop.stopped() => return None,
                () = tokio::time::sleep(wait.min(MAX_SLEEP)) => {}
            }
        }
    }

    /// How many ticks were left out since the start.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.plan.missed
    }
}

/// Where the ticks stand; all times are milliseconds since 1970.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    period: i64,
    offset: i64,
    due: i64,
    missed: u64,
}

impl Plan {
    fn new(job: &str, period: Duration, now: Timestamp) -> Self {
        let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
        let mut plan = Self {
            period,
            offset: offset(job, period),
            due: 0,
            missed: 0,
        };
        plan.due = plan.first_after(now.as_millisecond());
        plan
    }

    /// How long to wait for the tick that is due; `None` if this is it, and the next one is set.
    fn wait(&mut self, now: Timestamp) -> Option<Duration> {
        let now = now.as_millisecond();
        let next = self.first_after(now);
        if now >= self.due {
            let late = now.saturating_sub(self.due) / self.period;
            self.missed += u64::try_from(late).unwrap_or(0);
            self.due = next;
            return None;
        }
        // More than a period away: the clock was set back.
        self.due = self.due.min(next);
        let wait = self.due.saturating_sub(now);
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
    }

    fn first_after(&self, now: i64) -> i64 {
        let phase = now.saturating_sub(self.offset).rem_euclid(self.period);
        now.saturating_add(self.period - phase)
    }
}

/// A stable place within the period for a job (FNV-1a over its name).
fn offset(job: &str, period: i64) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in job.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let place = hash % u64::try_from(period).unwrap_or(1);
    i64::try_from(place).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    fn plan(period: i64, offset: i64, due: i64) -> Plan {
        Plan {
            period,
            offset,
            due,
            missed: 0,
        }
    }

    #[test]
    fn ticks_stand_at_the_offset_whenever_the_job_started() {
        let mut plan = plan(1_000, 300, 5_300);
        assert_eq!(plan.wait(at(5_000)), Some(Duration::from_millis(300)));
        assert_eq!(plan.wait(at(5_310)), None);
        assert_eq!(plan.wait(at(5_310)), Some(Duration::from_millis(990)));
        assert_eq!(plan.missed, 0);
    }

    #[test]
    fn a_long_round_leaves_ticks_out_and_counts_them() {
        let mut plan = plan(1_000, 0, 5_000);
        assert_eq!(plan.wait(at(8_400)), None);
        assert_eq!(plan.missed, 3);
        assert_eq!(plan.wait(at(8_400)), Some(Duration::from_millis(600)));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_job() {
        let mut plan = plan(1_000, 0, 900_000);
        assert_eq!(plan.wait(at(5_400)), Some(Duration::from_millis(600)));
        assert_eq!(plan.missed, 0);
    }

    #[test]
    fn jobs_of_one_period_spread_and_stay_where_they_are() {
        let period = Duration::from_secs(15);
        let offsets =
            ["system", "backup", "prune", "series"].map(|job| Plan::new(job, period, at(0)).offset);
        assert_eq!(offsets, [7_956, 14_247, 7_271, 3_424]);
    }

    #[test]
    fn ticks_can_be_put_at_a_place_of_the_period() {
        let minute = Duration::from_mins(1);
        let ticks = |offset| {
            let clock = Clock::manual(at(120_000));
            Ticks::every("job", minute, clock, Stop::new()).at(offset)
        };
        assert_eq!(
            ticks(Duration::from_secs(20)).plan,
            plan(60_000, 20_000, 140_000)
        );
        assert_eq!(
            ticks(Duration::from_secs(80)).plan,
            plan(60_000, 20_000, 140_000)
        );
    }

    #[test]
    fn jitter_spreads_over_the_whole_range() {
        let longest = Duration::from_secs(8);
        let all: Vec<_> = (0..200).map(|_| jitter(longest)).collect();
        assert!(all.iter().all(|wait| *wait <= longest));
        assert!(all.iter().any(|wait| *wait < longest / 4));
        assert!(all.iter().any(|wait| *wait > longest * 3 / 4));
    }

    #[tokio::test]
    async fn the_first_tick_can_come_at_once_and_stop_ends_the_wait() {
        let stop = Stop::new();
        let clock = Clock::manual(at(1_000));
        let mut ticks =
            Ticks::every("job", Duration::from_hours(1), clock, stop.clone()).starting_now();
        assert_eq!(ticks.next().await, Some(at(1_000)));
        let later = async {
            tokio::task::yield_now().await;
            stop.stop();
        };
        let (tick, ()) = tokio::join!(ticks.next(), later);
        assert_eq!(tick, None);
        assert_eq!(ticks.next().await, None);
    }

    #[tokio::test]
    async fn whoever_asks_after_the_stop_is_told_at_once() {
        let stop = Stop::new();
        assert!(!stop.is_stopped());
        stop.clone().stop();
        stop.stopped().await;
        assert!(stop.is_stopped());
    }

    proptest! {
        #[test]
        fn the_next_tick_is_never_more_than_a_period_away(
            job in "[a-z]{0,8}",
            period in 1_u64..100_000_000,
            now in -62_135_596_800_000_i64..253_370_764_800_000,
        ) {
            let mut plan = Plan::new(&job, Duration::from_millis(period), at(now));
            let wait = plan.wait(at(now)).unwrap();
            prop_assert!(wait > Duration::ZERO && wait <= Duration::from_millis(period));
        }
    }
}
