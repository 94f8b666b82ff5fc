//! Values that take any JSON, so that one bad field refuses one record and not the batch.
//!
//! Nothing here fails on a wrong type: what was found is kept until a record is built and the
//! fault can be told together with the field's name. Text is borrowed from the body. A field that
//! is not there reads like `null`: serde offers a missing field as an absent option.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::tokens::Tokens;
use crate::model::usage::Refusal;

/// The longest name or id, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 256;

/// The longest piece of a faulty value that an error message repeats, in characters.
const MAX_SHOWN: usize = 40;

/// A text field. `null` is the same as absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Text<'a> {
    #[default]
    Absent,
    Is(Cow<'a, str>),
    /// Another type, named with its article.
    Other(&'static str),
}

/// A count: a whole number from 0 to 2^53. `null` is the same as absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Count {
    #[default]
    Absent,
    Is(u64),
    /// A whole number that is negative or too large.
    Beyond(String),
    /// Anything else, as it may be shown.
    Other(Cow<'static, str>),
}

/// An object. `null` is the same as absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Part<T> {
    #[default]
    Absent,
    Is(T),
    /// Another type, named with its article.
    Other(&'static str),
}

/// A yes or no. LiteLLM writes `true`, `"True"`, `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flag(pub bool);

/// A refusal for a field that cannot be taken.
pub(super) fn invalid(field: &str, fault: impl fmt::Display) -> Refusal {
    Refusal {
        code: "invalid_field",
        message: format!("{field}: {fault}"),
    }
}

/// A refusal for a required field that is not there.
pub(super) fn missing(field: &str) -> Refusal {
    Refusal {
        code: "missing_field",
        message: format!("{field}: is required"),
    }
}

impl<'a> Text<'a> {
    /// The text without surrounding blanks; absent if nothing is left.
    ///
    /// Errors: another type, over 256 bytes, control characters.
    pub(super) fn optional(self, field: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let text = match self {
            Self::Absent => return Ok(None),
            Self::Other(found) => {
                return Err(invalid(
                    field,
                    format_args!("must be a string, got {found}"),
                ));
            }
            Self::Is(text) => trimmed(text),
        };
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_TEXT_BYTES {
            let len = text.len();
            return Err(invalid(
                field,
                format_args!("must be at most {MAX_TEXT_BYTES} bytes, got {len}"),
            ));
        }
        if has_control(&text) {
            return Err(invalid(field, "must not contain control characters"));
        }
        Ok(Some(text))
    }

    /// As [`Text::optional`], and the field has to be there and not blank.
    pub(super) fn required(self, field: &str) -> Result<Cow<'a, str>, Refusal> {
        if self == Self::Absent {
            return Err(missing(field));
        }
        self.optional(field)?
            .ok_or_else(|| invalid(field, "must not be empty"))
    }

    /// The text, or nothing if it is not usable: for fields that are nice to have.
    pub(super) fn usable(self) -> Option<Cow<'a, str>> {
        self.optional("").ok().flatten()
    }
}

/// As `char::is_control`, which decodes only where a byte leaves a doubt: the control characters
/// above ASCII begin with `C2`.
fn has_control(text: &str) -> bool {
    let doubtful = |byte: u8| byte < b' ' || byte == 0x7f || byte == 0xc2;
    text.bytes().any(doubtful) && text.chars().any(char::is_control)
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

impl Count {
    /// The number, if it is at most `max`.
    pub(super) fn up_to(self, max: u64, field: &str) -> Result<Option<u64>, Refusal> {
        let found = match self {
            Self::Absent => return Ok(None),
            Self::Is(number) if number <= max => return Ok(Some(number)),
            Self::Is(number) => number.to_string(),
            Self::Beyond(number) => number,
            Self::Other(found) => {
                let fault = format_args!("must be a whole number, got {found}");
                return Err(invalid(field, fault));
            }
        };
        Err(invalid(
            field,
            format_args!("must be between 0 and {max}, got {found}"),
        ))
    }

    /// A token count; absent is 0.
    pub(super) fn tokens(self, field: &str) -> Result<u64, Refusal> {
        Ok(self.up_to(Tokens::MAX, field)?.unwrap_or(0))
    }

    /// A number of 32 bits.
    pub(super) fn small(self, field: &str) -> Result<Option<u32>, Refusal> {
        let number = self.up_to(u64::from(u32::MAX), field)?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }
}

/// Numbers and the words for what is no number are shown; other text may be a secret.
fn shown_text(text: &str) -> Cow<'static, str> {
    let numeric = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let numeric = numeric && !text.is_empty();
    let word = matches!(text, "NaN" | "Infinity" | "-Infinity");
    if word || (numeric && text.len() <= MAX_SHOWN) {
        Cow::Owned(format!("the string \"{text}\""))
    } else {
        Cow::Borrowed("a string")
    }
}

