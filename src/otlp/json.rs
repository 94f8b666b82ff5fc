//! Walks an OTLP request in JSON and hands each item to the mapper as it is read.
//!
//! OTLP/JSON: the keys are lowerCamelCase, unknown keys are passed over, 64-bit integers are
//! text or numbers. Items are mapped one by one and not kept, so a body of a million tiny items
//! needs no more memory than it has itself. Texts without escapes are borrowed from the body.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::Signal;
use super::item::{DataPoint, LogRecord, Metric, MetricKind};
use super::json_scalar::{Key, Scalar};
use super::json_value::{AnyValue, AttributeList, NameOf, Read, ResourceAttributes, Shape, skip};
use super::map::Mapper;
use super::value::{Attributes, MAX_NESTED, Value};
use crate::model::usage::Temporality;

pub(super) fn walk<'a>(
    body: &'a [u8],
    mapper: &mut Mapper<'_, 'a>,
) -> Result<(), serde_json::Error> {
    let mut walk = Walk {
        mapper,
        record: LogRecord::default(),
        point: DataPoint::default(),
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    walk.at(Level::Request).deserialize(&mut json)?;
    json.end()
}

/// The walk's memory: one record and one point, used again for each item.
struct Walk<'m, 'c, 'a> {
    mapper: &'m mut Mapper<'c, 'a>,
    record: LogRecord<'a>,
    point: DataPoint<'a>,
}

impl<'m, 'c, 'a> Walk<'m, 'c, 'a> {
    fn at<'w>(&'w mut self, level: Level) -> Read<Step<'w, 'm, 'c, 'a>> {
        Read(Step { walk: self, level })
    }
}

/// Where in the request an object stands.
#[derive(Clone, Copy)]
enum Level {
    Request,
    Resource,
    Scope,
    Item,
    Point,
}

/// The key of the lists of resources, scopes and items.
fn list_key(signal: Signal, level: Level) -> &'static str {
    match (signal, level) {
        (Signal::Logs, Level::Request) => "resourceLogs",
        (Signal::Logs, Level::Resource) => "scopeLogs",
        (Signal::Logs, _) => "logRecords",
        (Signal::Metrics, Level::Request) => "resourceMetrics",
        (Signal::Metrics, Level::Resource) => "scopeMetrics",
        (Signal::Metrics, _) => "metrics",
        (Signal::Traces, Level::Request) => "resourceSpans",
        (Signal::Traces, Level::Resource) => "scopeSpans",
        (Signal::Traces, _) => "spans",
    }
}

/// Reads one object of a level, or a list of them.
struct Step<'w, 'm, 'c, 'a> {
    walk: &'w mut Walk<'m, 'c, 'a>,
    level: Level,
}

impl<'de> Shape<'de> for Step<'_, '_, '_, 'de> {
    type Value = ();

    fn nothing(self) {}

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.walk.at(self.level))?.is_some() {}
        Ok(())
    }

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.level {
            Level::Request => self.walk.request(map),
            Level::Resource => self.walk.resource(map),
            Level::Scope => self.walk.scope(map),
            Level::Item => match self.walk.mapper.signal() {
                Signal::Logs => self.walk.log(map),
                Signal::Metrics => self.walk.metric(map),
                Signal::Traces => self.walk.span(map),
            },
            Level::Point => self.walk.point(map),
        }
    }
}

