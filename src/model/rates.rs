//! Exchange rates from USD, from a dated file. Pure, in decimal text and integers.
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;

use csv::{ReaderBuilder, Trim};
use jiff::civil::Date;

use super::money::{DecimalError, PicoUsd};

/// The currency of the ledger.
pub const USD: &str = "USD";

const COLUMNS: [&str; 4] = ["date", "currency", "rate", "source"];

/// Lines read at most: thirty currencies on each day of ten years.
const MAX_LINES: usize = 110_000;

/// Faults told at most; nobody mends more in one go.
const MAX_FAULTS: usize = 100;

/// A rate holds on its day and the six after it: weekends and holidays have none of their own.
pub const HOLDS_DAYS: i32 = 7;

/// A rate of 1e12, as text with twelve places, is not one of money.
const MAX_RATE: i128 = 1_000_000_000_000_000_000;

/// One unit of a currency, and a rate of 1.
const ONE: i128 = 1_000_000_000_000;

/// Units of a currency for one USD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    pub date: Date,
    /// As in the file.
    pub text: Box<str>,
    /// In 1e-12.
    pub value: i128,
    pub source: Box<str>,
}

/// The rates of a file, by currency and day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    by_currency: BTreeMap<Box<str>, BTreeMap<Date, Rate>>,
}

/// Why there is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRate {
    #[error("the rate file has no rate of {currency}; it has {known}")]
    Currency { currency: String, known: String },
    #[error(
        "the rate file has no rate of {currency} for {day}: the one before is of {before}, and a \
         rate holds for {HOLDS_DAYS} days"
    )]
    Day {
        currency: String,
        day: Date,
        before: String,
    },
}

impl Rates {
    /// Reads CSV with the columns `date, currency, rate, source` in any order. Reports all faults
    /// together, each with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = ReaderBuilder::new()
            .trim(Trim::All)
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let places = match reader.headers() {
            Ok(header) => COLUMNS.map(|name| header.iter().position(|column| column == name)),
            Err(error) => return Err(vec![error.to_string()]),
        };
        let missing: Vec<_> = COLUMNS
            .iter()
            .zip(places)
            .filter_map(|(name, place)| place.is_none().then_some(*name))
            .collect();
        if !missing.is_empty() {
            return Err(vec![format!(
                "line 1: the header must name date, currency, rate and source; missing: {}",
                missing.join(", ")
            )]);
        }
        let mut rates = Self::default();
        let mut faults = Vec::new();
        for (index, record) in reader.records().enumerate() {
            if index >= MAX_LINES {
                faults.push(format!("more than {MAX_LINES} lines"));
                break;
            }
            let read = record
                .map_err(|error| error.to_string())
                .and_then(|record| {
                    let line = record.position().map_or(0, csv::Position::line);
                    let cells = places.map(|place| place.and_then(|p| record.get(p)).unwrap_or(""));
                    rates
                        .add(cells)
                        .map_err(|fault| format!("line {line}: {fault}"))
                });
            faults.extend(read.err());
        }
        faults.truncate(MAX_FAULTS);
        if faults.is_empty() {
            Ok(rates)
        } else {
            Err(faults)
        }
    }

    fn add(&mut self, [date, currency, rate, source]: [&str; 4]) -> Result<(), String> {
        let day: Date = date
            .parse()
            .map_err(|_| format!("date: must be a day such as 2026-11-30, got `{date}`"))?;
        if !is_currency(currency) {
            return Err(format!(
                "currency: must be three capital letters such as EUR, got `{currency}`"
            ));
        }
        let value = positive(rate).map_err(|problem| format!("rate: {problem}, got `{rate}`"))?;
        let days = self.by_currency.entry(currency.into()).or_default();
        let new = Rate {
            date: day,
            text: rate.into(),
            value,
            source: source.into(),
        };
        match days.insert(day, new) {
            None => Ok(()),
            Some(_) => Err(format!("{currency} has two rates of {day}")),
        }
    }

    /// The rate of a day: the newest that is not older than a week.
    pub fn on(&self, currency: &str, day: Date) -> Result<&Rate, NoRate> {
        let Some(days) = self.by_currency.get(currency) else {
            let known: Vec<_> = self.by_currency.keys().map(|name| &**name).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(NoRate::Currency {
                currency: currency.to_owned(),
                known,
            });
        };
        let before = days.range(..=day).next_back().map(|(_, rate)| rate);
        let age = before.and_then(|rate| rate.date.until(day).ok());
        match (before, age) {
            (Some(rate), Some(age)) if age.get_days() < HOLDS_DAYS => Ok(rate),
            _ => Err(NoRate::Day {
                currency: currency.to_owned(),
                day,
                before: before.map_or("no day".to_owned(), |rate| rate.date.to_string()),
            }),
        }
    }
}

