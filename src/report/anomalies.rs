//! `anomalies`: days that cost far more, or far less, than is usual for their weekday.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::baseline::{Baseline, WEEKS};
use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request};
use crate::config::{self, Anomalies};
use crate::model::cost::{By, CostQuery};
use crate::model::money::PicoUsd;
use crate::model::window::day_start;

/// Days that one report looks at.
const MAX_DAYS: i32 = 400;

const WEEK_DAYS: i64 = 7;

/// A day that is unusual for a team, a model or a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusual {
    pub day: Date,
    /// `team`, `model` or `user`.
    pub of: &'static str,
    pub name: Arc<str>,
    pub amount: PicoUsd,
    pub usual: Baseline,
    /// Deviations, in thousandths.
    pub score: i64,
}

/// Daily amounts of one series.
pub type Days = BTreeMap<Date, PicoUsd>;

/// Looks at the days of one series up to `today`, which is not over: it can only be too dear.
#[must_use]
pub fn unusual_days(
    days: &Days,
    wanted: Range<Date>,
    today: Date,
    rule: &Anomalies,
) -> Vec<(Date, PicoUsd, Baseline, i64)> {
    let Some(first) = days.iter().find(|(_, amount)| amount.0 != 0) else {
        return Vec::new();
    };
    let amount_of = |day: Date| days.get(&day).copied().unwrap_or_default();
    let mut found = Vec::new();
    let mut day = wanted.start;
    while day < wanted.end && day <= today {
        let weeks = i64::try_from(WEEKS).unwrap_or(0);
        let earlier: Vec<PicoUsd> = (1..=weeks)
            .map(|week| day.saturating_sub((week * WEEK_DAYS).days()))
            // Before its first use there was nothing that could be usual.
            .filter(|earlier| earlier >= first.0)
            .map(amount_of)
            .collect();
        let amount = amount_of(day);
        if let Some(usual) = Baseline::of(&earlier) {
            let score = usual.score(amount);
            let off = (amount.0 - usual.median.0).abs();
            let is_far = score.abs() >= rule.threshold && off >= rule.least.0;
            if is_far && (score > 0 || day < today) {
                found.push((day, amount, usual, score));
            }
        }
        day = day.saturating_add(1.day());
    }
    found
}

/// Finds the unusual days of a range of local days, dearest first within a day.
pub(super) async fn find(
    reports: &Reports,
    wanted: Range<Date>,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Vec<Unusual>, ReportError> {
    let rule = reports.config.load().cost.plans.anomalies.clone();
    let today = now.to_zoned(zone.clone()).date();
    let mut found = Vec::new();
    for by in &rule.by {
        let by = match by {
            config::By::Team => By::Team,
            config::By::Model => By::Model,
            config::By::User => By::User,
        };
        for (name, days) in series(reports, by, &wanted, zone).await? {
            for (day, amount, usual, score) in unusual_days(&days, wanted.clone(), today, &rule) {
                found.push(Unusual {
                    day,
                    of: by.name(),
                    name: name.clone(),
                    amount,
                    usual,
                    score,
                });
            }
        }
    }
    found.sort_by(|a, b| (a.day, b.amount, a.of, &a.name).cmp(&(b.day, a.amount, b.of, &b.name)));
    Ok(found)
}

/// The estimate of each day, of the weeks before too.
async fn series(
    reports: &Reports,
    by: By,
    wanted: &Range<Date>,
    zone: &TimeZone,
) -> Result<BTreeMap<Arc<str>, Days>, ReportError> {
    let weeks = i64::try_from(WEEKS).unwrap_or(0) * WEEK_DAYS;
    let query = CostQuery {
        from: day_start(wanted.start.saturating_sub(weeks.days()), zone),
        to: day_start(wanted.end, zone),
        zone: zone.clone(),
        by: vec![by, By::Day],
    };
    let lines = reports.ledger.cost_lines(query).await?;
    let mut series: BTreeMap<Arc<str>, Days> = BTreeMap::new();
    for line in &lines.lines {
        let mut keys = lines.groups.keys(line.group);
        let (Some(name), Some(day)) = (keys.next(), keys.next()) else {
            continue;
        };
        let Ok(day) = day.parse() else { continue };
        let days = series.entry(name.clone()).or_default();
        days.entry(day).or_default().0 += line.estimate.0;
    }
    Ok(series)
}

const COLUMNS: [Column; 9] = [
    Column::of("day", Kind::Date, "In the zone of the report."),
    Column::of(
        "of",
        Kind::Text,
        "team, model or user: see cost.anomaly_by.",
    ),
    Column::of("name", Kind::Text, "Empty where nothing is known."),
    Column::of(
        "estimated_cost_usd",
        Kind::Money,
        "What the day cost by estimate.",
    ),
    Column::of(
        "usual_usd",
        Kind::Money,
        "Median of the same weekdays before.",
    ),
    Column::of("difference_usd", Kind::Money, "More than usual, or less."),
    Column::of(
        "deviations",
        Kind::Decimal,
        "The difference in usual deviations.",
    ),
    Column::of("direction", Kind::Text, "high or low."),
    Column::of(
        "status",
        Kind::Text,
        "so_far while the day is not over, else complete.",
    ),
];

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    request.ungrouped("what is looked at is the setting cost.anomaly_by; leave it out")?;
    let zone = &request.zone;
    let start = request.from.to_zoned(zone.clone()).date();
    let last = request.to.checked_sub(1.nanosecond()).unwrap_or(request.to);
    let end = last.to_zoned(zone.clone()).date().saturating_add(1.day());
    if start.until(end).map_or(0, |span| span.get_days()) > MAX_DAYS {
        return Err(ReportError::Parameter(format!(
            "from: at most {MAX_DAYS} days are looked at in one report"
        )));
    }
    let today = now.to_zoned(zone.clone()).date();
    let found = find(reports, start..end, zone, now).await?;
    let row = |one: Unusual| {
        let difference = PicoUsd(one.amount.0 - one.usual.median.0);
        let status = if one.day < today {
            "complete"
        } else {
            "so_far"
        };
        vec![
            Cell::Date(one.day),
            Cell::Text(one.of.into()),
            Cell::Text(one.name),
            Cell::Money(one.amount),
            Cell::Money(one.usual.median),
            Cell::Money(difference),
            Cell::Decimal(one.score),
            Cell::Text(if one.score > 0 { "high" } else { "low" }.into()),
            Cell::Text(status.into()),
        ]
    };
    let rows: Vec<Vec<Cell>> = found.into_iter().map(row).collect();
    let mut manifest = reports.manifest("anomalies", request, now);
    manifest
        .notes
        .push(rule_text(&reports.config.load().cost.plans.anomalies));
    Ok(Report {
        name: "anomalies",
        title: "Days that cost far from the usual".to_owned(),
        tables: vec![Table {
            name: "anomalies",
            columns: COLUMNS.to_vec(),
            rows: Box::new(rows),
        }],
        manifest,
    })
}

