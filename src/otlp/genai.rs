//! OpenTelemetry's GenAI histograms, as LLM gateways send them.
//!
//! A gateway's `input` includes what came from the cache and went into it (Envoy AI Gateway:
//! `cached_input`, `cache_creation_input`). The kinds come as series of their own in one
//! export, so they are put side by side at the end of the delivery: `input` less both, never
//! below zero. Series belong together when all attributes but the token type and the time they
//! cover are equal; of cumulative series the end alone is compared, because a series that began
//! later was zero before. Without cache series `input` stands as it is. `reasoning` is part of
//! `output`, and `total` the sum of all: both are passed over.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::counters::Frame;
use super::ids::Id;
use super::item::DataPoint;
use super::key::Key;
use super::map::Mapper;
use super::value::{Attributes, missing, refuse};
use crate::model::tokens::TokenKind;
use crate::model::usage::{Band, Counted, Point, Refusal, Sku, Temporality, Tier};

/// Series that differ in the token type alone, over one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Group {
    series: Id,
    start: Option<Timestamp>,
    at: Timestamp,
}

/// What of a group's `input` is told in other series.
#[derive(Clone, Copy, Debug, Default)]
struct Cached {
    read: u64,
    written: u64,
}

/// The inputs of a delivery, until all cache series are known.
#[derive(Debug, Default)]
pub(super) struct TokenPoints {
    cached: HashMap<Group, Cached>,
    inputs: Vec<(Group, u16, Point)>,
}

/// The token types that gateways send.
enum Type {
    Counted(TokenKind),
    /// Contained in another type.
    PassedOver,
}

fn type_of(own: &Attributes<'_>) -> Result<Type, Refusal> {
    let field = Key::GenAiTokenType.name();
    let text = own.text(Key::GenAiTokenType)?;
    let text = text.ok_or_else(|| missing(field))?;
    Ok(match &*text {
        "input" => Type::Counted(TokenKind::Input),
        "output" => Type::Counted(TokenKind::Output),
        "cached_input" => Type::Counted(TokenKind::CacheRead),
        "cache_creation_input" => Type::Counted(TokenKind::CacheCreation),
        "reasoning" | "total" => Type::PassedOver,
        _ => return Err(refuse("unknown_value", field, "is no known kind of token")),
    })
}

/// `gen_ai.client.token.usage`: the sum of a histogram is the number of tokens.
pub(super) fn tokens(
    mapper: &mut Mapper<'_, '_>,
    frame: Frame,
    point: &DataPoint<'_>,
) -> Result<(), Refusal> {
    let own = &point.attributes;
    let kind = match type_of(own)? {
        Type::Counted(kind) => kind,
        Type::PassedOver => {
            mapper.take(frame.identity.origin, 1);
            return Ok(());
        }
    };
    let value = point.sum.count("sum")?.ok_or_else(|| missing("sum"))?;
    let sku = sku_of(mapper, own)?;
    let mut series = frame.metric_hash.clone();
    series.attributes(own, Some(Key::GenAiTokenType));
    let group = Group {
        series: series.finish(),
        start: match frame.temporality {
            Temporality::Delta => Some(frame.start),
            Temporality::Cumulative | Temporality::CumulativeFromUnknown => None,
        },
        at: frame.at,
    };
    let origin = frame.identity.origin;
    let what = Counted::Tokens { kind, sku };
    let point = frame.point(&mapper.sources.genai, value, what);
    if kind == TokenKind::Input {
        let sender = mapper.sender();
        mapper.tokens.inputs.push((group, sender, point));
        return Ok(());
    }
    match kind {
        TokenKind::CacheRead => mapper.tokens.cached.entry(group).or_default().read = value,
        TokenKind::CacheCreation => mapper.tokens.cached.entry(group).or_default().written = value,
        _ => {}
    }
    mapper.take(origin, 1);
    mapper.add_point(point);
    Ok(())
}

/// Ends a delivery: inputs lose what their cache series tell.
pub(super) fn finish(mapper: &mut Mapper<'_, '_>) {
    let TokenPoints { cached, inputs } = std::mem::take(&mut mapper.tokens);
    for (group, sender, mut point) in inputs {
        let cached = cached.get(&group).copied().unwrap_or_default();
        point.value = point
            .value
            .saturating_sub(cached.read)
            .saturating_sub(cached.written);
        mapper.tally.take(sender, point.identity.origin, 1);
        mapper.add_point(point);
    }
}

/// `gen_ai.client.operation.duration`: a histogram's count is the number of requests. Those with
/// `error.type` failed.
pub(super) fn requests(
    mapper: &mut Mapper<'_, '_>,
    frame: Frame,
    point: &DataPoint<'_>,
) -> Result<(), Refusal> {
    let value = point.count.count("count")?;
    let value = value.ok_or_else(|| missing("count"))?;
    let sku = sku_of(mapper, &point.attributes)?;
    mapper.take(frame.identity.origin, 1);
    let source = match point.attributes.text(Key::ErrorType)? {
        None => &mapper.sources.genai,
        Some(_) => &mapper.sources.genai_errors,
    };
    let point = frame.point(source, value, Counted::Requests { sku });
    mapper.add_point(point);
    Ok(())
}

/// The model that answered, else the one that was asked for.
fn sku_of(mapper: &mut Mapper<'_, '_>, own: &Attributes<'_>) -> Result<Arc<Sku>, Refusal> {
    let model = match own.text(Key::GenAiResponseModel)? {
        None => own.text(Key::GenAiRequestModel)?,
        model => model,
    };
    let model = model.ok_or_else(|| missing(Key::GenAiRequestModel.name()))?;
    let provider = match own.text(Key::GenAiProvider)? {
        None => own.text(Key::GenAiSystem)?,
        provider => provider,
    };
    Ok(mapper.sku(&model, provider.as_deref(), Tier::Standard, Band::Mixed))
}
