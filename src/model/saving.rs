//! What a request could have cost: on another model, in a batch, at another endpoint, without
//! the cache.
//!
//! Pure rules over one request. Who used it, and how requests add up, is the report's part.
#![deny(clippy::float_arithmetic)]

use super::money::PicoUsd;
use super::price::{UnitPrices, WriteLifetime};
use super::tokens::Tokens;
use super::usage::{Sku, Tier};

/// How much a task asks of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Complexity {
    Simple,
    Medium,
    Complex,
}

impl Complexity {
    pub const ALL: [Self; 3] = [Self::Simple, Self::Medium, Self::Complex];

    /// The name in settings, answers and reports. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Medium => "medium",
            Self::Complex => "complex",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// What a task's complexity is told from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// All that the model reads: input, cache reads and cache writes.
    pub context_tokens: u64,
    pub output_tokens: u64,
    /// Tools used; `None` if nobody tells.
    pub tools: Option<u32>,
}

impl Task {
    #[must_use]
    pub fn of(tokens: &Tokens, tools: Option<u32>) -> Self {
        Self {
            context_tokens: tokens.context(),
            output_tokens: tokens.output,
            tools,
        }
    }
}

/// The largest task of a complexity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub context_tokens: u64,
    pub output_tokens: u64,
    pub tools: u32,
}

impl Bounds {
    const fn hold(&self, task: &Task) -> bool {
        let few_tools = match task.tools {
            Some(tools) => tools <= self.tools,
            None => true,
        };
        few_tools
            && task.context_tokens <= self.context_tokens
            && task.output_tokens <= self.output_tokens
    }
}

/// Which model is for which complexity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRules {
    pub simple: Bounds,
    pub medium: Bounds,
    /// Canonical names by complexity, in the order of [`Complexity::ALL`], preferred first.
    pub models: [Vec<Box<str>>; 3],
}

impl ModelRules {
    #[must_use]
    pub const fn complexity(&self, task: &Task) -> Complexity {
        if self.simple.hold(task) {
            Complexity::Simple
        } else if self.medium.hold(task) {
            Complexity::Medium
        } else {
            Complexity::Complex
        }
    }

    /// The models for a complexity, preferred first.
    #[must_use]
    pub fn models(&self, complexity: Complexity) -> &[Box<str>] {
        &self.models[complexity as usize]
    }
}

/// The rule that judged a task, for whoever checks it. A task whose tools nobody told is judged by
/// its size alone, and that is told apart.
#[must_use]
pub const fn rule_name(complexity: Complexity, task: &Task) -> &'static str {
    match (complexity, task.tools) {
        (Complexity::Simple, Some(_)) => "simple",
        (Complexity::Simple, None) => "simple_by_size",
        (Complexity::Medium, Some(_)) => "medium",
        (Complexity::Medium, None) => "medium_by_size",
        (Complexity::Complex, _) => "complex",
    }
}

/// The shortest prefix, in tokens, that a model caches, the same on every provider (price table,
/// `cache_min_tokens`). Models that are not here tell none.
const SHORTEST_PREFIXES: [(&str, u64); 21] = [
    ("claude-3-5-haiku", 2048),
    ("claude-fable-5", 512),
    ("claude-fable-5-1", 512),
    ("claude-haiku-4-5", 4096),
    ("claude-haiku-5-5", 512),
    ("claude-mythos-5", 512),
    ("claude-mythos-5-1", 512),
    ("claude-mythos-preview", 512),
    ("claude-opus-4", 1024),
    ("claude-opus-4-1", 1024),
    ("claude-opus-4-5", 4096),
    ("claude-opus-4-6", 4096),
    ("claude-opus-4-7", 2048),
    ("claude-opus-4-8", 1024),
    ("claude-opus-5", 512),
    ("claude-opus-5-5", 512),
    ("claude-sonnet-4", 1024),
    ("claude-sonnet-4-5", 1024),
    ("claude-sonnet-4-6", 1024),
    ("claude-sonnet-5", 1024),
    ("claude-sonnet-5-5", 512),
];

/// The tokens of a request as another model would count them: what is too short for its cache, or
/// for a cache whose shortest prefix nobody tells, is plain input.
#[must_use]
pub fn tokens_on(model: &str, tokens: &Tokens) -> Tokens {
    let cached = tokens.cache_read + tokens.cache_write();
    let shortest = SHORTEST_PREFIXES.iter().find(|(name, _)| *name == model);
    if cached == 0 || shortest.is_some_and(|(_, shortest)| cached >= *shortest) {
        return *tokens;
    }
    Tokens {
        input: tokens.context(),
        output: tokens.output,
        ..Tokens::default()
    }
}

