//! What a report was made of, as facts that every form shows.

use super::super::Report;
use super::super::table::Cell;
use super::shown::{Shown, cell_text};
use crate::model::money::PicoUsd;

/// One line of a manifest: a name, and a value or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// The manifest of a report, in order.
#[must_use]
pub fn facts(report: &Report, shown: &Shown) -> Vec<Fact> {
    let manifest = &report.manifest;
    let request = &manifest.request;
    let time = |at| cell_text(&Cell::Time(at), request);
    let mut facts = Vec::new();
    let mut say = |name: &str, value: String| {
        facts.push(Fact {
            name: name.to_owned(),
            value,
        });
    };
    say("report", manifest.report.to_owned());
    say("title", report.title.clone());
    say("made_at", time(manifest.made_at));
    say("from", time(request.from));
    say("to", time(request.to));
    say(
        "timezone",
        request.zone.iana_name().unwrap_or("UTC").to_owned(),
    );
    say("group_by", request.group_by.join(","));
    say("basis", request.basis.name().to_owned());
    say("currency", request.currency.to_string());
    say("decimals", request.decimals.to_string());
    say("status", manifest.standing.name().to_owned());
    say("price_table_version", manifest.prices.0.clone());
    say("price_table_sha256", manifest.prices.1.clone());
    if let Some((rate, source)) = &manifest.rate {
        say("rate_from_usd", rate.clone());
        say("rate_source", source.clone());
    }
    for (source, at) in &manifest.watermarks {
        say(&format!("watermark.{source}"), time(*at));
    }
    for note in &manifest.notes {
        say("note", note.clone());
    }
    for (table, shown) in report.tables.iter().zip(&shown.tables) {
        say(
            &format!("rows.{}", table.name),
            table.rows.len().to_string(),
        );
        for (column, total) in table.columns.iter().zip(&shown.exact) {
            let total = match total {
                Cell::Empty => continue,
                Cell::Money(PicoUsd(amount)) => PicoUsd(*amount).to_string(),
                total => cell_text(total, request),
            };
            say(&format!("total.{}.{}", table.name, column.name), total);
        }
    }
    say("content_sha256", shown.content.clone());
    facts
}
