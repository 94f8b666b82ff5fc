//! LiteLLM's `StandardLoggingPayload`: one call as its proxy logs it.
//!
//! Messages, responses and error texts are never read. What is not needed may have any type, for
//! payloads differ from version to version; what counts (id, model, times, tokens) is checked.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::delivery::{Shop, What, Who, Wire, status_code};
use super::lenient::{Count, Flag, Part, Text, missing};
use super::litellm_fields::{
    ClientUser, Times, provider_name, region_of, seconds, without_provider,
};
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
#[expect(
    clippy::struct_field_names,
    reason = "the fields are named as LiteLLM names them"
)]
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
    requester_metadata: Part<Noted<'a>>,
    #[serde(borrow)]
    spend_logs_metadata: Part<Noted<'a>>,
    usage_object: Part<UsageObject>,
}

/// What a hook of ours leaves in a call's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
struct Noted<'a> {
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
        let mut metadata = self.metadata.optional("metadata")?.unwrap_or_default();
        let times = Times {
            start: seconds(self.start_time, "startTime")?,
            first: seconds(self.completion_start_time, "completionStartTime")?,
            end: seconds(self.end_time, "endTime")?.ok_or_else(|| missing("endTime"))?,
        };
        let at = shop.in_bounds(times.end, "endTime")?;
        let usage = std::mem::take(&mut metadata.usage_object);
        let tokens = if self.cache_hit.0 {
            // Answered from the proxy's own cache: the provider saw nothing of it.
            Tokens::default()
        } else {
            tokens_of(self.prompt_tokens, self.completion_tokens, usage)?
        };
        let what = what_of(
            self.custom_llm_provider,
            [self.model, self.model_group],
            &self.api_base,
        )?;
        let id = self.id.usable().or(self.litellm_call_id.usable());
        let reservation = metadata.reservation();
        let (who, client_session) = metadata.who(self.end_user);
        // The payload's `trace_id` is no session: LiteLLM makes a new one for each call.
        let session = self.session_id.usable().or(client_session);
        let id = id.ok_or_else(|| missing("id"))?;
        let (identity, sku) = (shop.identity(who)?, shop.sku(what, &tokens));
        Ok(Some(UsageRecord {
            session: session.map(|session| shop.shared(session)),
            reservation: reservation.map(|id| id.as_ref().into()),
            outcome: outcome_of(self.status.usable().as_deref()),
            status_code: part(self.error_information).status_code(),
            duration_ms: times.since_start(Some(times.end)),
            ttft_ms: times.since_start(times.first),
            ..UsageRecord::new(source, id.as_ref(), at, identity, sku, tokens)
        }))
    }
}

fn what_of<'a>(
    provider: Text<'a>,
    models: [Text<'a>; 2],
    api_base: &Text<'a>,
) -> Result<What<'a>, Refusal> {
    let provider = provider.usable();
    let [model, group] = models;
    let model = match model {
        Text::Is(model) if !model.trim().is_empty() => Text::Is(model),
        _ => group,
    };
    let region = match api_base {
        Text::Is(address) => region_of(address).map(Cow::Owned),
        _ => None,
    };
    Ok(What {
        region,
        model: without_provider(model.required("model")?, provider.as_deref()),
        provider: provider.map(provider_name),
        tier: Tier::Standard,
    })
}

impl ErrorInformation<'_> {
    /// LiteLLM writes the code as text; what is no HTTP status is left out.
    fn status_code(self) -> Option<u16> {
        let code = self.error_code.usable()?.parse().ok()?;
        status_code(Some(code), "error_code").ok().flatten()
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
    let short = split
        .ephemeral_5m_input_tokens
        .tokens(&name("ephemeral_5m_input_tokens"))?;
    let long = split
        .ephemeral_1h_input_tokens
        .tokens(&name("ephemeral_1h_input_tokens"))?;
    let written = written.max(short + long);
    Ok(Tokens {
        input: prompt.saturating_sub(read).saturating_sub(written),
        output,
        cache_read: read,
        cache_write_5m: short,
        cache_write_1h: long,
        cache_write_unknown: written - short - long,
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
