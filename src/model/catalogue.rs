//! The catalogue of metrics: one constant table.

/// What a metric's values mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Upper bounds of the buckets, ascending, without infinity.
    Histogram(&'static [f64]),
}

/// One metric family.
#[derive(Debug)]
pub struct Desc {
    /// The full Prometheus name, with unit and `_total`.
    pub name: &'static str,
    pub kind: Kind,
    /// Counters are kept as integers of ten to the minus `scale` units: 0 for tokens, 3 for
    /// milliseconds shown as seconds, 12 for pico-USD.
    pub scale: u8,
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}
