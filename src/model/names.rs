//! Model names: one canonical name across providers.
//!
//! A model comes under many names: `us.anthropic.claude-sonnet-4-6-v1:0`,
//! `claude-sonnet-4-6@20260115`, `Claude 4.6 Sonnet`, an inference-profile ARN. Names are taken
//! apart from the ends and by whole words, never searched for parts: `opus-4` is in `opus-4-5`.

use std::borrow::Cow;
use std::collections::HashMap;

use super::label;
use reading::{ANTHROPIC, BEDROCK, BEDROCK_MANTLE, Reading, VERTEX};

mod reading;

/// What a reported model name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// `anthropic`, `bedrock`, `vertex`, `claude_platform_aws`, `bedrock_mantle`, or as given.
    pub provider: Box<str>,
    /// `claude-sonnet-4-6`; a name that is not understood stays as it is, lower-cased.
    pub model: Box<str>,
    /// The price scope: `base`, `in_region`, `global`, `us`, `eu`, ...
    pub scope: Box<str>,
}

/// What an operator says about a name, for example of an application inference profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// A name as [`ModelNames::resolve`] takes it, so that it may carry a scope
    /// (`us.anthropic.claude-sonnet-4-6`). It is not looked up among the aliases again.
    pub model: String,
    /// Wins over what the source says; `None` leaves the provider to the source and the names.
    pub provider: Option<String>,
}

/// Resolves model names, with the operator's additions.
#[derive(Clone, Debug)]
pub struct ModelNames {
    default_provider: Box<str>,
    aliases: HashMap<Box<str>, Alias>,
}

/// The name under which a record without any model name is kept.
const UNNAMED: &str = "unknown";

impl Default for ModelNames {
    /// Knows no aliases; plain names belong to `anthropic`.
    fn default() -> Self {
        Self::new(ANTHROPIC, [])
    }
}

impl ModelNames {
    /// Builds the resolver. `default_provider` is what plain names belong to. An alias is found by
    /// the name as reported, without regard to case; an application inference profile also by
    /// `application-inference-profile/ID`, without region and account.
    #[must_use]
    pub fn new(default_provider: &str, aliases: impl IntoIterator<Item = (String, Alias)>) -> Self {
        let aliases = aliases
            .into_iter()
            .filter_map(|(raw, alias)| Some((label::fold(&raw)?.into(), alias)))
            .collect();
        Self {
            default_provider: provider_name(default_provider)
                .unwrap_or(Cow::Borrowed(ANTHROPIC))
                .into(),
            aliases,
        }
    }

    /// Resolves a reported name. `provider` is what the source itself said, if anything.
    #[must_use]
    pub fn resolve(&self, raw: &str, provider: Option<&str>) -> ModelName {
        let name = label::fold(raw).unwrap_or(Cow::Borrowed(UNNAMED));
        let mut reading = Reading::of(&name);
        let alias = self
            .aliases
            .get(&*name)
            .or_else(|| self.aliases.get(&*reading.model));
        let target = alias.and_then(|alias| label::fold(&alias.model));
        if let Some(target) = &target {
            reading = Reading::of(target).after(reading.clues);
        }
        let said = provider.and_then(provider_name);
        let aliased = alias.and_then(|alias| provider_name(alias.provider.as_deref()?));
        let provider = reading
            .clues
            .provider(aliased.or(said))
            .unwrap_or(Cow::Borrowed(&*self.default_provider));
        let scope = reading.clues.scope().unwrap_or(match &*provider {
            BEDROCK | BEDROCK_MANTLE => "in_region",
            _ => "base",
        });
        ModelName {
            scope: scope.into(),
            model: reading.model.into(),
            provider: provider.into(),
        }
    }
}

