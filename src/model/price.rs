//! The price table: what a token costs, by model, provider and scope.
//!
//! Prices are whole pico-USD per token, read from decimal text. Rows are found by exact match
//! only. What the table does not say is unpriced: never 0, never a similar model's price.
#![deny(clippy::float_arithmetic)]

use std::collections::HashMap;
use std::fmt;

use super::money::PicoUsd;
use super::tokens::Tokens;
use super::usage::{Band, Sku, Tier};

mod read;

/// The list prices that come with tallyd.
pub const EMBEDDED: &str = include_str!("../../prices/claude.toml");

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
        read::parse(text).map(|models| Self { models })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::names::ModelNames;

    fn embedded() -> PriceTable {
        PriceTable::parse(EMBEDDED).expect("the embedded table has no faults")
    }

    fn sku(raw_model: &str) -> Sku {
        let name = ModelNames::default().resolve(raw_model, None);
        Sku {
            provider: name.provider,
            model: name.model,
            raw_model: raw_model.into(),
            scope: name.scope,
            region: None,
            tier: Tier::Standard,
            band: Band::UpTo100k,
        }
    }

    /// A price of 0 stands for none.
    fn prices(kinds: [u64; 5]) -> Option<UnitPrices> {
        let some = kinds.map(|price| (price > 0).then_some(price));
        some.iter().any(Option::is_some).then_some(UnitPrices {
            input: some[0],
            output: some[1],
            cache_read: some[2],
            cache_write_5m: some[3],
            cache_write_1h: some[4],
        })
    }

    const REQUEST: Tokens = Tokens {
        input: 1201,
        output: 42,
        cache_read: 5600,
        cache_write_5m: 0,
        cache_write_1h: 0,
        cache_write_unknown: 340,
    };

    fn whole(cost: i128) -> Priced {
        Priced {
            cost: Some(PicoUsd(cost)),
            priced_part: PicoUsd(cost),
            unpriced_tokens: 0,
        }
    }

    #[test]
    fn a_request_costs_exactly_what_the_list_says() {
        let table = embedded();
        let opus = sku("claude-opus-4-8");
        let sonnet = sku("us.anthropic.claude-sonnet-4-6-v1:0");
        assert_eq!(
            [
                table.cost(&REQUEST, &opus, WriteLifetime::FiveMinutes),
                table.cost(&REQUEST, &opus, WriteLifetime::OneHour),
                table.cost(&REQUEST, &sonnet, WriteLifetime::FiveMinutes),
            ],
            [
                whole(11_980_000_000),
                whole(13_255_000_000),
                whole(7_906_800_000),
            ]
        );
    }

    #[test]
    fn an_unknown_model_has_no_cost_but_its_tokens_are_told() {
        let table = embedded();
        let unknown = sku("claude-opus-4-9");
        let unpriced = |tokens| Priced {
            cost: None,
            priced_part: PicoUsd::ZERO,
            unpriced_tokens: tokens,
        };
        assert_eq!(
            (
                table.unit(&unknown),
                table.cost(&REQUEST, &unknown, WriteLifetime::FiveMinutes),
                table.cost(&Tokens::default(), &unknown, WriteLifetime::FiveMinutes),
            ),
            (None, unpriced(7183), whole(0))
        );
    }

    #[test]
    fn a_kind_without_a_price_leaves_the_rest_priced() {
        let opus_4 = sku("anthropic.claude-opus-4-20250514-v1:0");
        assert_eq!(
            embedded().cost(&REQUEST, &opus_4, WriteLifetime::OneHour),
            Priced {
                cost: None,
                priced_part: PicoUsd(29_565_000_000),
                unpriced_tokens: 340,
            }
        );
    }

    #[test]
    fn rows_are_found_by_exact_match_only() {
        let table = embedded();
        let elsewhere = Sku {
            scope: "ca".into(),
            ..sku("us.anthropic.claude-sonnet-4-6")
        };
        let other = Sku {
            provider: "corp-gateway".into(),
            ..sku("claude-sonnet-4-6")
        };
        assert_eq!([table.unit(&elsewhere), table.unit(&other)], [None, None]);
    }

    #[test]
    fn a_long_context_takes_the_higher_price_for_the_whole_request() {
        let table = embedded();
        let by_band = |raw: &str| Band::ALL.map(|band| table.unit(&Sku { band, ..sku(raw) }));
        let haiku = prices([100_000, 500_000, 10_000, 125_000, 200_000]);
        let haiku_long = prices([500_000, 2_500_000, 50_000, 625_000, 1_000_000]);
        let sonnet = prices([3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000]);
        let sonnet_long = prices([6_000_000, 22_500_000, 600_000, 7_500_000, 12_000_000]);
        let opus = prices([5_000_000, 25_000_000, 500_000, 6_250_000, 10_000_000]);
        assert_eq!(
            [
                by_band("claude-haiku-5-5"),
                by_band("global.anthropic.claude-sonnet-4-5"),
                by_band("claude-opus-4-8"),
            ],
            [
                [haiku, haiku_long, haiku_long, None],
                [sonnet, sonnet, sonnet_long, None],
                [opus; 4],
            ]
        );
    }

    #[test]
    fn tiers_have_the_prices_that_the_table_states() {
        let table = embedded();
        let by_tier = |raw: &str| Tier::ALL.map(|tier| table.unit(&Sku { tier, ..sku(raw) }));
        assert_eq!(
            [
                by_tier("claude-opus-4-8"),
                by_tier("us.anthropic.claude-opus-4-8")
            ],
            [
                [
                    prices([5_000_000, 25_000_000, 500_000, 6_250_000, 10_000_000]),
                    prices([2_500_000, 12_500_000, 250_000, 3_125_000, 0]),
                    prices([10_000_000, 50_000_000, 1_000_000, 12_500_000, 20_000_000]),
                    None,
                    None,
                ],
                [
                    prices([5_500_000, 27_500_000, 550_000, 6_875_000, 11_000_000]),
                    Some(UnitPrices::default()),
                    None,
                    None,
                    None,
                ],
            ]
        );
    }

    #[test]
    fn regional_endpoints_cost_more_where_the_table_says_so() {
        let table = embedded();
        let input = |raw: &str, region: Option<&str>, tier: Tier| {
            let sku = Sku {
                region: region.map(Into::into),
                tier,
                ..sku(raw)
            };
            table.unit(&sku).and_then(|unit| unit.input)
        };
        let (standard, fast) = (Tier::Standard, Tier::Fast);
        assert_eq!(
            [
                input("vertex_ai/claude-opus-4-8", None, standard),
                input("vertex_ai/claude-opus-4-8", Some("global"), standard),
                input("vertex_ai/claude-opus-4-8", Some("europe-west1"), standard),
                input("vertex_ai/claude-opus-4-8", Some("us"), standard),
                input("vertex_ai/claude-3-haiku", Some("us-east5"), standard),
                input("claude-opus-4-8", Some("us"), standard),
                input("claude-opus-4-8", Some("us"), fast),
                input("claude-opus-4-8", Some("us-east-1"), standard),
                input("us.anthropic.claude-opus-4-8", Some("us-east-1"), standard),
            ],
            [
                5_000_000, 5_000_000, 5_500_000, 5_500_000, 250_000, 5_500_000, 11_000_000,
                5_000_000, 5_500_000,
            ]
            .map(Some)
        );
    }

    #[test]
    fn prices_believed_wrong_are_not_used() {
        let table = embedded();
        let batch = |raw: &str| {
            let tier = Tier::Batch;
            table.unit(&Sku { tier, ..sku(raw) })
        };
        assert_eq!(
            [
                table.unit(&sku("us.anthropic.claude-mythos-preview")),
                table.unit(&sku("anthropic.claude-opus-4-8")),
                batch("vertex_ai/claude-opus-5-5"),
                batch("vertex_ai/claude-sonnet-4-6"),
            ],
            [
                Some(UnitPrices::default()),
                prices([5_000_000, 25_000_000, 500_000, 6_250_000, 10_000_000]),
                prices([0, 0, 100_000, 2_500_000, 0]),
                prices([1_500_000, 7_500_000, 150_000, 0, 0]),
            ]
        );
    }

    fn small() -> PriceTable {
        let row = "{ model = \"claude-opus-4-8\", provider = \"anthropic\", scope = \"base\", \
            input = \"5\", output = \"25\", cache_read = \"0.5\", cache_write_5m = \"6.25\", \
            cache_write_1h = \"10\" }]";
        PriceTable::parse(&format!("{}{row}", read::HEAD)).expect("the small table has no faults")
    }

    proptest! {
        #[test]
        fn a_sum_costs_what_its_parts_cost(
            parts in prop::collection::vec(prop::array::uniform6(0..Tokens::MAX), 0..8),
        ) {
            let (table, opus) = (small(), sku("claude-opus-4-8"));
            let mut sum = Tokens::default();
            let mut total = PicoUsd::ZERO;
            for [input, output, cache_read, cache_write_5m, cache_write_1h, cache_write_unknown] in parts {
                let part = Tokens { input, output, cache_read, cache_write_5m, cache_write_1h, cache_write_unknown };
                let cost = table.cost(&part, &opus, WriteLifetime::OneHour).cost;
                total = total.checked_add(cost.expect("all kinds have a price")).expect("no overflow");
                sum.input += part.input;
                sum.output += part.output;
                sum.cache_read += part.cache_read;
                sum.cache_write_5m += part.cache_write_5m;
                sum.cache_write_1h += part.cache_write_1h;
                sum.cache_write_unknown += part.cache_write_unknown;
            }
            prop_assert_eq!(table.cost(&sum, &opus, WriteLifetime::OneHour), whole(total.0));
        }
    }
}
