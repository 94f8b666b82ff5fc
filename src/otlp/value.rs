//! Attribute values as both encodings give them, and the lenient reading of them.
//!
//! Clients write numbers as integers, doubles or text and booleans as text, so every reader here
//! takes all of these. What cannot be read becomes a [`Refusal`] that names the field and never
//! quotes its content.

use std::borrow::Cow;

use super::key::Key;
use crate::model::label;
use crate::model::tokens::Tokens;
use crate::model::usage::Refusal;

/// Attributes of one item at most. Claude Code sends about 25.
pub(super) const MAX_ATTRIBUTES: usize = 256;

/// Values inside lists and maps of one item at most; they matter only for telling series apart.
pub(super) const MAX_NESTED: usize = 1024;

/// Bytes of one name (model, session, tool, ...) at most.
pub(super) const MAX_TEXT: usize = label::MAX_BYTES;

/// One attribute's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Value<'a>>),
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
    /// Something that its type does not allow: invalid UTF-8, or text that is no number.
    Bad,
}

/// A refusal in the words `field: reason`.
pub(super) fn refuse(code: &'static str, field: &str, reason: &str) -> Refusal {
    Refusal {
        code,
        message: format!("{field}: {reason}"),
    }
}

pub(super) fn missing(field: &str) -> Refusal {
    refuse("missing", field, "is missing")
}

impl Value<'_> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The text of a name, fit to be a label; `None` if absent or empty.
    pub(super) fn text<'v>(&'v self, field: &str) -> Result<Option<Cow<'v, str>>, Refusal> {
        let text = match self {
            Self::Text(text) => Cow::Borrowed(text.as_ref()),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Absent => return Ok(None),
            Self::Bad => return Err(refuse("malformed", field, "is not valid text")),
            _ => return Err(refuse("malformed", field, "is not text")),
        };
        if text.len() > MAX_TEXT {
            return Err(refuse("too_long", field, "is longer than 256 bytes"));
        }
        Ok(match text {
            Cow::Borrowed(text) => label::clean(text),
            Cow::Owned(text) => Some(Cow::Owned(text)),
        })
    }

    /// The value as a finite number that is not negative, `None` if absent.
    fn number(&self, field: &str) -> Result<Option<f64>, Refusal> {
        let number = match self {
            Self::Absent => return Ok(None),
            Self::Int(number) => *number as f64,
            Self::Double(number) => *number,
            Self::Text(text) if text.trim().is_empty() => return Ok(None),
            Self::Text(text) => match text.trim().parse::<f64>() {
                Ok(number) => number,
                Err(_) => return Err(refuse("not_a_number", field, "is not a number")),
            },
            _ => return Err(refuse("not_a_number", field, "is not a number")),
        };
        if !number.is_finite() {
            return Err(refuse("not_finite", field, "is not a finite number"));
        }
        if number < 0.0 {
            return Err(refuse("negative", field, "is negative"));
        }
        Ok(Some(number))
    }

    /// A whole number up to [`Tokens::MAX`], `None` if absent.
    pub(super) fn count(&self, field: &str) -> Result<Option<u64>, Refusal> {
        let whole = match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        match whole {
            Some(number @ 0..=SMALL) => return Ok(Some(number.unsigned_abs())),
            Some(1..) => return Err(too_large(field)),
            _ => {}
        }
        let Some(number) = self.number(field)? else {
            return Ok(None);
        };
        if number.fract() != 0.0 {
            return Err(refuse("not_whole", field, "is not a whole number"));
        }
        bounded(number, field).map(Some)
    }

    /// The number times `scale`, rounded half to even, up to [`Tokens::MAX`].
    pub(super) fn scaled(&self, field: &str, scale: f64) -> Result<Option<u64>, Refusal> {
        let Some(number) = self.number(field)? else {
            return Ok(None);
        };
        bounded((number * scale).round_ties_even(), field).map(Some)
    }
}

/// Integers up to here pass through a double unchanged.
const SMALL: i64 = 1 << 53;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked against both bounds before"
)]
fn bounded(number: f64, field: &str) -> Result<u64, Refusal> {
    if number > Tokens::MAX as f64 {
        return Err(too_large(field));
    }
    Ok(number as u64)
}

fn too_large(field: &str) -> Refusal {
    refuse("too_large", field, "is larger than 2^53")
}

/// A number that may be beyond 63 bits; there readers only have to see that it is too large.
pub(super) fn whole<'a>(number: u64) -> Value<'a> {
    i64::try_from(number).map_or(Value::Double(number as f64), Value::Int)
}

/// The attributes of one item or resource, found by key without a search.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    list: Vec<(Cow<'a, str>, Value<'a>)>,
    /// Position in the list by [`Key`].
    index: [u16; Key::COUNT],
    overfull: bool,
}

