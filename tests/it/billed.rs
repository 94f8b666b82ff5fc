//! Bills of Cost Explorer as moto shall tell them, and what reports make of them in the eyes of
//! others. Amounts are counted here by themselves: nothing of the daemon's code is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::cloudwatch::CloudWatch;
use crate::harness::Daemon;

pub(crate) const USD: i128 = 1_000_000_000_000;

/// Models as AWS Marketplace sells them, with the price of a million tokens of input.
const MODELS: [(&str, i128); 3] = [
    ("Claude Opus 4.6 (Amazon Bedrock Edition)", 5),
    ("Claude Sonnet 4.6 (Amazon Bedrock Edition)", 3),
    ("Claude Haiku 4.5 (Amazon Bedrock Edition)", 1),
];
pub(crate) const SONNET: &str = MODELS[1].0;

/// What is metered, with its price in hundredths of that of the input.
const KINDS: [(&str, i128); 5] = [
    ("InputTokenCount", 100),
    ("OutputTokenCount", 500),
    ("CacheReadInputTokenCount", 10),
    ("CacheWriteInputTokenCount", 125),
    ("CacheWrite1hInputTokenCount", 200),
];

pub(crate) const BASES: [&str; 3] = ["unblended", "net", "blended"];

/// A line of a bill: its keys, its pico-dollars on each basis, and its units.
#[derive(Clone, Debug)]
pub(crate) struct Billed {
    pub(crate) day: Date,
    keys: [String; 2],
    pub(crate) amounts: [i128; 3],
    units: i128,
}

impl Billed {
    /// A line whose three amounts differ.
    pub(crate) fn new(day: Date, keys: [&str; 2], unblended: i128, units: i128) -> Self {
        Self {
            day,
            keys: keys.map(str::to_owned),
            amounts: [unblended, unblended * 9 / 10, unblended + 1_000_003],
            units,
        }
    }

    fn group(&self) -> Value {
        let usd = |pico: i128| json!({"Amount": decimal(pico), "Unit": "USD"});
        let [unblended, net, blended] = self.amounts.map(usd);
        json!({"Keys": self.keys, "Metrics": {
            "UnblendedCost": unblended, "NetUnblendedCost": net, "BlendedCost": blended,
            "UsageQuantity": {"Amount": self.units.to_string(), "Unit": "Units"},
        }})
    }
}

/// Usage of all models and kinds on each day, at the list price and some pico-dollars.
pub(crate) fn usage(days: impl Iterator<Item = Date>) -> Vec<Billed> {
    let mut lines = Vec::new();
    for day in days {
        for (service, price) in MODELS {
            for (kind, hundredths) in KINDS {
                let odd = i128::try_from(lines.len()).unwrap() * 104_729 + 7;
                let units = 1 + i128::from(day.day()) % 3;
                let amount = price * hundredths * units * USD / 100 + odd;
                let usage_type = format!("USE1-MP:USE1_{kind}-Units");
                lines.push(Billed::new(day, [service, &usage_type], amount, units));
            }
        }
    }
    lines
}

/// Usage with a line that nobody understands, and what is billed besides.
pub(crate) fn bill(first: Date) -> [Vec<Billed>; 2] {
    let mut lines = usage(days(first, first.saturating_add(1.month())));
    let strange = [SONNET, "USE1-MP:USE1_NewThing-Units"];
    let day = |number: i64| first.saturating_add((number - 1).days());
    lines.push(Billed::new(day(6), strange, USD / 2 + 1, 1));
    let others = vec![
        Billed::new(day(4), ["Credit", SONNET], -12_345_678_901_234, 0),
        Billed::new(day(2), ["Tax", MODELS[0].0], 3_210_000_000_007, 0),
    ];
    [lines, others]
}

pub(crate) fn days(from: Date, to: Date) -> impl Iterator<Item = Date> {
    from.series(1.day()).take_while(move |day| *day < to)
}

/// The bill's sum on each basis.
pub(crate) fn sums<'l>(lines: impl IntoIterator<Item = &'l Billed>) -> [i128; 3] {
    let mut sums = [0; 3];
    for line in lines {
        for (sum, amount) in sums.iter_mut().zip(line.amounts) {
            *sum += amount;
        }
    }
    sums
}

