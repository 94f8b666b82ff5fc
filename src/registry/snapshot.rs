//! What readers get: a family's values as they were at one moment.

use std::sync::Arc;

use crate::model::catalogue::Desc;

/// Observations by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Observations in each bucket, not cumulative; the last one is above all bounds.
    pub counts: Vec<u64>,
    /// Sum of the observed values in the family's scale.
    pub sum: u128,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<H = Histogram> {
    /// In the family's scale.
    Counter(u128),
    Gauge(f64),
    Histogram(H),
}

/// All values of a family, by slot.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Counters(Vec<u128>),
    Gauges(Vec<f64>),
    Histograms(Vec<Histogram>),
}

/// The series of a family in sorted order, with their text ready to be copied.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The texts of all series, one after the other.
    pub(super) text: String,
    pub(super) lines: Vec<Line>,
}

#[derive(Debug)]
pub(super) struct Line {
    /// Where the series' text ends; it begins where the one before ends.
    pub(super) end: usize,
    /// Where its value is.
    pub(super) slot: usize,
}

/// A family as it was at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub desc: &'static Desc,
    pub(super) layout: Arc<Layout>,
    pub(super) values: Values,
}

impl Snapshot {
    /// The number of series.
    #[must_use]
    pub fn series(&self) -> usize {
        self.layout.lines.len()
    }

    /// The length of all texts together in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.layout.text.len()
    }

    /// The series sorted by text. The text of a counter or gauge is the sample up to its value,
    /// `name{label="value"} `; that of a histogram is only what stands between the braces.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<&Histogram>)> {
        let mut start = 0;
        self.layout.lines.iter().map(move |line| {
            let text = &self.layout.text[start..line.end];
            start = line.end;
            let value = match &self.values {
                Values::Counters(values) => Value::Counter(values[line.slot]),
                Values::Gauges(values) => Value::Gauge(values[line.slot]),
                Values::Histograms(values) => Value::Histogram(&values[line.slot]),
            };
            (text, value)
        })
    }
}
