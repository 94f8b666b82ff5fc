//! `tallyd usage`: usage and cost as a table, CSV or JSON.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::table::{Align, table, usd};
use super::{Remote, block_on};
use crate::cli::out;
use crate::model::label::grouped;

/// A question to a running daemon.
#[derive(Args, Debug)]
pub struct Usage {
    /// user, team, project, `cost_center`, provider, model, `token_type`, month, day, hour; separated
    /// by commas.
    #[arg(long, default_value = "user")]
    pub group_by: String,
    /// A date or an RFC 3339 time; without --from and --to: today.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub from: String,
    /// Exclusive.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub to: String,
    /// IANA zone of dates, days and hours; without it: the daemon's.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub timezone: String,
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
}

/// A column of figures: its header in tables, its name in CSV, its place in a row of the answer.
type Figure = (&'static str, &'static str, &'static [&'static str]);

const REQUESTS: [Figure; 2] = [
    ("requests", "requests", &["/requests"]),
    ("errors", "errors", &["/errors"]),
];
const KINDS: [Figure; 5] = [
    ("input", "input_tokens", &["/tokens/input"]),
    ("output", "output_tokens", &["/tokens/output"]),
    ("cache read", "cache_read_tokens", &["/tokens/cache_read"]),
    (
        "cache write",
        "cache_write_tokens",
        &[
            "/tokens/cache_write_5m",
            "/tokens/cache_write_1h",
            "/tokens/cache_write_unknown",
        ],
    ),
    ("tokens", "tokens", &["/tokens/total"]),
];
/// Grouped by kind, a row has one number; the totals still have all kinds. A request is in
/// several rows then, so its other figures stand in the totals only: rows can be added up.
const SUM: [Figure; 1] = [("tokens", "tokens", &["/tokens", "/tokens/total"])];
const UNPRICED: Figure = ("unpriced", "unpriced_tokens", &["/unpriced_tokens"]);

pub(super) fn execute(wanted: &Usage) -> anyhow::Result<()> {
    let parameters = [
        ("group_by", wanted.group_by.as_str()),
        ("from", &wanted.from),
        ("to", &wanted.to),
        ("timezone", &wanted.timezone),
    ];
    let answer: Value = block_on(wanted.remote.get("/api/v1/usage", &parameters))??;
    out::print(written(&answer, wanted.format)?)?;
    Ok(())
}

fn written(answer: &Value, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Table => Ok(as_table(answer)),
        Format::Json => Ok(format!("{answer:#}\n")),
        Format::Csv => as_csv(answer),
    }
}

fn list<'v>(answer: &'v Value, name: &str) -> &'v [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

fn keys(answer: &Value) -> Vec<&str> {
    let names = list(answer, "group_by");
    names.iter().filter_map(Value::as_str).collect()
}

fn figures(keys: &[&str]) -> Vec<Figure> {
    let tokens: &[Figure] = if keys.contains(&"token_type") {
        &SUM
    } else {
        &KINDS
    };
    [&REQUESTS, tokens].concat()
}

fn sum(row: &Value, figure: Figure) -> u64 {
    let (_, _, places) = figure;
    let numbers = places
        .iter()
        .filter_map(|place| row.pointer(place)?.as_u64());
    numbers.fold(0, u64::saturating_add)
}

/// Empties what is told in several rows where rows are of one kind of token: all but the tokens.
fn addable(mut cells: Vec<String>, keys: &[&str]) -> Vec<String> {
    if keys.contains(&"token_type") {
        let tokens = keys.len() + REQUESTS.len();
        for (index, cell) in cells.iter_mut().enumerate().skip(keys.len()) {
            if index != tokens {
                cell.clear();
            }
        }
    }
    cells
}

fn as_table(answer: &Value) -> String {
    let keys = keys(answer);
    let figures = figures(&keys);
    let totals = &answer["totals"];
    let unpriced = sum(totals, UNPRICED) > 0;
    let mut columns: Vec<(&str, Align)> = keys.iter().map(|key| (*key, Align::Left)).collect();
    columns.extend(figures.iter().map(|(header, ..)| (*header, Align::Right)));
    columns.push(("USD", Align::Right));
    if unpriced {
        columns.push((UNPRICED.0, Align::Right));
    }
    let line = |row: &Value, mut cells: Vec<String>| {
        cells.extend(figures.iter().map(|figure| grouped(sum(row, *figure))));
        cells.push(row["cost_usd"].as_str().map_or("?".to_owned(), usd));
        if unpriced {
            cells.push(grouped(sum(row, UNPRICED)));
        }
        cells
    };
    let named = |row: &Value| {
        let names = keys.iter().map(|key| row[key].as_str().unwrap_or("-"));
        names.map(str::to_owned).collect()
    };
    let rows = list(answer, "rows");
    let mut lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| addable(line(row, named(row)), &keys))
        .collect();
    let mut total = vec![String::new(); keys.len()];
    if let Some(first) = total.first_mut() {
        "total".clone_into(first);
    }
    lines.push(line(totals, total));
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    format!(
        "{} to {} ({}); cost is tallyd's estimate\n\n{}",
        text("from"),
        text("to"),
        text("timezone"),
        table(&columns, &lines, 1)
    )
}

