//! Warnings: thresholds that a counter crossed, and projections to the end of its window.
//!
//! [`round`] compares how counters stand with what was told before. A warning is told once: it
//! ends with its window, or when the share falls well below the level, because of a raise or a
//! correction. Both are told as alarms of the name `quota:LIMIT/SUBJECT/LEVEL`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::answer::Usd;
use super::survey::{Survey, subject};
use crate::model::alarm::{Actions, Alarm, Comparison, MissingData, State, Statistic, Transition};
use crate::model::label::grouped;
use crate::model::policy::{Bound, Limit, Mode, Span, Unit};
use crate::model::quota::Standing;
use crate::model::window::Window;
use crate::store::Warned;

/// Warnings that begin in one round at most; the next round has the others.
const MAX_BEGUN: usize = 200;

/// Points below its level at which a warning ends, so that it does not come and go.
const MARGIN: i128 = 5;

/// A projection says little before so much of a window has passed, or before so much is used.
const PROJECT_FROM_PERCENT: i128 = 25;
const PROJECT_USED_PERCENT: i128 = 50;

/// What was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// At this pace the bound is reached before the window ends.
    Projection,
    Percent(u8),
}

impl Level {
    /// The word in names and metrics: `80`, `projection`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Projection => "projection".to_owned(),
            Self::Percent(percent) => percent.to_string(),
        }
    }
}

/// What changed in a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Names of warnings that stand no more.
    pub ended: Vec<String>,
    pub begun: Vec<Warned>,
    /// What is to be told, in this order. Of several levels crossed at once the highest is told.
    pub transitions: Vec<Transition>,
    /// Limit and level of all that began, for the counter.
    pub counted: Vec<(Arc<str>, Level)>,
}

/// Compares how counters stand with the warnings that stand, by name.
#[must_use]
pub fn round(survey: &Survey, told: &BTreeMap<String, Warned>, now: Timestamp) -> Changes {
    let mut changes = Changes::default();
    let mut lasting = BTreeSet::new();
    let mut crossed = Vec::new();
    for standing in &survey.standings {
        let Some(gauge) = Gauge::of(survey, standing, now) else {
            continue;
        };
        for level in gauge.levels() {
            let name = gauge.name(level);
            if gauge.lasts(level) {
                lasting.insert(name.clone());
            }
            if gauge.reaches(level) {
                crossed.push((gauge.clone(), level, name));
            }
        }
    }
    let is_over = |name: &str, warned: &Warned| {
        warned.ends.is_some_and(|ends| ends <= now) || !lasting.contains(name)
    };
    for (name, warned) in told {
        if is_over(name, warned) {
            changes.ended.push(name.clone());
            changes.transitions.push(ended(warned, now));
        }
    }
    for (place, (gauge, level, name)) in crossed.iter().enumerate() {
        let stands = told.get(name).is_some_and(|known| !is_over(name, known));
        if stands || changes.begun.len() >= MAX_BEGUN {
            continue;
        }
        let warned = Warned {
            ends: gauge.ends(),
            transition: gauge.transition(*level, name, now),
        };
        // Levels of one counter follow each other, the highest last.
        let next = crossed.get(place + 1);
        let is_highest = next.is_none_or(|(next, _, _)| next.base != gauge.base);
        if is_highest {
            changes.transitions.push(warned.transition.clone());
        }
        changes.counted.push((gauge.rule.name.clone(), *level));
        changes.begun.push(warned);
    }
    changes
}

/// One counter against its bound.
#[derive(Clone, Debug)]
struct Gauge<'s> {
    rule: &'s Limit,
    standing: &'s Standing,
    /// In grains, more than zero.
    bound: i128,
    grains: i128,
    /// `quota:LIMIT/SUBJECT`.
    base: String,
    subject: String,
    zone: &'s jiff::tz::TimeZone,
    /// Percent of the bound at the window's end if use goes on like this; `None` where it cannot
    /// be said.
    projected: Option<i128>,
}

impl<'s> Gauge<'s> {
    /// `None` for what is not warned of: limits that only tell, have no bound, or last minutes.
    fn of(survey: &'s Survey, standing: &'s Standing, now: Timestamp) -> Option<Self> {
        let policy = &*survey.policy;
        let rule = &policy.limits[standing.limit];
        let short = matches!(rule.span, Span::Calendar(Window::Minute | Window::Hour));
        let Bound::At(bound) = standing.bound else {
            return None;
        };
        if short || rule.mode != Mode::Enforce || bound <= 0 {
            return None;
        }
        let subject = subject(policy, standing, &|user| Some(user.to_owned()))?;
        Some(Self {
            rule,
            standing,
            bound,
            grains: policy.weights.grains(rule.unit),
            base: format!("quota:{}/{subject}", rule.name),
            subject,
            zone: &policy.zone,
            projected: projected(rule.span, standing, bound, now),
        })
    }

    /// Those that can be crossed, ascending.
    fn levels(&self) -> Vec<Level> {
        let warn_at = self.rule.warn_at.iter().copied().filter(|at| *at < 100);
        let percents = warn_at.chain([100]).map(Level::Percent);
        [Level::Projection].into_iter().chain(percents).collect()
    }

