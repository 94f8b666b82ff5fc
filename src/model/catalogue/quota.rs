//! Metrics of quotas: decisions, how limits stand, what was warned of.

use super::{Desc, counter, gauge, histogram};

pub const QUOTA_DECISIONS: &Desc = &counter(
    "tallyd_quota_decisions_total",
    "",
    &["decision", "reason", "limit"],
    "Answers to gateways: allow, deny or unavailable, for checks that hold nothing would_allow or \
     would_deny; by reason (room, replayed, shadow, or the code of the denial) and by the limit \
     that had no room.",
);

pub const QUOTA_DECISION_SECONDS: &Desc = &histogram(
    "tallyd_quota_decision_seconds",
    "seconds",
    &[],
    &[
        0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5,
        0.005, 0.01, 0.1, 1.0,
    ],
    "Duration of decisions in seconds, the line in the journal included.",
)
.scaled(9);

pub const QUOTA_LIMIT: &Desc = &gauge(
    "tallyd_quota_limit",
    "",
    &["limit", "subject", "unit"],
    "The bound of a limit with raises in the limit's unit; absent where it is unlimited. Shown \
     for the 1,000 counters that are fullest.",
);

pub const QUOTA_USED: &Desc = &gauge(
    "tallyd_quota_used",
    "",
    &["limit", "subject", "unit"],
    "What was used in the open window in the limit's unit.",
);

pub const QUOTA_RESERVED: &Desc = &gauge(
    "tallyd_quota_reserved",
    "",
    &["limit", "subject", "unit"],
    "What live reservations hold in the limit's unit.",
);

pub const QUOTA_COUNTERS: &Desc = &gauge(
    "tallyd_quota_counters",
    "",
    &["limit"],
    "Subjects that a limit counts in the open window.",
);

pub const QUOTA_POOL_UTILIZATION: &Desc = &gauge(
    "tallyd_quota_pool_utilization_ratio",
    "ratio",
    &[],
    "Used share of the fullest enforced limit that is shared, which is not counted by user; \
     absent without one.",
);

pub const QUOTA_RESERVATIONS: &Desc =
    &gauge("tallyd_quota_reservations", "", &[], "Live reservations.");

pub const QUOTA_OVERAGE: &Desc = &counter(
    "tallyd_quota_overage_total",
    "",
    &[],
    "Settlements that charged more than was held, in tokens of all kinds or in money.",
);

pub const QUOTA_LATE: &Desc = &counter(
    "tallyd_quota_late_settlements_total",
    "",
    &[],
    "Settlements that came after the end of the lease.",
);

pub const QUOTA_EXPIRED: &Desc = &counter(
    "tallyd_quota_expired_unsettled_total",
    "",
    &[],
    "Reservations whose lease ended without a settlement.",
);

pub const QUOTA_POLICY_VERSION: &Desc = &gauge(
    "tallyd_quota_policy_version",
    "",
    &[],
    "How many policies were put in force since the start; 0 without one.",
);

pub const QUOTA_POLICY_RELOAD_SUCCESS: &Desc = &gauge(
    "tallyd_quota_policy_reload_success",
    "",
    &[],
    "1 if the policy file was good when it was read last, else 0: the old policy stays.",
);

pub const QUOTA_WARNINGS: &Desc = &counter(
    "tallyd_quota_warnings_total",
    "",
    &["limit", "level"],
    "Crossings of a limit's thresholds in percent, or of its projection, once a window and subject.",
);

pub const QUOTA_AUDIT_LINES: &Desc = &counter(
    "tallyd_quota_audit_lines_total",
    "",
    &["result"],
    "Decisions for the audit log by what became of them: written, or lost because the file could \
     not be written.",
);
