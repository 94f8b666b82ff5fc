//! All forms of one report.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::model::bill::{Basis, Standing};
use crate::model::money::PicoUsd;
use crate::report::{Cell, Column, Kind, Manifest, Report, Request, Rows, Table};

fn column(name: &'static str, kind: Kind, sums: bool, help: &'static str) -> Column {
    Column {
        name,
        kind,
        sums,
        help,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn manifest(report: &'static str) -> Manifest {
    Manifest {
        report,
        made_at: at("2026-11-02T06:00:00Z"),
        request: Request {
            from: at("2026-09-30T22:00:00Z"),
            to: at("2026-10-31T23:00:00Z"),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            group_by: vec![Arc::from("day"), Arc::from("team")],
            basis: Basis::Unblended,
            decimals: 2,
            currency: "USD".into(),
        },
        standing: Standing::Provisional,
        prices: ("2026-10-15".to_owned(), "ab".repeat(32)),
        rate: None,
        watermarks: vec![("cost_explorer".to_owned(), at("2026-11-01T00:00:00Z"))],
        notes: vec!["2 models have no price & are left out <of the estimate>".to_owned()],
    }
}

/// Four days of three teams, with what upsets files: commas, quotes, formulas, tags, negatives,
/// amounts that are not known.
pub(super) fn sample() -> Report {
    let teams = ["platform", "=1+1", "data, \"core\" <b>", "credits"];
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for day in 1_i8..=4 {
        for (number, team) in (1_i128..).zip(teams) {
            let cost = number * 1_234_567_890_123 * i128::from(day);
            let credit = team == "credits";
            rows.push(vec![
                Cell::Date(jiff::civil::date(2026, 10, day)),
                Cell::Text((*team).into()),
                if credit {
                    Cell::Empty
                } else {
                    Cell::Count(number * 1_000_003)
                },
                Cell::Money(PicoUsd(cost)),
                if credit {
                    Cell::Money(PicoUsd(-cost / 7))
                } else {
                    Cell::Money(PicoUsd(cost + 5))
                },
                Cell::UnitPrice(PicoUsd(3_000_000 + number)),
                if credit {
                    Cell::Empty
                } else {
                    Cell::Ratio(-123_456)
                },
                Cell::Decimal(1_500),
                Cell::Time(at("2026-10-25T00:30:00Z")),
            ]);
        }
    }
    let columns = vec![
        column("day", Kind::Date, false, "Day in the zone."),
        column("team", Kind::Text, false, "Team of the directory."),
        column("tokens", Kind::Count, true, "Tokens of all kinds."),
        column(
            "estimated_cost_usd",
            Kind::Money,
            true,
            "At the price table.",
        ),
        column("actual_cost_usd", Kind::Money, true, "As billed."),
        column("unit_price_usd", Kind::UnitPrice, false, "Of the table."),
        column("share", Kind::Ratio, false, "Of the whole."),
        column("hours", Kind::Decimal, false, "Active hours."),
        column("pulled_at", Kind::Time, false, "When the bill was read."),
    ];
    let notes = Table {
        name: "unpriced_models",
        columns: vec![
            column("model", Kind::Text, false, "As reported."),
            column("tokens", Kind::Count, true, "Without a price."),
        ],
        rows: Box::new(vec![vec![Cell::Text("claude-x".into()), Cell::Count(7)]]),
    };
    Report {
        name: "chargeback",
        title: "What each team used and what it cost".to_owned(),
        tables: vec![
            Table {
                name: "chargeback",
                columns,
                rows: Box::new(rows),
            },
            notes,
        ],
        manifest: manifest("chargeback"),
    }
}

pub(super) fn written(report: &Report, form: Form, place: ManifestPlace) -> Vec<u8> {
    let shown = show(report).unwrap();
    let mut bytes = Vec::new();
    write(report, &shown, form, place, &mut bytes).unwrap();
    bytes
}

fn text(report: &Report, form: Form) -> String {
    String::from_utf8(written(report, form, ManifestPlace::Leading)).unwrap()
}

/// `TALLYD_BLESS=1 cargo test` writes the files anew.
#[test]
fn the_forms_of_a_report_are_those_of_the_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/reports");
    for form in [Form::Table, Form::Csv, Form::Json, Form::Html] {
        let file = folder.join(format!("sample.{}", form.extension()));
        let text = text(&sample(), form);
        if std::env::var_os("TALLYD_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap();
        assert!(
            text == golden,
            "{}: rewrite with TALLYD_BLESS=1",
            file.display()
        );
    }
}

#[test]
fn the_hash_is_that_of_the_lines_without_a_number_sign() {
    let csv = text(&sample(), Form::Csv);
    let data: String = csv
        .split_inclusive('\n')
        .filter(|line| !line.starts_with('#'))
        .collect();
    let separate = written(&sample(), Form::Csv, ManifestPlace::Separate);
    let stamp = show(&sample()).unwrap().stamp;
    assert_eq!(separate, data.as_bytes());
    assert_eq!(stamp.content_sha256, sha256(&separate));
    assert!(csv.contains(&format!("# content_sha256: {}\n", stamp.content_sha256)));
}

#[test]
fn a_report_has_the_same_id_whenever_it_is_made() {
    let mut again = sample();
    again.manifest.made_at = at("2026-11-09T06:00:00Z");
    let id = |report: &Report| show(report).unwrap().stamp.report_id;
    assert_eq!(id(&sample()), id(&again));
    again.manifest.standing = Standing::Final;
    assert_ne!(id(&sample()), id(&again), "now it is another statement");
}

#[test]
fn a_workbook_is_the_same_each_time() {
    let book = || written(&sample(), Form::Xlsx, ManifestPlace::Leading);
    assert!(book() == book() && book().starts_with(b"PK"));
}

#[test]
fn a_page_loads_nothing_runs_nothing_and_keeps_text_text() {
    let page = text(&sample(), Form::Html);
    for never in [
        "<script", "src=", "href=", "url(", "@import", "style=\"", " on", "<b>",
    ] {
        let found = page.match_indices(never).next();
        let is_word =
            never == " on" && found.is_some_and(|(at, _)| !page[at..at + 12].contains('='));
        assert!(found.is_none() || is_word, "{never}");
    }
    assert!(page.contains("data, &quot;core&quot; &lt;b&gt;"));
}

/// A thousand people with a cost that grows.
fn long() -> Report {
    let rows: Vec<Vec<Cell>> = (0..1_000_i128)
        .map(|user| {
            vec![
                Cell::Text(format!("user-{user:03}@example.com").into()),
                Cell::Money(PicoUsd(user * 1_003_000_000_001)),
                Cell::Empty,
            ]
        })
        .collect();
    Report {
        tables: vec![Table {
            name: "chargeback",
            columns: vec![
                column("user", Kind::Text, false, ""),
                column("actual_cost_usd", Kind::Money, true, ""),
                column("pulled_at", Kind::Time, false, ""),
            ],
            rows: Box::new(rows),
        }],
        ..sample()
    }
}

#[test]
fn a_long_table_is_shortened_to_the_largest_and_still_adds_up() {
    let page = text(&long(), Form::Html);
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("<tr"))
        .collect();
    assert_eq!(rows.len(), 302, "300 rows, the rest, the total");
    assert!(rows[0].contains("user-700@"), "{}", rows[0]);
    let amounts = rows.iter().map(|row| {
        let cell = row.split("class=\"n\">").nth(1).unwrap();
        let digits: String = cell.chars().take_while(|c| *c != '<').collect();
        digits.replace([',', '.'], "").parse::<i64>().unwrap()
    });
    let amounts: Vec<i64> = amounts.collect();
    let (total, lines) = amounts.split_last().unwrap();
    assert_eq!(lines.iter().sum::<i64>(), *total);
    assert_eq!(*total, 50_099_850);
    assert!(page.contains("700 further rows"));
    assert!(page.contains("No value in this period: pulled at."));
}

#[test]
fn what_all_rows_say_is_told_above_them() {
    let cell = |text: &str| Cell::Text(text.into());
    let rows = vec![
        vec![cell("2026-10"), cell("data"), cell("bedrock")],
        vec![cell("2026-10"), cell("data"), cell("vertex")],
    ];
    let texts = ["period", "team", "provider"];
    let report = Report {
        tables: vec![Table {
            name: "chargeback",
            columns: texts.map(|name| column(name, Kind::Text, false, "")).into(),
            rows: Box::new(rows),
        }],
        ..sample()
    };
    let page = text(&report, Form::Html);
    assert!(page.contains("In all rows: period 2026-10, team data."));
    assert_eq!(page.matches("2026-10<").count(), 0);
    assert_eq!(page.matches("<th scope=\"col\"").count(), 1);
}

#[test]
fn an_empty_report_is_told_in_every_form() {
    let mut report = sample();
    for table in &mut report.tables {
        table.rows = Box::new(Vec::<Vec<Cell>>::new());
    }
    let csv = String::from_utf8(written(&report, Form::Csv, ManifestPlace::Separate)).unwrap();
    assert_eq!(csv.lines().count(), 1);
    assert!(text(&report, Form::Html).contains("Nothing in this period."));
    assert!(text(&report, Form::Json).contains("\"rows\":[]"));
    assert!(!written(&report, Form::Xlsx, ManifestPlace::Leading).is_empty());
}

#[test]
fn more_rows_than_a_sheet_has_are_refused() {
    #[derive(Debug)]
    struct Many;
    impl Rows for Many {
        fn len(&self) -> usize {
            1_100_000
        }
        fn row(&self, _: usize, cells: &mut Vec<Cell>) {
            cells.clear();
        }
    }
    let mut report = sample();
    report.tables[0].rows = Box::new(Many);
    let error = Form::Xlsx.check(&report).unwrap_err().to_string();
    assert_eq!(
        error,
        "format: chargeback has 1100000 rows and a sheet takes 1048571; ask for csv, for a shorter \
         period or for less in group_by"
    );
    assert!(Form::Csv.check(&report).is_ok());
}

proptest! {
    /// Whatever the amounts are, the lines of every form add up to the same total.
    #[test]
    fn all_forms_have_the_same_total(
        amounts in prop::collection::vec(
            prop::option::of(-9_000_000_000_000_000_i128..9_000_000_000_000_000), 1..40),
        decimals in 2_u32..=6,
    ) {
        let rows: Vec<Vec<Cell>> = amounts
            .iter()
            .enumerate()
            .map(|(at, amount)| vec![
                Cell::Text(format!("team {}", at % 7).into()),
                amount.map_or(Cell::Empty, |amount| Cell::Money(PicoUsd(amount))),
            ])
            .collect();
        let mut report = Report {
            tables: vec![Table {
                name: "chargeback",
                columns: vec![
                    column("team", Kind::Text, false, ""),
                    column("actual_cost_usd", Kind::Money, true, ""),
                ],
                rows: Box::new(rows),
            }],
            ..sample()
        };
        report.manifest.request.decimals = decimals;
        let known: Vec<i128> = amounts.iter().copied().flatten().collect();
        let exact = PicoUsd(known.iter().sum());
        let total = exact.to_decimal(decimals);
        let total = if known.is_empty() { String::new() } else { total };
        let stamp = show(&report).unwrap().stamp;
        let control = &stamp.tables[0].control_totals[0];
        prop_assert_eq!(&control.shown, &total);
        if !known.is_empty() {
            prop_assert_eq!(&control.exact, &exact.to_string());
        }

        let csv = String::from_utf8(written(&report, Form::Csv, ManifestPlace::Separate)).unwrap();
        let lines = csv.lines().skip(1).filter_map(|line| PicoUsd::parse(line.split_once(',')?.1).ok());
        let sum = PicoUsd(lines.map(|amount| amount.0).sum());
        if !known.is_empty() {
            prop_assert_eq!(sum.to_decimal(decimals), total.clone());
        }

        let json: serde_json::Value = serde_json::from_str(&text(&report, Form::Json)).unwrap();
        prop_assert_eq!(json["totals"]["actual_cost_usd"].as_str().unwrap_or(""), &total);
        let lines = json["rows"].as_array().unwrap().iter();
        let lines = lines.filter_map(|row| PicoUsd::parse(row["actual_cost_usd"].as_str()?).ok());
        prop_assert_eq!(PicoUsd(lines.map(|amount| amount.0).sum()), sum);

        let page = text(&report, Form::Html).replace([',', '\u{2212}'], "");
        let shown = total.trim_start_matches('-');
        let foot = page.split("<tfoot>").nth(1).unwrap_or("").replace("\u{2212}", "");
        let cell = format!(">{shown}</td>");
        prop_assert!(foot.contains(&cell) || known.is_empty());
    }
}

/// What the detail of cost has: usage with and without a bill, without a price, credit, tax.
pub(super) fn detail() -> Report {
    let day = |day| Cell::Date(jiff::civil::date(2026, 10, day));
    let text = |text: &str| Cell::Text(text.into());
    let money = |pico: i128| Cell::Money(PicoUsd(pico));
    let line = |charge: &str, kind: &str, model: &str, numbers: [Cell; 4]| {
        let mut cells = vec![day(3), text("core"), text("bedrock"), text("111122223333")];
        cells.extend([text(model), text("global"), text(charge), text(kind)]);
        cells.extend(numbers);
        cells
    };
    let (sonnet, empty) = ("claude-sonnet-4-6", Cell::Empty);
    let rows = vec![
        line(
            "Usage",
            "input",
            sonnet,
            [
                Cell::Count(1_000),
                money(3_000_000_000),
                money(2_700_000_000),
                money(2_600_000_001),
            ],
        ),
        line(
            "Usage",
            "output",
            sonnet,
            [Cell::Count(7), money(10), money(9), empty.clone()],
        ),
        line(
            "Usage",
            "input",
            "claude-new",
            [Cell::Count(5), empty.clone(), empty.clone(), empty.clone()],
        ),
        line(
            "Unallocated",
            "input",
            sonnet,
            [empty.clone(), empty.clone(), empty.clone(), money(44)],
        ),
        line(
            "Credit",
            "",
            "",
            [empty.clone(), empty.clone(), empty.clone(), money(-500)],
        ),
        line(
            "Tax",
            "",
            "",
            [empty.clone(), empty.clone(), empty.clone(), money(80)],
        ),
        {
            let cells = [empty.clone(), empty.clone(), empty, money(100)];
            let mut seats = line("Fee", "fixed_cost", "seats", cells);
            (seats[2], seats[3]) = (text("fixed"), text(""));
            seats
        },
    ];
    let texts = [
        "team",
        "provider",
        "account",
        "model",
        "scope",
        "charge",
        "token_type",
    ];
    let texts = texts.map(|name| column(name, Kind::Text, false, ""));
    let mut columns = vec![column("day", Kind::Date, false, "")];
    columns.extend(texts);
    columns.extend([
        column("tokens", Kind::Count, true, ""),
        column("list_cost_usd", Kind::Money, true, ""),
        column("estimated_cost_usd", Kind::Money, true, ""),
        column("actual_cost_usd", Kind::Money, true, ""),
    ]);
    Report {
        name: "cost_detail",
        title: "Cost in detail".to_owned(),
        tables: vec![Table {
            name: "cost_detail",
            columns,
            rows: Box::new(rows),
        }],
        manifest: manifest("cost_detail"),
    }
}

/// `TALLYD_BLESS=1 cargo test` writes the files anew.
#[test]
fn focus_is_that_of_the_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/reports");
    for (place, name) in [
        (ManifestPlace::Separate, "detail.focus.csv"),
        (ManifestPlace::Only, "detail.focus.csv.manifest.json"),
    ] {
        let file = folder.join(name);
        let bytes = written(&detail(), Form::Focus, place);
        if std::env::var_os("TALLYD_BLESS").is_some() {
            std::fs::write(&file, &bytes).unwrap();
        }
        let golden = std::fs::read(&file).unwrap();
        assert!(
            bytes == golden,
            "{}: rewrite with TALLYD_BLESS=1",
            file.display()
        );
    }
}

