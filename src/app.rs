//! The composition root: builds, owns and stops everything.
//!
//! Each part is one explicit line in [`App::build`]; a new job is one line in [`App::run`].

mod live;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::{Config, Source};
use crate::forward::{Forward, Forwarder};
use crate::heard::Heard;
use crate::ready::Readiness;
use crate::record::Recorder;
use crate::registry::Registry;
use crate::schedule::{Stop, Ticks};
use crate::serve::{Addresses, Certificate, Doors, Listeners};
use crate::store::Ledger;
use crate::telemetry::LevelSwitch;
pub use live::{Live, Reloader};

/// Time between two looks at the files that are read again when they change.
const FILE_WATCH_PERIOD: Duration = Duration::from_secs(10);

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
    pub forward: Option<Forward>,
}

/// The daemon, built and with open sockets, not yet answering.
#[derive(Debug)]
pub struct App {
    config: Config,
    parts: Parts,
    forwarder: Option<Forwarder>,
    certificate: Option<Arc<Certificate>>,
    listeners: Listeners,
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
        let parts = Parts {
            clock,
            live: Live::new(&config),
            readiness: Arc::new(Readiness::default()),
            registry: Arc::new(Registry::default()),
            heard: Arc::new(Heard::default()),
            ledger: Ledger::default(),
            recorder: Recorder::default(),
            forward,
        };
        // Last: a daemon that cannot open its ledger must not have taken a port.
        let listeners = Listeners::bind(&config.listen).await?;
        Ok(Self {
            config,
            parts,
            forwarder,
            certificate,
            listeners,
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
            jobs.spawn(reload_on_hangup(reloader, hangups, stop.clone()));
        }
        let ticks = Ticks::every(
            "files",
            FILE_WATCH_PERIOD,
            parts.clock.clone(),
            stop.clone(),
        );
        jobs.spawn(watch_files(ticks, self.certificate.clone()));

        let addresses = self.listeners.addresses();
        parts.readiness.set("listeners", true, "open");
        say_listening(addresses);
        self.listeners
            .serve(
                doors(&parts),
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
        info!("stopped");
        Ok(())
    }
}

/// What answers on each listener.
fn doors(_parts: &Parts) -> Doors {
    Doors {
        http: Router::new(),
        otlp_http: Router::new(),
        grpc: Router::new(),
    }
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

async fn reload_on_hangup(
    mut reloader: Reloader,
    mut hangups: tokio::signal::unix::Signal,
    stop: Stop,
) {
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            _ = hangups.recv() => {}
        }
        if let Err(faults) = reloader.reload() {
            for fault in faults.0 {
                error!(fault, "the configuration is faulty, the old one stays");
            }
        }
    }
}

/// Reads files again that changed.
async fn watch_files(mut ticks: Ticks, certificate: Option<Arc<Certificate>>) {
    while ticks.next().await.is_some() {
        let Some(certificate) = &certificate else {
            continue;
        };
        match certificate.refresh() {
            Ok(true) => info!("the certificate was read again"),
            Ok(false) => {}
            Err(error) => warn!(
                error = format!("{error:#}"),
                "the certificate cannot be read again, the old one stays"
            ),
        }
    }
}
