//! The evaluation job over a real ledger.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::model::alarm::{State, Transition};
use crate::model::catalogue;
use crate::model::minute::Datapoint;
use crate::model::notice::Notice;
use crate::record::testing::Scratch;
use crate::registry::Registry;
use crate::store::{Ledger, Outbox, Seal};

const DISK: &str = "AlarmName: disk
Namespace: ClaudeCode/Enterprise
MetricName: disk_utilization
Statistic: Maximum
Period: 60
EvaluationPeriods: 1
Threshold: 90
ComparisonOperator: GreaterThanThreshold
TreatMissingData: notBreaching
Tags: [{Key: severity, Value: critical}]";

/// A folder with a template, a ledger, and what a daemon shares.
struct House {
    folder: tempfile::TempDir,
    scratch: Scratch,
    registry: Arc<Registry>,
    config: Arc<ArcSwap<Config>>,
    alarms: Arc<Alarms>,
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60 + 75).unwrap()
}

fn settings(folder: &Path, evaluate: &str) -> Config {
    let file = folder.join("disk.yaml");
    let text = format!("[alarms]\nfiles = [{file:?}]\nevaluate = \"{evaluate}\"\n");
    Config::parse(&text, &Environment::default()).unwrap()
}

impl House {
    fn new(evaluate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("disk.yaml"), template(DISK)).unwrap();
        let config = settings(folder.path(), evaluate);
        Self {
            scratch: Scratch::new(Clock::manual(at(0))),
            registry: Arc::default(),
            alarms: Arc::new(Alarms::load(&config).unwrap()),
            config: Arc::new(ArcSwap::from_pointee(config)),
            folder,
        }
    }

    fn ledger(&self) -> &Ledger {
        self.scratch.recorder.ledger()
    }

    /// A job as after a start.
    fn start(&self) -> Round {
        let tell = |transitions: &[Transition], now: Timestamp| {
            let notices = transitions.iter().map(|transition| Notice {
                target: "pager".to_owned(),
                transition: transition.clone(),
                due: now,
            });
            notices.collect()
        };
        Round::new(Setup {
            alarms: self.alarms.clone(),
            ledger: self.ledger().clone(),
            registry: self.registry.clone(),
            config: self.config.clone(),
            tell: Arc::new(tell),
        })
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("disk.yaml"), text).unwrap();
    }

    /// Seals a minute in which the disk was so full.
    async fn seal(&self, minute: i64, percent: f64) {
        let seal = Seal {
            minute,
            is_whole: true,
            gauges: vec![("disk_utilization", Datapoint::of(percent))],
            objective: 0.99,
            outbox: Outbox::Leave,
            keep_from: 0,
        };
        self.ledger().seal(seal).await.unwrap();
    }

    /// What the pager is to hear, oldest first.
    async fn told(&self) -> Vec<State> {
        let queue = self.ledger().notices("pager").await.unwrap();
        queue
            .waiting
            .iter()
            .map(|notice| notice.transition.to)
            .collect()
    }

    async fn state(&self) -> Option<State> {
        let states = self.ledger().alarm_states().await.unwrap();
        states.first().map(|status| status.state)
    }
}

#[tokio::test]
async fn a_change_is_acted_on_once_and_outlives_a_restart() {
    let house = House::new("local");
    let mut round = house.start();
    round.round(at(10)).await.unwrap();
    assert_eq!(house.state().await, Some(State::InsufficientData));
    house.seal(10, 95.0).await;
    for _ in 0..2 {
        round.round(at(10)).await.unwrap();
    }
    let mut round = house.start();
    round.round(at(10)).await.unwrap();
    house.seal(11, 96.0).await;
    round.round(at(11)).await.unwrap();
    assert_eq!(house.state().await, Some(State::Alarm));
    assert_eq!(house.told().await, [State::Alarm]);
    let standing = house.alarms.standing()["disk"].clone();
    assert_eq!(
        (standing.status.since, standing.status.value),
        (at(10), Some(96.0))
    );
    assert_eq!(
        standing.evaluated,
        Some(Timestamp::from_second(720).unwrap())
    );
    let gauge = |state: State| {
        let labels = ["disk", "critical", state.name()];
        house.registry.gauge(catalogue::ALARM_STATE, &labels)
    };
    assert_eq!(State::ALL.map(gauge), [Some(0.0), Some(1.0), Some(0.0)]);
}

