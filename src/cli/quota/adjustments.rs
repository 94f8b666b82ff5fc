//! `tallyd quota adjustments`: what was corrected by hand.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::cli::out;
use crate::cli::table::{Align, table};
use crate::cli::{Remote, block_on};

/// Corrections of a range.
#[derive(Args, Debug)]
pub struct Adjustments {
    /// A time or date; without it: 30 days before the end.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub from: String,
    /// Exclusive; without it: now.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub to: String,
    /// Rows at most, the newest; without it: 100.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub rows: String,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Answer {
    adjustments: Vec<Made>,
    total: usize,
}

#[derive(Debug, Deserialize)]
struct Made {
    id: String,
    at: Timestamp,
    limit: String,
    unit: String,
    scope: BTreeMap<String, String>,
    amount: String,
    reason: String,
    created_by: String,
}

pub(super) fn print(wanted: &Adjustments) -> anyhow::Result<()> {
    let parameters = [
        ("from", wanted.from.as_str()),
        ("to", wanted.to.as_str()),
        ("limit", wanted.rows.as_str()),
    ];
    let path = "/api/v1/quota/adjustments";
    let answer: Answer = block_on(wanted.remote.get(path, &parameters))??;
    out::print(written(&answer, &TimeZone::system()))?;
    Ok(())
}

fn written(answer: &Answer, zone: &TimeZone) -> String {
    let columns = [
        ("at", Align::Left),
        ("limit", Align::Left),
        ("subject", Align::Left),
        ("amount", Align::Right),
        ("unit", Align::Left),
        ("by", Align::Left),
        ("reason", Align::Left),
        ("id", Align::Left),
    ];
    let rows = answer.adjustments.iter().map(|made| {
        let local = made.at.to_zoned(zone.clone());
        let subject: Vec<_> = made.scope.values().map(String::as_str).collect();
        vec![
            local.strftime("%Y-%m-%d %H:%M").to_string(),
            made.limit.clone(),
            subject.join(", "),
            made.amount.clone(),
            made.unit.replace('_', " "),
            made.created_by.clone(),
            made.reason.clone(),
            made.id.clone(),
        ]
    });
    let text = table(&columns, &rows.collect::<Vec<_>>(), 0);
    match answer.total - answer.adjustments.len() {
        0 => text,
        more => format!("{text}and {more} older ones\n"),
    }
}
