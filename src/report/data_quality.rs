//! `data-quality`: what the other reports do not know, and what mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request};
use crate::model::bill::{BillDay, Charge, PricedKind};
use crate::model::cost::{By, CostLine, CostLines, CostQuery};
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::rates::USD;
use crate::model::window::day_start;

/// Findings of one check that are told by name; the rest are told in one line.
const MAX_NAMED: usize = 200;

/// Somebody who reported before and nothing for this long is silent.
const SILENT_DAYS: i64 = 7;

/// How far back a silent client was heard at least once.
const HEARD_DAYS: i64 = 28;

/// A bill of a day is complete after this many days.
const BILL_DAYS: i64 = 2;

const COLUMNS: [Column; 8] = [
    Column::of("check", Kind::Text, "What was looked at."),
    Column::of("name", Kind::Text, "What was found."),
    Column::of(
        "count",
        Kind::Count,
        "How many requests, records, days or lines.",
    ),
    Column::of("tokens", Kind::Count, "Tokens concerned."),
    Column::of("estimated_cost_usd", Kind::Money, "Estimate concerned."),
    Column::of("actual_cost_usd", Kind::Money, "Billed amount concerned."),
    Column::of(
        "share",
        Kind::Ratio,
        "Of all tokens of the period, or of all that was billed.",
    ),
    Column::of("mend", Kind::Text, "What would make it better."),
];

/// One finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    pub name: String,
    pub count: Option<u64>,
    pub tokens: Option<u64>,
    pub estimate: Option<PicoUsd>,
    pub actual: Option<PicoUsd>,
    /// In millionths.
    pub share: Option<i64>,
    pub mend: &'static str,
}

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    request.ungrouped("data-quality has lines of its own; leave it out")?;
    let usage = usage(reports, request).await?;
    let mut findings = attribution(&usage);
    findings.extend(unpriced(&usage));
    findings.extend(silent(reports, request, now).await?);
    findings.extend(uncounted(reports, request).await?);
    findings.extend(refused(reports));
    let days = days_with_usage(reports, request).await?;
    findings.extend(missing_days(&days, request, now));
    let utc = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let last = request.to.checked_sub(1.nanosecond()).unwrap_or(request.to);
    let (first, end) = (utc(request.from), utc(last).saturating_add(1.day()));
    let bill = reports.ledger.bill(first, end).await?;
    let settled = utc(now).saturating_sub(BILL_DAYS.days()).min(end);
    findings.extend(bill_days(&bill, first, settled));
    findings.extend(bill_lines(&bill, request));
    let mut manifest = reports.manifest("data-quality", request, now);
    if findings.is_empty() {
        manifest.notes.push("nothing was found".to_owned());
    }
    manifest
        .notes
        .push("refused records are counted since tallyd was started".to_owned());
    let rows: Vec<Vec<Cell>> = findings.iter().map(row).collect();
    Ok(Report {
        name: "data-quality",
        title: "What the reports do not know".to_owned(),
        tables: vec![Table {
            name: "findings",
            columns: COLUMNS.to_vec(),
            rows: Box::new(rows),
        }],
        manifest,
    })
}

fn row(finding: &Finding) -> Vec<Cell> {
    let count = |count: Option<u64>| count.map_or(Cell::Empty, |c| Cell::Count(c.into()));
    let money = |amount: Option<PicoUsd>| amount.map_or(Cell::Empty, Cell::Money);
    vec![
        Cell::Text(finding.check.into()),
        Cell::Text(finding.name.as_str().into()),
        count(finding.count),
        count(finding.tokens),
        money(finding.estimate),
        money(finding.actual),
        finding.share.map_or(Cell::Empty, Cell::Ratio),
        Cell::Text(finding.mend.into()),
    ]
}

async fn usage(reports: &Reports, request: &Request) -> Result<CostLines, ReportError> {
    let query = CostQuery {
        from: request.from,
        to: request.to,
        zone: request.zone.clone(),
        by: vec![
            By::User,
            By::Team,
            By::CostCenter,
            By::Provider,
            By::Model,
            By::Scope,
        ],
    };
    Ok(reports.ledger.cost_lines(query).await?)
}

/// Sums of lines.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    requests: u64,
    tokens: u64,
    estimate: i128,
}

impl Sum {
    const fn add(&mut self, line: &CostLine) {
        self.requests += line.requests;
        self.tokens += line.tokens;
        self.estimate += line.estimate.0;
    }
}

fn share(part: u64, of: u64) -> Option<i64> {
    let part = i128::from(part) * 1_000_000;
    i64::try_from(part.checked_div(of.into())?).ok()
}

