//! The leaves of OTLP/JSON: attributes and their values, read leniently.
//!
//! A leaf of the wrong type is marked and costs its item, not the request.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::item::Nanos;
use super::value::{Attributes, MAX_NESTED, Value, whole};

/// A key of an object, borrowed where it has no escapes.
pub(super) struct Key<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(from)? {
            Scalar::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a key must be text")),
        }
    }
}

/// Any leaf. Lists and objects are read over.
#[derive(Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Other,
}

impl<'a> Scalar<'a> {
    pub(super) fn text(self) -> Value<'a> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Null => Value::Absent,
            _ => Value::Bad,
        }
    }

    pub(super) fn int(self) -> Value<'a> {
        match self {
            Self::Null => Value::Absent,
            Self::Unsigned(number) => whole(number),
            Self::Signed(number) => Value::Int(number),
            Self::Double(number) => whole_double(number),
            Self::Text(text) => text_int(&text),
            Self::Bool(_) | Self::Other => Value::Bad,
        }
    }

    pub(super) fn double(self) -> Value<'a> {
        match self {
            Self::Null => Value::Absent,
            Self::Unsigned(number) => Value::Double(number as f64),
            Self::Signed(number) => Value::Double(number as f64),
            Self::Double(number) => Value::Double(number),
            Self::Text(text) => text.trim().parse().map_or(Value::Bad, Value::Double),
            Self::Bool(_) | Self::Other => Value::Bad,
        }
    }

    fn bool(self) -> Value<'a> {
        match self {
            Self::Null => Value::Absent,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Text(text) => text.parse().map_or(Value::Bad, Value::Bool),
            _ => Value::Bad,
        }
    }

    fn bytes(self) -> Value<'a> {
        match self {
            Self::Null => Value::Absent,
            Self::Text(text) => {
                base64(&text).map_or(Value::Bad, |bytes| Value::Bytes(bytes.into()))
            }
            _ => Value::Bad,
        }
    }

    pub(super) fn nanos(self) -> Nanos {
        match self {
            Self::Null => Nanos::Absent,
            Self::Unsigned(nanos) => Nanos::from_wire(nanos),
            Self::Text(text) if text.is_empty() => Nanos::Absent,
            Self::Text(text) => text.parse().map_or(Nanos::Bad, Nanos::from_wire),
            _ => Nanos::Bad,
        }
    }

    /// False if it is no boolean.
    pub(super) fn flag(self) -> bool {
        self.bool() == Value::Bool(true)
    }

    /// Bits, or a number of an enumeration.
    pub(super) fn flags(self) -> u64 {
        match self {
            Self::Unsigned(flags) => flags,
            Self::Text(text) => text.parse().unwrap_or(0),
            _ => 0,
        }
    }
}

/// JSON writers without integers write `5.0`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and small"
)]
fn whole_double<'a>(number: f64) -> Value<'a> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        Value::Int(number as i64)
    } else {
        Value::Double(number)
    }
}

fn text_int<'a>(text: &str) -> Value<'a> {
    let text = text.trim();
    match text.parse() {
        Ok(number) => Value::Int(number),
        Err(_) => text.parse().map_or(Value::Bad, whole_double),
    }
}

/// Base64 in the standard or the URL alphabet, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ReadScalar)
    }
}

struct ReadScalar;

