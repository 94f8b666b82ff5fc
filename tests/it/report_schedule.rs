//! Reports through the front door, and those that are written by themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tallyd::clock::Clock;

use crate::facts::Request;
use crate::harness::{Place, until};

/// A zone in which it is neither near midnight now nor was it a day ago.
pub(crate) fn zone(now: Timestamp) -> (&'static str, TimeZone) {
    let hour = now.to_zoned(TimeZone::UTC).hour();
    let name = if hour < 12 { "Etc/GMT-6" } else { "Etc/GMT+6" };
    (name, TimeZone::get(name).unwrap())
}

/// A place whose ledger has three requests of yesterday.
async fn place_with_usage(now: Timestamp) -> Arc<Place> {
    let place = Place::new();
    let daemon = place.start().await;
    let request = Request {
        session: None,
        known_as: None,
        ..Request::new(now - SignedDuration::from_hours(24))
    };
    let records: Vec<Value> = ["1", "2", "3"]
        .iter()
        .zip([1_u64, 10, 100])
        .map(|(id, times)| {
            let counts = request.counts.map(|count| count * times);
            Request {
                counts,
                ..request.clone()
            }
            .by_gateway(id)
        })
        .collect();
    daemon.report(&json!(records)).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
    place
}

/// The files of a folder with their content; what is under way is hidden and does not count.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect()
}

fn schedule(zone: &str, formats: &str, to: &Path) -> String {
    format!(
        "[[report.schedule]]\nname = \"books\"\nreport = \"chargeback\"\nevery = \"day\"\n\
         formats = [{formats}]\ngroup_by = [\"team\", \"user\"]\ntimezone = \"{zone}\"\nto = \"{}\"\n",
        to.display()
    )
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
    bytes.iter().flat_map(digits).flatten().collect()
}

#[tokio::test]
async fn a_scheduled_report_is_written_whole_and_only_once() {
    let now = Clock::System.now();
    let (name, zone) = zone(now);
    let place = place_with_usage(now).await;
    let folder = place.path("reports/finance");
    place.configure(&schedule(
        name,
        r#""csv", "xlsx", "html", "json", "focus""#,
        &folder,
    ));
    let daemon = place.start().await;
    let labels = [("schedule", "books"), ("outcome", "written")];
    until("the report", async || {
        let runs = daemon.scrape().await;
        (runs.sum("tallyd_report_schedule_runs_total", &labels) >= 1.0).then_some(())
    })
    .await;
    let yesterday = now.to_zoned(zone).date().yesterday().unwrap();
    let written = files(&folder);
    let base = format!("books-{yesterday}");
    let names = [
        "csv",
        "focus.csv",
        "focus.csv.manifest.json",
        "html",
        "json",
        "xlsx",
    ];
    assert_eq!(
        written.keys().cloned().collect::<Vec<_>>(),
        names.map(|kind| format!("{base}.{kind}"))
    );
    let focus = &written[&format!("{base}.focus.csv")];
    let manifest = &written[&format!("{base}.focus.csv.manifest.json")];
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    assert_eq!(manifest["content_sha256"], hash(focus));
    let csv = String::from_utf8(written[&format!("{base}.csv")].clone()).unwrap();
    assert!(csv.contains("payments,alice@example.com"), "{csv}");
    assert_eq!(daemon.stop().await.code(), Some(0));

    std::fs::remove_dir_all(&folder).unwrap();
    let daemon = place.start().await;
    until("what was written before", async || {
        let family = "tallyd_report_schedule_last_success_timestamp_seconds";
        let scrape = daemon.scrape().await;
        (scrape.sum(family, &[("schedule", "books")]) > 0.0).then_some(())
    })
    .await;
    assert!(files(&folder).is_empty(), "it was written already");
    daemon.kill();
}

#[tokio::test]
async fn a_report_that_cannot_be_written_is_told_and_stays_due() {
    let now = Clock::System.now();
    let place = place_with_usage(now).await;
    let in_the_way = place.write("no-folder", "");
    place.configure(&schedule(
        zone(now).0,
        r#""csv""#,
        &in_the_way.join("reports"),
    ));
    let daemon = place.start().await;
    let labels = [("schedule", "books"), ("outcome", "failed")];
    until("the failure", async || {
        let scrape = daemon.scrape().await;
        let failed = scrape.sum("tallyd_report_schedule_runs_total", &labels);
        let due = scrape.sum("tallyd_report_schedule_due", &[("schedule", "books")]);
        (failed >= 1.0 && due >= 1.0).then_some(())
    })
    .await;
    assert!(place.log().contains("a report cannot be written"));
    daemon.kill();
}

#[tokio::test]
async fn a_schedule_of_no_known_report_stops_the_start() {
    let place = Place::with(
        "[[report.schedule]]\nname = \"a\"\nreport = \"budgets\"\nformats = [\"csv\"]\nto = \"/r\"\n",
    );
    let (code, said) = place.run(&["check"]).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("report.schedule[0].report: must be one of "),
        "{said}"
    );
}

#[tokio::test]
async fn every_form_and_grouping_has_the_same_total() {
    let now = Clock::System.now();
    let place = place_with_usage(now).await;
    let daemon = place.start().await;
    let (from, to) = (now - SignedDuration::from_hours(48), now);
    let ask = async |query: &str| {
        let path = format!("/api/v1/reports/chargeback?from={from}&to={to}&{query}");
        let response = daemon.get(&path).await;
        assert_eq!(response.status(), 200, "{query}");
        response.bytes().await.unwrap()
    };
    let total = |manifest: &Value, column: &str| {
        let totals = manifest["tables"][0]["control_totals"].as_array().unwrap();
        let total = totals.iter().find(|total| total["column"] == column);
        total.unwrap()["exact"].as_str().unwrap().to_owned()
    };
    let focus: Value = serde_json::from_slice(&ask("format=focus&manifest=only").await).unwrap();
    let exact = total(&focus, "BilledCost");
    assert!(exact.len() > 4 && exact != "0.00", "{exact}");
    for group_by in ["", "team", "day,model", "user,provider,region"] {
        let query = format!("format=json&group_by={group_by}");
        let report: Value = serde_json::from_slice(&ask(&query).await).unwrap();
        assert_eq!(
            total(&report["manifest"], "estimated_cost_usd"),
            exact,
            "{group_by}"
        );
    }
    let csv = ask("format=csv&decimals=6").await;
    let csv = String::from_utf8(csv.to_vec()).unwrap();
    let name = "# control_total.chargeback.estimated_cost_usd: ";
    let told = csv.lines().find_map(|line| line.strip_prefix(name));
    assert_eq!(told, Some(&*exact));
    let page = ask("format=html").await;
    assert!(
        String::from_utf8(page.to_vec())
            .unwrap()
            .contains(&format!("<dd>{exact}</dd>"))
    );
    assert!(ask("format=xlsx").await.starts_with(b"PK"));
    let refused = daemon.get("/api/v1/reports/savings?format=focus").await;
    assert_eq!(refused.status(), 400);
    daemon.kill();
}
