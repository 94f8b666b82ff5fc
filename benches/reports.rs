//! Reports of a year over 10,000 users: how long they take, and how much memory.
//!
//! `cargo bench --bench reports [-- USERS]` fills the days and months of a year, with a bill for each
//! day, and makes the chargeback three times. It says what was made, and the peak of memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use rusqlite::{Connection, params};
use tallyd::clock::{Clock, Stopwatch};
use tallyd::config::{Config, Environment};
use tallyd::model::bill::{Amounts, BillDay, BillLine, BilledSku, Charge, PricedKind};
use tallyd::model::money::PicoUsd;
use tallyd::model::price::{EMBEDDED, PriceTable};
use tallyd::report::write::{Form, ManifestPlace, show, write};
use tallyd::report::{Name, Reports, Request};
use tallyd::store::{Ledger, Settings, Terms, WriterThread};

const USERS: i64 = 10_000;
const TEAMS: i64 = 100;
const MODELS: [&str; 2] = ["claude-opus-4-8", "claude-sonnet-4-6"];
const KINDS: [PricedKind; 3] = [PricedKind::Input, PricedKind::Output, PricedKind::CacheRead];
const FIRST: Date = Date::constant(2025, 11, 1);
const END: Date = Date::constant(2026, 11, 1);

fn start(day: Date) -> anyhow::Result<Timestamp> {
    Ok(day.to_zoned(TimeZone::UTC)?.timestamp())
}

fn open(settings: &Settings) -> anyhow::Result<(Reports, WriterThread)> {
    let terms = Terms {
        prices: PriceTable::parse(EMBEDDED).ok().context("the prices")?,
        ..Terms::default()
    };
    let terms = Arc::new(ArcSwap::from_pointee(terms));
    let clock = Clock::manual(start(END)?);
    let opened = Ledger::open(settings, terms.clone(), clock)?;
    let (ledger, writer) = opened.start(Box::new(|_, _| {}))?;
    let config = Config::parse("", &Environment::default()).ok();
    let reports = Reports {
        ledger,
        config: Arc::new(ArcSwap::from_pointee(config.context("the defaults")?)),
        terms,
        heard: Arc::default(),
    };
    Ok((reports, writer))
}

/// Writes the roll-ups of a year: each user works with one of two models on five days a week.
fn fill(settings: &Settings, users: i64) -> anyhow::Result<i64> {
    let mut connection = Connection::open(settings.folder.join("ledger.sqlite"))?;
    let transaction = connection.transaction()?;
    for user in 1..=users {
        let (name, team) = (format!("user{user}@example.com"), user % TEAMS);
        transaction
            .prepare_cached(
                "INSERT INTO identity (id, origin, user, team, cost_center) \
                 VALUES (?, 'gateway', ?, ?, ?)",
            )?
            .execute(params![
                user,
                name,
                format!("team{team}"),
                format!("cc{}", team / 10)
            ])?;
    }
    for (sku, model) in (1_i64..).zip(MODELS) {
        transaction.execute(
            "INSERT INTO sku (id, provider, model, raw_model, scope, tier, band) \
             VALUES (?, 'bedrock', ?, ?, 'us', 'standard', 0)",
            params![sku, model, model],
        )?;
    }
    let mut rows = 0;
    let mut put = |kind: i64, day: Date, times: i64| -> anyhow::Result<()> {
        let quarter = start(day)?.as_second() / 900;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO usage_span (span, start, identity, sku, requests, errors, input, output, \
             cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, cost, unpriced) \
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, 0, 0, 0, ?9, 0)",
        )?;
        for user in 1..=users {
            for (sku, prices) in [
                (1, [5_500_000, 27_500_000, 550_000]),
                (2, [3_300_000, 16_500_000, 330_000]),
            ] {
                let tokens = [1_000 + user, 200 + user % 77, 90_000].map(|count| count * times);
                let cost: i64 = tokens
                    .iter()
                    .zip(prices)
                    .map(|(count, price)| count * price)
                    .sum();
                insert.execute(params![
                    kind, quarter, user, sku, times, tokens[0], tokens[1], tokens[2], cost
                ])?;
                rows += 1;
            }
        }
        Ok(())
    };
    let mut day = FIRST;
    let mut worked = 0;
    while day < END {
        if day.weekday().to_monday_zero_offset() < 5 {
            put(0, day, 1)?;
            put(1, day, 1)?;
            worked += 1;
        }
        let next = day.tomorrow()?;
        if next.day() == 1 {
            for kind in [2, 3] {
                put(kind, day.first_of_month(), worked)?;
            }
            worked = 0;
        }
        day = next;
    }
    let end = (start(END)?.as_second() / 900).to_string();
    for kind in ["UtcDay", "ZoneDay", "UtcMonth", "ZoneMonth"] {
        transaction.execute(
            "INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)",
            params![format!("rolled {kind} UTC"), end],
        )?;
    }
    transaction.commit()?;
    Ok(rows)
}