const NOT_THERE: u16 = u16::MAX;

impl Default for Attributes<'_> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            index: [NOT_THERE; Key::COUNT],
            overfull: false,
        }
    }
}

impl<'a> Attributes<'a> {
    /// Forgets the content and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.index = [NOT_THERE; Key::COUNT];
        self.overfull = false;
    }

    /// Adds an attribute. Of a key that comes twice the first value is read.
    pub(super) fn push(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        if self.list.len() == MAX_ATTRIBUTES {
            self.overfull = true;
            return;
        }
        if let Some(key) = Key::of(&name) {
            let slot = &mut self.index[key as usize];
            if *slot == NOT_THERE {
                *slot = u16::try_from(self.list.len()).unwrap_or(NOT_THERE);
            }
        }
        self.list.push((name, value));
    }

    /// The bound on the number of attributes, as a check.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.overfull {
            let reason = "more than 256 of them";
            return Err(refuse("too_many_attributes", "attributes", reason));
        }
        Ok(())
    }

    pub(super) fn get(&self, key: Key) -> &Value<'a> {
        let position = usize::from(self.index[key as usize]);
        self.list
            .get(position)
            .map_or(&Value::Absent, |(_, value)| value)
    }

    /// The value of an attribute that is no [`Key`].
    pub(super) fn named(&self, name: &str) -> &Value<'a> {
        self.list
            .iter()
            .find(|(key, _)| key == name)
            .map_or(&Value::Absent, |(_, value)| value)
    }

    pub(super) fn text(&self, key: Key) -> Result<Option<Cow<'_, str>>, Refusal> {
        self.get(key).text(key.name())
    }

    pub(super) fn count(&self, key: Key) -> Result<Option<u64>, Refusal> {
        self.get(key).count(key.name())
    }

    pub(super) fn scaled(&self, key: Key, scale: f64) -> Result<Option<u64>, Refusal> {
        self.get(key).scaled(key.name(), scale)
    }

    pub(super) fn list(&self) -> &[(Cow<'a, str>, Value<'a>)] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<Option<u64>, Refusal>) -> &'static str {
        result.expect_err("a refusal").code
    }

    #[test]
    fn numbers_are_read_from_integers_doubles_and_text() {
        let values = [
            Value::Int(340),
            Value::Double(340.0),
            Value::Text("340".into()),
            Value::Text("340.0".into()),
        ];
        for value in values {
            assert_eq!(value.count("input_tokens"), Ok(Some(340)));
        }
    }

    #[test]
    fn what_is_no_count_is_refused_with_a_code() {
        assert_eq!(code(Value::Int(-1).count("n")), "negative");
        assert_eq!(code(Value::Double(f64::NAN).count("n")), "not_finite");
        assert_eq!(code(Value::Double(f64::INFINITY).count("n")), "not_finite");
        assert_eq!(code(Value::Text("NaN".into()).count("n")), "not_finite");
        assert_eq!(code(Value::Double(1.5).count("n")), "not_whole");
        assert_eq!(code(Value::Int(SMALL + 1).count("n")), "too_large");
        assert_eq!(
            code(Value::Text("9007199254740993".into()).count("n")),
            "too_large"
        );
        assert_eq!(code(Value::Double(1e300).count("n")), "too_large");
        assert_eq!(code(Value::Text("many".into()).count("n")), "not_a_number");
        assert_eq!(code(Value::Bad.count("n")), "not_a_number");
    }

    #[test]
    fn money_and_seconds_are_rounded_half_to_even() {
        let cost = Value::Double(0.023_965);
        assert_eq!(cost.scaled("cost", 1e6), Ok(Some(23_965)));
        assert_eq!(Value::Double(2.5).scaled("n", 1.0), Ok(Some(2)));
        assert_eq!(Value::Double(3.5).scaled("n", 1.0), Ok(Some(4)));
    }

    #[test]
    fn a_refusal_names_the_field_and_quotes_nothing() {
        let refusal = Value::Text("secret".into()).count("input_tokens");
        let message = refusal.expect_err("a refusal").message;
        assert_eq!(message, "input_tokens: is not a number");
    }

    #[test]
    fn attributes_are_bounded_and_the_first_of_a_key_is_read() {
        let mut attributes = Attributes::default();
        attributes.push("model".into(), Value::Text("first".into()));
        attributes.push("model".into(), Value::Text("second".into()));
        assert_eq!(attributes.text(Key::Model), Ok(Some("first".into())));
        for n in 0..10_000 {
            attributes.push(format!("k{n}").into(), Value::Int(n));
        }
        assert_eq!(attributes.list().len(), MAX_ATTRIBUTES);
        assert_eq!(
            attributes.check().expect_err("a refusal").code,
            "too_many_attributes"
        );
    }
}