impl<T> Part<T> {
    pub(super) fn optional(self, field: &str) -> Result<Option<T>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::Is(part) => Ok(Some(part)),
            Self::Other(found) => Err(invalid(
                field,
                format_args!("must be an object, got {found}"),
            )),
        }
    }
}

/// Writes the visitor methods that only name the type that was found.
macro_rules! other_types {
    ($($method:ident: $type:ty => $name:literal),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok(Self::Value::Other($name.into()))
        })*
    };
}

fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text::Is(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text::Is(Cow::Owned(text.to_owned())))
    }
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Text::Absent)
    }
    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
    other_types!(visit_bool: bool => "true or false", visit_u64: u64 => "a number",
        visit_i64: i64 => "a number", visit_f64: f64 => "a number");
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        drain_map(map).map(|()| Text::Other("an object"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Text::Other("an array"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(TextVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Count::Is(number))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or_else(|_| Count::Beyond(number.to_string()), Count::Is))
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range and the missing fraction are checked before the cast"
    )]
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        if number.fract() == 0.0 && (0.0..=Tokens::MAX as f64).contains(&number) {
            return Ok(Count::Is(number as u64));
        }
        let mut shown = number.to_string();
        if shown.len() > MAX_SHOWN {
            shown = format!("{number:e}");
        }
        Ok(if number.fract() == 0.0 {
            Count::Beyond(shown)
        } else {
            Count::Other(Cow::Owned(shown))
        })
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Count::Other(shown_text(text)))
    }
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Count::Absent)
    }
    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
    other_types!(visit_bool: bool => "true or false");
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        drain_map(map).map(|()| Count::Other("an object".into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Count::Other("an array".into()))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(CountVisitor)
    }
}

struct PartVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PartVisitor<T> {
    type Value = Part<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Part::Is)
    }
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Part::Absent)
    }
    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
    other_types!(visit_bool: bool => "true or false", visit_u64: u64 => "a number",
        visit_i64: i64 => "a number", visit_f64: f64 => "a number", visit_str: &str => "a string");
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Part::Other("an array"))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(PartVisitor(PhantomData))
    }
}

struct FlagVisitor;

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = Flag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Flag(flag))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Flag(text.eq_ignore_ascii_case("true")))
    }
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Flag(false))
    }
    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Flag(number == 1))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Flag(false))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Flag(false))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        drain_map(map).map(|()| Flag(false))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Flag(false))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(FlagVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(json: &str) -> Result<u64, String> {
        let count: Count = serde_json::from_str(json).expect("counts take any JSON");
        count
            .tokens("tokens.input")
            .map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_count_is_a_whole_number_within_53_bits() {
        let fault = |found: &str| {
            Err(format!(
                "tokens.input: must be between 0 and 9007199254740992, got {found}"
            ))
        };
        let no_number =
            |found: &str| Err(format!("tokens.input: must be a whole number, got {found}"));
        assert_eq!(count("0"), Ok(0));
        assert_eq!(count("null"), Ok(0));
        assert_eq!(count("1201.0"), Ok(1201));
        assert_eq!(count("9007199254740992"), Ok(Tokens::MAX));
        assert_eq!(count("9007199254740993"), fault("9007199254740993"));
        assert_eq!(count("18446744073709551616"), fault("18446744073709552000"));
        assert_eq!(count("-1"), fault("-1"));
        assert_eq!(count("1e300"), fault("1e300"));
        assert_eq!(count("0.5"), no_number("0.5"));
        assert_eq!(count("\"NaN\""), no_number("the string \"NaN\""));
        assert_eq!(count("\"12\""), no_number("the string \"12\""));
        assert_eq!(count("\"\""), no_number("a string"));
        assert_eq!(count("\"my password\""), no_number("a string"));
        assert_eq!(count("[1]"), no_number("an array"));
        assert_eq!(count("{\"a\":1}"), no_number("an object"));
        assert_eq!(count("true"), no_number("true or false"));
    }

    #[test]
    fn a_text_is_short_and_printable() {
        let long = format!("{:?}", "x".repeat(257));
        let required = |json: &str| {
            let text: Text<'_> = serde_json::from_str(json).expect("texts take any JSON");
            text.required("user")
                .map(Cow::into_owned)
                .map_err(|refusal| (refusal.code, refusal.message))
        };
        let fault = |text: &str| Err(("invalid_field", format!("user: {text}")));
        assert_eq!(required("\" a\\\"b,c \""), Ok("a\"b,c".to_owned()));
        assert_eq!(
            required("null"),
            Err(("missing_field", "user: is required".to_owned()))
        );
        assert_eq!(required("\" \""), fault("must not be empty"));
        assert_eq!(required(&long), fault("must be at most 256 bytes, got 257"));
        assert_eq!(
            required("\"a\\nb\""),
            fault("must not contain control characters")
        );
        assert_eq!(required("7"), fault("must be a string, got a number"));
    }
}