fn as_csv(answer: &Value) -> anyhow::Result<String> {
    let keys = keys(answer);
    let mut figures = figures(&keys);
    figures.push(UNPRICED);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = figures.iter().map(|(_, name, _)| *name);
    writer.write_record(keys.iter().copied().chain(names).chain(["cost_usd"]))?;
    for row in list(answer, "rows") {
        let own = keys.iter().map(|key| row[key].as_str().unwrap_or_default());
        let mut cells: Vec<String> = own.map(str::to_owned).collect();
        cells.extend(figures.iter().map(|figure| sum(row, *figure).to_string()));
        cells.push(row["cost_usd"].as_str().unwrap_or_default().to_owned());
        writer.write_record(addable(cells, &keys))?;
    }
    let bytes = writer.into_inner().context("cannot write CSV")?;
    String::from_utf8(bytes).context("cannot write CSV")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figures_of(input: u64, cost: Option<&str>, unpriced: u64) -> Value {
        json!({"requests": 1_500, "errors": 2, "cost_usd": cost, "unpriced_tokens": unpriced,
            "tokens": {"input": input, "output": 84, "cache_read": 11_200, "cache_write_5m": 600,
                "cache_write_1h": 30, "cache_write_unknown": 50, "total": 12_000 + input}})
    }

    fn row(team: Option<&str>, mut figures: Value) -> Value {
        figures["team"] = json!(team);
        figures
    }

    fn answer() -> Value {
        json!({"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z", "timezone": "UTC",
            "group_by": ["team"],
            "rows": [row(Some("pay, ments"), figures_of(2_403, Some("1234.567"), 0)),
                row(None, figures_of(1, None, 12_001))],
            "totals": figures_of(2_404, Some("1234.567"), 12_001)})
    }

    #[test]
    fn a_table_has_totals_and_shows_what_is_not_priced() {
        let rule = "-".repeat(96);
        let expected = format!(
            "\
2026-11-22T00:00:00Z to 2026-11-23T00:00:00Z (UTC); cost is tallyd's estimate

team        requests  errors  input  output  cache read  cache write  tokens       USD  unpriced
{rule}
pay, ments     1,500       2  2,403      84      11,200          680  14,403  1,234.57         0
-              1,500       2      1      84      11,200          680  12,001         ?    12,001
{rule}
total          1,500       2  2,404      84      11,200          680  14,404  1,234.57    12,001
"
        );
        assert_eq!(written(&answer(), Format::Table).unwrap(), expected);
    }

    #[test]
    fn csv_is_exact() {
        assert_eq!(
            written(&answer(), Format::Csv).unwrap(),
            "team,requests,errors,input_tokens,output_tokens,cache_read_tokens,cache_write_tokens,\
             tokens,unpriced_tokens,cost_usd\n\
             \"pay, ments\",1500,2,2403,84,11200,680,14403,0,1234.567\n\
             ,1500,2,1,84,11200,680,12001,12001,\n"
        );
    }

    #[test]
    fn a_row_of_one_kind_has_one_number() {
        let row = json!({"token_type": "input", "requests": 2, "errors": 0, "tokens": 7,
            "cost_usd": "0.000035", "unpriced_tokens": 0});
        let answer = json!({"from": "a", "to": "b", "timezone": "UTC", "group_by": ["token_type"],
            "rows": [row], "totals": figures_of(7, Some("0.000035"), 0)});
        let csv = written(&answer, Format::Csv).unwrap();
        assert!(csv.ends_with("cost_usd\ninput,,,7,,\n"), "{csv}");
        let text = written(&answer, Format::Table).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[4], ["input", "7"]);
        assert_eq!(lines[6], ["total", "1,500", "2", "12,007", "0.000035"]);
    }
}
