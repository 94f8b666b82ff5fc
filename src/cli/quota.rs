//! `tallyd quota`: how limits stand, and corrections.

mod adjustments;
mod balance;
mod replay;
mod reservations;
mod statusline;

use std::collections::BTreeMap;

use anyhow::bail;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::crypto::aws_lc_rs;
use serde::Deserialize;
use serde_json::{Value, json};

use super::table::{Align, table};
use super::{Remote, block_on};
use crate::cli::out;
use crate::clock::Clock;
use adjustments::Adjustments;
use balance::{Balances, bar};
use replay::Simulate;
pub use replay::Verify;
pub(super) use replay::verify;
use reservations::Reservations;
pub use statusline::StatusLine;
pub(super) use statusline::print as statusline;

#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Shows how the limits of a person stand.
    Show(Show),
    /// Shows the fullest limits of all.
    Top(Top),
    /// Lists what calls in work hold.
    Reservations(Reservations),
    /// Gives somebody more in the window that is open now.
    Raise(Raise),
    /// Corrects what a limit counted in the window that is open now.
    Adjust(Adjust),
    /// Lists what was corrected.
    Adjustments(Adjustments),
    /// Tries a policy on what was used, and lists who would have been stopped.
    Simulate(Simulate),
}

#[derive(Args, Debug)]
pub struct Show {
    /// The person or service.
    #[arg(env = "TALLYD_USER")]
    pub user: String,
    /// For limits of one model.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub model: String,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Top {
    /// Rows at most.
    #[arg(long, default_value_t = 20)]
    pub rows: usize,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Raise {
    /// The person or service.
    pub user: String,
    /// The name of the limit.
    #[arg(long)]
    pub limit: String,
    /// How much more, in the limit's unit.
    #[arg(long)]
    pub by: String,
    #[arg(long)]
    pub reason: String,
    /// Sent again under the same id it counts once; without one, each call counts.
    #[arg(long)]
    pub id: Option<String>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Adjust {
    /// The name of the limit.
    pub limit: String,
    /// FIELD=VALUE for each field by which the limit counts.
    #[arg(long = "scope")]
    pub scope: Vec<String>,
    /// In the limit's unit; what is positive is used up, what is negative is given back.
    #[arg(long, allow_hyphen_values = true)]
    pub amount: String,
    #[arg(long)]
    pub reason: String,
    /// Sent again under the same id it counts once; without one, each call counts.
    #[arg(long)]
    pub id: Option<String>,
    #[command(flatten)]
    pub remote: Remote,
}

pub(super) fn execute(command: QuotaCommand) -> anyhow::Result<()> {
    match command {
        QuotaCommand::Show(wanted) => show(&wanted),
        QuotaCommand::Top(wanted) => top(&wanted),
        QuotaCommand::Reservations(wanted) => reservations::print(&wanted),
        QuotaCommand::Raise(wanted) => raise(&wanted),
        QuotaCommand::Adjust(wanted) => adjust(&wanted),
        QuotaCommand::Adjustments(wanted) => adjustments::print(&wanted),
        QuotaCommand::Simulate(wanted) => replay::simulate(&wanted),
    }
}

const BALANCES: &str = "/api/v1/quota/balances";

fn show(wanted: &Show) -> anyhow::Result<()> {
    let parameters = [
        ("user", wanted.user.as_str()),
        ("model", wanted.model.as_str()),
    ];
    let answer: Balances = block_on(wanted.remote.get(BALANCES, &parameters))??;
    if answer.limits.is_empty() {
        out::println(format_args!("No limit concerns {}.", wanted.user))?;
    }
    print_lines(&answer.limits)
}

fn top(wanted: &Top) -> anyhow::Result<()> {
    let answer: Balances = block_on(wanted.remote.get(BALANCES, &[]))??;
    let (zone, now) = (TimeZone::system(), Clock::System.now());
    out::print(top_table(&answer, wanted.rows, &zone, now))?;
    Ok(())
}

fn top_table(answer: &Balances, most: usize, zone: &TimeZone, now: Timestamp) -> String {
    let columns = [
        ("limit", Align::Left),
        ("subject", Align::Left),
        ("", Align::Left),
        ("used", Align::Right),
        ("reserved", Align::Right),
        ("of", Align::Right),
        ("unit", Align::Left),
        ("resets", Align::Left),
    ];
    let rows = answer.limits.iter().take(most).map(|standing| {
        let subject: Vec<_> = standing.scope.values().map(String::as_str).collect();
        vec![
            standing.name.clone(),
            subject.join(", "),
            standing.percent().map_or_else(String::new, bar),
            standing.used.text(),
            standing.reserved.text(),
            standing.bound_text(),
            standing.unit_text(),
            standing.resets(zone, now),
        ]
    });
    let rows: Vec<_> = rows.collect();
    table(&columns, &rows, 0)
}

/// What a correction answers.
#[derive(Debug, Deserialize)]
struct Corrected {
    id: String,
    replayed: bool,
    limits: Vec<balance::Standing>,
}

fn raise(wanted: &Raise) -> anyhow::Result<()> {
    let by = amount(&wanted.by)?;
    let negative = match by {
        Value::Number(number) => json!(-number.as_i64().unwrap_or(0)),
        text => json!(format!("-{}", text.as_str().unwrap_or_default())),
    };
    let scope = BTreeMap::from([("user", wanted.user.as_str())]);
    let body = json!({
        "id": id(wanted.id.as_deref())?, "limit": wanted.limit, "scope": scope,
        "amount": negative, "reason": wanted.reason,
    });
    correct(&wanted.remote, &body)
}

fn adjust(wanted: &Adjust) -> anyhow::Result<()> {
    let mut scope = BTreeMap::new();
    for pair in &wanted.scope {
        let Some((field, value)) = pair.split_once('=') else {
            bail!("--scope: must be FIELD=VALUE such as user=ada@example.com, got {pair:?}");
        };
        scope.insert(field, value);
    }
    let body = json!({
        "id": id(wanted.id.as_deref())?, "limit": wanted.limit, "scope": scope,
        "amount": amount(&wanted.amount)?, "reason": wanted.reason,
    });
    correct(&wanted.remote, &body)
}

fn correct(remote: &Remote, body: &Value) -> anyhow::Result<()> {
    let path = "/api/v1/quota/adjustments";
    let done: Corrected = block_on(remote.post(path, body))??;
    let how = if done.replayed {
        "was kept before as"
    } else {
        "is kept as"
    };
    out::println(format_args!("The correction {how} {}.", done.id))?;
    print_lines(&done.limits)
}

fn print_lines(limits: &[balance::Standing]) -> anyhow::Result<()> {
    let (zone, now) = (TimeZone::system(), Clock::System.now());
    for standing in limits {
        out::println(standing.line(&zone, now))?;
    }
    Ok(())
}

/// A whole number, or USD as text.
fn amount(text: &str) -> anyhow::Result<Value> {
    let plain = text.replace(['_', ','], "");
    if let Ok(whole) = plain.parse::<i64>() {
        return Ok(json!(whole));
    }
    let is_decimal = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    if plain.is_empty() || !plain.chars().all(is_decimal) {
        bail!("must be an amount such as 20000 or 12.50, got {text:?}");
    }
    Ok(json!(plain))
}

/// The id that was given, or one that nobody has.
fn id(given: Option<&str>) -> anyhow::Result<String> {
    if let Some(id) = given {
        return Ok(id.to_owned());
    }
    let mut bytes = [0; 16];
    let source = aws_lc_rs::default_provider().secure_random;
    let filled = source.fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(format!("cli-{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_whole_or_decimal() {
        assert_eq!(amount("20_000").unwrap(), json!(20_000));
        assert_eq!(amount("-12.50").unwrap(), json!("-12.50"));
        assert!(amount("many").is_err());
    }

    #[test]
    fn the_fullest_are_a_table() {
        let answer = balance::sample();
        let table = top_table(&answer, 1, &TimeZone::UTC, balance::NOON);
        assert_eq!(
            table,
            "limit               subject                          used  reserved      of  unit             resets\n\
             --------------------------------------------------------------------------------------------------------------\n\
             role-developer-day  ada@example.com  [######----]  31,000         0  50,000  weighted tokens  2026-11-22 15:00\n"
        );
    }
}
