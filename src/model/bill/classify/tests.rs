use super::*;
use crate::model::bill::PricedKind::{self, CacheRead, CacheWrite1h, CacheWrite5m, Input, Output};
use crate::model::usage::Tier;

const SONNET: &str = "Claude Sonnet 4.6 (Amazon Bedrock Edition)";

fn of(service: &str, usage_type: &str) -> Option<Class> {
    aws(service, usage_type, &ModelNames::default())
}

/// A line of tokens in a marketplace's grammar.
fn sold(kind: PricedKind, region: &str) -> Class {
    Class {
        provider: "bedrock",
        charge: Charge::Tokens,
        sku: BilledSku {
            model: Some("claude-sonnet-4-6".into()),
            kind: Some(kind),
            region: Some(region.into()),
            ..BilledSku::default()
        },
        per_unit: Some(1_000_000),
    }
}

fn global(mut class: Class) -> Class {
    class.sku.scope = Some("global".into());
    class
}

fn tier(tier: Tier, mut class: Class) -> Class {
    class.sku.tier = tier;
    class
}

fn long(mut class: Class) -> Class {
    class.sku.long_context = true;
    class
}

fn all_are(service: &str, cases: Vec<(&str, Class)>) {
    for (usage_type, expected) in cases {
        assert_eq!(of(service, usage_type), Some(expected), "{usage_type}");
    }
}

#[test]
fn marketplace_usage_types_in_camel_case_are_read() {
    let east = |kind| sold(kind, "us-east-1");
    all_are(
        SONNET,
        vec![
            ("USE1-MP:USE1_InputTokenCount-Units", east(Input)),
            ("USE1-MP:USE1_OutputTokenCount-Units", east(Output)),
            (
                "USE1-MP:USE1_CacheReadInputTokenCount-Units",
                east(CacheRead),
            ),
            (
                "USE1-MP:USE1_CacheWriteInputTokenCount-Units",
                east(CacheWrite5m),
            ),
            (
                "USE1-MP:USE1_CacheWrite1hInputTokenCount-Units",
                east(CacheWrite1h),
            ),
            (
                "USE1-MP:USE1_InputTokenCount_Global-Units",
                global(east(Input)),
            ),
            (
                "USE1-MP:USE1_OutputTokenCount_Batch-Units",
                tier(Tier::Batch, east(Output)),
            ),
            (
                "USE1-MP:USE1_InputTokenCount_LongContext-Units",
                long(east(Input)),
            ),
            (
                "USE1-MP:USE1_OutputTokenCount_LCtx_Global-Units",
                global(long(east(Output))),
            ),
            (
                "USE1-MP:USE1_OutputTokenCount_LatencyOptimized-Units",
                east(Output),
            ),
            (
                "USE1-MP:USE1_MillionBatchInputTokens-Units",
                tier(Tier::Batch, east(Input)),
            ),
            (
                "EUC1-MP:EUC1_OutputTokenCount-Units",
                sold(Output, "eu-central-1"),
            ),
            ("EU-MP:EU_OutputTokenCount-Units", sold(Output, "eu-west-1")),
        ],
    );
}

#[test]
fn marketplace_usage_types_in_snake_case_are_read() {
    let west = |kind| sold(kind, "us-west-2");
    all_are(
        SONNET,
        vec![
            ("USW2-MP:USW2_input_tokens_standard-Units", west(Input)),
            (
                "USW2-MP:USW2_output_tokens_global_standard-Units",
                global(west(Output)),
            ),
            (
                "USW2-MP:USW2_cache_read_tokens_standard-Units",
                west(CacheRead),
            ),
            (
                "USW2-MP:USW2_cache_write_tokens_standard-Units",
                west(CacheWrite5m),
            ),
            (
                "USW2-MP:USW2_cache_write_tokens_1h_global_standard-Units",
                global(west(CacheWrite1h)),
            ),
            (
                "USW2-MP:USW2_input_tokens_long_ctx_global_standard-Units",
                global(long(west(Input))),
            ),
            (
                "USW2-MP:USW2_output_tokens_batch-Units",
                tier(Tier::Batch, west(Output)),
            ),
            (
                "USW2-MP:USW2_output_tokens_global_flex-Units",
                global(tier(Tier::Flex, west(Output))),
            ),
            (
                "USW2-MP:USW2_input_tokens_priority-Units",
                tier(Tier::Priority, west(Input)),
            ),
        ],
    );
}

