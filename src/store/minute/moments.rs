//! What a commit adds to minutes.
//!
//! Only what begins to count comes in, so a report that is known adds nothing. Of a request that
//! is told better later, only the tokens that come on top are added, in the minute of the better
//! report. What counts less than before stays out and is counted: a sealed minute cannot give
//! anything back, so an open one does not either. Tokens that counters had told of and that
//! requests explain now are in a minute already: they are taken off the requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use super::keys::Keys;
use super::{Result, Values, clock, rows};
use crate::model::minute::{Datapoint, Dimension, SeriesKey};
use crate::model::usage::{Outcome, Sku};
use crate::store::dict::Dictionaries;
use crate::store::terms::{BusinessTerms, Terms};

/// Statuses with which providers refuse requests for their rate.
const THROTTLED: [u16; 2] = [429, 529];

/// The value of a dimension of which nothing is known. CloudWatch takes no empty value.
const UNKNOWN: &str = "unknown";

/// Why a fact is in no minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeftOut {
    /// It happened more than an hour before it came.
    TooOld,
    /// What was counted before counts less now.
    NegativeCorrection,
    /// The clock went back into minutes that are sealed.
    ClockBack,
}

impl LeftOut {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::NegativeCorrection => "negative_correction",
            Self::ClockBack => "clock_back",
        }
    }
}

/// What a commit did to minutes, for the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MinuteEffects {
    /// Facts and tokens that are in no minute. Tokens of negative corrections are those that
    /// minutes hold and that no longer count.
    pub left_out: BTreeMap<LeftOut, (u64, u64)>,
    /// Datapoints whose dimensions were folded into `other`.
    pub folded: u64,
    /// Times to the first token in milliseconds, by model.
    pub first_tokens: Vec<(Arc<Sku>, u32)>,
    /// Requests refused for their rate, by model.
    pub throttled: Vec<Arc<Sku>>,
}

/// What a request had added when it was counted before.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Before {
    pub(in crate::store) tokens: i64,
    pub(in crate::store) has_duration: bool,
    pub(in crate::store) has_ttft: bool,
}

/// Something that begins to count.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Moment {
    pub(in crate::store) at_ms: i64,
    pub(in crate::store) identity: i64,
    /// Lines of code name only a model.
    pub(in crate::store) sku: Option<i64>,
    pub(in crate::store) model: Option<Box<str>>,
    pub(in crate::store) tokens: i64,
    /// Of those, the ones that no price is known for.
    pub(in crate::store) unpriced: i64,
    pub(in crate::store) requests: i64,
    /// Of a request that begins to count.
    pub(in crate::store) outcome: Option<Outcome>,
    pub(in crate::store) status_code: Option<u16>,
    pub(in crate::store) duration_ms: Option<u32>,
    pub(in crate::store) ttft_ms: Option<u32>,
    pub(in crate::store) lines: i64,
    /// Minutes saved by assumption, in millionths; negative where work gets slower.
    pub(in crate::store) saved: i64,
}

impl Moment {
    /// True if it adds to no metric.
    fn is_empty(&self) -> bool {
        let amounts = [self.tokens, self.requests, self.lines];
        amounts.iter().all(|amount| *amount <= 0)
            && self.saved == 0
            && self.outcome.is_none()
            && self.duration_ms.is_none()
            && self.ttft_ms.is_none()
    }
}

/// What a commit gathers for minutes.
#[derive(Debug, Default)]
pub(in crate::store) struct Moments {
    list: Vec<Moment>,
    /// By the report that spoke for the request.
    before: HashMap<i64, Before>,
    /// Tokens and requests that counters no longer count, by canonical model.
    explained: HashMap<Box<str>, [i64; 2]>,
    lines_taken_back: i64,
    effects: MinuteEffects,
}

/// What one series of dimensions gathers in one minute.
#[derive(Debug, Default)]
struct Tally {
    tokens: i64,
    unpriced: i64,
    requests: i64,
    throttled: i64,
    lines: i64,
    saved: Option<i64>,
    /// Requests that worked, and that failed.
    finished: [u64; 2],
    durations: Vec<f64>,
    first_tokens: Vec<f64>,
}

impl Moments {
    /// A request is resolved anew: what it had added, by the report that spoke for it.
    pub(in crate::store) fn reopen(&mut self, fact: i64, before: Before) {
        self.before.insert(fact, before);
    }