/// Usage of which nobody knows whose it is.
fn attribution(usage: &CostLines) -> Vec<Finding> {
    let all: u64 = usage.lines.iter().map(|line| line.tokens).sum();
    let mut unknown: BTreeMap<String, Sum> = BTreeMap::new();
    let mut teamless: BTreeMap<String, Sum> = BTreeMap::new();
    let mut centerless = Sum::default();
    for line in &usage.lines {
        let user = usage.groups.key(line.group, By::User);
        if user == Identity::UNKNOWN || user.starts_with("device:") {
            unknown.entry(user.to_owned()).or_default().add(line);
        }
        if usage.groups.key(line.group, By::Team).is_empty() {
            teamless.entry(user.to_owned()).or_default().add(line);
        }
        if usage.groups.key(line.group, By::CostCenter).is_empty() {
            centerless.add(line);
        }
    }
    let finding = |check, mend| {
        move |(name, sum): (String, Sum)| Finding {
            check,
            name,
            count: Some(sum.requests),
            tokens: Some(sum.tokens),
            estimate: Some(PicoUsd(sum.estimate)),
            share: share(sum.tokens, all),
            mend,
            ..Finding::default()
        }
    };
    let largest = |sums: BTreeMap<String, Sum>| {
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|(a, x), (b, y)| (y.estimate, y.tokens, a).cmp(&(x.estimate, x.tokens, b)));
        let rest = sums.split_off(sums.len().min(MAX_NAMED));
        if !rest.is_empty() {
            let mut sum = Sum::default();
            for (_, one) in &rest {
                sum.requests += one.requests;
                sum.tokens += one.tokens;
                sum.estimate += one.estimate;
            }
            sums.push((format!("{} more", rest.len()), sum));
        }
        sums
    };
    let mut findings: Vec<Finding> = Vec::new();
    let mend = "name the device or person in the directory file";
    findings.extend(
        largest(unknown)
            .into_iter()
            .map(finding("unknown_user", mend)),
    );
    let mend = "give the user a team in the directory file";
    findings.extend(largest(teamless).into_iter().map(finding("no_team", mend)));
    if centerless.tokens > 0 {
        let mend = "give users a cost center in the directory file";
        let all = ("all users without one".to_owned(), centerless);
        findings.push(finding("no_cost_center", mend)(all));
    }
    findings
}

/// Tokens without a price.
fn unpriced(usage: &CostLines) -> Vec<Finding> {
    let all: u64 = usage.lines.iter().map(|line| line.tokens).sum();
    let mut missing: BTreeMap<(String, PricedKind), u64> = BTreeMap::new();
    for line in usage.lines.iter().filter(|line| line.unpriced > 0) {
        let key = |by| usage.groups.key(line.group, by);
        let name = format!(
            "{} {} {}",
            key(By::Provider),
            key(By::Model),
            key(By::Scope)
        );
        *missing.entry((name, line.kind)).or_default() += line.unpriced;
    }
    let mut missing: Vec<_> = missing.into_iter().collect();
    missing.truncate(MAX_NAMED);
    let finding = |((name, kind), tokens): ((String, PricedKind), u64)| Finding {
        check: "unknown_price",
        name: format!("{name} {}", kind.name()),
        tokens: Some(tokens),
        share: share(tokens, all),
        mend: "add the price to the file of cost.prices",
        ..Finding::default()
    };
    missing.into_iter().map(finding).collect()
}

