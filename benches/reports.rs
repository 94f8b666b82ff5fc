//! Reports of a year over 10,000 users: how long they take, and how much memory.
//!
//! `cargo bench --bench reports [-- [USERS] [NAME]]` fills the days and months of a year with a bill
//! for each day, and two months of single requests. It makes each report, or those of one name, and
//! says how long that took and what memory it held.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use mimalloc::MiMalloc;
use rusqlite::{Connection, params};
use tallyd::clock::{Clock, Stopwatch};
use tallyd::config::{Config, Environment};
use tallyd::model::bill::{Amounts, Basis, BillDay, BillLine, BilledSku, Charge, PricedKind};
use tallyd::model::money::PicoUsd;
use tallyd::model::price::{EMBEDDED, PriceTable};
use tallyd::report::write::{Form, ManifestPlace, show, write};
use tallyd::report::{Cell, Name, Reports, Request, Table};
use tallyd::store::{Ledger, Settings, Terms, WriterThread};

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const USERS: i64 = 10_000;
const TEAMS: i64 = 100;
const MODELS: [&str; 2] = ["claude-opus-4-8", "claude-sonnet-4-6"];
const KINDS: [PricedKind; 3] = [PricedKind::Input, PricedKind::Output, PricedKind::CacheRead];
const FIRST: Date = Date::constant(2025, 11, 1);
const END: Date = Date::constant(2026, 11, 1);
const LAST_MONTH: Date = Date::constant(2026, 10, 1);
/// Single requests are kept since then.
const RAW_SINCE: Date = Date::constant(2026, 9, 1);
const REQUESTS_A_USER: i64 = 100;

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

/// Writes the roll-ups of a year: each user works with both models on five days a week.
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

/// Writes single requests, in the order of time: of each user in sessions of ten. Two reports tell of
/// every other one.
fn fill_requests(settings: &Settings, users: i64) -> anyhow::Result<i64> {
    let mut connection = Connection::open(settings.folder.join("ledger.sqlite"))?;
    let transaction = connection.transaction()?;
    transaction.execute("INSERT INTO source (id, name) VALUES (1, 'gateway')", [])?;
    transaction.execute(
        "INSERT INTO label (id, text) VALUES (1, 'cli'), (2, 'sdk-py')",
        [],
    )?;
    let (begin, end) = (start(RAW_SINCE)?, start(END)?);
    let requests = users * REQUESTS_A_USER;
    let step = (end.as_millisecond() - begin.as_millisecond()) / requests;
    let mut insert = transaction.prepare(
        "INSERT INTO fact (id, key, received, source, rank, flags, at, identity, sku, model, \
         session, input, output, cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, \
         outcome, tools, query_source, entrypoint, grp, counted_as, cost) \
         VALUES (?1, randomblob(16), ?2, 1, 0, 0, ?3, ?4, ?5, ?5, ?6, 1200, 300, 60000, 0, 0, \
         4000, 0, 1, NULL, ?7, ?8, ?9, 1)",
    )?;
    let mut id = 0;
    for request in 0..requests {
        let (round, user) = (request / users, request % users + 1);
        let at = begin.as_millisecond() + request * step;
        let session = round / 10 * users + user;
        let (sku, entrypoint) = (1 + user % 2, 1 + i64::from(user % 10 == 0));
        id += 1;
        let told_by_two = request % 2 == 0;
        let group = told_by_two.then_some(id);
        let day = at.div_euclid(86_400_000);
        let mut put = |id: i64, counted_as: Option<i64>| {
            insert.execute(params![
                id, day, at, user, sku, session, entrypoint, group, counted_as
            ])
        };
        put(id, Some(user))?;
        if told_by_two {
            id += 1;
            put(id, None)?;
        }
    }
    drop(insert);
    transaction.commit()?;
    Ok(requests)
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

/// What this process has used of all CPUs, in hundredths of a second (Linux: `proc(5)`, fields 14 and
/// 15 of `stat`).
fn cpu() -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| Ok(ticks.parse::<u64>()?)).sum()
}