impl<'de> Visitor<'de> for ReadScalar {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Signed(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Double(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// How an object or list is read that may be missing (`null`).
pub(super) trait Shape<'de>: Sized {
    type Value;

    fn nothing(self) -> Self::Value;

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error>;

    fn list<A: SeqAccess<'de>>(self, _list: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom("a list is not expected here"))
    }

    /// Text, a number or a boolean in its place.
    fn scalar<E: Error>(self) -> Result<Self::Value, E> {
        Err(E::custom("an object or a list is expected here"))
    }
}

/// Reads a [`Shape`].
pub(super) struct Read<S>(pub(super) S);

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Read<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, S: Shape<'de>> Visitor<'de> for Read<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_unit<E>(self) -> Result<S::Value, E> {
        Ok(self.0.nothing())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S::Value, A::Error> {
        self.0.object(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S::Value, A::Error> {
        self.0.list(list)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<S::Value, E> {
        self.0.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<S::Value, E> {
        self.0.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<S::Value, E> {
        self.0.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<S::Value, E> {
        self.0.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<S::Value, E> {
        self.0.scalar()
    }
}

pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// `Resource`: its attributes.
pub(super) struct ResourceAttributes<'s, 'a>(pub(super) &'s mut Attributes<'a>);

impl<'de> Shape<'de> for ResourceAttributes<'_, 'de> {
    type Value = ();

    fn nothing(self) {}

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            if key == "attributes" {
                map.next_value_seed(Read(AttributeList::of(self.0)))?;
            } else {
                skip(&mut map)?;
            }
        }
        Ok(())
    }
}

/// `InstrumentationScope`: its name.
pub(super) struct NameOf;

impl<'de> Shape<'de> for NameOf {
    type Value = Value<'de>;

    fn nothing(self) -> Value<'de> {
        Value::Absent
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut name = Value::Absent;
        while let Some(Key(key)) = map.next_key()? {
            if key == "name" {
                name = map.next_value::<Scalar<'_>>()?.text();
            } else {
                skip(&mut map)?;
            }
        }
        Ok(name)
    }
}

/// A list of `KeyValue`.
pub(super) struct AttributeList<'s, 'a> {
    attributes: &'s mut Attributes<'a>,
    nested: usize,
}

impl<'s, 'a> AttributeList<'s, 'a> {
    pub(super) fn of(attributes: &'s mut Attributes<'a>) -> Self {
        Self {
            attributes,
            nested: MAX_NESTED,
        }
    }
}

impl<'de> Shape<'de> for AttributeList<'_, 'de> {
    type Value = ();

    fn nothing(self) {}

    fn object<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("attributes must be a list"))
    }

    fn list<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some((key, value)) = list.next_element_seed(Read(Pair(&mut self.nested)))? {
            self.attributes.push(key, value);
        }
        Ok(())
    }
}

/// `KeyValue`; the number counts down how many nested values may still come.
struct Pair<'n>(&'n mut usize);

impl<'de> Shape<'de> for Pair<'_> {
    type Value = (Cow<'de, str>, Value<'de>);

    fn nothing(self) -> Self::Value {
        (Cow::Borrowed(""), Value::Absent)
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut name = Cow::Borrowed("");
        let mut value = Value::Absent;
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "key" => {
                    if let Scalar::Text(text) = map.next_value()? {
                        name = text;
                    }
                }
                "value" => value = map.next_value_seed(Read(AnyValue(&mut *self.0)))?,
                _ => skip(&mut map)?,
            }
        }
        Ok((name, value))
    }
}

/// `AnyValue`; the number counts down how many nested values may still come.
pub(super) struct AnyValue<'n>(pub(super) &'n mut usize);

impl<'de> Shape<'de> for AnyValue<'_> {
    type Value = Value<'de>;

    fn nothing(self) -> Value<'de> {
        Value::Absent
    }

    fn scalar<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Bad)
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut value = Value::Absent;
        while let Some(Key(key)) = map.next_key()? {
            value = match &*key {
                "stringValue" => map.next_value::<Scalar<'_>>()?.text(),
                "intValue" => map.next_value::<Scalar<'_>>()?.int(),
                "doubleValue" => map.next_value::<Scalar<'_>>()?.double(),
                "boolValue" => map.next_value::<Scalar<'_>>()?.bool(),
                "bytesValue" => map.next_value::<Scalar<'_>>()?.bytes(),
                "arrayValue" => map.next_value_seed(Read(Values(&mut *self.0)))?,
                "kvlistValue" => map.next_value_seed(Read(Pairs(&mut *self.0)))?,
                _ => {
                    skip(&mut map)?;
                    continue;
                }
            };
        }
        Ok(value)
    }
}

/// `ArrayValue`, and within it the list of its values.
struct Values<'n>(&'n mut usize);

