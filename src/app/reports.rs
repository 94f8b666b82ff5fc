//! Writes scheduled reports when they are due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::Parts;
use crate::config::{Config, Every, Faults, Schedule};
use crate::model::bill::Standing;
use crate::model::catalogue;
use crate::notify;
use crate::registry::{Registry, Sample};
use crate::report::deliver::{File, Ways};
use crate::report::schedule::{self, Period};
use crate::report::write::{self, Form, ManifestPlace};
use crate::report::{Name, Report, Reports, Request};
use crate::schedule::{Stop, Ticks};
use crate::store::ReportDelivery;

/// Time between two looks at what is due.
pub(super) const PERIOD: Duration = Duration::from_mins(1);

/// A bill changes a few times a day: this often it is looked whether a month is final.
const LOOK_AGAIN: Duration = Duration::from_mins(30);

/// Time after the first failed attempt; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_mins(1);
const LONGEST_RETRY: Duration = Duration::from_hours(1);

/// What the rounds remember: of each period of each schedule that waits, until when.
#[derive(Debug, Default)]
struct Waiting(BTreeMap<(String, Timestamp), Wait>);

#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Timestamp,
    attempts: u32,
}

/// What became of a period.
enum Outcome {
    Written(ReportDelivery),
    /// Some number is provisional still.
    NotFinal,
}

/// The ways out of reports.
pub(super) fn ways(config: &Config, parts: &Parts) -> anyhow::Result<Ways> {
    let authorities = config.aws.authorities.as_ref();
    Ok(Ways {
        aws: parts.aws.clone(),
        client: notify::client(authorities.map(|authorities| authorities.pem.as_slice()))?,
    })
}

/// Writes what is due, again and again.
pub(super) async fn write_due(mut ticks: Ticks, parts: Parts, ways: Ways, stop: Stop) {
    let reports = parts.reports();
    let mut waiting = Waiting::default();
    while let Some(now) = ticks.next().await {
        let config = parts.live.config.load_full();
        let mut behind = Vec::new();
        for schedule in &config.report.schedule {
            let round = round(&parts, &reports, &ways, schedule, &mut waiting, now);
            // What is cut off here is written anew after the start.
            let outcome = tokio::select! {
                outcome = round => outcome,
                () = stop.stopped() => return,
            };
            match outcome {
                Ok(count) => behind.push((schedule.name.clone(), count)),
                Err(error) => warn!(
                    schedule = schedule.name,
                    error = format!("{error:#}"),
                    "what was delivered cannot be read"
                ),
            }
        }
        let names: BTreeSet<&str> = config
            .report
            .schedule
            .iter()
            .map(|one| &*one.name)
            .collect();
        waiting
            .0
            .retain(|(name, _), _| names.contains(name.as_str()));
        let samples = behind.into_iter().map(|(name, count)| Sample {
            desc: catalogue::REPORT_SCHEDULE_DUE,
            labels: vec![name],
            value: count as f64,
        });
        parts.registry.replace("report schedule", samples.collect());
    }
}

/// Looks at one schedule. Returns how many of its periods are over and not written.
async fn round(
    parts: &Parts,
    reports: &Reports,
    ways: &Ways,
    schedule: &Schedule,
    waiting: &mut Waiting,
    now: Timestamp,
) -> anyhow::Result<usize> {
    let last = parts.ledger.last_delivery(schedule.name.clone()).await?;
    if let Some(last) = &last {
        note_success(&parts.registry, last);
    }
    let zone = schedule.zone.clone();
    let zone = zone.unwrap_or_else(|| reports.config.load().time.zone.clone());
    let due = schedule::due(schedule.every, &zone, last.map(|last| last.to), now);
    let mut open = due.len();
    for period in due {
        let key = (schedule.name.clone(), period.start);
        let wait = waiting.0.get(&key).copied();
        if wait.is_some_and(|wait| wait.until > now) {
            // In order: a later period would hide that this one was never written.
            break;
        }
        let request = request(schedule, &period, zone.clone());
        match write_period(parts, reports, ways, schedule, &period, &request, now).await {
            Ok(Outcome::Written(delivery)) => {
                note(&parts.registry, schedule, "written");
                note_success(&parts.registry, &delivery);
                info!(
                    schedule = schedule.name,
                    report_id = delivery.report_id,
                    "a report was written"
                );
                waiting.0.remove(&key);
                open -= 1;
            }
            Ok(Outcome::NotFinal) => {
                let until = now + LOOK_AGAIN;
                waiting.0.insert(key, Wait { until, attempts: 0 });
                break;
            }
            Err(error) => {
                note(&parts.registry, schedule, "failed");
                let attempts = wait.map_or(0, |wait| wait.attempts) + 1;
                let pause = FIRST_RETRY.saturating_mul(1 << (attempts - 1).min(10));
                let until = now + pause.min(LONGEST_RETRY);
                error!(
                    schedule = schedule.name,
                    error = format!("{error:#}"),
                    again_at = %format_args!("{until:.0}"),
                    "a report cannot be written"
                );
                waiting.0.insert(key, Wait { until, attempts });
                break;
            }
        }
    }
    Ok(open)
}