/// What is measured: a report, what it is told apart by, and from which day on.
const CASES: [(Name, &[&str], Date); 11] = [
    (Name::Chargeback, &[], FIRST),
    (Name::Chargeback, &["period", "team"], FIRST),
    (Name::Chargeback, &["cost_center"], FIRST),
    (Name::Chargeback, &["user"], FIRST),
    (Name::Chargeback, &[], LAST_MONTH),
    (Name::CostDetail, &[], LAST_MONTH),
    (Name::Reconciliation, &[], FIRST),
    (Name::Trend, &[], FIRST),
    (Name::Trend, &["week", "team"], FIRST),
    (Name::Anomalies, &[], LAST_MONTH),
    (Name::Savings, &[], RAW_SINCE),
];

/// Makes a report and writes it as CSV to nowhere, and says what that took.
async fn measure(
    reports: &Reports,
    (name, group_by, from): (Name, &[&str], Date),
    billed: i128,
) -> anyhow::Result<()> {
    let request = Request {
        from: start(from)?,
        to: start(END)?,
        zone: TimeZone::UTC,
        group_by: group_by.iter().map(|name| Arc::from(*name)).collect(),
        basis: Basis::Unblended,
        decimals: 2,
        currency: "USD".into(),
    };
    // Linux: the peak begins anew.
    std::fs::write("/proc/self/clear_refs", "5").context("cannot forget the peak of memory")?;
    let before = memory("VmRSS");
    let (watch, busy) = (Stopwatch::start(), cpu()?);
    let report = reports.run(name, &request, start(END)?).await?;
    let (made, held) = (watch.elapsed(), memory("VmRSS"));
    let shown = show(&report).context("a total is too large")?;
    let place = ManifestPlace::Leading;
    write(&report, &shown, Form::Csv, place, &mut io::sink())?;
    let told = watch.elapsed();
    let table = &report.tables[0];
    if from == FIRST {
        check(table, billed)?;
    }
    println!(
        "{} by {} since {from}: {} rows made in {made:.2?}, written after {told:.2?}; {} ms of CPU; \
         {} MiB before, {} MiB then, peak {} MiB",
        name.name(),
        match group_by {
            [] => "default".to_owned(),
            names => names.join(","),
        },
        table.rows.len(),
        (cpu()? - busy) * 10,
        before.unwrap_or(0),
        held.unwrap_or(0),
        memory("VmHWM").unwrap_or(0),
    );
    Ok(())
}

/// Holds the sum of all rows against the bill of the year.
fn check(table: &Table, billed: i128) -> anyhow::Result<()> {
    let mut columns = table.columns.iter();
    let place = columns.position(|column| column.name == "actual_cost_usd");
    let place = place.context("no column of actual cost")?;
    let mut cells = Vec::new();
    let mut actual = 0;
    for row in 0..table.rows.len() {
        table.rows.row(row, &mut cells);
        if let Cell::Money(amount) = &cells[place] {
            actual += amount.0;
        }
    }
    anyhow::ensure!(actual == billed, "{actual} is not {billed}");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = || std::env::args().skip(1);
    let users = arguments().find_map(|argument| argument.parse().ok());
    let users = users.unwrap_or(USERS);
    let asked = arguments().find_map(|argument| Name::parse(&argument));
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
    let requests = fill_requests(&settings, users)?;
    println!("{users} users, {rows} rows of days and months, {requests} requests");
    let (reports, writer) = open(&settings)?;
    let watch = Stopwatch::start();
    while reports.ledger.upkeep(start(END)?).await? {}
    println!(
        "upkeep, which makes the sheets of days: {:.2?}",
        watch.elapsed()
    );
    for case in CASES {
        if asked.is_none_or(|asked| asked == case.0) {
            measure(&reports, case, billed).await?;
        }
    }
    reports.ledger.close();
    writer.join();
    Ok(())
}
