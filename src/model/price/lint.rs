//! What is allowed in a price table and still worth a look: ratios that are not as usual, kinds
//! without a price, prices that jump.
//!
//! Ratios are looked at, never used: a price that a table lacks stays lacking.
#![deny(clippy::float_arithmetic)]

use std::fmt;

use super::read::{self, FileRow, PRICE_FIELDS};
use super::{ONE, PriceFault, Rates, UnitPrices};
use crate::model::decimal;

/// Something worth a look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PriceNote {
    /// The row as `provider scope model`.
    pub place: String,
    pub message: String,
}

impl fmt::Display for PriceNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A field, the field it is compared with, and the usual ratio in millionths.
type Ratio = (&'static str, &'static str, u64);

/// Anthropic: pricing of prompt caching and of batches.
const RATIOS: [Ratio; 7] = [
    ("cache_write_5m", "input", 1_250_000),
    ("cache_write_1h", "input", 2_000_000),
    ("batch_input", "input", 500_000),
    ("batch_output", "output", 500_000),
    ("batch_cache_read", "cache_read", 500_000),
    ("batch_cache_write_5m", "cache_write_5m", 500_000),
    ("batch_cache_write_1h", "cache_write_1h", 500_000),
];

/// The usual ratio of a cache read to an input token.
const CACHE_READ: u64 = 100_000;

/// Models whose cache reads are cheaper than usual.
const CHEAP_READS: [(&str, u64); 4] = [
    ("claude-opus-5-5", 50_000),
    ("claude-sonnet-5-5", 50_000),
    ("claude-fable-5-1", 25_000),
    ("claude-mythos-5-1", 25_000),
];

/// Notes on a price table or contract; faults if it cannot be used.
pub fn file(text: &str) -> Result<Vec<PriceNote>, Vec<PriceFault>> {
    let file = read::parse(text, true)?;
    // What a contract leaves open is the list's.
    let is_contract = !file.multipliers.is_empty();
    Ok(notes(&file.rows, is_contract))
}

fn notes(rows: &[FileRow], is_contract: bool) -> Vec<PriceNote> {
    let mut notes = Vec::new();
    for row in rows {
        let mut note = |message: String| {
            notes.push(PriceNote {
                place: row.place(),
                message,
            });
        };
        if row.geo_premium {
            note("the price may lack the premium of the region".to_owned());
        }
        if !is_contract {
            missing(row).into_iter().for_each(&mut note);
        }
        ratios(row, &row.rate.base, "")
            .into_iter()
            .for_each(&mut note);
        if let Some(long) = row.rate.long_context {
            let under = "long_context.";
            ratios(row, &long.rates, under)
                .into_iter()
                .for_each(&mut note);
            pairs(&row.rate.base, &long.rates)
                .into_iter()
                .for_each(&mut note);
        }
    }
    notes.extend(moves(rows));
    notes.sort();
    notes
}

