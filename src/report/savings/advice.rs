//! Advice before a request is made: which model, and which batches.
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::outcome::{Reason, sum};
use crate::model::glob::Glob;
use crate::model::money::PicoUsd;
use crate::model::price::UnitPrices;
use crate::model::saving::{
    BatchLimits, Complexity, ModelRules, Task, batch_limits, in_batch, on_model, rule_name,
    tokens_on,
};
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Sku};
use crate::store::Terms;

/// A task for which a model is wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// As stated; else told from the tokens.
    pub complexity: Option<Complexity>,
    pub tokens: Option<Tokens>,
    pub tools: Option<u32>,
    /// The model in use, or any of the same provider and endpoint.
    pub like: &'a Sku,
    /// True if `like` is in use: advice then never costs more.
    pub is_in_use: bool,
    /// What the role allows; `None` allows all.
    pub allowed: Option<&'a [Glob]>,
}

/// A model with its price, and its cost if the tokens are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub model: Box<str>,
    pub is_allowed: bool,
    pub prices: Option<UnitPrices>,
    pub cost: Option<PicoUsd>,
}

/// Which model to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    pub complexity: Complexity,
    pub rule: &'static str,
    /// The model; or why there is none.
    pub model: Result<Box<str>, &'static str>,
    pub candidates: Vec<Offer>,
    /// The model in use.
    pub current: Option<Offer>,
    /// What the advice costs less than the model in use.
    pub saving: Option<PicoUsd>,
}

/// Chooses a model by the rules of `[savings]`: the cheapest for the tokens, of equal ones the
/// first; without tokens the first that has a price.
#[must_use]
pub fn choose(wanted: &Wanted<'_>, rules: &ModelRules, terms: &Terms, at: Timestamp) -> Advice {
    let task = Task::of(&wanted.tokens.unwrap_or_default(), wanted.tools);
    let stated = wanted
        .complexity
        .map(|complexity| (complexity, "as_stated"));
    let (complexity, rule) = stated.unwrap_or_else(|| {
        let complexity = rules.complexity(&task);
        (complexity, rule_name(complexity, &task))
    });
    let offer = |model: &str| offer(wanted, model, terms, at);
    let models = rules.models(complexity).iter();
    let candidates: Vec<Offer> = models.map(|model| offer(model)).collect();
    let current = wanted.is_in_use.then(|| offer(&wanted.like.model));
    let usable = candidates
        .iter()
        .filter(|offer| offer.is_allowed && offer.prices.is_some());
    let best = match wanted.tokens {
        Some(_) => usable
            .filter(|offer| offer.cost.is_some())
            .min_by_key(|offer| offer.cost),
        None => usable.into_iter().next(),
    };
    let saving = best.and_then(|best| {
        let (now, then) = (current.as_ref()?.cost?, best.cost?);
        now.checked_sub(then)
    });
    let (model, saving) = match (best, &current) {
        // Nothing is gained by a change.
        (Some(_), Some(current)) if saving.is_some_and(|saving| saving.0 <= 0) => {
            (Ok(current.model.clone()), Some(PicoUsd::ZERO))
        }
        (Some(best), _) => (Ok(best.model.clone()), saving),
        (None, _) => (Err(why_none(&candidates)), None),
    };
    Advice {
        complexity,
        rule,
        model,
        candidates,
        current,
        saving,
    }
}

fn why_none(candidates: &[Offer]) -> &'static str {
    let reason = if candidates.is_empty() {
        Reason::NoModelNamed
    } else if candidates.iter().any(|offer| offer.is_allowed) {
        Reason::NoPrice
    } else {
        Reason::NotAllowed
    };
    reason.name()
}

fn offer(wanted: &Wanted<'_>, model: &str, terms: &Terms, at: Timestamp) -> Offer {
    let tokens = wanted.tokens.map(|tokens| {
        let is_same = *wanted.like.model == *model;
        if is_same {
            tokens
        } else {
            tokens_on(model, &tokens)
        }
    });
    let sku = Sku {
        band: tokens.as_ref().map_or(Band::UpTo100k, Band::of),
        ..on_model(wanted.like, model)
    };
    let allows = |allowed: &[Glob]| allowed.iter().any(|glob| glob.matches(model));
    Offer {
        model: model.into(),
        is_allowed: wanted.allowed.is_none_or(allows),
        prices: terms
            .prices
            .unit(&sku, at)
            .filter(|unit| unit.input.is_some()),
        cost: tokens.and_then(|tokens| {
            let write = terms.write_lifetime(&sku.provider);
            terms.prices.cost(&tokens, &sku, at, write).cost
        }),
    }
}

