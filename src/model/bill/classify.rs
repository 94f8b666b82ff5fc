//! What a line of a bill is for, from its texts.
//!
//! Nothing is guessed: names and words are matched whole, and what speaks of Claude and is not
//! understood is [`Charge::Unclassified`], never left out.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::words::{self, Meaning};
use super::{BilledSku, Charge, region};
use crate::model::money::PicoUsd;
use crate::model::names::ModelNames;
use crate::model::price::{PriceTable, WriteLifetime};
use crate::model::usage::{Band, Sku};

const BEDROCK: &str = "bedrock";
const MANTLE: &str = "bedrock_mantle";
const CLAUDE_PLATFORM: &str = "claude_platform_aws";

/// How a service of AWS Marketplace ends that Bedrock sells.
const EDITION: &str = "(amazon bedrock edition)";

/// Services of AWS that carry Claude beside other models.
const SHARED_SERVICES: [&str; 3] = ["amazon bedrock", "amazon bedrock service", "bedrock"];

/// What usage types of the shared services say that is not for Claude: other models, and services
/// around models.
const OTHERS: &[&str] = &[
    "agent",
    "agents",
    "ai21",
    "automation",
    "cohere",
    "command",
    "deepseek",
    "embed",
    "evaluation",
    "flow",
    "flows",
    "gemma",
    "gpt",
    "guardrail",
    "guardrails",
    "j2",
    "jamba",
    "jurassic",
    "kimi",
    "knowledge",
    "kb",
    "llama",
    "luma",
    "magistral",
    "minimax",
    "ministral",
    "mistral",
    "mixtral",
    "nemotron",
    "nova",
    "openai",
    "palmyra",
    "pixtral",
    "qwen",
    "ray",
    "rerank",
    "sd3",
    "sdxl",
    "stability",
    "stable",
    "titan",
    "twelvelabs",
    "voxtral",
];

/// What a line is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// `bedrock`, `bedrock_mantle`, ...
    pub provider: &'static str,
    pub charge: Charge,
    pub sku: BilledSku,
    /// Tokens in one unit of the quantity where the unit itself does not tell.
    pub per_unit: Option<u64>,
}

impl Class {
    /// The billed quantity and unit in tokens, if this is a line of tokens, the unit is understood
    /// and the price table does not contradict it.
    #[must_use]
    pub fn tokens(
        &self,
        [quantity, unit]: [&str; 2],
        cost: PicoUsd,
        day: Date,
        prices: &PriceTable,
    ) -> Option<u64> {
        if self.charge != Charge::Tokens {
            return None;
        }
        let told = per_unit(unit).or(self.per_unit);
        let list = self.list_price(day, prices);
        tokens(quantity, believed_per_unit(told, quantity, cost, list)?)
    }

    /// About what a token costs by the price table, in pico-USD.
    fn list_price(&self, day: Date, prices: &PriceTable) -> Option<u64> {
        let BilledSku { model, kind, .. } = &self.sku;
        let (model, kind) = (model.as_deref()?, (*kind)?);
        let at = day.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let priced = |scope: &str| {
            let sku = Sku {
                provider: self.provider.into(),
                model: model.into(),
                raw_model: model.into(),
                scope: scope.into(),
                region: None,
                tier: self.sku.tier,
                band: if self.sku.long_context {
                    Band::Above200k
                } else {
                    Band::UpTo100k
                },
            };
            prices.unit(&sku, at)?.of(kind, WriteLifetime::FiveMinutes)
        };
        let mut scopes = self.sku.scope.as_deref().into_iter().chain(SCOPES);
        scopes.find_map(priced)
    }
}

/// Scopes that are tried where a line tells none. Their prices differ by a tenth at most, and only
/// the order of magnitude is asked for.
const SCOPES: [&str; 4] = ["us", "global", "in_region", "base"];

