//! The usage API's own record, and the shape of quota settlements that means the same.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use utoipa::ToSchema;

use super::delivery::{Shop, What, Who, Wire, status_code};
use super::lenient::{Count, Part, Text, invalid, missing};
use crate::model::tokens::Tokens;
use crate::model::usage::{Outcome, Refusal, Tier, UsageRecord, source};

/// One model request. Fields that are not named here are ignored.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, ToSchema)]
#[schema(as = UsageRecord, example = json!({
    "id": "01JD8Q3N7GZ0", "request_id": "req_011CVE", "source": "gateway",
    "at": "2026-11-22T03:06:46.650Z", "user": "alice@example.com", "team": "payments",
    "project": "checkout", "cost_center": "cc-42", "session": "2065c201-7c1d",
    "provider": "bedrock", "model": "us.anthropic.claude-sonnet-4-6-v1:0",
    "tokens": {"input": 1201, "output": 42, "cache_read": 5600, "cache_write_5m": 340,
               "cache_write_1h": 0},
    "outcome": "ok", "status_code": 200, "duration_ms": 1830, "ttft_ms": 410,
    "region": "us-east-1", "tier": "standard", "query_source": "main", "tools": 3,
    "reservation": "01JD8P2M6FYZ"
}))]
pub(super) struct WireRecord<'a> {
    /// Unique within the source; the same id with other counts is a conflict.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub id: Text<'a>,
    /// Who reports it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9_.-]{1,64}$", default = "gateway")]
    pub source: Text<'a>,
    /// When the request ended (RFC 3339), from 25 months ago to one hour ahead.
    #[serde(borrow)]
    #[schema(value_type = String, format = DateTime)]
    pub at: Text<'a>,
    /// The provider's id of the request.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub request_id: Text<'a>,
    /// The client's id of the request (header `x-client-request-id`).
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub client_request_id: Text<'a>,
    /// The client's session (header `x-claude-code-session-id`).
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub session: Text<'a>,
    /// The quota reservation that this request used.
    #[serde(borrow, alias = "reservation_id")]
    #[schema(value_type = Option<String>)]
    pub reservation: Text<'a>,
    /// Person or service; the case does not matter. It may be left out where `device` or `account`
    /// is given.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub user: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub team: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub project: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub department: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub cost_center: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub organization: Text<'a>,
    /// The account that the request ran in, such as that of AWS.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub account: Text<'a>,
    /// The installation id of the client, where the gateway knows it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub device: Text<'a>,
    /// `anthropic`, `bedrock`, `vertex` or another; told by the model's name where absent.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub provider: Text<'a>,
    /// The model as the provider names it.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub model: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub region: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>, default = "standard",
        pattern = "^(standard|batch|fast|flex|priority)$")]
    pub tier: Text<'a>,
    #[schema(value_type = WireTokens)]
    pub tokens: Part<WireTokens>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^(ok|error|cancelled|refused|unknown)$")]
    pub outcome: Text<'a>,
    /// The HTTP status; 400 and above make the outcome `error` where none is given.
    #[schema(value_type = Option<u16>, minimum = 100, maximum = 999)]
    pub status_code: Count,
    #[schema(value_type = Option<u32>)]
    pub duration_ms: Count,
    /// Milliseconds to the first token.
    #[schema(value_type = Option<u32>)]
    pub ttft_ms: Count,
    /// Number of tool calls.
    #[schema(value_type = Option<u32>)]
    pub tools: Count,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub query_source: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub entrypoint: Text<'a>,
    /// As in a quota settlement; fills `user`, `team` and `project` where these are absent.
    #[serde(borrow)]
    #[schema(value_type = Option<WireSubject<'static>>)]
    pub subject: Part<WireSubject<'a>>,
    /// As in a quota settlement; takes the place of `tokens`.
    #[schema(value_type = Option<WireUsage>)]
    pub usage: Part<WireUsage>,
}

/// Tokens by kind. The kinds are disjoint: `input` holds no cache reads or writes. Other names are
/// refused; an empty object is a request without tokens.
#[derive(Clone, Debug, Default, PartialEq, ToSchema)]
#[schema(as = TokenCounts)]
pub(super) struct WireTokens {
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_992_u64)]
    pub input: Count,
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_992_u64)]
    pub output: Count,
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_992_u64)]
    pub cache_read: Count,
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_992_u64)]
    pub cache_write_5m: Count,
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_992_u64)]
    pub cache_write_1h: Count,
    /// Writes of unknown lifetime.
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_992_u64)]
    pub cache_write_unknown: Count,
    /// All cache writes; what the other three do not explain is of unknown lifetime.
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_992_u64)]
    pub cache_write: Count,
    /// The first name that is no kind.
    #[schema(ignore)]
    unknown: Option<Box<str>>,
}

/// The names of the kinds.
const KINDS: [&str; 7] = [
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_unknown",
];

