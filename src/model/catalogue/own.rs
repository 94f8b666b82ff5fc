//! The host, the daemon and its process.

use super::{Desc, counter, gauge, histogram};

pub const CPU_UTILIZATION: &Desc = &gauge(
    "system_cpu_utilization_ratio",
    "ratio",
    &[],
    "Share of the CPU time in use, 0 to 1; of the container's limit where there is one.",
);

pub const MEMORY_UTILIZATION: &Desc = &gauge(
    "system_memory_utilization_ratio",
    "ratio",
    &[],
    "Share of the memory in use, 0 to 1; of the container's limit where there is one.",
);

pub const DISK_UTILIZATION: &Desc = &gauge(
    "system_disk_utilization_ratio",
    "ratio",
    &["mountpoint"],
    "Share of a file system that is not available to users, 0 to 1.",
);

pub const LEDGER_DISK_UTILIZATION: &Desc = &gauge(
    "tallyd_ledger_disk_utilization_ratio",
    "ratio",
    &[],
    "Share of the file system with the ledger that is not available to users, 0 to 1.",
);

pub const TELEMETRY_SILENT: &Desc = &gauge(
    "tallyd_telemetry_silent_seconds",
    "seconds",
    &[],
    "Time without any report while Bedrock says that models are used, in seconds; 0 while \
     reports come, absent where Bedrock is not asked.",
);

pub const MINUTE_LEFT_OUT: &Desc = &counter(
    "tallyd_minute_left_out_total",
    "",
    &["reason"],
    "Facts that are in the ledger but in no minute, by reason: too_old, negative_correction, \
     clock_back.",
);

pub const MINUTE_LEFT_OUT_TOKENS: &Desc = &counter(
    "tallyd_minute_left_out_tokens_total",
    "tokens",
    &["reason"],
    "Tokens of facts that are in no minute; of negative corrections those that minutes hold and \
     the ledger does not count any more.",
);

pub const MINUTE_FOLDED: &Desc = &counter(
    "tallyd_minute_folded_total",
    "",
    &[],
    "Additions to minutes whose dimensions became other, because a minute had too many series.",
);

pub const CLOUDWATCH_BACKLOG: &Desc = &gauge(
    "tallyd_cloudwatch_backlog_seconds",
    "seconds",
    &[],
    "Age of the oldest datapoint that CloudWatch has not taken, in seconds; 0 if none waits.",
);

pub const CLOUDWATCH_DATAPOINTS: &Desc = &counter(
    "tallyd_cloudwatch_datapoints_total",
    "",
    &["result"],
    "Datapoints for CloudWatch by what became of them: delivered, rejected, expired (too old), or \
     ambiguous, whose call got no answer.",
);

pub const BUILD_INFO: &Desc = &gauge(
    "tallyd_build_info",
    "",
    &["version"],
    "Always 1; the label tells the version.",
);

pub const LEDGER_RECORDS: &Desc = &counter(
    "tallyd_ledger_records_total",
    "",
    &["source", "result"],
    "Reports of requests, by source and by what became of them: accepted, duplicate, conflict.",
);

pub const LEDGER_COMMIT_SECONDS: &Desc = &histogram(
    "tallyd_ledger_commit_seconds",
    "seconds",
    &[],
    &[
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ],
    "Duration of ledger commits in seconds, the sync to disk included.",
)
.scaled(9);

pub const LEDGER_COMMIT_RECORDS: &Desc = &histogram(
    "tallyd_ledger_commit_records",
    "",
    &[],
    &[
        1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0, 50_000.0,
    ],
    "Facts that shared one ledger commit.",
);

pub const LEDGER_QUEUE_RECORDS: &Desc = &gauge(
    "tallyd_ledger_queue_records",
    "",
    &[],
    "Facts that wait for the ledger.",
);

pub const LEDGER_BYTES: &Desc = &gauge(
    "tallyd_ledger_bytes",
    "bytes",
    &[],
    "Size of the ledger on disk in bytes.",
);