/// What a line of AWS is for, by its service and usage type. `None` if it is not for Claude.
#[must_use]
pub fn aws(service: &str, usage_type: &str, names: &ModelNames) -> Option<Class> {
    let folded = service.trim().to_lowercase();
    let words = words::split(usage_type);
    let is_named = |words: &[String]| words.iter().any(|word| word == "claude");
    let is_claude = is_named(&words::split(service)) || is_named(&words);
    if !is_claude {
        let is_other = words.iter().any(|word| OTHERS.contains(&&**word));
        if is_other || !SHARED_SERVICES.contains(&&*folded) {
            return None;
        }
    }
    let (region, rest) = region::split(usage_type);
    let form = Form::of(rest);
    let model = form
        .model
        .and_then(|model| canonical(model, names))
        .or_else(|| canonical(folded.trim_end_matches(EDITION).trim(), names));
    let said = words::split(form.said);
    let meaning = words::tokens(&said).filter(|_| model.is_some());
    let charge = match meaning {
        Some(_) => Charge::Tokens,
        None if words::is_other_usage(&words) => Charge::OtherUsage,
        None => Charge::Unclassified,
    };
    let meaning = meaning.or_else(|| words::tokens(&said)).unwrap_or_default();
    let provider = if form.is_mantle {
        MANTLE
    } else if folded.contains("claude platform") {
        CLAUDE_PLATFORM
    } else {
        BEDROCK
    };
    Some(Class {
        provider,
        charge,
        sku: sku(meaning, model, region),
        per_unit: form.per_unit,
    })
}

/// What a line is for that names model and kind in one description, as Google's and Anthropic's
/// do: `Claude Sonnet 4.5 - Input Tokens`. `None` if it is not for Claude.
#[must_use]
pub fn described(provider: &'static str, text: &str, names: &ModelNames) -> Option<Class> {
    let words = words::split(text);
    let begin = text.to_lowercase().find("claude")?;
    words.iter().any(|word| word == "claude").then_some(())?;
    // The model is what comes before the first word that speaks of tokens or tiers.
    let text = text.get(begin..).unwrap_or(text);
    let end = STARTS
        .iter()
        .filter_map(|start| text.to_lowercase().find(start))
        .min();
    let (name, said) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let trimmed = name.trim_matches(|c: char| !c.is_alphanumeric());
    let model = canonical(trimmed, names);
    let said = words::split(said);
    let meaning = words::tokens(&said);
    let charge = match meaning {
        Some(_) if model.is_some() => Charge::Tokens,
        _ if words::is_other_usage(&words) => Charge::OtherUsage,
        _ => Charge::Unclassified,
    };
    Some(Class {
        provider,
        charge,
        sku: sku(meaning.unwrap_or_default(), model, None),
        per_unit: None,
    })
}

/// Where a description leaves the model and begins to speak of what was used.
const STARTS: &[&str] = &[
    " usage",
    " input",
    " output",
    " cache",
    " prompt",
    " batch",
    " web",
    " global",
    " regional",
    " long",
    " token",
    " fast",
    " -",
    " (",
];

fn sku(meaning: Meaning, model: Option<Box<str>>, region: Option<&str>) -> BilledSku {
    BilledSku {
        model,
        kind: meaning.kind,
        scope: meaning.is_global.then(|| "global".into()),
        region: region.map(Into::into),
        tier: meaning.tier,
        long_context: meaning.long_context,
    }
}

/// A usage type without its region, taken apart.
struct Form<'a> {
    /// The model that it names.
    model: Option<&'a str>,
    /// What it says about use.
    said: &'a str,
    is_mantle: bool,
    per_unit: Option<u64>,
}

impl<'a> Form<'a> {
    fn of(rest: &'a str) -> Self {
        if let Some(marketplace) = rest.strip_prefix("MP:") {
            // The region stands here a second time: `USE1_InputTokenCount-Units`.
            let said = match marketplace.split_once('_') {
                Some((code, said)) if region::is_code(code) => said,
                _ => marketplace,
            };
            return Self {
                model: None,
                said,
                is_mantle: false,
                per_unit: Some(1_000_000),
            };
        }
        if let Some((model, said)) = rest.split_once("-mantle-") {
            return Self {
                model: Some(model),
                said,
                is_mantle: true,
                // Nothing published tells it: the unit's own text or the price must.
                per_unit: None,
            };
        }
        let at = ["-input-token", "-output-token", "-cache-", "-batch-"]
            .iter()
            .filter_map(|start| rest.find(start))
            .min();
        let (model, said) = match at {
            Some(at) => (Some(&rest[..at]), &rest[at..]),
            None => (None, rest),
        };
        Self {
            model,
            said,
            is_mantle: false,
            per_unit: Some(1_000),
        }
    }
}