    fn name(&self, level: Level) -> String {
        format!("{}/{}", self.base, level.name())
    }

    fn percent(&self) -> i128 {
        self.standing.used.saturating_mul(100) / self.bound
    }

    fn reaches(&self, level: Level) -> bool {
        match level {
            Level::Percent(percent) => self.percent() >= percent.into(),
            Level::Projection => self.projected.is_some_and(|projected| {
                projected >= 100 && self.percent() >= PROJECT_USED_PERCENT
            }),
        }
    }

    /// True if a warning that began goes on. A projection stands to the end of the window.
    fn lasts(&self, level: Level) -> bool {
        match level {
            Level::Percent(percent) => self.percent() > i128::from(percent) - MARGIN,
            Level::Projection => true,
        }
    }

    fn ends(&self) -> Option<Timestamp> {
        match self.rule.span {
            Span::Calendar(_) => Some(self.standing.window.end),
            Span::Rolling { .. } => None,
        }
    }

    fn transition(&self, level: Level, name: &str, now: Timestamp) -> Transition {
        let units = |grains: i128| grains as f64 / self.grains as f64;
        let at = match level {
            Level::Projection => 100,
            Level::Percent(percent) => percent,
        };
        let severity = if level == Level::Percent(100) {
            "critical"
        } else {
            "warning"
        };
        let dimensions = [
            ("limit", self.rule.name.to_string()),
            ("subject", self.subject.clone()),
        ];
        Transition {
            alarm: Alarm {
                name: name.to_owned(),
                description: format!("A warning of the limit {}.", self.rule.name),
                metric: "tallyd_quota_used".to_owned(),
                namespace: "tallyd".to_owned(),
                dimensions: dimensions
                    .map(|(key, value)| (key.to_owned(), value))
                    .into(),
                statistic: Statistic::Maximum,
                period_seconds: 60,
                evaluation_periods: 1,
                datapoints_to_alarm: 1,
                threshold: units(self.bound) * f64::from(at) / 100.0,
                comparison: Comparison::GreaterThanOrEqual,
                missing_data: MissingData::NotBreaching,
                evaluates_low_samples: true,
                actions: Actions {
                    enabled: true,
                    ..Actions::default()
                },
                severity: severity.to_owned(),
                runbook: None,
            },
            from: State::Ok,
            to: State::Alarm,
            at: now,
            reason: self.sentence(level),
            value: Some(units(self.standing.used)),
        }
    }

    /// `alice@example.com has used 82 % of the limit role-developer-day: 41,000 of 50,000 weighted
    /// tokens, at this pace 131 % by 2026-11-23 00:00 (Asia/Tokyo).`
    fn sentence(&self, level: Level) -> String {
        let whose = match self.subject.as_str() {
            "" => "All together",
            subject => subject,
        };
        let verb = match level {
            Level::Projection => "is likely to reach",
            Level::Percent(_) => "used",
        };
        let share = match level {
            Level::Projection => String::new(),
            Level::Percent(_) => format!("{} % of ", self.percent()),
        };
        let (used, bound) = (self.amount(self.standing.used), self.amount(self.bound));
        let unit = match self.rule.unit {
            Unit::Usd => "USD".to_owned(),
            unit => unit.name().replace('_', " "),
        };
        let pace = self.projected.map_or_else(String::new, |projected| {
            format!(", at this pace {projected} %")
        });
        let end = self.ends().map_or_else(String::new, |end| {
            let local = end.to_zoned(self.zone.clone());
            let zone = self.zone.iana_name().unwrap_or("UTC");
            let by = if pace.is_empty() { ", resets" } else { " by" };
            format!("{by} {} ({zone})", local.strftime("%Y-%m-%d %H:%M"))
        });
        format!(
            "{whose} {verb} {share}the limit {}: {used} of {bound} {unit}{pace}{end}.",
            self.rule.name
        )
    }

    fn amount(&self, grains: i128) -> String {
        match self.rule.unit {
            Unit::Usd => Usd(grains / 10_000_000_000 * 10_000_000_000).to_string(),
            _ => grouped(u64::try_from(grains / self.grains).unwrap_or(0)),
        }
    }
}

fn projected(span: Span, standing: &Standing, bound: i128, now: Timestamp) -> Option<i128> {
    let Span::Calendar(_) = span else {
        return None;
    };
    let seconds = |from: Timestamp, to: Timestamp| i128::from(to.duration_since(from).as_secs());
    let whole = seconds(standing.window.start, standing.window.end);
    let passed = seconds(standing.window.start, now);
    if whole <= 0 || passed * 100 < whole * PROJECT_FROM_PERCENT {
        return None;
    }
    let share = standing.used.saturating_mul(100).checked_mul(whole)?;
    share.checked_div(passed.checked_mul(bound)?)
}

fn ended(warned: &Warned, now: Timestamp) -> Transition {
    let over = match warned.ends {
        Some(ends) if ends <= now => "The window has ended, and the limit counts anew.",
        _ => "There is room again.",
    };
    Transition {
        from: State::Alarm,
        to: State::Ok,
        at: now,
        reason: over.to_owned(),
        value: None,
        ..warned.transition.clone()
    }
}

#[cfg(test)]
mod tests;
