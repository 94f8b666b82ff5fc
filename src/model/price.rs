//! The price table: what a token costs, by model, provider and scope.
//!
//! Prices are whole pico-USD per token, read from decimal text. Rows are found by exact match
//! only. What the table does not say is unpriced: never 0, never a similar model's price.
#![deny(clippy::float_arithmetic)]

use std::collections::HashMap;
use std::fmt;

use super::money::{PicoUsd, parse_decimal};
use super::tokens::Tokens;
use super::usage::{Band, Sku, Tier};

/// The list prices that come with tallyd.
pub const EMBEDDED: &str = include_str!("../../prices/claude.toml");

/// USD per million tokens have six places more than pico-USD per token.
const PRICE_DECIMALS: u32 = 6;

/// Multipliers are kept in millionths.
const ONE: u64 = 1_000_000;

/// The dearest price read, in pico-USD per token: nine thousand USD. With it the cost of any
/// count of tokens stays far below the bounds of [`PicoUsd`].
const MAX_PRICE: u64 = 1 << 53;

const TOP_FIELDS: [(&str, &str); 2] = [("currency", "USD"), ("unit", "1000000 tokens")];

const PRICE_FIELDS: [&str; 10] = [
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "batch_input",
    "batch_output",
    "batch_cache_read",
    "batch_cache_write_5m",
    "batch_cache_write_1h",
];

const ROW_FIELDS: [&str; 10] = [
    "model",
    "provider",
    "scope",
    "keys",
    "retires",
    "suspect",
    "long_context",
    "fast_multiplier",
    "us_geo_multiplier",
    "regional_multiplier",
];

/// Pico-USD per token by kind; `None` where the table has no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitPrices {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write_5m: Option<u64>,
    pub cache_write_1h: Option<u64>,
}

/// How long cache writes live whose lifetime the source does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteLifetime {
    #[default]
    FiveMinutes,
    OneHour,
}

/// What tokens cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priced {
    /// The whole cost; `None` if a kind that was used has no price.
    pub cost: Option<PicoUsd>,
    /// The cost of the kinds that have a price.
    pub priced_part: PicoUsd,
    /// Tokens that are not in `priced_part`.
    pub unpriced_tokens: u64,
}

/// One thing that is wrong with a price table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceFault {
    /// The row as `provider scope model`, or `price table`.
    pub place: String,
    pub message: String,
}

impl fmt::Display for PriceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Unit prices by exact model, provider and scope.
#[derive(Clone, Debug, Default)]
pub struct PriceTable {
    models: HashMap<Box<str>, Vec<Row>>,
}

#[derive(Clone, Debug)]
struct Row {
    provider: Box<str>,
    scope: Box<str>,
    base: Rates,
    long_context: Option<LongContext>,
    fast: Option<u64>,
    us_geo: Option<u64>,
    regional: Option<u64>,
}

/// Prices of one context band by tier.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    standard: UnitPrices,
    batch: UnitPrices,
}

/// The prices of a whole request whose context is above the threshold.
#[derive(Clone, Copy, Debug)]
struct LongContext {
    above: Band,
    rates: Rates,
}

impl UnitPrices {
    fn each(self, change: impl Fn(u64) -> Option<u64>) -> Self {
        Self {
            input: self.input.and_then(&change),
            output: self.output.and_then(&change),
            cache_read: self.cache_read.and_then(&change),
            cache_write_5m: self.cache_write_5m.and_then(&change),
            cache_write_1h: self.cache_write_1h.and_then(&change),
        }
    }

    fn kinds(self) -> [Option<u64>; 5] {
        [
            self.input,
            self.output,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
        ]
    }
}

impl PriceTable {
    /// Reads a table in the form of `prices/claude.toml`; reports all faults together.
    pub fn parse(text: &str) -> Result<Self, Vec<PriceFault>> {
        let mut faults = Faults::default();
        let top: toml::Table = match text.parse() {
            Ok(top) => top,
            Err(error) => return Err(faults.with("price table", error.to_string())),
        };
        if top.get("schema_version").and_then(toml::Value::as_integer) != Some(1) {
            faults.add("price table", "schema_version: must be 1");
        }
        for (field, value) in TOP_FIELDS {
            if top.get(field).and_then(toml::Value::as_str) != Some(value) {
                faults.add("price table", format!("{field}: must be \"{value}\""));
            }
        }
        let Some(rows) = top.get("price").and_then(toml::Value::as_array) else {
            return Err(faults.with("price table", "price: must be a list of rows"));
        };
        let mut table = Self::default();
        for (index, row) in rows.iter().enumerate() {
            match row.as_table() {
                Some(row) => table.add(row, index, &mut faults),
                None => faults.add(&format!("row {}", index + 1), "must be a table"),
            }
        }
        if faults.0.is_empty() {
            Ok(table)
        } else {
            Err(faults.0)
        }
    }

