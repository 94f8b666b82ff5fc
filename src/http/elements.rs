//! From a body to its elements: one object, an array of objects, or one object a line.
//!
//! A well-formed body is read in one pass. Only if that fails is it cut into elements first, so
//! that a broken one is named and the others are kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use super::lenient::Part;
use crate::model::usage::Refusal;

/// Elements in one call. A gateway's batch has hundreds; the bound keeps one call's work short.
pub const MAX_ELEMENTS: usize = 10_000;

/// Characters of a number that an error message repeats at most.
const MAX_SHOWN: usize = 40;

/// How the elements of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One JSON object or an array of them.
    Json,
    /// A JSON object a line; blank lines do not count.
    Lines,
}

/// Why no element of a body could be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    #[error("the body is empty")]
    Empty,
    #[error("the body must be a JSON object or an array of objects")]
    NotObjects,
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    #[error("a call takes at most {MAX_ELEMENTS} records")]
    TooMany,
}

/// Takes the elements one after the other.
pub(super) trait Sink<'a> {
    /// What an element is read as.
    type Element: Deserialize<'a>;

    /// Takes the next element, or the reason why it cannot be read.
    fn take(&mut self, element: Result<Part<Self::Element>, Refusal>);
}

/// Reads a body into a sink. `empty` makes the sink; it is called again if a second pass is
/// needed.
pub(super) fn read<'a, S: Sink<'a>>(
    body: &'a [u8],
    layout: Layout,
    empty: impl Fn() -> S,
) -> Result<S, BodyFault> {
    let slices = match (layout, body.trim_ascii_start().first()) {
        (_, None) => return Err(BodyFault::Empty),
        (Layout::Lines, _) => lines(body)?,
        (Layout::Json, Some(b'{')) => vec![body.trim_ascii()],
        (Layout::Json, Some(b'[')) => match read_array(body, empty()) {
            Ok(sink) => return Ok(sink),
            Err(BodyFault::Syntax(error)) => split_array(body).ok_or(BodyFault::Syntax(error))?,
            Err(fault) => return Err(fault),
        },
        (Layout::Json, Some(_)) => return Err(BodyFault::NotObjects),
    };
    if slices.len() > MAX_ELEMENTS {
        return Err(BodyFault::TooMany);
    }
    read_slices(&slices, empty())
}

/// Reads each slice for itself. If none at all is JSON, the body is not.
fn read_slices<'a, S: Sink<'a>>(slices: &[&'a [u8]], mut sink: S) -> Result<S, BodyFault> {
    let mut readable = slices.is_empty();
    let mut first_error = None;
    for slice in slices {
        let error = match serde_json::from_slice::<Part<S::Element>>(slice) {
            Ok(element) => {
                readable = true;
                sink.take(Ok(element));
                continue;
            }
            Err(error) => error,
        };
        let named = no_number(slice);
        let reason = named.clone().unwrap_or_else(|| error.to_string());
        first_error.get_or_insert(reason);
        let message = named.unwrap_or_else(|| format!("not valid JSON: {error}"));
        sink.take(Err(Refusal {
            code: "invalid_json",
            message,
        }));
    }
    match first_error {
        Some(message) if !readable => Err(BodyFault::Syntax(message)),
        _ => Ok(sink),
    }
}

fn lines(body: &[u8]) -> Result<Vec<&[u8]>, BodyFault> {
    let lines: Vec<&[u8]> = body
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .take(MAX_ELEMENTS + 1)
        .collect();
    if lines.is_empty() {
        return Err(BodyFault::Empty);
    }
    Ok(lines)
}

/// Reads a well-formed array in one pass.
fn read_array<'a, S: Sink<'a>>(body: &'a [u8], mut sink: S) -> Result<S, BodyFault> {
    let mut too_many = false;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = ArrayInto {
        sink: &mut sink,
        too_many: &mut too_many,
        lifetime: PhantomData,
    }
    .deserialize(&mut reader)
    .and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(sink),
        Err(_) if too_many => Err(BodyFault::TooMany),
        Err(error) => Err(BodyFault::Syntax(error.to_string())),
    }
}

struct ArrayInto<'s, 'a, S: Sink<'a>> {
    sink: &'s mut S,
    too_many: &'s mut bool,
    lifetime: PhantomData<&'a ()>,
}

impl<'a, S: Sink<'a>> DeserializeSeed<'a> for ArrayInto<'_, 'a, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a, S: Sink<'a>> Visitor<'a> for ArrayInto<'_, 'a, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some(element) = seq.next_element()? {
            if count == MAX_ELEMENTS {
                *self.too_many = true;
                return Err(A::Error::custom("too many elements"));
            }
            count += 1;
            self.sink.take(Ok(element));
        }
        Ok(())
    }
}

/// Cuts an array into its elements by brackets and quotes alone. Nothing if these do not match.
fn split_array(body: &[u8]) -> Option<Vec<&[u8]>> {
    let body = body.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?;
    let (mut slices, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in body.iter().enumerate() {
        if quoted {
            quoted = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                slices.push(body.get(start..at)?.trim_ascii());
                start = at + 1;
                if slices.len() > MAX_ELEMENTS {
                    return Some(slices);
                }
            }
            _ => {}
        }
    }
    slices.push(body.get(start..)?.trim_ascii());
    (depth == 0 && !quoted).then_some(slices)
}

