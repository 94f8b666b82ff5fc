//! The bill: what providers really charged.

use super::{Desc, counter, gauge};

pub const ACTUAL_COST: &Desc = &gauge(
    "claude_code_cost_actual_USD",
    "USD",
    &["day", "provider", "model"],
    "What usage was billed at in US dollars, unblended and without credits, refunds, tax and fees, \
     for each of the last 14 UTC days; the dearest 20 models by name, the others as other.",
);

pub const BILL_PULLED: &Desc = &gauge(
    "tallyd_bill_last_read_timestamp_seconds",
    "seconds",
    &["account"],
    "When the bill of an account was read last from Cost Explorer, in Unix time.",
);

pub const BILL_ACCOUNT_SUCCESS: &Desc = &gauge(
    "tallyd_bill_account_success",
    "",
    &["account"],
    "1 if the bill of this account could be read when it was due last, else 0.",
);

pub const BILL_UNCLASSIFIED: &Desc = &gauge(
    "tallyd_bill_unclassified_amount",
    "",
    &["provider", "currency"],
    "Amount of lines of the bill of this and the previous month that speak of Claude and are not \
     understood, in the currency.",
);

pub const BILL_REVISIONS: &Desc = &counter(
    "tallyd_bill_revisions_total",
    "",
    &["source", "standing"],
    "Billed days whose lines changed after they were first read, by whether they had been \
     provisional or final.",
);

pub const BILL_ROUNDED: &Desc = &counter(
    "tallyd_bill_amounts_rounded_total",
    "",
    &["source"],
    "Amounts of bills that had more than 12 decimal places and were rounded half-even.",
);

pub const BILL_CALLS: &Desc = &gauge(
    "tallyd_cost_explorer_month_calls",
    "",
    &[],
    "Calls to Cost Explorer in this UTC month, each page one.",
);

pub const BILL_MAX_CALLS: &Desc = &gauge(
    "tallyd_cost_explorer_month_max_calls",
    "",
    &[],
    "Calls to Cost Explorer that cost.max_calls allows in a month.",
);