/// What the cache changed on one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caching {
    /// Reads at the price of input, less what they cost.
    pub saved_by_reads: PicoUsd,
    /// What writes cost above the price of input.
    pub write_premium: PicoUsd,
}

/// Compares a request with itself without a cache; `None` if a price that it takes is missing.
#[must_use]
pub fn caching(
    tokens: &Tokens,
    prices: &UnitPrices,
    unknown_write: WriteLifetime,
) -> Option<Caching> {
    let unknown = match unknown_write {
        WriteLifetime::FiveMinutes => prices.cache_write_5m,
        WriteLifetime::OneHour => prices.cache_write_1h,
    };
    let above = |count: u64, price: Option<u64>| {
        if count == 0 {
            return Some(PicoUsd::ZERO);
        }
        let difference = i128::from(price?) - i128::from(prices.input?);
        PicoUsd(difference).checked_mul(count)
    };
    let reads = above(tokens.cache_read, prices.cache_read)?;
    let writes = [
        (tokens.cache_write_5m, prices.cache_write_5m),
        (tokens.cache_write_1h, prices.cache_write_1h),
        (tokens.cache_write_unknown, unknown),
    ];
    let mut write_premium = PicoUsd::ZERO;
    for (count, price) in writes {
        write_premium = write_premium.checked_add(above(count, price)?)?;
    }
    Some(Caching {
        saved_by_reads: PicoUsd(-reads.0),
        write_premium,
    })
}

/// The same model at the provider's global endpoint; `None` where it is there already, or where
/// the provider has none.
#[must_use]
pub fn at_global_endpoint(sku: &Sku) -> Option<Sku> {
    match &*sku.provider {
        // GovCloud is a partition of its own.
        "bedrock" | "bedrock_mantle" if !sku.scope.starts_with("us-gov") => {
            (&*sku.scope != "global").then(|| Sku {
                scope: "global".into(),
                region: None,
                ..sku.clone()
            })
        }
        "bedrock" | "bedrock_mantle" => None,
        _ => sku
            .region
            .as_deref()
            .is_some_and(|region| region != "global")
            .then(|| Sku {
                region: None,
                ..sku.clone()
            }),
    }
}

/// The same request as part of a batch; `None` where it is not a plain one.
#[must_use]
pub fn in_batch(sku: &Sku) -> Option<Sku> {
    (sku.tier == Tier::Standard).then(|| Sku {
        tier: Tier::Batch,
        ..sku.clone()
    })
}

/// The same request on another model.
#[must_use]
pub fn on_model(sku: &Sku, model: &str) -> Sku {
    Sku {
        model: model.into(),
        raw_model: model.into(),
        ..sku.clone()
    }
}

/// How much one batch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// A smaller one is refused.
    pub least_requests: u64,
    pub most_requests: u64,
    /// Of all requests together.
    pub most_bytes: u64,
}

