//! What readers get: a family's values as they were at one moment.

use std::ops::Range;
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
    /// Where the series' text begins and ends.
    start: usize,
    end: usize,
    /// Where its value is.
    slot: usize,
}

impl Layout {
    /// The layout with further series, given sorted. What was there before is copied in long
    /// pieces, so that one new series among very many costs little.
    pub(super) fn with(&self, fresh: Vec<(&str, usize)>) -> Self {
        let bytes: usize = fresh.iter().map(|(text, _)| text.len()).sum();
        let mut merged = Self {
            text: String::with_capacity(self.text.len() + bytes),
            lines: Vec::with_capacity(self.lines.len() + fresh.len()),
        };
        let mut copied = 0;
        for (text, slot) in fresh {
            let before = |line: &Line| &self.text[line.start..line.end] < text;
            let place = copied + self.lines[copied..].partition_point(before);
            merged.copy(self, copied..place);
            copied = place;
            let start = merged.text.len();
            merged.text.push_str(text);
            let end = merged.text.len();
            merged.lines.push(Line { start, end, slot });
        }
        merged.copy(self, copied..self.lines.len());
        merged
    }

    /// The layout without the series of a slot.
    pub(super) fn without(&self, slot: usize) -> Self {
        let gone = self.lines.iter().position(|line| line.slot == slot);
        let gone = gone.unwrap_or(self.lines.len());
        let mut rest = Self::default();
        rest.copy(self, 0..gone);
        rest.copy(self, (gone + 1).min(self.lines.len())..self.lines.len());
        rest
    }

    fn copy(&mut self, from: &Self, range: Range<usize>) {
        let lines = &from.lines[range];
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return;
        };
        let (old, new) = (first.start, self.text.len());
        self.text.push_str(&from.text[old..last.end]);
        self.lines.extend(lines.iter().map(|line| Line {
            start: line.start - old + new,
            end: line.end - old + new,
            slot: line.slot,
        }));
    }
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
        self.layout.lines.iter().map(|line| {
            let text = &self.layout.text[line.start..line.end];
            let value = match &self.values {
                Values::Counters(values) => Value::Counter(values[line.slot]),
                Values::Gauges(values) => Value::Gauge(values[line.slot]),
                Values::Histograms(values) => Value::Histogram(&values[line.slot]),
            };
            (text, value)
        })
    }
}
