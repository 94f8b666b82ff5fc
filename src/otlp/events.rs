//! Events of Claude Code and Cowork (OTLP logs): model requests, and counts of everything else.
//!
//! Read are the name, the time, who it was and, for requests, the figures. Prompts, responses,
//! bodies, tool inputs and error texts are not touched, whether the client sends them or not.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::ids::{self, Hash, Id};
use super::item::LogRecord;
use super::key::Key;
use super::map::Mapper;
use super::value::{Attributes, Value, missing, refuse};
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::tokens::Tokens;
use crate::model::usage::{Activity, ActivityMetric, Band, Outcome, Refusal, Tier, UsageRecord};

/// Bytes of an event's name at most.
const MAX_EVENT_NAME: usize = 64;

/// How Claude Code's event names begin in the body of a record.
const PREFIX: &str = "claude_code.";

/// The name under which records without one are counted.
const UNNAMED: &str = "unnamed";

/// What all facts of one event have in common.
struct Event {
    id: Id,
    at: Timestamp,
    identity: Arc<Identity>,
    session: Option<Arc<str>>,
}

pub(super) fn map<'a>(mapper: &mut Mapper<'_, 'a>, record: &LogRecord<'a>) -> Result<(), Refusal> {
    let own = &record.attributes;
    mapper.check(own)?;
    let at = record.at()?;
    let name = name_of(record);
    let session = mapper.shared_text(own, Key::SessionId)?;
    let event = Event {
        id: id_of(record, session.as_deref(), at, &name)?,
        at,
        identity: mapper.identity(own)?,
        session,
    };
    let request = request_of(mapper, own, &event, &name)?;
    let tool_result = match &*name {
        "tool_result" => Some(tool_result(mapper, own, &event)?),
        _ => None,
    };

    mapper.take(event.identity.origin, 1);
    if let Some(request) = request {
        mapper.add_record(request);
    }
    let labels = mapper.labels(&[&name]);
    mapper.add_activity(Activity {
        source: Arc::clone(&mapper.sources.events),
        id: event.id,
        at,
        identity: event.identity,
        metric: ActivityMetric::Events,
        labels,
        amount: 1,
    });
    if let Some(tool_result) = tool_result {
        mapper.add_activity(tool_result);
    }
    Ok(())
}

/// The event's short name: its attribute, the record's event name, or a body that is a name.
fn name_of<'r>(record: &'r LogRecord<'_>) -> Cow<'r, str> {
    if let Value::Text(name) = record.attributes.get(Key::EventName) {
        return bounded_name(name);
    }
    if let Value::Text(name) = &record.event_name
        && !name.is_empty()
    {
        return bounded_name(name);
    }
    match &record.body {
        Value::Text(body) if body.starts_with(PREFIX) => bounded_name(body),
        _ => Cow::Borrowed(UNNAMED),
    }
}

/// A name without the prefix, of at most 64 letters, digits, underscores and dots.
fn bounded_name(name: &str) -> Cow<'_, str> {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.');
    if name.is_empty() {
        return Cow::Borrowed(UNNAMED);
    }
    if name.len() <= MAX_EVENT_NAME && name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    let lower = name.chars().take(MAX_EVENT_NAME);
    let lower = lower.map(|c| c.to_ascii_lowercase());
    Cow::Owned(lower.map(|c| if plain(c) { c } else { '_' }).collect())
}

/// An event is its session, sequence number, time and name; where the first two are not known,
/// it is all of its content.
fn id_of(
    record: &LogRecord<'_>,
    session: Option<&str>,
    at: Timestamp,
    name: &str,
) -> Result<Id, Refusal> {
    let sequence = record.attributes.count(Key::EventSequence)?;
    let mut hash;
    if let (Some(session), Some(sequence)) = (session, sequence) {
        hash = Hash::of("event");
        hash.text(session);
        hash.whole(sequence);
    } else {
        hash = Hash::of("event content");
        hash.attributes(&record.attributes, None);
        hash.value(&record.body);
    }
    hash.time(at);
    hash.text(name);
    Ok(hash.finish())
}

