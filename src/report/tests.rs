//! Reports over a ledger and a bill: whatever is asked, totals are the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use tempfile::TempDir;

use super::write::{Form, ManifestPlace, show, write};
use super::*;
use crate::clock::Clock;
use crate::config::Environment;
use crate::model::bill::{Amounts, BillDay, BillLine, BilledSku, Charge, PricedKind};
use crate::model::directory::Directory;
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::price::{EMBEDDED, PriceTable};
use crate::model::query::UsageQuery;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Intake, Sku, UsageRecord};
use crate::store::{Settings, WriterThread};

const NOW: &str = "2026-11-22T12:00:00Z";

const TEAMS: &str = "identity,team,project,cost_center\n\
    alice,payments,checkout,cc-1\nbob,payments,,cc-1\ncarol,search,index,cc-2\n";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A ledger with reports on it.
struct Company {
    reports: Reports,
    writer: WriterThread,
    _folder: TempDir,
}

impl Company {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            folder: folder.path().to_owned(),
            retain_raw: std::time::Duration::from_hours(90 * 24),
            zone: TimeZone::get("Asia/Tokyo").unwrap(),
        };
        let terms = Terms {
            prices: PriceTable::parse(EMBEDDED).unwrap(),
            directory: Directory::parse(TEAMS, &TimeZone::UTC).unwrap(),
            order: vec!["gateway".to_owned()],
            ..Terms::default()
        };
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let clock = Clock::manual(now());
        let opened = Ledger::open(&settings, terms.clone(), clock).unwrap();
        let (ledger, writer) = opened.start(Box::new(|_, _| {})).unwrap();
        let config = Config::parse("", &Environment::default()).unwrap();
        let reports = Reports {
            ledger,
            config: Arc::new(ArcSwap::from_pointee(config)),
            terms,
            heard: Arc::default(),
        };
        Self {
            reports,
            writer,
            _folder: folder,
        }
    }

    async fn with(uses: &[Used], bill: &[BillLine]) -> Self {
        let company = Self::new();
        let ledger = &company.reports.ledger;
        let intake = Intake {
            records: uses.iter().enumerate().map(Used::record).collect(),
            ..Intake::default()
        };
        ledger.append(intake).await.unwrap();
        let mut days: BTreeMap<Date, Vec<BillLine>> = BTreeMap::new();
        for line in bill {
            days.entry(line.day).or_default().push(line.clone());
        }
        for (day, lines) in days {
            let day = BillDay {
                source: "cost_explorer".into(),
                provider: "bedrock".into(),
                account: "111122223333".into(),
                day,
                estimated: false,
                revision: 0,
                pulled_at: now(),
                lines,
            };
            ledger.replace_bill_day(day).await.unwrap();
        }
        company
    }

    fn close(self) {
        self.reports.ledger.close();
        self.writer.join();
    }

    async fn report(&self, name: Name, asked: &Request) -> Report {
        self.reports.run(name, asked, now()).await.unwrap()
    }
}

/// One request.
#[derive(Clone, Debug)]
struct Used {
    user: &'static str,
    at: Timestamp,
    provider: &'static str,
    model: &'static str,
    tokens: Tokens,
}

impl Used {
    fn record((number, used): (usize, &Self)) -> UsageRecord {
        let scope = if used.provider == "bedrock" {
            "us"
        } else {
            "base"
        };
        UsageRecord {
            identity: Arc::new(Identity {
                user: Some(used.user.into()),
                ..Identity::default()
            }),
            sku: Arc::new(Sku {
                provider: used.provider.into(),
                scope: scope.into(),
                band: Band::of(&used.tokens),
                ..Sku::plain(used.model)
            }),
            tokens: used.tokens,
            ..UsageRecord::plain("gateway", &number.to_string(), used.at)
        }
    }
}

fn request(zone: &str, group_by: &[&str]) -> Request {
    let zone = TimeZone::get(zone).unwrap();
    let range = period::month("2026-11", now(), &zone).unwrap();
    Request {
        from: range.start,
        to: range.end,
        zone,
        group_by: group_by.iter().map(|name| Arc::from(*name)).collect(),
        basis: Basis::Unblended,
        decimals: 2,
        currency: "USD".into(),
    }
}

