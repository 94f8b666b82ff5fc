//! `tallyd bills`: which days were billed, and how sure that is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;

use super::table::{Align, table};
use super::{Remote, block_on};
use crate::cli::out;
use crate::model::money::PicoUsd;

/// Billed days of a running daemon.
#[derive(Args, Debug)]
pub struct BillsCommand {
    /// A UTC date; without it: the first of the previous month.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub from: String,
    /// A UTC date, exclusive; without it: tomorrow.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub to: String,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Answer {
    from: String,
    to: String,
    days: Vec<Day>,
    forecasts: Vec<Forecast>,
}

#[derive(Debug, Deserialize)]
struct Day {
    day: String,
    source: String,
    provider: String,
    account: String,
    standing: String,
    revision: u32,
    counts: bool,
    lines: u64,
    totals: BTreeMap<String, Total>,
}

#[derive(Debug, Deserialize)]
struct Total {
    unblended: String,
    unclassified: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Forecast {
    account: String,
    to: String,
    currency: String,
    low: String,
    mid: String,
    high: String,
    level: u8,
}

pub(super) fn execute(wanted: &BillsCommand) -> anyhow::Result<()> {
    block_on(show(wanted))?
}

async fn show(wanted: &BillsCommand) -> anyhow::Result<()> {
    let parameters = [("from", &*wanted.from), ("to", &*wanted.to)];
    let answer: Answer = wanted.remote.get("/api/v1/bills", &parameters).await?;
    out::print(text(&answer))?;
    Ok(())
}

fn text(answer: &Answer) -> String {
    let (from, to) = (&answer.from, &answer.to);
    let mut text = if answer.days.is_empty() {
        format!(
            "no bill from {from} to {to}: set cost.collect, or import one with `tallyd import \
             bill`\n"
        )
    } else {
        days(&answer.days)
    };
    for forecast in &answer.forecasts {
        let Forecast {
            account,
            to,
            currency,
            low,
            mid,
            high,
            level,
        } = forecast;
        let [low, mid, high] = [low, mid, high].map(|amount| cents(amount));
        text += "\nforecast of the provider for ";
        let _ = writeln!(
            text,
            "{account} from its day to {to}: {mid} {currency} ({low} to {high}, {level} %)"
        );
    }
    text
}

fn days(days: &[Day]) -> String {
    let columns = [
        ("DAY (UTC)", Align::Left),
        ("PROVIDER", Align::Left),
        ("ACCOUNT", Align::Left),
        ("SOURCE", Align::Left),
        ("STANDING", Align::Left),
        ("REVISION", Align::Right),
        ("LINES", Align::Right),
        ("AMOUNT", Align::Right),
        ("NOT UNDERSTOOD", Align::Right),
        ("CURRENCY", Align::Left),
    ];
    let mut rows = Vec::new();
    let mut sums: BTreeMap<&str, PicoUsd> = BTreeMap::new();
    for day in days {
        let standing = if day.counts {
            &*day.standing
        } else {
            "replaced"
        };
        let row = |amount: String, unclear: String, currency: &str| {
            vec![
                day.day.clone(),
                day.provider.clone(),
                day.account.clone(),
                day.source.clone(),
                standing.to_owned(),
                day.revision.to_string(),
                day.lines.to_string(),
                amount,
                unclear,
                currency.to_owned(),
            ]
        };
        if day.totals.is_empty() {
            rows.push(row("0.00".to_owned(), String::new(), ""));
        }
        for (currency, total) in &day.totals {
            if day.counts {
                let amount = PicoUsd::parse(&total.unblended).unwrap_or_default();
                let sum = sums.entry(currency).or_default();
                *sum = sum.checked_add(amount).unwrap_or(*sum);
            }
            let unclear = total.unclassified.as_deref().map(cents).unwrap_or_default();
            rows.push(row(cents(&total.unblended), unclear, currency));
        }
    }
    let totals = sums.len();
    for (currency, sum) in sums {
        let mut row = vec![String::new(); columns.len()];
        "total".clone_into(&mut row[0]);
        row[7] = sum.to_decimal(2);
        currency.clone_into(&mut row[9]);
        rows.push(row);
    }
    table(&columns, &rows, totals)
}

fn cents(exact: &str) -> String {
    PicoUsd::parse(exact).map_or_else(|_| exact.to_owned(), |amount| amount.to_decimal(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_listed_with_a_total_for_each_currency() {
        let answer = r#"{
            "from": "2026-11-01", "to": "2026-11-23", "forecasts": [
                {"account": "1111", "from": "2026-11-22", "to": "2026-12-01", "currency": "USD",
                 "low": "90.1", "mid": "100.126", "high": "120.0", "level": 80, "made_at": ""}
            ],
            "days": [
                {"day": "2026-11-20", "source": "import:aws", "provider": "bedrock",
                 "account": "1111", "standing": "final", "revision": 2, "pulled_at": "",
                 "counts": true, "lines": 3,
                 "totals": {"USD": {"unblended": "3.255", "net": "3", "blended": "3",
                     "unclassified": "0.25"}}},
                {"day": "2026-11-20", "source": "cost_explorer", "provider": "bedrock",
                 "account": "1111", "standing": "provisional", "revision": 1, "pulled_at": "",
                 "counts": false, "lines": 2,
                 "totals": {"USD": {"unblended": "9", "net": "9", "blended": "9"}}},
                {"day": "2026-11-21", "source": "import:aws", "provider": "bedrock",
                 "account": "1111", "standing": "provisional", "revision": 1, "pulled_at": "",
                 "counts": true, "lines": 0, "totals": {}}
            ]}"#;
        let shown = text(&serde_json::from_str(answer).unwrap());
        let expected = "\
DAY (UTC)   PROVIDER  ACCOUNT  SOURCE         STANDING     REVISION  LINES  AMOUNT  NOT UNDERSTOOD  CURRENCY
------------------------------------------------------------------------------------------------------------
2026-11-20  bedrock   1111     import:aws     final               2      3    3.26            0.25  USD
2026-11-20  bedrock   1111     cost_explorer  replaced            1      2    9.00                  USD
2026-11-21  bedrock   1111     import:aws     provisional         1      0    0.00
------------------------------------------------------------------------------------------------------------
total                                                                         3.26                  USD

forecast of the provider for 1111 from its day to 2026-12-01: 100.13 USD (90.10 to 120.00, 80 %)
";
        assert_eq!(shown, expected);
    }
}