    /// A request counts, told by these reports. `moment` is all that it adds.
    pub(in crate::store) fn count(&mut self, reports: impl Iterator<Item = i64>, moment: Moment) {
        if self.before.is_empty() {
            self.list.push(moment);
            return;
        }
        let before: Vec<Before> = reports.filter_map(|id| self.before.remove(&id)).collect();
        if before.is_empty() {
            self.list.push(moment);
            return;
        }
        let told = before.iter().map(|before| before.tokens).sum::<i64>();
        let more = moment.tokens - told;
        if before.len() > 1 || more < 0 {
            self.leave_out(LeftOut::NegativeCorrection, (-more).max(0));
        }
        let has_duration = before.iter().any(|before| before.has_duration);
        let has_ttft = before.iter().any(|before| before.has_ttft);
        self.list.push(Moment {
            tokens: more.max(0),
            unpriced: 0,
            requests: 0,
            outcome: None,
            status_code: None,
            duration_ms: moment.duration_ms.filter(|_| !has_duration),
            ttft_ms: moment.ttft_ms.filter(|_| !has_ttft),
            ..moment
        });
    }

    /// A request of these reports does not count any more.
    pub(in crate::store) fn drop(&mut self, reports: impl Iterator<Item = i64>) {
        for id in reports {
            if let Some(before) = self.before.remove(&id) {
                self.leave_out(LeftOut::NegativeCorrection, before.tokens.max(0));
            }
        }
    }

    /// What counters count beyond requests has changed.
    pub(in crate::store) fn excess(&mut self, moment: Moment, model: &str) {
        if moment.tokens < 0 || moment.requests < 0 {
            let explained = self.explained.entry(model.into()).or_default();
            explained[0] += (-moment.tokens).max(0);
            explained[1] += (-moment.requests).max(0);
        }
        if moment.tokens > 0 || moment.requests > 0 {
            self.list.push(Moment {
                tokens: moment.tokens.max(0),
                unpriced: moment.unpriced.max(0),
                requests: moment.requests.max(0),
                ..moment
            });
        }
    }

    /// Lines of code that were added. A cumulative counter whose points come out of order takes
    /// some back from one time and adds as many at another.
    pub(in crate::store) fn lines(
        &mut self,
        identity: i64,
        at_ms: i64,
        lines: i64,
        model: Option<&str>,
    ) {
        if lines < 0 {
            self.lines_taken_back -= lines;
            return;
        }
        self.list.push(Moment {
            at_ms,
            identity,
            model: model.filter(|model| !model.is_empty()).map(Into::into),
            lines,
            ..Moment::default()
        });
    }

    /// Minutes that an activity saved by assumption, in millionths. What a counter takes back at
    /// one time it adds at another, so both are taken as they are.
    pub(in crate::store) fn saved(&mut self, identity: i64, at_ms: i64, saved: i64) {
        self.list.push(Moment {
            at_ms,
            identity,
            saved,
            ..Moment::default()
        });
    }

    /// Writes everything into the minutes where it belongs.
    pub(in crate::store) fn write(
        mut self,
        connection: &Connection,
        keys: &mut Keys,
        dictionaries: &Dictionaries,
        terms: &Terms,
        now_ms: i64,
    ) -> Result<MinuteEffects> {
        let mut gate = clock::Gate::new(connection, now_ms);
        let mut tallies: BTreeMap<(i64, Values), Tally> = BTreeMap::new();
        for mut moment in std::mem::take(&mut self.list) {
            let sku = moment.sku.map(|id| dictionaries.skus.get(id)).transpose()?;
            if let Some(sku) = sku {
                self.note(sku, &moment);
                self.take_off(sku, &mut moment);
            }
            let taken = self.lines_taken_back.min(moment.lines);
            self.lines_taken_back -= taken;
            moment.lines -= taken;
            if moment.is_empty() {
                continue;
            }
            let minute = match gate.minute_of(moment.at_ms)? {
                Ok(minute) => minute,
                Err(reason) => {
                    self.leave_out(reason, moment.tokens);
                    continue;
                }
            };
            let total = (minute, Values::new());
            tallies.entry(total).or_default().add(&moment);
            // Of everyone together only: by person or team it would tell of too few, and a missing
            // price is missing for all.
            moment.saved = 0;
            moment.unpriced = 0;
            if moment.is_empty() {
                continue;
            }
            for set in &terms.dimensions {
                let values = values_of(set, &moment, sku, dictionaries, terms)?;
                tallies.entry((minute, values)).or_default().add(&moment);
            }
        }
        for [tokens, requests] in std::mem::take(&mut self.explained).into_values() {
            if tokens > 0 || requests > 0 {
                self.leave_out(LeftOut::NegativeCorrection, tokens);
            }
        }
        for ((minute, dimensions), tally) in tallies {
            for (metric, addition) in tally.additions(&terms.business) {
                let dimensions = dimensions.clone();
                let key = SeriesKey { metric, dimensions };
                let (series, folded) = keys.place(connection, minute, &key)?;
                self.effects.folded += u64::from(folded);
                let mut row = rows::read(connection, minute, series)?.unwrap_or_default();
                addition.add_to(&mut row);
                rows::write(connection, minute, series, &row)?;
            }
        }
        Ok(self.effects)
    }