/// The canonical name if this is the name of a Claude model.
fn canonical(name: &str, names: &ModelNames) -> Option<Box<str>> {
    // Bills write `Claude 3.5 Sonnet v2` and `Claude3.5SonnetV2` where model ids write `-v2`.
    let versioned = name
        .char_indices()
        .rev()
        .nth(1)
        .filter(|(_, letter)| matches!(letter, 'v' | 'V') && name.ends_with(char::is_numeric))
        .map(|(at, _)| {
            format!(
                "{}-{}",
                name[..at].trim_end_matches([' ', '-']),
                &name[at..]
            )
        });
    let name = versioned.as_deref().unwrap_or(name);
    let model = names.resolve(name, Some(BEDROCK)).model;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
    let is_model = model
        .strip_prefix("claude-")
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(plain));
    is_model.then_some(model)
}

/// What a line of AWS is that its record type tells of (Cost Explorer's `RECORD_TYPE`, the line
/// item type of exports). `None` is usage: service and usage type tell what of.
#[must_use]
pub fn record_type(name: &str) -> Option<Charge> {
    let words = words::split(name);
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&&**word));
    if has(&["usage"]) && !has(&["discount", "negation", "refund", "credit", "fee"]) {
        return None;
    }
    Some(if has(&["refund"]) {
        Charge::Refund
    } else if has(&["tax"]) {
        Charge::Tax
    } else if has(&["credit", "discount", "negation"]) {
        Charge::Credit
    } else if has(&[
        "fee",
        "fees",
        "support",
        "subscription",
        "charges",
        "recurring",
        "upfront",
        "purchase",
    ]) {
        Charge::Fee
    } else {
        Charge::Unclassified
    })
}

/// Tokens in one unit, if the name of the unit tells: `1K tokens`, `Tokens`.
#[must_use]
pub fn per_unit(unit: &str) -> Option<u64> {
    let folded = unit.to_lowercase().replace([',', '_', '-'], "");
    let words: Vec<&str> = folded.split_whitespace().collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    if has(&["1m", "million", "1000000", "mtokens", "1mtokens"]) {
        Some(1_000_000)
    } else if has(&["1k", "thousand", "1000", "ktokens", "1ktokens"]) {
        Some(1_000)
    } else if has(&["token", "tokens"]) {
        Some(1)
    } else {
        None
    }
}

/// A quantity in tokens. `None` if it is no number, negative or too large. A part of a token, as
/// rounding elsewhere leaves it, is rounded half-even.
#[must_use]
pub fn tokens(quantity: &str, per_unit: u64) -> Option<u64> {
    const ONE: i128 = 1_000_000_000_000;
    // Twelve decimal places of a unit of a million tokens are a millionth of a token.
    let units = PicoUsd::parse_rounded(quantity).ok()?;
    let tokens = units.checked_mul(per_unit)?.rounded(0).0 / ONE;
    u64::try_from(tokens).ok()
}

/// How far a price on a bill may be from the list price so that the unit is still believed.
/// Contracts and multipliers move a price by less, a wrong unit by a thousand.
const BELIEVED: i128 = 30;

/// Tokens in one unit, checked against the list price where there is one, in pico-USD a token: a
/// price that is off by a thousand is a unit that is read wrong.
#[must_use]
pub fn believed_per_unit(
    told: Option<u64>,
    quantity: &str,
    cost: PicoUsd,
    list_price: Option<u64>,
) -> Option<u64> {
    let Some(list) = list_price.map(i128::from).filter(|price| *price > 0) else {
        return told;
    };
    let fits = |per_unit: &u64| {
        let tokens = tokens(quantity, *per_unit).filter(|tokens| *tokens > 0)?;
        let price = cost.0.checked_div(i128::from(tokens))?;
        Some(price <= list.checked_mul(BELIEVED)? && price.checked_mul(BELIEVED)? >= list)
    };
    // A line without cost, or of less than a token, tells nothing about its unit.
    if told.is_some_and(|told| cost.0 <= 0 || fits(&told) != Some(false)) {
        return told;
    }
    let mut fitting = [1_000_000, 1_000, 1]
        .into_iter()
        .filter(|unit| fits(unit) == Some(true));
    fitting.next()
}

#[cfg(test)]
mod tests;
