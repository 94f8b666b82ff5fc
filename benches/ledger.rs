//! The ledger at size: how soon a restart is ready, and how long a year takes to read.
//!
//! `cargo bench --bench ledger [-- RECORDS]` fills a ledger (10 million raw records unless told
//! otherwise), opens it again, and asks for a year by month and team over 10,000 users.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tallyd::clock::{Clock, Stopwatch};
use tallyd::config::PerUser;
use tallyd::model::identity::{Identity, Origin};
use tallyd::model::query::{Dimension, UsageQuery};
use tallyd::model::tokens::Tokens;
use tallyd::model::usage::{Band, Intake, Sku, Tier, UsageRecord};
use tallyd::record::{Naming, Recorder};
use tallyd::registry::Registry;
use tallyd::store::{Ledger, Settings, Terms, WriterThread};

const RECORDS: usize = 10_000_000;
const BATCH: usize = 10_000;
const USERS: usize = 10_000;
const TEAMS: usize = 100;
const MODELS: [&str; 2] = ["claude-opus-4-8", "claude-sonnet-4-6"];

fn open(settings: &Settings) -> anyhow::Result<(Recorder, WriterThread)> {
    let terms: Arc<ArcSwap<Terms>> = Arc::default();
    let clock = Clock::System;
    let opened = Ledger::open(settings, terms.clone(), clock.clone())?;
    let naming = Naming {
        per_user: PerUser::On,
        pseudonyms: None,
    };
    let registry = Arc::new(Registry::default());
    Ok(Recorder::start(
        opened,
        registry,
        terms,
        naming,
        Box::new(|_| {}),
        clock,
    )?)
}

fn close((recorder, writer): (Recorder, WriterThread)) {
    recorder.ledger().close();
    writer.join();
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let records = asked.unwrap_or(RECORDS);
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        folder: folder.path().to_owned(),
        retain_raw: Duration::from_hours(90 * 24),
        zone: TimeZone::UTC,
    };
    let open_ledger = open(&settings)?;
    fill(&open_ledger.0, records).await?;
    close(open_ledger);

    let watch = Stopwatch::start();
    let (recorder, writer) = open(&settings)?;
    println!(
        "restart with {records} raw records: {:.2?}",
        watch.elapsed()
    );
    let bytes = recorder.ledger().bytes();
    println!("{} bytes a record on disk", bytes / records as u64);

    let now = Clock::System.now();
    let watch = Stopwatch::start();
    while recorder.ledger().upkeep(now).await? {}
    println!("roll-up of all that is over: {:.2?}", watch.elapsed());
    for _ in 0..3 {
        let query = UsageQuery {
            from: now.checked_sub(Duration::from_hours(365 * 24))?,
            to: now,
            group_by: vec![Dimension::Month, Dimension::Team],
            zone: TimeZone::UTC,
            user: None,
        };
        let watch = Stopwatch::start();
        let rows = recorder.ledger().usage(query).await?;
        println!(
            "a year by month and team: {} rows in {:.2?}",
            rows.rows.len(),
            watch.elapsed()
        );
    }
    close((recorder, writer));
    Ok(())
}

/// Records of all users spread over the last year.
async fn fill(recorder: &Recorder, records: usize) -> anyhow::Result<()> {
    let people: Vec<Arc<Identity>> = (0..USERS)
        .map(|user| {
            Arc::new(Identity {
                user: Some(format!("user{user}@example.com").into()),
                origin: Origin::Gateway,
                team: Some(format!("team{}", user % TEAMS).into()),
                ..Identity::default()
            })
        })
        .collect();
    let skus = MODELS.map(|model| {
        Arc::new(Sku {
            provider: "anthropic".into(),
            model: model.into(),
            raw_model: model.into(),
            scope: "base".into(),
            region: None,
            tier: Tier::Standard,
            band: Band::UpTo100k,
        })
    });
    let source: Arc<str> = "gateway".into();
    let end = Clock::System.now().as_millisecond();
    let year_ms = 365 * 86_400_000_i64;
    let watch = Stopwatch::start();
    for first in (0..records).step_by(BATCH) {
        let record = |i: usize| -> anyhow::Result<UsageRecord> {
            let spread = i64::try_from(i)? * year_ms / i64::try_from(records)?;
            let at = Timestamp::from_millisecond(end - year_ms + spread)?;
            let identity = people[i % USERS].clone();
            let sku = skus[i / USERS % MODELS.len()].clone();
            let tokens = Tokens {
                input: 1_200,
                output: 40,
                cache_read: 5_600,
                ..Tokens::default()
            };
            Ok(UsageRecord {
                status_code: Some(200),
                duration_ms: Some(1_800),
                ..UsageRecord::new(source.clone(), i.to_string(), at, identity, sku, tokens)
            })
        };
        let batch = (first..records.min(first + BATCH)).map(record);
        let intake = Intake {
            records: batch.collect::<anyhow::Result<_>>()?,
            ..Intake::default()
        };
        recorder.record(intake).await?;
    }
    println!("filled {records} records in {:.0?}", watch.elapsed());
    Ok(())
}