#[tokio::test]
async fn minutes_missed_while_busy_are_made_up_for_and_those_of_a_downtime_are_not() {
    let house = House::new("local");
    let mut round = house.start();
    house.seal(10, 95.0).await;
    round.round(at(10)).await.unwrap();
    for (minute, percent) in [(11, 5.0), (12, 95.0), (13, 5.0)] {
        house.seal(minute, percent).await;
    }
    round.round(at(13)).await.unwrap();
    let (alarm, ok) = (State::Alarm, State::Ok);
    assert_eq!(house.told().await, [alarm, ok, alarm, ok]);
    for (minute, percent) in [(14, 95.0), (15, 5.0)] {
        house.seal(minute, percent).await;
    }
    house.start().round(at(15)).await.unwrap();
    assert_eq!(house.told().await, [alarm, ok, alarm, ok]);
    for (minute, percent) in [(16, 95.0), (90, 5.0)] {
        house.seal(minute, percent).await;
    }
    round.round(at(90)).await.unwrap();
    assert_eq!(house.told().await, [alarm, ok, alarm, ok]);
}

#[tokio::test]
async fn a_faulty_file_leaves_the_old_alarms() {
    let house = House::new("local");
    let mut round = house.start();
    house.seal(10, 95.0).await;
    round.round(at(10)).await.unwrap();
    let success = || house.registry.gauge(catalogue::ALARMS_RELOAD_SUCCESS, &[]);
    assert_eq!(success(), Some(1.0));
    let misspelt = template(DISK).replace("AWS::CloudWatch::Alarm", "AWS::Cloudwatch::Alarm");
    let nothing = "Resources: {Topic: {Type: AWS::SNS::Topic}}";
    for faulty in ["Resources: [", &misspelt, nothing] {
        house.write(faulty);
        house.seal(11, 5.0).await;
        round.round(at(11)).await.unwrap();
        assert_eq!(
            (success(), house.state().await),
            (Some(0.0), Some(State::Ok)),
            "{faulty}"
        );
    }
    house.write(&template(&DISK.replace("disk\n", "renamed\n")));
    house.seal(12, 5.0).await;
    round.round(at(12)).await.unwrap();
    assert_eq!(success(), Some(1.0));
    let names: Vec<_> = house.alarms.standing().keys().cloned().collect();
    assert_eq!(names, ["renamed"]);
    let old = ["disk", "critical", "OK"];
    assert_eq!(house.registry.gauge(catalogue::ALARM_STATE, &old), None);
    assert_eq!(house.ledger().alarm_states().await.unwrap().len(), 1);
}

#[tokio::test]
async fn where_cloudwatch_acts_nobody_is_told_here() {
    let house = House::new("cloudwatch");
    let mut round = house.start();
    house.seal(10, 95.0).await;
    round.round(at(10)).await.unwrap();
    assert_eq!(house.state().await, Some(State::Alarm));
    assert_eq!(house.told().await, []);
    house
        .config
        .store(Arc::new(settings(house.folder.path(), "off")));
    house.seal(11, 5.0).await;
    round.round(at(11)).await.unwrap();
    assert_eq!(
        house.state().await,
        Some(State::Alarm),
        "nothing is evaluated"
    );
    let labels = ["disk", "critical", "ALARM"];
    assert_eq!(house.registry.gauge(catalogue::ALARM_STATE, &labels), None);
}

#[tokio::test]
async fn looking_back_says_when_an_alarm_would_have_fired() {
    let house = House::new("local");
    for minute in 10..20 {
        let percent = if (13..15).contains(&minute) {
            91.0
        } else {
            5.0
        };
        house.seal(minute, percent).await;
    }
    let loaded = house.alarms.loaded();
    let on_other = ["error_rate".to_owned()];
    let none = backtest::backtest(house.ledger(), &loaded, &on_other, 0, 20).await;
    assert_eq!(none.unwrap(), []);
    let outcomes = backtest::backtest(house.ledger(), &loaded, &[], 0, 20)
        .await
        .unwrap();
    assert_eq!((outcomes[0].minutes, outcomes[0].fired), (10, 1));
    let episode = &outcomes[0].episodes[0];
    let ends = |minute: i64| Timestamp::from_second((minute + 1) * 60).unwrap();
    assert_eq!((episode.from, episode.to), (ends(13), Some(ends(15))));
    assert_eq!(outcomes[0].state, Some(State::Ok));
}