/// A request that could wait.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub id: Box<str>,
    pub sku: Sku,
    pub tokens: Option<Tokens>,
    /// Of the request's body; 0 if not known.
    pub bytes: u64,
    /// Only requests with equal parameters are put together.
    pub parameters: Box<str>,
}

/// Requests that make one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub provider: Box<str>,
    pub scope: Box<str>,
    pub model: Box<str>,
    pub parameters: Box<str>,
    pub ids: Vec<Box<str>>,
    pub bytes: u64,
    /// Of all requests together; `None` if a price or a count is missing.
    pub cost: Option<PicoUsd>,
    pub batch_cost: Option<PicoUsd>,
    pub limits: Option<BatchLimits>,
}

/// Groups requests by provider, endpoint, model and parameters, and fills batches in the order
/// given. Returns the batches, and the requests that cannot be in one, with the reason.
#[must_use]
pub fn batches(
    waiting: Vec<Waiting>,
    terms: &Terms,
    at: Timestamp,
) -> (Vec<Batch>, Vec<(Box<str>, &'static str)>) {
    let mut groups: BTreeMap<[Box<str>; 4], Vec<Waiting>> = BTreeMap::new();
    let mut left_out = Vec::new();
    for request in waiting {
        let limits = batch_limits(&request.sku.provider);
        if limits.is_some_and(|limits| request.bytes > limits.most_bytes) {
            left_out.push((request.id, "larger_than_a_batch"));
            continue;
        }
        let sku = &request.sku;
        let parts = [&sku.provider, &sku.scope, &sku.model, &request.parameters];
        groups
            .entry(parts.map(Clone::clone))
            .or_default()
            .push(request);
    }
    let mut all = Vec::new();
    for (parts, requests) in groups {
        let limits = batch_limits(&parts[0]);
        let least = limits.map_or(1, |limits| limits.least_requests);
        for batch in filled(&parts, requests, limits, terms, at) {
            if (batch.ids.len() as u64) < least {
                let reason = Reason::FewerThanABatch.name();
                left_out.extend(batch.ids.into_iter().map(|id| (id, reason)));
            } else {
                all.push(batch);
            }
        }
    }
    (all, left_out)
}

fn filled(
    [provider, scope, model, parameters]: &[Box<str>; 4],
    requests: Vec<Waiting>,
    limits: Option<BatchLimits>,
    terms: &Terms,
    at: Timestamp,
) -> Vec<Batch> {
    let mut all: Vec<Batch> = Vec::new();
    for request in requests {
        let fits = |batch: &Batch| {
            limits.is_none_or(|limits| {
                (batch.ids.len() as u64) < limits.most_requests
                    && batch.bytes.saturating_add(request.bytes) <= limits.most_bytes
            })
        };
        if !all.last().is_some_and(fits) {
            all.push(Batch {
                provider: provider.clone(),
                scope: scope.clone(),
                model: model.clone(),
                parameters: parameters.clone(),
                ids: Vec::new(),
                bytes: 0,
                cost: Some(PicoUsd::ZERO),
                batch_cost: Some(PicoUsd::ZERO),
                limits,
            });
        }
        let Some(batch) = all.last_mut() else {
            continue;
        };
        let (cost, batch_cost) = costs(&request, terms, at);
        let add = |one: Option<PicoUsd>, two: Option<PicoUsd>| Some(sum(one?, two?));
        batch.cost = add(batch.cost, cost);
        batch.batch_cost = add(batch.batch_cost, batch_cost);
        batch.bytes = batch.bytes.saturating_add(request.bytes);
        batch.ids.push(request.id);
    }
    all
}

/// What a request costs by itself and in a batch.
fn costs(request: &Waiting, terms: &Terms, at: Timestamp) -> (Option<PicoUsd>, Option<PicoUsd>) {
    let Some(tokens) = &request.tokens else {
        return (None, None);
    };
    let write = terms.write_lifetime(&request.sku.provider);
    let cost = |sku: &Sku| terms.prices.cost(tokens, sku, at, write).cost;
    let batch = in_batch(&request.sku);
    (cost(&request.sku), batch.and_then(|sku| cost(&sku)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};
    use crate::model::price::{EMBEDDED, PriceTable};
    use crate::model::usage::Tier;

    fn terms() -> Terms {
        Terms {
            prices: PriceTable::parse(EMBEDDED).unwrap(),
            ..Terms::default()
        }
    }

    fn rules() -> ModelRules {
        let config = Config::parse("", &Environment::default()).unwrap();
        config.savings.rules
    }

    fn sku(provider: &str, scope: &str, model: &str) -> Sku {
        Sku {
            provider: provider.into(),
            model: model.into(),
            raw_model: model.into(),
            scope: scope.into(),
            region: None,
            tier: Tier::Standard,
            band: Band::UpTo100k,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "questions may leave tokens out")]
    fn tokens(input: u64, output: u64) -> Option<Tokens> {
        Some(Tokens {
            input,
            output,
            ..Tokens::default()
        })
    }

    fn chosen(wanted: &Wanted<'_>) -> (Result<Box<str>, &'static str>, Option<i128>) {
        let advice = choose(wanted, &rules(), &terms(), Timestamp::UNIX_EPOCH);
        (advice.model, advice.saving.map(|saving| saving.0))
    }

    #[test]
    fn a_stated_complexity_names_a_model_as_a_table_would() {
        let like = sku("bedrock", "us", "");
        let models = Complexity::ALL.map(|complexity| {
            let wanted = Wanted {
                complexity: Some(complexity),
                tokens: None,
                tools: None,
                like: &like,
                is_in_use: false,
                allowed: None,
            };
            chosen(&wanted)
        });
        assert_eq!(
            models,
            ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"]
                .map(|model| (Ok(model.into()), None))
        );
    }

    #[test]
    fn a_change_that_gains_nothing_is_not_advised() {
        let with = |model: &str, input, allowed: Option<&[Glob]>| {
            let like = sku("anthropic", "base", model);
            chosen(&Wanted {
                complexity: None,
                tokens: tokens(input, 100),
                tools: Some(0),
                like: &like,
                is_in_use: true,
                allowed,
            })
        };
        let only_opus = [Glob::new("claude-opus-*")];
        assert_eq!(
            [
                with("claude-opus-4-8", 1_000, None),
                with("claude-haiku-5-5", 1_000, None),
                // A complex task is no reason to change to a dearer model.
                with("claude-sonnet-5-5", 150_000, None),
                with("claude-opus-4-8", 1_000, Some(&only_opus)),
            ],
            [
                (Ok("claude-haiku-5-5".into()), Some(7_350_000_000)),
                (Ok("claude-haiku-5-5".into()), Some(0)),
                (Ok("claude-sonnet-5-5".into()), Some(0)),
                (Err("not_allowed"), None),
            ]
        );
    }

    fn waiting(id: usize, model: &str, bytes: u64, parameters: &str) -> Waiting {
        Waiting {
            id: id.to_string().into(),
            sku: sku("anthropic", "base", model),
            tokens: tokens(1_000, 100),
            bytes,
            parameters: parameters.into(),
        }
    }

    #[test]
    fn batches_are_of_one_model_and_within_the_limits() {
        let opus = "claude-opus-4-8";
        let all = vec![
            waiting(0, opus, 200_000_000, ""),
            waiting(1, opus, 56_000_000, ""),
            waiting(2, opus, 1, ""),
            waiting(3, "claude-haiku-4-5", 1, ""),
            waiting(4, opus, 1, "temperature 1"),
            waiting(5, opus, 256_000_001, ""),
        ];
        let (batches, left_out) = batches(all, &terms(), Timestamp::UNIX_EPOCH);
        let ids: Vec<_> = batches.iter().map(|batch| batch.ids.join(",")).collect();
        assert_eq!(ids, ["3", "0,1", "2", "4"]);
        assert_eq!(
            (batches[1].cost, batches[1].batch_cost),
            (Some(PicoUsd(15_000_000_000)), Some(PicoUsd(7_500_000_000)))
        );
        assert_eq!(left_out, [("5".into(), "larger_than_a_batch")]);
    }

    #[test]
    fn too_few_for_the_provider_and_too_many_for_one_batch() {
        let on_bedrock = |id| Waiting {
            sku: sku("bedrock", "global", "claude-haiku-4-5"),
            ..waiting(id, "", 0, "")
        };
        let all = (0..50_099).map(on_bedrock).collect();
        let (made, left_out) = batches(all, &terms(), Timestamp::UNIX_EPOCH);
        assert_eq!((made.len(), made[0].ids.len()), (1, 50_000));
        assert_eq!(left_out.len(), 99);
        assert_eq!(left_out[0].1, "fewer_than_a_batch");
    }
}
