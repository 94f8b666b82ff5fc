//! What the words of a usage type or of a price's description say.

use crate::model::bill::PricedKind;
use crate::model::usage::Tier;

/// What words say about tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: Option<PricedKind>,
    pub(super) tier: Tier,
    pub(super) is_global: bool,
    pub(super) long_context: bool,
}

/// Splits `CacheWrite1hInputTokenCount_Global` and `cache_write_tokens_1h` into lower-case words:
/// at separators, before a capital after a small letter or digit, and before a number.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for letter in text.chars() {
        let is_start = !before.is_alphanumeric()
            || (letter.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit()))
            || (letter.is_ascii_digit() && before.is_alphabetic());
        before = letter;
        if !letter.is_alphanumeric() {
            continue;
        }
        if is_start {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// Reads words that speak of tokens. `None` if one of them is not known, if none says tokens, or if
/// they contradict each other: a word that is not understood may change the price.
pub(super) fn tokens(words: &[String]) -> Option<Meaning> {
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&&**word));
    if !words.iter().all(|word| KNOWN.contains(&&**word)) || !has(&["token", "tokens"]) {
        return None;
    }
    let is_cache = has(&["cache", "cached", "caching"]);
    let is_read = has(&["read", "reads", "hit", "hits"]);
    let is_write = has(&["write", "writes", "creation", "storage"]);
    let is_hour = has(&["1h", "hour", "1hr"]);
    let kind = match (is_cache, is_read, is_write) {
        (true, true, false) => PricedKind::CacheRead,
        (true, false, true) if is_hour => PricedKind::CacheWrite1h,
        (true, false, true) => PricedKind::CacheWrite5m,
        (false, false, false) if has(&["output"]) != has(&["input", "prompt"]) => {
            if has(&["output"]) {
                PricedKind::Output
            } else {
                PricedKind::Input
            }
        }
        _ => return None,
    };
    let tiers = [
        ("batch", Tier::Batch),
        ("batches", Tier::Batch),
        ("flex", Tier::Flex),
        ("priority", Tier::Priority),
        ("fast", Tier::Fast),
    ];
    let mut told = tiers.iter().filter(|(word, _)| has(&[word]));
    let tier = told.next().map_or(Tier::Standard, |(_, tier)| *tier);
    if told.next().is_some() {
        return None;
    }
    Some(Meaning {
        kind: Some(kind),
        tier,
        is_global: has(&["global"]),
        long_context: has(&["lctx"]) || (has(&["long"]) && has(&["context", "ctx"])),
    })
}

/// Every word that may stand in a line of tokens. Latency-optimised inference has no tier of its
/// own: its line joins the standard ones, and the price tells.
const KNOWN: &[&str] = &[
    "1",
    "1h",
    "1hr",
    "5",
    "5m",
    "5min",
    "batch",
    "batches",
    "cache",
    "cached",
    "caching",
    "context",
    "count",
    "creation",
    "cross",
    "ctx",
    "fast",
    "flex",
    "global",
    "hit",
    "hits",
    "hour",
    "input",
    "latency",
    "lctx",
    "long",
    "m",
    "mantle",
    "million",
    "min",
    "minute",
    "minutes",
    "optimized",
    "output",
    "priority",
    "prompt",
    "read",
    "reads",
    "region",
    "regional",
    "standard",
    "storage",
    "token",
    "tokens",
    "units",
    "usage",
    "write",
    "writes",
];

/// Whether words speak of use that is not billed by token.
pub(super) fn is_other_usage(words: &[String]) -> bool {
    words.iter().any(|word| OTHER.contains(&&**word))
}

const OTHER: &[&str] = &[
    "audio",
    "custom",
    "customization",
    "image",
    "images",
    "provisioned",
    "reserved",
    "search",
    "searches",
    "session",
    "storage",
    "throughput",
    "tpm",
    "training",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_in_camel_snake_and_dash() {
        let cases: [(&str, &[&str]); 5] = [
            (
                "CacheWrite1hInputTokenCount_LCtx",
                &["cache", "write", "1h", "input", "token", "count", "lctx"],
            ),
            (
                "cache_write_tokens_1h_global_standard",
                &["cache", "write", "tokens", "1h", "global", "standard"],
            ),
            (
                "-output-tokens-cross-region-global",
                &["output", "tokens", "cross", "region", "global"],
            ),
            (
                "MillionBatchInputTokens",
                &["million", "batch", "input", "tokens"],
            ),
            ("  ", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn a_word_that_is_not_known_or_contradicts_another_makes_it_unknown() {
        for text in [
            "input_tokens_quantum",
            "input_output_tokens",
            "cache_read_write_tokens",
            "input_tokens_batch_flex",
            "cache_tokens",
            "input_count",
            "",
        ] {
            assert_eq!(tokens(&split(text)), None, "{text}");
        }
    }
}
