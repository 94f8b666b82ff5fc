//! A month of finance, from the bill in Cost Explorer (moto's) to the reports that are closed with
//! it. The sums that the bill has are worked out by the tests alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use rusqlite::Connection;
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::billed::{
    BASES, Billed, SONNET, USD, bill, billed_days, cell, cents, days, exact, month_before, pico,
    queue, read, report, sum, sums, usage, with_credentials,
};
use crate::cloudwatch::CloudWatch;
use crate::harness::{Daemon, Place, until};

/// The demo with a bill of the last month, once its history is in.
async fn demo(place: &Arc<Place>, aws: &CloudWatch) -> Daemon {
    place.configure(&format!(
        "[aws]\nendpoint_url = \"{}\"\nregion = \"us-east-1\"\n\
         [cost]\ncollect = true\nforecast = false\n[log]\nformat = \"json\"\n",
        aws.url
    ));
    let settings = place.path("tallyd.toml");
    let mut command = place.command(&[
        "demo",
        "--free-ports",
        "--users",
        "6",
        "--days",
        "60",
        "--seed",
        "5",
        "--config",
        settings.to_str().unwrap(),
    ]);
    let daemon = place.spawn(with_credentials(&mut command)).await;
    until("the bill", async || {
        (billed_days(&daemon, month_before(1), 1).await >= 28).then_some(())
    })
    .await;
    until("the history of the demo", async || {
        (daemon.get("/metrics").await.status() == 200).then_some(())
    })
    .await;
    daemon
}

#[tokio::test]
#[ignore = "needs moto and openpyxl"]
async fn a_month_of_the_demo_costs_what_was_billed_in_every_form() {
    let place = Place::new();
    let aws = CloudWatch::start(&place.path("")).await;
    let bill = bill(month_before(1));
    let [billed, ..] = sums(bill.iter().flatten());
    queue(&aws, &bill).await;
    let daemon = demo(&place, &aws).await;
    let ask = async |format: &str, file: &str, more: &[&str]| {
        let mut arguments = vec!["--month", "last", "--format", format];
        arguments.extend(more);
        report(&daemon, "chargeback", file, &arguments).await
    };

    let table = read(&ask("table", "last.txt", &[]).await);
    let column = "actual_cost_usd";
    assert_eq!(cell(&table["total"], column), cents(billed));
    assert_eq!(sum(&table["rows"], column), cents(billed));

    let file = ask("csv", "last.csv", &[]).await;
    assert_eq!(sum(&read(&file), column), cents(billed));
    let text = std::fs::read_to_string(file).unwrap();
    let told = format!("# control_total.chargeback.{column}: ");
    let told = text.lines().find_map(|line| line.strip_prefix(&told));
    assert_eq!(pico(told.unwrap()), billed);
    let file = ask("csv", "exact.csv", &["--decimals", "12"]).await;
    assert_eq!(sum(&read(&file), column), billed);

    let json = read(&ask("json", "last.json", &[]).await);
    assert_eq!(sum(&json["rows"], column), cents(billed));
    assert_eq!(cell(&json["totals"], column), cents(billed));
    assert_eq!(exact(&json, column), billed);
    let charges = |charge: &str| {
        let rows = json["rows"].as_array().unwrap().iter();
        rows.filter(|row| row["charge"] == charge).count()
    };
    let found = ["Usage", "Unallocated", "Credit", "Tax", "Unclassified"].map(charges);
    assert!(found.iter().all(|count| *count > 0), "{found:?}");

    let focus = read(&ask("focus", "last.focus.csv", &[]).await);
    let rows = focus.as_array().unwrap().iter();
    let of_bill = rows.filter(|row| row["x_CostBasis"] == "Billed");
    let in_bill: i128 = of_bill.map(|row| cell(row, "BilledCost")).sum();
    assert_eq!(in_bill, billed);
    let beside = ask("focus", "focus.json", &["--manifest", "only"]).await;
    let manifest = json!({"manifest": read(&beside)});
    assert_eq!(exact(&manifest, "BilledCost"), sum(&focus, "BilledCost"));

    workbook_has(&read(&ask("xlsx", "last.xlsx", &[]).await), column, billed);
    page_has(&read(&ask("html", "last.html", &[]).await), column, billed);
    reconciles(&daemon, billed, exact(&json, "estimated_cost_usd")).await;
    daemon.kill();
}

