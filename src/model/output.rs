//! The most that a model writes in one answer, by family: what a reservation can hold at most.
//!
//! Clients may ask for any number; a hold that no answer can use up would only lock others out.

/// Tokens of a model that is not in the table.
const OTHERS: u64 = 128_000;

/// By the beginning of the canonical name; the first that fits counts.
/// Upper bounds, on the high side where it is not sure: a bound that is too high only leaves a
/// hold larger than it has to be, one too low would let a call past its limit.
const FAMILIES: [(&str, u64); 13] = [
    ("claude-3-5-", 8_192),
    ("claude-3-7-", 128_000),
    ("claude-3-", 4_096),
    ("claude-instant-", 4_096),
    ("claude-v2", 4_096),
    ("claude-opus-4-1", 32_000),
    ("claude-opus-4-5", 64_000),
    ("claude-opus-4-", 128_000),
    ("claude-opus-4", 32_000),
    ("claude-sonnet-4-6", 128_000),
    ("claude-sonnet-4", 64_000),
    ("claude-haiku-4-", 64_000),
    ("claude-haiku-", 128_000),
];

/// Output tokens that a canonical model writes at most.
#[must_use]
pub fn max_output(model: &str) -> u64 {
    FAMILIES
        .iter()
        .find(|(family, _)| model.starts_with(family))
        .map_or(OTHERS, |(_, most)| *most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_maximum() {
        let seen = [
            "claude-3-haiku",
            "claude-3-5-sonnet",
            "claude-opus-4",
            "claude-opus-4-1",
            "claude-opus-4-8",
            "claude-haiku-4-5",
            "claude-opus-5-5",
            "gpt-5.1",
        ]
        .map(max_output);
        assert_eq!(
            seen,
            [
                4_096, 8_192, 32_000, 32_000, 128_000, 64_000, 128_000, 128_000
            ]
        );
    }
}