/// A whole answer of Cost Explorer.
fn result(lines: &[Billed]) -> Value {
    let mut days: BTreeMap<Date, Vec<Value>> = BTreeMap::new();
    for line in lines {
        days.entry(line.day).or_default().push(line.group());
    }
    let day = |(day, groups): (Date, Vec<Value>)| {
        json!({
            "TimePeriod": {"Start": day.to_string(), "End": day.tomorrow().unwrap().to_string()},
            "Total": {}, "Estimated": false, "Groups": groups,
        })
    };
    let days: Vec<Value> = days.into_iter().map(day).collect();
    json!({"ResultsByTime": days, "DimensionValueAttributes": []})
}

/// Queues the answers to the two questions of a reading.
pub(crate) async fn queue(aws: &CloudWatch, bill: &[Vec<Billed>; 2]) {
    let queue = json!({"results": bill.each_ref().map(|lines| result(lines))});
    let url = format!("{}/moto-api/static/ce/cost-and-usage-results", aws.url);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let queued = client.post(url).json(&queue).send().await.unwrap();
    assert_eq!(queued.status(), 201);
}

pub(crate) fn with_credentials(command: &mut Command) -> &mut Command {
    command.envs([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ])
}

/// Every digit of an amount.
pub(crate) fn decimal(pico: i128) -> String {
    let (whole, part) = (pico.abs() / USD, pico.abs() % USD);
    let sign = if pico < 0 { "-" } else { "" };
    format!("{sign}{whole}.{part:012}")
}

/// An amount as text, exactly; nothing is nothing.
pub(crate) fn pico(text: &str) -> i128 {
    // A page has thousands apart, and the minus of typesetters.
    let text = text.replace(',', "").replace('\u{2212}', "-");
    if text.is_empty() || text == "-" {
        return 0;
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, &*text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(part.len() <= 12, "{text}");
    let part: i128 = format!("{part:0<12}").parse().unwrap();
    sign * (whole.parse::<i128>().unwrap() * USD + part)
}

/// To whole cents, the even one of two that are as near.
pub(crate) fn cents(exact: i128) -> i128 {
    let cent = USD / 100;
    let (down, rest) = (exact.div_euclid(cent), exact.rem_euclid(cent));
    let up = rest * 2 > cent || (rest * 2 == cent && down % 2 != 0);
    (down + i128::from(up)) * cent
}

pub(crate) fn cell(row: &Value, column: &str) -> i128 {
    match &row[column] {
        Value::String(text) => pico(text),
        Value::Number(number) => pico(&number.to_string()),
        Value::Null => 0,
        other => panic!("{column}: {other}"),
    }
}

pub(crate) fn sum(rows: &Value, column: &str) -> i128 {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| cell(row, column)).sum()
}

/// `tallyd report NAME` into a file.
pub(crate) async fn report(daemon: &Daemon, name: &str, file: &str, more: &[&str]) -> PathBuf {
    let path = daemon.place.path(file);
    let mut arguments = vec!["report", name, "--output", path.to_str().unwrap()];
    arguments.extend(["--url", &daemon.http]);
    arguments.extend(more);
    let (code, said) = daemon.place.run(&arguments).await;
    assert_eq!(code, Some(0), "{said}");
    path
}

/// A file as Python reads it.
pub(crate) fn read(file: &Path) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(root.join("target/peers/focus/bin/python"));
    let output = python
        .arg(root.join("tests/peers/read_report.py"))
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exact sum of a column by the manifest of a JSON report.
pub(crate) fn exact(report: &Value, column: &str) -> i128 {
    let totals = report["manifest"]["tables"][0]["control_totals"].as_array();
    let mut totals = totals.unwrap().iter();
    let total = totals.find(|total| total["column"] == column).unwrap();
    pico(total["exact"].as_str().unwrap())
}

/// The first day of the month so many before this one.
pub(crate) fn month_before(months: i64) -> Date {
    let today = Clock::System.now().to_zoned(TimeZone::UTC).date();
    today.first_of_month().saturating_sub(months.months())
}

pub(crate) async fn billed_days(daemon: &Daemon, first: Date, revision: u64) -> usize {
    let path = format!(
        "/api/v1/bills?from={first}&to={}",
        first.saturating_add(1.month())
    );
    let bills = daemon.json(&path).await;
    let days = bills["days"].as_array().unwrap().iter();
    let days = days.filter(|day| day["revision"].as_u64() >= Some(revision));
    days.count()
}
