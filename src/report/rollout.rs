//! `rollout`: the phases of the configuration, and whether each met its criteria.
//!
//! A criterion is met, not met, or not measurable; what cannot be measured is never taken as met.
//! Figures of a part of the company are withheld if fewer than five people were active in it.

mod phase;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

pub use phase::{Finding, Outcome};

use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request};
use crate::model::business::{Phase, Span};

/// The time of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    pub from: Timestamp,
    pub to: Timestamp,
    pub now: Timestamp,
}

impl Time {
    fn of(phase: &Phase, zone: &TimeZone, now: Timestamp) -> Self {
        Self {
            from: start_of(phase.from, zone),
            to: start_of(phase.to, zone),
            now,
        }
    }

    /// How far it has come.
    fn state(self) -> &'static str {
        if self.now < self.from {
            "planned"
        } else if self.now < self.to {
            "running"
        } else {
            "ended"
        }
    }

    /// The end of what can be measured.
    pub(super) fn end(self) -> Timestamp {
        self.to.min(self.now)
    }
}

fn start_of(day: Date, zone: &TimeZone) -> Timestamp {
    let zoned = day.to_zoned(zone.clone());
    let start = zoned.and_then(|zoned| zoned.start_of_day());
    start.map_or(Timestamp::MAX, |start| start.timestamp())
}

/// Makes the report. The phases have dates of their own, in the configured zone; those that lie in
/// the range asked for are told.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    request.ungrouped("the phases of a rollout are not told apart by anything")?;
    let config = reports.config.load_full();
    let business = &config.business;
    if business.phases.is_empty() {
        return Err(ReportError::NotConfigured(
            "business.phases: no phase is configured".to_owned(),
        ));
    }
    let mut rows = Vec::new();
    for phase in &business.phases {
        let time = Time::of(phase, &config.time.zone, now);
        let findings = phase::findings(reports, request, &config, phase, time).await?;
        rows.extend(phase_rows(phase, time, &findings));
    }
    let mut manifest = reports.manifest("rollout", request, now);
    manifest.notes = vec![
        format!("Assumptions: {}.", business.assumptions.id()),
        "Each phase has its own dates; the period of the request does not matter.".to_owned(),
        "A criterion that cannot be measured is not met and not failed; figures of groups of fewer \
         than five people are withheld."
            .to_owned(),
        "productivity_gain is the rate of merged changes beside that of as many days before the \
         phase: it shows a change, not its cause."
            .to_owned(),
    ];
    Ok(Report {
        name: "rollout",
        title: "The phases of the rollout and their criteria".to_owned(),
        tables: vec![Table {
            name: "rollout",
            columns: columns(),
            rows: Box::new(rows),
        }],
        manifest,
    })
}

fn columns() -> Vec<Column> {
    vec![
        Column::of("phase", Kind::Text, "Its name."),
        Column::of("from", Kind::Date, "Its first day."),
        Column::of("to", Kind::Date, "The day after its last."),
        Column::of("state", Kind::Text, "planned, running or ended."),
        Column::of(
            "participants",
            Kind::Text,
            "Teams and the number of users, or everyone.",
        ),
        Column::of("criterion", Kind::Text, "As it is configured."),
        Column::of("outcome", Kind::Text, "met, not met or not measurable."),
        Column::of(
            "measured_low",
            Kind::Decimal,
            "Low end, where the value is a range.",
        ),
        Column::of(
            "measured",
            Kind::Decimal,
            "The value; of a range its middle, if one is stated.",
        ),
        Column::of(
            "measured_high",
            Kind::Decimal,
            "High end, where the value is a range.",
        ),
        Column::of("threshold", Kind::Decimal, "What it is held against."),
        Column::of(
            "source",
            Kind::Text,
            "What the value is made of, or why there is none.",
        ),
    ]
}

fn phase_rows(phase: &Phase, time: Time, findings: &[Finding]) -> Vec<Vec<Cell>> {
    let text = |text: &str| Cell::Text(text.into());
    let head = [
        text(&phase.name),
        Cell::Date(phase.from),
        Cell::Date(phase.to),
        text(time.state()),
        text(&participants(phase)),
    ];
    if findings.is_empty() {
        let mut row = head.to_vec();
        row.resize(columns().len() - 1, Cell::Empty);
        row.push(text("no criteria are configured"));
        return vec![row];
    }
    let rows = phase.criteria.iter().zip(findings);
    rows.map(|(criterion, finding)| {
        let mut row = head.to_vec();
        row.push(text(&criterion.to_string()));
        row.push(text(finding.outcome.name()));
        row.extend(measured(finding.value));
        row.push(decimal(criterion.threshold));
        row.push(text(&finding.source));
        row
    })
    .collect()
}

fn participants(phase: &Phase) -> String {
    let (teams, users) = (&phase.participants.teams, &phase.participants.users);
    let mut parts = Vec::new();
    if !teams.is_empty() {
        parts.push(teams.join(", "));
    }
    match users.len() {
        0 => {}
        1 => parts.push("1 user".to_owned()),
        many => parts.push(format!("{many} users")),
    }
    if parts.is_empty() {
        return "everyone".to_owned();
    }
    parts.join(" and ")
}

fn measured(value: Option<Span>) -> [Cell; 3] {
    let Some(value) = value else {
        return [Cell::Empty, Cell::Empty, Cell::Empty];
    };
    if value.low == value.high {
        return [Cell::Empty, decimal(value.low), Cell::Empty];
    }
    [
        decimal(value.low),
        value.mid.map_or(Cell::Empty, decimal),
        decimal(value.high),
    ]
}

/// Thousandths of millionths.
fn decimal(micro: i128) -> Cell {
    let thousandths = crate::model::money::divide_half_even(micro, 1_000);
    i64::try_from(thousandths).map_or(Cell::Empty, Cell::Decimal)
}

#[cfg(test)]
mod tests;
