//! Budgets, cost of the month, and unusual cost.

use super::{Desc, gauge};

pub const MONTH_TO_DATE: &Desc = &gauge(
    "claude_code_cost_month_to_date_usd",
    "usd",
    &["basis", "team"],
    "Cost of the calendar month so far as the chargeback tells it, by basis: estimate, or \
     unblended, net and blended for what was billed and fixed cost; teams beyond the 100 dearest are other.",
);

pub const BUDGET_USED: &Desc = &gauge(
    "tallyd_budget_used_ratio",
    "ratio",
    &["budget"],
    "Share of a budget that was spent in the calendar month so far.",
);

pub const BUDGET_FORECAST: &Desc = &gauge(
    "tallyd_budget_forecast_ratio",
    "ratio",
    &["budget"],
    "What the calendar month is forecast to cost as a share of the budget; absent while too little \
     is known.",
);

pub const BUDGET_BURN_RATE: &Desc = &gauge(
    "tallyd_budget_burn_rate",
    "",
    &["budget", "window"],
    "How fast usage spends a budget, 1 uses it up exactly in a month: the lesser of the last 24 \
     hours and 3 hours (window fast), of the last 7 days and 24 hours (slow).",
);

pub const COST_ANOMALIES: &Desc = &gauge(
    "tallyd_cost_anomalies",
    "",
    &[],
    "Teams, models and users (see cost.anomaly_by) whose cost was unusually high yesterday, or is \
     today so far.",
);