/// A bill for each day: each model and kind, and tax.
async fn bill(ledger: &Ledger) -> anyhow::Result<i128> {
    let mut total = 0;
    let mut days = Vec::new();
    let mut day = FIRST;
    while day < END {
        let line = |model: Option<&str>, kind: Option<PricedKind>, amount| BillLine {
            provider: "bedrock".into(),
            account: "111122223333".into(),
            day,
            charge: if kind.is_none() {
                Charge::Tax
            } else {
                Charge::Tokens
            },
            sku: BilledSku {
                model: model.map(Into::into),
                kind,
                ..BilledSku::default()
            },
            service: "Claude (Amazon Bedrock Edition)".into(),
            usage_type: "tokens".into(),
            user: None,
            quantity: "1".into(),
            unit: "Units".into(),
            tokens: Some(1_000_000),
            currency: "USD".into(),
            amounts: Amounts {
                unblended: Some(PicoUsd(amount)),
                ..Amounts::default()
            },
        };
        let mut lines = vec![line(None, None, 7_000_000_000_001)];
        for model in MODELS {
            lines.extend(KINDS.map(|kind| line(Some(model), Some(kind), 911_000_000_000_007)));
        }
        total += lines
            .iter()
            .filter_map(|line| line.amounts.unblended)
            .map(|amount| amount.0)
            .sum::<i128>();
        days.push(BillDay {
            source: "cost_explorer".into(),
            provider: "bedrock".into(),
            account: "111122223333".into(),
            day,
            estimated: false,
            revision: 0,
            pulled_at: start(END)?.checked_add(1_000.hours())?,
            lines,
        });
        day = day.tomorrow()?;
    }
    ledger.replace_bill_days(days).await?;
    Ok(total)
}

/// A line of `/proc/self/status` in MiB: `VmHWM` is the peak.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1_024)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let users = asked.unwrap_or(USERS);
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        folder: folder.path().to_owned(),
        retain_raw: Duration::from_hours(90 * 24),
        zone: TimeZone::UTC,
    };
    let (reports, writer) = open(&settings)?;
    let billed = bill(&reports.ledger).await?;
    reports.ledger.close();
    writer.join();
    let rows = fill(&settings, users)?;
    println!("{users} users, {rows} rows of days and months");
    let (reports, writer) = open(&settings)?;
    for group_by in [&[][..], &["period", "team"], &["cost_center"]] {
        let request = Request {
            from: start(FIRST)?,
            to: start(END)?,
            zone: TimeZone::UTC,
            group_by: group_by.iter().map(|name| Arc::from(*name)).collect(),
            basis: tallyd::model::bill::Basis::Unblended,
            decimals: 2,
            currency: "USD".into(),
        };
        let watch = Stopwatch::start();
        let report = reports.run(Name::Chargeback, &request, start(END)?).await?;
        let made = watch.elapsed();
        let shown = show(&report).context("a total is too large")?;
        write(
            &report,
            &shown,
            Form::Csv,
            ManifestPlace::Leading,
            &mut io::sink(),
        )?;
        let table = &report.tables[0];
        let mut cells = Vec::new();
        let mut actual = 0;
        for row in 0..table.rows.len() {
            table.rows.row(row, &mut cells);
            let place = table
                .columns
                .iter()
                .position(|column| column.name == "actual_cost_usd");
            if let Some(tallyd::report::Cell::Money(amount)) = place.map(|place| &cells[place]) {
                actual += amount.0;
            }
        }
        anyhow::ensure!(actual == billed, "{actual} is not {billed}");
        println!(
            "by {}: {} rows made in {made:?}, written after {:?}; memory {:?} MiB, peak {:?} MiB",
            if group_by.is_empty() {
                "default".to_owned()
            } else {
                group_by.join(",")
            },
            table.rows.len(),
            watch.elapsed(),
            memory("VmRSS"),
            memory("VmHWM"),
        );
    }
    reports.ledger.close();
    writer.join();
    Ok(())
}
