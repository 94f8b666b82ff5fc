//! The catalogue of metrics: one constant table of all that `/metrics` can show.
//!
//! A metric is a constant (`catalogue::TOKENS`), listed once in [`CATALOGUE`]. Names that people
//! already chart stay as an OpenTelemetry-to-Prometheus path writes them. The table in
//! `docs/metrics.md` is [`markdown`]; a test holds the two equal.

mod bedrock;
mod bill;
mod budget;
mod business;
mod own;
mod quota;
mod report;
mod savings;
mod usage;

use std::fmt::Write as _;

pub use bedrock::*;
pub use bill::*;
pub use budget::*;
pub use business::*;
pub use own::*;
pub use quota::*;
pub use report::*;
pub use savings::*;
pub use usage::*;

/// What a metric's values mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Upper bounds of the buckets, ascending, without infinity.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word in a `# TYPE` line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One metric family.
#[derive(Debug, PartialEq)]
pub struct Desc {
    /// The full Prometheus name, with unit and `_total`.
    pub name: &'static str,
    pub kind: Kind,
    /// Counters and sums of histograms are kept as integers of ten to the minus `scale` units: 0
    /// for tokens, 3 for milliseconds shown as seconds, 12 for pico-USD.
    pub scale: u8,
    /// The unit of a value: `tokens`, `seconds`, ...; empty for plain numbers of things.
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    /// One sentence, without a line break.
    pub help: &'static str,
}

type Labels = &'static [&'static str];

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: Labels,
    help: &'static str,
) -> Desc {
    Desc {
        name,
        kind: Kind::Counter,
        scale: 0,
        unit,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, unit: &'static str, labels: Labels, help: &'static str) -> Desc {
    Desc {
        kind: Kind::Gauge,
        ..counter(name, unit, labels, help)
    }
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    labels: Labels,
    bounds: &'static [f64],
    help: &'static str,
) -> Desc {
    Desc {
        kind: Kind::Histogram(bounds),
        ..counter(name, unit, labels, help)
    }
}

impl Desc {
    const fn scaled(self, scale: u8) -> Self {
        Self { scale, ..self }
    }
}

/// Every metric, in the order of the documentation.
pub const CATALOGUE: &[&Desc] = &[
    TOKENS,
    COST,
    CLIENT_COST,
    UNPRICED_TOKENS,
    API_REQUESTS,
    API_REQUEST_DURATION,
    TIME_TO_FIRST_TOKEN,
    THROTTLED,
    ERROR_SHARE,
    BURN_RATE,
    ACTIVE_USERS,
    SESSIONS,
    LINES,
    COMMITS,
    PULL_REQUESTS,
    ACTIVE_TIME,
    ACTIVE_TIME_LONG,
    EDIT_DECISIONS,
    EVENTS,
    TOOL_RESULTS,
    UNKNOWN_METRICS,
    BUGS_FIXED,
    TIME_SAVED,
    COST_SAVINGS,
    WEBHOOK_DELIVERIES,
    BUSINESS_EVENTS,
    CPU_UTILIZATION,
    MEMORY_UTILIZATION,
    DISK_UTILIZATION,
    LEDGER_DISK_UTILIZATION,
    BEDROCK_INVOCATIONS,
    BEDROCK_ERRORS,
    BEDROCK_THROTTLES,
    BEDROCK_TOKENS,
    BEDROCK_LATENCY,
    BEDROCK_FIRST_TOKEN,
    BEDROCK_PERIOD,
    BEDROCK_PERIOD_END,
    USAGE_COVERAGE,
    COVERAGE_COUNTED,
    COVERAGE_PROVIDER,
    BEDROCK_SUCCESS,
    BEDROCK_RESULTS,
    BEDROCK_LEFT_OUT,
    BEDROCK_VALUES_CORRECTED,
    BEDROCK_LOGS_OBJECTS,
    BEDROCK_LOGS_RECORDS,
    BEDROCK_LOGS_SKIPPED,
    BEDROCK_LOGS_WAITING,
    BEDROCK_LOGS_LAG,
    BEDROCK_LOGS_SUCCESS,
    BEDROCK_LOGS_LAST_SUCCESS,
    AWS_REQUESTS,
    AWS_REQUEST_FAILURES,
    CLOUDWATCH_METRICS_REQUESTED,
    AWS_REQUEST_COST,
    ACTUAL_COST,
    BILL_PULLED,
    BILL_ACCOUNT_SUCCESS,
    BILL_UNCLASSIFIED,
    BILL_REVISIONS,
    BILL_ROUNDED,
    BILL_CALLS,
    BILL_MAX_CALLS,
    MONTH_TO_DATE,
    BUDGET_USED,
    BUDGET_FORECAST,
    BUDGET_BURN_RATE,
    COST_ANOMALIES,
    CACHE_SAVED,
    CACHE_HITS,
    RECONCILIATION_DELTA,
    BUILD_INFO,
    LEDGER_RECORDS,
    LEDGER_COMMIT_SECONDS,
    LEDGER_COMMIT_RECORDS,
    LEDGER_QUEUE_RECORDS,
    LEDGER_BYTES,
    BACKUP_LAST_SUCCESS,
    PUBLISHED_DEBT,
    MINUTE_LEFT_OUT,
    MINUTE_LEFT_OUT_TOKENS,
    MINUTE_FOLDED,
    TELEMETRY_SILENT,
    CLOUDWATCH_BACKLOG,
    CLOUDWATCH_DATAPOINTS,
    CLOUDWATCH_WAITING,
    CLOUDWATCH_CALLS,
    CLOUDWATCH_FOLDED,
    REFUSED,
    REFUSED_DELIVERIES,
    REGISTRY_SERIES,
    REGISTRY_OVERFLOW,
    FORWARD_QUEUE,
    FORWARD_SENT,
    FORWARD_DROPPED,
    COLLECTOR_DURATION,
    COLLECTOR_SUCCESS,
    COLLECTOR_LAST_SUCCESS,
    SCHEDULE_MISSED_TICKS,
    ALARM_STATE,
    ALARM_TRANSITIONS,
    ALARM_EVALUATION_DURATION,
    ALARM_LAST_EVALUATION,
    ALARMS_RELOAD_SUCCESS,
    CONFIG_RELOAD_SUCCESS,
    CONFIG_LAST_RELOAD,
    AWS_PROBLEM,
    NOTIFICATIONS,
    NOTIFICATIONS_WAITING,
    NOTIFICATIONS_OLDEST,
    QUOTA_DECISIONS,
    QUOTA_DECISION_SECONDS,
    QUOTA_LIMIT,
    QUOTA_USED,
    QUOTA_RESERVED,
    QUOTA_COUNTERS,
    QUOTA_POOL_UTILIZATION,
    QUOTA_RESERVATIONS,
    QUOTA_OVERAGE,
    QUOTA_LATE,
    QUOTA_EXPIRED,
    QUOTA_POLICY_VERSION,
    QUOTA_POLICY_RELOAD_SUCCESS,
    QUOTA_WARNINGS,
    QUOTA_AUDIT_LINES,
    HTTP_REQUESTS,
    HTTP_REQUEST_DURATION,
    GRPC_REQUESTS,
    TURNED_AWAY,
    PROCESS_CPU,
    PROCESS_OPEN_FDS,
    PROCESS_MAX_FDS,
    PROCESS_VIRTUAL_MEMORY,
    PROCESS_RESIDENT_MEMORY,
    PROCESS_START_TIME,
    PROCESS_THREADS,
    REPORT_SCHEDULE_DUE,
    REPORT_SCHEDULE_RUNS,
    REPORT_SCHEDULE_LAST_SUCCESS,
];

/// Finds a metric by its full name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Desc> {
    CATALOGUE.iter().copied().find(|desc| desc.name == name)
}