#[test]
fn usage_types_with_dashes_name_the_model_themselves() {
    let east = |kind| Class {
        per_unit: Some(1_000),
        ..sold(kind, "us-east-1")
    };
    let haiku = |kind| {
        let mut class = east(kind);
        class.sku.model = Some("claude-3-haiku".into());
        class
    };
    all_are(
        "Amazon Bedrock",
        vec![
            ("USE1-Claude4.6Sonnet-input-tokens", east(Input)),
            (
                "USE1-Claude4.6Sonnet-output-tokens-cross-region-global",
                global(east(Output)),
            ),
            ("USE1-Claude3Haiku-input-tokens", haiku(Input)),
            (
                "USE1-Claude3Haiku-output-tokens-batch",
                tier(Tier::Batch, haiku(Output)),
            ),
            (
                "USE1-Claude4.6Sonnet-cache-read-input-token-count",
                east(CacheRead),
            ),
            (
                "USE1-Claude4.6Sonnet-cache-write-input-token-count",
                east(CacheWrite5m),
            ),
            (
                "USE1-Claude4.6Sonnet-input-tokens-long-context",
                long(east(Input)),
            ),
        ],
    );
}

#[test]
fn a_version_of_a_model_is_the_same_model() {
    for name in ["Claude3.5SonnetV2", "Claude3.5Sonnetv2", "Claude3.5Sonnet"] {
        let class = of("Amazon Bedrock", &format!("USE1-{name}-input-tokens")).unwrap();
        assert_eq!(
            class.sku.model.as_deref(),
            Some("claude-3-5-sonnet"),
            "{name}"
        );
    }
}

#[test]
fn the_mantle_endpoint_is_a_provider_of_its_own() {
    for id in [
        "claude-sonnet-4-6",
        "anthropic.claude-sonnet-4-6",
        "Claude4.6Sonnet",
    ] {
        let usage_type = format!("USE1-{id}-mantle-input-tokens-standard");
        let expected = Class {
            provider: "bedrock_mantle",
            per_unit: None,
            ..sold(Input, "us-east-1")
        };
        assert_eq!(
            of("Amazon Bedrock Service", &usage_type),
            Some(expected),
            "{id}"
        );
    }
}

#[test]
fn services_name_models_in_both_orders() {
    let cases = [
        (
            "Claude Sonnet 4.6 (Amazon Bedrock Edition)",
            "claude-sonnet-4-6",
        ),
        (
            "Claude 4.6 Sonnet (Amazon Bedrock Edition)",
            "claude-sonnet-4-6",
        ),
        (
            "Claude 3.5 Sonnet (Amazon Bedrock Edition)",
            "claude-3-5-sonnet",
        ),
        (
            "Claude 3.5 Sonnet v2 (Amazon Bedrock Edition)",
            "claude-3-5-sonnet",
        ),
        (
            "Claude Sonnet 3.7 (Amazon Bedrock Edition)",
            "claude-3-7-sonnet",
        ),
        ("Claude 3 Haiku (Amazon Bedrock Edition)", "claude-3-haiku"),
        ("Claude Opus 4 (Amazon Bedrock Edition)", "claude-opus-4"),
        (
            "Claude Haiku 5.5 (Amazon Bedrock Edition)",
            "claude-haiku-5-5",
        ),
        (
            "Claude Fable 5.1 (Amazon Bedrock Edition)",
            "claude-fable-5-1",
        ),
        ("claude opus 4.5", "claude-opus-4-5"),
    ];
    for (service, model) in cases {
        let class = of(service, "USE1-MP:USE1_InputTokenCount-Units").unwrap();
        assert_eq!(
            (class.charge, class.sku.model.as_deref()),
            (Charge::Tokens, Some(model)),
            "{service}"
        );
    }
}

