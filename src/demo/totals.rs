//! What the figures must be when everything is counted once.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::{AddAssign, Range};

use serde_json::Value;

use super::company::{Person, Way};
use super::work::{Loss, Session, Step};

/// Totals by team.
pub type ByTeam = BTreeMap<String, Totals>;

/// The totals of an answer of the usage API that is grouped by team.
pub(super) fn of_answer(answer: &Value) -> ByTeam {
    let rows = answer["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let named = |row: &Value| {
        let team = row["team"].as_str().unwrap_or_default();
        (team.to_owned(), Totals::of_row(row))
    };
    rows.iter().map(named).collect()
}

/// Sums over what was played, or what the daemon counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// With the failed ones.
    pub requests: u64,
    pub errors: u64,
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

impl Totals {
    /// All tokens.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.input + self.output + self.cache_read + self.cache_write
    }

    /// The figures of a row of the usage API.
    fn of_row(row: &Value) -> Self {
        let number = |place: &str| {
            let number = row.pointer(place).and_then(Value::as_u64);
            number.unwrap_or_default()
        };
        let writes = ["cache_write_5m", "cache_write_1h", "cache_write_unknown"];
        let writes = writes.map(|kind| number(&format!("/tokens/{kind}")));
        Self {
            requests: number("/requests"),
            errors: number("/errors"),
            input: number("/tokens/input"),
            output: number("/tokens/output"),
            cache_read: number("/tokens/cache_read"),
            cache_write: writes.into_iter().sum(),
        }
    }

    /// What must be counted of some turns. Metrics alone tell tokens, but no requests.
    pub(super) fn of_turns(who: &Person, session: &Session, turns: Range<usize>) -> Self {
        let from_gateway = who.way != Way::Client;
        let from_events = who.way != Way::Gateway && session.loss != Loss::Events;
        let told = from_gateway || from_events;
        let failures_told = from_events || who.way == Way::Gateway;
        let mut totals = Self::default();
        for step in session.turns[turns].iter().flat_map(|turn| &turn.steps) {
            match step {
                Step::Request(request) => {
                    let [input, output, cache_read, cache_write] = request.tokens;
                    totals += Self {
                        requests: u64::from(told),
                        errors: 0,
                        input,
                        output,
                        cache_read,
                        cache_write,
                    };
                }
                Step::Failure(_) if failures_told => {
                    totals.requests += 1;
                    totals.errors += 1;
                }
                Step::Failure(_) | Step::Tool(_) => {}
            }
        }
        totals
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
    }
}

impl<'t> Sum<&'t Self> for Totals {
    fn sum<I: Iterator<Item = &'t Self>>(all: I) -> Self {
        let mut sum = Self::default();
        for totals in all {
            sum += *totals;
        }
        sum
    }
}
