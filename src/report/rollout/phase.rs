//! What a phase measured: one value for each criterion, where it comes from, and what that means.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Time;
use crate::config::{Business, Config};
use crate::model::business::{
    BusinessEvent, Criterion, Known, MICRO, Measure, Participants, Phase, SMALLEST_GROUP, Span,
};
use crate::model::cost::By;
use crate::model::money::{PicoUsd, divide_half_even};
use crate::report::business::{Measured, active_people, cost, measure, place_of, together};
use crate::report::roi::{Worth, categories, worth};
use crate::report::{ReportError, Reports, Request};

/// What became of a criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Met,
    NotMet,
    NotMeasurable,
}

impl Outcome {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::NotMeasurable => "not measurable",
        }
    }
}

/// A criterion with what was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In millionths.
    pub value: Option<Span>,
    pub outcome: Outcome,
    /// What the value is made of, or why there is none.
    pub source: String,
}

/// A value in millionths with its source, or why there is none.
type Value = Result<(Span, String), String>;

/// Changes that the time before a phase must have had at least: the rate of fewer is chance.
const LEAST_CHANGES: u64 = 20;

/// What a week is for retention and weekly activity.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a month is for weekly activity.
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Measures every criterion of a phase.
pub(super) async fn findings(
    reports: &Reports,
    request: &Request,
    config: &Config,
    phase: &Phase,
    time: Time,
) -> Result<Vec<Finding>, ReportError> {
    if phase.criteria.is_empty() {
        return Ok(Vec::new());
    }
    if time.now <= time.from {
        let reason = format!("the phase begins on {}", phase.from);
        let planned = |_: &Criterion| Finding {
            value: None,
            outcome: Outcome::NotMeasurable,
            source: reason.clone(),
        };
        return Ok(phase.criteria.iter().map(planned).collect());
    }
    let seen = Seen::read(reports, request, config, phase, time).await?;
    Ok(phase
        .criteria
        .iter()
        .map(|criterion| judge(criterion, seen.value(&criterion.measure)))
        .collect())
}

fn judge(criterion: &Criterion, value: Value) -> Finding {
    match value {
        Ok((value, source)) => Finding {
            value: Some(value),
            outcome: if criterion.met_by(value) {
                Outcome::Met
            } else {
                Outcome::NotMet
            },
            source,
        },
        Err(source) => Finding {
            value: None,
            outcome: Outcome::NotMeasurable,
            source,
        },
    }
}

/// Everything that criteria may ask for.
struct Seen<'a> {
    business: &'a Business,
    phase: &'a Phase,
    measured: Measured,
    worth: Worth,
    cost: PicoUsd,
    cost_source: String,
    /// People of the first week and of the last one, and of the last 30 days.
    first_week: BTreeSet<String>,
    last_week: BTreeSet<String>,
    last_month: BTreeSet<String>,
    /// Long enough for a first and a last week.
    has_two_weeks: bool,
    /// Merged changes before the phase, or why they cannot be told.
    before: Result<u64, String>,
    time: Time,
    events: Vec<BusinessEvent>,
}

impl<'a> Seen<'a> {
    async fn read(
        reports: &Reports,
        request: &Request,
        config: &'a Config,
        phase: &'a Phase,
        time: Time,
    ) -> Result<Self, ReportError> {
        let business = &config.business;
        let who = &phase.participants;
        let (from, to) = (time.from, time.end());
        let measured = together(measure(reports, from, to, who).await?.values());
        let (cost, cost_source) = costs(reports, request, config, who, &measured, time).await?;
        let worth = worth(
            &categories(&measured, business),
            &business.assumptions,
            cost,
        );
        let after = |at: Timestamp, length| at.checked_add(length).unwrap_or(to).min(to);
        let back = |at: Timestamp, length| at.checked_sub(length).unwrap_or(from);
        let people = async |from, to| active_people(reports, from, to, who).await;
        Ok(Self {
            first_week: people(from, after(from, WEEK)).await?,
            last_week: people(back(to, WEEK), to).await?,
            last_month: people(back(to, MONTH), to).await?,
            has_two_weeks: to.duration_since(from) >= WEEK + WEEK,
            before: changes_before(reports, who, time).await?,
            events: declared(reports, who, time).await?,
            business,
            phase,
            measured,
            worth,
            cost,
            cost_source,
            time,
        })
    }

