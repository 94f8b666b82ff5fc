//! `[cost]`: prices.

use std::path::PathBuf;

use super::budgets::{self, Plans};
use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::{choice, readable_file};
use crate::model::price::WriteLifetime;

/// How usage is priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Prices that replace or add to the embedded table.
    pub prices: Option<PathBuf>,
    /// The price of cache writes whose lifetime is not told.
    pub cache_write_unknown: WriteLifetime,
    /// Budgets, fixed cost, exchange rates.
    pub plans: Plans,
}

pub(super) const SECTION: Section = Section {
    name: "cost",
    help: "The estimate of cost.",
    settings: &[
        Setting::new(
            "prices",
            r#""""#,
            "TOML file with prices that replace or add to the embedded ones.",
        ),
        Setting::new(
            "cache_write_unknown",
            r#""5m""#,
            "Price of cache writes whose lifetime the source does not tell: 5m or 1h.",
        ),
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
        cache_write_unknown: section.get("cache_write_unknown", |value| {
            choice(value, "5m, 1h", |name| match name {
                "5m" => Some(WriteLifetime::FiveMinutes),
                "1h" => Some(WriteLifetime::OneHour),
                _ => None,
            })
        }),
        plans: budgets::read(&mut section),
    }
}