/// Names the field of the first `NaN` or `Infinity`, which some writers put where JSON has no
/// word for it, and of the first number that is too large for any reader.
fn no_number(element: &[u8]) -> Option<String> {
    let text = str::from_utf8(element).ok()?;
    let (mut key, mut last, mut rest) = ("", "", text);
    loop {
        let at = rest.find(['"', ':', 'N', 'I', '-'])?;
        rest = rest.get(at..)?;
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = end_of_string(quoted)?;
            last = quoted.get(..end)?;
            rest = quoted.get(end + 1..)?;
            continue;
        }
        if let Some(value) = rest.strip_prefix(':') {
            (key, rest) = (last, value);
            if let Some(number) = endless(value) {
                let key: String = key.chars().take(64).collect();
                return Some(format!("{key}: is too large a number: {number}"));
            }
            continue;
        }
        for word in ["NaN", "Infinity", "-Infinity"] {
            if rest.starts_with(word) {
                let key: String = key.chars().take(64).collect();
                return Some(format!("{key}: must be a number, got {word}"));
            }
        }
        rest = rest.get(1..)?;
    }
}

/// The number at the beginning, if it is beyond what a double holds; cut if it is long.
fn endless(value: &str) -> Option<&str> {
    let value = value.trim_start();
    let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let number = &value[..value.find(|c| !is_part(c)).unwrap_or(value.len())];
    let is_endless = number.parse::<f64>().is_ok_and(f64::is_infinite);
    is_endless.then(|| &number[..number.len().min(MAX_SHOWN)])
}

/// Where the closing quote stands.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closing = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closing
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Keeps each element as text.
    struct Kept(Vec<String>);

    impl Sink<'_> for Kept {
        type Element = BTreeMap<String, u64>;

        fn take(&mut self, element: Result<Part<Self::Element>, Refusal>) {
            self.0.push(match element {
                Ok(Part::Is(map)) => format!("{map:?}"),
                Ok(Part::Other(found)) => found.to_owned(),
                Ok(Part::Absent) => "null".to_owned(),
                Err(refusal) => format!("{}: {}", refusal.code, refusal.message),
            });
        }
    }

    fn elements(body: &[u8], layout: Layout) -> Result<Vec<String>, BodyFault> {
        read(body, layout, || Kept(Vec::new())).map(|kept| kept.0)
    }

    fn json(body: &str) -> Result<Vec<String>, BodyFault> {
        elements(body.as_bytes(), Layout::Json)
    }

    #[test]
    fn one_object_and_an_array_and_lines_are_read() {
        let two = Ok(vec!["{\"a\": 1}".to_owned(), "{\"b\": 2}".to_owned()]);
        assert_eq!(json(" {\"a\":1} "), Ok(vec!["{\"a\": 1}".to_owned()]));
        assert_eq!(json("[{\"a\":1},{\"b\":2}]"), two);
        assert_eq!(elements(b"{\"a\":1}\r\n\n{\"b\":2}\n", Layout::Lines), two);
        assert_eq!(json("[]"), Ok(vec![]));
    }

    #[test]
    fn a_broken_element_is_named_and_the_others_are_kept() {
        assert_eq!(
            json(r#"[{"a":1},{"tokens":NaN},{"x":"},]{","a":-Infinity},7,{"b":2}]"#),
            Ok(vec![
                "{\"a\": 1}".to_owned(),
                "invalid_json: tokens: must be a number, got NaN".to_owned(),
                "invalid_json: a: must be a number, got -Infinity".to_owned(),
                "a number".to_owned(),
                "{\"b\": 2}".to_owned(),
            ])
        );
        assert_eq!(
            elements(b"{\"a\":1}\n{\"b\n\xff\n", Layout::Lines).map(|kept| kept.len()),
            Ok(3)
        );
    }

    #[test]
    fn a_body_without_one_readable_element_is_a_fault() {
        assert_eq!(json(" "), Err(BodyFault::Empty));
        assert_eq!(json("7"), Err(BodyFault::NotObjects));
        for broken in [
            "[{\"a\":1}",
            "[{\"a\":1}]]",
            "[nope]",
            "{\"a\":",
            "[{\"a\":1},\"]",
        ] {
            assert!(
                matches!(json(broken), Err(BodyFault::Syntax(_))),
                "{broken}"
            );
        }
    }

    #[test]
    fn more_than_the_bound_is_a_fault() {
        let body = format!("[{}{{}}]", "{},".repeat(MAX_ELEMENTS));
        assert_eq!(json(&body), Err(BodyFault::TooMany));
        let body = "{}\n".repeat(MAX_ELEMENTS + 1);
        assert_eq!(
            elements(body.as_bytes(), Layout::Lines),
            Err(BodyFault::TooMany)
        );
    }

    #[test]
    fn deep_nesting_is_a_fault_and_no_crash() {
        let deep = "[".repeat(1_000_000);
        assert!(json(&deep).is_err());
        let deep = format!("[{{\"a\":{deep}");
        assert!(json(&deep).is_err());
        let closed = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(json(&closed), Ok(vec!["an array".to_owned()]));
    }
}