/// Texts of a row, numbers with two decimal places.
fn texts(row: &Value) -> Vec<String> {
    let cells = row.as_array().unwrap().iter();
    let text = |cell: &Value| match cell {
        Value::Number(number) => format!("{:.2}", number.as_f64().unwrap()),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    cells.map(text).collect()
}

fn workbook_has(sheets: &Value, column: &str, billed: i128) {
    let rows = |name: &str| {
        let mut sheets = sheets.as_array().unwrap().iter();
        let sheet = sheets.find(|sheet| sheet["name"] == name).unwrap();
        let rows = sheet["rows"].as_array().unwrap().iter();
        rows.map(texts).collect::<Vec<_>>()
    };
    let data = rows("Data");
    let place = data[0].iter().position(|name| name == column).unwrap();
    let all: i128 = data[1..].iter().map(|row| pico(&row[place])).sum();
    assert_eq!(all, cents(billed));
    let shown = rows("Chargeback");
    assert_eq!(pico(&shown.last().unwrap()[place]), cents(billed));
    let manifest = rows("Manifest");
    let name = format!("control_total.chargeback.{column}");
    let told = manifest.iter().find(|row| row[0] == name).unwrap();
    assert_eq!(pico(&told[1]), billed);
}

fn page_has(page: &Value, column: &str, billed: i128) {
    let table = &page["tables"][0];
    let names = texts(&table["thead"][0]);
    let place = names.iter().position(|name| name == "Actual cost").unwrap();
    let rows = table["tbody"].as_array().unwrap().iter();
    let all: i128 = rows.map(|row| pico(&texts(row)[place])).sum();
    assert_eq!(all, cents(billed));
    assert_eq!(pico(&texts(&table["tfoot"][0])[place]), cents(billed));
    let facts: Vec<Vec<String>> = page["facts"]
        .as_array()
        .unwrap()
        .iter()
        .map(texts)
        .collect();
    let name = format!("control_total.chargeback.{column}");
    let told = facts.iter().find(|fact| fact[0] == name).unwrap();
    assert_eq!(pico(&told[1]), billed);
}

/// Each line's difference is the sum of its parts, and whatever is asked has the same totals.
async fn reconciles(daemon: &Daemon, billed: i128, estimated: i128) {
    let summed = [
        "est_tokens",
        "billed_tokens",
        "token_delta",
        "est_cost_usd",
        "actual_cost_usd",
        "delta_usd",
        "price_variance_usd",
        "quantity_variance_usd",
    ];
    let mut first = None;
    for group_by in ["", "period", "provider", "charge,token_type", "day,model"] {
        let every_digit = ["--month", "last", "--decimals", "12", "--format", "csv"];
        let arguments = [&every_digit[..], &["--group-by", group_by]].concat();
        let rows = read(&report(daemon, "reconciliation", "parts.csv", &arguments).await);
        for row in rows.as_array().unwrap() {
            let [is, was, delta, price, quantity] = [
                "actual_cost_usd",
                "est_cost_usd",
                "delta_usd",
                "price_variance_usd",
                "quantity_variance_usd",
            ]
            .map(|column| cell(row, column));
            assert_eq!([is - was, price + quantity], [delta, delta], "{row}");
            let tokens = ["billed_tokens", "est_tokens", "token_delta"].map(|name| cell(row, name));
            assert_eq!(tokens[0] - tokens[1], tokens[2], "{row}");
        }
        let totals = summed.map(|column| sum(&rows, column));
        assert_eq!([totals[3], totals[4]], [estimated, billed], "{group_by}");
        assert_eq!(*first.get_or_insert(totals), totals, "{group_by}");
    }
}

const MONTHS_BEFORE: i64 = 2;

fn settings(aws: &CloudWatch, people: &str) -> String {
    format!(
        "[aws]\nendpoint_url = \"{}\"\nregion = \"us-east-1\"\n\
         [cost]\ncollect = true\nforecast = false\nmonths_before = {MONTHS_BEFORE}\n\
         [[cost.budgets]]\nname = \"all\"\namount = \"1000\"\n\
         [identity]\ndirectory = \"{people}\"\n",
        aws.url
    )
}

async fn start(place: &Arc<Place>) -> Daemon {
    place
        .spawn(with_credentials(&mut place.command(&["run"])))
        .await
}

/// A million tokens of input and some of output.
fn used(user: &str, at: &str) -> Value {
    json!({
        "source": "gateway", "id": format!("{user} {at}"), "at": at, "user": user,
        "provider": "bedrock", "model": "us.anthropic.claude-sonnet-4-6",
        "tokens": {"input": 1_000_003, "output": 50_021},
    })
}

fn noon(day: Date) -> String {
    let noon = day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    noon.timestamp().to_string()
}

/// Chargeback or budget of a month, with every digit.
async fn figures(daemon: &Daemon, name: &str, month: &str, more: &str) -> Value {
    let path = format!("/api/v1/reports/{name}?month={month}&decimals=12&{more}");
    daemon.json(&path).await
}

/// The rows of a report with a status, or all.
fn with_status<'r>(report: &'r Value, status: &str) -> Vec<&'r Value> {
    let rows = report["rows"].as_array().unwrap().iter();
    let rows = rows.filter(|row| status.is_empty() || row["status"] == status);
    rows.collect()
}

