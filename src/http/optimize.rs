//! `POST /api/v1/optimize/model` and `/optimize/batch`: advice before requests are made.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use super::figures::usd;
use super::lenient::{Count, Part, Text, invalid, missing};
use super::quota::object;
use super::usage_record::WireTokens;
use crate::model::access::Scope;
use crate::model::money::PicoUsd;
use crate::model::names::ModelNames;
use crate::model::saving::Complexity;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Refusal, Sku, Tier};
use crate::report::savings::advice::{self, Advice, Batch, Offer, Waiting, Wanted};

/// Requests of one question at most; a batch takes no more anywhere.
const MAX_REQUESTS: usize = 100_000;

/// Pico-USD per token are millionths of a USD per million tokens.
const PER_MILLION: i128 = 1_000_000;

/// A task that a model is wanted for.
#[derive(Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = ModelQuestion, example = json!({
    "task": {"context_tokens": 18_000, "output_tokens": 300, "tools": 0},
    "model": "us.anthropic.claude-opus-4-8"
}))]
pub(super) struct WireQuestion<'a> {
    #[serde(borrow)]
    #[schema(value_type = WireTask<'static>)]
    task: Part<WireTask<'a>>,
    /// The model in use, as the provider names it. Advice then never costs more than it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    model: Text<'a>,
    /// Told by the model's name where absent.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    provider: Text<'a>,
    /// A role of the policy; only models it allows are advised.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    role: Text<'a>,
}

/// A complexity, or the sizes it is told from. With both, the complexity is taken and the sizes
/// are priced.
#[derive(Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = Task)]
pub(super) struct WireTask<'a> {
    #[serde(borrow)]
    #[schema(value_type = Option<String>, pattern = "^(simple|medium|complex)$")]
    complexity: Text<'a>,
    /// All that the model reads.
    #[schema(value_type = Option<u64>)]
    context_tokens: Count,
    #[schema(value_type = Option<u64>)]
    output_tokens: Count,
    /// Number of tool calls.
    #[schema(value_type = Option<u32>)]
    tools: Count,
    /// Part of the context: what is expected to come from the cache.
    #[schema(value_type = Option<u64>)]
    cache_read_tokens: Count,
    /// Part of the context: what is expected to be written to the cache.
    #[schema(value_type = Option<u64>)]
    cache_write_tokens: Count,
}

/// Which model to take.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelAdvice)]
pub(super) struct ModelAnswer {
    /// `null` if none fits; `reason` says why.
    #[schema(example = "claude-haiku-5-5")]
    model: Option<Box<str>>,
    /// `no_model_named`, `not_allowed` or `no_price`.
    reason: Option<&'static str>,
    complexity: &'static str,
    /// `as_stated`, or the rule of `[savings]` that judged the sizes.
    rule: &'static str,
    provider: Box<str>,
    scope: Box<str>,
    /// What the advice costs less than the model in use, if sizes are given.
    saving_usd: Option<String>,
    /// The model in use.
    current: Option<OfferAnswer>,
    /// All models for the complexity, preferred first.
    candidates: Vec<OfferAnswer>,
}

/// A model and what it costs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelOffer)]
pub(super) struct OfferAnswer {
    model: Box<str>,
    /// By the role's policy.
    allowed: bool,
    /// Exact decimal text, for a million tokens; `null` without a price.
    input_usd_per_million: Option<String>,
    output_usd_per_million: Option<String>,
    /// Of the task, if its sizes are given.
    cost_usd: Option<String>,
}

/// Requests that could wait.
#[derive(Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = BatchQuestion, example = json!({"requests": [
    {"id": "a", "model": "claude-haiku-4-5", "tokens": {"input": 1200, "output": 300},
     "bytes": 5400, "parameters": {"max_tokens": 1024}}
]}))]
pub(super) struct WireBatch<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = Vec<WireWaiting<'static>>, max_items = 100_000)]
    requests: Vec<Part<WireWaiting<'a>>>,
}

/// One request.
#[derive(Debug, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = WaitingRequest)]
pub(super) struct WireWaiting<'a> {
    /// The place in the list where absent.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    id: Text<'a>,
    /// The model as the provider names it.
    #[serde(borrow)]
    #[schema(value_type = String)]
    model: Text<'a>,
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    provider: Text<'a>,
    /// As expected; without them there is no price.
    #[schema(value_type = Option<WireTokens>)]
    tokens: Part<WireTokens>,
    /// Size of the request's body.
    #[schema(value_type = Option<u64>)]
    bytes: Count,
    /// Any JSON: requests are put together if it is equal.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    parameters: Value,
}

/// Requests as batches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchAdvice)]
pub(super) struct BatchesAnswer {
    batches: Vec<BatchAnswer>,
    /// Requests that can be in no batch.
    left_out: Vec<LeftOut>,
}

