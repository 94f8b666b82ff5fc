use proptest::prelude::*;

use super::*;
use crate::model::names::ModelNames;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

fn embedded() -> PriceTable {
    PriceTable::parse(EMBEDDED).expect("the embedded table has no faults")
}

fn sku(raw_model: &str) -> Sku {
    let name = ModelNames::default().resolve(raw_model, None);
    Sku {
        provider: name.provider,
        model: name.model,
        raw_model: raw_model.into(),
        scope: name.scope,
        region: None,
        tier: Tier::Standard,
        band: Band::UpTo100k,
    }
}

/// A price of 0 stands for none.
fn prices(kinds: [u64; 5]) -> Option<UnitPrices> {
    let some = kinds.map(|price| (price > 0).then_some(price));
    some.iter().any(Option::is_some).then_some(UnitPrices {
        input: some[0],
        output: some[1],
        cache_read: some[2],
        cache_write_5m: some[3],
        cache_write_1h: some[4],
    })
}

const REQUEST: Tokens = Tokens {
    input: 1201,
    output: 42,
    cache_read: 5600,
    cache_write_5m: 0,
    cache_write_1h: 0,
    cache_write_unknown: 340,
};

fn whole(cost: i128) -> Priced {
    Priced {
        cost: Some(PicoUsd(cost)),
        priced_part: PicoUsd(cost),
        unpriced_tokens: 0,
    }
}

#[test]
fn a_request_costs_exactly_what_the_list_says() {
    let table = embedded();
    let opus = sku("claude-opus-4-8");
    let sonnet = sku("us.anthropic.claude-sonnet-4-6-v1:0");
    assert_eq!(
        [
            table.cost(&REQUEST, &opus, now(), WriteLifetime::FiveMinutes),
            table.cost(&REQUEST, &opus, now(), WriteLifetime::OneHour),
            table.cost(&REQUEST, &sonnet, now(), WriteLifetime::FiveMinutes),
        ],
        [
            whole(11_980_000_000),
            whole(13_255_000_000),
            whole(7_906_800_000),
        ]
    );
}

#[test]
fn an_unknown_model_has_no_cost_but_its_tokens_are_told() {
    let table = embedded();
    let unknown = sku("claude-opus-4-9");
    let unpriced = |tokens| Priced {
        cost: None,
        priced_part: PicoUsd::ZERO,
        unpriced_tokens: tokens,
    };
    assert_eq!(
        (
            table.unit(&unknown, now()),
            table.cost(&REQUEST, &unknown, now(), WriteLifetime::FiveMinutes),
            table.cost(
                &Tokens::default(),
                &unknown,
                now(),
                WriteLifetime::FiveMinutes
            ),
        ),
        (None, unpriced(7183), whole(0))
    );
}

#[test]
fn a_kind_without_a_price_leaves_the_rest_priced() {
    let opus_4 = sku("anthropic.claude-opus-4-20250514-v1:0");
    assert_eq!(
        embedded().cost(&REQUEST, &opus_4, now(), WriteLifetime::OneHour),
        Priced {
            cost: None,
            priced_part: PicoUsd(29_565_000_000),
            unpriced_tokens: 340,
        }
    );
}

#[test]
fn rows_are_found_by_exact_match_only() {
    let table = embedded();
    let elsewhere = Sku {
        scope: "ca".into(),
        ..sku("us.anthropic.claude-sonnet-4-6")
    };
    let other = Sku {
        provider: "corp-gateway".into(),
        ..sku("claude-sonnet-4-6")
    };
    assert_eq!(
        [table.unit(&elsewhere, now()), table.unit(&other, now())],
        [None, None]
    );
}

