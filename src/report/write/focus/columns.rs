//! The columns of FOCUS 1.2, each with where its value comes from.

use jiff::civil::Date;
use serde_json::json;

use super::line::Line;
use crate::model::bill::{Charge, PricedKind};
use crate::model::money::PicoUsd;
use crate::report::write::csv;

/// The value of a column on a row; `None` is an explicit null.
///
/// The text is the version of the price table.
type Value = fn(&Line, &str) -> Option<String>;

/// The ledger's currency.
const USD: &str = "USD";

/// All columns in the order in which they are written: mandatory ones, those that what tallyd
/// knows makes applicable, those that never apply here, and tallyd's own.
pub(super) const COLUMNS: &[(&str, Value)] = &[
    ("BilledCost", |line, _| money(line.billed())),
    ("EffectiveCost", |line, _| money(line.effective())),
    ("ContractedCost", |line, _| money(line.contracted())),
    ("ListCost", |line, _| money(line.list())),
    ("BillingAccountId", |line, _| Some(account(line))),
    ("BillingAccountName", |line, _| Some(account(line))),
    ("BillingAccountType", |_, _| text("Billing Account")),
    ("BillingCurrency", |_, _| text(USD)),
    ("BillingPeriodStart", |line, _| {
        midnight(line.day.first_of_month())
    }),
    ("BillingPeriodEnd", |line, _| {
        midnight(line.day.last_of_month().tomorrow().ok()?)
    }),
    ("ChargePeriodStart", |line, _| midnight(line.day)),
    ("ChargePeriodEnd", |line, _| {
        midnight(line.day.tomorrow().ok()?)
    }),
    ("ChargeCategory", |line, _| text(category(line.charge))),
    ("ChargeClass", |_, _| None),
    ("ChargeDescription", |line, _| outside(&description(line))),
    ("ChargeFrequency", |line, _| {
        text(match line.charge {
            Charge::Tokens | Charge::OtherUsage | Charge::Unclassified => "Usage-Based",
            Charge::Fee => "Recurring",
            Charge::Credit | Charge::Refund | Charge::Tax => "One-Time",
        })
    }),
    ("ConsumedQuantity", |line, _| consumed(line).map(quantity)),
    ("ConsumedUnit", |line, _| consumed(line).and(text("Tokens"))),
    ("ContractedUnitPrice", |line, _| {
        unit_price(line.contracted()?, line)
    }),
    ("InvoiceId", |_, _| None),
    ("InvoiceIssuerName", |line, _| Some(provider(line))),
    ("ListUnitPrice", |line, _| unit_price(line.list()?, line)),
    ("PricingCategory", |line, _| {
        line.is_usage().then(|| "Standard".to_owned())
    }),
    ("PricingQuantity", |line, _| line.quantity().map(quantity)),
    ("PricingUnit", |line, _| {
        line.quantity()?;
        text(if consumed(line).is_some() {
            "Tokens"
        } else {
            "Units"
        })
    }),
    ("ProviderName", |line, _| Some(provider(line))),
    ("PublisherName", |_, _| text("Anthropic")),
    ("RegionId", |line, _| region(line)),
    ("RegionName", |line, _| region(line)),
    ("ResourceId", |line, _| model(line)),
    ("ResourceName", |line, _| model(line)),
    ("ResourceType", |line, _| model(line).and(text("Model"))),
    ("ServiceCategory", |_, _| text("AI and Machine Learning")),
    ("ServiceName", |line, _| Some(service(line))),
    ("ServiceSubcategory", |_, _| text("Generative AI")),
    ("SkuId", |line, _| sku(line)),
    ("SkuMeter", |line, _| {
        sku(line)?;
        text(meter(line))
    }),
    ("SkuPriceDetails", |line, _| {
        sku(line)?;
        let details = [
            ("x_Model", &*line.model),
            ("x_TokenType", line.kind.map_or("", PricedKind::name)),
            ("x_Scope", &*line.scope),
            ("x_Tier", &*line.tier),
            ("x_Context", &*line.context),
        ];
        Some(object(details))
    }),
    ("SkuPriceId", |line, _| {
        // Without price, date, currency and contract, so that it stays.
        let or = |part: &str, other: &str| if part.is_empty() { other } else { part }.to_owned();
        let (scope, tier) = (or(&line.scope, "any"), or(&line.tier, "standard"));
        let (region, context) = (or(&line.region, "any"), or(&line.context, "any"));
        Some(format!("{}/{scope}/{region}/{tier}/{context}", sku(line)?))
    }),
    ("SubAccountId", |line, _| sub_account(line)),
    ("SubAccountName", |line, _| sub_account(line)),
    ("SubAccountType", |line, _| {
        sub_account(line)?;
        text(match &*line.provider {
            "vertex" => "Project",
            "anthropic" => "Workspace",
            _ => "Account",
        })
    }),
    ("Tags", |line, _| {
        let tags = [
            ("cost_center", &*line.cost_center),
            ("project", &*line.project),
            ("team", &*line.team),
            ("user", &*line.user),
        ];
        Some(object(tags))
    }),
    ("PricingCurrency", |_, _| text(USD)),
    ("PricingCurrencyContractedUnitPrice", |line, _| {
        unit_price(line.contracted()?, line)
    }),
    ("PricingCurrencyEffectiveCost", |line, _| {
        money(line.effective())
    }),
    ("PricingCurrencyListUnitPrice", |line, _| {
        unit_price(line.list()?, line)
    }),
    ("AvailabilityZone", |_, _| None),
    ("CapacityReservationId", |_, _| None),
    ("CapacityReservationStatus", |_, _| None),
    ("CommitmentDiscountCategory", |_, _| None),
    ("CommitmentDiscountId", |_, _| None),
    ("CommitmentDiscountName", |_, _| None),
    ("CommitmentDiscountQuantity", |_, _| None),
    ("CommitmentDiscountStatus", |_, _| None),
    ("CommitmentDiscountType", |_, _| None),
    ("CommitmentDiscountUnit", |_, _| None),
    ("x_AllocationMethod", |line, _| given(&line.allocation)),
    ("x_CostBasis", |line, _| {
        text(if line.actual.is_some() {
            "Billed"
        } else {
            "Estimate"
        })
    }),
    ("x_PriceTableVersion", |_, price_table| text(price_table)),
];

