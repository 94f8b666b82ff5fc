//! The inner parts of OTLP/JSON: resources, scopes, attributes and their values.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json_scalar::{Key, Scalar};
use super::value::{Attributes, MAX_NESTED, Value};

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
