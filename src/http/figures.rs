//! Figures as they are written: tokens by kind, money as decimal text, times in a zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::money::PicoUsd;
use crate::model::query::UsageRow;
use crate::model::tokens::Tokens;

/// Sums of tokens by kind. The kinds are disjoint; `total` is their plain sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TokenSums {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    cache_write_unknown: u64,
    total: u64,
}

impl From<Tokens> for TokenSums {
    fn from(tokens: Tokens) -> Self {
        Self {
            input: tokens.input,
            output: tokens.output,
            cache_read: tokens.cache_read,
            cache_write_5m: tokens.cache_write_5m,
            cache_write_1h: tokens.cache_write_1h,
            cache_write_unknown: tokens.cache_write_unknown,
            total: tokens.total(),
        }
    }
}

/// Sums of requests, tokens and money.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Totals {
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    pub tokens: TokenSums,
    /// tallyd's own estimate in USD as exact decimal text; `null` where nothing is priced.
    #[schema(example = "0.011983")]
    pub cost_usd: Option<String>,
    /// Tokens whose price is not known; they are not in `cost_usd`.
    pub unpriced_tokens: u64,
}

impl Totals {
    /// Adds up rows.
    pub(super) fn of(rows: &[UsageRow]) -> Self {
        let mut sum = UsageRow {
            keys: Vec::new(),
            requests: 0,
            errors: 0,
            tokens: Tokens::default(),
            cost: PicoUsd(0),
            unpriced_tokens: 0,
        };
        for row in rows {
            sum.requests = sum.requests.saturating_add(row.requests);
            sum.errors = sum.errors.saturating_add(row.errors);
            add(&mut sum.tokens, &row.tokens);
            sum.cost = PicoUsd(sum.cost.0.saturating_add(row.cost.0));
            sum.unpriced_tokens = sum.unpriced_tokens.saturating_add(row.unpriced_tokens);
        }
        Self {
            requests: sum.requests,
            errors: sum.errors,
            tokens: sum.tokens.into(),
            cost_usd: cost_of(&sum),
            unpriced_tokens: sum.unpriced_tokens,
        }
    }
}

/// Adds tokens kind by kind; sums stop at 2^64 - 1.
pub(super) fn add(sum: &mut Tokens, tokens: &Tokens) {
    let pairs = [
        (&mut sum.input, tokens.input),
        (&mut sum.output, tokens.output),
        (&mut sum.cache_read, tokens.cache_read),
        (&mut sum.cache_write_5m, tokens.cache_write_5m),
        (&mut sum.cache_write_1h, tokens.cache_write_1h),
        (&mut sum.cache_write_unknown, tokens.cache_write_unknown),
    ];
    for (sum, more) in pairs {
        *sum = sum.saturating_add(more);
    }
}

/// The cost of a row; nothing if all of its tokens are without a price.
pub(super) fn cost_of(row: &UsageRow) -> Option<String> {
    let unpriced = row.unpriced_tokens > 0 && row.unpriced_tokens >= row.tokens.total();
    (!unpriced || row.cost.0 != 0).then(|| usd(row.cost))
}

/// The exact amount in USD, with two decimal places or as many as it needs.
pub(super) fn usd(amount: PicoUsd) -> String {
    amount.to_string()
}

/// A time with the offset of the zone, as in RFC 3339.
pub(super) fn time_text(at: Timestamp, zone: &TimeZone) -> String {
    at.display_with_offset(zone.to_offset(at)).to_string()
}

/// The zone's name.
pub(super) fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        let seen = [
            0,
            1,
            -10_000_000_000,
            1_500_000_000_000,
            12_345_678_900_000_000_000,
            11_983_000_000,
        ]
        .map(|pico| usd(PicoUsd(pico)));
        assert_eq!(
            seen,
            [
                "0.00",
                "0.000000000001",
                "-0.01",
                "1.50",
                "12345678.90",
                "0.011983"
            ]
        );
    }

    #[test]
    fn what_has_no_price_has_no_cost() {
        let row = |input, cost, unpriced_tokens| UsageRow {
            keys: Vec::new(),
            requests: 1,
            errors: 0,
            tokens: Tokens {
                input,
                ..Tokens::default()
            },
            cost: PicoUsd(cost),
            unpriced_tokens,
        };
        assert_eq!(cost_of(&row(7, 0, 7)), None);
        assert_eq!(cost_of(&row(0, 0, 0)), Some("0.00".to_owned()));
        let both = Totals::of(&[row(7, 0, 7), row(3, 20_000_000_000, 0)]);
        assert_eq!(
            both,
            Totals {
                requests: 2,
                errors: 0,
                tokens: TokenSums {
                    input: 10,
                    total: 10,
                    ..TokenSums::default()
                },
                cost_usd: Some("0.02".to_owned()),
                unpriced_tokens: 7,
            }
        );
    }
}
