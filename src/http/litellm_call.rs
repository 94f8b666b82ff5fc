//! LiteLLM's `StandardLoggingPayload`: one call as its proxy logs it.
//!
//! Messages, responses and error texts are never read. What is not needed may have any type, for
//! payloads differ from version to version; what counts (id, model, times, tokens) is checked.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::delivery::{Shop, What, Who, Wire, status_code};
use super::lenient::{Count, Flag, Part, Text, invalid, missing};
use super::usage_record::WireCacheCreation;
use crate::model::tokens::Tokens;
use crate::model::usage::{Outcome, Refusal, Tier, UsageRecord, source};

/// The user id that LiteLLM gives its own administrator.
const ADMIN_USER: &str = "default_user_id";

/// One call.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct WireCall<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    litellm_call_id: Text<'a>,
    #[serde(borrow)]
    session_id: Text<'a>,
    #[serde(borrow)]
    call_type: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    custom_llm_provider: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    model_group: Text<'a>,
    #[serde(borrow)]
    api_base: Text<'a>,
    #[serde(borrow)]
    end_user: Text<'a>,
    prompt_tokens: Count,
    completion_tokens: Count,
    #[serde(borrow, rename = "startTime")]
    start_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "endTime")]
    end_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "completionStartTime")]
    completion_start_time: Option<&'a RawValue>,
    cache_hit: Flag,
    #[serde(borrow)]
    error_information: Part<ErrorInformation<'a>>,
    #[serde(borrow)]
    metadata: Part<Metadata<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ErrorInformation<'a> {
    #[serde(borrow)]
    error_code: Text<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    user_api_key_end_user_id: Text<'a>,
    #[serde(borrow)]
    user_api_key_user_email: Text<'a>,
    #[serde(borrow)]
    user_api_key_user_id: Text<'a>,
    #[serde(borrow)]
    user_api_key_alias: Text<'a>,
    #[serde(borrow)]
    user_api_key_team_alias: Text<'a>,
    #[serde(borrow)]
    user_api_key_team_id: Text<'a>,
    #[serde(borrow)]
    user_api_key_project_id: Text<'a>,
    #[serde(borrow)]
    user_api_key_org_id: Text<'a>,
    #[serde(borrow)]
    quota_reservation_id: Text<'a>,
    #[serde(borrow)]
    requester_metadata: Part<OwnMetadata<'a>>,
    #[serde(borrow)]
    spend_logs_metadata: Part<OwnMetadata<'a>>,
    usage_object: Part<UsageObject>,
}

/// What a hook of ours leaves in a call's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
struct OwnMetadata<'a> {
    #[serde(borrow)]
    quota_reservation_id: Text<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct UsageObject {
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Part<WireCacheCreation>,
    prompt_tokens_details: Part<PromptDetails>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Count,
    cache_creation_tokens: Count,
    cache_creation_token_details: Part<WireCacheCreation>,
}