    fn add(&mut self, row: &toml::Table, index: usize, faults: &mut Faults) {
        let text = |field| {
            row.get(field)
                .and_then(toml::Value::as_str)
                .unwrap_or_default()
        };
        let (provider, scope, model) = (text("provider"), text("scope"), text("model"));
        if [provider, scope, model].contains(&"") {
            let place = format!("row {}", index + 1);
            faults.add(&place, "provider, scope and model must be given as strings");
            return;
        }
        let mut reader = RowReader {
            place: format!("{provider} {scope} {model}"),
            faults,
        };
        let read = reader.row(row, provider, scope);
        let rows = self.models.entry(model.into()).or_default();
        if rows.iter().any(|row| row.is(provider, scope)) {
            reader.fault("the row occurs twice");
        }
        rows.push(read);
    }

    /// The prices for a SKU. `None` if there is no row, if the tier has no list price, or if the
    /// context band of a sum is not known and the model's prices depend on it.
    #[must_use]
    pub fn unit(&self, sku: &Sku) -> Option<UnitPrices> {
        let rows = self.models.get(&*sku.model)?;
        let row = rows.iter().find(|row| row.is(&sku.provider, &sku.scope))?;
        let rates = row.rates(sku.band)?;
        let (prices, tier_factor) = match sku.tier {
            Tier::Standard => (rates.standard, ONE),
            Tier::Batch => (rates.batch, ONE),
            Tier::Fast => (rates.standard, row.fast?),
            Tier::Flex | Tier::Priority => return None,
        };
        let region_factor = row.region_factor(sku.region.as_deref());
        Some(prices.each(|price| scaled(price, tier_factor, region_factor)))
    }

    /// The cost of tokens of one SKU, exact, of one request or of a sum within one band.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens, sku: &Sku, unknown_write: WriteLifetime) -> Priced {
        let prices = self.unit(sku).unwrap_or_default();
        let unknown_price = match unknown_write {
            WriteLifetime::FiveMinutes => prices.cache_write_5m,
            WriteLifetime::OneHour => prices.cache_write_1h,
        };
        let lines = [
            (tokens.input, prices.input),
            (tokens.output, prices.output),
            (tokens.cache_read, prices.cache_read),
            (tokens.cache_write_5m, prices.cache_write_5m),
            (tokens.cache_write_1h, prices.cache_write_1h),
            (tokens.cache_write_unknown, unknown_price),
        ];
        let mut priced_part = PicoUsd::ZERO;
        let mut unpriced_tokens = 0_u64;
        for (count, price) in lines {
            let sum = price
                .and_then(|price| PicoUsd(i128::from(price)).checked_mul(count))
                .and_then(|line| priced_part.checked_add(line));
            match sum {
                Some(sum) => priced_part = sum,
                None => unpriced_tokens = unpriced_tokens.saturating_add(count),
            }
        }
        Priced {
            cost: (unpriced_tokens == 0).then_some(priced_part),
            priced_part,
            unpriced_tokens,
        }
    }
}

impl Row {
    fn is(&self, provider: &str, scope: &str) -> bool {
        *self.provider == *provider && *self.scope == *scope
    }

    /// The whole request takes one price (Anthropic: long context pricing).
    fn rates(&self, band: Band) -> Option<Rates> {
        let Some(long) = self.long_context else {
            return Some(self.base);
        };
        match band {
            Band::Mixed => None,
            band if band > long.above => Some(long.rates),
            _ => Some(self.base),
        }
    }

    /// Anthropic tells `us` for `inference_geo = "us"`; Vertex tells a location, and every one but
    /// `global` has the regional price. A row without the multiplier has one price for all.
    fn region_factor(&self, region: Option<&str>) -> u64 {
        match region {
            None | Some("global") => ONE,
            Some("us") => self.us_geo.or(self.regional).unwrap_or(ONE),
            Some(_) => self.regional.unwrap_or(ONE),
        }
    }
}

/// A price times two multipliers in millionths; `None` if that is not a whole number of pico-USD.
fn scaled(price: u64, one: u64, two: u64) -> Option<u64> {
    let product = u128::from(price)
        .checked_mul(u128::from(one))?
        .checked_mul(u128::from(two))?;
    let per_unit = u128::from(ONE) * u128::from(ONE);
    let exact = product % per_unit == 0;
    u64::try_from(product / per_unit)
        .ok()
        .filter(|price| exact && *price <= MAX_PRICE)
}

#[derive(Default)]
struct Faults(Vec<PriceFault>);

impl Faults {
    fn add(&mut self, place: &str, message: impl Into<String>) {
        self.0.push(PriceFault {
            place: place.to_owned(),
            message: message.into(),
        });
    }

    fn with(mut self, place: &str, message: impl Into<String>) -> Vec<PriceFault> {
        self.add(place, message);
        self.0
    }
}

/// Reads one row and notes its faults.
struct RowReader<'a> {
    place: String,
    faults: &'a mut Faults,
}

