//! What `/metrics` shows of the month so far.

use jiff::Timestamp;

use super::super::roi::{categories, worth};
use super::super::{ReportError, Reports, period};
use super::{measure, together};
use crate::model::business::{Participants, Span};
use crate::model::catalogue::{self, Desc};
use crate::model::money::PicoUsd;
use crate::registry::Sample;

/// The gauges of time and money saved in the month so far, by the stated assumptions; none where
/// nothing is assumed.
pub async fn saved_this_month(
    reports: &Reports,
    now: Timestamp,
) -> Result<Vec<Sample>, ReportError> {
    let config = reports.config.load_full();
    let business = &config.business;
    if !business.assumptions.tell_time() {
        return Ok(Vec::new());
    }
    let month = period::month("this", now, &config.time.zone)?;
    let teams = measure(reports, month.start, now, &Participants::default()).await?;
    let categories = categories(&together(teams.values()), business);
    let worth = worth(&categories, &business.assumptions, PicoUsd::ZERO);
    let mut samples = Vec::new();
    samples.extend(
        worth
            .time
            .iter()
            .flat_map(|time| of(catalogue::TIME_SAVED, *time, 1e6 / 60.0)),
    );
    samples.extend(
        worth
            .value
            .iter()
            .flat_map(|value| of(catalogue::COST_SAVINGS, *value, 1e12)),
    );
    Ok(samples)
}

fn of(desc: &'static Desc, span: Span, scale: f64) -> impl Iterator<Item = Sample> {
    let ends = [
        ("low", Some(span.low)),
        ("mid", span.mid),
        ("high", Some(span.high)),
    ];
    ends.into_iter().filter_map(move |(end, value)| {
        Some(Sample {
            desc,
            labels: vec![end.to_owned()],
            value: value? as f64 / scale,
        })
    })
}
