//! The columns, and what each means.

use crate::model::bill::Basis;
use crate::report::table::{Column, Kind};

/// What rows are told apart by, then what was counted and billed.
pub(super) fn columns(by: &[&'static str], basis: Basis) -> Vec<Column> {
    let by = by.iter().map(|name| dimension(name));
    let mut columns: Vec<Column> = by.collect();
    columns.extend(QUANTITIES);
    columns.extend([
        money("est_cost_usd", "tallyd's estimate."),
        money("actual_cost_usd", billed(basis)),
        money("actual_unblended_usd", billed(Basis::Unblended)),
        money("actual_net_usd", billed(Basis::Net)),
        money("actual_blended_usd", billed(Basis::Blended)),
    ]);
    columns.extend(DIFFERENCES);
    columns.extend(BILL);
    columns
}

fn dimension(name: &'static str) -> Column {
    let (kind, help) = match name {
        "day" => (Kind::Date, "The UTC day."),
        "period" => (Kind::Text, "The month, in UTC."),
        "geo" => (Kind::Text, "global, or empty: a region, or not told."),
        _ => (Kind::Text, "Empty where it is not known or not told."),
    };
    Column::of(name, kind, help)
}

const fn billed(basis: Basis) -> &'static str {
    match basis {
        Basis::Unblended => "What was billed, unblended.",
        Basis::Net => "What was billed, net of discounts.",
        Basis::Blended => "What was billed, blended.",
    }
}

const fn money(name: &'static str, help: &'static str) -> Column {
    Column::summed(name, Kind::Money, help)
}

const QUANTITIES: [Column; 6] = [
    Column::summed("est_tokens", Kind::Count, "Tokens that telemetry counted."),
    Column::of(
        "billed_quantity",
        Kind::Text,
        "The quantity as billed, in its unit; empty where units differ.",
    ),
    Column::of("quantity_unit", Kind::Text, "The unit as billed."),
    Column::summed(
        "billed_tokens",
        Kind::Count,
        "The billed quantity in tokens, where the unit is understood.",
    ),
    Column::summed(
        "token_delta",
        Kind::Count,
        "Billed tokens less counted ones.",
    ),
    Column::of(
        "coverage",
        Kind::Ratio,
        "Counted tokens as a part of the billed ones.",
    ),
];

const DIFFERENCES: [Column; 7] = [
    money(
        "delta_usd",
        "Actual less estimated cost; the sum of both variances.",
    ),
    Column::of(
        "delta_pct",
        Kind::Ratio,
        "The delta as a part of the estimate.",
    ),
    money(
        "price_variance_usd",
        "What the billed tokens cost more than at the prices of the estimate.",
    ),
    money(
        "quantity_variance_usd",
        "What the tokens that differ cost at the prices of the estimate.",
    ),
    Column::of(
        "implied_unit_price_usd",
        Kind::UnitPrice,
        "What was billed for a million tokens.",
    ),
    Column::of(
        "table_unit_price_usd",
        Kind::UnitPrice,
        "What the estimate takes for a million tokens.",
    ),
    Column::of(
        "cause",
        Kind::Text,
        "Of the larger part of the delta: price, quantity, missing_in_telemetry, \
         missing_in_bill, timing, not_usage, unclassified, or none within the tolerance.",
    ),
];

const BILL: [Column; 3] = [
    Column::of(
        "is_estimated",
        Kind::Text,
        "yes if the provider calls the bill an estimate.",
    ),
    Column::of("pulled_at", Kind::Time, "When the bill was read last."),
    Column::of(
        "revision",
        Kind::Count,
        "How often the billed day has changed.",
    ),
];
