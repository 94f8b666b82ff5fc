//! Reports in the hands of others: openpyxl, Python's csv, Chromium, the `FinOps` Foundation's
//! validator.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::tests::{detail, sample, written};
use super::*;

/// A program of the environment that `scripts/test.sh` makes.
fn peer(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("target/peers/focus/bin").join(name)
}

/// What a program says; it has to succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// A report as Python reads it.
fn read(folder: &Path, report: &Report, form: Form) -> Value {
    let file = folder.join(format!("report.{}", form.extension()));
    std::fs::write(&file, written(report, form, ManifestPlace::Leading)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/read_report.py");
    let text = said(Command::new(peer("python")).arg(script).arg(&file));
    serde_json::from_str(&text).unwrap()
}

#[test]
#[ignore = "needs openpyxl"]
fn another_reader_finds_numbers_dates_and_totals_in_a_workbook() {
    let folder = tempfile::tempdir().unwrap();
    let sheets = read(folder.path(), &sample(), Form::Xlsx);
    let names: Vec<&Value> = sheets
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["Chargeback", "Data", "Unpriced models", "Manifest"]);
    let (shown, data) = (&sheets[0], &sheets[1]);
    assert_eq!(
        data["rows"][0],
        json!([
            "day",
            "team",
            "tokens",
            "estimated_cost_usd",
            "actual_cost_usd",
            "unit_price_usd",
            "share",
            "hours",
            "pulled_at"
        ])
    );
    assert_eq!(
        data["rows"][2],
        json!([
            "2026-10-01T00:00:00",
            "=1+1",
            2_000_006,
            2.47,
            2.47,
            3.000_002,
            -0.123_456,
            1.5,
            "2026-10-25T02:30:00"
        ]),
        "a text that looks like a formula is a text"
    );
    assert_eq!(
        data["rows"].as_array().unwrap().len(),
        17,
        "no total among the data"
    );
    assert_eq!((&data["formulas"], &data["links"]), (&json!([]), &json!(0)));
    assert_eq!(
        (&data["frozen"], &data["filter"]),
        (&json!("A2"), &json!("A1:I17"))
    );
    assert_eq!(
        (&shown["frozen"], &shown["filter"]),
        (&json!("A5"), &json!("A4:I20"))
    );
    let total = &shown["rows"][20];
    assert_eq!(
        (&total[0], &total[2], &total[3], &total[4]),
        (
            &json!("Total"),
            &json!(24_000_072),
            &json!(123.46),
            &json!(67.02)
        )
    );
    let formulas: Vec<&Value> = shown["formulas"].as_array().unwrap().iter().collect();
    assert_eq!(
        formulas,
        [
            &json!(["C21", "=SUBTOTAL(109,C5:C20)"]),
            &json!(["D21", "=SUBTOTAL(109,D5:D20)"]),
            &json!(["E21", "=SUBTOTAL(109,E5:E20)"]),
        ]
    );
    let manifest = sheets[3]["rows"].as_array().unwrap();
    let stamp = show(&sample()).unwrap().stamp;
    for (name, value) in stamp.fields() {
        assert!(
            manifest.iter().any(|row| row[0] == name && row[1] == value),
            "{name}"
        );
    }
}

#[test]
#[ignore = "needs openpyxl"]
fn another_reader_finds_the_same_in_csv_and_in_the_workbook() {
    let folder = tempfile::tempdir().unwrap();
    let lines = read(folder.path(), &sample(), Form::Csv);
    let sheets = read(folder.path(), &sample(), Form::Xlsx);
    let lines = lines.as_array().unwrap();
    let rows = &sheets[1]["rows"].as_array().unwrap()[1..];
    assert_eq!(lines.len(), rows.len());
    for (line, row) in lines.iter().zip(rows) {
        for (place, name) in [(3, "estimated_cost_usd"), (4, "actual_cost_usd")] {
            let text: f64 = line[name].as_str().unwrap().parse().unwrap();
            assert_eq!(Some(text), row[place].as_f64(), "{name}");
        }
        let team = line["team"].as_str().unwrap();
        assert_eq!(team.strip_prefix('\'').unwrap_or(team), row[1]);
    }
}

#[test]
#[ignore = "needs Chromium"]
fn a_browser_shows_the_page_and_its_chart_without_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    std::fs::write(
        &file,
        written(&sample(), Form::Html, ManifestPlace::Leading),
    )
    .unwrap();
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
    ]);
    chromium.arg(format!(
        "--user-data-dir={}",
        folder.path().join("profile").display()
    ));
    chromium
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()));
    let said = said(&mut chromium);
    // Chromium itself says much; what it says of the page is marked so.
    assert!(!said.contains(":CONSOLE"), "{said}");
    let bars = said.matches("<rect class=\"f").count();
    assert!(bars >= 16 + 4, "{bars} bars");
    assert!(said.contains("<td class=\"n\">67.02</td>"));
    assert!(said.contains("data, \"core\" &lt;b&gt;"));
}

/// With an invoice's number `InvoiceId-C-004-C` fails, without one this: no file can pass both.
const SELF_CONTRADICTING: [&str; 1] = ["InvoiceId-C-005-C"];

const APPLICABLE: &str = "PUBLIC_PRICE_LIST_SUPPORTED,UNIT_PRICING_SUPPORTED,\
    USAGE_MEASUREMENT_SUPPORTED,SUB_ACCOUNT_SUPPORTED,REGION_SUPPORTED,TAGGING_SUPPORTED,\
    NEGOTIATED_PRICING_SUPPORTED,MULTIPLE_PRICING_CATEGORIES_SUPPORTED,ACCOUNT_NAMING_SUPPORTED";

#[test]
#[ignore = "needs the FOCUS validator"]
fn the_validator_finds_no_fault_in_focus() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("detail.csv");
    std::fs::write(
        &file,
        written(&detail(), Form::Focus, ManifestPlace::Leading),
    )
    .unwrap();
    // It reads a file of its own by a path that is relative to where it is installed.
    let place = said(Command::new(peer("python")).args([
        "-c",
        "import focus_validator, pathlib; print(pathlib.Path(focus_validator.__file__).parent.parent)",
    ]));
    let mut validator = Command::new(peer("focus-validator"));
    validator
        .current_dir(place.trim())
        .arg("--data-file")
        .arg(&file);
    validator.args(["--validate-version", "1.2.0.1", "--block-download"]);
    let said = said(validator.args(["--applicability-criteria", APPLICABLE]));
    // Its exit code is 0 whatever it finds.
    let failed: Vec<&str> = said.lines().filter(|line| line.contains("FAIL")).collect();
    let passed = said.lines().filter(|line| line.contains("PASS")).count();
    let unexpected: Vec<&&str> = failed
        .iter()
        .filter(|line| !SELF_CONTRADICTING.iter().any(|rule| line.contains(rule)))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}\n{said}");
    assert!(passed > 200, "it checked only {passed} rules\n{said}");
}
