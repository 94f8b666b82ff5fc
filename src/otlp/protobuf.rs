//! Walks an OTLP request in protobuf and hands each item to the mapper.
//!
//! Field numbers are those of `opentelemetry-proto` 1.x (common, resource, logs, metrics, trace).

use std::borrow::Cow;

use super::Signal;
use super::item::{DataPoint, LogRecord, Metric, MetricKind, Nanos};
use super::map::Mapper;
use super::value::{Attributes, MAX_NESTED, Value, whole};
use super::wire::{Field, Reader, WireError};

/// Lists within lists at most.
const MAX_DEPTH: usize = 32;

pub(super) fn walk<'a>(body: &'a [u8], mapper: &mut Mapper<'_, 'a>) -> Result<(), WireError> {
    let mut walk = Walk {
        mapper,
        record: LogRecord::default(),
        point: DataPoint::default(),
    };
    let mut request = Reader::new(body);
    while let Some((number, field)) = request.next()? {
        if let (1, Field::Bytes(resource)) = (number, field) {
            walk.resource(resource)?;
        }
    }
    Ok(())
}

/// The walk's memory: one record and one point, used again for each item.
struct Walk<'m, 'c, 'a> {
    mapper: &'m mut Mapper<'c, 'a>,
    record: LogRecord<'a>,
    point: DataPoint<'a>,
}

impl<'a> Walk<'_, '_, 'a> {
    /// `ResourceLogs`, `ResourceMetrics`, `ResourceSpans`. The resource may come after what it
    /// describes, so the message is read twice.
    fn resource(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut attributes = Attributes::default();
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next()? {
            if let (1, Field::Bytes(resource)) = (number, field) {
                read_attributes(resource, 1, &mut attributes)?;
            }
        }
        self.mapper.begin_resource(attributes);
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next()? {
            if let (2, Field::Bytes(scope)) = (number, field) {
                self.scope(scope)?;
            }
        }
        Ok(())
    }

    /// `ScopeLogs`, `ScopeMetrics`, `ScopeSpans`.
    fn scope(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut name = Value::Absent;
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next()? {
            if let (1, Field::Bytes(scope)) = (number, field) {
                name = first_text(scope)?;
            }
        }
        self.mapper.begin_scope(name);
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next()? {
            let (2, Field::Bytes(item)) = (number, field) else {
                continue;
            };
            match self.mapper.signal() {
                Signal::Logs => self.log(item)?,
                Signal::Metrics => self.metric(item)?,
                Signal::Traces => self.mapper.span(),
            }
        }
        Ok(())
    }

    fn log(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let record = &mut self.record;
        record.clear();
        let mut nested = MAX_NESTED;
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Fixed64(time)) => record.time = Nanos::from_wire(time),
                (11, Field::Fixed64(time)) => record.observed = Nanos::from_wire(time),
                (5, Field::Bytes(body)) => record.body = read_value(body, 0, &mut nested)?,
                (6, Field::Bytes(pair)) => {
                    let (key, value) = read_pair(pair, 0, &mut nested)?;
                    record.attributes.push(key, value);
                }
                (12, Field::Bytes(name)) => record.event_name = text(name),
                _ => {}
            }
        }
        self.mapper.log(record);
        Ok(())
    }

    fn metric(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut metric = Metric::default();
        let mut data: (u64, &'a [u8]) = (0, &[]);
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(name)) => metric.name = String::from_utf8_lossy(name),
                (5 | 7 | 9 | 10 | 11, Field::Bytes(content)) => data = (number, content),
                _ => {}
            }
        }
        let (kind, content) = data;
        let mut monotonic = false;
        let mut fields = Reader::new(content);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Field::Varint(number)) => metric.temporality = Metric::temporality_of(number),
                (3, Field::Varint(flag)) => monotonic = flag != 0,
                _ => {}
            }
        }
        metric.kind = match kind {
            7 if monotonic => MetricKind::Sum,
            9 | 10 => MetricKind::Histogram,
            _ => MetricKind::Other,
        };
        self.mapper.begin_metric(metric);
        let attributes = attributes_field(kind);
        let mut fields = Reader::new(content);
        while let Some((number, field)) = fields.next()? {
            if let (1, Field::Bytes(point)) = (number, field) {
                self.point(point, kind, attributes)?;
            }
        }
        self.mapper.end_metric();
        Ok(())
    }

    /// All kinds of points share the numbers of their times; numbers 4 to 6 differ.
    fn point(&mut self, message: &'a [u8], kind: u64, attributes: u64) -> Result<(), WireError> {
        let point = &mut self.point;
        point.clear();
        let is_number = matches!(kind, 5 | 7);
        let mut nested = MAX_NESTED;
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Field::Fixed64(time)) => point.start = Nanos::from_wire(time),
                (3, Field::Fixed64(time)) => point.time = Nanos::from_wire(time),
                (4, Field::Fixed64(bits)) if is_number => {
                    point.value = Value::Double(f64::from_bits(bits));
                }
                (6, Field::Fixed64(bits)) if is_number => {
                    point.value = Value::Int(bits.cast_signed());
                }
                (4, Field::Fixed64(count)) => point.count = whole(count),
                (5, Field::Fixed64(bits)) => point.sum = Value::Double(f64::from_bits(bits)),
                (8, Field::Varint(flags)) if is_number => point.flags = flags,
                (10, Field::Varint(flags)) => point.flags = flags,
                (number, Field::Bytes(pair)) if number == attributes => {
                    let (key, value) = read_pair(pair, 0, &mut nested)?;
                    point.attributes.push(key, value);
                }
                _ => {}
            }
        }
        self.mapper.point(point);
        Ok(())
    }
}

