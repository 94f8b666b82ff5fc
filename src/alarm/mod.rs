//! Alarms: CloudFormation templates in, states out.
//!
//! [`read()`] makes alarms of templates; `crate::model::alarm` says what state follows from
//! datapoints; [`story`] proves alarms on made-up datapoints. [`render`] writes them as Prometheus
//! rules, [`mod@plan`] compares them with an account's, [`mod@apply`] carries a plan out.

mod action;
pub mod apply;
pub mod backtest;
mod define;
mod fault;
mod files;
mod live;
pub mod plan;
mod promql;
mod properties;
mod read;
pub mod render;
mod resolve;
mod round;
mod scope;
pub mod story;
#[cfg(test)]
mod tests;
mod window;
mod yaml;

pub use define::Measured;
pub use fault::{Fault, hint};
pub use files::{Stamp, files};
pub use live::{Alarms, Loaded, Standing, load};
pub use read::{AlarmSet, MAX_ALARMS, Origin, read, read_measured};
pub use round::{Round, Setup, Tell};
pub use window::series_of;

/// The name under which the built-in template is told of.
pub const BUILT_IN_NAME: &str = "alarms/claude-code.yaml";

/// The alarms that ship with tallyd.
pub const BUILT_IN: &str = include_str!("../../alarms/claude-code.yaml");
