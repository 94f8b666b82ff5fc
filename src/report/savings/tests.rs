use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::outcome::{GroupBy, Opportunity, Outcomes, Reason};
use super::tables;
use super::tally::Tally;
use crate::config::{Config, Environment};
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::policy::Policy;
use crate::model::price::{EMBEDDED, PriceTable};
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Outcome, Sku, Tier};
use crate::report::table::{Cell, Table};
use crate::store::{Counted, Terms};

/// A request in a session of a team.
struct Asked {
    team: &'static str,
    session: i64,
    provider: &'static str,
    scope: &'static str,
    model: &'static str,
    tokens: Tokens,
    tools: Option<u32>,
    entrypoint: Option<&'static str>,
}

/// A small request to a dear model.
const SMALL: Asked = Asked {
    team: "core",
    session: 1,
    provider: "anthropic",
    scope: "base",
    model: "claude-opus-4-8",
    tokens: Tokens {
        input: 1_000,
        output: 100,
        cache_read: 0,
        cache_write_5m: 0,
        cache_write_1h: 0,
        cache_write_unknown: 0,
    },
    tools: Some(0),
    entrypoint: Some("cli"),
};

fn counted(asked: &Asked) -> Counted {
    let band = Band::of(&asked.tokens);
    let names = (asked.provider, asked.scope, asked.model, band);
    Counted {
        at: "2026-11-20T12:00:00Z".parse::<Timestamp>().unwrap(),
        identity_id: id_of(asked.team),
        identity: Arc::new(Identity {
            team: Some(asked.team.into()),
            ..Identity::default()
        }),
        sku_id: id_of(&format!("{names:?}")),
        sku: Arc::new(Sku {
            provider: asked.provider.into(),
            model: asked.model.into(),
            raw_model: asked.model.into(),
            scope: asked.scope.into(),
            region: None,
            tier: Tier::Standard,
            band,
        }),
        session: (asked.session > 0).then_some(asked.session),
        tokens: asked.tokens,
        outcome: Outcome::Ok,
        tools: asked.tools,
        query_source: None,
        entrypoint: asked.entrypoint.map(Into::into),
    }
}

/// Equal texts have equal numbers.
fn id_of(text: &str) -> i64 {
    text.bytes().fold(7, |id: i64, byte| {
        id.wrapping_mul(1_000_003).wrapping_add(byte.into())
    })
}

fn tally(settings: &str, policy: Option<&str>) -> Tally {
    let config = Config::parse(settings, &Environment::default()).unwrap();
    let terms = Terms {
        prices: PriceTable::parse(EMBEDDED).unwrap(),
        ..Terms::default()
    };
    let policy = policy.map(|text| Policy::parse(text).unwrap());
    Tally::new(Arc::new(terms), config.savings, policy, vec![GroupBy::Team])
}

fn found_in(mut tally: Tally, requests: &[Counted]) -> Outcomes {
    for request in requests {
        tally.visit(request);
    }
    tally.finish()
}

fn found(requests: &[Asked]) -> Outcomes {
    let requests: Vec<_> = requests.iter().map(counted).collect();
    found_in(tally("", None), &requests)
}

/// Rule, alternative and saving of each sum of an opportunity.
fn saved(found: &Outcomes, opportunity: Opportunity) -> Vec<(&'static str, String, i128)> {
    let of = found
        .sums
        .iter()
        .filter(|(key, _)| key.opportunity == opportunity);
    of.map(|(key, sum)| (key.rule, key.instead.to_string(), sum.saving().0))
        .collect()
}

/// Requests left out of an opportunity, by reason.
fn reasons(found: &Outcomes, opportunity: Opportunity) -> BTreeMap<&'static str, u64> {
    let of = found
        .left_out
        .iter()
        .filter(|((o, _), _)| *o == opportunity);
    of.map(|((_, reason), sum)| (reason.name(), sum.requests))
        .collect()
}

fn cells(table: &Table, name: &str) -> Vec<Cell> {
    let place = table.columns.iter().position(|c| c.name == name).unwrap();
    let mut row = Vec::new();
    (0..table.rows.len())
        .map(|index| {
            table.rows.row(index, &mut row);
            assert_eq!(row.len(), table.columns.len());
            row[place].clone()
        })
        .collect()
}

#[test]
fn a_small_request_would_have_cost_less_on_a_small_model() {
    let found = found(&[SMALL]);
    // 1,000 x 5 USD and 100 x 25 USD a million, against 0.1 and 0.5.
    assert_eq!(
        saved(&found, Opportunity::Model),
        [(
            "simple",
            "claude-haiku-5-5".to_owned(),
            7_500_000_000 - 150_000_000
        )]
    );
    assert_eq!(found.any_one, PicoUsd(7_350_000_000));
}

