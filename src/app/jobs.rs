//! What the daemon does by itself: upkeep, backups, gauges, files that are read again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{Live, Parts, Reloader};
use crate::config::{Backup, Config, Faults};
use crate::forward::Forward;
use crate::model::catalogue;
use crate::model::policy::Usage;
use crate::registry::Registry;
use crate::report::business::saved_this_month;
use crate::report::gauges::Gauges;
use crate::schedule::{Stop, Ticks};
use crate::serve::Certificate;

/// Time between two rounds of upkeep when nothing is due.
pub(super) const UPKEEP_PERIOD: Duration = Duration::from_mins(1);

/// Time between two looks at gauges that only the ledger's writer knows.
pub(super) const GAUGE_PERIOD: Duration = Duration::from_secs(15);

/// Time between two looks at what the month has saved: all activities of the month are read.
pub(super) const BUSINESS_PERIOD: Duration = Duration::from_mins(5);

/// Time between two looks at the cost of the month and of budgets.
pub(super) const COST_PERIOD: Duration = Duration::from_mins(1);

/// Time between two rounds of the minute series: a minute is sealed 15 to 20 seconds after its
/// end, which leaves an exporter time.
pub(super) const SERIES_PERIOD: Duration = Duration::from_secs(5);

/// Time between two looks at the files that are read again when they change.
pub(super) const FILE_WATCH_PERIOD: Duration = Duration::from_secs(5);

/// Time between two looks at leases that end.
pub(super) const QUOTA_PERIOD: Duration = Duration::from_secs(1);

/// Ends leases that are over and flushes the journal of reservations.
pub(super) async fn quota(mut ticks: Ticks, parts: Parts) {
    while let Some(now) = ticks.next().await {
        let charges = parts.quota.round(now);
        let quota = parts.quota.clone();
        let flushed = tokio::task::spawn_blocking(move || quota.flush()).await;
        if let Ok(Err(error)) = flushed {
            let error = format!("{:#}", anyhow::Error::from(error));
            error!(error, "the journal of reservations cannot be written");
        }
        let count = charges.len() as u128;
        parts.registry.add(catalogue::QUOTA_EXPIRED, &[], count);
        let due = charges.into_iter();
        let due: Vec<_> = due
            .filter(|(_, usage)| *usage != Usage::default())
            .collect();
        let count = due.len();
        let charged = parts.quota.charge_expired(&parts.recorder, due, now);
        if let Err(error) = charged.await {
            let error = format!("{:#}", anyhow::Error::from(error));
            error!(error, count, "expired reservations cannot be charged");
        }
    }
}

/// Reads the policy again when its file changes. A faulty one is told, and the old one stays.
pub(super) async fn watch_policy(mut ticks: Ticks, parts: Parts) {
    let settings = parts.live.config.load().quota.clone();
    let Some(file) = settings.policy.clone() else {
        return;
    };
    let modified = || {
        std::fs::metadata(&file)
            .and_then(|data| data.modified())
            .ok()
    };
    let note = |success| {
        let family = catalogue::QUOTA_POLICY_RELOAD_SUCCESS;
        parts.registry.set(family, &[], success);
    };
    note(1.0);
    let mut known = modified();
    while let Some(now) = ticks.next().await {
        let seen = modified();
        if seen == known || seen.is_none() {
            continue;
        }
        known = seen;
        match super::live::policy(&settings) {
            Ok(Some(policy)) => match parts.quota.load(policy, &parts.ledger, now).await {
                Ok(()) => {
                    note(1.0);
                    info!("the policy was read again");
                }
                Err(error) => {
                    note(0.0);
                    error!(
                        error = format!("{:#}", anyhow::Error::from(error)),
                        "the policy cannot be put in force, the old one stays"
                    );
                }
            },
            Ok(None) => {}
            Err(error) => {
                note(0.0);
                say_faults(&error, "the policy is faulty, the old one stays");
            }
        }
    }
}