/// The model request that an event tells of, if it does.
fn request_of(
    mapper: &mut Mapper<'_, '_>,
    own: &Attributes<'_>,
    event: &Event,
    name: &str,
) -> Result<Option<UsageRecord>, Refusal> {
    let outcome = match name {
        "api_request" if status_code(own).is_some_and(|code| code >= 400) => Outcome::Error,
        "api_request" => Outcome::Ok,
        "api_error" | "api_retries_exhausted" | "error" => Outcome::Error,
        // Without the request's id it cannot be told from the request's own event.
        "api_refusal" if own.text(Key::RequestId)?.is_some() => Outcome::Refused,
        _ => return Ok(None),
    };
    let source = match name {
        "api_retries_exhausted" => Arc::clone(&mapper.sources.retries),
        _ => Arc::clone(&mapper.sources.events),
    };
    let tokens = match name {
        "api_request" => tokens_of(own)?,
        _ => Tokens::default(),
    };
    let model = match own.text(Key::Model)? {
        None if name == "api_request" => return Err(missing("model")),
        model => model.unwrap_or(Cow::Borrowed(Identity::UNKNOWN)),
    };
    let sku = mapper.sku(&model, None, tier_of(own), Band::of(&tokens));
    let boxed = |key| Ok(own.text(key)?.map(Box::<str>::from));
    let id = ids::hex(&event.id);
    let identity = Arc::clone(&event.identity);
    Ok(Some(UsageRecord {
        request_id: boxed(Key::RequestId)?,
        client_request_id: boxed(Key::ClientRequestId)?,
        session: event.session.clone(),
        outcome,
        status_code: status_code(own),
        duration_ms: duration_of(own)?,
        query_source: mapper.shared_text(own, Key::QuerySource)?,
        entrypoint: mapper.shared_text(own, Key::Entrypoint)?,
        client_cost: cost_of(own)?,
        ..UsageRecord::new(source, id, event.at, identity, sku, tokens)
    }))
}

/// The client does not tell how long its cache writes live.
fn tokens_of(own: &Attributes<'_>) -> Result<Tokens, Refusal> {
    let read = |key| Ok(own.count(key)?.unwrap_or(0));
    Ok(Tokens {
        input: read(Key::InputTokens)?,
        output: read(Key::OutputTokens)?,
        cache_read: read(Key::CacheReadTokens)?,
        cache_write_unknown: read(Key::CacheCreationTokens)?,
        ..Tokens::default()
    })
}

pub(super) fn tier_of(own: &Attributes<'_>) -> Tier {
    match own.get(Key::Speed) {
        Value::Text(speed) if speed == "fast" => Tier::Fast,
        _ => Tier::Standard,
    }
}

/// The HTTP status. Failures below HTTP have other words here, or none.
fn status_code(own: &Attributes<'_>) -> Option<u16> {
    let code = own.count(Key::StatusCode).ok()??;
    u16::try_from(code)
        .ok()
        .filter(|code| (100..600).contains(code))
}

fn duration_of(own: &Attributes<'_>) -> Result<Option<u32>, Refusal> {
    let Some(millis) = own.scaled(Key::DurationMs, 1.0)? else {
        return Ok(None);
    };
    let key = Key::DurationMs.name();
    u32::try_from(millis)
        .map(Some)
        .map_err(|_| refuse("too_large", key, "is larger than 2^32"))
}

/// The client's estimate, from micro-USD or else from USD.
fn cost_of(own: &Attributes<'_>) -> Result<Option<PicoUsd>, Refusal> {
    let micros = match own.count(Key::CostUsdMicros)? {
        None => own.scaled(Key::CostUsd, 1e6)?,
        micros => micros,
    };
    Ok(micros.map(|micros| PicoUsd(i128::from(micros) * 1_000_000)))
}

/// A finished tool call. Its id differs from the event's own count in one bit.
fn tool_result(
    mapper: &mut Mapper<'_, '_>,
    own: &Attributes<'_>,
    event: &Event,
) -> Result<Activity, Refusal> {
    let tool = own.text(Key::ToolName)?.unwrap_or_default();
    let success = own.text(Key::Success)?.unwrap_or_default();
    let mut id = event.id;
    id[15] ^= 1;
    Ok(Activity {
        source: Arc::clone(&mapper.sources.events),
        id,
        at: event.at,
        identity: Arc::clone(&event.identity),
        metric: ActivityMetric::ToolResults,
        labels: mapper.labels(&[&tool, &success]),
        amount: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_are_short_and_plain() {
        assert_eq!(bounded_name("api_request"), "api_request");
        assert_eq!(bounded_name("claude_code.api_request"), "api_request");
        assert_eq!(bounded_name("My event\n\"x\""), "my_event__x_");
        assert_eq!(bounded_name("claude_code."), UNNAMED);
        assert_eq!(bounded_name(&"ä".repeat(5_000)), "_".repeat(64));
    }

    #[test]
    fn a_body_that_is_no_name_is_not_taken_for_one() {
        let mut record = LogRecord {
            body: Value::Text("please refactor the billing module".into()),
            ..LogRecord::default()
        };
        assert_eq!(name_of(&record), UNNAMED);
        record.body = Value::Text("claude_code.user_prompt".into());
        assert_eq!(name_of(&record), "user_prompt");
    }
}