#[expect(clippy::unnecessary_wraps, reason = "every column may be null")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn money(amount: Option<PicoUsd>) -> Option<String> {
    amount.map(|amount| amount.to_string())
}

/// With a point, so that readers which guess types take it for a decimal number.
fn quantity(count: i128) -> String {
    format!("{count}.0")
}

/// Times are UTC, without fractions.
#[expect(clippy::unnecessary_wraps, reason = "every column may be null")]
fn midnight(day: Date) -> Option<String> {
    Some(format!("{day}T00:00:00Z"))
}

/// What one unit costs, so exactly that price times quantity rounds to the cost again.
fn unit_price(cost: PicoUsd, line: &Line) -> Option<String> {
    Some(quotient(cost, line.quantity()?))
}

/// Decimal places of a price that is no whole number of pico-dollars: times any number of tokens
/// of a day the error is far below a pico-dollar.
const PRICE_PLACES: usize = 28;

/// A cost divided by a quantity as decimal text, exact where that is possible.
fn quotient(cost: PicoUsd, quantity: i128) -> String {
    if quantity == 0 {
        return "0.00".to_owned();
    }
    if cost.0 % quantity == 0 {
        return PicoUsd(cost.0 / quantity).to_string();
    }
    let (cost, negative) = (cost.0.unsigned_abs(), (cost.0 < 0) != (quantity < 0));
    let quantity = quantity.unsigned_abs();
    // Long division from the pico-dollars on.
    let (whole, mut rest) = (cost / quantity, cost % quantity);
    let whole = PicoUsd(i128::try_from(whole).unwrap_or(i128::MAX)).to_decimal(12);
    let mut text = if negative { format!("-{whole}") } else { whole };
    for _ in 12..PRICE_PLACES {
        rest = rest.saturating_mul(10);
        let digit = u8::try_from(rest / quantity).unwrap_or(9);
        text.push(char::from(b'0' + digit));
        rest %= quantity;
    }
    text
}

/// Tokens, where the row is of some.
fn consumed(line: &Line) -> Option<i128> {
    line.tokens.filter(|tokens| *tokens > 0 && line.is_usage())
}

/// An object of those members that have a value, in the order of their names.
fn object<const N: usize>(members: [(&str, &str); N]) -> String {
    let members = members.into_iter().filter(|(_, value)| !value.is_empty());
    let members: serde_json::Map<_, _> = members
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    serde_json::Value::Object(members).to_string()
}

const fn category(charge: Charge) -> &'static str {
    match charge {
        Charge::Tokens | Charge::OtherUsage | Charge::Unclassified => "Usage",
        Charge::Credit => "Credit",
        // A purchase would have to cost nothing in effect, as if it paid for other rows.
        Charge::Refund | Charge::Fee => "Adjustment",
        Charge::Tax => "Tax",
    }
}