/// Who reported in the weeks before the last one of the period, and not in it.
async fn silent(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Vec<Finding>, ReportError> {
    let end = request.to.min(now);
    let days = |days: i64| SignedDuration::from_hours(days * 24);
    let users = |from: Timestamp, to: Timestamp| {
        let query = CostQuery {
            from,
            to,
            zone: request.zone.clone(),
            by: vec![By::User],
        };
        async move {
            let lines = reports.ledger.cost_lines(query).await?;
            let mut users: BTreeMap<Arc<str>, Sum> = BTreeMap::new();
            for line in &lines.lines {
                if let Some(user) = lines.groups.keys(line.group).next() {
                    users.entry(user.clone()).or_default().add(line);
                }
            }
            Ok::<_, ReportError>(users)
        }
    };
    let since = end - days(SILENT_DAYS);
    let before = users(since - days(HEARD_DAYS), since).await?;
    let after: BTreeSet<Arc<str>> = users(since, end).await?.into_keys().collect();
    let mut gone: Vec<_> = before
        .into_iter()
        .filter(|(user, _)| !after.contains(user))
        .collect();
    gone.sort_by(|(a, x), (b, y)| (y.tokens, a).cmp(&(x.tokens, b)));
    gone.truncate(MAX_NAMED);
    let finding = |(user, sum): (Arc<str>, Sum)| Finding {
        check: "silent_client",
        name: user.to_string(),
        count: Some(sum.requests),
        tokens: Some(sum.tokens),
        estimate: Some(PicoUsd(sum.estimate)),
        mend: "ask whether it is a holiday or a client that reports no more; the figures are those \
               of the four weeks before",
        ..Finding::default()
    };
    Ok(gone.into_iter().map(finding).collect())
}

/// Reports of sources that do not count: told better by another, or control only.
async fn uncounted(reports: &Reports, request: &Request) -> Result<Vec<Finding>, ReportError> {
    let rows = reports.ledger.control(request.from, request.to).await?;
    let mut sources: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    for row in rows {
        let sums = sources.entry(row.source).or_default();
        sums[0] += row.reported_requests;
        sums[1] += row.counted_requests;
        sums[2] += row.reported.total();
        sums[3] += row.counted.total();
    }
    let finding = |(name, [reported, counted, tokens, counted_tokens]): (String, [u64; 4])| {
        let left = tokens.saturating_sub(counted_tokens);
        let requests = reported.saturating_sub(counted);
        (left > 0 || requests > 0).then(|| Finding {
            check: "not_counted",
            name,
            count: Some(requests),
            tokens: Some(left),
            share: share(left, tokens),
            mend: "expected where a better source told of the same requests: see sources.order; \
                   the share is of what this source reported",
            ..Finding::default()
        })
    };
    Ok(sources.into_iter().filter_map(finding).collect())
}

/// What the doors refused.
fn refused(reports: &Reports) -> Vec<Finding> {
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for (sender, hearing) in reports.heard.list() {
        for (code, count) in hearing.refused {
            let name = format!("{} {} {code}", sender.client, sender.signal);
            *refused.entry(name).or_default() += count;
        }
    }
    let finding = |(name, count)| Finding {
        check: "refused",
        name,
        count: Some(count),
        mend: "the code says what was wrong with the records; /api/v1/sources tells the senders",
        ..Finding::default()
    };
    let refused = refused.into_iter().filter(|(_, count)| *count > 0);
    refused.take(MAX_NAMED).map(finding).collect()
}

async fn days_with_usage(
    reports: &Reports,
    request: &Request,
) -> Result<BTreeSet<Date>, ReportError> {
    let query = CostQuery {
        from: request.from,
        to: request.to,
        zone: request.zone.clone(),
        by: vec![By::Day],
    };
    let lines = reports.ledger.cost_lines(query).await?;
    let groups = lines.lines.iter().map(|line| line.group);
    Ok(groups
        .filter_map(|group| lines.groups.key(group, By::Day).parse().ok())
        .collect())
}

/// Working days between the first and the last use on which nobody used anything.
fn missing_days(days: &BTreeSet<Date>, request: &Request, now: Timestamp) -> Vec<Finding> {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Vec::new();
    };
    let zone = &request.zone;
    let mut missing = Vec::new();
    let mut day = *first;
    // Up to today: that nothing comes any more is a gap, too.
    while day_start(day.saturating_add(1.day()), zone) <= request.to.min(now) || day < *last {
        let is_working = day.weekday().to_monday_zero_offset() < 5;
        if is_working && !days.contains(&day) {
            missing.push(Finding {
                check: "day_without_usage",
                name: day.to_string(),
                count: Some(1),
                mend: "a holiday, or telemetry did not come in",
                ..Finding::default()
            });
        }
        day = day.saturating_add(1.day());
    }
    missing.truncate(MAX_NAMED);
    missing
}

/// Days that a bill should have and does not.
fn bill_days(bill: &[BillDay], first: Date, settled: Date) -> Vec<Finding> {
    let mut bills: BTreeMap<(&str, &str), BTreeSet<Date>> = BTreeMap::new();
    for day in bill {
        let key = (&*day.source, &*day.account);
        bills.entry(key).or_default().insert(day.day);
    }
    let mut findings = Vec::new();
    for ((source, account), days) in bills {
        let mut missing = Vec::new();
        let mut day = first.max(days.first().copied().unwrap_or(first));
        while day < settled {
            if !days.contains(&day) {
                missing.push(day);
            }
            day = day.saturating_add(1.day());
        }
        if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
            findings.push(Finding {
                check: "bill_day_missing",
                name: format!("{source} {account} {first} to {last}").replace("  ", " "),
                count: u64::try_from(missing.len()).ok(),
                mend: "the collector or an import has to read these days",
                ..Finding::default()
            });
        }
    }
    findings
}

