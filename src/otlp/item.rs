//! One log record, metric or data point as it lies in the request, borrowed from its body.
//! Both encodings fill these; the mapping reads nothing else.

use std::borrow::Cow;

use jiff::Timestamp;

use super::key::Key;
use super::value::{Attributes, Value, missing, refuse};
use crate::model::usage::{Refusal, Temporality};

/// Nanoseconds since 1970 as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Nanos {
    #[default]
    Absent,
    At(u64),
    Bad,
}

impl Nanos {
    /// OTLP: zero means that the time is not known.
    pub(super) fn from_wire(nanos: u64) -> Self {
        if nanos == 0 {
            Self::Absent
        } else {
            Self::At(nanos)
        }
    }

    pub(super) fn timestamp(self, field: &str) -> Result<Option<Timestamp>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::At(nanos) => Timestamp::from_nanosecond(i128::from(nanos))
                .map(Some)
                .map_err(|_| refuse("malformed", field, "is out of range")),
            Self::Bad => Err(refuse("malformed", field, "is not a time in nanoseconds")),
        }
    }
}

/// A log record. Its body is kept only to read the event's name from it.
#[derive(Debug, Default)]
pub(super) struct LogRecord<'a> {
    pub(super) time: Nanos,
    pub(super) observed: Nanos,
    pub(super) body: Value<'a>,
    pub(super) event_name: Value<'a>,
    pub(super) attributes: Attributes<'a>,
}

impl LogRecord<'_> {
    pub(super) fn clear(&mut self) {
        self.time = Nanos::Absent;
        self.observed = Nanos::Absent;
        self.body = Value::Absent;
        self.event_name = Value::Absent;
        self.attributes.clear();
    }

    /// When it happened: the client's own timestamp, else the record's time, else when it was
    /// observed.
    pub(super) fn at(&self) -> Result<Timestamp, Refusal> {
        if let Value::Text(text) = self.attributes.get(Key::EventTimestamp)
            && let Ok(at) = text.parse::<Timestamp>()
        {
            return Ok(at);
        }
        if let Some(at) = self.time.timestamp("timeUnixNano")? {
            return Ok(at);
        }
        let observed = self.observed.timestamp("observedTimeUnixNano")?;
        observed.ok_or_else(|| missing("timeUnixNano"))
    }
}

/// What kind of data a metric has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MetricKind {
    Sum,
    Histogram,
    /// Gauges, summaries, and sums that may fall.
    #[default]
    Other,
}

/// A metric without its points.
#[derive(Debug, Default)]
pub(super) struct Metric<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) kind: MetricKind,
    pub(super) temporality: Option<Temporality>,
}

impl Metric<'_> {
    /// OTLP: `AggregationTemporality`; zero is unspecified.
    pub(super) fn temporality_of(number: u64) -> Option<Temporality> {
        match number {
            1 => Some(Temporality::Delta),
            2 => Some(Temporality::Cumulative),
            _ => None,
        }
    }
}

/// A data point of any kind.
#[derive(Debug, Default)]
pub(super) struct DataPoint<'a> {
    pub(super) start: Nanos,
    pub(super) time: Nanos,
    /// The number of a sum or gauge.
    pub(super) value: Value<'a>,
    /// How many observations a histogram has.
    pub(super) count: Value<'a>,
    /// The sum of a histogram's observations.
    pub(super) sum: Value<'a>,
    pub(super) flags: u64,
    pub(super) attributes: Attributes<'a>,
}

impl DataPoint<'_> {
    pub(super) fn clear(&mut self) {
        self.start = Nanos::Absent;
        self.time = Nanos::Absent;
        self.value = Value::Absent;
        self.count = Value::Absent;
        self.sum = Value::Absent;
        self.flags = 0;
        self.attributes.clear();
    }

    /// OTLP: `DataPointFlags`, bit 0 says that the series has no value in this interval.
    pub(super) fn has_no_value(&self) -> bool {
        self.flags & 1 == 1
    }

    /// Start and end of what the point covers; a point without a start begins when it ends.
    pub(super) fn range(&self) -> Result<(Timestamp, Timestamp), Refusal> {
        let at = self.time.timestamp("timeUnixNano")?;
        let at = at.ok_or_else(|| missing("timeUnixNano"))?;
        let start = self.start.timestamp("startTimeUnixNano")?;
        Ok((start.unwrap_or(at), at))
    }
}