impl RowReader<'_> {
    fn fault(&mut self, message: impl Into<String>) {
        self.faults.add(&self.place, message);
    }

    fn row(&mut self, row: &toml::Table, provider: &str, scope: &str) -> Row {
        self.only_known(row, &ROW_FIELDS, "");
        let suspect = self.suspect(row);
        let read = Row {
            provider: provider.into(),
            scope: scope.into(),
            base: self.rates(row, &suspect, ""),
            long_context: self.long_context(row, &suspect),
            fast: self.number(row, "fast_multiplier", ""),
            us_geo: self.number(row, "us_geo_multiplier", ""),
            regional: self.number(row, "regional_multiplier", ""),
        };
        self.whole_after_multipliers(&read);
        read
    }

    /// A misspelt field would otherwise be a price that is silently missing.
    fn only_known(&mut self, table: &toml::Table, fields: &[&str], under: &str) {
        for field in table.keys() {
            if !fields.contains(&field.as_str()) && !PRICE_FIELDS.contains(&field.as_str()) {
                self.fault(format!("{under}{field}: unknown field"));
            }
        }
    }

    /// The price fields that are believed wrong.
    fn suspect(&mut self, row: &toml::Table) -> Vec<String> {
        let mut fields = Vec::new();
        let named = row.get("suspect").and_then(toml::Value::as_array);
        for name in named.into_iter().flatten() {
            match name.as_str() {
                Some("geo_premium") => {}
                Some("all") => fields.extend(PRICE_FIELDS.map(str::to_owned)),
                Some(field) if PRICE_FIELDS.contains(&field) => fields.push(field.to_owned()),
                _ => self.fault(format!("suspect: {name} is not a price of the row")),
            }
        }
        fields
    }

    fn rates(&mut self, table: &toml::Table, suspect: &[String], under: &str) -> Rates {
        let mut prices = [None; PRICE_FIELDS.len()];
        for (price, field) in prices.iter_mut().zip(PRICE_FIELDS) {
            let read = self.number(table, field, under);
            *price = read.filter(|_| !suspect.iter().any(|suspect| suspect == field));
        }
        let tier = |first: usize| UnitPrices {
            input: prices[first],
            output: prices[first + 1],
            cache_read: prices[first + 2],
            cache_write_5m: prices[first + 3],
            cache_write_1h: prices[first + 4],
        };
        Rates {
            standard: tier(0),
            batch: tier(PRICE_FIELDS.len() / 2),
        }
    }

    fn long_context(&mut self, row: &toml::Table, suspect: &[String]) -> Option<LongContext> {
        let value = row.get("long_context")?;
        let Some(table) = value.as_table() else {
            self.fault("long_context: must be a table");
            return None;
        };
        let under = "long_context.";
        self.only_known(table, &["threshold_tokens"], under);
        let threshold = table
            .get("threshold_tokens")
            .and_then(toml::Value::as_integer);
        let above = match threshold {
            Some(100_000) => Band::UpTo100k,
            Some(200_000) => Band::UpTo200k,
            _ => {
                self.fault("long_context.threshold_tokens: must be 100000 or 200000");
                return None;
            }
        };
        let rates = self.rates(table, suspect, under);
        Some(LongContext { above, rates })
    }

    /// Reads a price in pico-USD per token, or a multiplier in millionths: both are decimal text
    /// with six places.
    fn number(&mut self, table: &toml::Table, field: &str, under: &str) -> Option<u64> {
        let value = table.get(field)?;
        let Some(text) = value.as_str() else {
            self.fault(format!(
                "{under}{field}: must be a decimal number in quotes"
            ));
            return None;
        };
        let number = match parse_decimal(text, PRICE_DECIMALS) {
            Ok(number) => u64::try_from(number)
                .ok()
                .filter(|number| *number <= MAX_PRICE),
            Err(error) => {
                self.fault(format!("{under}{field} = \"{text}\": {error}"));
                return None;
            }
        };
        if number.is_none() {
            self.fault(format!(
                "{under}{field} = \"{text}\": negative or too large"
            ));
        }
        number
    }

    fn whole_after_multipliers(&mut self, row: &Row) {
        let fast = row.fast.unwrap_or(ONE);
        let regions = [ONE, row.us_geo.unwrap_or(ONE), row.regional.unwrap_or(ONE)];
        let long = row.long_context.map(|long| long.rates);
        for rates in [Some(row.base), long].into_iter().flatten() {
            let standard = rates.standard.kinds().map(|price| (price, fast));
            let all = [rates.standard, rates.batch].map(UnitPrices::kinds);
            let plain = all.as_flattened().iter().map(|price| (*price, ONE));
            let whole = standard.into_iter().chain(plain).all(|(price, tier)| {
                regions
                    .iter()
                    .all(|region| price.is_none_or(|price| scaled(price, tier, *region).is_some()))
            });
            if !whole {
                self.fault("a multiplier leaves a fraction of a pico-USD per token");
                return;
            }
        }
    }
}