/// Rolls up days and lets go of what is too old.
pub(super) async fn upkeep(mut ticks: Ticks, parts: Parts, stop: Stop) {
    while let Some(now) = ticks.next().await {
        if let Err(error) = parts.ledger.note_prices(now).await {
            let error = format!("{:#}", anyhow::Error::from(error));
            warn!(error, "the price table in force could not be noted");
        }
        loop {
            match parts.ledger.upkeep(now).await {
                Ok(true) if !stop.is_stopped() => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    warn!(
                        error,
                        "upkeep of the ledger failed, the next round tries again"
                    );
                    break;
                }
            }
        }
    }
}

/// Keeps the gauges fresh that a scrape should not have to wait for.
pub(super) async fn gauges(mut ticks: Ticks, parts: Parts) {
    while ticks.next().await.is_some() {
        if parts.recorder.refresh_debt().await.is_err() {
            return;
        }
        if let Some(forward) = &parts.forward {
            forward_counts(&parts.registry, forward);
        }
    }
}

/// Keeps the gauges of cost as the reports tell them.
pub(super) async fn cost(mut ticks: Ticks, parts: Parts) {
    let mut gauges = Gauges::default();
    let reports = parts.reports();
    let mut failing = false;
    while let Some(now) = ticks.next().await {
        if !parts.is_exposing() {
            continue;
        }
        let outcome = gauges.round(&reports, now).await;
        let failed_before = std::mem::replace(&mut failing, outcome.is_err());
        match outcome {
            // `cost` itself owns what the collector of the bill samples.
            Ok(samples) => parts.registry.replace("cost reports", samples),
            Err(error) if !failed_before => {
                let error = format!("{:#}", anyhow::Error::from(error));
                warn!(
                    error,
                    "the gauges of cost cannot be worked out, each round tries again"
                );
            }
            Err(_) => {}
        }
    }
}

/// Samples gauges into minutes and seals those that are over.
pub(super) async fn series(mut ticks: Ticks, parts: Parts) {
    let mut failing = false;
    while let Some(now) = ticks.next().await {
        parts.recorder.refresh(now);
        let outcome = parts.series.round(now).await;
        let failed_before = std::mem::replace(&mut failing, outcome.is_err());
        match outcome {
            Ok(_) if failed_before => info!("minutes are sealed again"),
            Err(error) if !failed_before => {
                let error = format!("{:#}", anyhow::Error::from(error));
                warn!(error, "minutes cannot be sealed, each round tries again");
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn forward_counts(registry: &Registry, forward: &Forward) {
    let counts = forward.counts();
    registry.set(catalogue::FORWARD_QUEUE, &[], counts.waiting as f64);
    registry.raise(catalogue::FORWARD_SENT, &[], counts.sent.into());
    let dropped = [
        ("queue_full", counts.queue_full),
        ("refused", counts.refused),
        ("unreachable", counts.unreachable),
        ("stopped", counts.stopped),
    ];
    for (reason, count) in dropped {
        registry.raise(catalogue::FORWARD_DROPPED, &[reason], count.into());
    }
}

/// Writes the scheduled backup in place of the one before.
pub(super) async fn backups(mut ticks: Ticks, parts: Parts, backup: Backup) {
    let last_good = |seconds| {
        let registry = &parts.registry;
        registry.set(catalogue::BACKUP_LAST_SUCCESS, &[], seconds);
    };
    // What an earlier process wrote is a good backup: one that fails never takes its place.
    if let Some(written) = written_at(&backup.path).await {
        last_good(written);
    }
    while let Some(now) = ticks.next().await {
        match back_up(&parts, &backup.path).await {
            Ok(bytes) => {
                last_good(now.as_second() as f64);
                parts
                    .readiness
                    .set("backup", true, format!("written at {now:.0}"));
                info!(bytes, path = %backup.path.display(), "the backup was written");
            }
            Err(error) => {
                let error = format!("{error:#}");
                // Not a reason to take no more usage; what went wrong may name files.
                parts
                    .readiness
                    .set("backup", true, format!("failed at {now:.0}, see the log"));
                error!(error, "the backup failed");
                let known = parts.registry.gauge(catalogue::BACKUP_LAST_SUCCESS, &[]);
                if known.is_none() {
                    // There is none: as old as time, so that whoever watches the age is told.
                    last_good(0.0);
                }
            }
        }
    }
}

/// When a file was written, in seconds since 1970; `None` if there is none.
async fn written_at(path: &Path) -> Option<f64> {
    let written = tokio::fs::metadata(path).await.ok()?.modified().ok()?;
    let since = written.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_secs() as f64)
}

async fn back_up(parts: &Parts, path: &Path) -> anyhow::Result<u64> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    if fresh.exists() {
        tokio::fs::remove_file(&fresh).await?;
    }
    let bytes = parts.ledger.backup(&fresh).await?;
    tokio::fs::rename(&fresh, path).await?;
    Ok(bytes)
}

/// Reads the configuration again on SIGHUP.
pub(super) async fn reload_on_hangup(
    mut reloader: Reloader,
    mut hangups: tokio::signal::unix::Signal,
    parts: Parts,
    stop: Stop,
) {
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            _ = hangups.recv() => {}
        }
        let outcome = reloader.reload();
        note_reload(&parts.registry, outcome.is_ok(), parts.clock.now());
        if let Err(error) = outcome {
            say_faults(&error, "the configuration is faulty, the old one stays");
        }
    }
}

