//! The leaves of OTLP/JSON: keys, numbers, texts and booleans, read leniently.
//!
//! A leaf of the wrong type is marked and costs its item, not the request.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::item::Nanos;
use super::value::{Value, whole};

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

    pub(super) fn bool(self) -> Value<'a> {
        match self {
            Self::Null => Value::Absent,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Text(text) => text.parse().map_or(Value::Bad, Value::Bool),
            _ => Value::Bad,
        }
    }

    pub(super) fn bytes(self) -> Value<'a> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_alphabets() {
        for text in ["+/8=", "+/8", "-_8"] {
            assert_eq!(base64(text), Some(vec![0xfb, 0xff]));
        }
    }
}
