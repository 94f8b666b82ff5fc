//! Ready gauges: what one comparison cannot say, worked out so that an alarm stays plain.
//!
//! A share of few requests says little: one failure of two is 50 %. So each gauge is told only
//! where its shorter window holds [`MIN_REQUESTS`].

use super::Datapoint;

/// Requests without which shares and burn rates are not told.
pub const MIN_REQUESTS: u64 = 20;

/// The longest window in minutes: six hours.
pub const SLOW_MINUTES: i64 = 360;

/// The window of the error share, and the shorter one of the fast burn rate.
const SHARE_MINUTES: i64 = 5;
/// The longer window of the fast burn rate.
const FAST_MINUTES: i64 = 60;
/// The shorter window of the slow burn rate.
const SLOW_CONFIRM_MINUTES: i64 = 30;

/// The requests that finished in one minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finished {
    /// Minutes since 1970.
    pub minute: i64,
    pub requests: u64,
    pub errors: f64,
}

impl Finished {
    /// From a datapoint of `error_rate`: 0 or 100 for each request.
    #[must_use]
    pub fn of(minute: i64, count: u64, sum: f64) -> Self {
        Self {
            minute,
            requests: count,
            errors: sum / 100.0,
        }
    }
}

/// The gauges as they stand at the end of a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ready {
    /// Share of failed requests in the last five minutes, 0 to 1.
    pub error_share: Option<f64>,
    /// The lesser burn rate of the last hour and the last five minutes.
    pub burn_fast: Option<f64>,
    /// The lesser burn rate of the last six hours and the last 30 minutes.
    pub burn_slow: Option<f64>,
}

impl Ready {
    /// Works the gauges out at the end of `minute`. `objective` is the share of requests that
    /// should work: a burn rate of 1 uses the errors it leaves exactly up.
    #[must_use]
    pub fn of(finished: &[Finished], minute: i64, objective: f64) -> Self {
        let share = |minutes: i64| share(finished, minute, minutes);
        let burn = |short: i64, long: i64| {
            let budget = 1.0 - objective;
            let lesser = share(short)?.min(share(long)?);
            (budget > 0.0).then_some(lesser / budget)
        };
        Self {
            error_share: share(SHARE_MINUTES),
            burn_fast: burn(SHARE_MINUTES, FAST_MINUTES),
            burn_slow: burn(SLOW_CONFIRM_MINUTES, SLOW_MINUTES),
        }
    }

    /// The gauges as datapoints of their minute metrics.
    pub fn minute_values(self) -> impl Iterator<Item = (&'static str, Datapoint)> {
        let values = [
            ("error_share", self.error_share.map(|share| share * 100.0)),
            ("error_budget_burn_rate_fast", self.burn_fast),
            ("error_budget_burn_rate_slow", self.burn_slow),
        ];
        let known = values.into_iter();
        known.filter_map(|(metric, value)| Some((metric, Datapoint::of(value?))))
    }
}

/// The share of errors in the minutes up to `last`, if there were enough requests.
fn share(finished: &[Finished], last: i64, minutes: i64) -> Option<f64> {
    let within = finished
        .iter()
        .filter(|one| one.minute > last - minutes && one.minute <= last);
    let (mut requests, mut errors) = (0, 0.0);
    for one in within {
        requests += one.requests;
        errors += one.errors;
    }
    (requests >= MIN_REQUESTS).then(|| errors / requests as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(minute: i64, requests: u64, errors: f64) -> Finished {
        Finished {
            minute,
            requests,
            errors,
        }
    }

    #[test]
    fn a_share_of_few_requests_is_not_told() {
        let few = [finished(100, 19, 19.0)];
        assert_eq!(Ready::of(&few, 100, 0.99), Ready::default());
        let enough = [finished(96, 10, 5.0), finished(100, 10, 0.0)];
        assert_eq!(Ready::of(&enough, 100, 0.99).error_share, Some(0.25));
        assert_eq!(Ready::of(&enough, 101, 0.99).error_share, None);
    }

    #[test]
    fn a_burn_rate_is_that_of_the_window_that_burns_less() {
        // An hour ago all was well; for five minutes 10 % fail.
        let mut minutes = vec![finished(50, 900, 0.0)];
        minutes.extend((96..=100).map(|minute| finished(minute, 20, 2.0)));
        let ready = Ready::of(&minutes, 100, 0.99);
        let close = |seen: Option<f64>, expected: f64| (seen.unwrap() - expected).abs() < 1e-9;
        assert!(close(ready.error_share, 0.1));
        assert!(close(ready.burn_fast, 1.0));
        assert!(close(ready.burn_slow, 1.0));
        // Errors that are over do not count any more.
        let over = [finished(50, 100, 100.0), finished(100, 100, 0.0)];
        let ready = Ready::of(&over, 100, 0.99);
        assert_eq!((ready.burn_fast, ready.burn_slow), (Some(0.0), Some(0.0)));
    }
}
