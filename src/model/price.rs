//! The price table: what a token costs, by model, provider, scope and time.
//!
//! Prices are whole pico-USD per token, read from decimal text. Rows are found by exact match
//! only. What the table does not say is unpriced: never 0, never a similar model's price. Rows hold
//! for whole UTC days. A contract may change list prices; both stay known.
#![deny(clippy::float_arithmetic)]

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::bill::PricedKind;
use super::money::PicoUsd;
use super::tokens::Tokens;
use super::usage::{Band, Sku, Tier};

mod build;
mod contract;
pub mod lint;
pub mod litellm;
mod read;
#[cfg(test)]
mod tests;

pub use build::PriceText;

/// The list prices that come with tallyd.
pub const EMBEDDED: &str = include_str!("../../prices/claude.toml");

/// How faults and sources name [`EMBEDDED`].
pub const EMBEDDED_NAME: &str = "the built-in price table";

/// Multipliers are kept in millionths.
const ONE: u64 = 1_000_000;

/// The dearest price read, in pico-USD per token: nine thousand USD. With it the cost of any
/// count of tokens stays far below the bounds of [`PicoUsd`].
const MAX_PRICE: u64 = 1 << 53;

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

/// Unit prices by exact model, provider, scope and time.
#[derive(Clone, Debug, Default)]
pub struct PriceTable {
    models: HashMap<Box<str>, Vec<Row>>,
    version: Box<str>,
    sha256: Box<str>,
}

/// What holds for one key in a time. The rates are behind a pointer: a search passes many rows.
#[derive(Clone, Debug)]
struct Row {
    provider: Box<str>,
    scope: Box<str>,
    time: Time,
    list: Option<Box<Rate>>,
    contract: Option<Box<Rate>>,
    source: Arc<str>,
}

/// Half-open; without a bound, from or to the end of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    from: Timestamp,
    to: Timestamp,
}

/// All prices of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rate {
    base: Rates,
    long_context: Option<LongContext>,
    fast: Option<u64>,
    us_geo: Option<u64>,
    regional: Option<u64>,
}

/// Prices of one context band by tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rates {
    standard: UnitPrices,
    batch: UnitPrices,
}

/// The prices of a whole request whose context is above the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LongContext {
    above: Band,
    rates: Rates,
}

/// A line of the table as people read it: the prices of one tier and context band.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPrice {
    pub model: Box<str>,
    pub provider: Box<str>,
    pub scope: Box<str>,
    pub tier: Tier,
    /// The prices of requests with a context above so many tokens.
    pub above: Option<u64>,
    /// The first UTC day; `None`: since ever.
    pub from: Option<Date>,
    /// The first UTC day on which it no longer holds.
    pub to: Option<Date>,
    pub list: UnitPrices,
    /// What the contract makes of it.
    pub contract: Option<UnitPrices>,
    pub source: Arc<str>,
}

impl UnitPrices {
    /// The price of one kind of token.
    #[must_use]
    pub fn of(&self, kind: PricedKind, unknown_write: WriteLifetime) -> Option<u64> {
        match (kind, unknown_write) {
            (PricedKind::Input, _) => self.input,
            (PricedKind::Output, _) => self.output,
            (PricedKind::CacheRead, _) => self.cache_read,
            (PricedKind::CacheWrite5m, _)
            | (PricedKind::CacheWriteUnknown, WriteLifetime::FiveMinutes) => self.cache_write_5m,
            (PricedKind::CacheWrite1h, _)
            | (PricedKind::CacheWriteUnknown, WriteLifetime::OneHour) => self.cache_write_1h,
        }
    }

    /// The cost of tokens, exact.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens, unknown_write: WriteLifetime) -> Priced {
        let unknown_price = self.of(PricedKind::CacheWriteUnknown, unknown_write);
        let lines = [
            (tokens.input, self.input),
            (tokens.output, self.output),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_write_5m, self.cache_write_5m),
            (tokens.cache_write_1h, self.cache_write_1h),
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

    fn each(self, change: impl Fn(u64) -> Option<u64>) -> Self {
        Self {
            input: self.input.and_then(&change),
            output: self.output.and_then(&change),
            cache_read: self.cache_read.and_then(&change),
            cache_write_5m: self.cache_write_5m.and_then(&change),
            cache_write_1h: self.cache_write_1h.and_then(&change),
        }
    }

