use std::io::Read as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::model::catalogue::{
    ACTIVE_TIME, API_REQUEST_DURATION, BUILD_INFO, CATALOGUE, COST, CPU_UTILIZATION,
    DISK_UTILIZATION, LEDGER_COMMIT_RECORDS, PROCESS_RESIDENT_MEMORY, PROCESS_THREADS, TOKENS,
};

const TEXT: &str = include_str!("golden.txt");
const OPEN_METRICS: &str = include_str!("golden.openmetrics.txt");

fn example() -> Registry {
    let registry = Registry::default();
    let alice = [
        "alice@example.com",
        "payments",
        "bedrock",
        "claude-sonnet-4-6",
    ];
    for (kind, amount) in [("output", 84), ("input", 2_403), ("cacheRead", 11_200)] {
        let [user, team, provider, model] = alice;
        registry.add(TOKENS, &[user, team, provider, model, kind], amount);
    }
    registry.add(COST, &alice, 12_345_678_901_234_567_890_123_456);
    registry.add(COST, &["mallory\"\\\n", "", "", "m"], 1_500_000_000);
    registry.add(
        ACTIVE_TIME,
        &["alice@example.com", "payments", "cli"],
        30_250,
    );
    for seconds in [0.1, 1.83, 400.0] {
        registry.observe(
            API_REQUEST_DURATION,
            &["bedrock", "claude-sonnet-4-6"],
            seconds,
        );
    }
    registry.observe(LEDGER_COMMIT_RECORDS, &[], 500.0);
    registry.set(BUILD_INFO, &["0.1.0"], 1.0);
    registry.set(CPU_UTILIZATION, &[], 0.125);
    registry.set(DISK_UTILIZATION, &["/"], f64::INFINITY);
    registry.set(DISK_UTILIZATION, &["/home"], f64::NEG_INFINITY);
    registry.set(DISK_UTILIZATION, &["/tmp"], f64::NAN);
    registry
}

fn text(registry: &Registry, format: Format) -> String {
    String::from_utf8(render(registry, format)).unwrap()
}

fn decimal(value: u128, scale: u8) -> String {
    let mut out = Vec::new();
    write_decimal(&mut out, value, scale);
    String::from_utf8(out).unwrap()
}

#[test]
fn both_formats_are_as_recorded() {
    let registry = example();
    for (format, file, golden) in [
        (Format::Text, "golden.txt", TEXT),
        (Format::OpenMetrics, "golden.openmetrics.txt", OPEN_METRICS),
    ] {
        let shown = text(&registry, format);
        if std::env::var_os("TALLYD_BLESS").is_some() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/export/prometheus/");
            std::fs::write(format!("{folder}{file}"), shown).unwrap();
        } else {
            assert_eq!(shown, golden, "rewrite with TALLYD_BLESS=1");
        }
    }
}

#[test]
fn an_empty_registry_shows_nothing() {
    let registry = Registry::default();
    assert_eq!(text(&registry, Format::Text), "");
    assert_eq!(text(&registry, Format::OpenMetrics), "# EOF\n");
}

#[test]
fn integers_are_printed_exactly() {
    assert_eq!(decimal(0, 0), "0");
    assert_eq!(decimal(0, 12), "0");
    assert_eq!(decimal((1 << 53) + 1, 0), "9007199254740993");
    assert_eq!(decimal(1_500, 3), "1.5");
    assert_eq!(decimal(7, 12), "0.000000000007");
    assert_eq!(decimal(2_000_000_000_000, 12), "2");
    assert_eq!(
        decimal(u128::MAX, 12),
        "340282366920938463463374607.431768211455"
    );
}

#[test]
fn the_buffer_is_big_enough_from_the_start() {
    let registry = example();
    let room: usize = registry.snapshot().iter().map(room_for).sum();
    assert!(render(&registry, Format::OpenMetrics).len() <= room);
}

#[test]
fn gzip_gives_the_same_text_back() {
    let body = text(&example(), Format::Text);
    let mut unpacked = String::new();
    let packed = gzip(body.as_bytes());
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, body);
}

#[test]
#[cfg(target_os = "linux")]
fn a_scrape_tells_of_the_process() {
    let registry = Registry::default();
    let body = scrape(&registry, Format::Text);
    assert!(registry.gauge(PROCESS_THREADS, &[]) >= Some(1.0));
    assert!(registry.gauge(PROCESS_RESIDENT_MEMORY, &[]) >= Some(1_000_000.0));
    let body = String::from_utf8(body).unwrap();
    for desc in CATALOGUE {
        if desc.name.starts_with("process_") {
            assert!(body.contains(&format!("\n{} ", desc.name)), "{}", desc.name);
        }
    }
}

#[test]
#[ignore = "needs promtool"]
fn promtool_accepts_every_metric_of_the_catalogue() {
    let registry = example();
    for desc in CATALOGUE {
        let labels = vec!["value"; desc.labels.len()];
        match desc.kind {
            Kind::Counter => registry.add(desc, &labels, 1),
            Kind::Gauge => registry.set(desc, &labels, 1.0),
            Kind::Histogram(_) => registry.observe(desc, &labels, 1.0),
        }
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(&scrape(&registry, Format::Text)).unwrap();
    drop(stdin);
    let answer = promtool.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stderr), "");
    assert!(answer.status.success());
}

proptest! {
    #[test]
    fn a_printed_number_reads_back_as_the_same_integer(value: u128, scale in 0_u8..=12) {
        let shown = decimal(value, scale);
        let (whole, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
        let digits = format!("{whole}{fraction:0<width$}", width = usize::from(scale));
        prop_assert_eq!(digits.parse::<u128>().unwrap(), value);
    }
}
