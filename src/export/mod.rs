//! What leaves: the numbers of the registry in the formats of others.

pub mod cloudwatch;
pub mod dashboard;
pub mod negotiate;
pub mod prometheus;
