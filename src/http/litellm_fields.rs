//! What the fields of a LiteLLM payload mean: times, names, and Claude Code's user id.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient::{Text, invalid};
use crate::model::usage::Refusal;

/// The longest name of a region that is believed.
const MAX_REGION_BYTES: usize = 32;

/// What Claude Code puts into a request's `metadata.user_id`, which LiteLLM takes for the end
/// user: `user_DEVICE_account_ACCOUNT_session_SESSION`, or the same three as a JSON object.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ClientUser {
    #[serde(rename = "device_id")]
    pub device: Option<String>,
    #[serde(rename = "account_uuid")]
    pub account: Option<String>,
    #[serde(rename = "session_id")]
    pub session: Option<String>,
}

impl ClientUser {
    /// Takes the text apart; nothing if it is an ordinary name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let client = if text.starts_with('{') {
            serde_json::from_str(text).ok()?
        } else {
            let rest = text.strip_prefix("user_")?;
            let (device, rest) = rest.split_once("_account_")?;
            let (account, session) = rest.split_once("_session_")?;
            let part = |text: &str| Some(text.to_owned());
            Self {
                device: part(device),
                account: part(account),
                session: part(session),
            }
        };
        let usable = |text: Option<String>| {
            let text = Text::Is(Cow::Owned(text?)).usable()?;
            Some(text.into_owned())
        };
        Some(Self {
            device: usable(client.device),
            account: usable(client.account),
            session: usable(client.session),
        })
    }
}

/// When a call started, gave its first token, and ended.
pub(super) struct Times {
    pub start: Option<Timestamp>,
    pub first: Option<Timestamp>,
    pub end: Timestamp,
}

impl Times {
    /// Milliseconds since the start.
    pub(super) fn since_start(&self, until: Option<Timestamp>) -> Option<u32> {
        let elapsed = until?.as_millisecond() - self.start?.as_millisecond();
        u32::try_from(elapsed).ok()
    }
}

/// Reads epoch seconds from their decimal text, so that no float rounds them, or a written time.
pub(super) fn seconds(raw: Option<&RawValue>, field: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = raw.map(RawValue::get) else {
        return Ok(None);
    };
    if text == "null" {
        return Ok(None);
    }
    let read = if text.starts_with('"') {
        serde_json::from_str::<Cow<'_, str>>(text)
            .ok()
            .and_then(|text| text.parse().ok())
    } else {
        epoch_seconds(text)
    };
    match read {
        Some(at) => Ok(Some(at)),
        None => Err(invalid(field, "must be seconds since 1970")),
    }
}

/// Rounds to milliseconds, half up.
fn epoch_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digit = |at: usize| i64::from(fraction.as_bytes().get(at).map_or(0, |byte| byte - b'0'));
    let round_up = i64::from(digit(3) >= 5);
    let millis = digit(0) * 100 + digit(1) * 10 + digit(2) + round_up;
    Timestamp::from_millisecond(seconds.checked_mul(1000)?.checked_add(millis)?).ok()
}

/// tallyd's names for LiteLLM's providers.
pub(super) fn provider_name(provider: Cow<'_, str>) -> Cow<'_, str> {
    match provider.as_ref() {
        "bedrock" | "bedrock_converse" => Cow::Borrowed("bedrock"),
        "vertex_ai" | "vertex_ai_beta" | "vertex_ai-anthropic_models" => Cow::Borrowed("vertex"),
        _ => provider,
    }
}

/// Takes LiteLLM's routing prefix off a model's name: `bedrock/converse/MODEL`.
pub(super) fn without_provider<'a>(model: Cow<'a, str>, provider: Option<&str>) -> Cow<'a, str> {
    let mut name = model.as_ref();
    if let Some(provider) = provider
        && let Some(rest) = name.strip_prefix(provider)
        && let Some(rest) = rest.strip_prefix('/')
    {
        name = rest;
    }
    for route in ["converse/", "invoke/"] {
        name = name.strip_prefix(route).unwrap_or(name);
    }
    if name.len() == model.len() || name.is_empty() {
        return model;
    }
    Cow::Owned(name.to_owned())
}

/// The region in the address of Bedrock or Vertex.
pub(super) fn region_of(api_base: &str) -> Option<String> {
    let (_, rest) = api_base.split_once("://")?;
    let host = rest.split('/').next()?;
    let region = host
        .strip_prefix("bedrock-runtime.")
        .and_then(|rest| rest.split('.').next())
        .or_else(|| host.strip_suffix("-aiplatform.googleapis.com"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (region.len() <= MAX_REGION_BYTES && region.bytes().all(plain)).then(|| region.to_owned())
}