/// The catalogue as a Markdown table.
#[must_use]
pub fn markdown() -> String {
    let mut table =
        String::from("| name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for desc in CATALOGUE {
        let labels: Vec<_> = desc.labels.iter().map(|l| format!("`{l}`")).collect();
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} |",
            desc.name,
            desc.kind.name(),
            desc.unit,
            labels.join(", "),
            desc.help
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    const BEGIN: &str = "<!-- catalogue: begin -->\n";
    const END: &str = "<!-- catalogue: end -->\n";

    #[test]
    fn the_documentation_shows_exactly_the_catalogue() {
        let doc = std::fs::read_to_string(DOC).unwrap();
        let (before, rest) = doc.split_once(BEGIN).unwrap();
        let (shown, after) = rest.split_once(END).unwrap();
        if std::env::var_os("TALLYD_BLESS").is_some() {
            let blessed = format!("{before}{BEGIN}{}{END}{after}", markdown());
            std::fs::write(DOC, blessed).unwrap();
            return;
        }
        assert_eq!(shown, markdown(), "rewrite with TALLYD_BLESS=1");
    }

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut seen = BTreeSet::new();
        for desc in CATALOGUE {
            assert!(seen.insert(desc.name), "{} is listed twice", desc.name);
            for word in desc.labels.iter().chain([&desc.name]) {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                assert!(word.chars().all(plain), "{word}");
            }
            let counts = desc.kind == Kind::Counter;
            assert_eq!(desc.name.ends_with("_total"), counts, "{}", desc.name);
        }
    }

    #[test]
    fn help_is_one_sentence_that_fits_a_table_and_a_comment_line() {
        for desc in CATALOGUE {
            let plain = !desc.help.contains(['\n', '\\', '"', '|']);
            assert!(plain && desc.help.ends_with('.'), "{}", desc.name);
        }
    }

    #[test]
    fn a_unit_in_the_name_is_the_unit_of_the_value() {
        for desc in CATALOGUE {
            let stem = desc.name.strip_suffix("_total").unwrap_or(desc.name);
            for unit in ["seconds", "bytes", "ratio", "tokens", "USD"] {
                if stem.ends_with(&format!("_{unit}")) {
                    assert_eq!(desc.unit, unit, "{}", desc.name);
                }
            }
        }
    }

    #[test]
    fn bucket_bounds_ascend() {
        for desc in CATALOGUE {
            if let Kind::Histogram(bounds) = desc.kind {
                assert!(bounds.is_sorted_by(|a, b| a < b), "{}", desc.name);
            }
        }
    }
}
