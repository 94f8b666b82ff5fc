//! From a line of the log to the facts of one request. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::body::{Answer, tier};
use crate::collect::bedrock::is_of_other_vendor;
use crate::config::BedrockLogs;
use crate::model::identify::{name, user_name};
use crate::model::identity::{Identity, Origin};
use crate::model::names::ModelNames;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Outcome, Sku, Tier, UsageRecord, source};

mod line;
mod principal;

use line::{Line, counts_of, record_of, tokens};
use principal::{arn_of, principal};

/// Operations that use a model as Claude Code does (Amazon Bedrock: model invocation logging).
const OPERATIONS: [&str; 4] = [
    "InvokeModel",
    "InvokeModelWithResponseStream",
    "Converse",
    "ConverseStream",
];

/// Why a line is no usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// It is not JSON, or lacks what each record has.
    BadLine,
    /// Another kind of record.
    OtherSchema,
    OtherOperation,
    /// A model of another vendor.
    OtherModel,
    /// It worked, and nothing tells how many tokens it took.
    NoTokens,
}

impl Skip {
    pub const ALL: [Self; 5] = [
        Self::BadLine,
        Self::OtherSchema,
        Self::OtherOperation,
        Self::OtherModel,
        Self::NoTokens,
    ];

    /// The word in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadLine => "bad_line",
            Self::OtherSchema => "other_schema",
            Self::OtherOperation => "other_operation",
            Self::OtherModel => "other_model",
            Self::NoTokens => "no_tokens",
        }
    }
}

/// One request as the log tells it, without prompt and answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `requestId`.
    pub id: String,
    pub at: Timestamp,
    /// Twelve digits.
    pub account: Option<String>,
    pub user: Option<Box<str>>,
    /// The installation of Claude Code.
    pub device: Option<Box<str>>,
    pub team: Option<Box<str>>,
    pub project: Option<Box<str>>,
    pub session: Option<String>,
    pub model_id: String,
    /// Where it was asked for; prices follow it.
    pub region: Option<String>,
    pub tier: Tier,
    pub tokens: Tokens,
    pub outcome: Outcome,
    pub status_code: Option<u16>,
    pub duration_ms: Option<u32>,
    pub ttft_ms: Option<u32>,
    /// Where the body of the answer is if the record itself tells no counts.
    pub counts_in: Option<String>,
}

/// Reads one line. The error says why it is no usage, never what it holds.
pub(super) fn read(line: &[u8], config: &BedrockLogs) -> Result<Entry, Skip> {
    let line: Line<'_> = serde_json::from_slice(record_of(line)).map_err(|_| Skip::BadLine)?;
    if line.schema_type.as_deref() != Some("ModelInvocationLog") {
        return Err(Skip::OtherSchema);
    }
    if !OPERATIONS.contains(&line.operation.as_deref().unwrap_or_default()) {
        return Err(Skip::OtherOperation);
    }
    let filled = |text: &Option<Cow<'_, str>>| {
        let text = text.as_deref().map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let needed = |text| filled(text).ok_or(Skip::BadLine);
    let model_id = needed(&line.model_id)?;
    if !config.all_models && is_of_other_vendor(&model_id) {
        return Err(Skip::OtherModel);
    }
    let at: Timestamp = needed(&line.timestamp)?
        .parse()
        .map_err(|_| Skip::BadLine)?;
    let at = Timestamp::from_millisecond(at.as_millisecond()).map_err(|_| Skip::BadLine)?;
    let input = line.input.unwrap_or_default();
    let output = line.output.unwrap_or_default();
    let error = filled(&line.error_code);
    let answer = &output.body;
    let counts = counts_of(&input, &output);
    let mut counts_in = None;
    if counts.is_none() && error.is_none() {
        counts_in = Some(filled(&output.body_elsewhere).ok_or(Skip::NoTokens)?);
    }
    let metadata = |key: &str| {
        let metadata = line.request_metadata.as_ref().filter(|_| !key.is_empty())?;
        metadata.get(key)?.as_str()
    };
    let arn = line.identity.as_ref().and_then(arn_of);
    let request = input.body;
    let device = request.device.as_deref().and_then(name);
    let own = metadata(&config.metadata_user).and_then(user_name);
    let tier_said = line.service_tier.as_ref().and_then(|value| {
        let word = value.as_str().or_else(|| value.get("type")?.as_str())?;
        tier(word)
    });
    let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    Ok(Entry {
        id: needed(&line.request_id)?,
        at,
        account: filled(&line.account_id),
        user: own.or_else(|| principal(arn?, config, device.is_some())),
        device,
        team: metadata(&config.metadata_team).and_then(name),
        project: metadata(&config.metadata_project).and_then(name),
        session: metadata(&config.metadata_session)
            .map(str::to_owned)
            .or(request.session),
        model_id,
        region: filled(&line.region),
        tier: answer.tier.or(tier_said).unwrap_or_default(),
        tokens: counts.unwrap_or_default(),
        outcome: match &error {
            Some(_) => Outcome::Error,
            None if answer.is_refused => Outcome::Refused,
            None => Outcome::Ok,
        },
        status_code: error.as_deref().and_then(status_of),
        duration_ms: small(answer.duration_ms),
        ttft_ms: small(answer.ttft_ms),
        counts_in,
    })
}