/// The rule, so that whoever reads a line knows why it is there.
fn rule_text(rule: &Anomalies) -> String {
    let deviations = PicoUsd(i128::from(rule.threshold) * 1_000_000_000);
    format!(
        "a day is told if it is at least {deviations} deviations and {} USD from the median of the \
         same weekday in the {WEEKS} weeks before, four of which must be known; a deviation is \
         1.4826 times the median absolute deviation, at least a twentieth of the median",
        rule.least
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const USD: i128 = 1_000_000_000_000;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn rule() -> Anomalies {
        Anomalies {
            by: Vec::new(),
            threshold: 5_000,
            least: PicoUsd(20 * USD),
        }
    }

    /// A hundred dollars a day since a day, but for those that are given.
    fn days(since: &str, until: &str, others: &[(&str, i128)]) -> Days {
        let mut days = Days::new();
        let mut at = day(since);
        while at <= day(until) {
            days.insert(at, PicoUsd(100 * USD));
            at = at.tomorrow().unwrap();
        }
        for (at, usd) in others {
            days.insert(day(at), PicoUsd(usd * USD));
        }
        days
    }

    fn found(days: &Days, today: &str) -> Vec<(String, bool)> {
        let wanted = day("2026-11-16")..day("2026-11-23");
        let found = unusual_days(days, wanted, day(today), &rule());
        let told = found.into_iter();
        told.map(|(day, _, _, score)| (day.to_string(), score > 0))
            .collect()
    }

    #[test]
    fn dear_and_cheap_days_are_told() {
        let days = days(
            "2026-09-01",
            "2026-11-22",
            &[("2026-11-17", 400), ("2026-11-19", 0), ("2026-11-20", 110)],
        );
        let expected = [
            ("2026-11-17".to_owned(), true),
            ("2026-11-19".to_owned(), false),
        ];
        assert_eq!(found(&days, "2026-11-22"), expected);
    }

    #[test]
    fn today_is_told_only_when_it_is_dear_already() {
        let cheap = days("2026-09-01", "2026-11-21", &[("2026-11-18", 1)]);
        assert_eq!(found(&cheap, "2026-11-18"), []);
        let dear = days("2026-09-01", "2026-11-21", &[("2026-11-18", 300)]);
        assert_eq!(
            found(&dear, "2026-11-18"),
            [("2026-11-18".to_owned(), true)]
        );
    }

    #[test]
    fn a_team_that_is_new_has_no_usual_days_yet() {
        let new = days("2026-11-01", "2026-11-21", &[("2026-11-18", 900)]);
        assert_eq!(found(&new, "2026-11-22"), []);
        assert_eq!(found(&Days::new(), "2026-11-22"), []);
    }

    #[test]
    fn the_rule_is_told_in_words() {
        assert!(
            rule_text(&rule())
                .starts_with("a day is told if it is at least 5.00 deviations and 20.00 USD")
        );
    }
}