pub(super) fn note_reload(registry: &Registry, good: bool, now: Timestamp) {
    let success = f64::from(u8::from(good));
    registry.set(catalogue::CONFIG_RELOAD_SUCCESS, &[], success);
    if good {
        let seconds = now.as_second() as f64;
        registry.set(catalogue::CONFIG_LAST_RELOAD, &[], seconds);
    }
}

fn say_faults(error: &anyhow::Error, what: &str) {
    let Some(faults) = error.downcast_ref::<Faults>() else {
        error!(error = format!("{error:#}"), "{what}");
        return;
    };
    for fault in &faults.0 {
        error!(fault, "{what}");
    }
}

/// Reads files again that changed: the certificate and the directory.
pub(super) async fn watch_files(
    mut ticks: Ticks,
    certificate: Option<Arc<Certificate>>,
    live: Live,
) {
    let changed = || -> Option<(PathBuf, SystemTime)> {
        let file = live.config.load().identity.directory.clone()?;
        let modified = std::fs::metadata(&file).ok()?.modified().ok()?;
        Some((file, modified))
    };
    let mut known = changed();
    while ticks.next().await.is_some() {
        if let Some(certificate) = &certificate {
            match certificate.refresh() {
                Ok(true) => info!("the certificate was read again"),
                Ok(false) => {}
                Err(error) => warn!(
                    error = format!("{error:#}"),
                    "the certificate cannot be read again, the old one stays"
                ),
            }
        }
        let now = changed();
        if now == known {
            continue;
        }
        known = now;
        match live.reload_directory() {
            Ok(()) => info!("the directory was read again"),
            Err(error) => say_faults(&error, "the directory is faulty, the old one stays"),
        }
    }
}

/// Shows what the month has saved so far by the stated assumptions.
pub(super) async fn business(mut ticks: Ticks, parts: Parts) {
    let reports = parts.reports();
    while let Some(now) = ticks.next().await {
        if !parts.is_exposing() {
            continue;
        }
        match saved_this_month(&reports, now).await {
            Ok(samples) => parts.registry.replace("business", samples),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                error!(error, "what was saved this month cannot be worked out");
            }
        }
    }
}

/// Shows fixed bugs as they were published before; with a source, none is 0 and not missing.
pub(super) async fn restore_bugs(parts: &Parts, config: &Config) -> anyhow::Result<()> {
    let published = parts.ledger.bugs_published().await?;
    for (claude, total) in published {
        let labels = [&*claude];
        parts
            .registry
            .raise(catalogue::BUGS_FIXED, &labels, total.into());
    }
    if config.business.tells_bugs() {
        for claude in ["yes", "no"] {
            parts.registry.add(catalogue::BUGS_FIXED, &[claude], 0);
        }
    }
    Ok(())
}
