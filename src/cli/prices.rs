//! `tallyd prices`: the price table, and what it lacks.

mod files;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::table::{Align, table, usd};
use super::{ConfigFile, Remote, block_on};
use crate::cli::out;
use crate::model::label::grouped;

#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// Prints the prices of the built-in table, the configured file and the contract.
    List(List),
    /// Checks a price file, or those that are configured; exits 64 if one cannot be used.
    Check(Check),
    /// Makes a price file of another price list.
    Import(Import),
    /// Tells what was used without a price, and what helps.
    Missing(Missing),
    /// Prices past days anew with the table of today.
    Reprice(Reprice),
    /// Tells what was priced anew, with both figures.
    Adjustments(Adjustments),
}

#[derive(Args, Debug)]
pub struct List {
    /// Only this model.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub model: String,
    /// Only this provider.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub provider: String,
    /// Only what holds on this UTC day; without it: all.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub at: String,
    #[command(flatten)]
    pub config: ConfigFile,
}

#[derive(Args, Debug)]
pub struct Check {
    /// A price file or contract; without it: those that are configured, and the built-in one.
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigFile,
}

#[derive(Args, Debug)]
pub struct Import {
    /// `model_prices_and_context_window.json` of LiteLLM.
    #[arg(long, value_name = "FILE")]
    pub litellm: PathBuf,
    /// The price file to write, in place of the terminal.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    /// Tell each key that is left out, not one for each reason.
    #[arg(long)]
    pub all: bool,
}

/// UTC days.
#[derive(Args, Debug)]
pub struct Days {
    /// A UTC day; without it: 30 days before the end.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub from: String,
    /// Exclusive; without it: tomorrow.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub to: String,
}