fn total(rows: &[&Value], column: &str) -> i128 {
    rows.iter().map(|row| cell(row, column)).sum()
}

/// The budget of a month has spent what its chargeback tells, on each basis.
async fn budget_is_as_billed(daemon: &Daemon, month: &str, billed: [i128; 3]) {
    for (basis, billed) in BASES.into_iter().zip(billed) {
        let basis = format!("basis={basis}");
        let chargeback = figures(daemon, "chargeback", month, &basis).await;
        let budget = figures(daemon, "budget", month, &basis).await;
        let spent = ["spent_usd", "actual_final_usd"].map(|name| cell(&budget["rows"][0], name));
        let charged = exact(&chargeback, "actual_cost_usd");
        assert_eq!(
            (spent, charged),
            ([billed, billed], billed),
            "{month} {basis}"
        );
    }
}

/// The gauges of the month so far are its chargeback by team, on each basis.
async fn gauges_are_as_billed(daemon: &Daemon, billed: [i128; 3]) {
    let family = "claude_code_cost_month_to_date_usd";
    let scrape = until("the gauges of cost", async || {
        let scrape = daemon.scrape().await;
        let labels = [("basis", BASES[2]), ("team", "platform")];
        // Beside what the collector of the bill tells, in one scrape.
        let calls = scrape.sum("tallyd_cost_explorer_month_calls", &[]);
        (scrape.sum(family, &labels) > 0.0 && calls > 0.0).then_some(scrape)
    });
    let scrape = scrape.await;
    for (basis, billed) in BASES.into_iter().zip(billed) {
        let query = format!("group_by=team&basis={basis}");
        let report = figures(daemon, "chargeback", "this", &query).await;
        let mut teams: BTreeMap<&str, i128> = BTreeMap::new();
        for row in with_status(&report, "") {
            let team = row["team"].as_str().unwrap();
            *teams.entry(team).or_default() += cell(row, "actual_cost_usd");
        }
        assert_eq!(teams.values().sum::<i128>(), billed, "{basis}");
        assert!(teams.len() > 1, "{teams:?}");
        for (team, amount) in teams {
            let told = scrape.sum(family, &[("basis", basis), ("team", team)]);
            let apart = (told - amount as f64 / USD as f64).abs();
            assert!(apart < 1e-9, "{basis} {team}: {told}");
        }
    }
}