#[test]
fn a_long_context_takes_the_higher_price_for_the_whole_request() {
    let table = embedded();
    let by_band = |raw: &str| Band::ALL.map(|band| table.unit(&Sku { band, ..sku(raw) }, now()));
    let haiku = prices([100_000, 500_000, 10_000, 125_000, 200_000]);
    let haiku_long = prices([500_000, 2_500_000, 50_000, 625_000, 1_000_000]);
    let sonnet = prices([3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000]);
    let sonnet_long = prices([6_000_000, 22_500_000, 600_000, 7_500_000, 12_000_000]);
    let opus = prices([5_000_000, 25_000_000, 500_000, 6_250_000, 10_000_000]);
    assert_eq!(
        [
            by_band("claude-haiku-5-5"),
            by_band("global.anthropic.claude-sonnet-4-5"),
            by_band("claude-opus-4-8"),
        ],
        [
            [haiku, haiku_long, haiku_long, None],
            [sonnet, sonnet, sonnet_long, None],
            [opus; 4],
        ]
    );
}

#[test]
fn tiers_have_the_prices_that_the_table_states() {
    let table = embedded();
    let by_tier = |raw: &str| Tier::ALL.map(|tier| table.unit(&Sku { tier, ..sku(raw) }, now()));
    assert_eq!(
        [
            by_tier("claude-opus-4-8"),
            by_tier("us.anthropic.claude-opus-4-8")
        ],
        [
            [
                prices([5_000_000, 25_000_000, 500_000, 6_250_000, 10_000_000]),
                prices([2_500_000, 12_500_000, 250_000, 3_125_000, 0]),
                prices([10_000_000, 50_000_000, 1_000_000, 12_500_000, 20_000_000]),
                None,
                None,
            ],
            [
                prices([5_500_000, 27_500_000, 550_000, 6_875_000, 11_000_000]),
                Some(UnitPrices::default()),
                None,
                None,
                None,
            ],
        ]
    );
}

#[test]
fn regional_endpoints_cost_more_where_the_table_says_so() {
    let table = embedded();
    let input = |raw: &str, region: Option<&str>, tier: Tier| {
        let sku = Sku {
            region: region.map(Into::into),
            tier,
            ..sku(raw)
        };
        table.unit(&sku, now()).and_then(|unit| unit.input)
    };
    let (standard, fast) = (Tier::Standard, Tier::Fast);
    assert_eq!(
        [
            input("vertex_ai/claude-opus-4-8", None, standard),
            input("vertex_ai/claude-opus-4-8", Some("global"), standard),
            input("vertex_ai/claude-opus-4-8", Some("europe-west1"), standard),
            input("vertex_ai/claude-opus-4-8", Some("us"), standard),
            input("vertex_ai/claude-3-haiku", Some("us-east5"), standard),
            input("claude-opus-4-8", Some("us"), standard),
            input("claude-opus-4-8", Some("us"), fast),
            input("claude-opus-4-8", Some("us-east-1"), standard),
            input("us.anthropic.claude-opus-4-8", Some("us-east-1"), standard),
        ],
        [
            5_000_000, 5_000_000, 5_500_000, 5_500_000, 250_000, 5_500_000, 11_000_000, 5_000_000,
            5_500_000,
        ]
        .map(Some)
    );
}

#[test]
fn prices_believed_wrong_are_not_used() {
    let table = embedded();
    let batch = |raw: &str| {
        let tier = Tier::Batch;
        table.unit(&Sku { tier, ..sku(raw) }, now())
    };
    assert_eq!(
        [
            table.unit(&sku("us.anthropic.claude-mythos-preview"), now()),
            table.unit(&sku("anthropic.claude-opus-4-8"), now()),
            batch("vertex_ai/claude-opus-5-5"),
            batch("vertex_ai/claude-sonnet-4-6"),
        ],
        [
            Some(UnitPrices::default()),
            prices([5_000_000, 25_000_000, 500_000, 6_250_000, 10_000_000]),
            prices([0, 0, 100_000, 2_500_000, 0]),
            prices([1_500_000, 7_500_000, 150_000, 0, 0]),
        ]
    );
}

