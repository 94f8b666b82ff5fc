//! OpenTelemetry's GenAI histograms, as LLM gateways send them.
//!
//! A gateway's `input` includes what came from the cache and went into it (Envoy AI Gateway:
//! `cached_input`, `cache_creation_input`). The kinds come as series of their own, in one delivery
//! or in several, so the ledger takes what the cache series tell off `input`
//! ([`Counted::IncludedTokens`]). Without cache series `input` stands as it is. `reasoning` is
//! part of `output`, and `total` the sum of all: both are passed over.

use std::sync::Arc;

use super::counters::Frame;
use super::item::DataPoint;
use super::key::Key;
use super::map::Mapper;
use super::value::{Attributes, missing, refuse};
use crate::model::tokens::TokenKind;
use crate::model::usage::{Band, Counted, Refusal, Sku, Tier};

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
    let what = match kind {
        TokenKind::CacheRead | TokenKind::CacheCreation => Counted::IncludedTokens { kind, sku },
        _ => Counted::Tokens { kind, sku },
    };
    mapper.take(frame.identity.origin, 1);
    let point = frame.point(&mapper.sources.genai, value, what);
    mapper.add_point(point);
    Ok(())
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
