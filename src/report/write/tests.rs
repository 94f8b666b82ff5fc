//! All forms of one report.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::manifest::Stamp;
use super::rounding::{self, Rounding};
use super::*;
use crate::model::bill::{Basis, Standing};
use crate::model::money::PicoUsd;
use crate::report::{Cell, Column, Kind, Manifest, Report, Request, Table};

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
fn sample() -> Report {
    let teams = ["platform", "=1+1", "data, \"core\" <b>", "credits"];
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for day in 1_i8..=4 {
        for (number, team) in (1_i128..).zip(teams) {
            let cost = number * 1_234_567_890_123 * i128::from(day);
            let credit = team == "credits";
            rows.push(vec![
                Cell::Date(jiff::civil::date(2026, 10, day)),
                Cell::Text((*team).into()),
                if credit { Cell::Empty } else { Cell::Count(number * 1_000_003) },
                Cell::Money(PicoUsd(cost)),
                if credit { Cell::Money(PicoUsd(-cost / 7)) } else { Cell::Money(PicoUsd(cost + 5)) },
                Cell::UnitPrice(PicoUsd(3_000_000 + number)),
                if credit { Cell::Empty } else { Cell::Ratio(-123_456) },
                Cell::Decimal(1_500),
                Cell::Time(at("2026-10-25T00:30:00Z")),
            ]);
        }
    }
    let columns = vec![
        column("day", Kind::Date, false, "Day in the zone."),
        column("team", Kind::Text, false, "Team of the directory."),
        column("tokens", Kind::Count, true, "Tokens of all kinds."),
        column("estimated_cost_usd", Kind::Money, true, "At the price table."),
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

fn stamped(report: &Report) -> (Vec<Rounding>, Stamp) {
    let roundings = rounding::of_report(report).unwrap();
    let stamp = Stamp::new(report, &roundings, "cd".repeat(32));
    (roundings, stamp)
}

#[test]
fn samples_to_look_at() {
    let report = sample();
    let (roundings, stamp) = stamped(&report);
    let mut page = Vec::new();
    html::write(&report, &roundings, &stamp, &mut page).unwrap();
    let folder = std::env::var("LOOK").unwrap();
    std::fs::write(format!("{folder}/a.html"), page).unwrap();
    let mut book = std::io::Cursor::new(Vec::new());
    xlsx::write(&report, &roundings, &stamp, &mut book).unwrap();
    std::fs::write(format!("{folder}/a.xlsx"), book.into_inner()).unwrap();
}