/// The exact totals of a report's first table, by column.
fn totals(report: &Report) -> BTreeMap<&'static str, i128> {
    let table = &report.tables[0];
    let mut totals = BTreeMap::new();
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        assert_eq!(cells.len(), table.columns.len());
        for (column, cell) in table.columns.iter().zip(&cells) {
            let sum = totals.entry(column.name).or_insert(0);
            match cell {
                Cell::Money(amount) if column.sums => *sum += amount.0,
                Cell::Count(count) if column.sums => *sum += count,
                _ => {}
            }
        }
    }
    totals
}

/// Rows as texts under the columns named.
fn rows(report: &Report, names: &[&str]) -> Vec<String> {
    let table = &report.tables[0];
    let place = |name: &&str| {
        let place = table.columns.iter().position(|column| column.name == *name);
        place.unwrap_or_else(|| panic!("there is no column {name}"))
    };
    let places: Vec<usize> = names.iter().map(place).collect();
    let mut cells = Vec::new();
    (0..table.rows.len())
        .map(|index| {
            table.rows.row(index, &mut cells);
            let exact = |place: &usize| match &cells[*place] {
                Cell::Money(amount) => amount.to_string(),
                cell => write::cell_text(cell, &report.manifest.request),
            };
            places.iter().map(exact).collect::<Vec<_>>().join("|")
        })
        .collect()
}

fn used(user: &'static str, at: &str, input: u64, output: u64) -> Used {
    Used {
        user,
        at: at.parse().unwrap(),
        provider: "bedrock",
        model: "claude-sonnet-4-6",
        tokens: Tokens {
            input,
            output,
            ..Tokens::default()
        },
    }
}

fn line(day: &str, charge: Charge, kind: Option<PricedKind>, amount: &str) -> BillLine {
    BillLine {
        provider: "bedrock".into(),
        account: "111122223333".into(),
        day: day.parse().unwrap(),
        charge,
        sku: BilledSku {
            model: kind.map(|_| "claude-sonnet-4-6".into()),
            kind,
            ..BilledSku::default()
        },
        service: "Claude Sonnet 4.6 (Amazon Bedrock Edition)".into(),
        usage_type: "USE1-MP:USE1_InputTokenCount-Units".into(),
        user: None,
        quantity: "0.003".into(),
        unit: "Units".into(),
        tokens: kind.map(|_| 3_000),
        currency: "USD".into(),
        amounts: Amounts {
            unblended: Some(PicoUsd::parse(amount).unwrap()),
            ..Amounts::default()
        },
    }
}

#[tokio::test]
async fn a_bill_is_shared_among_those_who_used_it() {
    let uses = [
        used("alice", "2026-11-02T10:00:00Z", 2_000, 100),
        used("bob", "2026-11-02T11:00:00Z", 1_000, 0),
        used("carol", "2026-11-20T11:00:00Z", 1_000, 0),
    ];
    let mut euro = line("2026-11-02", Charge::Tax, None, "7.00");
    euro.currency = "EUR".into();
    let bill = [
        line(
            "2026-11-02",
            Charge::Tokens,
            Some(PricedKind::Input),
            "0.01",
        ),
        line(
            "2026-11-02",
            Charge::Tokens,
            Some(PricedKind::CacheRead),
            "0.5",
        ),
        line("2026-11-02", Charge::Credit, None, "-0.25"),
        line("2026-11-03", Charge::Tax, None, "0.1"),
        euro,
    ];
    let company = Company::with(&uses, &bill).await;
    let report = company
        .report(Name::Chargeback, &request("UTC", &["team", "user"]))
        .await;
    let told = [
        "team",
        "user",
        "charge",
        "token_type",
        "tokens",
        "requests",
        "estimated_cost_usd",
        "actual_cost_usd",
        "allocation_method",
        "status",
    ];
    assert_eq!(
        rows(&report, &told),
        [
            "payments|alice|Usage|input|2000|1|0.0066|0.006666666666|by_estimate|provisional",
            "payments|alice|Usage|output|100|0|0.00165|0.00||provisional",
            "payments|bob|Usage|input|1000|1|0.0033|0.003333333334|by_estimate|provisional",
            "search|carol|Usage|input|1000|1|0.0033|||provisional",
            "||Unallocated|cache_read||||0.50|unallocated|provisional",
            "||Credit|||||-0.25||provisional",
            "||Tax|||||0.10||provisional",
        ]
    );
    assert_eq!(report.tables[1].name, "other_currencies");
    assert_eq!(report.tables[1].rows.len(), 1);
    company.close();
}

