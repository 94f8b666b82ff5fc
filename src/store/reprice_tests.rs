//! Pricing anew and forgetting, on a whole ledger.

use std::sync::{Arc, Mutex};

use jiff::civil::Date;

use super::*;
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::price::{EMBEDDED, PriceTable, PriceText};
use crate::model::query::{Dimension, UsageRow};
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::{Band, Counted, Point, Sku, Temporality, UsageRecord};

const NOON: &str = "2026-11-22T12:00:00Z";

fn now() -> Timestamp {
    NOON.parse().unwrap()
}

/// A ledger whose price table can be replaced.
struct Place {
    ledger: Ledger,
    terms: Arc<ArcSwap<Terms>>,
    grown: Arc<Mutex<Vec<Difference>>>,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            folder: folder.path().to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::get("Asia/Tokyo").unwrap(),
        };
        let terms = Arc::new(ArcSwap::from_pointee(Terms {
            prices: PriceTable::parse(EMBEDDED).unwrap(),
            order: ["gateway", "events"].map(str::to_owned).to_vec(),
            ..Terms::default()
        }));
        let clock = Clock::manual(now());
        let opened = Ledger::open(&settings, terms.clone(), clock).unwrap();
        let grown = Arc::new(Mutex::new(Vec::new()));
        let heard = grown.clone();
        let on_commit = move |effects: &Effects, _: CommitReport| {
            let growth = effects.growth.usage.iter().map(|(_, growth)| *growth);
            heard.lock().unwrap().extend(growth);
        };
        let (ledger, _) = opened.start(Box::new(on_commit)).unwrap();
        Self {
            ledger,
            terms,
            grown,
            _folder: folder,
        }
    }

    fn price(&self, rows: &str) {
        let own = format!(
            "schema_version = 1\nversion = \"ours\"\ncurrency = \"USD\"\n\
             unit = \"1000000 tokens\"\nprice = [{rows}]"
        );
        let text = |name, text| PriceText { name, text };
        let list = [text("built in", EMBEDDED), text("own", &own)];
        let terms = Terms {
            prices: PriceTable::load(&list, None).unwrap(),
            ..Terms::clone(&self.terms.load())
        };
        self.terms.store(Arc::new(terms));
    }

    async fn use_tokens(&self, id: &str, model: &str, days_ago: i64, tokens: Tokens) {
        self.report("events", id, model, days_ago, tokens).await;
    }

    async fn report(&self, source: &str, id: &str, model: &str, days_ago: i64, tokens: Tokens) {
        let at = now()
            .checked_sub(jiff::SignedDuration::from_hours(24 * days_ago))
            .unwrap();
        let record = UsageRecord {
            identity: Arc::new(Identity {
                user: Some("ada@example.com".into()),
                device: Some("0a1b2c3d".into()),
                team: Some("payments".into()),
                ..Identity::default()
            }),
            sku: Arc::new(Sku::plain(model)),
            tokens,
            request_id: Some(format!("req_{id}").into()),
            ..UsageRecord::plain(source, id, at)
        };
        let intake = Intake {
            records: vec![record],
            ..Intake::default()
        };
        self.ledger.append(intake).await.unwrap();
    }

    async fn reprice(&self, mode: RepriceMode) -> Repriced {
        let order = RepriceOrder {
            from: day("2026-11-01"),
            to: day("2026-11-23"),
            mode,
            include_closed: false,
            reason: "a test".into(),
            by: "tester".into(),
            at: now(),
        };
        self.ledger.reprice(order).await.unwrap()
    }

    async fn total(&self) -> (PicoUsd, u64) {
        let rows = self.usage(&[]).await;
        rows.first()
            .map_or((PicoUsd::ZERO, 0), |row| (row.cost, row.unpriced_tokens))
    }

    async fn usage(&self, group_by: &[Dimension]) -> Vec<UsageRow> {
        let query = UsageQuery {
            from: "2026-08-01T00:00:00Z".parse().unwrap(),
            to: "2026-12-01T00:00:00Z".parse().unwrap(),
            group_by: group_by.to_vec(),
            zone: TimeZone::UTC,
            user: None,
        };
        self.ledger.usage(query).await.unwrap().rows
    }
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn tokens(input: u64) -> Tokens {
    Tokens {
        input,
        ..Tokens::default()
    }
}

const NEXT: &str = "{ model = \"claude-next\", provider = \"anthropic\", scope = \"base\", \
    input = \"2\" }";

