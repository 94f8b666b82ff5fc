//! What people used and what it cost.

use super::{Desc, counter, gauge, histogram};

pub const TOKENS: &Desc = &counter(
    "claude_code_token_usage_tokens_total",
    "tokens",
    &["user", "team", "provider", "model", "type"],
    "Tokens used, by kind: input, output, cacheRead, cacheCreation.",
);

pub const COST: &Desc = &counter(
    "claude_code_cost_usage_USD_total",
    "USD",
    &["user", "team", "provider", "model"],
    "Cost in USD, as tallyd estimates it from its price table; unpriced tokens are not in it.",
)
.scaled(12);

pub const CLIENT_COST: &Desc = &counter(
    "claude_code_client_cost_usage_USD_total",
    "USD",
    &["user", "team", "provider", "model"],
    "Cost in USD, as the clients estimate it from list prices; a second opinion.",
)
.scaled(6);

pub const UNPRICED_TOKENS: &Desc = &counter(
    "claude_code_unpriced_tokens_total",
    "tokens",
    &["provider", "model"],
    "Tokens for which no price is known.",
);

pub const API_REQUESTS: &Desc = &counter(
    "claude_code_api_requests_total",
    "",
    &["provider", "model", "outcome"],
    "Model requests by outcome: ok, error, cancelled, refused, unknown.",
);

pub const API_REQUEST_DURATION: &Desc = &histogram(
    "claude_code_api_request_duration_seconds",
    "seconds",
    &["provider", "model"],
    &[
        0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0,
        180.0, 300.0,
    ],
    "Duration of model requests in seconds, where the source tells it.",
)
.scaled(3);

pub const TIME_TO_FIRST_TOKEN: &Desc = &histogram(
    "claude_code_time_to_first_token_seconds",
    "seconds",
    &["provider", "model"],
    &[
        0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0,
    ],
    "Time to the first token of answers in seconds, where the source tells it.",
)
.scaled(3);

pub const THROTTLED: &Desc = &counter(
    "claude_code_throttled_requests_total",
    "",
    &["provider", "model"],
    "Requests that the provider refused for their rate (HTTP 429 and 529).",
);

pub const ERROR_SHARE: &Desc = &gauge(
    "claude_code_error_share_ratio",
    "ratio",
    &[],
    "Share of failed requests in the last five full minutes; absent with fewer than 20 requests.",
);

pub const BURN_RATE: &Desc = &gauge(
    "claude_code_error_budget_burn_rate",
    "",
    &["window"],
    "How many times faster than allowed errors come: fast is the lesser of 1 h and 5 min, slow \
     that of 6 h and 30 min; absent with fewer than 20 requests in the shorter one.",
);

pub const ACTIVE_USERS: &Desc = &gauge(
    "claude_code_active_users",
    "",
    &["window"],
    "People with usage within the window that ends now: 5m, 1h, 24h, 7d, 30d.",
);

pub const SESSIONS: &Desc = &counter(
    "claude_code_session_count_total",
    "",
    &["user", "team", "start_type"],
    "Client sessions started.",
);

pub const LINES: &Desc = &counter(
    "claude_code_lines_of_code_count_total",
    "",
    &["user", "team", "type", "model"],
    "Lines of code added or removed.",
);

pub const COMMITS: &Desc = &counter(
    "claude_code_commit_count_total",
    "",
    &["user", "team"],
    "Git commits made by the client.",
);

pub const PULL_REQUESTS: &Desc = &counter(
    "claude_code_pull_request_count_total",
    "",
    &["user", "team"],
    "Pull requests made by the client.",
);

pub const ACTIVE_TIME: &Desc = &counter(
    "claude_code_active_time_seconds_total",
    "seconds",
    &["user", "team", "type"],
    "Active time in seconds: user at the keyboard, cli for tools and models.",
)
.scaled(3);

/// Exporters differ in what they make of `claude_code.active_time.total`: most drop the inner
/// `total`, some keep it. Dashboards for both are about.
pub const ACTIVE_TIME_LONG: &Desc = &counter(
    "claude_code_active_time_total_seconds_total",
    "seconds",
    &["user", "team", "type"],
    "The same as claude_code_active_time_seconds_total, under the name that some exporters give it.",
)
.scaled(3);

pub const EDIT_DECISIONS: &Desc = &counter(
    "claude_code_code_edit_tool_decision_total",
    "",
    &[
        "user",
        "team",
        "tool_name",
        "decision",
        "source",
        "language",
    ],
    "Answers to proposed edits: accept or reject.",
);

pub const EVENTS: &Desc = &counter(
    "claude_code_events_total",
    "",
    &["event"],
    "Client events by name.",
);

pub const TOOL_RESULTS: &Desc = &counter(
    "claude_code_tool_results_total",
    "",
    &["tool_name", "success"],
    "Tool runs by result.",
);

pub const UNKNOWN_METRICS: &Desc = &counter(
    "claude_code_unknown_metrics_total",
    "",
    &["metric"],
    "Points of metrics that tallyd has no meaning for.",
);