#[test]
fn tools_that_nobody_told_are_told_apart() {
    let by_size = Asked {
        tools: None,
        ..SMALL
    };
    let many = Asked {
        tools: Some(5),
        ..SMALL
    };
    let found = found(&[by_size, many]);
    let rules = saved(&found, Opportunity::Model);
    let rules: Vec<_> = rules.iter().map(|(rule, to, _)| (*rule, &**to)).collect();
    assert_eq!(
        rules,
        [
            ("medium", "claude-sonnet-5-5"),
            ("simple_by_size", "claude-haiku-5-5")
        ]
    );
}

#[test]
fn above_a_hundred_thousand_tokens_the_smallest_model_is_not_the_cheapest_by_its_base_price() {
    let settings = "savings.simple = {context_tokens = 200000, output_tokens = 500, tools = 1}\n\
        savings.medium = {context_tokens = 200000, output_tokens = 4000, tools = 8}";
    let large = |model| {
        counted(&Asked {
            model,
            tokens: Tokens {
                input: 100_001,
                output: 100,
                ..Tokens::default()
            },
            ..SMALL
        })
    };
    let found = found_in(
        tally(settings, None),
        &[large("claude-haiku-4-5"), large("claude-haiku-5-5")],
    );
    // Haiku 5.5 takes five times its price for the whole request: 0.5 and 2.5 USD a million.
    let now = 100_001 * 1_000_000 + 100 * 5_000_000;
    assert_eq!(
        saved(&found, Opportunity::Model),
        [("simple", "claude-haiku-5-5".to_owned(), now / 2)]
    );
    assert_eq!(
        reasons(&found, Opportunity::Model),
        BTreeMap::from([("not_cheaper", 1)])
    );
}

#[test]
fn a_role_is_offered_only_the_models_it_may_use() {
    let policy = r#"
        timezone = "UTC"
        default_role = "dev"
        [roles.dev]
        allowed_models = ["claude-haiku-4-*", "claude-opus-*"]
    "#;
    let found = found_in(tally("", Some(policy)), &[counted(&SMALL)]);
    // 1 and 5 USD a million.
    assert_eq!(
        saved(&found, Opportunity::Model),
        [(
            "simple",
            "claude-haiku-4-5".to_owned(),
            7_500_000_000 - 1_500_000_000
        )]
    );
}

#[test]
fn only_what_programs_asked_could_have_waited() {
    let headless = |session, provider| Asked {
        session,
        provider,
        scope: if provider == "bedrock" { "us" } else { "base" },
        entrypoint: Some("sdk-py"),
        ..SMALL
    };
    let asked = [
        headless(1, "anthropic"),
        headless(2, "anthropic"),
        headless(2, "anthropic"),
        headless(0, "anthropic"),
        headless(3, "bedrock"),
        Asked {
            session: 4,
            ..SMALL
        },
        // A person takes over.
        headless(4, "anthropic"),
        Asked {
            session: 5,
            entrypoint: None,
            ..SMALL
        },
    ];
    let found = found(&asked);
    assert_eq!(
        saved(&found, Opportunity::Batch),
        [
            ("one_after_another", "batch".to_owned(), 7_500_000_000),
            ("single_request", "batch".to_owned(), 7_500_000_000),
        ]
    );
    assert_eq!(
        reasons(&found, Opportunity::Batch),
        BTreeMap::from([
            ("interactive", 2),
            ("no_batch_price", 1),
            ("source_not_told", 1)
        ])
    );
    let batches = &tables::of(&found, &[GroupBy::Team])[2];
    assert_eq!(
        ["requests", "batches"].map(|name| cells(batches, name)),
        [vec![Cell::Count(4)], vec![Cell::Count(1)]]
    );
}

#[test]
fn fewer_requests_than_a_batch_takes_are_no_potential() {
    let on_bedrock = |session| Asked {
        session,
        provider: "bedrock",
        scope: "global",
        model: "claude-haiku-4-5",
        entrypoint: Some("sdk-cli"),
        ..SMALL
    };
    let few: Vec<_> = (1..100).map(on_bedrock).collect();
    let enough: Vec<_> = (1..101).map(on_bedrock).collect();
    let (few, enough) = (found(&few), found(&enough));
    assert_eq!(saved(&few, Opportunity::Batch), []);
    assert_eq!(
        reasons(&few, Opportunity::Batch),
        BTreeMap::from([("fewer_than_a_batch", 99)])
    );
    assert_eq!(
        saved(&enough, Opportunity::Batch),
        [("single_request", "batch".to_owned(), 100 * 750_000_000)]
    );
    // The cheaper model saves more than the batch.
    let by_model = 1_500_000_000 - 150_000_000;
    assert_eq!(
        [few.any_one, enough.any_one],
        [PicoUsd(99 * by_model), PicoUsd(100 * by_model)]
    );
}

