//! `[cost]`: prices.

use std::path::PathBuf;

use toml::Value;

use super::bill::{self, Bill};
use super::budgets::{self, Plans};
use super::reader::{Converted, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{choice, readable_file};
use crate::model::price::WriteLifetime;

/// How usage is priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Prices that replace or add to the embedded table.
    pub prices: Option<PathBuf>,
    /// What a contract makes of list prices.
    pub contract: Option<PathBuf>,
    /// The price of cache writes whose lifetime is not told.
    pub cache_write_unknown: WriteLifetime,
    /// The same for single providers.
    pub cache_write_unknown_of: Vec<(Box<str>, WriteLifetime)>,
    /// Budgets, fixed cost, exchange rates.
    pub plans: Plans,
    /// What was really billed.
    pub bill: Bill,
}

pub(super) const SECTION: Section = Section {
    name: "cost",
    help: "The estimate of cost, and the bill.",
    settings: &[
        Setting::new(
            "prices",
            r#""""#,
            "TOML file with prices that replace or add to the embedded ones.",
        )
        .at_once(),
        Setting::new(
            "contract",
            r#""""#,
            "TOML file with a contract's multipliers and rates, on top of list prices.",
        )
        .at_once(),
        Setting::new(
            "cache_write_unknown",
            r#""5m""#,
            "Price of cache writes whose lifetime the source does not tell: 5m or 1h.",
        )
        .at_once(),
        Setting::new(
            "cache_write_unknown_of",
            "{}",
            "The same for single providers.",
        )
        .at_once()
        .example("[cost.cache_write_unknown_of]\nbedrock = \"1h\""),
        bill::COLLECT,
        bill::EVERY,
        bill::ACCOUNTS,
        bill::MONTHS_BEFORE,
        bill::MAX_CALLS,
        bill::CALL_PRICE,
        bill::USER_TAG,
        bill::ACCOUNT_WIDE,
        bill::FORECAST,
        bill::TIMEOUT,
        budgets::BUDGETS,
        budgets::FIXED,
        budgets::CURRENCY_RATES,
        budgets::ANOMALY_BY,
        budgets::ANOMALY_THRESHOLD,
        budgets::ANOMALY_LEAST,
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Cost {
    let mut section = reader.section(&SECTION);
    Cost {
        prices: section.get("prices", readable_file),
        contract: section.get("contract", readable_file),
        cache_write_unknown: section.get("cache_write_unknown", lifetime),
        cache_write_unknown_of: section.get("cache_write_unknown_of", lifetimes),
        bill: bill::read(&mut section),
        plans: budgets::read(&mut section),
    }
}

fn lifetime(value: &Value) -> Converted<WriteLifetime> {
    choice(value, "5m, 1h", |name| match name {
        "5m" => Some(WriteLifetime::FiveMinutes),
        "1h" => Some(WriteLifetime::OneHour),
        _ => None,
    })
}

fn lifetimes(value: &Value) -> Converted<Vec<(Box<str>, WriteLifetime)>> {
    let Value::Table(table) = value else {
        return must_be("a table such as {bedrock = \"1h\"}", value);
    };
    let mut lifetimes = Vec::with_capacity(table.len());
    let mut problems = Vec::new();
    for (provider, value) in table {
        match lifetime(value) {
            Ok(lifetime) => lifetimes.push((provider.as_str().into(), lifetime)),
            Err(found) => {
                let at = format!(".{provider}");
                problems.extend(found.into_iter().map(|problem| problem.at(&at)));
            }
        }
    }
    if problems.is_empty() {
        Ok(lifetimes)
    } else {
        Err(problems)
    }
}
