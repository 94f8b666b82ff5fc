//! One target: what it wants to hear, how it is told, and how a round of it goes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::alertmanager::{Alertmanager, RESEND_PERIOD};
use super::outcome::{Again, Outcome};
use super::plan::{Grouping, Manner, Plan, plan};
use super::slack::Slack;
use super::sns::Sns;
use super::webhook::Webhook;
use super::{Counts, Setup};
use crate::config::{self, NotifyKind};
use crate::model::alarm::{State, Transition};
use crate::model::notice::{Mute, matches};
use crate::store::{Claim, Ledger, NoticeQueue, QueryError, Queued, Told};

/// Pauses after failed attempts: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Over this time messages are counted against the rate.
const RATE_SPAN: Duration = Duration::from_mins(1);

/// Alerts in one message when those that fire are sent again.
const RESEND_TOGETHER: usize = 200;

/// How a target is told.
#[derive(Debug)]
enum Notifier {
    Sns(Sns),
    Slack(Slack),
    Webhook(Webhook),
    Alertmanager(Alertmanager),
}

#[derive(Debug)]
pub(super) struct Target {
    settings: config::Notify,
    notifier: Notifier,
    ledger: Ledger,
    memory: Mutex<Memory>,
}

/// What a restart may forget.
#[derive(Debug, Default)]
struct Memory {
    counts: Counts,
    /// When messages of the last minute went out.
    sent: VecDeque<Timestamp>,
    resent: Option<Timestamp>,
    is_failing: bool,
}

impl Target {
    pub(super) fn new(settings: &config::Notify, setup: &Setup) -> Self {
        let client = setup.client.clone();
        let notifier = match settings.kind.clone() {
            NotifyKind::Sns { topic } => Notifier::Sns(Sns {
                topic,
                aws: setup.aws.clone(),
                configured: setup.started,
            }),
            NotifyKind::Slack { url } => Notifier::Slack(Slack { client, url }),
            NotifyKind::Webhook { url, secret } => Notifier::Webhook(Webhook {
                target: settings.name.clone(),
                client,
                url,
                secret,
            }),
            NotifyKind::Alertmanager { url, labels } => Notifier::Alertmanager(Alertmanager {
                client,
                url,
                instance: setup.instance.clone(),
                labels,
            }),
        };
        Self {
            settings: settings.clone(),
            notifier,
            ledger: setup.ledger.clone(),
            memory: Mutex::default(),
        }
    }

    /// True if this target is to hear of a transition, or has to know of it: after a recovery the
    /// next alarm is news, wanted or not.
    pub(super) fn heeds(&self, transition: &Transition) -> bool {
        let settings = &self.settings;
        let severities = &settings.severities;
        let mut patterns = settings.alarms.iter();
        (transition.to == State::Ok || self.states().contains(&transition.to))
            && (severities.is_empty() || severities.contains(&transition.alarm.severity))
            && patterns.any(|pattern| matches(pattern, &transition.alarm.name))
    }

    /// The states that this target is told of.
    fn states(&self) -> &[State] {
        match self.notifier {
            // It is told whether an alert fires, whatever else it is.
            Notifier::Alertmanager(_) => &State::ALL,
            Notifier::Sns(_) | Notifier::Slack(_) | Notifier::Webhook(_) => &self.settings.states,
        }
    }

    /// What a test says: a recovery, so that nothing has to be closed afterwards. An Alertmanager shows
    /// what fires only, and lets it end by itself.
    pub(super) const fn state_of_test(&self) -> State {
        match self.notifier {
            Notifier::Alertmanager(_) => State::Alarm,
            Notifier::Sns(_) | Notifier::Slack(_) | Notifier::Webhook(_) => State::Ok,
        }
    }