/// Where a point of each kind of metric has its attributes.
fn attributes_field(kind: u64) -> u64 {
    match kind {
        9 => 9,
        10 => 1,
        _ => 7,
    }
}

fn text(bytes: &[u8]) -> Value<'_> {
    str::from_utf8(bytes).map_or(Value::Bad, |text| Value::Text(Cow::Borrowed(text)))
}

/// The text in field 1, which is the name of a scope.
fn first_text(message: &[u8]) -> Result<Value<'_>, WireError> {
    let mut found = Value::Absent;
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            found = text(bytes);
        }
    }
    Ok(found)
}

fn read_attributes<'a>(
    message: &'a [u8],
    number_of_attributes: u64,
    attributes: &mut Attributes<'a>,
) -> Result<(), WireError> {
    let mut nested = MAX_NESTED;
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next()? {
        if let Field::Bytes(pair) = field
            && number == number_of_attributes
        {
            let (key, value) = read_pair(pair, 0, &mut nested)?;
            attributes.push(key, value);
        }
    }
    Ok(())
}

type Pair<'a> = (Cow<'a, str>, Value<'a>);

fn key_text(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// `KeyValue`. A key that is no text is replaced and so never read.
fn read_pair<'a>(
    message: &'a [u8],
    depth: usize,
    nested: &mut usize,
) -> Result<Pair<'a>, WireError> {
    let mut key = Cow::Borrowed("");
    let mut value = Value::Absent;
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = key_text(bytes),
            (2, Field::Bytes(content)) => value = read_value(content, depth, nested)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// `AnyValue`; of several alternatives the last counts.
fn read_value<'a>(
    message: &'a [u8],
    depth: usize,
    nested: &mut usize,
) -> Result<Value<'a>, WireError> {
    let mut value = Value::Absent;
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next()? {
        value = match (number, field) {
            (1, Field::Bytes(bytes)) => text(bytes),
            (2, Field::Varint(flag)) => Value::Bool(flag != 0),
            (3, Field::Varint(number)) => Value::Int(number.cast_signed()),
            (4, Field::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
            (5, Field::Bytes(list)) => read_list(list, depth + 1, nested)?,
            (6, Field::Bytes(map)) => read_map(map, depth + 1, nested)?,
            (7, Field::Bytes(bytes)) => Value::Bytes(Cow::Borrowed(bytes)),
            _ => continue,
        };
    }
    Ok(value)
}

fn read_list<'a>(
    message: &'a [u8],
    depth: usize,
    nested: &mut usize,
) -> Result<Value<'a>, WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::TooDeep);
    }
    let mut list = Vec::new();
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Bytes(value)) = (number, field) {
            let value = read_value(value, depth, nested)?;
            if *nested == 0 {
                return Ok(Value::Bad);
            }
            *nested -= 1;
            list.push(value);
        }
    }
    Ok(Value::List(list))
}

fn read_map<'a>(
    message: &'a [u8],
    depth: usize,
    nested: &mut usize,
) -> Result<Value<'a>, WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::TooDeep);
    }
    let mut map = Vec::new();
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Bytes(pair)) = (number, field) {
            let pair = read_pair(pair, depth, nested)?;
            if *nested == 0 {
                return Ok(Value::Bad);
            }
            *nested -= 1;
            map.push(pair);
        }
    }
    Ok(Value::Map(map))
}
