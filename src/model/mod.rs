//! The words: usage, identity, names, money, time windows, access.
//!
//! Pure: no I/O, no async, no clock. Everything above may use it.

pub mod access;
pub mod adjustment;
pub mod alarm;
pub mod bill;
pub mod business;
pub mod catalogue;
pub mod closing;
pub mod cost;
pub mod cumulative;
pub mod decimal;
pub mod directory;
pub mod excess;
pub mod glob;
pub mod identify;
pub mod identity;
pub mod label;
pub mod minute;
pub mod money;
pub mod names;
pub mod notice;
pub mod once;
pub mod output;
pub mod policy;
pub mod price;
pub mod pseudonym;
pub mod query;
pub mod quota;
pub mod rates;
pub mod saving;
pub mod tokens;
pub mod usage;
pub mod window;
