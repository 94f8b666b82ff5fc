//! CloudWatch for tests: moto behind a strict front, and a ledger with an exporter of its outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{Timestamp, tz::TimeZone};
use reqwest::Client;
use serde_json::Value;
use tallyd::aws::{Aws, State};
use tallyd::clock::Clock;
use tallyd::config::{Config, Environment};
use tallyd::export::cloudwatch::Exporter;
use tallyd::model::catalogue;
use tallyd::model::minute::Datapoint;
use tallyd::registry::Registry;
use tallyd::schedule::Stop;
use tallyd::store::{Dimensions, Ledger, MinuteQuery, Outbox, Seal, Settings, Terms, WriterThread};

use crate::harness::{Owned, Place, until};
use crate::peers::python;

/// A running front with moto behind it.
pub(crate) struct CloudWatch {
    _process: Owned,
    pub(crate) url: String,
    client: Client,
}

impl CloudWatch {
    pub(crate) async fn start(folder: &Path) -> Self {
        let said = folder.join("front.log");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/cloudwatch.py");
        let mut command = Command::new(python());
        let output = std::fs::File::create(&said).unwrap();
        // Buckets are in the path, whatever host a proxy makes of it.
        command.env("S3_IGNORE_SUBDOMAIN_BUCKETNAME", "true");
        command.arg(script).stdin(Stdio::null()).stdout(output);
        let process = Owned(command.stderr(Stdio::null()).spawn().unwrap());
        let url = until("the front of moto", async || {
            let said = std::fs::read_to_string(&said).unwrap();
            Some(said.strip_prefix("listening ")?.trim_end().to_owned())
        });
        Self {
            url: url.await,
            _process: process,
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(crate) async fn fault(&self, fault: Value) {
        let url = format!("{}/_faults", self.url);
        let answer = self.client.post(url).json(&fault).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    pub(crate) async fn mend(&self) {
        let url = format!("{}/_faults", self.url);
        self.client.delete(url).send().await.unwrap();
    }

    pub(crate) async fn list(&self, what: &str) -> Vec<Value> {
        let url = format!("{}/{what}", self.url);
        let answer = self.client.get(url).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Calls to `PutMetricData`.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        let mut calls = self.list("_calls").await;
        calls.retain(|call| call["operation"] == "PutMetricData");
        calls
    }

    /// Datums that were stored.
    pub(crate) async fn datums(&self) -> Vec<Value> {
        self.list("_datums").await
    }

    /// Of each metric and minute: how often it was stored.
    pub(crate) async fn stored(&self) -> BTreeMap<(String, i64), usize> {
        let mut stored = BTreeMap::new();
        for datum in self.datums().await {
            let metric = datum["metric"].as_str().unwrap().to_owned();
            let minute = datum["minute"].as_i64().unwrap();
            *stored.entry((metric, minute)).or_default() += 1;
        }
        stored
    }
}

/// A ledger and an exporter of its outbox.
pub(crate) struct Export {
    pub(crate) ledger: Ledger,
    pub(crate) thread: WriterThread,
    pub(crate) aws: Aws,
    pub(crate) registry: Arc<Registry>,
    pub(crate) exporter: Exporter,
}

impl Export {
    /// Opens the ledger in a folder. Credentials come from the environment.
    pub(crate) async fn open(folder: &Path, url: &str, settings: &str) -> Self {
        Self::open_at(Clock::System, folder, url, settings).await
    }

    pub(crate) async fn open_at(clock: Clock, folder: &Path, url: &str, settings: &str) -> Self {
        let text = format!(
            "[aws]\nendpoint_url = \"{url}\"\nregion = \"eu-central-1\"\ntimeout = \"2s\"\n\
             connect_timeout = \"1s\"\n[cloudwatch]\nenabled = true\n{settings}"
        );
        let config = Config::parse(&text, &Environment::default()).unwrap();
        let settings = Settings {
            folder: folder.to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let dimensions = config.cloudwatch.dimensions.iter();
        let terms = Terms {
            dimensions: dimensions
                .map(|set| set.iter().copied().collect())
                .collect(),
            ..Terms::default()
        };
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let opened = Ledger::open(&settings, terms, clock).unwrap();
        let (ledger, thread) = opened.start(Box::new(|_, _| {})).unwrap();
        let registry = Arc::new(Registry::default());
        let aws = Aws::new(&config.aws).unwrap();
        aws.connect(Clock::System.now()).await;
        assert!(
            matches!(aws.state(), State::Ready { .. }),
            "{:?}",
            aws.state()
        );
        let exporter = Exporter::new(
            ledger.clone(),
            aws.clone(),
            registry.clone(),
            config.cloudwatch,
            Stop::new(),
        );
        Self {
            ledger,
            thread,
            aws,
            registry,
            exporter,
        }
    }

    /// Seals a minute with the zeros of totals and with these values.
    pub(crate) async fn seal(&self, minute: i64, gauges: Vec<(&'static str, Datapoint)>) {
        let seal = Seal {
            minute,
            is_whole: true,
            gauges,
            objective: 0.99,
            outbox: Outbox::Fill,
            keep_from: 0,
        };
        self.ledger.seal(seal).await.unwrap();
    }

    pub(crate) async fn round(&mut self) {
        self.exporter.round(Clock::System.now()).await.unwrap();
    }

    /// Every datapoint that the ledger holds, by metric and minute.
    pub(crate) async fn minutes(&self) -> BTreeSet<(String, i64)> {
        let query = MinuteQuery {
            from: 0,
            to: i64::MAX,
            metrics: Vec::new(),
            dimensions: Dimensions::All,
        };
        let minutes = self.ledger.minutes(query).await.unwrap().into_iter();
        minutes
            .map(|minute| (minute.series.metric.to_owned(), minute.minute))
            .collect()
    }

    pub(crate) async fn waiting(&self) -> u64 {
        self.ledger.outbox_state().await.unwrap().waiting
    }

    /// Datapoints by what became of them: delivered, rejected, ambiguous, expired.
    pub(crate) fn fates(&self) -> [u128; 4] {
        ["delivered", "rejected", "ambiguous", "expired"].map(|fate| {
            let desc = catalogue::CLOUDWATCH_DATAPOINTS;
            self.registry.counter(desc, &[fate]).unwrap()
        })
    }

    pub(crate) fn close(self) {
        self.ledger.close();
        self.thread.join();
    }
}

pub(crate) fn this_minute() -> i64 {
    minute_of(Clock::System.now())
}

pub(crate) fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// One value of each gauge, and distributions of what has a value for each request.
pub(crate) fn some_values(minute: i64) -> Vec<(&'static str, Datapoint)> {
    let durations = (0..40).map(|n| f64::from(n) * 37.5).collect();
    vec![
        ("error_rate", Datapoint::of_all(vec![0.0, 0.0, 100.0, 0.0])),
        ("response_time", Datapoint::of_all(durations)),
        ("cpu_utilization", Datapoint::of((minute % 100) as f64)),
    ]
}

/// Seals minutes in the store of a daemon that does not run.
pub(crate) async fn seed(place: &Place, minutes: std::ops::Range<i64>) {
    let export = Export::open(place.store(), "http://127.0.0.1:9", "").await;
    for minute in minutes {
        export.seal(minute, some_values(minute)).await;
    }
    export.close();
}