/// The HTTP status of an error (Amazon Bedrock runtime API: errors).
fn status_of(code: &str) -> Option<u16> {
    let code = code.rsplit(['#', '.']).next().unwrap_or(code);
    Some(match code {
        "ValidationException" | "ServiceQuotaExceededException" => 400,
        "AccessDeniedException" => 403,
        "ResourceNotFoundException" => 404,
        "ModelTimeoutException" => 408,
        "ModelErrorException" | "ModelStreamErrorException" => 424,
        "ThrottlingException" | "ModelNotReadyException" => 429,
        "InternalServerException" => 500,
        "ServiceUnavailableException" => 503,
        _ => return None,
    })
}

impl Entry {
    /// Takes the counts from the body of the answer, read from where `counts_in` says.
    ///
    /// Errors: the body tells none either.
    pub(super) fn counted_by(mut self, body: &[u8]) -> Result<Self, Skip> {
        let body: Answer = serde_json::from_slice(body).map_err(|_| Skip::NoTokens)?;
        if (body.input, body.output) == (None, None) {
            return Err(Skip::NoTokens);
        }
        self.tokens = tokens((body.input, body.output), body.cache_read, None, &body);
        self.counts_in = None;
        Ok(self)
    }

    /// The record of this request.
    #[must_use]
    pub fn record(self, names: &ModelNames) -> UsageRecord {
        let model = names.resolve(&self.model_id, Some("bedrock"));
        let origin = match (&self.user, &self.device) {
            (Some(_), _) => Origin::Principal,
            (None, Some(_)) => Origin::Device,
            (None, None) => Origin::Unknown,
        };
        let identity = Arc::new(Identity {
            user: self.user,
            origin,
            device: self.device,
            account: self.account.map(Box::from),
            team: self.team,
            project: self.project,
            ..Identity::default()
        });
        let sku = Arc::new(Sku {
            provider: model.provider,
            model: model.model,
            raw_model: self.model_id.into(),
            scope: model.scope,
            region: self.region.map(Box::from),
            tier: self.tier,
            band: Band::of(&self.tokens),
        });
        let (source, id) = (source::BEDROCK_LOGS, self.id);
        UsageRecord {
            request_id: Some(id.as_str().into()),
            session: self.session.map(Arc::from),
            outcome: self.outcome,
            status_code: self.status_code,
            duration_ms: self.duration_ms,
            ttft_ms: self.ttft_ms,
            ..UsageRecord::new(source, id, self.at, identity, sku, self.tokens)
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
