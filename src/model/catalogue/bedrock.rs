//! What Amazon Bedrock counted, how it compares with the ledger, and what asking cost.

use super::{Desc, counter, gauge};

pub const BEDROCK_INVOCATIONS: &Desc = &gauge(
    "aws_bedrock_invocations",
    "",
    &["account", "region", "model", "model_id"],
    "Invocations that Bedrock counted in the last complete period.",
);

pub const BEDROCK_ERRORS: &Desc = &gauge(
    "aws_bedrock_invocation_errors",
    "",
    &["account", "region", "model", "model_id", "side"],
    "Invocations that failed in the last complete period, by the side at fault: client, server.",
);

pub const BEDROCK_THROTTLES: &Desc = &gauge(
    "aws_bedrock_invocation_throttles",
    "",
    &["account", "region", "model", "model_id"],
    "Invocations that Bedrock refused for their rate in the last complete period.",
);

pub const BEDROCK_TOKENS: &Desc = &gauge(
    "aws_bedrock_tokens",
    "tokens",
    &["account", "region", "model", "model_id", "type"],
    "Tokens that Bedrock counted in the last complete period, by type: input, output, cacheRead, \
     cacheCreation.",
);

pub const BEDROCK_LATENCY: &Desc = &gauge(
    "aws_bedrock_invocation_latency_seconds",
    "seconds",
    &["account", "region", "model", "model_id", "statistic"],
    "Time from a request to the last token in the last complete period; absent without requests.",
);

pub const BEDROCK_FIRST_TOKEN: &Desc = &gauge(
    "aws_bedrock_time_to_first_token_seconds",
    "seconds",
    &["account", "region", "model", "model_id", "statistic"],
    "Time from a request to the first token in the last complete period; absent without requests.",
);

pub const BEDROCK_PERIOD: &Desc = &gauge(
    "aws_bedrock_period_seconds",
    "seconds",
    &[],
    "Length of the period that the metrics of Bedrock tell of.",
);

pub const BEDROCK_PERIOD_END: &Desc = &gauge(
    "aws_bedrock_period_end_timestamp_seconds",
    "seconds",
    &["account", "region"],
    "End of the last complete period that was read, in seconds since 1970.",
);

pub const USAGE_COVERAGE: &Desc = &gauge(
    "tallyd_usage_coverage_ratio",
    "ratio",
    &["provider", "model", "measure"],
    "What the ledger counted in a day, divided by what the provider counted, by measure: requests, \
     input, output, cacheRead, cacheCreation.",
);

pub const COVERAGE_COUNTED: &Desc = &gauge(
    "tallyd_usage_coverage_counted",
    "",
    &["provider", "model", "measure"],
    "What the ledger counted in the day that the coverage tells of.",
);

pub const COVERAGE_PROVIDER: &Desc = &gauge(
    "tallyd_usage_coverage_provider",
    "",
    &["provider", "model", "measure"],
    "What the provider counted in the day that the coverage tells of.",
);

pub const BEDROCK_SUCCESS: &Desc = &gauge(
    "tallyd_bedrock_account_success",
    "",
    &["account", "region"],
    "1 if the metrics of Bedrock in this account and region could be read in the last round, else 0.",
);

pub const BEDROCK_RESULTS: &Desc = &counter(
    "tallyd_bedrock_results_total",
    "",
    &["account", "region", "status"],
    "Metrics that were asked for, by what came: Complete, PartialData, InternalError, Forbidden, \
     NoAnswer.",
);

pub const BEDROCK_LEFT_OUT: &Desc = &gauge(
    "tallyd_bedrock_metrics_left_out",
    "",
    &["account", "region"],
    "Metrics of Bedrock that are not read because there are more than bedrock.max_metrics.",
);

pub const BEDROCK_VALUES_CORRECTED: &Desc = &counter(
    "tallyd_bedrock_values_corrected_total",
    "",
    &["account", "region"],
    "Datapoints of Bedrock that came late or changed after they were first read.",
);

pub const AWS_REQUESTS: &Desc = &counter(
    "tallyd_aws_requests_total",
    "",
    &["service", "operation"],
    "Calls to AWS, pages included, retries of the SDK not.",
);

pub const AWS_REQUEST_FAILURES: &Desc = &counter(
    "tallyd_aws_request_failures_total",
    "",
    &["service", "operation", "reason"],
    "Calls to AWS that failed in the end, by reason: credentials, denied, throttled, fault, \
     unreachable, lost, refused.",
);

pub const CLOUDWATCH_METRICS_REQUESTED: &Desc = &counter(
    "tallyd_cloudwatch_metrics_requested_total",
    "",
    &[],
    "Metrics asked for with GetMetricData, pages included: each is billed.",
);

pub const AWS_REQUEST_COST: &Desc = &counter(
    "tallyd_aws_request_cost_USD_total",
    "USD",
    &["service", "operation"],
    "Estimated price of calls to AWS in US dollars, by list price and without free tiers.",
)
.scaled(12);

pub const BEDROCK_LOGS_OBJECTS: &Desc = &counter(
    "tallyd_bedrock_logs_objects_total",
    "",
    &["source", "result"],
    "Objects of invocation logs by what became of them: read, damaged (what could be read \
     counts), failed (due again).",
);

pub const BEDROCK_LOGS_RECORDS: &Desc = &counter(
    "tallyd_bedrock_logs_records_total",
    "",
    &["source", "result"],
    "Requests in invocation logs by what the ledger made of them: accepted, duplicate, refused.",
);

pub const BEDROCK_LOGS_SKIPPED: &Desc = &counter(
    "tallyd_bedrock_logs_skipped_total",
    "",
    &["source", "reason"],
    "Lines of invocation logs that are no usage, by reason: bad_line, other_schema, \
     other_operation, other_model, no_tokens.",
);

pub const BEDROCK_LOGS_WAITING: &Desc = &gauge(
    "tallyd_bedrock_logs_waiting_objects",
    "",
    &["source"],
    "Objects of an invocation log that were found and not read yet.",
);

pub const BEDROCK_LOGS_LAG: &Desc = &gauge(
    "tallyd_bedrock_logs_lag_seconds",
    "seconds",
    &["source"],
    "Age of the newest request of an invocation log when it was read.",
);

pub const BEDROCK_LOGS_SUCCESS: &Desc = &gauge(
    "tallyd_bedrock_logs_success",
    "",
    &["source"],
    "1 if the last round read an invocation log without a failure, else 0.",
);

pub const BEDROCK_LOGS_LAST_SUCCESS: &Desc = &gauge(
    "tallyd_bedrock_logs_last_success_timestamp_seconds",
    "seconds",
    &["source"],
    "Time of the last round that read an invocation log without a failure, in seconds since 1970.",
);
