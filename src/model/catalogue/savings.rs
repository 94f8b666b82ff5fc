//! What was saved, and what of the bill is unexplained.

use super::{Desc, gauge};

pub const CACHE_SAVED: &Desc = &gauge(
    "claude_code_cache_saved_month_to_date_usd",
    "USD",
    &["provider", "model"],
    "What prompt caching saved since the month began in the configured zone, in USD by the price \
     table: reads at the price of input, less what they cost and what writes cost more; negative \
     if it cost more.",
);

pub const CACHE_HITS: &Desc = &gauge(
    "claude_code_cache_hit_month_to_date_ratio",
    "ratio",
    &["provider", "model"],
    "Share of the tokens read since the month began that came from the cache, 0 to 1.",
);

pub const RECONCILIATION_DELTA: &Desc = &gauge(
    "tallyd_reconciliation_delta_ratio",
    "ratio",
    &["provider"],
    "Share of what was billed for tokens on settled UTC days (nine to three days ago) that the \
     estimate does not explain; negative if the estimate is higher; absent below 1 USD.",
);
