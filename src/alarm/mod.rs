//! The set of alarms: written as Prometheus rules, compared with an account and applied to it.

mod promql;
pub mod render;