/// The limits of a provider's batches; `None` if it publishes none.
///
/// Anthropic: Message Batches, limitations. AWS: Bedrock service quotas of batch inference, which
/// can be raised; the size is that of an input file.
#[must_use]
pub fn batch_limits(provider: &str) -> Option<BatchLimits> {
    match provider {
        "anthropic" | "claude_platform_aws" => Some(BatchLimits {
            least_requests: 1,
            most_requests: 100_000,
            most_bytes: 256_000_000,
        }),
        "bedrock" => Some(BatchLimits {
            least_requests: 100,
            most_requests: 50_000,
            most_bytes: 1_000_000_000,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::price::{EMBEDDED, PriceTable};
    use super::super::usage::Band;
    use jiff::Timestamp;

    use super::*;

    fn rules() -> ModelRules {
        let bounds = |context_tokens, output_tokens, tools| Bounds {
            context_tokens,
            output_tokens,
            tools,
        };
        ModelRules {
            simple: bounds(1_000, 100, 1),
            medium: bounds(10_000, 1_000, 5),
            models: [
                vec!["claude-haiku-5-5".into()],
                vec!["claude-sonnet-5-5".into()],
                vec!["claude-opus-5-5".into()],
            ],
        }
    }

    fn task(context_tokens: u64, output_tokens: u64, tools: Option<u32>) -> Task {
        Task {
            context_tokens,
            output_tokens,
            tools,
        }
    }

    fn sku(provider: &str, scope: &str, region: Option<&str>) -> Sku {
        Sku {
            provider: provider.into(),
            model: "claude-sonnet-4-6".into(),
            raw_model: "claude-sonnet-4-6".into(),
            scope: scope.into(),
            region: region.map(Into::into),
            tier: Tier::Standard,
            band: Band::UpTo100k,
        }
    }

    #[test]
    fn a_task_is_as_complex_as_its_largest_part() {
        let rules = rules();
        let judged = [
            task(1_000, 100, Some(1)),
            task(1_001, 100, Some(1)),
            task(1_000, 101, Some(1)),
            task(1_000, 100, Some(2)),
            task(1_000, 100, None),
            task(1, 1_001, Some(0)),
            task(10_001, 1, None),
            task(1, 1, Some(6)),
        ]
        .map(|task| rule_name(rules.complexity(&task), &task));
        assert_eq!(
            judged,
            [
                "simple",
                "medium",
                "medium",
                "medium",
                "simple_by_size",
                "complex",
                "complex",
                "complex"
            ]
        );
        let model = |complexity| rules.models(complexity)[0].as_ref();
        assert_eq!(
            Complexity::ALL.map(model),
            ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"]
        );
    }

    #[test]
    fn the_shortest_prefixes_are_those_of_the_price_table() {
        let table: toml::Table = EMBEDDED.parse().unwrap();
        let listed = table["cache_min_tokens"].as_table().unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|(model, tokens)| (model.as_str(), tokens.as_integer().unwrap().unsigned_abs()))
            .collect();
        assert_eq!(listed, SHORTEST_PREFIXES);
    }

    #[test]
    fn what_is_too_short_for_the_cache_of_a_model_is_its_input() {
        let tokens = Tokens {
            input: 10,
            output: 5,
            cache_read: 2_000,
            cache_write_unknown: 90,
            ..Tokens::default()
        };
        let plain = Tokens {
            input: 2_100,
            output: 5,
            ..Tokens::default()
        };
        assert_eq!(
            [
                tokens_on("claude-haiku-5-5", &tokens),
                tokens_on("claude-haiku-4-5", &tokens),
                tokens_on("claude-of-tomorrow", &tokens),
                tokens_on("claude-of-tomorrow", &plain),
            ],
            [tokens, plain, plain, plain]
        );
    }

    #[test]
    fn the_cache_saves_on_reads_and_costs_on_writes() {
        let prices = UnitPrices {
            input: Some(3_000_000),
            output: Some(15_000_000),
            cache_read: Some(300_000),
            cache_write_5m: Some(3_750_000),
            cache_write_1h: None,
        };
        let tokens = Tokens {
            input: 7,
            output: 9,
            cache_read: 1_000,
            cache_write_5m: 40,
            cache_write_unknown: 60,
            ..Tokens::default()
        };
        let expected = Caching {
            saved_by_reads: PicoUsd(2_700_000_000),
            write_premium: PicoUsd(75_000_000),
        };
        assert_eq!(
            caching(&tokens, &prices, WriteLifetime::FiveMinutes),
            Some(expected)
        );
        assert_eq!(caching(&tokens, &prices, WriteLifetime::OneHour), None);
        assert_eq!(
            caching(
                &Tokens::default(),
                &UnitPrices::default(),
                WriteLifetime::OneHour
            ),
            Some(Caching::default())
        );
    }

    #[test]
    fn a_global_endpoint_saves_a_eleventh_where_the_table_has_the_premium() {
        let table = PriceTable::parse(EMBEDDED).unwrap();
        let regional = sku("bedrock", "us", Some("us-east-1"));
        let global = at_global_endpoint(&regional).unwrap();
        let input = |sku: &Sku| {
            table
                .unit(sku, Timestamp::UNIX_EPOCH)
                .unwrap()
                .input
                .unwrap()
        };
        assert_eq!((input(&regional), input(&global)), (3_300_000, 3_000_000));
        let vertex = sku("vertex", "base", Some("europe-west1"));
        let input = |sku: &Sku| {
            table
                .unit(sku, Timestamp::UNIX_EPOCH)
                .unwrap()
                .input
                .unwrap()
        };
        assert_eq!(
            (input(&vertex), input(&at_global_endpoint(&vertex).unwrap())),
            (3_300_000, 3_000_000)
        );
        let none = [
            sku("bedrock", "global", Some("us-east-1")),
            sku("bedrock", "us-gov-west-1", None),
            sku("vertex", "base", Some("global")),
            sku("anthropic", "base", None),
        ];
        assert!(none.iter().all(|sku| at_global_endpoint(sku).is_none()));
    }

    #[test]
    fn only_plain_requests_can_go_into_a_batch() {
        let plain = sku("anthropic", "base", None);
        let batch = in_batch(&plain).unwrap();
        assert_eq!(batch.tier, Tier::Batch);
        assert_eq!(in_batch(&batch), None);
        assert_eq!(
            in_batch(&Sku {
                tier: Tier::Fast,
                ..plain
            }),
            None
        );
    }
}