fn at(day: &str) -> Timestamp {
    format!("{day}T00:00:00Z").parse().expect("a day")
}

fn head(rest: &str) -> String {
    format!("schema_version = 1\ncurrency = \"USD\"\nunit = \"1000000 tokens\"\n{rest}")
}

fn opus_row(rest: &str) -> String {
    let key = "model = \"claude-opus-4-8\", provider = \"anthropic\", scope = \"base\"";
    format!("{{ {key}, {rest} }},\n")
}

fn inputs(table: &PriceTable, days: &[&str]) -> Vec<(Option<u64>, Option<u64>)> {
    let opus = sku("claude-opus-4-8");
    let input = |prices: Option<UnitPrices>| prices.and_then(|prices| prices.input);
    days.iter()
        .map(|day| {
            let (list, paid) = (table.list_unit(&opus, at(day)), table.unit(&opus, at(day)));
            (input(list), input(paid))
        })
        .collect()
}

fn load(files: &[&str], contract: Option<&str>) -> Result<PriceTable, Vec<String>> {
    let named = |name, text| PriceText { name, text };
    let list: Vec<_> = files.iter().map(|text| named("own.toml", *text)).collect();
    PriceTable::load(&list, contract.map(|text| named("contract.toml", text)))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn usage_is_priced_by_the_row_of_its_time() {
    let text = head(&format!(
        "price = [{}{}]",
        opus_row("input = \"5\", effective_to = \"2026-03-13\""),
        opus_row("input = \"4\", effective_from = \"2026-03-13\", effective_to = \"2026-06-01\""),
    ));
    let table = PriceTable::parse(&text).expect("no faults");
    let both = |price| (price, price);
    assert_eq!(
        inputs(
            &table,
            &[
                "2020-01-01",
                "2026-03-12",
                "2026-03-13",
                "2026-05-31",
                "2026-06-01"
            ]
        ),
        [
            both(Some(5_000_000)),
            both(Some(5_000_000)),
            both(Some(4_000_000)),
            both(Some(4_000_000)),
            both(None),
        ]
    );
    let last = "2026-03-12T23:59:59.999Z".parse().expect("a time");
    let unit = table.unit(&sku("claude-opus-4-8"), last);
    assert_eq!(unit.and_then(|unit| unit.input), Some(5_000_000));
}

#[test]
fn a_file_stands_above_the_built_in_table_where_its_rows_hold() {
    let own = head(&format!(
        "version = \"ours 7\"\nprice = [{}]",
        opus_row("input = \"4\", source = \"offer\", effective_from = \"2026-12-01\"")
    ));
    let table = load(&[EMBEDDED, &own], None).expect("no faults");
    let both = |price| (Some(price), Some(price));
    assert_eq!(
        inputs(&table, &["2026-11-30", "2026-12-01"]),
        [both(5_000_000), both(4_000_000)]
    );
    let (opus, sonnet) = (sku("claude-opus-4-8"), sku("claude-sonnet-4-6"));
    assert_eq!(
        [
            table.source(&opus, at("2026-12-01")),
            table.source(&sonnet, at("2026-12-01")),
        ],
        [
            Some("offer"),
            Some("litellm 1.109.1, model_prices_and_context_window.json"),
        ]
    );
    assert_eq!(table.version(), "litellm-1.109.1 + ours 7");
    let alone = embedded();
    assert_ne!(table.sha256(), alone.sha256());
    assert_eq!(
        (alone.version(), alone.sha256().len()),
        ("litellm-1.109.1", 64)
    );
}

#[test]
fn a_contract_is_asked_beside_the_list() {
    let contract = head(&format!(
        "source = \"contract 4711\"\nmultiplier = [\
         {{ provider = \"anthropic\", multiplier = \"0.9\", effective_from = \"2026-01-01\" }},\
         {{ provider = \"anthropic\", model = \"claude-opus-4-8\", multiplier = \"0.8\", \
         effective_from = \"2026-02-01\", effective_to = \"2026-03-01\" }}]\nprice = [{}]",
        opus_row("input = \"3\", effective_from = \"2026-06-01\"")
    ));
    let table = load(&[EMBEDDED], Some(&contract)).expect("no faults");
    let list = Some(5_000_000);
    let days = [
        "2025-12-31",
        "2026-01-01",
        "2026-02-01",
        "2026-03-01",
        "2026-06-01",
    ];
    let paid = [5_000_000, 4_500_000, 4_000_000, 4_500_000, 3_000_000];
    assert_eq!(inputs(&table, &days), paid.map(|price| (list, Some(price))));
    let june = table.unit(&sku("claude-opus-4-8"), at("2026-06-01"));
    assert_eq!(
        june,
        prices([3_000_000, 22_500_000, 450_000, 5_625_000, 9_000_000])
    );
}

#[test]
fn a_contract_may_price_what_the_list_does_not_know() {
    let contract = head(
        "price = [{ model = \"claude-next\", provider = \"anthropic\", scope = \"base\", \
         input = \"7\" }]",
    );
    let table = load(&[EMBEDDED], Some(&contract)).expect("no faults");
    let next = sku("claude-next");
    assert_eq!(
        (table.list_unit(&next, now()), table.unit(&next, now())),
        (None, prices([7_000_000, 0, 0, 0, 0]))
    );
}

#[test]
fn a_contract_that_leaves_fractions_or_is_not_clear_is_refused() {
    let multiplier = |rest: &str| {
        let text = format!("multiplier = [{{ provider = \"anthropic\", {rest} }}]");
        load(
            &[&head(&format!(
                "price = [{}]",
                opus_row("input = \"0.000005\"")
            ))],
            Some(&head(&text)),
        )
        .expect_err("a fault")
    };
    assert_eq!(
        multiplier("multiplier = \"0.85\""),
        [
            "contract.toml: anthropic base claude-opus-4-8: the contract leaves a fraction of a \
          pico-USD per token"
        ]
    );
    assert_eq!(
        multiplier("multiplier = \"0.8333333\""),
        ["contract.toml: multiplier 1: multiplier = \"0.8333333\": more than 6 decimal places"]
    );
    assert_eq!(
        multiplier("multiplier = \"0.8\" }, { provider = \"anthropic\", multiplier = \"0.6\""),
        ["contract.toml: multiplier 1: it and multiplier 2 are of the same time"]
    );
}

#[test]
fn the_whole_table_can_be_listed() {
    let contract = head("multiplier = [{ provider = \"anthropic\", multiplier = \"0.5\" }]");
    let rows = format!(
        "price = [{}]",
        opus_row("input = \"5\", batch_input = \"2.5\", fast_multiplier = \"2\"")
    );
    let table = load(&[&head(&rows)], Some(&contract)).expect("no faults");
    let line = |tier, input: u64| ListedPrice {
        model: "claude-opus-4-8".into(),
        provider: "anthropic".into(),
        scope: "base".into(),
        tier,
        above: None,
        from: None,
        to: None,
        list: prices([input, 0, 0, 0, 0]).unwrap_or_default(),
        contract: prices([input / 2, 0, 0, 0, 0]),
        source: "contract".into(),
    };
    assert_eq!(
        table.listed(),
        [
            line(Tier::Standard, 5_000_000),
            line(Tier::Batch, 2_500_000),
            line(Tier::Fast, 10_000_000),
        ]
    );
}

/// A fraction of two whole numbers, added without any rounding.
#[derive(Clone, Copy, Debug)]
struct Rational {
    over: u128,
    under: u128,
}

impl Rational {
    /// USD per million tokens, from decimal text, for so many tokens.
    fn of(text: &str, tokens: u64) -> Self {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: u128 = format!("{whole}{fraction}").parse().expect("digits");
        let places = u32::try_from(fraction.len()).expect("few places");
        Self {
            over: digits * u128::from(tokens),
            under: 10_u128.pow(places) * 1_000_000,
        }
    }

    fn equals_pico(self, pico: i128) -> bool {
        u128::try_from(pico).is_ok_and(|pico| self.over * 10_u128.pow(12) == pico * self.under)
    }
}

proptest! {
    #[test]
    fn a_cost_is_the_exact_product(
        (whole, fraction, digits) in (0_u64..1_000, 0_u64..1_000_000, 0_usize..=6),
        tokens in 0_u64..=1 << 40,
    ) {
        let fraction: String = format!("{fraction:06}").chars().take(digits).collect();
        let text = match fraction.as_str() {
            "" => whole.to_string(),
            fraction => format!("{whole}.{fraction}"),
        };
        let row = opus_row(&format!("input = \"{text}\""));
        let table = PriceTable::parse(&head(&format!("price = [{row}]"))).expect("no faults");
        let used = Tokens { input: tokens, ..Tokens::default() };
        let cost = table.cost(&used, &sku("claude-opus-4-8"), now(), WriteLifetime::FiveMinutes);
        let cost = cost.cost.expect("a price");
        prop_assert!(Rational::of(&text, tokens).equals_pico(cost.0), "{} {}", text, cost);
    }

    #[test]
    fn no_time_has_two_rows_or_loses_one(cuts in prop::collection::btree_set(1_i8..=28, 0..6)) {
        let days: Vec<String> = cuts.iter().map(|day| format!("2026-02-{day:02}")).collect();
        let mut rows = String::new();
        for place in 0..=days.len() {
            let from = place.checked_sub(1).map(|place| format!(", effective_from = \"{}\"", days[place]));
            let to = days.get(place).map(|day| format!(", effective_to = \"{day}\""));
            let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
            rows += &opus_row(&format!("input = \"{}\"{from}{to}", place + 1));
        }
        let own = head(&format!("price = [{rows}]"));
        let table = load(&[EMBEDDED, &own], None).expect("no faults");
        for day in 1..=28_i8 {
            let before = cuts.iter().filter(|cut| **cut <= day).count() as u64;
            let price = Some((before + 1) * 1_000_000);
            let day = format!("2026-02-{day:02}");
            prop_assert_eq!(inputs(&table, &[&day]), [(price, price)]);
        }
    }
}

fn small() -> PriceTable {
    let row = "{ model = \"claude-opus-4-8\", provider = \"anthropic\", scope = \"base\", \
        input = \"5\", output = \"25\", cache_read = \"0.5\", cache_write_5m = \"6.25\", \
        cache_write_1h = \"10\" }]";
    PriceTable::parse(&format!("{}{row}", read::HEAD)).expect("the small table has no faults")
}

proptest! {
    #[test]
    fn a_sum_costs_what_its_parts_cost(
        parts in prop::collection::vec(prop::array::uniform6(0..Tokens::MAX), 0..8),
    ) {
        let (table, opus) = (small(), sku("claude-opus-4-8"));
        let mut sum = Tokens::default();
        let mut total = PicoUsd::ZERO;
        for [input, output, cache_read, cache_write_5m, cache_write_1h, cache_write_unknown] in parts {
            let part = Tokens { input, output, cache_read, cache_write_5m, cache_write_1h, cache_write_unknown };
            let cost = table.cost(&part, &opus, now(), WriteLifetime::OneHour).cost;
            total = total.checked_add(cost.expect("all kinds have a price")).expect("no overflow");
            sum.input += part.input;
            sum.output += part.output;
            sum.cache_read += part.cache_read;
            sum.cache_write_5m += part.cache_write_5m;
            sum.cache_write_1h += part.cache_write_1h;
            sum.cache_write_unknown += part.cache_write_unknown;
        }
        prop_assert_eq!(table.cost(&sum, &opus, now(), WriteLifetime::OneHour), whole(total.0));
    }
}
