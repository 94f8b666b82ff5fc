//! The set of alarms: written as Prometheus rules, compared with an account and applied to it.

pub mod apply;
pub mod plan;
mod promql;
pub mod render;
