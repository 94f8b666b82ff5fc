//! The words: usage, identity, names, money, time windows, access.
//!
//! Pure: no I/O, no async, no clock. Everything above may use it.

pub mod access;
pub mod catalogue;
pub mod identity;
pub mod money;
pub mod names;
pub mod query;
pub mod tokens;
pub mod usage;