#[derive(Args, Debug)]
pub struct Missing {
    #[command(flatten)]
    pub days: Days,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Reprice {
    /// A UTC day.
    #[arg(long)]
    pub from: String,
    /// Exclusive.
    #[arg(long)]
    pub to: String,
    /// Only tell what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// Price closed months anew, too.
    #[arg(long)]
    pub include_closed: bool,
    /// Kept with what changes.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Adjustments {
    #[command(flatten)]
    pub days: Days,
    #[command(flatten)]
    pub remote: Remote,
}

pub(super) fn execute(command: PricesCommand) -> anyhow::Result<()> {
    match command {
        PricesCommand::List(wanted) => files::list(wanted),
        PricesCommand::Check(wanted) => files::check(wanted),
        PricesCommand::Import(wanted) => files::import(&wanted),
        PricesCommand::Missing(wanted) => missing(&wanted),
        PricesCommand::Reprice(wanted) => reprice(&wanted),
        PricesCommand::Adjustments(wanted) => adjustments(&wanted),
    }
}

impl Days {
    pub(super) fn parameters(&self) -> [(&str, &str); 2] {
        [("from", &self.from), ("to", &self.to)]
    }
}

fn missing(wanted: &Missing) -> anyhow::Result<()> {
    let path = "/api/v1/prices/missing";
    let days = wanted.days.parameters();
    let answer: Value = block_on(wanted.remote.get(path, &days))??;
    out::print(missing_text(&answer))?;
    Ok(())
}

fn missing_text(answer: &Value) -> String {
    let lines = list(answer, "missing");
    let days = format!("{} to {}", text(answer, "from"), text(answer, "to"));
    if lines.is_empty() {
        return format!("everything used from {days} has a price\n");
    }
    let mut shown = format!(
        "used without a price from {days}; price table {}\n",
        text(answer, "price_table_version")
    );
    for line in lines {
        let kinds: Vec<&str> = list(line, "kinds")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let names: Vec<&str> = list(line, "raw_models")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let _ = write!(
            shown,
            "\n{} {} {}, tier {}, context {}: {} tokens in {} requests, {} to {}\n  reported as {}\n",
            text(line, "provider"),
            text(line, "scope"),
            text(line, "model"),
            text(line, "tier"),
            text(line, "context"),
            grouped(number(line, "tokens")),
            grouped(number(line, "requests")),
            text(line, "first_seen"),
            text(line, "last_seen"),
            names.join(", "),
        );
        if !kinds.is_empty() {
            let _ = writeln!(shown, "  no price for {}", kinds.join(", "));
        }
        let _ = writeln!(shown, "  {}", text(line, "mend"));
    }
    shown
}

fn reprice(wanted: &Reprice) -> anyhow::Result<()> {
    let body = json!({
        "from": wanted.from, "to": wanted.to, "dry_run": wanted.dry_run,
        "include_closed": wanted.include_closed, "reason": wanted.reason,
    });
    let asked = wanted.remote.post("/api/v1/prices/reprice", &body);
    let answer: Value = block_on(asked)??;
    out::print(reprice_text(&answer))?;
    Ok(())
}

const MONEY: [(&str, Align); 5] = [
    ("changed", Align::Right),
    ("old USD", Align::Right),
    ("new USD", Align::Right),
    ("old unpriced", Align::Right),
    ("new unpriced", Align::Right),
];

fn money(line: &Value) -> [String; 5] {
    [
        grouped(number(line, "changed")),
        usd(text(line, "old_cost_usd")),
        usd(text(line, "new_cost_usd")),
        grouped(number(line, "old_unpriced_tokens")),
        grouped(number(line, "new_unpriced_tokens")),
    ]
}

fn reprice_text(answer: &Value) -> String {
    let lines = list(answer, "lines");
    let mut shown = String::new();
    if lines.is_empty() {
        shown += "nothing changes\n";
    } else {
        let names = ["day", "provider", "model"];
        let mut columns: Vec<(&str, Align)> = names.map(|name| (name, Align::Left)).to_vec();
        columns.extend(MONEY);
        let mut rows: Vec<Vec<String>> = lines
            .iter()
            .map(|line| {
                let names = names.map(|name| text(line, name).to_owned());
                [names.as_slice(), &money(line)].concat()
            })
            .collect();
        let total = ["total", "", ""].map(str::to_owned);
        rows.push([total.as_slice(), &money(answer)].concat());
        shown += &table(&columns, &rows, 1);
        shown += match answer["run"].as_i64() {
            Some(run) => format!("\nrun {run}"),
            None => "\na dry run, nothing was changed".to_owned(),
        }
        .as_str();
        let _ = writeln!(
            shown,
            "; price table {}",
            text(answer, "price_table_version")
        );
    }
    let left = number(answer, "left_tokens");
    if left > 0 {
        let _ = writeln!(
            shown,
            "{} tokens of old days stay as they are: not all of their kinds have a price",
            grouped(left)
        );
    }
    let closed = list(answer, "closed_days").len();
    if closed > 0 {
        let _ = writeln!(
            shown,
            "{closed} days lie in closed months and were passed over; --include-closed prices \
             them too"
        );
    }
    shown
}

fn adjustments(wanted: &Adjustments) -> anyhow::Result<()> {
    let path = "/api/v1/prices/adjustments";
    let days = wanted.days.parameters();
    let answer: Value = block_on(wanted.remote.get(path, &days))??;
    let names = ["run", "day", "user", "provider", "model", "reason"];
    let mut columns: Vec<(&str, Align)> = names.map(|name| (name, Align::Left)).to_vec();
    columns.extend(&MONEY[1..]);
    let rows: Vec<Vec<String>> = list(&answer, "adjustments")
        .iter()
        .map(|line| {
            let names = names.map(|name| match &line[name] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            [names.as_slice(), &money(line)[1..]].concat()
        })
        .collect();
    out::print(table(&columns, &rows, 0))?;
    Ok(())
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_helps() {
        let answer = json!({"from": "2026-11-01", "to": "2026-11-23",
            "price_table_version": "litellm-1.109.1", "missing": [{
                "provider": "bedrock", "model": "claude-next", "scope": "us", "tier": "standard",
                "context": "up_to_100k", "raw_models": ["us.anthropic.claude-next"],
                "requests": 3, "tokens": 12_345, "kinds": ["input", "output"],
                "first_seen": "2026-11-20", "last_seen": "2026-11-22", "mend": "add a row"}]});
        assert_eq!(
            missing_text(&answer),
            "used without a price from 2026-11-01 to 2026-11-23; price table litellm-1.109.1\n\n\
             bedrock us claude-next, tier standard, context up_to_100k: 12,345 tokens in 3 \
             requests, 2026-11-20 to 2026-11-22\n  reported as us.anthropic.claude-next\n  \
             no price for input, output\n  add a row\n"
        );
        let none = json!({"from": "2026-11-01", "to": "2026-11-23", "missing": []});
        assert_eq!(
            missing_text(&none),
            "everything used from 2026-11-01 to 2026-11-23 has a price\n"
        );
    }

    #[test]
    fn a_run_is_told_with_both_figures() {
        let line = json!({"day": "2026-11-20", "provider": "bedrock", "model": "claude-next",
            "changed": 1, "old_cost_usd": "0", "new_cost_usd": "1.5",
            "old_unpriced_tokens": 1_000, "new_unpriced_tokens": 0});
        let mut answer = line.clone();
        answer["lines"] = json!([line]);
        answer["run"] = json!(7);
        answer["price_table_version"] = json!("ours 2");
        answer["closed_days"] = json!(["2026-10-31"]);
        answer["left_tokens"] = json!(5);
        let shown = reprice_text(&answer);
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let figures = ["1", "0.00", "1.50", "1,000", "0"];
        assert_eq!(
            lines[2],
            [&["2026-11-20", "bedrock", "claude-next"], &figures[..]].concat()
        );
        assert_eq!(lines[4], [&["total"], &figures[..]].concat());
        assert!(shown.ends_with(
            "run 7; price table ours 2\n5 tokens of old days stay as they are: not all of their \
             kinds have a price\n1 days lie in closed months and were passed over; \
             --include-closed prices them too\n"
        ));
        let nothing = json!({"lines": [], "run": null});
        assert_eq!(reprice_text(&nothing), "nothing changes\n");
    }
}
