//! Rounds over a log in a folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::entry::tests::record;
use super::*;
use crate::clock::Clock;
use crate::config::Environment;
use crate::model::query::{Dimension, UsageQuery};
use crate::record::testing::Scratch;

const NOW: &str = "2026-11-20T12:00:00Z";
const REGION: &str = "p/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1";

struct Bench {
    scratch: Scratch,
    folder: tempfile::TempDir,
    registry: Arc<Registry>,
    collector: BedrockLogsCollector,
}

impl Bench {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("p")).unwrap();
        let text = format!(
            "[bedrock_logs]\nenabled = true\nsources = [\"file://{}/p\"]\n{settings}",
            folder.path().display()
        );
        let config = Config::parse(&text, &Environment::default()).unwrap();
        let scratch = Scratch::new(Clock::manual(at(NOW)));
        let registry = Arc::new(Registry::default());
        let shared = Shared {
            aws: Aws::new(&config.aws).unwrap(),
            recorder: scratch.recorder.clone(),
            names: Arc::default(),
            registry: registry.clone(),
            readiness: Arc::default(),
        };
        Self {
            collector: BedrockLogsCollector::new(&config, shared),
            scratch,
            folder,
            registry,
        }
    }

    /// Writes an object with a record for each id.
    fn write(&self, hour: &str, name: &str, ids: &[&str]) -> PathBuf {
        let folder = self.folder.path().join(REGION).join(hour);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        let lines: Vec<_> = ids.iter().map(|id| record(id)).collect();
        write(&path, &gzip(&lines.join("\n")));
        path
    }

    async fn round(&mut self, now: &str) -> Result<(), String> {
        let read = self.collector.read(at(now)).await;
        read.map(|_| ()).map_err(|error| error.to_string())
    }

    fn source(&self) -> String {
        format!("file://{}/p", self.folder.path().display())
    }

    /// Objects by result, and requests by result.
    fn counts(&self) -> [u128; 6] {
        let source = self.source();
        let objects = ["read", "damaged", "failed"].map(|result| {
            let labels = [source.as_str(), result];
            let family = catalogue::BEDROCK_LOGS_OBJECTS;
            self.registry.counter(family, &labels).unwrap_or(0)
        });
        let records = ["accepted", "duplicate", "refused"].map(|result| {
            let labels = [source.as_str(), result];
            let family = catalogue::BEDROCK_LOGS_RECORDS;
            self.registry.counter(family, &labels).unwrap_or(0)
        });
        [objects, records].concat().try_into().unwrap()
    }

    fn waiting(&self) -> Option<f64> {
        let family = catalogue::BEDROCK_LOGS_WAITING;
        self.registry.gauge(family, &[&self.source()])
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn each_object_is_read_once_and_one_that_comes_late_is_found() {
    let mut bench = Bench::new("");
    bench.write("2026/11/20/11", "b.json.gz", &["r1", "r2"]);
    bench.write("2026/11/18/00", "old.json.gz", &["r9"]);
    bench.round(NOW).await.unwrap();
    assert_eq!(bench.counts(), [1, 0, 0, 2, 0, 0]);
    bench.round("2026-11-20T12:05:00Z").await.unwrap();
    assert_eq!(bench.counts(), [1, 0, 0, 2, 0, 0]);
    // An older key, an hour back.
    bench.write("2026/11/20/10", "a.json.gz", &["r3"]);
    bench.round("2026-11-20T12:10:00Z").await.unwrap();
    assert_eq!(bench.counts(), [2, 0, 0, 3, 0, 0]);
    // The same object with other content.
    bench.write("2026/11/20/11", "b.json.gz", &["r1", "r2", "r4"]);
    bench.round("2026-11-20T12:15:00Z").await.unwrap();
    assert_eq!(bench.counts(), [3, 0, 0, 4, 2, 0]);
    assert_eq!(bench.waiting(), Some(0.0));
}

#[tokio::test]
async fn a_round_has_a_bound_and_the_next_goes_on() {
    let mut bench = Bench::new("max_objects = 2");
    for (name, id) in [("a.gz", "r1"), ("b.gz", "r2"), ("c.gz", "r3")] {
        bench.write("2026/11/20/11", name, &[id]);
    }
    bench.round(NOW).await.unwrap();
    assert_eq!((bench.counts()[0], bench.waiting()), (2, Some(1.0)));
    // Long after: what was left is not forgotten with the time that a round looks back.
    bench.round("2026-11-25T12:00:00Z").await.unwrap();
    assert_eq!((bench.counts()[0], bench.waiting()), (3, Some(0.0)));
}

#[tokio::test]
async fn damage_costs_no_other_object_and_what_is_good_counts() {
    let mut bench = Bench::new("");
    let broken = bench.write("2026/11/20/11", "a.json.gz", &["r1"]);
    let whole = gzip(&format!("{}\nnot a record\n", record("r2")));
    write(&broken, &whole[..whole.len() - 4]);
    let hidden = bench.write("2026/11/20/11", "b.json.gz", &["r3"]);
    write(&hidden, b"\x1f\x8bno gzip at all");
    bench.write("2026/11/20/11", "c.json.gz", &["r4"]);
    bench.round(NOW).await.unwrap();
    assert_eq!(bench.counts(), [1, 2, 0, 2, 0, 0]);
    let labels = [&*bench.source(), "bad_line"];
    let bad = bench
        .registry
        .counter(catalogue::BEDROCK_LOGS_SKIPPED, &labels);
    assert_eq!(bad, Some(1));
    bench.round("2026-11-20T12:05:00Z").await.unwrap();
    assert_eq!(bench.counts(), [1, 2, 0, 2, 0, 0]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told_and_read_when_it_is() {
    let mut bench = Bench::new("");
    let folder = bench.folder.path().join("p");
    std::fs::remove_dir(&folder).unwrap();
    let failed = bench.round(NOW).await.unwrap_err();
    assert_eq!(failed, "cannot read the invocation logs of Bedrock");
    let success = catalogue::BEDROCK_LOGS_SUCCESS;
    assert_eq!(bench.registry.gauge(success, &[&bench.source()]), Some(0.0));
    bench.write("2026/11/20/11", "a.json.gz", &["r1"]);
    bench.round("2026-11-20T12:05:00Z").await.unwrap();
    assert_eq!(bench.counts()[3], 1);
    assert_eq!(bench.registry.gauge(success, &[&bench.source()]), Some(1.0));
}

#[tokio::test]
async fn logs_are_a_control_total_unless_their_account_is_listed() {
    let mut bench = Bench::new("");
    bench.write("2026/11/20/11", "a.json.gz", &["r1"]);
    bench.round(NOW).await.unwrap();
    let ledger = bench.scratch.recorder.ledger();
    let day = (at("2026-11-20T00:00:00Z"), at("2026-11-21T00:00:00Z"));
    let counted = ledger.usage(UsageQuery {
        from: day.0,
        to: day.1,
        group_by: vec![Dimension::Provider],
        zone: jiff::tz::TimeZone::UTC,
        user: None,
    });
    assert_eq!(counted.await.unwrap().rows, []);
    let control = ledger.control(day.0, day.1).await.unwrap();
    assert_eq!(
        (control[0].reported_requests, control[0].counted_requests),
        (1, 0)
    );
    assert_eq!(&*control[0].source, "bedrock_logs");
}
