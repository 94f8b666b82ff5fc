use proptest::prelude::*;

use super::*;

const TODAY: &str = "2026-11-22";
const DOLLAR: i128 = 1_000_000_000_000;

fn day(text: &str) -> Date {
    text.parse().expect("a date")
}

fn key(account: &str, kind: PricedKind) -> Key {
    Key {
        day: day("2026-11-10"),
        provider: "bedrock".into(),
        account: account.into(),
        model: "claude-sonnet-4-6".into(),
        charge: Charge::Tokens,
        kind: Some(kind),
        geo: "".into(),
        tier: "standard".into(),
    }
}

fn estimated(tokens: i128, dollars: i128) -> Estimated {
    Estimated {
        tokens,
        cost: dollars * DOLLAR,
    }
}

fn actual(tokens: i128, dollars: i128) -> Actual {
    Actual {
        tokens: Some(tokens),
        cost: dollars * DOLLAR,
        at_table: None,
    }
}

fn compare(
    estimated: impl IntoIterator<Item = (Key, Estimated)>,
    actual: impl IntoIterator<Item = (Key, Actual)>,
) -> Vec<Compared> {
    let mut sides = Sides::default();
    for (key, line) in estimated {
        sides.add_estimated(key, line);
    }
    for (key, line) in actual {
        sides.add_actual(key, line);
    }
    sides.compare(day(TODAY))
}

/// Account, kind, price and quantity variance in dollars, cause.
fn told(compared: &[Compared]) -> Vec<(String, &'static str, i128, i128, Cause)> {
    let line = |line: &Compared| {
        (
            line.key.account.to_string(),
            line.key.kind.map_or("", PricedKind::name),
            line.price_variance / DOLLAR,
            line.quantity_variance / DOLLAR,
            line.cause,
        )
    };
    compared.iter().map(line).collect()
}

#[test]
fn a_difference_is_split_into_price_and_quantity() {
    let at = |account| key(account, PricedKind::Input);
    let compared = compare(
        [
            (at("dearer"), estimated(100, 100)),
            (at("more"), estimated(100, 100)),
            (at("near"), estimated(100, 1000)),
        ],
        [
            (at("dearer"), actual(110, 220)),
            (at("more"), actual(150, 160)),
            (at("near"), actual(100, 1009)),
        ],
    );
    let row = |account: &str, price, quantity, cause| {
        (account.to_owned(), "input", price, quantity, cause)
    };
    assert_eq!(
        told(&compared),
        [
            row("dearer", 110, 10, Cause::Price),
            row("more", 10, 50, Cause::Quantity),
            row("near", 9, 0, Cause::None),
        ]
    );
}

#[test]
fn what_one_side_lacks_is_named() {
    let input = key("a", PricedKind::Input);
    let output = key("a", PricedKind::Output);
    let compared = compare(
        [(input.clone(), estimated(100, 10))],
        [(
            output.clone(),
            Actual {
                at_table: Some(8 * DOLLAR),
                ..actual(40, 9)
            },
        )],
    );
    assert_eq!(
        told(&compared),
        [
            ("a".to_owned(), "input", 0, -10, Cause::MissingInBill),
            ("a".to_owned(), "output", 1, 8, Cause::MissingInTelemetry),
        ]
    );
    let young = Key {
        day: day("2026-11-21"),
        ..input
    };
    let compared = compare([(young, estimated(100, 10))], []);
    assert_eq!(
        told(&compared),
        [(String::new(), "input", 0, -10, Cause::Timing)]
    );
}

#[test]
fn lifetimes_and_accounts_are_taken_from_the_bill() {
    let compared = compare(
        [(
            key("person", PricedKind::CacheWriteUnknown),
            estimated(100, 100),
        )],
        [
            (key("a", PricedKind::CacheWrite5m), actual(30, 30)),
            (key("a", PricedKind::CacheWrite1h), actual(35, 70)),
            (key("b", PricedKind::CacheWrite1h), actual(35, 70)),
        ],
    );
    let row = |account: &str, kind, price| {
        let cause = if price == 0 {
            Cause::None
        } else {
            Cause::Price
        };
        (account.to_owned(), kind, price, 0, cause)
    };
    assert_eq!(
        told(&compared),
        [
            row("a", "cache_write_5m", 0),
            row("a", "cache_write_1h", 35),
            row("b", "cache_write_1h", 35),
        ]
    );
}

#[test]
fn usage_around_midnight_is_a_matter_of_timing() {
    let on = |text: &str| Key {
        day: day(text),
        ..key("a", PricedKind::Input)
    };
    let compared = compare(
        [
            (on("2026-11-10"), estimated(150, 150)),
            (on("2026-11-11"), estimated(50, 50)),
        ],
        [
            (on("2026-11-10"), actual(100, 100)),
            (on("2026-11-11"), actual(100, 100)),
        ],
    );
    let causes: Vec<Cause> = compared.iter().map(|line| line.cause).collect();
    assert_eq!(causes, [Cause::Timing, Cause::Timing]);
}

#[test]
fn a_tier_that_only_one_side_tells_does_not_part_them() {
    let batch = Key {
        tier: "batch".into(),
        ..key("a", PricedKind::Input)
    };
    let compared = compare(
        [(key("a", PricedKind::Input), estimated(100, 100))],
        [(batch, actual(100, 50))],
    );
    assert_eq!(
        told(&compared),
        [("a".to_owned(), "input", -50, 0, Cause::Price)]
    );
}

fn keys() -> impl Strategy<Value = Key> {
    let texts = |texts: [&'static str; 3]| prop::sample::select(texts.to_vec());
    (
        1_i8..4,
        texts(["", "a", "b"]),
        prop::sample::select(PricedKind::ALL.to_vec()),
        texts(["", "global", "global"]),
        texts(["standard", "batch", ""]),
    )
        .prop_map(|(number, account, kind, geo, tier)| Key {
            day: Date::constant(2026, 11, number),
            geo: geo.into(),
            tier: tier.into(),
            ..key(account, kind)
        })
}

proptest! {
    #[test]
    fn both_sides_and_their_difference_stay_whole(
        estimates in prop::collection::vec(
            (keys(), 0_i128..1 << 50, 0_i128..1 << 60), 0..20),
        bill in prop::collection::vec(
            (keys(), prop::option::of(0_i128..1 << 50), -(1_i128 << 60)..1 << 60), 0..20),
    ) {
        let mut sides = Sides::default();
        let (mut was, mut is) = (Estimated::default(), 0);
        for (key, tokens, cost) in estimates {
            was.tokens += tokens;
            was.cost += cost;
            sides.add_estimated(key, Estimated { tokens, cost });
        }
        for (key, tokens, cost) in bill {
            is += cost;
            sides.add_actual(key, Actual { tokens, cost, at_table: None });
        }
        let compared = sides.compare(day(TODAY));
        let sum = |of: fn(&Compared) -> i128| compared.iter().map(of).sum::<i128>();
        prop_assert_eq!(sum(|c| c.estimated.unwrap_or_default().tokens), was.tokens);
        prop_assert_eq!(sum(|c| c.estimated.unwrap_or_default().cost), was.cost);
        prop_assert_eq!(sum(|c| c.actual.unwrap_or_default().cost), is);
        prop_assert_eq!(sum(|c| c.price_variance + c.quantity_variance), is - was.cost);
    }
}