/// One batch, within the provider's limits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
pub(super) struct BatchAnswer {
    provider: Box<str>,
    scope: Box<str>,
    model: Box<str>,
    parameters: Value,
    /// The ids, in the order given.
    requests: Vec<Box<str>>,
    bytes: u64,
    /// One by one, exact decimal text; `null` if a price or a count is missing.
    cost_usd: Option<String>,
    /// As a batch; `null` if the price table has no batch price for the tokens.
    batch_cost_usd: Option<String>,
    saving_usd: Option<String>,
    /// `null` if the provider publishes no limits.
    limits: Option<LimitsAnswer>,
}

/// How much one batch takes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchLimits)]
pub(super) struct LimitsAnswer {
    least_requests: u64,
    most_requests: u64,
    most_bytes: u64,
}

/// A request that can be in no batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LeftOutOfBatches)]
pub(super) struct LeftOut {
    id: Box<str>,
    /// `fewer_than_a_batch` or `larger_than_a_batch`.
    reason: &'static str,
}

/// Choose a model for a task
///
/// By the rules of `[savings]`: the sizes tell the complexity, the complexity names models, and of
/// those that the role allows the cheapest for the task is advised. Nothing is stored.
#[utoipa::path(
    post, path = "/api/v1/optimize/model", tag = "reports",
    operation_id = "optimizeModel",
    security((), ("bearer" = ["read"])),
    request_body = WireQuestion<'static>,
    responses(
        (status = 200, description = "The advice.", body = ModelAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
    ),
)]
pub(super) async fn model(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ModelAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let question: WireQuestion<'_> = object(&body, "task, model, provider and role")?;
    let task = question.task.optional("task")?;
    let Some(task) = task else {
        return Err(missing("task").into());
    };
    let (complexity, tokens, tools) = task.read()?;
    let model = question.model.optional("model")?;
    let provider = question.provider.optional("provider")?;
    let config = api.reports.config.load_full();
    let rules = &config.savings.rules;
    let named = |raw: &str| sku_of(&api.names.load(), raw, provider.as_deref());
    let like = match &model {
        Some(model) => named(model),
        // The endpoint is then that of the names in the settings.
        None => named(rules.models.iter().flatten().next().map_or("", |name| name)),
    };
    let role = question.role.optional("role")?;
    let policy = api.quota.policy();
    let allowed = match (&role, &policy) {
        (None, _) => None,
        (Some(role), Some((policy, _))) => {
            let Some(role) = policy.roles.get(&**role) else {
                return Err(invalid("role", "must be a role of the policy").into());
            };
            role.allowed_models.as_deref()
        }
        (Some(_), None) => {
            return Err(invalid("role", "there is no policy that knows roles").into());
        }
    };
    let wanted = Wanted {
        complexity,
        tokens,
        tools,
        like: &like,
        is_in_use: model.is_some(),
        allowed,
    };
    let terms = api.reports.terms.load_full();
    let advice = advice::choose(&wanted, rules, &terms, api.clock.now());
    Ok(Json(ModelAnswer::of(advice, like)))
}

/// Put requests into batches
///
/// Requests of one provider, endpoint, model and equal parameters fill batches in the order
/// given, within the provider's limits, with the price now and in a batch. Nothing is sent or
/// stored.
#[utoipa::path(
    post, path = "/api/v1/optimize/batch", tag = "reports",
    operation_id = "optimizeBatch",
    security((), ("bearer" = ["read"])),
    request_body = WireBatch<'static>,
    responses(
        (status = 200, description = "The batches.", body = BatchesAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
    ),
)]
pub(super) async fn batch(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BatchesAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let question: WireBatch<'_> = object(&body, "a list of requests")?;
    if question.requests.len() > MAX_REQUESTS {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_records",
            format!("requests: must be at most {MAX_REQUESTS}"),
        ));
    }
    let names = api.names.load();
    let mut waiting = Vec::with_capacity(question.requests.len());
    for (place, request) in question.requests.into_iter().enumerate() {
        let name = format!("requests[{place}]");
        let request = request.optional(&name)?.unwrap_or_default();
        let read = request.read(place, &names);
        waiting.push(read.map_err(|refusal| within(&name, refusal))?);
    }
    let terms = api.reports.terms.load_full();
    let (batches, left_out) = advice::batches(waiting, &terms, api.clock.now());
    let left_out = left_out.into_iter();
    Ok(Json(BatchesAnswer {
        batches: batches.into_iter().map(BatchAnswer::of).collect(),
        left_out: left_out
            .map(|(id, reason)| LeftOut { id, reason })
            .collect(),
    }))
}

/// A refusal that names its place in the list.
fn within(name: &str, mut refusal: Refusal) -> Refusal {
    refusal.message = format!("{name}.{}", refusal.message);
    refusal
}

