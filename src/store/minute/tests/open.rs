//! An open ledger with a clock that is set by hand, and facts for it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::model::identity::Identity;
use crate::model::minute::Dimension;
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::{Band, Counted, Intake, Point, Sku, Temporality, UsageRecord, source};
use crate::store::minute::{Dimensions, LeftOut, Minute, MinuteQuery, Outbox, Seal, minute_at};
use crate::store::{Ledger, Settings, Terms, WriterThread};

const NOON: &str = "2026-11-22T12:00:00Z";

pub(super) fn noon() -> Timestamp {
    NOON.parse().unwrap()
}

/// Noon and so many seconds.
pub(super) fn at(seconds: i64) -> Timestamp {
    noon()
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap()
}

/// The minute of noon.
pub(super) fn first() -> i64 {
    minute_at(noon())
}

/// What commits told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) tokens: i64,
    pub(super) left_out: HashMap<LeftOut, (u64, u64)>,
    pub(super) folded: u64,
    pub(super) throttled: usize,
    pub(super) first_tokens: Vec<u32>,
}

pub(super) struct Open {
    pub(super) ledger: Ledger,
    pub(super) thread: WriterThread,
    pub(super) clock: Clock,
    pub(super) told: Arc<Mutex<Told>>,
}

impl Open {
    pub(super) fn at(folder: &Path, now: Timestamp) -> Self {
        Self::with(folder, now, Vec::new())
    }

    pub(super) fn with(folder: &Path, now: Timestamp, dimensions: Vec<Vec<Dimension>>) -> Self {
        let settings = Settings {
            folder: folder.to_owned(),
            retain_raw: std::time::Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Terms {
            order: ["gateway", "litellm", "events"].map(str::to_owned).to_vec(),
            dimensions,
            ..Terms::default()
        };
        let clock = Clock::manual(now);
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let opened = Ledger::open(&settings, terms, clock.clone()).unwrap();
        let told = Arc::new(Mutex::new(Told::default()));
        let heard = told.clone();
        let (ledger, thread) = opened
            .start(Box::new(move |effects, _| {
                let mut told = heard.lock().unwrap();
                for (_, amounts) in &effects.growth.usage {
                    told.tokens += amounts[..4].iter().sum::<i64>();
                }
                for (reason, (facts, tokens)) in &effects.minutes.left_out {
                    let sum = told.left_out.entry(*reason).or_default();
                    sum.0 += facts;
                    sum.1 += tokens;
                }
                told.folded += effects.minutes.folded;
                told.throttled += effects.minutes.throttled.len();
                let first_tokens = effects.minutes.first_tokens.iter();
                told.first_tokens
                    .extend(first_tokens.map(|(_, millis)| millis));
            }))
            .unwrap();
        Self {
            ledger,
            thread,
            clock,
            told,
        }
    }

    pub(super) fn close(self) {
        self.ledger.close();
        self.thread.join();
    }

    /// Sets the clock to noon and so many seconds.
    pub(super) fn set(&self, seconds: i64) {
        let Clock::Manual(millis) = &self.clock else {
            unreachable!("the clock of tests is manual")
        };
        let now = at(seconds).as_millisecond();
        millis.store(now, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) async fn take(&self, records: Vec<UsageRecord>) {
        let intake = Intake {
            records,
            ..Intake::default()
        };
        self.ledger.append(intake).await.unwrap();
    }

    pub(super) async fn seal(&self, minute: i64) -> bool {
        self.ledger.seal(seal(minute)).await.unwrap().is_some()
    }

    /// Values of a total by minutes since noon.
    pub(super) async fn sums(&self, metric: &'static str) -> Vec<(i64, f64)> {
        let minutes = self.all(&[metric]).await;
        let sum = |minute: &Minute| (minute.minute - first(), minute.datapoint.sum);
        minutes.iter().map(sum).collect()
    }

    pub(super) async fn all(&self, metrics: &[&'static str]) -> Vec<Minute> {
        let query = MinuteQuery {
            from: first() - 100,
            to: first() + 1_000,
            metrics: metrics.to_vec(),
            dimensions: Dimensions::Totals,
        };
        self.ledger.minutes(query).await.unwrap()
    }

    pub(super) fn left_out(&self, reason: LeftOut) -> (u64, u64) {
        let told = self.told.lock().unwrap();
        told.left_out.get(&reason).copied().unwrap_or_default()
    }
}

pub(super) fn seal(minute: i64) -> Seal {
    Seal {
        minute,
        is_whole: true,
        gauges: Vec::new(),
        objective: 0.99,
        outbox: Outbox::Leave,
        keep_from: 0,
    }
}

pub(super) fn sku() -> Arc<Sku> {
    Arc::new(Sku {
        band: Band::Mixed,
        ..Sku::plain("claude-sonnet-4-6")
    })
}

pub(super) fn person(user: &str) -> Arc<Identity> {
    Arc::new(Identity {
        user: Some(user.into()),
        ..Identity::default()
    })
}

pub(super) fn request(id: &str, seconds: i64, input: u64) -> UsageRecord {
    UsageRecord {
        identity: person("alice"),
        sku: sku(),
        tokens: Tokens {
            input,
            ..Tokens::default()
        },
        ..UsageRecord::plain("gateway", id, at(seconds))
    }
}

pub(super) fn point(session: &str, seconds: i64, value: u64) -> Point {
    Point {
        source: source::METRICS.into(),
        series: [7; 16],
        temporality: Temporality::Delta,
        start: at(seconds - 60),
        at: at(seconds),
        value,
        identity: person("alice"),
        session: Some(session.into()),
        what: Counted::Tokens {
            kind: TokenKind::Input,
            sku: sku(),
        },
    }
}