impl WireTokens {
    fn kind(&mut self, name: &str) -> Option<&mut Count> {
        Some(match name {
            "input" => &mut self.input,
            "output" => &mut self.output,
            "cache_read" => &mut self.cache_read,
            "cache_write" => &mut self.cache_write,
            "cache_write_5m" => &mut self.cache_write_5m,
            "cache_write_1h" => &mut self.cache_write_1h,
            "cache_write_unknown" => &mut self.cache_write_unknown,
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for WireTokens {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(TokensVisitor)
    }
}

struct TokensVisitor;

impl<'de> Visitor<'de> for TokensVisitor {
    type Value = WireTokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("token counts by kind")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireTokens, A::Error> {
        let mut tokens = WireTokens::default();
        let mut seen = 0_u8;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if let Some(place) = KINDS.iter().position(|kind| *kind == name) {
                if seen & 1 << place != 0 {
                    return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                }
                seen |= 1 << place;
            }
            let count: Count = map.next_value()?;
            match tokens.kind(&name) {
                Some(kind) => *kind = count,
                // Nothing is lost of what is not there.
                None if matches!(count, Count::Absent | Count::Is(0)) => {}
                None => {
                    tokens
                        .unknown
                        .get_or_insert_with(|| name.chars().take(64).collect());
                }
            }
        }
        Ok(tokens)
    }
}

/// Who a quota settlement was for.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, ToSchema)]
#[schema(as = Subject)]
pub(super) struct WireSubject<'a> {
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub user: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub team: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub project: Text<'a>,
}

/// Tokens as a quota settlement and Anthropic's API name them, disjoint like `tokens`.
/// Reasoning tokens are part of the output and ignored here.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, ToSchema)]
#[schema(as = SettledUsage)]
pub(super) struct WireUsage {
    #[schema(value_type = Option<u64>)]
    pub input_tokens: Count,
    #[schema(value_type = Option<u64>)]
    pub output_tokens: Count,
    #[serde(alias = "cached_input_tokens")]
    #[schema(value_type = Option<u64>)]
    pub cache_read_input_tokens: Count,
    /// All cache writes.
    #[schema(value_type = Option<u64>)]
    pub cache_creation_input_tokens: Count,
    #[schema(value_type = Option<WireCacheCreation>)]
    pub cache_creation: Part<WireCacheCreation>,
}

/// Cache writes by lifetime.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, ToSchema)]
#[schema(as = CacheCreation)]
pub(super) struct WireCacheCreation {
    #[schema(value_type = Option<u64>)]
    pub ephemeral_5m_input_tokens: Count,
    #[schema(value_type = Option<u64>)]
    pub ephemeral_1h_input_tokens: Count,
}

impl<'a> Wire<'a> for WireRecord<'a> {
    const DEFAULT_SOURCE: &'static str = source::GATEWAY;

    fn source(&self, shop: &mut Shop<'a, '_>) -> Result<Arc<str>, Refusal> {
        let name = self.source.clone().optional("source")?;
        shop.source(name.unwrap_or(Cow::Borrowed(Self::DEFAULT_SOURCE)))
    }

    fn build(
        self,
        source: Arc<str>,
        shop: &mut Shop<'a, '_>,
    ) -> Result<Option<UsageRecord>, Refusal> {
        let at = match &self.at {
            Text::Absent => return Err(missing("at")),
            text => shop.time(text.clone().optional("at")?, "at")?,
        };
        self.build_at(source, at, shop).map(Some)
    }
}

impl<'a> WireRecord<'a> {
    /// Builds the record for a source and time that are known already.
    pub(super) fn build_at(
        self,
        source: Arc<str>,
        at: jiff::Timestamp,
        shop: &mut Shop<'a, '_>,
    ) -> Result<UsageRecord, Refusal> {
        let id = self.id.required("id")?;
        let subject = self.subject.optional("subject")?.unwrap_or_default();
        let or_subject = |own: Text<'a>, subject: Text<'a>| match own {
            Text::Absent => subject,
            own => own,
        };
        let user = or_subject(self.user, subject.user);
        let device = self.device.optional("device")?;
        let account = self.account.optional("account")?;
        let is_known = device.is_some() || account.is_some();
        let who = Who {
            user: match user {
                Text::Absent if is_known => None,
                user => Some(user.required("user")?),
            },
            device,
            account,
            organization: self.organization.optional("organization")?,
            team: or_subject(self.team, subject.team).optional("team")?,
            project: or_subject(self.project, subject.project).optional("project")?,
            department: self.department.optional("department")?,
            cost_center: self.cost_center.optional("cost_center")?,
        };
        let what = What {
            provider: self.provider.optional("provider")?,
            model: self.model.required("model")?,
            region: self.region.optional("region")?,
            tier: tier_of(self.tier)?,
        };
        let tokens = tokens_of(self.tokens, self.usage)?;
        let status_code = status_code(
            self.status_code.up_to(u64::MAX, "status_code")?,
            "status_code",
        )?;
        let boxed = |text: Option<Cow<'a, str>>| text.map(|text| Box::from(text.as_ref()));
        let mut shared = |text: Text<'a>, field| {
            let text = text.optional(field)?;
            Ok(text.map(|text| shop.shared(text)))
        };
        let session = shared(self.session, "session")?;
        let query_source = shared(self.query_source, "query_source")?;
        let entrypoint = shared(self.entrypoint, "entrypoint")?;
        let (identity, sku) = (shop.identity(who)?, shop.sku(what, &tokens));
        Ok(UsageRecord {
            request_id: boxed(self.request_id.optional("request_id")?),
            client_request_id: boxed(self.client_request_id.optional("client_request_id")?),
            session,
            reservation: boxed(self.reservation.optional("reservation")?),
            outcome: outcome_of(self.outcome, status_code)?,
            status_code,
            duration_ms: self.duration_ms.small("duration_ms")?,
            ttft_ms: self.ttft_ms.small("ttft_ms")?,
            tools: self.tools.small("tools")?,
            query_source,
            entrypoint,
            ..UsageRecord::new(source, id.as_ref(), at, identity, sku, tokens)
        })
    }
}