#[test]
fn what_is_not_billed_by_token_is_other_usage() {
    let cases = [
        (SONNET, "USE1-MP:USE1_Reserved_1Month_InputTPM-Units"),
        (SONNET, "USE1-MP:USE1_ProvisionedThroughput_NoCommit-Units"),
        (
            "Amazon Bedrock",
            "USE1-Claude3Haiku-ProvisionedThroughput-1M",
        ),
        ("Amazon Bedrock", "USE1-Claude3Haiku-custom-model-storage"),
        (SONNET, "USE1-MP:USE1_image_input-Units"),
        (SONNET, "USE1-MP:USE1_audio_seconds-Units"),
    ];
    for (service, usage_type) in cases {
        let class = of(service, usage_type).unwrap();
        assert_eq!(class.charge, Charge::OtherUsage, "{usage_type}");
    }
}

#[test]
fn what_speaks_of_claude_and_is_not_understood_is_kept() {
    let cases = [
        (SONNET, "USE1-MP:USE1_input_tokens_quantum-Units"),
        (SONNET, "USE1-MP:USE1_ThinkingTokenCount-Units"),
        (SONNET, "NoUsageType"),
        (SONNET, ""),
        (
            "Claude Platform on AWS",
            "USE1-MP:USE1_InputTokenCount-Units",
        ),
        ("Amazon Bedrock", "USE1-MP:USE1_InputTokenCount-Units"),
        ("Amazon Bedrock", "USE1-ClaudeNextThing-wonder-tokens"),
        ("Some reseller", "USE1-Claude4.6Sonnet-wonder"),
    ];
    for (service, usage_type) in cases {
        let class = of(service, usage_type).unwrap();
        assert_eq!(class.charge, Charge::Unclassified, "{service} {usage_type}");
    }
}

#[test]
fn what_is_not_for_claude_is_left_out() {
    let cases = [
        (
            "Amazon Elastic Compute Cloud - Compute",
            "USE1-BoxUsage:t3.micro",
        ),
        ("Amazon Bedrock", "USE1-NovaLite-input-tokens"),
        ("Amazon Bedrock", "USE1-Llama3.3-70B-output-tokens"),
        (
            "Amazon Bedrock",
            "USE1-Guardrail-ContentPolicyUnitsConsumed",
        ),
        (
            "Cohere Command R (Amazon Bedrock Edition)",
            "USE1-MP:USE1_InputTokenCount-Units",
        ),
        ("AWS Cost Explorer", "USE1-APIRequest"),
        ("Claudette's Shop", "USE1-things"),
    ];
    for (service, usage_type) in cases {
        assert_eq!(of(service, usage_type), None, "{service} {usage_type}");
    }
}