#[tokio::test]
async fn usage_without_a_price_is_listed_and_priced_anew_once() {
    let place = Place::new();
    place.use_tokens("a", "claude-next", 2, tokens(100)).await;
    place.use_tokens("b", "claude-next", 1, tokens(10)).await;
    place.use_tokens("c", "claude-opus-4-8", 1, tokens(1)).await;
    assert_eq!(place.total().await, (PicoUsd(5_000_000), 110));
    let from = "2026-11-01T00:00:00Z".parse().unwrap();
    let missing = place.ledger.missing_prices(from, now()).await.unwrap();
    let told: Vec<_> = missing
        .iter()
        .map(|missing| {
            let days = (missing.first, missing.last);
            (&*missing.model, missing.tokens, missing.kinds.clone(), days)
        })
        .collect();
    assert_eq!(
        told,
        [(
            "claude-next",
            110,
            vec![crate::model::bill::PricedKind::Input],
            (day("2026-11-20"), day("2026-11-21"))
        )]
    );

    place.price(NEXT);
    let published = place.grown.lock().unwrap().len();
    let tried = place.reprice(RepriceMode::DryRun).await;
    assert_eq!(place.total().await, (PicoUsd(5_000_000), 110));
    let done = place.reprice(RepriceMode::Apply).await;
    assert_eq!(
        (tried.run, done.run, &tried.lines),
        (None, Some(1), &done.lines)
    );
    let line = |day: &str, tokens: u64| RepricedLine {
        day: day.parse().unwrap(),
        provider: "anthropic".into(),
        model: "claude-next".into(),
        sums: 1,
        old_cost: PicoUsd::ZERO,
        new_cost: PicoUsd(i128::from(tokens) * 2_000_000),
        old_unpriced: tokens,
        new_unpriced: 0,
    };
    assert_eq!(
        done.lines,
        [line("2026-11-20", 100), line("2026-11-21", 10)]
    );
    assert_eq!(place.total().await, (PicoUsd(225_000_000), 0));
    assert_eq!(place.grown.lock().unwrap().len(), published);

    let again = place.reprice(RepriceMode::Apply).await;
    assert_eq!((again.run, again.lines), (None, vec![]));
    let kept = place
        .ledger
        .price_adjustments(day("2026-11-01"), day("2026-11-23"))
        .await
        .unwrap();
    let kept: Vec<_> = kept
        .iter()
        .map(|row| {
            (
                row.run,
                row.day,
                row.old_cost.0,
                row.new_cost.0,
                &*row.reason,
            )
        })
        .collect();
    assert_eq!(
        kept,
        [
            (1, day("2026-11-20"), 0, 200_000_000, "a test"),
            (1, day("2026-11-21"), 0, 20_000_000, "a test"),
        ]
    );
}

#[tokio::test]
async fn a_better_report_takes_back_what_was_priced_anew() {
    let place = Place::new();
    place
        .use_tokens("a", "claude-opus-4-8", 1, tokens(100))
        .await;
    place.price(
        "{ model = \"claude-opus-4-8\", provider = \"anthropic\", scope = \"base\", \
         input = \"4\" }",
    );
    place.reprice(RepriceMode::Apply).await;
    assert_eq!(place.total().await, (PicoUsd(400_000_000), 0));
    let published = place.grown.lock().unwrap().clone();
    place
        .report("gateway", "a", "claude-opus-4-8", 1, tokens(100))
        .await;
    assert_eq!(place.total().await, (PicoUsd(400_000_000), 0));
    let costs = |growth: &[Difference]| growth.iter().map(|growth| growth[COST]).sum::<i64>();
    let grown = place.grown.lock().unwrap().clone();
    assert_eq!(costs(&grown), costs(&published));
}

#[tokio::test]
async fn sums_whose_reports_are_gone_are_priced_if_every_kind_has_a_price() {
    let place = Place::new();
    let partly = Tokens {
        input: 100,
        output: 7,
        ..Tokens::default()
    };
    // What is older than single reports are kept is priced by its sums.
    place.use_tokens("a", "claude-next", 95, tokens(100)).await;
    place.use_tokens("b", "claude-other", 95, partly).await;
    let other = NEXT.replace("claude-next", "claude-other");
    place.price(&format!("{NEXT}, {other}"));
    let order = RepriceOrder {
        from: day("2026-08-10"),
        to: day("2026-08-30"),
        mode: RepriceMode::Apply,
        include_closed: false,
        reason: "".into(),
        by: "tester".into(),
        at: now(),
    };
    let done = place.ledger.reprice(order.clone()).await.unwrap();
    let told: Vec<_> = done
        .lines
        .iter()
        .map(|line| (&*line.model, line.new_cost.0, line.new_unpriced))
        .collect();
    assert_eq!(told, [("claude-next", 200_000_000, 0)]);
    assert_eq!(done.left_tokens, 107);
    let again = place.ledger.reprice(order).await.unwrap();
    assert_eq!(
        (again.run, again.lines, again.left_tokens),
        (None, vec![], 107)
    );
}

