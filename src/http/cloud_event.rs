//! `CloudEvents` 1.0 around a usage record: structured, batch and binary mode.
//!
//! `id`, `source` and `time` come from the envelope, everything else from `data`. The event's
//! `type` is not looked at: what is no usage record lacks its required fields.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::delivery::{Shop, Wire};
use super::lenient::{Part, Text, invalid, missing};
use super::usage_record::WireRecord;
use crate::model::usage::{Refusal, UsageRecord, source};

/// A usage record in a `CloudEvents` envelope.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = CloudEvent, example = json!({
    "specversion": "1.0", "type": "llm.usage", "source": "gateway-eu", "id": "01JD8Q3N7GZ0",
    "time": "2026-11-22T03:06:46.650Z", "datacontenttype": "application/json",
    "data": {"user": "alice@example.com", "model": "claude-sonnet-4-6",
             "tokens": {"input": 1201, "output": 42}}
}))]
pub(super) struct WireEvent<'a> {
    #[serde(borrow)]
    #[schema(value_type = String, example = "1.0")]
    specversion: Text<'a>,
    /// Together with `source` the key of the record.
    #[serde(borrow)]
    #[schema(value_type = String)]
    id: Text<'a>,
    /// Lower-cased; each run of other characters than `a-z0-9_.-` becomes one `-`.
    #[serde(borrow)]
    #[schema(value_type = String)]
    source: Text<'a>,
    /// When the request ended; `data.at` serves where it is absent.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = WireRecord<'static>)]
    data: Part<WireRecord<'a>>,
    #[schema(ignore)]
    data_base64: Option<IgnoredAny>,
}

impl<'a> Wire<'a> for WireEvent<'a> {
    const DEFAULT_SOURCE: &'static str = source::GATEWAY;

    fn source(&self, shop: &mut Shop<'a, '_>) -> Result<Arc<str>, Refusal> {
        let name = match &self.source {
            Text::Absent => return Err(missing("source")),
            text => text.clone().required("source")?,
        };
        shop.source(plain_source(name))
    }

    fn build(
        self,
        source: Arc<str>,
        shop: &mut Shop<'a, '_>,
    ) -> Result<Option<UsageRecord>, Refusal> {
        let version = self.specversion.required("specversion")?;
        if !version.starts_with("1.") {
            return Err(invalid("specversion", "must be 1.0"));
        }
        if self.data_base64.is_some() {
            return Err(invalid("data_base64", "is not taken, send `data` as JSON"));
        }
        let Some(mut record) = self.data.optional("data")? else {
            return Err(missing("data"));
        };
        record.id = self.id;
        let (time, field) = match self.time {
            Text::Absent => (std::mem::take(&mut record.at), "time"),
            time => (time, "time"),
        };
        let at = shop.time(time.optional(field)?, field)?;
        record.build_at(source, at, shop).map(Some)
    }
}

/// Turns an event's source, a URI reference, into the name of a source.
fn plain_source(uri: Cow<'_, str>) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    if uri.chars().all(allowed) {
        return uri;
    }
    let mut name = String::with_capacity(uri.len());
    for c in uri.chars().map(|c| c.to_ascii_lowercase()) {
        if allowed(c) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(name.trim_end_matches('-').len());
    Cow::Owned(name)
}

/// The envelope of an event in binary mode: its attributes are headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    specversion: String,
    id: String,
    source: String,
    time: Option<String>,
}

impl Envelope {
    /// Reads the `ce-` headers. `None` if the request is no event in binary mode.
    ///
    /// Errors: a missing or unreadable attribute.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let Some(specversion) = attribute(headers, "ce-specversion")? else {
            return Ok(None);
        };
        let required = |name: &'static str| attribute(headers, name)?.ok_or_else(|| missing(name));
        Ok(Some(Self {
            specversion,
            id: required("ce-id")?,
            source: required("ce-source")?,
            time: attribute(headers, "ce-time")?,
        }))
    }

    /// The event with its data.
    pub(super) fn around<'a>(&'a self, data: Part<WireRecord<'a>>) -> WireEvent<'a> {
        let text = |text: &'a str| Text::Is(Cow::Borrowed(text));
        WireEvent {
            specversion: text(&self.specversion),
            id: text(&self.id),
            source: text(&self.source),
            time: self.time.as_deref().map_or(Text::Absent, text),
            data,
            data_base64: None,
        }
    }
}

fn attribute(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let decoded = percent_decoded(value.as_bytes())
        .ok_or_else(|| invalid(name, "must be percent-encoded UTF-8"))?;
    Ok(Some(decoded))
}

/// Attribute values are percent-encoded (`CloudEvents`: HTTP binding, section 3.1.3.2).
fn percent_decoded(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_becomes_the_name_of_a_source() {
        let seen = [
            "gateway-eu",
            "//Gateway/EU?x",
            "https://gw.example.com/llm/",
            "///",
        ]
        .map(|uri| plain_source(Cow::Borrowed(uri)).into_owned());
        assert_eq!(
            seen,
            ["gateway-eu", "gateway-eu-x", "https-gw.example.com-llm", ""]
        );
    }

    #[test]
    fn attributes_are_percent_decoded() {
        let seen = ["a%20b", "%C3%A9", "%", "%4", "%zz", "%ff"]
            .map(|value| percent_decoded(value.as_bytes()));
        let none = || None;
        assert_eq!(
            seen,
            [
                Some("a b".to_owned()),
                Some("é".to_owned()),
                none(),
                none(),
                none(),
                none()
            ]
        );
    }
}
