//! `tallyd quota reservations`: what calls in work hold.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::cli::out;
use crate::cli::table::{Align, table};
use crate::cli::{Remote, block_on};
use crate::model::label::grouped;

/// A daemon.
#[derive(Args, Debug)]
pub struct Reservations {
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Answer {
    reservations: Vec<Live>,
    total: usize,
}

#[derive(Debug, Deserialize)]
struct Live {
    id: String,
    user: String,
    model: String,
    reserved_at: Timestamp,
    expires_at: Timestamp,
    held: Held,
}

#[derive(Debug, Deserialize)]
struct Held {
    total_tokens: u64,
}

pub(super) fn print(wanted: &Reservations) -> anyhow::Result<()> {
    let answer: Answer = block_on(wanted.remote.get("/api/v1/quota/reservations", &[]))??;
    out::print(written(&answer, &TimeZone::system()))?;
    Ok(())
}

fn written(answer: &Answer, zone: &TimeZone) -> String {
    let columns = [
        ("reservation", Align::Left),
        ("user", Align::Left),
        ("model", Align::Left),
        ("tokens", Align::Right),
        ("since", Align::Left),
        ("until", Align::Left),
    ];
    let time = |at: Timestamp| {
        let local = at.to_zoned(zone.clone());
        local.strftime("%H:%M:%S").to_string()
    };
    let rows = answer.reservations.iter().map(|live| {
        vec![
            live.id.clone(),
            live.user.clone(),
            live.model.clone(),
            grouped(live.held.total_tokens),
            time(live.reserved_at),
            time(live.expires_at),
        ]
    });
    let text = table(&columns, &rows.collect::<Vec<_>>(), 0);
    match answer.total - answer.reservations.len() {
        0 => text,
        more => format!("{text}and {more} younger ones\n"),
    }
}
