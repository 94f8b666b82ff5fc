//! Metrics of reports that are written by schedule.

use super::{Desc, counter, gauge};

pub const REPORT_SCHEDULE_DUE: &Desc = &gauge(
    "tallyd_report_schedule_due",
    "",
    &["schedule"],
    "Periods that are over and due, and whose report is not written yet.",
);

pub const REPORT_SCHEDULE_RUNS: &Desc = &counter(
    "tallyd_report_schedule_runs_total",
    "",
    &["schedule", "outcome"],
    "Attempts to write a scheduled report, by outcome (written, failed).",
);

pub const REPORT_SCHEDULE_LAST_SUCCESS: &Desc = &gauge(
    "tallyd_report_schedule_last_success_timestamp_seconds",
    "seconds",
    &["schedule"],
    "When a scheduled report was last written, in seconds since 1970.",
);