pub const BACKUP_LAST_SUCCESS: &Desc = &gauge(
    "tallyd_backup_last_success_timestamp_seconds",
    "seconds",
    &[],
    "Time of the last good backup in seconds since 1970, where backups are scheduled; 0 while none \
     was good.",
);

pub const PUBLISHED_DEBT: &Desc = &gauge(
    "tallyd_published_debt",
    "",
    &["family"],
    "Amount by which published counters are ahead of the ledger after corrections, in the \
     family's unit.",
);

pub const REFUSED: &Desc = &counter(
    "tallyd_refused_total",
    "",
    &["signal", "code"],
    "Facts refused at the door, by signal and reason.",
);

pub const REFUSED_DELIVERIES: &Desc = &counter(
    "tallyd_refused_deliveries_total",
    "",
    &["signal", "code"],
    "Deliveries of usage refused whole, on any listener, by signal and reason.",
);

pub const REGISTRY_SERIES: &Desc = &gauge(
    "tallyd_registry_series",
    "",
    &["family"],
    "Series that a metric has now.",
);

pub const REGISTRY_OVERFLOW: &Desc = &counter(
    "tallyd_registry_overflow_total",
    "",
    &["family"],
    "Additions to series beyond the bound, summed under the label value other; gauges are dropped.",
);

pub const FORWARD_QUEUE: &Desc = &gauge(
    "tallyd_forward_queue",
    "",
    &[],
    "Deliveries that wait to be forwarded.",
);

pub const FORWARD_SENT: &Desc = &counter(
    "tallyd_forward_sent_total",
    "",
    &[],
    "Deliveries forwarded and accepted.",
);

pub const FORWARD_DROPPED: &Desc = &counter(
    "tallyd_forward_dropped_total",
    "",
    &["reason"],
    "Deliveries that were not forwarded, by reason.",
);

pub const COLLECTOR_DURATION: &Desc = &gauge(
    "tallyd_collector_duration_seconds",
    "seconds",
    &["collector"],
    "Duration of a collector's last round in seconds.",
);

pub const COLLECTOR_SUCCESS: &Desc = &gauge(
    "tallyd_collector_success",
    "",
    &["collector"],
    "1 if a collector's last round succeeded, else 0.",
);

pub const COLLECTOR_LAST_SUCCESS: &Desc = &gauge(
    "tallyd_collector_last_success_timestamp_seconds",
    "seconds",
    &["collector"],
    "Time of a collector's last good round in seconds since 1970.",
);

pub const SCHEDULE_MISSED_TICKS: &Desc = &counter(
    "tallyd_schedule_missed_ticks_total",
    "",
    &["job"],
    "Rounds that were left out because the round before took too long.",
);

pub const CONFIG_RELOAD_SUCCESS: &Desc = &gauge(
    "tallyd_config_reload_success",
    "",
    &[],
    "1 if the last reading of the configuration succeeded, else 0.",
);

pub const CONFIG_LAST_RELOAD: &Desc = &gauge(
    "tallyd_config_last_reload_timestamp_seconds",
    "seconds",
    &[],
    "Time of the last good reading of the configuration in seconds since 1970.",
);

pub const AWS_PROBLEM: &Desc = &gauge(
    "tallyd_aws_problem",
    "",
    &["action"],
    "1 while an action on AWS fails for its set-up: the action's name in IAM, or credentials; \
     /readyz tells the line.",
);

pub const CLOUDWATCH_WAITING: &Desc = &gauge(
    "tallyd_cloudwatch_waiting_datapoints",
    "",
    &[],
    "Datapoints that CloudWatch has not taken yet.",
);

pub const CLOUDWATCH_CALLS: &Desc = &counter(
    "tallyd_cloudwatch_calls_total",
    "",
    &["result"],
    "PutMetricData calls: taken, throttled, fault, lost (no answer), unreachable, denied, \
     unaccepted (credentials), invalid, too_large, refused.",
);

pub const CLOUDWATCH_FOLDED: &Desc = &gauge(
    "tallyd_cloudwatch_folded_series",
    "",
    &[],
    "Combinations of dimension values that are sent to CloudWatch as other today, for the bound \
     on metrics.",
);

