//! What Claude Code is worth.

use super::{Desc, counter, gauge};

pub const BUGS_FIXED: &Desc = &counter(
    "claude_code_bugs_fixed_total",
    "",
    &["claude"],
    "Bugs fixed, by whether Claude Code took part: yes, no, or unknown where a tracker does not \
     say; absent until a source is configured.",
);

pub const TIME_SAVED: &Desc = &gauge(
    "claude_code_time_saved_seconds",
    "seconds",
    &["end"],
    "Working time saved this month by the stated assumptions: the low end, mid and the high \
     end of their range; absent without assumptions.",
);

pub const COST_SAVINGS: &Desc = &gauge(
    "claude_code_cost_savings_USD",
    "USD",
    &["end"],
    "What the time saved this month is worth in USD by the stated assumptions: the low end, mid \
     and the high end; absent without assumptions. Not money that a bill shows.",
);

pub const WEBHOOK_DELIVERIES: &Desc = &counter(
    "tallyd_webhook_deliveries_total",
    "",
    &["provider", "result"],
    "Deliveries of webhooks by result: new, changed, unchanged, replayed, ignored, pong, invalid, \
     signature.",
);

pub const BUSINESS_EVENTS: &Desc = &counter(
    "tallyd_business_events_total",
    "",
    &["result"],
    "Events of other trackers by result: accepted, duplicate, rejected.",
);
