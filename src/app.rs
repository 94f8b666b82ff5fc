//! The composition root: builds, owns and stops everything.
//!
//! Each part is one explicit line in [`App::build`]; a new job is one line in [`App::run`].

mod alarms;
mod aws;
mod doors;
mod jobs;
mod live;
mod notify;
mod prices;
mod quota;
mod reports;
mod savings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::info;

use crate::alarm::Alarms;
use crate::aws::Aws;
use crate::clock::Clock;
use crate::collect::bedrock::{self, BedrockCollector};
use crate::collect::bedrock_logs::{self, BedrockLogsCollector};
use crate::collect::cost::{self, CostCollector};
use crate::collect::{self, system::SystemCollector};
use crate::config::{Config, Source};
use crate::export::cloudwatch::{self, Exporter};
use crate::forward::{Forward, Forwarder};
use crate::heard::Heard;
use crate::model::catalogue;
use crate::model::pseudonym::Pseudonyms;
use crate::notify::Notify;
use crate::quota::{Quota, Watch};
use crate::ready::Readiness;
use crate::record::{Naming, Recorder};
use crate::registry::Registry;
use crate::report::Reports;
use crate::schedule::{Stop, Ticks};
use crate::series::{self, Series};
use crate::serve::{Addresses, Certificate, Listeners};
use crate::store::{Ledger, Outbox, Settings, WriterThread};
use crate::telemetry::LevelSwitch;
pub use live::{Live, Reloader, check_files};
pub use prices::table as price_table;

/// Time for a round of reading logs: the first one may have much to read. What it has read by then
/// is remembered.
const LOGS_TIMEOUT: std::time::Duration = std::time::Duration::from_hours(1);

/// What doors and jobs share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    pub clock: Clock,
    pub live: Live,
    pub readiness: Arc<Readiness>,
    pub registry: Arc<Registry>,
    pub heard: Arc<Heard>,
    pub ledger: Ledger,
    pub recorder: Recorder,
    pub quota: Quota,
    pub series: Series,
    pub alarms: Arc<Alarms>,
    pub forward: Option<Forward>,
    pub aws: Aws,
    pub notify: Arc<Notify>,
    /// False while `/metrics` has nothing true to show yet.
    pub exposing: Arc<AtomicBool>,
}

impl Parts {
    /// True once what `/metrics` shows is true. Figures that are worked out now and then wait for
    /// it, or a simulated month would stay at nothing until their next round.
    fn is_exposing(&self) -> bool {
        self.exposing.load(Ordering::Relaxed)
    }

    /// What reports are made from.
    pub fn reports(&self) -> Reports {
        Reports {
            ledger: self.ledger.clone(),
            config: self.live.config.clone(),
            terms: self.live.terms.clone(),
            heard: self.heard.clone(),
        }
    }
}

/// The daemon, built and with open sockets, not yet answering.
#[derive(Debug)]
pub struct App {
    config: Config,
    parts: Parts,
    forwarder: Option<Forwarder>,
    certificate: Option<Arc<Certificate>>,
    listeners: Listeners,
    writer: WriterThread,
}

impl App {
    /// Builds all parts and opens the sockets.
    pub async fn build(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let (forward, forwarder) = match &config.forward {
            Some(settings) => {
                let (forward, forwarder) = Forward::new(settings)?;
                (Some(forward), Some(forwarder))
            }
            None => (None, None),
        };
        let certificate = match &config.tls {
            Some(files) => Some(Arc::new(Certificate::load(files)?)),
            None => None,
        };
        let live = Live::new(&config)?;
        let registry = Arc::new(Registry::new(config.metrics.max_series));
        let (recorder, writer, quota) = open_ledger(&config, &live, &registry, &clock).await?;
        let ledger = recorder.ledger().clone();
        let aws = Aws::new(&config.aws)?;
        let notify = notify::build(&config, &live, &ledger, &aws, clock.now())?;
        let parts = Parts {
            alarms: Arc::new(alarms::load(&config)?),
            series: minute_series(&config, &ledger, &registry, &clock),
            ledger,
            recorder,
            quota,
            clock,
            live,
            readiness: Arc::new(Readiness::default()),
            registry,
            heard: Arc::new(Heard::default()),
            forward,
            aws,
            notify: Arc::new(notify),
            exposing: Arc::new(AtomicBool::new(true)),
        };
        parts.readiness.set("ledger", true, "open");
        jobs::note_reload(&parts.registry, true, parts.clock.now());
        jobs::restore_bugs(&parts, &config).await?;
        let version = env!("CARGO_PKG_VERSION");
        parts.registry.set(catalogue::BUILD_INFO, &[version], 1.0);
        // Last: a daemon that cannot open its ledger must not have taken a port.
        let listeners = Listeners::bind(&config.listen).await?;
        Ok(Self {
            config,
            parts,
            forwarder,
            certificate,
            listeners,
            writer,
        })
    }

    /// What doors and jobs share.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The addresses that were taken.
    pub const fn addresses(&self) -> Addresses {
        self.listeners.addresses()
    }