    fn value(&self, measure: &Measure) -> Value {
        let known = match measure {
            Measure::Declared(name) => return self.declared(name),
            Measure::Known(known) => *known,
        };
        let people = self.measured.headcount();
        let is_part = self.phase.participants != Participants::default();
        if is_part && people < SMALLEST_GROUP {
            return Err(format!(
                "{people} people were active: figures of fewer than {SMALLEST_GROUP} are withheld"
            ));
        }
        match known {
            Known::AdoptionRate => self.adoption(),
            Known::ActiveUsers => Ok(whole(people, "distinct people in telemetry and usage")),
            Known::WeeklyActiveRatio => share(
                self.last_week.len() as u64,
                self.last_month.len() as u64,
                "people active in the last 7 days, of those in the last 30",
            ),
            Known::RetentionRate => self.retention(),
            Known::RoiPercent => self.roi(),
            Known::ProductivityGain => self.productivity(),
            Known::AcceptanceRate => share(
                self.measured.edits_accepted,
                self.measured.edits_accepted + self.measured.edits_refused,
                "edits that people decided over, from telemetry",
            ),
            Known::TimeSavedMinutes | Known::CostSavingsUsd => self.saved(known),
            Known::CostUsd => Ok((usd(self.cost.0), self.cost_source.clone())),
            Known::CostPerActiveUserUsd => {
                let each = divide_half_even(self.cost.0, people.into());
                Ok((
                    usd(each),
                    format!("{} by {people} people", self.cost_source),
                ))
            }
            Known::ErrorRate => share(
                self.measured.errors,
                self.measured.requests,
                "failed requests of all, from usage",
            ),
            Known::Sessions => Ok(whole(self.measured.sessions, TELEMETRY)),
            Known::Commits => Ok(whole(self.measured.commits, TELEMETRY)),
            Known::PullRequests => Ok(whole(self.measured.pull_requests, TELEMETRY)),
            Known::CodeLinesGenerated => Ok(whole(self.measured.lines_added, TELEMETRY)),
            Known::BugsFixed
            | Known::BugsFixedWithClaude
            | Known::MergedChanges
            | Known::ClaudeChangeShare => self.changes(known),
        }
    }

    fn adoption(&self) -> Value {
        let stated = self.business.assumptions.headcount.as_ref();
        let (headcount, source) = match (self.phase.headcount, stated) {
            (Some(people), _) => (people, "headcount of the phase".to_owned()),
            (None, Some(stated)) if self.phase.participants == Participants::default() => {
                (stated.people, format!("headcount: {}", stated.source))
            }
            (None, Some(_)) => {
                return Err("the phase is not everyone's: state its headcount".to_owned());
            }
            (None, None) => return Err("business.headcount is not stated".to_owned()),
        };
        let people = self.measured.headcount();
        share(
            people,
            headcount,
            &format!("{people} people of {headcount}; {source}"),
        )
    }

    fn retention(&self) -> Value {
        if !self.has_two_weeks {
            return Err("the phase is shorter than two weeks so far".to_owned());
        }
        let stayed = self.first_week.intersection(&self.last_week).count() as u64;
        share(
            stayed,
            self.first_week.len() as u64,
            "people of the first week who were active in the last one",
        )
    }

    fn roi(&self) -> Value {
        let roi = self.worth.roi.ok_or_else(|| self.no_worth())?;
        let percent = |micro: i128| micro.saturating_mul(100);
        let span = Span {
            low: percent(roi.low),
            mid: roi.mid.map(percent),
            high: percent(roi.high),
        };
        let middle = if roi.mid.is_some() {
            ""
        } else {
            "; no middle is stated, so the low end decides"
        };
        Ok((
            span,
            format!(
                "assumptions {}; {}{middle}",
                self.business.assumptions.id(),
                self.cost_source
            ),
        ))
    }

    fn no_worth(&self) -> String {
        let missing = if self.worth.time.is_none() {
            "no assumption says how much time is saved"
        } else if self.worth.value.is_none() {
            "business.hourly_rate is not stated"
        } else {
            "nothing was spent"
        };
        missing.to_owned()
    }

    fn saved(&self, known: Known) -> Value {
        let span = match known {
            Known::TimeSavedMinutes => self.worth.time,
            _ => self.worth.value.map(micro_usd),
        };
        let span = span.ok_or_else(|| self.no_worth())?;
        Ok((
            span,
            format!("assumptions {}", self.business.assumptions.id()),
        ))
    }

    fn changes(&self, known: Known) -> Value {
        if !self.business.tells_bugs() {
            return Err("no webhook and no tracker is configured".to_owned());
        }
        let measured = &self.measured;
        match known {
            Known::BugsFixed => Ok(whole(measured.fixes(), CHANGES)),
            Known::BugsFixedWithClaude => Ok(whole(measured.fixes_with_claude, CHANGES)),
            Known::MergedChanges => Ok(whole(measured.changes, CHANGES)),
            _ => share(measured.changes_with_claude, measured.changes, CHANGES),
        }
    }

    fn productivity(&self) -> Value {
        let before = self.before.clone()?;
        let seconds = |from: Timestamp, to: Timestamp| {
            i128::from(to.as_second().saturating_sub(from.as_second()).max(1))
        };
        // Both rates over the same length, once the phase has ended.
        let (whole, so_far) = (
            seconds(self.time.from, self.time.to),
            seconds(self.time.from, self.time.end()),
        );
        let during = i128::from(self.measured.changes) * whole * MICRO;
        let gain = divide_half_even(during, i128::from(before) * so_far) - MICRO;
        Ok((
            flat(gain),
            format!(
                "{} merged changes in the phase, {before} in as many days before it",
                self.measured.changes
            ),
        ))
    }

