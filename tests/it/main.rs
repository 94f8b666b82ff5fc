//! The real binary, asked from outside.
//!
//! One test binary for all integration tests: it links once. `harness` holds the machinery, each
//! other file one subject. Tests that need another program or much time are ignored with the
//! reason; `scripts/test.sh` runs them all.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests; clippy knows only #[test] functions"
)]
#![expect(
    clippy::float_cmp,
    reason = "counts are exact: whole numbers far below 2^53"
)]

mod alarms;
mod billed;
mod bills;
mod budget;
mod business;
mod cloudwatch;
mod cost_alarms;
mod dashboards;
mod deploy;
mod docs;
mod facts;
mod floors;
mod harness;
mod import;
mod kill;
mod minutes;
mod once;
mod operation;
mod peer_account;
mod peer_bedrock;
mod peer_bedrock_logs;
mod peer_closing;
mod peer_cloudwatch;
mod peer_cost;
mod peer_dashboards;
mod peer_envoy;
mod peer_litellm;
mod peer_litellm_edges;
mod peer_notify;
mod peer_openapi;
mod peer_otel;
mod peer_prometheus;
mod peer_proxy;
mod peer_rules;
mod peer_schedule;
mod peers;
mod prices;
mod privacy;
mod promql;
mod quota;
mod quota_disk;
mod quota_people;
mod report_schedule;
mod reports;
mod sessions;