/// A month that is final, and its bill.
struct Month {
    place: Arc<Place>,
    first: Date,
    /// As reports are asked for it.
    name: String,
    bill: [Vec<Billed>; 2],
    sums: [i128; 3],
}

impl Month {
    fn new() -> Self {
        let first = month_before(MONTHS_BEFORE);
        let bill = bill(first);
        Self {
            place: Place::new(),
            first,
            name: first.strftime("%Y-%m").to_string(),
            sums: sums(bill.iter().flatten()),
            bill,
        }
    }

    /// Starts the daemon with the bill as Cost Explorer tells it now.
    async fn start(&self, aws: &CloudWatch, team_of_bob: &str) -> Daemon {
        let people = format!("identity,team\nann,platform\nbob,{team_of_bob}\n");
        let people = self.place.write("people.csv", &people);
        queue(aws, &self.bill).await;
        let settings = settings(aws, people.to_str().unwrap());
        self.place.configure(&settings);
        start(&self.place).await
    }

    /// Waits until so many of its days have a revision.
    async fn is_read(&self, daemon: &Daemon, revision: u64, days: usize) {
        until("the bill", async || {
            (billed_days(daemon, self.first, revision).await == days).then_some(())
        })
        .await;
    }

    fn day(&self, number: i64) -> Date {
        self.first.saturating_add((number - 1).days())
    }

    async fn csv(&self, daemon: &Daemon) -> Value {
        let arguments = ["--month", &self.name, "--format", "csv"];
        read(&report(daemon, "chargeback", "month.csv", &arguments).await)
    }

    /// What `month-close` tells of it.
    async fn standing(&self, daemon: &Daemon) -> Value {
        let report = figures(daemon, "month-close", &self.name, "").await;
        report["rows"][0].clone()
    }

    /// Closes it from the command line: all is marked so, and no figure moves.
    async fn close(&self, daemon: &Daemon) {
        let open = figures(daemon, "chargeback", &self.name, "").await;
        assert_eq!(open["manifest"]["status"], "final");
        let month = ["report", "month-close", "--month", &self.name];
        let close = [&month[..], &["--close", "--url", &daemon.http]].concat();
        let (code, said) = self.place.run(&close).await;
        assert_eq!(code, Some(0), "{said}");
        let closed = figures(daemon, "chargeback", &self.name, "").await;
        assert_eq!(closed["manifest"]["status"], "closed");
        assert_eq!(closed["totals"], open["totals"]);
        let lines = |report: &Value, status: &str| {
            let rows = with_status(report, status).into_iter();
            let mut lines: Vec<String> = rows
                .map(|row| {
                    let mut row = row.clone();
                    row["status"] = Value::Null;
                    row.to_string()
                })
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&closed, "closed"), lines(&open, ""));
        let end = self.first.saturating_add(1.month());
        let bills = format!("/api/v1/bills?from={}&to={end}", self.first);
        let bills = daemon.json(&bills).await;
        let mut days = bills["days"].as_array().unwrap().iter();
        assert!(days.all(|day| day["standing"] == "closed"), "{bills}");
    }

    /// A line is dearer, and a credit came. Returns the sums of the bill then.
    fn correct(&mut self) -> [i128; 3] {
        let more = 3 * USD / 2 + 1;
        let dearer = &mut self.bill[0][3].amounts;
        *dearer = dearer.map(|amount| amount + more);
        let credit = Billed::new(self.day(9), ["Credit", SONNET], -10 * USD - 1, 0);
        let sums = [0, 1, 2].map(|basis| self.sums[basis] + more + credit.amounts[basis]);
        self.bill[1].push(credit);
        sums
    }

    /// Frozen lines and adjustments are what was billed then and what came since.
    async fn is_adjusted(&self, daemon: &Daemon, corrected: [i128; 3]) {
        for (basis, name) in BASES.into_iter().enumerate() {
            let query = format!("basis={name}");
            let report = figures(daemon, "chargeback", &self.name, &query).await;
            let actual = |status| total(&with_status(&report, status), "actual_cost_usd");
            let (then, now) = (self.sums[basis], corrected[basis]);
            let found = ["closed", "adjustment", ""].map(actual);
            assert_eq!(found, [then, now - then, now], "{name}");
        }
        let row = self.standing(daemon).await;
        let parts = ["opening", "booked", "pending", "closing"];
        let parts = parts.map(|part| cell(&row, &format!("{part}_actual_usd")));
        let (then, now) = (self.sums[0], corrected[0]);
        assert_eq!(parts, [then, 0, now - then, now]);
    }
}