impl<'a> Wire<'a> for WireCall<'a> {
    const DEFAULT_SOURCE: &'static str = source::LITELLM;

    fn source(&self, shop: &mut Shop<'a, '_>) -> Result<Arc<str>, Refusal> {
        shop.source(Cow::Borrowed(Self::DEFAULT_SOURCE))
    }

    fn build(
        self,
        source: Arc<str>,
        shop: &mut Shop<'a, '_>,
    ) -> Result<Option<UsageRecord>, Refusal> {
        if self.counts_tokens_only() {
            return Ok(None);
        }
        let metadata = self.metadata.optional("metadata")?.unwrap_or_default();
        let times = Times {
            start: seconds(self.start_time, "startTime")?,
            first: seconds(self.completion_start_time, "completionStartTime")?,
            end: seconds(self.end_time, "endTime")?.ok_or_else(|| missing("endTime"))?,
        };
        let at = shop.in_bounds(times.end, "endTime")?;
        let mut metadata = metadata;
        let usage = std::mem::take(&mut metadata.usage_object);
        let tokens = if self.cache_hit.0 {
            // Answered from the proxy's own cache: the provider saw nothing of it.
            Tokens::default()
        } else {
            tokens_of(self.prompt_tokens, self.completion_tokens, usage)?
        };
        let error = self.error_information.optional("error_information")?;
        let code = error
            .and_then(|error| error.error_code.usable())
            .and_then(|code| code.parse().ok())
            .and_then(|code| status_code(Some(code), "error_code").ok().flatten());
        let provider = self.custom_llm_provider.usable();
        let model = match self.model {
            Text::Is(model) if !model.trim().is_empty() => Text::Is(model),
            _ => self.model_group,
        };
        let what = What {
            region: self.api_base.usable().and_then(region_of),
            model: without_provider(model.required("model")?, provider.as_deref()),
            provider: provider.map(provider_name),
            tier: Tier::Standard,
        };
        let reservation = metadata.reservation();
        let (who, client_session) = metadata.who(self.end_user);
        let session = self.session_id.usable().or(client_session);
        Ok(Some(UsageRecord {
            source,
            id: self
                .id
                .usable()
                .or(self.litellm_call_id.usable())
                .ok_or_else(|| missing("id"))?
                .as_ref()
                .into(),
            request_id: None,
            client_request_id: None,
            session: session.map(|session| shop.shared(session)),
            reservation: reservation.map(|id| id.as_ref().into()),
            at,
            booked_at: at,
            identity: shop.identity(who)?,
            sku: shop.sku(what, &tokens),
            tokens,
            outcome: outcome_of(self.status.usable().as_deref()),
            status_code: code,
            duration_ms: times.since_start(Some(times.end)),
            ttft_ms: times.since_start(times.first),
            tools: None,
            query_source: None,
            entrypoint: None,
            client_cost: None,
        }))
    }
}

impl WireCall<'_> {
    /// Calls such as `atoken_counter` and `count_tokens` use no model.
    fn counts_tokens_only(&self) -> bool {
        let Text::Is(call_type) = &self.call_type else {
            return false;
        };
        ["token_counter", "count_tokens"]
            .iter()
            .any(|name| call_type.contains(name))
    }
}

fn outcome_of(status: Option<&str>) -> Outcome {
    match status {
        Some("success") => Outcome::Ok,
        Some("failure") => Outcome::Error,
        _ => Outcome::Unknown,
    }
}

impl<'a> Metadata<'a> {
    fn reservation(&mut self) -> Option<Cow<'a, str>> {
        let mut found = std::mem::take(&mut self.quota_reservation_id).usable();
        for part in [&mut self.requester_metadata, &mut self.spend_logs_metadata] {
            if found.is_none()
                && let Part::Is(own) = std::mem::take(part)
            {
                found = own.quota_reservation_id.usable();
            }
        }
        found
    }

    /// Who called, and the session where Claude Code told it in place of a user.
    fn who(self, end_user: Text<'a>) -> (Who<'a>, Option<Cow<'a, str>>) {
        let mut who = Who {
            team: self
                .user_api_key_team_alias
                .usable()
                .or(self.user_api_key_team_id.usable()),
            project: self.user_api_key_project_id.usable(),
            organization: self.user_api_key_org_id.usable(),
            ..Who::default()
        };
        let mut session = None;
        for named in [self.user_api_key_end_user_id, end_user] {
            let Text::Is(text) = named else { continue };
            if let Some(client) = ClientUser::parse(&text) {
                who.device = who.device.or(client.device.map(Cow::Owned));
                who.account = who.account.or(client.account.map(Cow::Owned));
                session = session.or(client.session.map(Cow::Owned));
            } else if who.user.is_none() {
                who.user = Text::Is(text).usable();
            }
        }
        who.user = who
            .user
            .or(self.user_api_key_user_email.usable())
            .or(self.user_api_key_user_id.usable())
            .filter(|user| user != ADMIN_USER)
            .or(self.user_api_key_alias.usable());
        (who, session)
    }
}

/// What Claude Code puts into a request's `metadata.user_id`, which LiteLLM takes for the end
/// user: `user_DEVICE_account_ACCOUNT_session_SESSION`, or the same three as a JSON object.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct ClientUser {
    #[serde(rename = "device_id")]
    device: Option<String>,
    #[serde(rename = "account_uuid")]
    account: Option<String>,
    #[serde(rename = "session_id")]
    session: Option<String>,
}