impl<'de> Walk<'_, '_, 'de> {
    fn request<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let wanted = list_key(self.mapper.signal(), Level::Request);
        while let Some(Key(key)) = map.next_key()? {
            if key == wanted {
                map.next_value_seed(self.at(Level::Resource))?;
            } else {
                skip(&mut map)?;
            }
        }
        Ok(())
    }

    fn resource<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let wanted = list_key(self.mapper.signal(), Level::Resource);
        let mut known = false;
        let mut waiting = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            if key == "resource" {
                let mut attributes = Attributes::default();
                map.next_value_seed(Read(ResourceAttributes(&mut attributes)))?;
                self.mapper.begin_resource(attributes);
                known = true;
            } else if key == wanted && known {
                map.next_value_seed(self.at(Level::Scope))?;
            } else if key == wanted {
                waiting.push(map.next_value::<&'de RawValue>()?);
            } else {
                skip(&mut map)?;
            }
        }
        if !known {
            self.mapper.begin_resource(Attributes::default());
        }
        self.resume(waiting, Level::Scope)
    }

    fn scope<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let wanted = list_key(self.mapper.signal(), Level::Scope);
        let mut known = false;
        let mut waiting = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            if key == "scope" {
                let name = map.next_value_seed(Read(NameOf))?;
                self.mapper.begin_scope(name);
                known = true;
            } else if key == wanted && known {
                map.next_value_seed(self.at(Level::Item))?;
            } else if key == wanted {
                waiting.push(map.next_value::<&'de RawValue>()?);
            } else {
                skip(&mut map)?;
            }
        }
        if !known {
            self.mapper.begin_scope(Value::Absent);
        }
        self.resume(waiting, Level::Item)
    }

    /// Reads what came before the thing that it depends on.
    fn resume<E: Error>(&mut self, waiting: Vec<&'de RawValue>, level: Level) -> Result<(), E> {
        for raw in waiting {
            let mut json = serde_json::Deserializer::from_str(raw.get());
            let read = self.at(level).deserialize(&mut json);
            read.map_err(|_| E::custom("an item is not what OTLP says"))?;
        }
        Ok(())
    }

    fn log<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let record = &mut self.record;
        record.clear();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "timeUnixNano" => record.time = map.next_value::<Scalar<'_>>()?.nanos(),
                "observedTimeUnixNano" => {
                    record.observed = map.next_value::<Scalar<'_>>()?.nanos();
                }
                "body" => {
                    let mut nested = MAX_NESTED;
                    record.body = map.next_value_seed(Read(AnyValue(&mut nested)))?;
                }
                "eventName" => record.event_name = map.next_value::<Scalar<'_>>()?.text(),
                "attributes" => {
                    let list = AttributeList::of(&mut record.attributes);
                    map.next_value_seed(Read(list))?;
                }
                _ => skip(&mut map)?,
            }
        }
        self.mapper.log(record);
        Ok(())
    }

    fn span<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.mapper.span();
        Ok(())
    }

    /// The points wait for the end of the metric, because what they mean may come after them.
    fn metric<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let mut metric = Metric::default();
        let mut data = None;
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "name" => {
                    if let Value::Text(name) = map.next_value::<Scalar<'_>>()?.text() {
                        metric.name = name;
                    }
                }
                "sum" => data = Some((MetricKind::Sum, map.next_value::<&'de RawValue>()?)),
                "histogram" | "exponentialHistogram" => {
                    data = Some((MetricKind::Histogram, map.next_value()?));
                }
                "gauge" | "summary" => data = Some((MetricKind::Other, map.next_value()?)),
                _ => skip(&mut map)?,
            }
        }
        let Some((kind, raw)) = data else {
            return Ok(());
        };
        let mut content = MetricData::default();
        let mut json = serde_json::Deserializer::from_str(raw.get());
        let read = Read(&mut content).deserialize(&mut json);
        read.map_err(|_| A::Error::custom("a metric is not what OTLP says"))?;
        metric.temporality = content.temporality;
        metric.kind = match kind {
            MetricKind::Sum if !content.monotonic => MetricKind::Other,
            kind => kind,
        };
        self.mapper.begin_metric(metric);
        self.resume(content.points, Level::Point)?;
        self.mapper.end_metric();
        Ok(())
    }

    fn point<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let point = &mut self.point;
        point.clear();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "attributes" => {
                    let list = AttributeList::of(&mut point.attributes);
                    map.next_value_seed(Read(list))?;
                }
                "startTimeUnixNano" => point.start = map.next_value::<Scalar<'_>>()?.nanos(),
                "timeUnixNano" => point.time = map.next_value::<Scalar<'_>>()?.nanos(),
                "asInt" => point.value = map.next_value::<Scalar<'_>>()?.int(),
                "asDouble" => point.value = map.next_value::<Scalar<'_>>()?.double(),
                "count" => point.count = map.next_value::<Scalar<'_>>()?.int(),
                "sum" => point.sum = map.next_value::<Scalar<'_>>()?.double(),
                "flags" => point.flags = map.next_value::<Scalar<'_>>()?.flags(),
                _ => skip(&mut map)?,
            }
        }
        self.mapper.point(point);
        Ok(())
    }
}

/// `Sum`, `Histogram` and the like.
#[derive(Default)]
struct MetricData<'a> {
    points: Vec<&'a RawValue>,
    temporality: Option<Temporality>,
    monotonic: bool,
}

impl<'de> Shape<'de> for &mut MetricData<'de> {
    type Value = ();

    fn nothing(self) {}

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "dataPoints" => self.points.push(map.next_value()?),
                "aggregationTemporality" => {
                    self.temporality = temporality(map.next_value()?);
                }
                "isMonotonic" => self.monotonic = map.next_value::<Scalar<'_>>()?.flag(),
                _ => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

/// A number by the OTLP specification, a name by protobuf's.
fn temporality(value: Scalar<'_>) -> Option<Temporality> {
    match value {
        Scalar::Text(name) if name == "AGGREGATION_TEMPORALITY_DELTA" => Some(Temporality::Delta),
        Scalar::Text(name) if name == "AGGREGATION_TEMPORALITY_CUMULATIVE" => {
            Some(Temporality::Cumulative)
        }
        number => Metric::temporality_of(number.flags()),
    }
}
