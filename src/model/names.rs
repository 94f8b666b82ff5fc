//! Model names: one canonical name across providers.

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

/// Resolves model names, with the operator's additions.
#[derive(Clone, Debug, Default)]
pub struct ModelNames {}

impl ModelNames {
    /// Resolves a reported name. `provider` is what the source itself said, if anything.
    #[must_use]
    pub fn resolve(&self, raw: &str, provider: Option<&str>) -> ModelName {
        ModelName {
            provider: provider.unwrap_or("anthropic").into(),
            model: raw.into(),
            scope: "base".into(),
        }
    }
}
