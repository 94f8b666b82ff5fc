//! Rounds over time, on a ledger of their own.

use std::path::Path;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::model::minute::Minute;
use crate::model::tokens::Tokens;
use crate::model::usage::{Intake, Outcome, UsageRecord};
use crate::store::{self, Dimensions, MinuteQuery, OutboxState, Terms};

/// A minute's begin.
const NOON: i64 = 1_795_348_800;

/// Noon and so many seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOON + seconds).unwrap()
}

struct House {
    clock: Clock,
    ledger: Ledger,
    registry: Arc<Registry>,
    series: Series,
    /// Seconds since noon.
    now: i64,
    records: u32,
}

impl House {
    fn new(folder: &Path, now: i64, outbox: Outbox) -> Self {
        let clock = Clock::manual(at(now));
        let settings = store::Settings {
            folder: folder.to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
        let opened = Ledger::open(&settings, terms, clock.clone()).unwrap();
        let (ledger, _) = opened.start(Box::new(|_, _| {})).unwrap();
        let registry = Arc::new(Registry::default());
        let settings = Settings {
            retain: Duration::from_hours(24),
            objective: 0.99,
            outbox,
        };
        let series = Series::new(settings, ledger.clone(), registry.clone(), at(now));
        Self {
            clock,
            ledger,
            registry,
            series,
            now,
            records: 0,
        }
    }

    fn start(now: i64) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Self::new(folder.path(), now, Outbox::Leave), folder)
    }

    /// Lets rounds pass, five seconds each, and returns what they sealed, in minutes since noon.
    async fn run_to(&mut self, seconds: i64) -> Vec<i64> {
        let mut sealed = Vec::new();
        while self.now < seconds {
            self.now += 5;
            sealed.extend(self.round().await);
        }
        sealed
    }

    /// One round after the clock was set.
    async fn jump(&mut self, seconds: i64) -> Vec<i64> {
        self.now = seconds;
        self.round().await
    }

    async fn round(&self) -> Vec<i64> {
        let Clock::Manual(millis) = &self.clock else {
            unreachable!("the clock of tests is manual")
        };
        let now = at(self.now);
        millis.store(now.as_millisecond(), std::sync::atomic::Ordering::Relaxed);
        let sealed = self.series.round(now).await.unwrap();
        sealed
            .into_iter()
            .map(|minute| minute - NOON / 60)
            .collect()
    }

    /// Takes requests that end now.
    async fn requests(&mut self, count: u32, outcome: Outcome) {
        let mut intake = Intake::default();
        for _ in 0..count {
            self.records += 1;
            intake.records.push(record(self.records, self.now, outcome));
        }
        self.ledger.append(intake).await.unwrap();
    }

    async fn minutes(&self, metric: &'static str) -> Vec<Minute> {
        let query = MinuteQuery {
            from: 0,
            to: i64::MAX,
            metrics: vec![metric],
            dimensions: Dimensions::Totals,
        };
        self.ledger.minutes(query).await.unwrap()
    }

    /// Averages by minutes since noon.
    async fn averages(&self, metric: &'static str) -> Vec<(i64, f64)> {
        let minutes = self.minutes(metric).await;
        let average = |minute: &Minute| {
            let average = minute.datapoint.average().unwrap();
            (minute.minute - NOON / 60, average)
        };
        minutes.iter().map(average).collect()
    }
}

fn record(number: u32, seconds: i64, outcome: Outcome) -> UsageRecord {
    UsageRecord {
        tokens: Tokens {
            input: 10,
            ..Tokens::default()
        },
        outcome,
        ..UsageRecord::plain("gateway", &format!("{seconds}-{number}"), at(seconds))
    }
}

#[tokio::test]
async fn an_idle_minute_is_sealed_15_seconds_after_its_end_with_zeros() {
    let (mut house, _folder) = House::start(-5);
    house.registry.set(catalogue::CPU_UTILIZATION, &[], 0.5);
    assert_eq!(house.run_to(70).await, Vec::<i64>::new());
    assert_eq!(house.run_to(75).await, [0]);
    assert_eq!(house.run_to(300).await, [1, 2, 3]);
    let zeros = [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0)];
    assert_eq!(house.averages("tokens_processed").await, zeros);
    assert_eq!(house.averages("requests_per_minute").await, zeros);
    assert_eq!(house.averages("error_rate").await, []);
    assert_eq!(house.averages("time_saved_minutes").await, []);
    assert_eq!(house.averages("cloudwatch_datapoints_lost").await, []);
    let cpu = house.minutes("cpu_utilization").await;
    let counts: Vec<u64> = cpu.iter().map(|minute| minute.datapoint.count).collect();
    assert_eq!(counts, [12, 12, 12, 12]);
}