pub const NOTIFICATIONS: &Desc = &counter(
    "tallyd_notifications_total",
    "",
    &["target", "result"],
    "Notices about alarms, by target and by what became of them; docs/notifications.md names the \
     results.",
);

pub const NOTIFICATIONS_WAITING: &Desc = &gauge(
    "tallyd_notifications_waiting",
    "",
    &["target"],
    "Notices about alarms that wait, those held back by a maintenance window included.",
);

pub const NOTIFICATIONS_OLDEST: &Desc = &gauge(
    "tallyd_notifications_oldest_age_seconds",
    "seconds",
    &["target"],
    "Age of the oldest notice that could have been told, in seconds; 0 if there is none.",
);

pub const HTTP_REQUESTS: &Desc = &counter(
    "tallyd_http_requests_total",
    "",
    &["route", "status"],
    "HTTP requests that came through to a route, on both HTTP listeners.",
);

pub const GRPC_REQUESTS: &Desc = &counter(
    "tallyd_grpc_requests_total",
    "",
    &["method", "code"],
    "gRPC calls by method and the name of their status.",
);

pub const TURNED_AWAY: &Desc = &counter(
    "tallyd_turned_away_total",
    "",
    &["listener", "reason"],
    "Requests that did not get an answer of their route: busy (limits.concurrency), slow \
     (limits.request_timeout).",
);

pub const HTTP_REQUEST_DURATION: &Desc = &histogram(
    "tallyd_http_request_duration_seconds",
    "seconds",
    &["route"],
    &[
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    ],
    "Duration of HTTP requests in seconds.",
)
.scaled(9);

pub const PROCESS_CPU: &Desc = &counter(
    "process_cpu_seconds_total",
    "seconds",
    &[],
    "User and system CPU time of the process in whole seconds.",
);

pub const PROCESS_OPEN_FDS: &Desc = &gauge(
    "process_open_fds",
    "",
    &[],
    "File descriptors that the process has open.",
);

pub const PROCESS_MAX_FDS: &Desc = &gauge(
    "process_max_fds",
    "",
    &[],
    "File descriptors that the process may have open.",
);

pub const PROCESS_VIRTUAL_MEMORY: &Desc = &gauge(
    "process_virtual_memory_bytes",
    "bytes",
    &[],
    "Virtual memory of the process in bytes.",
);

pub const PROCESS_RESIDENT_MEMORY: &Desc = &gauge(
    "process_resident_memory_bytes",
    "bytes",
    &[],
    "Resident memory of the process in bytes.",
);

pub const PROCESS_START_TIME: &Desc = &gauge(
    "process_start_time_seconds",
    "seconds",
    &[],
    "Start of the process in seconds since 1970.",
);

pub const PROCESS_THREADS: &Desc = &gauge("process_threads", "", &[], "Threads of the process.");

pub const ALARM_STATE: &Desc = &gauge(
    "tallyd_alarm_state",
    "",
    &["alarm", "severity", "state"],
    "1 for the state that an alarm is in, 0 for the others.",
);

pub const ALARM_TRANSITIONS: &Desc = &counter(
    "tallyd_alarm_transitions_total",
    "",
    &["alarm", "state"],
    "Changes of an alarm's state, by the new one.",
);

pub const ALARM_EVALUATION_DURATION: &Desc = &gauge(
    "tallyd_alarm_evaluation_seconds",
    "seconds",
    &[],
    "Duration of the last evaluation of all alarms in seconds.",
);

pub const ALARM_LAST_EVALUATION: &Desc = &gauge(
    "tallyd_alarm_last_evaluation_timestamp_seconds",
    "seconds",
    &[],
    "End of the last minute that alarms were evaluated for in seconds since 1970.",
);

pub const ALARMS_RELOAD_SUCCESS: &Desc = &gauge(
    "tallyd_alarms_reload_success",
    "",
    &[],
    "1 if the alarm files were good when they were read last, else 0: the old alarms stay.",
);