impl<'de> Shape<'de> for Values<'_> {
    type Value = Value<'de>;

    fn nothing(self) -> Value<'de> {
        Value::List(Vec::new())
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut value = Value::List(Vec::new());
        while let Some(Key(key)) = map.next_key()? {
            if key == "values" {
                value = map.next_value_seed(Read(Values(&mut *self.0)))?;
            } else {
                skip(&mut map)?;
            }
        }
        Ok(value)
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Read(AnyValue(&mut *self.0)))? {
            if *self.0 == 0 {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Value::Bad);
            }
            *self.0 -= 1;
            values.push(value);
        }
        Ok(Value::List(values))
    }
}

/// `KeyValueList`, and within it the list of its pairs.
struct Pairs<'n>(&'n mut usize);

impl<'de> Shape<'de> for Pairs<'_> {
    type Value = Value<'de>;

    fn nothing(self) -> Value<'de> {
        Value::Map(Vec::new())
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut value = Value::Map(Vec::new());
        while let Some(Key(key)) = map.next_key()? {
            if key == "values" {
                value = map.next_value_seed(Read(Pairs(&mut *self.0)))?;
            } else {
                skip(&mut map)?;
            }
        }
        Ok(value)
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = list.next_element_seed(Read(Pair(&mut *self.0)))? {
            if *self.0 == 0 {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Value::Bad);
            }
            *self.0 -= 1;
            pairs.push(pair);
        }
        Ok(Value::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value<'_> {
        let mut nested = MAX_NESTED;
        let mut json = serde_json::Deserializer::from_str(json);
        let seed = Read(AnyValue(&mut nested));
        seed.deserialize(&mut json).expect("a value")
    }

    #[test]
    fn leaves_are_read_from_numbers_and_text() {
        assert_eq!(value(r#"{"intValue":"42"}"#), Value::Int(42));
        assert_eq!(value(r#"{"intValue":42}"#), Value::Int(42));
        assert_eq!(value(r#"{"intValue":42.0}"#), Value::Int(42));
        assert_eq!(value(r#"{"doubleValue":1}"#), Value::Double(1.0));
        assert_eq!(value(r#"{"doubleValue":"0.5"}"#), Value::Double(0.5));
        assert_eq!(value(r#"{"boolValue":"true"}"#), Value::Bool(true));
        assert_eq!(
            value(r#"{"stringValue":"a\"b"}"#),
            Value::Text("a\"b".into())
        );
        assert_eq!(value(r#"{"later":[{}],"intValue":1}"#), Value::Int(1));
        assert_eq!(value("null"), Value::Absent);
    }

    #[test]
    fn leaves_of_the_wrong_type_are_marked() {
        for json in [
            r#"{"intValue":"many"}"#,
            r#"{"intValue":{"deep":[1]}}"#,
            r#"{"stringValue":5}"#,
            r#"{"boolValue":"maybe"}"#,
            r#"{"bytesValue":"!"}"#,
            r#""text""#,
        ] {
            assert_eq!(value(json), Value::Bad, "{json}");
        }
    }

    #[test]
    fn bytes_are_read_in_both_alphabets() {
        for text in ["+/8=", "+/8", "-_8"] {
            assert_eq!(base64(text), Some(vec![0xfb, 0xff]));
        }
    }

    #[test]
    fn lists_and_maps_are_read_and_bounded() {
        let list = value(r#"{"arrayValue":{"values":[{"intValue":1},{"stringValue":"x"}]}}"#);
        assert_eq!(
            list,
            Value::List(vec![Value::Int(1), Value::Text("x".into())])
        );
        let map = value(r#"{"kvlistValue":{"values":[{"key":"k","value":{"intValue":1}}]}}"#);
        assert_eq!(map, Value::Map(vec![("k".into(), Value::Int(1))]));
        let many = vec!["{}"; MAX_NESTED + 1].join(",");
        let many = format!(r#"{{"arrayValue":{{"values":[{many}]}}}}"#);
        assert_eq!(value(&many), Value::Bad);
    }
}