/// Lines of the bill that are not understood, or in another currency.
fn bill_lines(bill: &[BillDay], request: &Request) -> Vec<Finding> {
    let mut all = 0_i128;
    let mut unclassified: BTreeMap<String, (u64, i128)> = BTreeMap::new();
    let mut foreign: BTreeMap<&str, u64> = BTreeMap::new();
    for line in bill.iter().flat_map(|day| &day.lines) {
        if *line.currency != *USD {
            *foreign.entry(&line.currency).or_default() += 1;
            continue;
        }
        let amount = line.amounts.on(request.basis).0;
        all += amount;
        if line.charge == Charge::Unclassified {
            let name = format!("{} {}", line.service, line.usage_type);
            let sum = unclassified.entry(name).or_default();
            sum.0 += 1;
            sum.1 += amount;
        }
    }
    let part = |amount: i128| {
        let share = amount.checked_mul(1_000_000)?.checked_div(all)?;
        i64::try_from(share).ok()
    };
    let mut findings: Vec<Finding> = unclassified
        .into_iter()
        .take(MAX_NAMED)
        .map(|(name, (count, amount))| Finding {
            check: "bill_unclassified",
            name,
            count: Some(count),
            actual: Some(PicoUsd(amount)),
            share: part(amount),
            mend: "report the service and usage type, it is in the total and in no model",
            ..Finding::default()
        })
        .collect();
    findings.extend(foreign.into_iter().map(|(currency, count)| Finding {
        check: "bill_currency",
        name: currency.to_owned(),
        count: Some(count),
        mend: "kept apart: amounts of other currencies are never added to USD",
        ..Finding::default()
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bill::{Amounts, Basis, BillLine, BilledSku};

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn request() -> Request {
        Request {
            from: "2026-11-01T00:00:00Z".parse().unwrap(),
            to: "2026-12-01T00:00:00Z".parse().unwrap(),
            zone: TimeZone::UTC,
            group_by: Vec::new(),
            basis: Basis::Unblended,
            decimals: 2,
            currency: USD.into(),
        }
    }

    fn told(findings: Vec<Finding>) -> Vec<(&'static str, String, Option<u64>)> {
        let told = findings.into_iter();
        told.map(|finding| (finding.check, finding.name, finding.count))
            .collect()
    }

    #[test]
    fn working_days_without_any_use_are_gaps() {
        let days = ["2026-11-16", "2026-11-18"].map(day).into_iter().collect();
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        assert_eq!(
            told(missing_days(&days, &request(), now)),
            [
                ("day_without_usage", "2026-11-17".to_owned(), Some(1)),
                ("day_without_usage", "2026-11-19".to_owned(), Some(1)),
            ]
        );
        assert_eq!(missing_days(&BTreeSet::new(), &request(), now), []);
    }

    fn billed(on: &str, charge: Charge, usd: i128, currency: &str) -> BillDay {
        BillDay {
            source: "cost_explorer".into(),
            provider: "bedrock".into(),
            account: "111122223333".into(),
            day: day(on),
            estimated: false,
            revision: 1,
            pulled_at: Timestamp::UNIX_EPOCH,
            lines: vec![BillLine {
                provider: "bedrock".into(),
                account: "111122223333".into(),
                day: day(on),
                charge,
                sku: BilledSku::default(),
                service: "Claude Something".into(),
                usage_type: "odd".into(),
                user: None,
                quantity: "1".into(),
                unit: "Units".into(),
                tokens: None,
                currency: currency.into(),
                amounts: Amounts {
                    unblended: Some(PicoUsd(usd * 1_000_000_000_000)),
                    ..Amounts::default()
                },
            }],
        }
    }

    #[test]
    fn what_a_bill_lacks_and_what_is_not_understood_in_it_is_told() {
        let bill = [
            billed("2026-11-02", Charge::Tokens, 3, "USD"),
            billed("2026-11-03", Charge::Unclassified, 1, "USD"),
            billed("2026-11-06", Charge::Tokens, 9, "EUR"),
        ];
        assert_eq!(
            told(bill_days(&bill, day("2026-11-01"), day("2026-11-08"))),
            [(
                "bill_day_missing",
                "cost_explorer 111122223333 2026-11-04 to 2026-11-07".to_owned(),
                Some(3)
            )]
        );
        let lines = bill_lines(&bill, &request());
        assert_eq!(lines[0].share, Some(250_000));
        assert_eq!(
            told(lines),
            [
                (
                    "bill_unclassified",
                    "Claude Something odd".to_owned(),
                    Some(1)
                ),
                ("bill_currency", "EUR".to_owned(), Some(1)),
            ]
        );
    }
}