#[tokio::test]
async fn a_person_whom_the_bill_names_has_the_billed_amount() {
    let uses = [
        used("alice", "2026-11-02T10:00:00Z", 2_000, 0),
        used("bob", "2026-11-02T11:00:00Z", 1_000, 0),
    ];
    let own = |user: &str, amount| BillLine {
        user: Some(user.into()),
        ..line(
            "2026-11-02",
            Charge::Tokens,
            Some(PricedKind::Input),
            amount,
        )
    };
    let bill = [
        own(
            "arn:aws:sts::111122223333:assumed-role/Developer/Alice",
            "0.9",
        ),
        own("carol", "0.2"),
        // A machine that nobody knows: shared among those whom the bill does not name.
        own(
            "arn:aws:sts::111122223333:assumed-role/Gateway/i-0123",
            "0.05",
        ),
        line("2026-11-02", Charge::Tokens, Some(PricedKind::Input), "0.3"),
    ];
    let company = Company::with(&uses, &bill).await;
    let report = company
        .report(Name::Chargeback, &request("UTC", &["team", "user"]))
        .await;
    let told = [
        "team",
        "user",
        "tokens",
        "actual_cost_usd",
        "allocation_method",
    ];
    assert_eq!(
        rows(&report, &told),
        [
            "payments|alice|2000|0.90|direct",
            "payments|bob|1000|0.35|by_estimate",
            "search|carol|0|0.20|direct",
        ]
    );
    company.close();
}

#[tokio::test]
async fn reconciliation_explains_the_difference() {
    let uses = [used("alice", "2026-11-02T10:00:00Z", 2_000_000, 0)];
    let mut billed = line(
        "2026-11-02",
        Charge::Tokens,
        Some(PricedKind::Input),
        "13.2",
    );
    billed.tokens = Some(3_000_000);
    billed.quantity = "3".into();
    let company = Company::with(&uses, &[billed]).await;
    let report = company
        .report(Name::Reconciliation, &request("UTC", &[]))
        .await;
    let told = [
        "day",
        "account",
        "token_type",
        "est_tokens",
        "billed_quantity",
        "billed_tokens",
        "coverage",
        "est_cost_usd",
        "actual_cost_usd",
        "delta_usd",
        "price_variance_usd",
        "quantity_variance_usd",
        "implied_unit_price_usd",
        "table_unit_price_usd",
        "cause",
        "revision",
    ];
    assert_eq!(
        rows(&report, &told),
        [
            "2026-11-02|111122223333|input|2000000|3|3000000|0.666666|6.60|13.20|6.60|3.30|3.30|\
             4.40|3.30|price|1"
        ]
    );
    company.close();
}

#[tokio::test]
async fn an_empty_period_has_empty_reports() {
    let company = Company::new();
    for name in Name::ALL {
        let asked = request("UTC", &[]);
        let report = match company.reports.run(name, &asked, now()).await {
            Ok(report) => report,
            Err(ReportError::NotConfigured(_)) => {
                assert!(matches!(name, Name::Budget | Name::Rollout), "{name:?}");
                continue;
            }
            Err(error) => panic!("{name:?}: {error}"),
        };
        let shown = show(&report).unwrap();
        for form in Form::ALL {
            let mut text = Vec::new();
            write(&report, &shown, form, ManifestPlace::Leading, &mut text).unwrap();
            assert!(!text.is_empty(), "{}", name.name());
        }
    }
    company.close();
}

#[tokio::test]
async fn a_grouping_that_does_not_exist_is_named() {
    let company = Company::new();
    for (name, group_by) in [
        (Name::Chargeback, "hour"),
        (Name::Chargeback, "tema"),
        (Name::CostDetail, "team"),
        (Name::Reconciliation, "user"),
    ] {
        let asked = request("UTC", &[group_by]);
        let error = company.reports.run(name, &asked, now()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("group_by: "), "{text}");
    }
    company.close();
}