#[tokio::test]
async fn counters_without_requests_are_priced_anew_too() {
    let place = Place::new();
    let start = now()
        .checked_sub(jiff::SignedDuration::from_hours(24))
        .unwrap();
    let sku = Sku {
        band: Band::Mixed,
        ..Sku::plain("claude-next")
    };
    let point = Point {
        source: "metrics".into(),
        series: [7; 16],
        temporality: Temporality::Delta,
        start,
        at: start
            .checked_add(jiff::SignedDuration::from_mins(1))
            .unwrap(),
        identity: Arc::new(Identity {
            user: Some("ada@example.com".into()),
            ..Identity::default()
        }),
        session: Some("s1".into()),
        what: Counted::Tokens {
            sku: Arc::new(sku),
            kind: TokenKind::Input,
        },
        value: 50,
    };
    let intake = Intake {
        points: vec![point],
        ..Intake::default()
    };
    place.ledger.append(intake).await.unwrap();
    assert_eq!(place.total().await, (PicoUsd::ZERO, 50));
    place.price(NEXT);
    let done = place.reprice(RepriceMode::Apply).await;
    assert_eq!(done.lines.len(), 1);
    assert_eq!(place.total().await, (PicoUsd(100_000_000), 0));
    assert_eq!(place.reprice(RepriceMode::Apply).await.run, None);
}

#[tokio::test]
async fn closed_months_are_priced_anew_only_if_asked() {
    let place = Place::new();
    place.use_tokens("a", "claude-next", 1, tokens(100)).await;
    let close = "INSERT INTO closed_month (month, zone, closed_at, closed_by, forced, standing, \
        columns, sha256, manifest) VALUES ('2026-11', 'Asia/Tokyo', 0, '', 0, '', '', '', '')";
    place
        .ledger
        .change(move |transaction| {
            let done = transaction.execute(close, []);
            done.map(drop).map_err(StoreError::sql("close a month"))
        })
        .await
        .unwrap();
    place.price(NEXT);
    let passed = place.reprice(RepriceMode::Apply).await;
    assert_eq!((passed.run, passed.closed_days.len()), (None, 22));
    let order = RepriceOrder {
        from: day("2026-11-21"),
        to: day("2026-11-22"),
        mode: RepriceMode::Apply,
        include_closed: true,
        reason: "asked".into(),
        by: "tester".into(),
        at: now(),
    };
    let done = place.ledger.reprice(order).await.unwrap();
    assert_eq!((done.run, done.closed_days), (Some(1), vec![]));
}

#[tokio::test]
async fn days_that_are_kept_by_day_only_are_refused() {
    let place = Place::new();
    let order = RepriceOrder {
        from: day("2026-01-01"),
        to: day("2026-11-23"),
        mode: RepriceMode::DryRun,
        include_closed: false,
        reason: "".into(),
        by: "tester".into(),
        at: now(),
    };
    let error = place.ledger.reprice(order).await.unwrap_err().to_string();
    assert!(error.starts_with("from: usage before 2026-"), "{error}");
}

#[tokio::test]
async fn who_is_forgotten_leaves_the_sums() {
    let place = Place::new();
    place
        .use_tokens("a", "claude-opus-4-8", 1, tokens(100))
        .await;
    let by_team = place.usage(&[Dimension::Team]).await;
    let names = async || -> Vec<String> {
        let rows = place.usage(&[Dimension::User]).await;
        rows.into_iter().map(|row| row.keys[0].clone()).collect()
    };
    assert_eq!(names().await, ["ada@example.com"]);
    assert_eq!(
        place.ledger.forget("nobody@example.com").await.unwrap(),
        None
    );
    let forgotten = place.ledger.forget("Ada@Example.com").await.unwrap();
    assert_eq!(
        forgotten,
        Some(Forgotten {
            stand_in: "forgotten-1".to_owned(),
            identities: 1,
            names: vec!["ada@example.com".to_owned()],
            closed_lines: 0,
        })
    );
    assert_eq!(names().await, ["forgotten-1"]);
    assert_eq!(place.usage(&[Dimension::Team]).await, by_team);
    let stored = std::fs::read(&place.ledger.inner.path).unwrap();
    for name in ["ada@example.com", "0a1b2c3d"] {
        let found = stored.windows(name.len()).any(|w| w == name.as_bytes());
        assert!(!found, "{name} is still in the file");
    }
    // What comes in later names the person anew.
    place.use_tokens("b", "claude-opus-4-8", 0, tokens(1)).await;
    assert_eq!(names().await, ["ada@example.com", "forgotten-1"]);
}