    /// Answers until `stop`, then ends what is in progress within bounds. With a `source` it
    /// reads the configuration again on SIGHUP.
    #[expect(clippy::too_many_lines, reason = "a statement a job")]
    pub async fn run(
        self,
        source: Option<(Source, LevelSwitch)>,
        stop: Stop,
    ) -> anyhow::Result<()> {
        let Self { config, parts, .. } = self;
        let mut jobs = JoinSet::new();
        // Stops after the listeners: what they accept while they drain is still passed on.
        let drained = Stop::new();
        if let Some(forwarder) = self.forwarder {
            jobs.spawn(forwarder.run(drained.clone()));
        }
        if let Some((source, level)) = source {
            let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
            let reloader = Reloader::new(source, level, config.clone(), parts.live.clone());
            let job = jobs::reload_on_hangup(reloader, hangups, parts.clone(), stop.clone());
            jobs.spawn(job);
        }
        let ticks =
            |job: &str, period| Ticks::every(job, period, parts.clock.clone(), stop.clone());
        jobs.spawn(jobs::watch_files(
            ticks("files", jobs::FILE_WATCH_PERIOD),
            self.certificate.clone(),
            parts.live.clone(),
        ));
        let upkeep = ticks("upkeep", jobs::UPKEEP_PERIOD).starting_now();
        jobs.spawn(jobs::upkeep(upkeep, parts.clone(), stop.clone()));
        let quota = ticks("quota", jobs::QUOTA_PERIOD);
        jobs.spawn(jobs::quota(quota, parts.clone()));
        let policy = ticks("policy", jobs::FILE_WATCH_PERIOD);
        jobs.spawn(jobs::watch_policy(policy, parts.clone()));
        let survey = ticks("quota survey", quota::SURVEY_PERIOD).starting_now();
        jobs.spawn(quota::survey(survey, parts.clone(), naming(&config)));
        let gauges = ticks("gauges", jobs::GAUGE_PERIOD).starting_now();
        jobs.spawn(jobs::gauges(gauges, parts.clone()));
        let compare = ticks("bill delta", savings::COMPARE_PERIOD).starting_now();
        jobs.spawn(savings::compare(compare, parts.clone()));
        let cost = ticks("cost", jobs::COST_PERIOD).starting_now();
        jobs.spawn(jobs::cost(cost, parts.clone()));
        let saved = ticks("savings", savings::PERIOD).starting_now();
        jobs.spawn(savings::watch(
            saved,
            parts.clone(),
            config.time.zone.clone(),
        ));
        let business = ticks("business", jobs::BUSINESS_PERIOD).starting_now();
        jobs.spawn(jobs::business(business, parts.clone()));
        let series = ticks("series", jobs::SERIES_PERIOD).starting_now();
        jobs.spawn(jobs::series(series, parts.clone()));
        let evaluation = ticks("alarms", alarms::PERIOD).starting_now();
        jobs.spawn(alarms::evaluate(evaluation, parts.clone()));
        let due = ticks("reports", reports::PERIOD).starting_now();
        let ways = reports::ways(&config, &parts)?;
        jobs.spawn(reports::write_due(due, parts.clone(), ways, stop.clone()));
        if let Some(backup) = config.store.backup.clone() {
            let ticks = ticks("backup", backup.every).starting_now();
            jobs.spawn(jobs::backups(ticks, parts.clone(), backup));
        }
        if config.uses_aws() {
            let ticks = ticks("aws", aws::PERIOD).starting_now();
            jobs.spawn(aws::watch(ticks, parts.clone()));
        }
        if config.cloudwatch.enabled {
            let ticks = ticks("cloudwatch", config.cloudwatch.interval).at(cloudwatch::offset());
            let exporter = Exporter::new(
                parts.ledger.clone(),
                parts.aws.clone(),
                parts.registry.clone(),
                config.cloudwatch.clone(),
                stop.clone(),
            );
            jobs.spawn(cloudwatch::run(ticks, exporter, parts.clock.now()));
        }
        parts.notify.start().await?;
        for target in parts.notify.targets() {
            let ticks = ticks(&format!("notify {target}"), notify::PERIOD);
            jobs.spawn(notify::deliver(ticks, parts.clone(), target.to_owned()));
        }
        jobs.spawn(notify::stop(parts.notify.clone(), stop.clone()));
        jobs.spawn(collect::run::run(
            collectors(&config, &parts),
            parts.registry.clone(),
            parts.clock.clone(),
            stop.clone(),
        ));

        let addresses = self.listeners.addresses();
        parts.readiness.set("listeners", true, "open");
        say_listening(addresses);
        self.listeners
            .serve(
                doors::all(&parts, &config),
                &config.limits,
                self.certificate,
                stop.clone(),
            )
            .await?;
        parts.readiness.set("listeners", false, "closed");
        // Not only after a signal: without listeners nothing else has a purpose.
        stop.stop();
        drained.stop();
        while jobs.join_next().await.is_some() {}
        parts.ledger.close();
        // The writer commits what it has taken; what nobody acknowledged is lost with the queue.
        let writer = self.writer;
        tokio::task::spawn_blocking(move || writer.join()).await?;
        parts.readiness.set("ledger", false, "closed");
        info!("stopped");
        Ok(())
    }
}