/// Makes the ledger as if the bill was read nine hours earlier: it is due again then.
fn nine_hours_pass(place: &Place) {
    let ledger = Connection::open(place.ledger()).unwrap();
    let older = "UPDATE bill_day SET pulled_at = pulled_at - 9 * 3600 * 1000";
    ledger.execute(older, []).unwrap();
}

#[tokio::test]
#[ignore = "needs moto and openpyxl"]
async fn a_month_is_closed_with_its_bill_and_what_comes_late_is_an_adjustment() {
    let mut month = Month::new();
    let now = Clock::System.now() - SignedDuration::from_secs(1);
    let today = usage(std::iter::once(now.to_zoned(TimeZone::UTC).date()));
    month.bill[0].extend(today.iter().cloned());
    let aws = CloudWatch::start(&month.place.path("")).await;
    let daemon = month.start(&aws, "platform").await;
    let mut records = vec![used("ann", &now.to_string())];
    for day in days(month.first, month.day(4)) {
        records.extend(["ann", "bob"].map(|user| used(user, &noon(day))));
    }
    daemon.report(&json!(records)).await;
    let length = usize::try_from(month.first.days_in_month()).unwrap();
    month.is_read(&daemon, 1, length).await;
    // The gauges are worked out at the start, and then once a minute.
    daemon.kill();
    let daemon = start(&month.place).await;
    gauges_are_as_billed(&daemon, sums(&today)).await;
    budget_is_as_billed(&daemon, &month.name, month.sums).await;
    month.close(&daemon).await;
    let frozen = month.csv(&daemon).await;
    let seal = month.standing(&daemon).await["sha256"].clone();
    assert_eq!(daemon.stop().await.code(), Some(0));

    nine_hours_pass(&month.place);
    let corrected = month.correct();
    let later = month.place.path("later");
    std::fs::create_dir(&later).unwrap();
    let aws = CloudWatch::start(&later).await;
    let daemon = month.start(&aws, "data").await;
    let late = used("carol", &noon(month.day(2)));
    daemon.report(&json!([late])).await;
    month.is_read(&daemon, 2, 2).await;

    let rows = month.csv(&daemon).await;
    let rows = rows.as_array().unwrap().iter();
    let kept: Vec<&Value> = rows.filter(|row| row["status"] == "closed").collect();
    assert_eq!(kept, frozen.as_array().unwrap().iter().collect::<Vec<_>>());
    assert_eq!(month.standing(&daemon).await["sha256"], seal);
    month.is_adjusted(&daemon, corrected).await;
    budget_is_as_billed(&daemon, &month.name, corrected).await;
    let report = figures(&daemon, "chargeback", &month.name, "group_by=user,team").await;
    let changes = with_status(&report, "adjustment");
    let of = |user: &str, team: &str| {
        let is_of = |row: &&&Value| row["user"] == user && row["team"] == team;
        let mine = changes.iter().filter(is_of);
        mine.map(|row| cell(row, "tokens")).sum::<i128>() / USD
    };
    let moved = ["platform", "data"].map(|team| of("bob", team));
    let tokens = 1_000_003 + 50_021;
    assert_eq!(moved, [-3 * tokens, 3 * tokens]);
    let others = [of("carol", ""), of("ann", "platform")];
    assert_eq!(others, [tokens, 0]);
    daemon.kill();
}