fn description(line: &Line) -> String {
    let mut parts: Vec<&str> = Vec::new();
    match line.charge {
        Charge::Tokens => parts.extend([&*line.model, meter(line)]),
        Charge::OtherUsage => parts.extend([&*line.model, "other use of Claude"]),
        Charge::Credit => parts.push("Credit"),
        Charge::Refund => parts.push("Refund"),
        Charge::Tax => parts.push("Tax"),
        Charge::Fee => parts.extend([&*line.model, "Fee"]),
        Charge::Unclassified => parts.push("Not recognised line of the bill"),
    }
    parts.extend([&*line.scope, &*line.tier]);
    if line.is_unallocated {
        parts.push("billed, user not known");
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

const fn meter(line: &Line) -> &'static str {
    match line.kind {
        Some(PricedKind::Input) => "Input Tokens",
        Some(PricedKind::Output) => "Output Tokens",
        Some(PricedKind::CacheRead) => "Cache Read Tokens",
        Some(PricedKind::CacheWrite5m) => "Cache Write Tokens, 5 Minutes",
        Some(PricedKind::CacheWrite1h) => "Cache Write Tokens, 1 Hour",
        Some(PricedKind::CacheWriteUnknown) => "Cache Write Tokens",
        None => "Usage",
    }
}

/// What stands for the provider in lines of fixed cost.
const FIXED: &str = "fixed";

/// Who takes the money. It is also who issues the invoice: where they differ, FOCUS wants a billed
/// cost of zero.
fn provider(line: &Line) -> String {
    match &*line.provider {
        "bedrock" | "mantle" | "aws" | "claude_platform" => "AWS",
        "vertex" | "gcp" | "google" => "Google Cloud",
        "anthropic" | "" => "Anthropic",
        "azure" | "foundry" => "Microsoft",
        // Seats and commitments, as the configuration tells them: it does not tell from whom.
        FIXED => "Other",
        other => other,
    }
    .to_owned()
}

fn service(line: &Line) -> String {
    match &*line.provider {
        "bedrock" | "mantle" | "aws" => "Amazon Bedrock",
        "claude_platform" => "Claude Platform on AWS",
        "vertex" | "gcp" | "google" => "Vertex AI",
        "anthropic" | "" => "Claude API",
        "azure" | "foundry" => "Microsoft Foundry",
        FIXED => "Fixed cost",
        other => other,
    }
    .to_owned()
}

/// With a word before it: readers take a text of digits for a number.
fn account(line: &Line) -> String {
    let prefix = match &*provider(line) {
        "AWS" => "aws".to_owned(),
        "Google Cloud" => "gcp".to_owned(),
        other => other.to_lowercase().replace(' ', "-"),
    };
    match &*line.account {
        "" => format!("{prefix}-account-not-told"),
        account => format!("{prefix}-{account}"),
    }
}

fn sub_account(line: &Line) -> Option<String> {
    (!line.account.is_empty()).then(|| account(line))
}

fn region(line: &Line) -> Option<String> {
    outside(&line.region)
}

fn model(line: &Line) -> Option<String> {
    outside(&line.model)
}

/// A text from outside that a spreadsheet must not take for a formula.
fn outside(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| csv::safe(text).into_owned())
}

/// One thing that is sold: a kind of token of a model at a provider. Charges that nothing was
/// sold for have none.
fn sku(line: &Line) -> Option<String> {
    if !line.is_usage() {
        return None;
    }
    let provider = if line.provider.is_empty() {
        "anthropic"
    } else {
        &*line.provider
    };
    let model = if line.model.is_empty() {
        "other"
    } else {
        &*line.model
    };
    let kind = line.kind.map_or("usage", PricedKind::name);
    Some(format!("{provider}/{model}/{kind}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_is_exact_or_long() {
        let of = |cost, quantity| quotient(PicoUsd(cost), quantity);
        assert_eq!(
            [of(15_000_000, 5), of(10, 3), of(-10, 4), of(7, 0)],
            [
                "0.000003",
                "0.0000000000033333333333333333",
                "-0.0000000000025000000000000000",
                "0.00"
            ]
        );
    }

    #[test]
    fn no_column_is_there_twice_and_own_ones_come_last() {
        let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let own = names
            .iter()
            .position(|name| name.starts_with("x_"))
            .unwrap();
        assert!(names[own..].iter().all(|name| name.starts_with("x_")));
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!((names.len(), distinct.len(), own), (60, 60, 57));
    }

    proptest! {
        #[test]
        fn price_times_quantity_is_the_cost(
            cost in -1_000_000_000_000_000_i128..1_000_000_000_000_000_000,
            quantity in 1_i128..2_000_000_000,
        ) {
            let text = quotient(PicoUsd(cost), quantity);
            let (sign, digits) = match text.strip_prefix('-') {
                Some(digits) => (-1, digits),
                None => (1, text.as_str()),
            };
            let (whole, part) = digits.split_once('.').unwrap();
            // In 1e-28 dollars, which fit for any price that is told.
            let whole: i128 = whole.parse().unwrap();
            prop_assume!(whole < 1_000);
            let part: i128 = format!("{part:0<28}").parse().unwrap();
            let price = whole * 10_i128.pow(28) + part;
            let Some(product) = price.checked_mul(quantity) else { return Ok(()) };
            let pico = (product + 5_i128 * 10_i128.pow(15)) / 10_i128.pow(16);
            prop_assert_eq!(sign * pico, cost);
        }
    }
}