#[test]
fn focus_adds_up_and_its_prices_explain_its_costs() {
    let bytes = written(&detail(), Form::Focus, ManifestPlace::Separate);
    let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
    let names = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let value = |row: &::csv::StringRecord, name: &str| {
        let place = names.iter().position(|known| known == name).unwrap();
        row[place].to_owned()
    };
    let billed = rows
        .iter()
        .map(|row| PicoUsd::parse(&value(row, "BilledCost")).unwrap().0);
    // What was billed, and the estimate of what was not; the unknown one is left out and told.
    assert_eq!(
        billed.sum::<i128>(),
        2_600_000_001 + 9 + 44 - 500 + 80 + 100
    );
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let is_sold = value(row, "ChargeCategory") == "Usage";
        for (cost, price) in [
            ("ListCost", "ListUnitPrice"),
            ("ContractedCost", "ContractedUnitPrice"),
        ] {
            assert_eq!(value(row, price).is_empty(), !is_sold);
            if !is_sold {
                continue;
            }
            let quantity: f64 = value(row, "PricingQuantity").parse().unwrap();
            let price: f64 = value(row, price).parse().unwrap();
            let cost: f64 = value(row, cost).parse().unwrap();
            assert!(
                (price * quantity - cost).abs() <= cost.abs() * 1e-12,
                "{row:?}"
            );
        }
    }
    let manifest = written(&detail(), Form::Focus, ManifestPlace::Only);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["content_sha256"], sha256(&bytes));
    assert_eq!(manifest["tables"][0]["rows"], 6);
    assert_eq!(
        manifest["tables"][0]["control_totals"][0]["exact"],
        "0.002599999734"
    );
    let notes = manifest["notes"].to_string();
    assert!(
        notes.contains("1 rows with 5 tokens are not in the file"),
        "{notes}"
    );
}