    fn leave_out(&mut self, reason: LeftOut, tokens: i64) {
        let (facts, sum) = self.effects.left_out.entry(reason).or_default();
        *facts += 1;
        *sum += tokens.unsigned_abs();
    }

    /// What Prometheus shows of a request's times and refusals.
    fn note(&mut self, sku: &Arc<Sku>, moment: &Moment) {
        if let Some(millis) = moment.ttft_ms {
            self.effects.first_tokens.push((sku.clone(), millis));
        }
        if is_throttled(moment) {
            self.effects.throttled.push(sku.clone());
        }
    }

    /// Takes off what counters had told of before.
    fn take_off(&mut self, sku: &Sku, moment: &mut Moment) {
        if let Some([tokens, requests]) = self.explained.get_mut(&sku.model) {
            let taken = moment.tokens.min(*tokens);
            *tokens -= taken;
            moment.tokens -= taken;
            moment.unpriced = moment.unpriced.min(moment.tokens);
            let taken = moment.requests.min(*requests);
            *requests -= taken;
            moment.requests -= taken;
        }
    }
}

fn is_throttled(moment: &Moment) -> bool {
    let status = moment.status_code.unwrap_or(0);
    moment.outcome.is_some() && THROTTLED.contains(&status)
}

fn values_of(
    set: &[Dimension],
    moment: &Moment,
    sku: Option<&Arc<Sku>>,
    dictionaries: &Dictionaries,
    terms: &Terms,
) -> Result<Values> {
    let at = Timestamp::from_millisecond(moment.at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let identity = dictionaries.identities.get(moment.identity)?;
    let who = terms.attribute(identity, at);
    let value = |dimension: Dimension| match dimension {
        Dimension::Provider => sku.map(|sku| &*sku.provider),
        Dimension::Model => sku.map(|sku| &*sku.model).or(moment.model.as_deref()),
        Dimension::Team => who.team,
        Dimension::Project => who.project,
        Dimension::User => Some(&*who.user),
    };
    let named = set.iter().map(|dimension| {
        let value = value(*dimension).filter(|value| !value.is_empty());
        (*dimension, Arc::from(value.unwrap_or(UNKNOWN)))
    });
    Ok(named.collect())
}

impl Tally {
    fn add(&mut self, moment: &Moment) {
        self.tokens += moment.tokens;
        self.unpriced += moment.unpriced;
        self.requests += moment.requests;
        self.lines += moment.lines;
        if moment.saved != 0 {
            *self.saved.get_or_insert(0) += moment.saved;
        }
        self.throttled += i64::from(is_throttled(moment));
        if let Some(outcome) = moment.outcome {
            // What the user stopped and what the model declined did work.
            self.finished[usize::from(outcome == Outcome::Error)] += 1;
        }
        self.durations.extend(moment.duration_ms.map(f64::from));
        self.first_tokens.extend(moment.ttft_ms.map(f64::from));
    }

    fn additions(self, business: &BusinessTerms) -> Vec<(&'static str, Addition)> {
        let mut error_rate = Datapoint::default();
        error_rate.observe_many(0.0, self.finished[0]);
        error_rate.observe_many(100.0, self.finished[1]);
        let totals = [
            ("requests_per_minute", self.requests),
            ("tokens_processed", self.tokens),
            ("unpriced_tokens", self.unpriced),
            ("throttled_requests", self.throttled),
            ("code_lines_generated", self.lines),
        ];
        let each = [
            ("error_rate", error_rate),
            ("response_time", Datapoint::of_all(self.durations)),
            ("time_to_first_token", Datapoint::of_all(self.first_tokens)),
        ];
        let totals = totals.into_iter().filter(|(_, amount)| *amount > 0);
        let saved = self
            .saved
            .map_or_else(Vec::new, |saved| business.saved(saved));
        let each = each.into_iter().filter(|(_, values)| values.count > 0);
        totals
            .map(|(metric, amount)| (metric, Addition::Amount(amount)))
            .chain(each.map(|(metric, values)| (metric, Addition::Values(values))))
            .chain(
                saved
                    .into_iter()
                    .map(|(metric, more)| (metric, Addition::Part(more))),
            )
            .collect()
    }
}

/// How a row grows.
#[derive(Debug)]
enum Addition {
    /// The one value of a total grows.
    Amount(i64),
    /// As [`Self::Amount`], of what is no whole number and may be negative.
    Part(f64),
    /// Values come on top.
    Values(Datapoint),
}

impl Addition {
    fn add_to(&self, row: &mut Datapoint) {
        match self {
            Self::Amount(amount) => *row = Datapoint::of(row.sum + *amount as f64),
            Self::Part(amount) => *row = Datapoint::of(row.sum + amount),
            Self::Values(values) => row.merge(values),
        }
    }
}