/// Opens the ledger and publishes what it published before.
async fn open_ledger(
    config: &Config,
    live: &Live,
    registry: &Arc<Registry>,
    clock: &Clock,
) -> anyhow::Result<(Recorder, WriterThread, Quota)> {
    let settings = Settings {
        folder: config.store.path.clone(),
        retain_raw: config.store.retain_raw,
        zone: config.time.zone.clone(),
    };
    let opened = Ledger::open(&settings, live.terms.clone(), clock.clone())?;
    let naming = naming(config);
    // After the ledger, which makes the folder and locks it.
    let folder = &config.store.path;
    let (quota, lines) = Quota::open(folder, live.terms.clone(), live.names.clone())?;
    quota.watch(Watch {
        registry: registry.clone(),
        audit: quota::audit_log(&config.quota)?,
    });
    let (listener, now) = (quota.clone(), clock.clone());
    let (recorder, writer) = Recorder::start(
        opened,
        registry.clone(),
        live.terms.clone(),
        naming,
        Box::new(move |booked| listener.booked(booked, now.now())),
        clock.clone(),
    )?;
    if let Some(policy) = live::policy(&config.quota)? {
        quota.load(policy, recorder.ledger(), clock.now()).await?;
    }
    quota
        .restore(&lines, recorder.ledger(), clock.now())
        .await?;
    Ok((recorder, writer, quota))
}

/// How users appear in metrics.
fn naming(config: &Config) -> Naming {
    let key = config.identity.pseudonym_key.as_ref();
    Naming {
        per_user: config.metrics.per_user,
        pseudonyms: key.map(|key| Pseudonyms::new(key.expose())),
    }
}

/// The minute series.
fn minute_series(
    config: &Config,
    ledger: &Ledger,
    registry: &Arc<Registry>,
    clock: &Clock,
) -> Series {
    let settings = series::Settings {
        retain: config.series.retain,
        objective: config.series.objective,
        outbox: if config.cloudwatch.enabled {
            Outbox::Fill
        } else {
            Outbox::Leave
        },
    };
    Series::new(settings, ledger.clone(), registry.clone(), clock.now())
}

/// The collectors, each an explicit line.
fn collectors(config: &Config, parts: &Parts) -> Vec<collect::run::Job> {
    let mut jobs = Vec::new();
    if config.collect.system {
        jobs.push(collect::run::Job {
            collector: Box::new(SystemCollector::with_ledger(config.store.path.clone())),
            period: config.collect.period,
            timeout: config.collect.timeout,
        });
    }
    if config.bedrock.enabled {
        let shared = bedrock::Shared {
            aws: parts.aws.clone(),
            ledger: parts.ledger.clone(),
            names: parts.live.names.clone(),
            registry: parts.registry.clone(),
            readiness: parts.readiness.clone(),
            series: parts.series.clone(),
        };
        jobs.push(collect::run::Job {
            collector: Box::new(BedrockCollector::new(config, shared)),
            period: config.bedrock.period,
            // Each account has its own time-out within.
            timeout: config.bedrock.period,
        });
    }
    if config.bedrock_logs.enabled {
        let shared = bedrock_logs::Shared {
            aws: parts.aws.clone(),
            recorder: parts.recorder.clone(),
            names: parts.live.names.clone(),
            registry: parts.registry.clone(),
            readiness: parts.readiness.clone(),
        };
        jobs.push(collect::run::Job {
            collector: Box::new(BedrockLogsCollector::new(config, shared)),
            period: config.bedrock_logs.every,
            timeout: LOGS_TIMEOUT.max(config.bedrock_logs.every),
        });
    }
    if config.cost.bill.collect {
        let collector = CostCollector::new(
            config,
            cost::Shared {
                aws: parts.aws.clone(),
                ledger: parts.ledger.clone(),
                names: parts.live.names.clone(),
                terms: parts.live.terms.clone(),
                registry: parts.registry.clone(),
                readiness: parts.readiness.clone(),
            },
        );
        jobs.push(collect::run::Job {
            timeout: collector.longest_round(),
            collector: Box::new(collector),
            period: cost::LOOK,
        });
    }
    jobs
}

/// Says where to reach tallyd, for people and for programs that started it.
fn say_listening(addresses: Addresses) {
    let show = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(String::new, |address| address.to_string())
    };
    info!(
        http = show(addresses.http),
        otlp_http = show(addresses.otlp_http),
        grpc = show(addresses.grpc),
        "listening"
    );
}

/// Stops on SIGTERM and SIGINT.
pub fn stop_on_signals(stop: Stop) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        stop.stop();
    });
    Ok(())
}
