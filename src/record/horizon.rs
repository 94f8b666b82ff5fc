//! Which times are believed.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::Sifted;
use crate::model::usage::{Activity, Point, Refusal, UsageRecord, Verdict, source};

/// Usage may be this old: as long as days and months are kept.
const OLDEST_MONTHS: i32 = 25;

/// Clocks of senders may be ahead by this much.
const AHEAD_HOURS: i64 = 1;

/// Where an item of OTLP has its time.
const EVENT_TIME: &str = "event.timestamp, else timeUnixNano";

/// The times that are accepted now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon {
    oldest: Timestamp,
    newest: Timestamp,
}

impl Horizon {
    pub(super) fn at(now: Timestamp) -> Self {
        let oldest = now
            .to_zoned(TimeZone::UTC)
            .checked_sub(OLDEST_MONTHS.months())
            .map_or(Timestamp::MIN, |at| at.timestamp());
        Self {
            oldest,
            newest: now.saturating_add(AHEAD_HOURS.hours()).unwrap_or(now),
        }
    }

    pub(super) fn instant(&self, field: &str, at: Timestamp) -> Result<(), Refusal> {
        if (self.oldest..=self.newest).contains(&at) {
            return Ok(());
        }
        let (oldest, newest) = (self.oldest, self.newest);
        Err(Refusal {
            code: "time_out_of_range",
            message: format!("{field}: must be between {oldest:.0} and {newest:.0}, got {at}"),
        })
    }

    pub(super) fn record(&self, record: &UsageRecord) -> Result<(), Refusal> {
        let field = match &*record.source {
            source::EVENTS | source::RETRIES => EVENT_TIME,
            _ => "at",
        };
        self.instant(field, record.at)
    }

    /// Activities come from telemetry alone.
    pub(super) fn activity(&self, activity: &Activity) -> Result<(), Refusal> {
        self.instant(EVENT_TIME, activity.at)
    }

    pub(super) fn point(&self, point: &Point) -> Result<(), Refusal> {
        self.instant("timeUnixNano", point.at)?;
        self.instant("startTimeUnixNano", point.start)?;
        if point.start > point.at {
            return Err(Refusal {
                code: "time_out_of_range",
                message: "startTimeUnixNano: must not be after timeUnixNano".to_owned(),
            });
        }
        Ok(())
    }

    /// Takes out what a check refuses, and keeps its place.
    pub(super) fn sift<T>(items: &mut Vec<T>, check: impl Fn(&T) -> Result<(), Refusal>) -> Sifted {
        let mut sifted = Vec::with_capacity(items.len());
        items.retain(|item| match check(item) {
            Ok(()) => {
                sifted.push(None);
                true
            }
            Err(refusal) => {
                sifted.push(Some(Verdict::Rejected(refusal)));
                false
            }
        });
        sifted
    }
}

/// Puts the ledger's verdicts into the places that the check left open.
pub(super) fn join(sifted: Sifted, verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let mut verdicts = verdicts.into_iter();
    sifted
        .into_iter()
        .filter_map(|decided| decided.or_else(|| verdicts.next()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_1970_and_of_the_year_9999_are_refused_by_name() {
        let horizon = Horizon::at("2026-11-22T12:00:00Z".parse().unwrap());
        let refused = |at: &str| horizon.instant("at", at.parse().unwrap()).unwrap_err();
        assert_eq!(
            refused("1970-01-01T00:00:00Z").message,
            "at: must be between 2024-10-22T12:00:00Z and 2026-11-22T13:00:00Z, got \
             1970-01-01T00:00:00Z"
        );
        assert_eq!(refused("9999-12-30T22:00:00Z").code, "time_out_of_range");
    }

    #[test]
    fn what_is_refused_keeps_its_place_among_the_answers() {
        let mut items = vec![1, 2, 3];
        let refusal = Refusal {
            code: "even",
            message: String::new(),
        };
        let sifted = Horizon::sift(&mut items, |item| {
            if item % 2 == 0 {
                return Err(refusal.clone());
            }
            Ok(())
        });
        assert_eq!(items, [1, 3]);
        let verdicts = join(sifted, vec![Verdict::Accepted, Verdict::Duplicate]);
        assert_eq!(
            verdicts,
            [
                Verdict::Accepted,
                Verdict::Rejected(refusal),
                Verdict::Duplicate
            ]
        );
    }
}