fn sku_of(names: &ModelNames, raw: &str, provider: Option<&str>) -> Sku {
    let name = names.resolve(raw, provider);
    Sku {
        provider: name.provider,
        model: name.model,
        raw_model: raw.into(),
        scope: name.scope,
        region: None,
        tier: Tier::Standard,
        band: Band::UpTo100k,
    }
}

/// Complexity, tokens and tools.
type Size = (Option<Complexity>, Option<Tokens>, Option<u32>);

impl WireTask<'_> {
    /// Complexity, tokens and tools; tokens only if sizes are given.
    fn read(self) -> Result<Size, Refusal> {
        let stated = self.complexity.optional("task.complexity")?;
        let complexity =
            match stated {
                None => None,
                Some(name) => Some(Complexity::parse(&name).ok_or_else(|| {
                    invalid("task.complexity", "must be simple, medium or complex")
                })?),
            };
        let count = |count: Count, field: &str| count.up_to(Tokens::MAX, field);
        let context = count(self.context_tokens, "task.context_tokens")?;
        let output = count(self.output_tokens, "task.output_tokens")?;
        let cache_read = self.cache_read_tokens.tokens("task.cache_read_tokens")?;
        let cache_write = self.cache_write_tokens.tokens("task.cache_write_tokens")?;
        let tools = self.tools.small("task.tools")?;
        if complexity.is_none() && (context.is_none() || output.is_none()) {
            let message = "task: needs complexity, or context_tokens and output_tokens";
            return Err(Refusal {
                code: "missing_field",
                message: message.to_owned(),
            });
        }
        let (Some(context), Some(output)) = (context, output) else {
            return Ok((complexity, None, tools));
        };
        let Some(input) = context.checked_sub(cache_read + cache_write) else {
            return Err(invalid(
                "task.context_tokens",
                "must not be less than cache_read_tokens and cache_write_tokens, its parts",
            ));
        };
        let tokens = Tokens {
            input,
            output,
            cache_read,
            cache_write_unknown: cache_write,
            ..Tokens::default()
        };
        Ok((complexity, Some(tokens), tools))
    }
}

impl WireWaiting<'_> {
    fn read(self, place: usize, names: &ModelNames) -> Result<Waiting, Refusal> {
        let id = self.id.optional("id")?;
        let model = self.model.required("model")?;
        let provider = self.provider.optional("provider")?;
        let tokens = self.tokens.optional("tokens")?;
        let tokens = tokens.map(WireTokens::sum).transpose()?;
        let mut sku = sku_of(names, &model, provider.as_deref());
        sku.band = tokens.as_ref().map_or(Band::UpTo100k, Band::of);
        Ok(Waiting {
            id: id.map_or_else(|| place.to_string().into(), Into::into),
            sku,
            tokens,
            bytes: self.bytes.tokens("bytes")?,
            parameters: match self.parameters {
                Value::Null => "".into(),
                // Keys are sorted, so equal objects have equal texts.
                value => value.to_string().into(),
            },
        })
    }
}

impl ModelAnswer {
    fn of(advice: Advice, like: Sku) -> Self {
        let reason = advice.model.as_ref().err().copied();
        Self {
            model: advice.model.ok(),
            reason,
            complexity: advice.complexity.name(),
            rule: advice.rule,
            provider: like.provider,
            scope: like.scope,
            saving_usd: advice.saving.map(usd),
            current: advice.current.map(OfferAnswer::of),
            candidates: advice.candidates.into_iter().map(OfferAnswer::of).collect(),
        }
    }
}

impl OfferAnswer {
    fn of(offer: Offer) -> Self {
        let prices = offer.prices.unwrap_or_default();
        let per_million =
            |price: Option<u64>| price.map(|price| usd(PicoUsd(i128::from(price) * PER_MILLION)));
        Self {
            model: offer.model,
            allowed: offer.is_allowed,
            input_usd_per_million: per_million(prices.input),
            output_usd_per_million: per_million(prices.output),
            cost_usd: offer.cost.map(usd),
        }
    }
}

impl BatchAnswer {
    fn of(batch: Batch) -> Self {
        let both = batch.cost.zip(batch.batch_cost);
        let saving = both.and_then(|(cost, batch)| cost.checked_sub(batch));
        Self {
            provider: batch.provider,
            scope: batch.scope,
            model: batch.model,
            parameters: serde_json::from_str(&batch.parameters).unwrap_or_default(),
            requests: batch.ids,
            bytes: batch.bytes,
            cost_usd: batch.cost.map(usd),
            batch_cost_usd: batch.batch_cost.map(usd),
            saving_usd: saving.map(usd),
            limits: batch.limits.map(|limits| LimitsAnswer {
                least_requests: limits.least_requests,
                most_requests: limits.most_requests,
                most_bytes: limits.most_bytes,
            }),
        }
    }
}