#[test]
fn the_regional_premium_is_one_eleventh() {
    let regional = Asked {
        provider: "bedrock",
        scope: "eu",
        model: "claude-sonnet-4-6",
        ..SMALL
    };
    let found = found(&[regional]);
    let now = 1_000 * 3_300_000 + 100 * 16_500_000;
    assert_eq!(
        saved(&found, Opportunity::Endpoint),
        [("regional_premium", "global".to_owned(), now / 11)]
    );
    let summary = &tables::of(&found, &[GroupBy::Team])[1];
    let share = &cells(summary, "share")[2];
    assert_eq!(*share, Cell::Ratio(90_909));
}

#[test]
fn the_cache_has_saved_what_reads_cost_less_minus_what_writes_cost_more() {
    let tokens = |cache_read, cache_write_5m| Tokens {
        input: 10,
        output: 10,
        cache_read,
        cache_write_5m,
        ..Tokens::default()
    };
    let with = |session, cache_read, cache_write_5m| Asked {
        session,
        tokens: tokens(cache_read, cache_write_5m),
        ..SMALL
    };
    let found = found(&[
        with(1, 0, 4_000),
        with(1, 4_000, 90),
        with(2, 0, 2_000),
        with(2, 0, 1_000),
    ]);
    let saved_by_reads = 4_000 * 4_500_000;
    let premium = 7_090 * 1_250_000;
    let tables = tables::of(&found, &[GroupBy::Team]);
    let row = |name| cells(&tables[0], name)[1].clone();
    assert_eq!(
        ["opportunity", "achieved_usd", "potential_usd", "hit_rate"].map(row),
        [
            Cell::Text("cache".into()),
            Cell::Money(PicoUsd(saved_by_reads - premium)),
            Cell::Empty,
            // 4,000 of 11,130 tokens read.
            Cell::Ratio(359_389),
        ]
    );
    let row = |name| cells(&tables[0], name)[2].clone();
    assert_eq!(
        [
            "opportunity",
            "sessions",
            "tokens",
            "achieved_usd",
            "potential_usd"
        ]
        .map(row),
        [
            Cell::Text("unread_writes".into()),
            Cell::Count(1),
            Cell::Count(3_000),
            Cell::Empty,
            Cell::Money(PicoUsd(3_000 * 1_250_000)),
        ]
    );
}

#[test]
fn requests_in_batches_have_saved_half() {
    let mut request = counted(&SMALL);
    request.sku = Arc::new(Sku {
        tier: Tier::Batch,
        ..(*request.sku).clone()
    });
    let found = found_in(tally("", None), &[request]);
    let table = &tables::of(&found, &[GroupBy::Team])[0];
    assert_eq!(
        ["opportunity", "rule", "achieved_usd", "potential_usd"]
            .map(|name| cells(table, name)[1].clone()),
        [
            Cell::Text("batch".into()),
            Cell::Text("batch_tier".into()),
            Cell::Money(PicoUsd(3_750_000_000)),
            Cell::Empty,
        ]
    );
}

#[test]
fn a_request_without_a_price_is_in_no_figure() {
    let unknown = Asked {
        model: "claude-opus-9",
        ..SMALL
    };
    let found = found(&[unknown]);
    assert_eq!(found.sums, BTreeMap::new());
    assert_eq!((found.all.requests, found.unpriced_requests), (0, 1));
    let reasons = found.left_out.keys().map(|(_, reason)| *reason);
    assert!(reasons.eq([Reason::Unpriced; 5]));
}

#[test]
fn sessions_without_a_request_for_the_longest_time_are_judged_first() {
    let headless = |session| Asked {
        session,
        entrypoint: Some("sdk-py"),
        ..SMALL
    };
    let all: Vec<_> = (1..=9).map(headless).collect();
    let found = found(&all);
    assert!(found.judged_early > 0);
    assert_eq!(
        saved(&found, Opportunity::Batch),
        [("single_request", "batch".to_owned(), 9 * 3_750_000_000)]
    );
}