fn any_use() -> impl Strategy<Value = Used> {
    let user = prop::sample::select(vec!["alice", "bob", "carol", "dave"]);
    let sold = prop::sample::select(vec![
        ("bedrock", "claude-sonnet-4-6"),
        ("bedrock", "claude-opus-4-8"),
        ("anthropic", "claude-sonnet-4-6"),
        ("bedrock", "claude-unheard-of"),
    ]);
    // Quarter hours of the days from the last of October to the second of December.
    let quarter = 0_i64..33 * 96;
    let tokens = prop::array::uniform4(0_u64..1_000_000);
    (user, sold, quarter, tokens).prop_map(|(user, (provider, model), quarter, tokens)| {
        let from: Timestamp = "2026-10-31T00:00:00Z".parse().unwrap();
        let seconds = from.as_second() + quarter * 900;
        let [input, output, cache_read, cache_write_unknown] = tokens;
        Used {
            user,
            at: Timestamp::from_second(seconds).unwrap().min(now()),
            provider,
            model,
            tokens: Tokens {
                input,
                output,
                cache_read,
                cache_write_unknown,
                ..Tokens::default()
            },
        }
    })
}

fn any_line() -> impl Strategy<Value = BillLine> {
    let what = prop::sample::select(vec![
        Some(PricedKind::Input),
        Some(PricedKind::Output),
        Some(PricedKind::CacheRead),
        Some(PricedKind::CacheWrite5m),
        Some(PricedKind::CacheWrite1h),
        None,
    ]);
    let model = prop::sample::select(vec!["claude-sonnet-4-6", "claude-opus-4-8", "claude-9"]);
    let user = prop::sample::select(vec![None, None, None, Some("bob"), Some("eve")]);
    (
        1_i8..=22,
        what,
        model,
        user,
        0_usize..7,
        -(1_i128 << 50)..1 << 50,
    )
        .prop_map(|(day, kind, model, user, charge, amount)| {
            let charge = if kind.is_some() {
                Charge::Tokens
            } else {
                Charge::ALL[charge]
            };
            let mut line = line("2026-11-01", charge, kind, "0");
            line.day = Date::constant(2026, 11, day);
            line.sku.model = Some(model.into());
            line.user = user.map(Into::into);
            line.amounts.unblended = Some(PicoUsd(amount));
            line
        })
}

/// The totals that do not depend on the grouping.
fn control(report: &Report) -> [i128; 5] {
    let totals = totals(report);
    [
        "tokens",
        "requests",
        "list_cost_usd",
        "estimated_cost_usd",
        "actual_cost_usd",
    ]
    .map(|name| totals[name])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn totals_are_the_same_whatever_is_asked(
        uses in prop::collection::vec(any_use(), 0..25),
        bill in prop::collection::vec(any_line(), 0..25),
        zone in prop::sample::select(vec!["UTC", "Asia/Tokyo", "America/New_York"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let company = Company::with(&uses, &bill).await;
            let billed: i128 = bill.iter().map(|line| line.amounts.on(Basis::Unblended).0).sum();
            let asked = request(zone, &[]);
            let ledger = company.reports.ledger.usage(UsageQuery {
                from: asked.from,
                to: asked.to,
                group_by: Vec::new(),
                zone: asked.zone.clone(),
                user: None,
            }).await.unwrap();
            let expected = ledger.rows.first().map_or([0; 3], |row| [
                row.tokens.total().into(), row.requests.into(), row.cost.0,
            ]);
            for group_by in [
                &[][..], &["team"], &["user", "day"], &["period", "model"], &["cost_center"],
                &["provider", "project", "role", "account", "scope", "tier", "context"],
            ] {
                let report = company.report(Name::Chargeback, &request(zone, group_by)).await;
                let [tokens, requests, _, estimate, actual] = control(&report);
                assert_eq!([tokens, requests, estimate], expected, "{group_by:?}");
                assert_eq!(actual, billed, "{group_by:?}");
            }
            let detail = company.report(Name::CostDetail, &asked).await;
            assert_eq!(control(&detail)[4], billed);
            let by = [&[][..], &["model"], &["period", "token_type"]];
            let in_utc = control(&detail)[3];
            for group_by in by {
                let report = company.report(Name::Reconciliation, &request(zone, group_by)).await;
                let totals = totals(&report);
                assert_eq!(totals["actual_cost_usd"], billed);
                assert_eq!(totals["est_cost_usd"], in_utc);
                assert_eq!(totals["delta_usd"], billed - in_utc);
                let variances = totals["price_variance_usd"] + totals["quantity_variance_usd"];
                assert_eq!(variances, billed - in_utc);
            }
            company.close();
        });
    }
}