    /// The last value told within the phase; things that are counted are added.
    fn declared(&self, name: &str) -> Value {
        let mut told: Vec<&BusinessEvent> = self
            .events
            .iter()
            .filter(|one| *one.kind == *name)
            .collect();
        told.sort_by_key(|event| event.at);
        let Some(last) = told.last() else {
            return Err(format!("nothing was told of {name} within the phase"));
        };
        let source = format!(
            "told by {} at {:.0}, the last of {}",
            last.source,
            last.at,
            told.len()
        );
        Ok((flat(last.amount.into()), source))
    }
}

const TELEMETRY: &str = "Claude Code's telemetry";
const CHANGES: &str = "merged changes from webhooks, and events of trackers";

/// Merged changes in as long a time before the phase.
async fn changes_before(
    reports: &Reports,
    who: &Participants,
    time: Time,
) -> Result<Result<u64, String>, ReportError> {
    let length = time.to.duration_since(time.from);
    let Ok(start) = time.from.checked_sub(length) else {
        return Ok(Err("there is no time before it".to_owned()));
    };
    let Some(first) = reports.ledger.first_change().await? else {
        return Ok(Err("no webhook has told of merged changes".to_owned()));
    };
    if first > start {
        return Ok(Err(format!(
            "merged changes are known since {first:.0} only, and the time before the phase begins \
             at {start:.0}"
        )));
    }
    let before = measure(reports, start, time.from, who).await?;
    let changes = together(before.values()).changes;
    if changes < LEAST_CHANGES {
        return Ok(Err(format!(
            "{changes} merged changes before the phase: at least {LEAST_CHANGES} are needed"
        )));
    }
    Ok(Ok(changes))
}

/// Events of the phase that tell a declared measure. One that names neither person nor team is
/// everyone's.
async fn declared(
    reports: &Reports,
    who: &Participants,
    time: Time,
) -> Result<Vec<BusinessEvent>, ReportError> {
    let terms = reports.terms.load_full();
    let events = reports
        .ledger
        .business_events(time.from, time.end())
        .await?;
    Ok(events
        .into_iter()
        .filter(|event| {
            let (user, team) = place_of(&terms.directory, event);
            (event.user.is_none() && event.team.is_none()) || who.include(&user, &team)
        })
        .collect())
}

/// All costs of those who take part; what is shared by everyone goes by people.
async fn costs(
    reports: &Reports,
    request: &Request,
    config: &Config,
    who: &Participants,
    measured: &Measured,
    time: Time,
) -> Result<(PicoUsd, String), ReportError> {
    let (from, to) = (time.from, time.end());
    let by: &[By] = if who.users.is_empty() {
        &[By::Team]
    } else {
        &[By::Team, By::User]
    };
    let request = Request {
        from,
        to,
        zone: config.time.zone.clone(),
        ..request.clone()
    };
    let inside = |user: &str, team: &str| {
        let inside = who.include(user, team);
        if inside { "in" } else { "out" }.to_owned()
    };
    let usage = cost::of_usage(reports, &request, by, inside, time.now).await?;
    let everyone = *who == Participants::default();
    let used = if everyone {
        usage.total().0
    } else {
        usage.groups.get("in").map_or(0, |cost| cost.0)
    };
    let fixed = cost::fixed(&config.business.assumptions, from, to, &config.time.zone);
    let mut shared: i128 = fixed.iter().map(|item| item.amount.0).sum();
    if !everyone && shared != 0 {
        let all = active_people(reports, from, to, &Participants::default()).await?;
        let all = (all.len() as u64).max(measured.headcount()).max(1);
        shared = divide_half_even(
            shared.saturating_mul(measured.headcount().into()),
            all.into(),
        );
    }
    let source = match (usage.billed.0 != 0, usage.estimated.0 != 0) {
        (true, false) => "cost as billed",
        (true, true) => "cost as billed, and estimated where there is no bill",
        _ => "cost as estimated",
    };
    let source = if fixed.is_empty() && usage.fixed == PicoUsd::ZERO {
        source.to_owned()
    } else {
        format!("{source}, with seats and fixed cost")
    };
    Ok((PicoUsd(used.saturating_add(shared)), source))
}

const fn flat(value: i128) -> Span {
    Span {
        low: value,
        mid: Some(value),
        high: value,
    }
}

fn whole(number: u64, source: &str) -> (Span, String) {
    (flat(i128::from(number) * MICRO), source.to_owned())
}

fn share(part: u64, of: u64, source: &str) -> Value {
    if of == 0 {
        return Err(format!("there is nothing to share: {source}"));
    }
    let ratio = divide_half_even(i128::from(part) * MICRO, of.into());
    Ok((flat(ratio), source.to_owned()))
}

/// Millionths of a dollar of pico-USD.
fn usd(pico: i128) -> Span {
    flat(divide_half_even(pico, MICRO))
}

fn micro_usd(span: Span) -> Span {
    let micro = |pico: i128| divide_half_even(pico, MICRO);
    Span {
        low: micro(span.low),
        mid: span.mid.map(micro),
        high: micro(span.high),
    }
}