    /// When a transition of now is told at the earliest.
    pub(super) fn due(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.settings.group_wait)
            .unwrap_or(Timestamp::MAX)
    }

    /// Tells what is due, message by message, until the target wants a pause.
    pub(super) async fn round(
        &self,
        queue: NoticeQueue,
        mutes: &[Mute],
        now: Timestamp,
        is_stopping: impl Fn() -> bool,
    ) -> Result<(), QueryError> {
        let firing = self.firing(&queue.told, now);
        let manner = Manner {
            grouping: self.grouping(),
            states: self.states(),
            budget: self.budget(now),
        };
        let plan = plan(queue, mutes, manner, now);
        self.begin(&plan, now).await?;
        let mut messages: VecDeque<Vec<Queued>> = plan.messages.into();
        while let Some(message) = messages.pop_front() {
            if is_stopping() {
                return Ok(());
            }
            let sending = message.iter().map(|notice| notice.id).collect();
            let claim = Claim {
                sending,
                ..Claim::default()
            };
            let name = &self.settings.name;
            self.ledger.claim_notices(name, claim, now).await?;
            let transitions: Vec<&Transition> =
                message.iter().map(|notice| &notice.transition).collect();
            match self.send(&transitions, now).await {
                Outcome::Taken => self.taken(message, now).await?,
                Outcome::Unfit(_) if message.len() > 1 => {
                    // One of them is the trouble; the others must not suffer for it.
                    let mut first = message;
                    let second = first.split_off(first.len() / 2);
                    messages.push_front(second);
                    messages.push_front(first);
                }
                Outcome::Unfit(why) | Outcome::Refused(why) => self.refused(message, &why).await?,
                Outcome::Again(again) => return self.again(message, again, now).await,
            }
        }
        if !is_stopping() {
            self.resend(&firing, now).await;
        }
        Ok(())
    }

    const fn grouping(&self) -> Grouping {
        match self.notifier {
            Notifier::Sns(_) => Grouping::Each,
            Notifier::Slack(_) | Notifier::Webhook(_) => Grouping::Above(self.settings.group_above),
            Notifier::Alertmanager(_) => Grouping::Outcome,
        }
    }

    /// How many messages may go out now.
    fn budget(&self, now: Timestamp) -> usize {
        let mut memory = self.memory();
        // A clock that was set back must not hold messages up.
        let counts =
            |at: &Timestamp| *at <= now && now.duration_since(*at).unsigned_abs() < RATE_SPAN;
        memory.sent.retain(counts);
        if matches!(self.notifier, Notifier::Alertmanager(_)) {
            return usize::MAX;
        }
        self.settings.per_minute.saturating_sub(memory.sent.len())
    }

    /// Writes down what will not be told, before anything is sent.
    async fn begin(&self, plan: &Plan, now: Timestamp) -> Result<(), QueryError> {
        {
            let mut memory = self.memory();
            memory.counts.waiting = plan.waiting;
            memory.counts.oldest = plan.oldest;
        }
        let claim = plan.claim();
        if claim == Claim::default() {
            return Ok(());
        }
        let name = &self.settings.name;
        self.ledger.claim_notices(name, claim, now).await?;
        for (_, reason) in &plan.dropped {
            self.count(reason.name(), 1);
        }
        let lost = plan.dropped.iter().filter(|(_, why)| why.is_loss()).count();
        if lost > 0 {
            let target = &self.settings.name;
            error!(
                target,
                notices = lost,
                "notices could not be told and were given up"
            );
        }
        Ok(())
    }

    /// Hands a message over.
    pub(super) async fn send(&self, transitions: &[&Transition], now: Timestamp) -> Outcome {
        let outcome = match &self.notifier {
            Notifier::Slack(slack) => slack.send(transitions, now).await,
            Notifier::Webhook(webhook) => webhook.send(transitions, now).await,
            Notifier::Alertmanager(alertmanager) => alertmanager.send(transitions, now).await,
            // SNS takes one at a time; the plan never makes more.
            Notifier::Sns(sns) => match transitions {
                [one] => sns.send(one).await,
                _ => Outcome::Unfit("a topic takes one transition a message".to_owned()),
            },
        };
        self.memory().sent.push_back(now);
        outcome
    }

    async fn taken(&self, message: Vec<Queued>, now: Timestamp) -> Result<(), QueryError> {
        let count = message.len();
        self.ledger
            .notices_done(&self.settings.name, message)
            .await?;
        self.count("delivered", count);
        let was_failing = {
            let mut memory = self.memory();
            memory.counts.waiting = memory.counts.waiting.saturating_sub(count);
            if memory.counts.waiting == 0 {
                memory.counts.oldest = None;
            }
            std::mem::take(&mut memory.is_failing)
        };
        if was_failing {
            let target = &self.settings.name;
            info!(target, at = %now, "the notification target takes messages again");
        }
        Ok(())
    }

    async fn refused(&self, message: Vec<Queued>, why: &str) -> Result<(), QueryError> {
        let (target, notices) = (&self.settings.name, message.len());
        error!(
            target,
            notices, why, "the target refuses to be told of alarms"
        );
        // It counts as heard, or the next alarm after a lost recovery would not be news.
        self.ledger
            .notices_done(&self.settings.name, message)
            .await?;
        self.count("refused", notices);
        let mut memory = self.memory();
        memory.counts.waiting = memory.counts.waiting.saturating_sub(notices);
        Ok(())
    }

    async fn again(
        &self,
        message: Vec<Queued>,
        again: Again,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        let attempts = message.iter().map(|notice| notice.attempts).max();
        let pause = again.wish.unwrap_or_else(|| pause(attempts.unwrap_or(0)));
        let due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let ids = message.iter().map(|notice| notice.id).collect();
        self.count("failed", message.len());
        if again.is_fate_unknown {
            self.count("ambiguous", message.len());
        }
        let was_failing = std::mem::replace(&mut self.memory().is_failing, true);
        if !was_failing {
            let (target, why) = (&self.settings.name, &again.why);
            warn!(
                target,
                why, "a notification target cannot be told, it is tried again"
            );
        }
        self.ledger
            .notices_retry(ids, due, again.why, again.is_fate_unknown)
            .await
    }

    /// What fires and is due to be sent again, for targets that forget it otherwise.
    fn firing(&self, told: &[Told], now: Timestamp) -> Vec<Transition> {
        if !matches!(self.notifier, Notifier::Alertmanager(_)) {
            return Vec::new();
        }
        let mut memory = self.memory();
        let is_early = memory
            .resent
            .is_some_and(|at| at <= now && now.duration_since(at).unsigned_abs() < RESEND_PERIOD);
        if is_early {
            return Vec::new();
        }
        memory.resent = Some(now);
        drop(memory);
        // An alarm that is no more, or has changed since, ends by itself.
        let fires =
            |told: &&Told| told.transition.to == State::Alarm && told.now == Some(State::Alarm);
        let firing = told.iter().filter(fires);
        firing.map(|told| told.transition.clone()).collect()
    }

    /// Sends again what fires. A failure is made good by the next time.
    async fn resend(&self, firing: &[Transition], now: Timestamp) {
        for part in firing.chunks(RESEND_TOGETHER) {
            let transitions: Vec<&Transition> = part.iter().collect();
            match self.send(&transitions, now).await {
                // Where one is unfit the good ones are taken all the same.
                Outcome::Taken | Outcome::Unfit(_) => self.count("resent", part.len()),
                Outcome::Refused(_) | Outcome::Again(_) => self.count("resend_failed", part.len()),
            }
        }
    }

    pub(super) fn count(&self, result: &'static str, notices: usize) {
        let mut memory = self.memory();
        let count = memory.counts.results.entry(result).or_default();
        *count += u64::try_from(notices).unwrap_or(u64::MAX);
    }

    pub(super) fn counts(&self) -> Counts {
        self.memory().counts.clone()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after so many failed attempts.
fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(attempts))
        .min(LONGEST_PAUSE)
}