/// The name of a provider as tallyd writes it; others stay as they are, lower-cased. `None` if
/// nothing is said.
fn provider_name(said: &str) -> Option<Cow<'_, str>> {
    let folded = label::fold(said)?;
    Some(match &*folded {
        "aws.bedrock" | "aws.anthropic" | "amazon-bedrock" | "amazon_bedrock" | "aws_bedrock"
        | "bedrock_converse" => Cow::Borrowed(BEDROCK),
        "gcp.vertex_ai" | "gcp.anthropic" | "vertex_ai" | "google-vertex" => Cow::Borrowed(VERTEX),
        _ => folded,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::price;

    fn name(provider: &str, scope: &str, model: &str) -> ModelName {
        ModelName {
            provider: provider.into(),
            model: model.into(),
            scope: scope.into(),
        }
    }

    fn resolved(raw: &str) -> ModelName {
        ModelNames::default().resolve(raw, None)
    }

    #[test]
    fn one_model_has_one_name_across_providers() {
        let sonnet = |provider, scope| name(provider, scope, "claude-sonnet-4-6");
        let cases = [
            ("claude-sonnet-4-6", sonnet("anthropic", "base")),
            ("anthropic/claude-sonnet-4-6", sonnet("anthropic", "base")),
            ("claude-sonnet-4-6-20260115", sonnet("anthropic", "base")),
            ("Claude-Sonnet-4.6-latest[1m]", sonnet("anthropic", "base")),
            ("claude-sonnet-4-6@20260115", sonnet("vertex", "base")),
            (
                "vertex_ai/claude-sonnet-4-6@default",
                sonnet("vertex", "base"),
            ),
            (
                "us.anthropic.claude-sonnet-4-6-v1:0",
                sonnet("bedrock", "us"),
            ),
            (
                "global.anthropic.claude-sonnet-4-6[1m]",
                sonnet("bedrock", "global"),
            ),
            (
                "bedrock/converse/eu.anthropic.claude-sonnet-4-6-v1",
                sonnet("bedrock", "eu"),
            ),
            (
                "bedrock/eu-central-1/anthropic.claude-sonnet-4-6",
                sonnet("bedrock", "in_region"),
            ),
            (
                "bedrock/us-gov-west-1/anthropic.claude-sonnet-4-6",
                sonnet("bedrock", "us-gov-west-1"),
            ),
            (
                "bedrock_mantle/anthropic.claude-sonnet-4-6",
                sonnet("bedrock_mantle", "in_region"),
            ),
            (
                "bedrock/claude_platform/claude-sonnet-4-6",
                sonnet("claude_platform_aws", "base"),
            ),
            ("Claude Sonnet 4.6", sonnet("anthropic", "base")),
            ("Claude 4.6 Sonnet", sonnet("anthropic", "base")),
            ("Claude4.6Sonnet", sonnet("anthropic", "base")),
            (
                "Claude 4.6 Sonnet (Amazon Bedrock Edition)",
                sonnet("bedrock", "in_region"),
            ),
        ];
        for (raw, expected) in cases {
            assert_eq!(resolved(raw), expected, "{raw}");
        }
    }

    #[test]
    fn arns_give_the_model_behind_them() {
        let cases = [
            (
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-8",
                name("bedrock", "in_region", "claude-opus-4-8"),
            ),
            (
                "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
                name("bedrock", "eu", "claude-haiku-4-5"),
            ),
            (
                "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.claude-opus-4-8",
                name("bedrock", "us-gov-west-1", "claude-opus-4-8"),
            ),
            (
                "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/AbC123",
                name(
                    "bedrock",
                    "in_region",
                    "application-inference-profile/abc123",
                ),
            ),
        ];
        for (raw, expected) in cases {
            assert_eq!(resolved(raw), expected, "{raw}");
        }
    }

    #[test]
    fn words_come_in_the_order_of_the_price_table() {
        let cases = [
            ("claude-3.5-sonnet", "claude-3-5-sonnet"),
            ("claude-sonnet-3-7", "claude-3-7-sonnet"),
            ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet"),
            ("claude-3-opus-latest", "claude-3-opus"),
            ("Claude3Haiku", "claude-3-haiku"),
            ("claude-5.5-opus", "claude-opus-5-5"),
            ("claude-4-opus-20250514", "claude-opus-4"),
            ("Claude Mythos Preview", "claude-mythos-preview"),
            ("claude-instant-1.2", "claude-instant-1-2"),
            ("anthropic.claude-v2:1", "claude-v2:1"),
            ("claude-v2", "claude-v2"),
        ];
        for (raw, expected) in cases {
            assert_eq!(&*resolved(raw).model, expected, "{raw}");
        }
    }

    #[test]
    fn a_name_that_is_not_understood_stays_as_it_is() {
        let cases = [
            ("GPT-5.1-codex-latest", "gpt-5.1-codex-latest"),
            ("claudette-20250101", "claudette-20250101"),
            ("my claude-opus-4", "my claude-opus-4"),
            ("claude-opus-4-8-turbo", "claude-opus-4-8-turbo"),
            ("us.claude-opus-4-8", "us.claude-opus-4-8"),
            ("  ", "unknown"),
        ];
        for (raw, expected) in cases {
            assert_eq!(resolved(raw), name("anthropic", "base", expected), "{raw}");
        }
    }

    #[test]
    fn the_source_knows_the_provider_better_than_the_name() {
        let opus = |provider, scope| name(provider, scope, "claude-opus-4-8");
        let cases = [
            (
                "claude-opus-4-8",
                "aws.bedrock",
                opus("bedrock", "in_region"),
            ),
            (
                "claude-opus-4-8",
                "aws.anthropic",
                opus("bedrock", "in_region"),
            ),
            (
                "claude-opus-4-8",
                "Amazon-Bedrock",
                opus("bedrock", "in_region"),
            ),
            ("claude-opus-4-8", "gcp.vertex_ai", opus("vertex", "base")),
            ("claude-opus-4-8", "gcp.anthropic", opus("vertex", "base")),
            (
                "us.anthropic.claude-opus-4-8",
                "Corp-Gateway",
                opus("corp-gateway", "us"),
            ),
            (
                "claude-opus-4-8@default",
                "anthropic",
                opus("anthropic", "base"),
            ),
            ("claude-opus-4-8", " ", opus("anthropic", "base")),
            (
                "bedrock_mantle/anthropic.claude-opus-4-8",
                "bedrock",
                opus("bedrock_mantle", "in_region"),
            ),
            (
                "bedrock/claude_platform/claude-opus-4-8",
                "bedrock",
                opus("claude_platform_aws", "base"),
            ),
        ];
        for (raw, provider, expected) in cases {
            assert_eq!(
                ModelNames::default().resolve(raw, Some(provider)),
                expected,
                "{raw} from {provider}"
            );
        }
    }

    #[test]
    fn plain_names_belong_to_the_configured_provider() {
        assert_eq!(
            ModelNames::new("aws.bedrock", []).resolve("claude-opus-4-8", None),
            name("bedrock", "in_region", "claude-opus-4-8")
        );
    }

    #[test]
    fn aliases_resolve_what_only_the_operator_knows() {
        let alias = |model: &str, provider: Option<&str>| Alias {
            model: model.to_owned(),
            provider: provider.map(str::to_owned),
        };
        let names = ModelNames::new(
            "anthropic",
            [
                (
                    "application-inference-profile/abc123".to_owned(),
                    alias("eu.anthropic.claude-sonnet-5-v1:0", None),
                ),
                (
                    "Team-Model".to_owned(),
                    alias("claude-opus-5.5", Some("gcp.vertex_ai")),
                ),
                ("fast".to_owned(), alias("claude-haiku-5-5", None)),
            ],
        );
        let arn = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abc123";
        assert_eq!(
            [
                names.resolve(arn, None),
                names.resolve("team-model", Some("openai")),
                names.resolve("FAST", Some("bedrock")),
                names.resolve("fast", None),
            ],
            [
                name("bedrock", "eu", "claude-sonnet-5"),
                name("vertex", "base", "claude-opus-5-5"),
                name("bedrock", "in_region", "claude-haiku-5-5"),
                name("anthropic", "base", "claude-haiku-5-5"),
            ]
        );
    }

    #[test]
    fn every_key_of_the_price_table_gives_its_row() {
        let table: toml::Table = price::EMBEDDED.parse().expect("the embedded table is TOML");
        let rows = table["price"].as_array().expect("a list of rows");
        let text =
            |row: &toml::Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let mut checked = 0;
        for row in rows {
            let expected = name(
                &text(row, "provider"),
                &text(row, "scope"),
                &text(row, "model"),
            );
            for key in row["keys"].as_array().expect("a list of keys") {
                let key = key.as_str().expect("keys are strings");
                assert_eq!(resolved(key), expected, "{key}");
                checked += 1;
            }
        }
        assert_eq!((rows.len(), checked), (202, 235));
    }

    #[test]
    fn a_long_name_is_cut_and_stays_distinct() {
        let long = |end: &str| resolved(&format!("claude-{}{end}", "x".repeat(10_000))).model;
        assert_eq!((long("a").len(), long("b").len()), (256, 256));
        assert_ne!(long("a"), long("b"));
    }

    proptest! {
        #[test]
        fn a_canonical_name_is_its_own_canonical_name(
            raw in "\\PC{0,60}\
                |((bedrock|converse|anthropic|us-gov-west-1|vertex_ai|arn:aws:bedrock:us:1:x)/|(us|eu)\\.|anthropic\\.){0,3}\
                [cC]laude([-. _]?(sonnet|opus|latest|preview|v1|[0-9]{1,8})){0,5}(\\[1m\\]|@default|@[0-9]{8}|-v[0-9](:0)?|-latest| ){0,3}",
        ) {
            let once = resolved(&raw);
            let twice = resolved(&once.model);
            prop_assert_eq!(&twice.model, &once.model);
            prop_assert!(once.model.len() <= label::MAX_BYTES && !once.model.is_empty());
        }
    }
}