    /// In the order of [`PricedKind::ALL`], without the write of unknown lifetime.
    #[must_use]
    pub fn kinds(self) -> [Option<u64>; 5] {
        [
            self.input,
            self.output,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
        ]
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl PriceTable {
    /// Reads one table in the form of `prices/claude.toml`; reports all faults together.
    pub fn parse(text: &str) -> Result<Self, Vec<PriceFault>> {
        build::single(text)
    }

    /// Lays tables over one another, the last above the others, and a contract over all of them.
    /// Where a row of an upper table holds, it stands in the place of the lower ones of its key.
    /// Reports all faults together, each with the name of its text.
    pub fn load(
        list: &[PriceText<'_>],
        contract: Option<PriceText<'_>>,
    ) -> Result<Self, Vec<PriceFault>> {
        build::load(list, contract)
    }

    /// What the table is called: the versions of all that was loaded.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 over all that was loaded, as hex digits; of a single text, that of the text.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What is paid for a SKU at a time: the contract's prices, or else the list's. `None` if
    /// there is no row, if the tier has no price, or if the context band of a sum is not known
    /// and the model's prices depend on it.
    #[must_use]
    pub fn unit(&self, sku: &Sku, at: Timestamp) -> Option<UnitPrices> {
        let row = self.row(sku, at)?;
        row.contract.as_ref().or(row.list.as_ref())?.unit(sku)
    }

    /// The list prices for a SKU at a time, whatever a contract says.
    #[must_use]
    pub fn list_unit(&self, sku: &Sku, at: Timestamp) -> Option<UnitPrices> {
        self.row(sku, at)?.list.as_ref()?.unit(sku)
    }

    /// Where the prices for a SKU at a time come from.
    #[must_use]
    pub fn source(&self, sku: &Sku, at: Timestamp) -> Option<&str> {
        self.row(sku, at).map(|row| &*row.source)
    }

    /// The cost of tokens of one SKU at a time, exact, of one request or of a sum within one band.
    #[must_use]
    pub fn cost(
        &self,
        tokens: &Tokens,
        sku: &Sku,
        at: Timestamp,
        unknown_write: WriteLifetime,
    ) -> Priced {
        let prices = self.unit(sku, at).unwrap_or_default();
        prices.cost(tokens, unknown_write)
    }

    /// As [`PriceTable::cost`], at list prices.
    #[must_use]
    pub fn list_cost(
        &self,
        tokens: &Tokens,
        sku: &Sku,
        at: Timestamp,
        unknown_write: WriteLifetime,
    ) -> Priced {
        let prices = self.list_unit(sku, at).unwrap_or_default();
        prices.cost(tokens, unknown_write)
    }

    /// All prices, by model, provider, scope and time.
    #[must_use]
    pub fn listed(&self) -> Vec<ListedPrice> {
        let mut listed = Vec::new();
        for (model, rows) in &self.models {
            for row in rows {
                row.listed(model, &mut listed);
            }
        }
        listed.sort_by(|a, b| {
            let key = |price: &ListedPrice| (price.from, price.above, price.tier);
            let name = |price: &ListedPrice| {
                let (model, provider) = (price.model.clone(), price.provider.clone());
                (model, provider, price.scope.clone())
            };
            name(a).cmp(&name(b)).then_with(|| key(a).cmp(&key(b)))
        });
        listed
    }

    /// The times at which any price changes, ascending.
    #[must_use]
    pub fn edges(&self) -> Vec<Timestamp> {
        let times = self.models.values().flatten().map(|row| row.time);
        let mut edges: Vec<Timestamp> = times
            .flat_map(|time| [time.from, time.to])
            .filter(|edge| *edge != Timestamp::MIN && *edge != Timestamp::MAX)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn row(&self, sku: &Sku, at: Timestamp) -> Option<&Row> {
        let rows = self.models.get(&*sku.model)?;
        let is = |row: &&Row| row.time.holds(at) && row.is(&sku.provider, &sku.scope);
        rows.iter().find(is)
    }
}

impl Row {
    fn is(&self, provider: &str, scope: &str) -> bool {
        *self.provider == *provider && *self.scope == *scope
    }

    fn listed(&self, model: &str, listed: &mut Vec<ListedPrice>) {
        let parts = |rate: &Option<Box<Rate>>| rate.as_ref().map(|rate| rate.parts());
        let (list, contract) = (parts(&self.list), parts(&self.contract));
        for place in 0..Rate::PARTS {
            let of = |parts: &Option<[(Tier, Option<u64>, UnitPrices); Rate::PARTS]>| {
                parts.map(|parts| parts[place])
            };
            let Some((tier, above, _)) = of(&contract).or(of(&list)) else {
                continue;
            };
            let prices = |part: Option<(Tier, Option<u64>, UnitPrices)>| {
                part.map(|part| part.2).filter(|prices| !prices.is_empty())
            };
            let (list, contract) = (prices(of(&list)), prices(of(&contract)));
            if list.is_none() && contract.is_none() {
                continue;
            }
            listed.push(ListedPrice {
                model: model.into(),
                provider: self.provider.clone(),
                scope: self.scope.clone(),
                tier,
                above,
                from: self.time.first_day(),
                to: self.time.end_day(),
                list: list.unwrap_or_default(),
                contract,
                source: self.source.clone(),
            });
        }
    }
}

impl Time {
    const EVER: Self = Self {
        from: Timestamp::MIN,
        to: Timestamp::MAX,
    };

    fn holds(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// `None` if the two have nothing in common.
    fn both(self, other: Self) -> Option<Self> {
        let (from, to) = (self.from.max(other.from), self.to.min(other.to));
        (from < to).then_some(Self { from, to })
    }

    fn first_day(self) -> Option<Date> {
        (self.from > Timestamp::MIN).then(|| day_of(self.from))
    }

    fn end_day(self) -> Option<Date> {
        (self.to < Timestamp::MAX).then(|| day_of(self.to))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first_day(), self.end_day()) {
            (None, None) => f.write_str("the row without dates"),
            (Some(from), None) => write!(f, "the row from {from} on"),
            (None, Some(to)) => write!(f, "the row up to {to}"),
            (Some(from), Some(to)) => write!(f, "the row from {from} to {to}"),
        }
    }
}

fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

impl Rate {
    const PARTS: usize = 5;

    fn unit(&self, sku: &Sku) -> Option<UnitPrices> {
        let rates = self.rates(sku.band)?;
        let (prices, tier_factor) = match sku.tier {
            Tier::Standard => (rates.standard, ONE),
            Tier::Batch => (rates.batch, ONE),
            Tier::Fast => (rates.standard, self.fast?),
            Tier::Flex | Tier::Priority => return None,
        };
        let region_factor = self.region_factor(sku.region.as_deref());
        Some(prices.each(|price| scaled(price, tier_factor, region_factor)))
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

    /// True if every multiplier leaves every price whole.
    fn is_whole(&self) -> bool {
        let fast = self.fast.unwrap_or(ONE);
        let regions = [
            ONE,
            self.us_geo.unwrap_or(ONE),
            self.regional.unwrap_or(ONE),
        ];
        let long = self.long_context.map(|long| long.rates);
        let all = [Some(self.base), long].into_iter().flatten();
        all.flat_map(|rates| {
            let standard = rates.standard.kinds().map(|price| (price, fast));
            let plain = [rates.standard, rates.batch].map(UnitPrices::kinds);
            let plain: Vec<_> = plain.as_flattened().iter().map(|p| (*p, ONE)).collect();
            standard.into_iter().chain(plain)
        })
        .all(|(price, tier)| {
            let whole = |region: &u64| price.is_none_or(|p| scaled(p, tier, *region).is_some());
            regions.iter().all(whole)
        })
    }

    /// The prices by tier and context band.
    fn parts(&self) -> [(Tier, Option<u64>, UnitPrices); Self::PARTS] {
        let long = self.long_context;
        let above = long.map(|long| threshold(long.above));
        let rates = long.map(|long| long.rates).unwrap_or_default();
        let fast = self.fast.unwrap_or(0);
        let fast = self.base.standard.each(|price| scaled(price, fast, ONE));
        let fast = if self.fast.is_some() {
            fast
        } else {
            UnitPrices::default()
        };
        [
            (Tier::Standard, None, self.base.standard),
            (Tier::Batch, None, self.base.batch),
            (Tier::Fast, None, fast),
            (Tier::Standard, above, rates.standard),
            (Tier::Batch, above, rates.batch),
        ]
    }
}

/// The most tokens of context in a band that has an end.
fn threshold(band: Band) -> u64 {
    match band {
        Band::UpTo100k => 100_000,
        Band::UpTo200k | Band::Above200k | Band::Mixed => 200_000,
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
