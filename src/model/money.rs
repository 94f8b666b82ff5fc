//! Money as integers: pico-USD, a millionth of a millionth of a dollar.
//!
//! Every Claude list price is a whole number of pico-USD per token, so products and sums are
//! exact. Rounding happens only where figures are shown.

/// An amount in pico-USD (1e-12 USD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PicoUsd(pub i128);