impl Rate {
    /// An amount in USD in this currency, rounded half-even to 1e-12; `None` on overflow.
    #[must_use]
    pub fn convert(&self, usd: PicoUsd) -> Option<PicoUsd> {
        // The whole dollars first: their product is exact, and the rest cannot overflow.
        let (whole, part) = (usd.0.div_euclid(ONE), usd.0.rem_euclid(ONE));
        let exact = whole.checked_mul(self.value)?;
        let product = part.checked_mul(self.value)?;
        let (floor, rest) = (product.div_euclid(ONE), product.rem_euclid(ONE));
        let up = match (rest * 2).cmp(&ONE) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => (exact + floor) % 2 != 0,
        };
        exact
            .checked_add(floor)?
            .checked_add(i128::from(up))
            .map(PicoUsd)
    }
}

/// Three capital letters.
#[must_use]
pub fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
}

fn positive(text: &str) -> Result<i128, String> {
    let value = PicoUsd::parse(text).map_err(|error: DecimalError| error.to_string())?;
    if (1..=MAX_RATE).contains(&value.0) {
        return Ok(value.0);
    }
    Err("must be more than 0 and at most 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "date,currency,rate,source\n\
        2026-11-27,EUR,0.8612,ECB\n\
        2026-11-30,EUR,0.8601,ECB\n\
        2026-11-30,JPY,154.25,ECB\n";

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_holds_for_a_week() {
        let rates = Rates::parse(FILE).unwrap();
        let text = |on: &str| rates.on("EUR", day(on)).map(|rate| rate.text.to_string());
        assert_eq!(text("2026-11-29"), Ok("0.8612".to_owned()));
        assert_eq!(text("2026-12-06"), Ok("0.8601".to_owned()));
        assert_eq!(
            text("2026-12-07").unwrap_err().to_string(),
            "the rate file has no rate of EUR for 2026-12-07: the one before is of 2026-11-30, \
             and a rate holds for 7 days"
        );
        assert_eq!(
            rates.on("EUR", day("2026-01-01")).unwrap_err().to_string(),
            "the rate file has no rate of EUR for 2026-01-01: the one before is of no day, and a \
             rate holds for 7 days"
        );
        assert_eq!(
            rates.on("GBP", day("2026-11-30")).unwrap_err().to_string(),
            "the rate file has no rate of GBP; it has EUR, JPY"
        );
    }

    #[test]
    fn faults_name_line_and_column() {
        let text = "date,currency,rate,source\n\
            30.11.2026,EUR,0.86,ECB\n\
            2026-11-30,euro,0.86,ECB\n\
            2026-11-30,EUR,\"0,86\",ECB\n\
            2026-11-30,EUR,0,ECB\n\
            2026-11-30,EUR,0.86,ECB\n\
            2026-11-30,EUR,0.87,ECB\n";
        assert_eq!(
            Rates::parse(text).unwrap_err(),
            [
                "line 2: date: must be a day such as 2026-11-30, got `30.11.2026`",
                "line 3: currency: must be three capital letters such as EUR, got `euro`",
                "line 4: rate: `,` does not belong in a decimal number, got `0,86`",
                "line 5: rate: must be more than 0 and at most 1000000, got `0`",
                "line 7: EUR has two rates of 2026-11-30",
            ]
        );
        assert_eq!(
            Rates::parse("day,rate\n").unwrap_err(),
            [
                "line 1: the header must name date, currency, rate and source; missing: date, \
                 currency, source"
            ]
        );
    }

    #[test]
    fn a_file_from_a_spreadsheet_is_read() {
        let text = "\u{feff}currency,source,rate,date\r\nEUR,ECB,0.86,2026-11-30\r\n";
        let rates = Rates::parse(text).unwrap();
        let rate = rates.on("EUR", day("2026-11-30")).unwrap();
        assert_eq!(rate.convert(PicoUsd(50)), Some(PicoUsd(43)));
    }

    proptest! {
        #[test]
        fn conversion_is_exact_to_half_a_pico(
            usd in -(1_i128 << 80)..(1_i128 << 80),
            value in 1_i128..200_000_000_000_000,
        ) {
            let rate = Rate { date: day("2026-11-30"), text: "".into(), value, source: "".into() };
            // Compared in halves of the smallest part, without a division.
            if let (Some(converted), Some(exact)) = (rate.convert(PicoUsd(usd)), usd.checked_mul(value)) {
                let off = converted.0 * ONE - exact;
                prop_assert!((off * 2).abs() <= ONE);
            }
        }
    }
}