#[test]
fn a_description_names_model_and_kind() {
    let read = |text| {
        let class = described("vertex", text, &ModelNames::default())?;
        let sku = class.sku;
        Some((
            class.charge,
            sku.model?,
            sku.kind,
            sku.tier,
            sku.scope.is_some(),
            sku.long_context,
        ))
    };
    let sonnet = |kind, tier, global, long| {
        Some((
            Charge::Tokens,
            "claude-sonnet-4-5".into(),
            Some(kind),
            tier,
            global,
            long,
        ))
    };
    let standard = Tier::Standard;
    let cases = [
        (
            "Claude Sonnet 4.5 - Input Tokens",
            sonnet(Input, standard, false, false),
        ),
        (
            "Claude Sonnet 4.5 Output Tokens (Global)",
            sonnet(Output, standard, true, false),
        ),
        (
            "Anthropic Claude Sonnet 4.5 Batch Input Tokens",
            sonnet(Input, Tier::Batch, false, false),
        ),
        (
            "Claude 4.5 Sonnet Cache Hit Tokens",
            sonnet(CacheRead, standard, false, false),
        ),
        (
            "Claude Sonnet 4.5 Usage - Cache Write Tokens 1h Long Context",
            sonnet(CacheWrite1h, standard, false, true),
        ),
        (
            "Claude Sonnet 4.5 Cache Write Tokens (5 min)",
            sonnet(CacheWrite5m, standard, false, false),
        ),
        (
            "Claude Sonnet 4.5 Web Search",
            Some((
                Charge::OtherUsage,
                "claude-sonnet-4-5".into(),
                None,
                standard,
                false,
                false,
            )),
        ),
        ("Gemini 2.5 Pro Input Tokens", None),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn record_types_are_sorted() {
    let cases = [
        ("Usage", None),
        ("SavingsPlanCoveredUsage", None),
        ("DiscountedUsage", None),
        ("Credit", Some(Charge::Credit)),
        ("Refund", Some(Charge::Refund)),
        ("Tax", Some(Charge::Tax)),
        ("Fee", Some(Charge::Fee)),
        ("Support fee", Some(Charge::Fee)),
        ("Subscription", Some(Charge::Fee)),
        ("Other out-of-cycle charges", Some(Charge::Fee)),
        ("Enterprise Discount Program Discount", Some(Charge::Credit)),
        ("EdpDiscount", Some(Charge::Credit)),
        ("SavingsPlanNegation", Some(Charge::Credit)),
        ("Something new", Some(Charge::Unclassified)),
    ];
    for (name, charge) in cases {
        assert_eq!(record_type(name), charge, "{name}");
    }
}

#[test]
fn quantities_become_tokens_exactly() {
    let cases = [
        ("1.5", 1_000_000, Some(1_500_000)),
        ("0.000001", 1_000_000, Some(1)),
        ("12.3456789", 1_000, Some(12_346)),
        ("0.123456000001", 1_000_000, Some(123_456)),
        ("17", 1, Some(17)),
        ("-1", 1_000, None),
        ("many", 1_000, None),
        ("99999999999999999999", 1_000_000, None),
    ];
    for (quantity, per_unit, expected) in cases {
        assert_eq!(tokens(quantity, per_unit), expected, "{quantity}");
    }
    let units = [
        "Units",
        "N/A",
        "1K tokens",
        "1,000 Tokens",
        "1M tokens",
        "Tokens",
        "count",
    ];
    assert_eq!(
        units.map(per_unit),
        [
            None,
            None,
            Some(1_000),
            Some(1_000),
            Some(1_000_000),
            Some(1),
            None
        ]
    );
}

#[test]
fn a_price_that_is_off_by_a_thousand_tells_the_unit() {
    // Three USD a million tokens.
    let list = Some(3_000_000);
    let usd = |dollars: i128| PicoUsd(dollars * 1_000_000_000_000);
    let cases = [
        // Two units for six USD are two million tokens, whatever was told.
        (Some(1_000_000), "2", usd(6), list, Some(1_000_000)),
        (Some(1_000), "2", usd(6), list, Some(1_000_000)),
        (None, "2", usd(6), list, Some(1_000_000)),
        (None, "2000", usd(6), list, Some(1_000)),
        // A contract's price is believed.
        (Some(1_000_000), "2", usd(3), list, Some(1_000_000)),
        // Nothing to hold it against.
        (Some(1_000), "2", usd(6), None, Some(1_000)),
        (None, "2", usd(6), None, None),
        (Some(1_000), "2", usd(0), list, Some(1_000)),
        // No unit explains it.
        (Some(1_000_000), "2", PicoUsd(1), list, None),
    ];
    for (told, quantity, cost, list, expected) in cases {
        assert_eq!(
            believed_per_unit(told, quantity, cost, list),
            expected,
            "{told:?} {quantity} {cost}"
        );
    }
}