impl ClientUser {
    fn parse(text: &str) -> Option<Self> {
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

/// `prompt_tokens` hold cache reads and writes; the kinds of a record are disjoint.
fn tokens_of(
    prompt: Count,
    completion: Count,
    usage: Part<UsageObject>,
) -> Result<Tokens, Refusal> {
    let prompt = prompt.tokens("prompt_tokens")?;
    let output = completion.tokens("completion_tokens")?;
    let usage = part(usage);
    let details = part(usage.prompt_tokens_details);
    let read = larger(
        (usage.cache_read_input_tokens, "cache_read_input_tokens"),
        (details.cached_tokens, "prompt_tokens_details.cached_tokens"),
    )?;
    let written = larger(
        (
            usage.cache_creation_input_tokens,
            "cache_creation_input_tokens",
        ),
        (
            details.cache_creation_tokens,
            "prompt_tokens_details.cache_creation_tokens",
        ),
    )?;
    let split = match usage.cache_creation {
        Part::Is(split) => split,
        _ => part(details.cache_creation_token_details),
    };
    let name = |kind: &str| format!("usage_object.cache_creation.{kind}");
    let cache_write_5m = split
        .ephemeral_5m_input_tokens
        .tokens(&name("ephemeral_5m_input_tokens"))?;
    let cache_write_1h = split
        .ephemeral_1h_input_tokens
        .tokens(&name("ephemeral_1h_input_tokens"))?;
    let written = written.max(cache_write_5m + cache_write_1h);
    Ok(Tokens {
        input: prompt.saturating_sub(read).saturating_sub(written),
        output,
        cache_read: read,
        cache_write_5m,
        cache_write_1h,
        cache_write_unknown: written - cache_write_5m - cache_write_1h,
    })
}

/// An object of another type is worth no more than an absent one here.
fn part<T: Default>(part: Part<T>) -> T {
    match part {
        Part::Is(part) => part,
        Part::Absent | Part::Other(_) => T::default(),
    }
}

/// The same number is told in two places; either may be missing or zero.
fn larger(a: (Count, &str), b: (Count, &str)) -> Result<u64, Refusal> {
    let read = |(count, name): (Count, &str)| count.tokens(&format!("usage_object.{name}"));
    Ok(read(a)?.max(read(b)?))
}

struct Times {
    start: Option<Timestamp>,
    first: Option<Timestamp>,
    end: Timestamp,
}

impl Times {
    fn since_start(&self, until: Option<Timestamp>) -> Option<u32> {
        let elapsed = until?.as_millisecond() - self.start?.as_millisecond();
        u32::try_from(elapsed).ok()
    }
}

/// Reads epoch seconds from their decimal text, so that no float rounds them, or a written time.
fn seconds(raw: Option<&RawValue>, field: &str) -> Result<Option<Timestamp>, Refusal> {
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
fn provider_name(provider: Cow<'_, str>) -> Cow<'_, str> {
    match provider.as_ref() {
        "bedrock" | "bedrock_converse" => Cow::Borrowed("bedrock"),
        "vertex_ai" | "vertex_ai_beta" | "vertex_ai-anthropic_models" => Cow::Borrowed("vertex"),
        _ => provider,
    }
}

/// Takes LiteLLM's routing prefix off a model's name: `bedrock/converse/MODEL`.
fn without_provider<'a>(model: Cow<'a, str>, provider: Option<&str>) -> Cow<'a, str> {
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
fn region_of(api_base: Cow<'_, str>) -> Option<Cow<'static, str>> {
    let (_, host) = api_base.split_once("://")?;
    let host = host.split('/').next()?;
    let region = host
        .strip_prefix("bedrock-runtime.")
        .and_then(|rest| rest.split('.').next())
        .or_else(|| host.strip_suffix("-aiplatform.googleapis.com"))?;
    Some(Cow::Owned(region.to_owned()))
}