fn fields(rates: &Rates) -> [(&'static str, Option<u64>); PRICE_FIELDS.len()] {
    let all = [rates.standard, rates.batch].map(UnitPrices::kinds);
    let prices = all.as_flattened();
    std::array::from_fn(|place| (PRICE_FIELDS[place], prices[place]))
}

fn price(rates: &Rates, field: &str) -> Option<u64> {
    let mut fields = fields(rates).into_iter();
    fields.find(|(name, _)| *name == field)?.1
}

/// Kinds of the standard tier without a price, and of a batch tier that has some prices.
fn missing(row: &FileRow) -> Option<String> {
    let base = &row.rate.base;
    let has_batch = !base.batch.is_empty();
    let lacking: Vec<&str> = fields(base)
        .into_iter()
        // A one-hour write is not among the batch prices that are published.
        .filter(|(name, _)| !name.starts_with("batch_") || has_batch)
        .filter(|(name, price)| price.is_none() && *name != "batch_cache_write_1h")
        .map(|(name, _)| name)
        .collect();
    let list = lacking.join(", ");
    (!lacking.is_empty()).then(|| format!("no price for {list}: such tokens are unpriced"))
}

fn ratios(row: &FileRow, rates: &Rates, under: &str) -> Vec<String> {
    let cheap = CHEAP_READS.iter().find(|(model, _)| **model == *row.model);
    let read = cheap.map_or(CACHE_READ, |(_, ratio)| *ratio);
    let mut messages = Vec::new();
    for (field, of, usual) in RATIOS.into_iter().chain([("cache_read", "input", read)]) {
        let (Some(price), Some(base)) = (price(rates, field), price(rates, of)) else {
            continue;
        };
        if u128::from(price) * u128::from(ONE) != u128::from(base) * u128::from(usual) {
            messages.push(format!(
                "{under}{field} is {} times {of}, usual is {}",
                millionths(ratio(price, base)),
                millionths(usual)
            ));
        }
    }
    messages
}

/// A price of the long context that is missing or below the other one.
fn pairs(base: &Rates, long: &Rates) -> Vec<String> {
    let mut messages = Vec::new();
    for ((field, base), (_, long)) in fields(base).into_iter().zip(fields(long)) {
        match (base, long) {
            (Some(_), None) => messages.push(format!("long_context.{field}: no price")),
            (None, Some(_)) => messages.push(format!("{field}: only long_context has a price")),
            (Some(base), Some(long)) if long < base => {
                messages.push(format!("long_context.{field} is below {field}"));
            }
            _ => {}
        }
    }
    messages
}

/// Prices that go up by more than half, or down to less than half of it, from one row to the next.
fn moves(rows: &[FileRow]) -> Vec<PriceNote> {
    let mut notes = Vec::new();
    for row in rows {
        let follows = |next: &&FileRow| next.same_key(row) && next.time.from == row.time.to;
        let Some(next) = rows.iter().find(follows) else {
            continue;
        };
        let (before, after) = (fields(&row.rate.base), fields(&next.rate.base));
        for ((field, before), (_, after)) in before.into_iter().zip(after) {
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            if after.abs_diff(before) > before / 2 {
                let day = row.time.end_day().map(|day| day.to_string());
                notes.push(PriceNote {
                    place: row.place(),
                    message: format!(
                        "{field} goes from {} to {} on {}",
                        millionths(before),
                        millionths(after),
                        day.unwrap_or_default()
                    ),
                });
            }
        }
    }
    notes
}

/// In millionths, rounded down.
fn ratio(price: u64, base: u64) -> u64 {
    let product = u128::from(price) * u128::from(ONE);
    let ratio = product.checked_div(u128::from(base)).unwrap_or(0);
    u64::try_from(ratio).unwrap_or(u64::MAX)
}

/// Millionths as decimal text: also pico-USD per token as USD per million tokens.
#[must_use]
pub fn millionths(number: u64) -> String {
    decimal::short(number.into(), 6)
}

#[cfg(test)]
mod tests {
    use super::super::read::HEAD;
    use super::*;

    fn told(rows: &str) -> Vec<String> {
        let notes = file(&format!("{HEAD}{rows}]")).expect("no faults");
        notes.iter().map(|note| note.message.clone()).collect()
    }

    fn row(model: &str, rest: &str) -> String {
        format!("{{ model = \"{model}\", provider = \"p\", scope = \"s\", {rest} }},")
    }

    const WHOLE: &str = "input = \"5\", output = \"25\", cache_read = \"0.5\", \
        cache_write_5m = \"6.25\", cache_write_1h = \"10\"";

    #[test]
    fn usual_prices_are_passed_over() {
        assert_eq!(told(&row("claude-opus-5", WHOLE)), [""; 0]);
        let cheap = WHOLE.replace("0.5", "0.25");
        assert_eq!(told(&row("claude-opus-5-5", &cheap)), [""; 0]);
    }

    #[test]
    fn what_is_unusual_is_told() {
        let odd = "input = \"5\", output = \"25\", cache_read = \"0.25\", \
            cache_write_5m = \"6\", batch_input = \"2.4\", batch_output = \"12.5\", \
            suspect = [\"geo_premium\"], \
            long_context = { threshold_tokens = 100000, input = \"4\", cache_write_1h = \"8\" }";
        assert_eq!(
            told(&row("claude-x", odd)),
            [
                "batch_input is 0.48 times input, usual is 0.5",
                "cache_read is 0.05 times input, usual is 0.1",
                "cache_write_1h: only long_context has a price",
                "cache_write_5m is 1.2 times input, usual is 1.25",
                "long_context.batch_input: no price",
                "long_context.batch_output: no price",
                "long_context.cache_read: no price",
                "long_context.cache_write_5m: no price",
                "long_context.input is below input",
                "long_context.output: no price",
                "no price for cache_write_1h, batch_cache_read, batch_cache_write_5m: such tokens \
                 are unpriced",
                "the price may lack the premium of the region",
            ]
        );
    }

    #[test]
    fn a_price_that_jumps_is_told() {
        let rows = [
            row(
                "claude-x",
                &format!("{WHOLE}, effective_to = \"2026-03-01\""),
            ),
            row(
                "claude-x",
                &format!("{WHOLE}, effective_from = \"2026-03-01\"").replace("\"5\"", "\"50\""),
            ),
        ];
        let notes = told(&rows.concat());
        assert!(
            notes.contains(&"input goes from 5 to 50 on 2026-03-01".to_owned()),
            "{notes:?}"
        );
    }
}