fn note(registry: &Registry, schedule: &Schedule, outcome: &str) {
    let labels = [&*schedule.name, outcome];
    registry.add(catalogue::REPORT_SCHEDULE_RUNS, &labels, 1);
}

fn note_success(registry: &Registry, last: &ReportDelivery) {
    let seconds = last.written_at.as_second() as f64;
    let labels = [&*last.schedule];
    registry.set(catalogue::REPORT_SCHEDULE_LAST_SUCCESS, &labels, seconds);
}

fn request(schedule: &Schedule, period: &Period, zone: jiff::tz::TimeZone) -> Request {
    let group_by = schedule.group_by.iter().map(|name| Arc::from(&**name));
    Request {
        from: period.start,
        to: period.end,
        zone,
        group_by: group_by.collect(),
        basis: schedule.basis,
        decimals: schedule.decimals,
        currency: schedule.currency.as_str().into(),
    }
}

/// Makes and delivers the report of one period, and notes that it arrived.
async fn write_period(
    parts: &Parts,
    reports: &Reports,
    ways: &Ways,
    schedule: &Schedule,
    period: &Period,
    request: &Request,
    now: Timestamp,
) -> anyhow::Result<Outcome> {
    let name = Name::parse(&schedule.report).context("the report is not known")?;
    let (report, shown) = make(reports, name, request, now).await?;
    if period.wants_final && report.manifest.standing == Standing::Provisional {
        return Ok(Outcome::NotFinal);
    }
    let report_id = shown.stamp.report_id.clone();
    let label = write::period_label(&request.zone, request.from, request.to);
    let base = format!("{}-{label}", schedule.name);
    let mut files = Vec::new();
    for format in &schedule.formats {
        let form = Form::parse(format).context("the format is not known")?;
        let (report, shown) = match form.instead(name, request)? {
            Some((name, request)) => make(reports, name, &request, now).await?,
            None => (report.clone(), shown.clone()),
        };
        form.check(&report)?;
        let file = |name: String, manifest| File {
            name,
            report: report.clone(),
            shown: shown.clone(),
            form,
            manifest,
        };
        let name = format!("{base}.{}", form.extension());
        let beside =
            form.has_manifest_beside() || (form == Form::Csv && schedule.separate_manifest);
        if beside {
            files.push(file(name.clone(), ManifestPlace::Separate));
            files.push(file(format!("{name}.manifest.json"), ManifestPlace::Only));
        } else {
            files.push(file(name, ManifestPlace::Leading));
        }
    }
    ways.deliver(files, &schedule.to, now).await?;
    let delivery = ReportDelivery {
        schedule: schedule.name.clone(),
        from: period.start,
        to: period.end,
        written_at: now,
        report_id,
    };
    parts.ledger.note_delivery(delivery.clone()).await?;
    Ok(Outcome::Written(delivery))
}

async fn make(
    reports: &Reports,
    name: Name,
    request: &Request,
    now: Timestamp,
) -> anyhow::Result<(Arc<Report>, Arc<write::Shown>)> {
    let report = reports.run(name, request, now).await?;
    let made = tokio::task::spawn_blocking(move || (write::show(&report), report));
    let (shown, report) = made.await?;
    let shown = shown.context("a total is beyond the range of money")?;
    Ok((Arc::new(report), Arc::new(shown)))
}

/// Finds schedules that could never be written.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for (index, schedule) in config.report.schedule.iter().enumerate() {
        let mut fault = |key: &str, message: String| {
            faults.push(format!("report.schedule[{index}].{key}: {message}"));
        };
        let Some(name) = Name::parse(&schedule.report) else {
            let names = Name::ALL.map(Name::name).join(", ");
            fault("report", format!("must be one of {names}"));
            continue;
        };
        let now = Timestamp::UNIX_EPOCH;
        let period = Period {
            start: now,
            end: now,
            wants_final: schedule.every == Every::Month(crate::config::Close::Final),
        };
        let request = request(schedule, &period, jiff::tz::TimeZone::UTC);
        for format in &schedule.formats {
            let form = Form::parse(format);
            let fits = form.map(|form| form.instead(name, &request));
            if let Some(Err(error)) = fits {
                fault("formats", error.to_string());
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Faults(faults).into())
}