#[tokio::test]
async fn minutes_in_which_tallyd_was_down_are_missing_and_the_cut_one_has_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::new(folder.path(), -10, Outbox::Leave);
    house.run_to(80).await;
    house.requests(2, Outcome::Ok).await;
    house.ledger.close();
    // It comes again five minutes later.
    let mut house = restart(folder.path(), 400).await;
    assert_eq!(house.jump(400).await, [1]);
    assert_eq!(house.run_to(490).await, [6]);
    assert_eq!(
        house.averages("tokens_processed").await,
        [(0, 0.0), (1, 20.0)]
    );
    assert_eq!(house.averages("throttled_requests").await, [(0, 0.0)]);
    assert_eq!(house.run_to(550).await, [7]);
    assert_eq!(
        house.averages("throttled_requests").await,
        [(0, 0.0), (7, 0.0)]
    );
}

/// Opens the ledger as soon as the one before has let go of it.
async fn restart(folder: &Path, now: i64) -> House {
    let held = || {
        let file = std::fs::File::open(folder.join("lock")).unwrap();
        file.try_lock().is_err()
    };
    while held() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    House::new(folder, now, Outbox::Leave)
}

#[tokio::test]
async fn a_machine_that_slept_leaves_a_hole() {
    let (mut house, _folder) = House::start(-5);
    house.run_to(65).await;
    house.requests(1, Outcome::Ok).await;
    assert_eq!(house.jump(3_610).await, [0, 1]);
    house.run_to(3_740).await;
    assert_eq!(
        house.averages("tokens_processed").await,
        [(0, 0.0), (1, 10.0), (61, 0.0)]
    );
    assert_eq!(
        house.averages("throttled_requests").await,
        [(0, 0.0), (61, 0.0)]
    );
}

#[tokio::test]
async fn a_clock_set_forward_and_back_leaves_sealed_minutes_and_fills_the_others() {
    let (mut house, _folder) = House::start(-5);
    house.run_to(65).await;
    house.jump(1_210).await;
    assert_eq!(house.run_to(1_280).await, [20]);
    assert_eq!(house.jump(310).await, Vec::<i64>::new());
    house.requests(1, Outcome::Ok).await;
    assert_eq!(house.run_to(440).await, [5, 6]);
    assert_eq!(
        house.averages("tokens_processed").await,
        [(0, 0.0), (5, 10.0), (6, 0.0)]
    );
    // Back at minute 20, which is sealed.
    house.run_to(1_220).await;
    house.requests(1, Outcome::Ok).await;
    house.run_to(1_400).await;
    let late: Vec<_> = house.averages("tokens_processed").await;
    let late: Vec<_> = late
        .into_iter()
        .filter(|(minute, _)| *minute >= 19)
        .collect();
    assert_eq!(late, [(19, 0.0), (21, 10.0), (22, 0.0)]);
}

#[tokio::test]
async fn shares_and_burn_rates_are_told_with_enough_requests_and_vanish_without() {
    let (mut house, _folder) = House::start(-5);
    let share = |house: &House| house.registry.gauge(catalogue::ERROR_SHARE, &[]);
    let burn = |house: &House, window| house.registry.gauge(catalogue::BURN_RATE, &[window]);
    house.run_to(5).await;
    house.requests(15, Outcome::Ok).await;
    house.run_to(75).await;
    assert_eq!(share(&house), None);
    house.requests(5, Outcome::Error).await;
    house.run_to(140).await;
    assert_eq!(share(&house), Some(0.25));
    assert!((burn(&house, "fast").unwrap() - 25.0).abs() < 1e-9);
    assert!((burn(&house, "slow").unwrap() - 25.0).abs() < 1e-9);
    assert_eq!(house.averages("error_share").await, [(1, 25.0)]);
    house.run_to(400).await;
    assert_eq!(share(&house), None);
    assert_eq!(burn(&house, "fast"), None);
    assert!(burn(&house, "slow").is_some());
}

#[tokio::test]
async fn silence_is_told_while_bedrock_says_that_models_are_used() {
    let (mut house, _folder) = House::start(0);
    let silent = |house: &House| house.registry.gauge(catalogue::TELEMETRY_SILENT, &[]);
    house.run_to(600).await;
    assert_eq!(silent(&house), None);
    house.series.note_bedrock(Evidence {
        checked: at(600),
        last_used: Some(at(540)),
    });
    house.run_to(700).await;
    assert_eq!(silent(&house), Some(540.0));
    assert_eq!(
        house.averages("telemetry_silent_seconds").await,
        [(10, 540.0)]
    );
}

#[tokio::test]
async fn the_outbox_gets_each_minute_once_and_old_minutes_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::new(folder.path(), -5, Outbox::Fill);
    house.run_to(140).await;
    let state = house.ledger.outbox_state().await.unwrap();
    let expected = OutboxState {
        waiting: 10,
        oldest_minute: Some(NOON / 60),
    };
    assert_eq!(state, expected);
    let waiting = house.ledger.outbox_oldest(100).await.unwrap().waiting;
    let ids = waiting.iter().map(|one| one.id).collect();
    house.ledger.outbox_done(ids).await.unwrap();
    house.jump(2 * 86_400 + 5).await;
    house.run_to(2 * 86_400 + 155).await;
    let kept = house.averages("tokens_processed").await;
    assert_eq!(kept, [(2_881, 0.0)]);
}
