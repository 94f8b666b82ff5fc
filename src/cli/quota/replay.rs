//! `tallyd quota simulate` and `tallyd verify`: what the ledger says of limits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::balance::Amount;
use crate::cli::out;
use crate::cli::table::{Align, table};
use crate::cli::{Remote, block_on};

/// A policy and a range.
#[derive(Args, Debug)]
pub struct Simulate {
    /// The policy file to try.
    #[arg(long)]
    pub policy: PathBuf,
    /// A date or an RFC 3339 time; without --from and --to: today.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub from: String,
    /// Exclusive.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub to: String,
    #[command(flatten)]
    pub remote: Remote,
}

/// A daemon.
#[derive(Args, Debug)]
pub struct Verify {
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Simulated {
    stopped: Vec<Stopped>,
    refused: Vec<Refused>,
    complete: bool,
}

#[derive(Debug, Deserialize)]
struct Stopped {
    limit: String,
    scope: BTreeMap<String, String>,
    unit: String,
    at: Timestamp,
    bound: Amount,
    used: Amount,
}

#[derive(Debug, Deserialize)]
struct Refused {
    user: String,
    code: String,
    requests: i64,
}

pub(super) fn simulate(wanted: &Simulate) -> anyhow::Result<()> {
    let file = &wanted.policy;
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("--policy: cannot read {}", file.display()))?;
    let parameters = [("from", wanted.from.as_str()), ("to", &wanted.to)];
    let path = "/api/v1/quota/simulate";
    let asked = wanted
        .remote
        .post_text(path, &parameters, "application/toml", text);
    let simulated: Simulated = block_on(asked)??;
    out::print(written(&simulated, &TimeZone::system()))?;
    Ok(())
}

fn written(simulated: &Simulated, zone: &TimeZone) -> String {
    if simulated.stopped.is_empty() && simulated.refused.is_empty() {
        return "The policy would have stopped nobody.\n".to_owned();
    }
    let mut text = String::new();
    if !simulated.stopped.is_empty() {
        let columns = [
            ("limit", Align::Left),
            ("subject", Align::Left),
            ("full at", Align::Left),
            ("used", Align::Right),
            ("of", Align::Right),
            ("unit", Align::Left),
        ];
        let rows = simulated.stopped.iter().map(|one| {
            let subject: Vec<_> = one.scope.values().map(String::as_str).collect();
            let at = one.at.to_zoned(zone.clone());
            vec![
                one.limit.clone(),
                subject.join(", "),
                at.strftime("%Y-%m-%d %H:%M").to_string(),
                one.used.text(),
                one.bound.text(),
                one.unit.replace('_', " "),
            ]
        });
        text += &table(&columns, &rows.collect::<Vec<_>>(), 0);
    }
    for one in &simulated.refused {
        let (user, requests, code) = (&one.user, one.requests, &one.code);
        // A text takes all that is written to it.
        let _ = writeln!(text, "{user}: {requests} requests refused, {code}");
    }
    if !simulated.complete {
        text += "There were more than can be shown.\n";
    }
    text
}

#[derive(Debug, Deserialize)]
struct Verified {
    compared: usize,
    differences: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
struct Difference {
    limit: String,
    scope: BTreeMap<String, String>,
    unit: String,
    live: Amount,
    ledger: Amount,
}

/// Fails if a counter differs.
pub(in crate::cli) fn verify(wanted: &Verify) -> anyhow::Result<()> {
    let verified: Verified = block_on(wanted.remote.get("/api/v1/quota/verify", &[]))??;
    let Verified {
        compared,
        differences,
    } = verified;
    for one in &differences {
        let subject: Vec<_> = one.scope.values().map(String::as_str).collect();
        let (live, ledger) = (one.live.text(), one.ledger.text());
        let unit = one.unit.replace('_', " ");
        let (limit, subject) = (&one.limit, subject.join(", "));
        out::println(format_args!(
            "{limit} {subject}: {live} live, {ledger} in the ledger ({unit})"
        ))?;
    }
    if !differences.is_empty() {
        bail!("{} of {compared} counters differ", differences.len());
    }
    out::println(format_args!(
        "All {compared} counters are as the ledger says."
    ))?;
    Ok(())
}