fn tier_of(text: Text<'_>) -> Result<Tier, Refusal> {
    let Some(name) = text.optional("tier")? else {
        return Ok(Tier::Standard);
    };
    Tier::parse(&name)
        .ok_or_else(|| invalid("tier", format_args!("must be one of {}", tier_names())))
}

fn tier_names() -> String {
    Tier::ALL.map(Tier::name).join(", ")
}

/// The outcome as said, `success` being what settlements say for `ok`; else by the status code.
pub(super) fn outcome_of(text: Text<'_>, status_code: Option<u16>) -> Result<Outcome, Refusal> {
    let Some(name) = text.optional("outcome")? else {
        return Ok(match status_code {
            Some(400..) => Outcome::Error,
            _ => Outcome::Ok,
        });
    };
    if name == "success" {
        return Ok(Outcome::Ok);
    }
    Outcome::parse(&name).ok_or_else(|| {
        let names = Outcome::ALL.map(Outcome::name).join(", ");
        invalid("outcome", format_args!("must be one of {names}"))
    })
}

/// The counts of `tokens`, or else of `usage`; one has to be there.
pub(super) fn tokens_of(
    tokens: Part<WireTokens>,
    usage: Part<WireUsage>,
) -> Result<Tokens, Refusal> {
    if let Some(tokens) = tokens.optional("tokens")? {
        return tokens.sum();
    }
    match usage.optional("usage")? {
        Some(usage) => usage.sum("usage"),
        None => Err(missing("tokens")),
    }
}

impl WireTokens {
    pub(super) fn sum(self) -> Result<Tokens, Refusal> {
        if let Some(name) = self.unknown {
            let kinds = KINDS.join(", ");
            return Err(invalid(
                &format!("tokens.{}", name.escape_debug()),
                format_args!("is no kind of token; the kinds are {kinds}"),
            ));
        }
        let mut tokens = Tokens {
            input: self.input.tokens("tokens.input")?,
            output: self.output.tokens("tokens.output")?,
            cache_read: self.cache_read.tokens("tokens.cache_read")?,
            cache_write_5m: self.cache_write_5m.tokens("tokens.cache_write_5m")?,
            cache_write_1h: self.cache_write_1h.tokens("tokens.cache_write_1h")?,
            cache_write_unknown: self
                .cache_write_unknown
                .tokens("tokens.cache_write_unknown")?,
        };
        let total = self.cache_write.up_to(Tokens::MAX, "tokens.cache_write")?;
        add_unexplained_writes(&mut tokens, total, "tokens.cache_write")?;
        Ok(tokens)
    }
}

impl WireUsage {
    pub(super) fn sum(self, field: &str) -> Result<Tokens, Refusal> {
        let name = |part: &str| format!("{field}.{part}");
        let split = self.cache_creation.optional(&name("cache_creation"))?;
        let split = split.unwrap_or_default();
        let mut tokens = Tokens {
            input: self.input_tokens.tokens(&name("input_tokens"))?,
            output: self.output_tokens.tokens(&name("output_tokens"))?,
            cache_read: self
                .cache_read_input_tokens
                .tokens(&name("cache_read_input_tokens"))?,
            cache_write_5m: split
                .ephemeral_5m_input_tokens
                .tokens(&name("cache_creation.ephemeral_5m_input_tokens"))?,
            cache_write_1h: split
                .ephemeral_1h_input_tokens
                .tokens(&name("cache_creation.ephemeral_1h_input_tokens"))?,
            cache_write_unknown: 0,
        };
        let field = name("cache_creation_input_tokens");
        let total = self
            .cache_creation_input_tokens
            .up_to(Tokens::MAX, &field)?;
        add_unexplained_writes(&mut tokens, total, &field)?;
        Ok(tokens)
    }
}

/// Books what a total of cache writes has over the known ones as of unknown lifetime.
fn add_unexplained_writes(
    tokens: &mut Tokens,
    total: Option<u64>,
    field: &str,
) -> Result<(), Refusal> {
    let Some(total) = total else {
        return Ok(());
    };
    let known = tokens.cache_write();
    let rest = total.checked_sub(known).ok_or_else(|| {
        invalid(
            field,
            format_args!("must be at least the sum of its parts, {known}, got {total}"),
        )
    })?;
    tokens.cache_write_unknown += rest;
    Ok(())
}
