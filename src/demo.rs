//! `tallyd demo`: the daemon on a temporary store, and a simulated company that reports to it.
//!
//! Everything goes through the front door, like the reports of real clients and gateways. The
//! history comes first, and the totals that the daemon counts are compared with what was played;
//! then the company goes on working at its natural pace.

mod calls;
mod company;
mod folder;
mod live;
mod random;
mod senders;
mod summary;
mod terms;
#[cfg(test)]
mod tests;
mod totals;
mod wire;
mod work;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tracing::info;

use crate::app::{App, Parts};
use crate::clock::{Clock, Stopwatch};
use crate::config::{Config, Environment, Listen, Secret, Token};
use crate::model::access::{Binding, Grant, Scope, hash_token};
use crate::schedule::Stop;
use crate::serve::Addresses;
use company::{Person, Way, company};
use folder::TemporaryFolder;
use senders::{Load, Senders};
pub use summary::summary;
pub use totals::{ByTeam, Totals};
use work::{Loss, Session};

/// Sessions in one load: a body of about a megabyte.
const SESSIONS_AT_ONCE: usize = 40;

/// Loads under way.
const LOADS_AT_ONCE: usize = 8;

/// Of so many loads, one is sent twice.
const AGAIN_EVERY: usize = 25;

/// Turns that one export of metrics covers.
const TURNS_AT_ONCE: usize = 8;

/// What to play.
#[derive(Clone, Debug)]
pub struct Settings {
    pub users: u32,
    pub days: u32,
    pub seed: u64,
    pub ports: Ports,
    /// The address that the listeners take.
    pub listen: IpAddr,
    /// Whoever calls has to show it; without it everyone on this host may.
    pub token: Option<Secret<String>>,
    /// A configuration in place of the company's own; store, listeners and tokens stay the demo's.
    pub config: Option<PathBuf>,
    /// How long it goes on after the history; without it, until it is stopped.
    pub duration: Option<Duration>,
}

/// Which ports to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The daemon's own, each replaced by a free one where it is taken.
    Usual,
    Free,
}

/// What was played as history, and what the daemon made of it.
#[derive(Clone, Debug)]
pub struct History {
    pub addresses: Addresses,
    pub settings: Settings,
    /// The first day, UTC.
    pub since: Date,
    pub people: usize,
    pub sessions: usize,
    pub events: u64,
    pub took: Duration,
    pub played: ByTeam,
    pub counted: ByTeam,
}

/// Plays until `stop`, and calls `loaded` when the history is in.
pub async fn run(
    settings: Settings,
    clock: Clock,
    stop: Stop,
    loaded: impl FnOnce(&History),
) -> anyhow::Result<()> {
    let folder = TemporaryFolder::new()?;
    let config = config(&folder, &settings, clock.now())?;
    let asks = config.quota.policy.is_some();
    let app = App::build(config, clock).await?;
    let parts = app.parts().clone();
    let addresses = app.addresses();
    // Before the first scrape can come: numbers that are still being loaded would look like a
    // month of work done in half a minute.
    parts.exposing.store(false, Ordering::Relaxed);
    note(&parts, false, "simulated company: the history is loading");
    info!("this is a demo: all users, usage and cost are simulated");
    let mut running = tokio::spawn(app.run(None, stop.clone()));
    let playing = play(settings, addresses, asks, &parts, &stop, loaded);
    let played = tokio::select! {
        played = playing => played,
        ended = &mut running => {
            ended??;
            return Ok(());
        }
    };
    // A delivery that was under way when someone ended the demo may fail.
    let ended = stop.is_stopped();
    stop.stop();
    running.await??;
    if ended { Ok(()) } else { played }
}

fn note(parts: &Parts, ready: bool, detail: &str) {
    parts.readiness.set("simulation", ready, detail);
}

fn config(folder: &TemporaryFolder, settings: &Settings, now: Timestamp) -> anyhow::Result<Config> {
    let Settings {
        ports,
        listen,
        token,
        config: file,
        ..
    } = settings;
    if token.is_none() && !listen.is_loopback() {
        bail!("--listen {listen} can be reached from other hosts, which needs --token-file");
    }
    let today = now.to_zoned(TimeZone::UTC);
    let usual = terms::config(folder.path(), settings.days, &today)?;
    let mut config = match file {
        Some(file) => Config::load(Some(file), &Environment::default())?,
        None => usual.clone(),
    };
    folder.path().clone_into(&mut config.store.path);
    // Its senders speak plain HTTP, and know no token but the one that is given.
    config.tls = None;
    config.auth = usual.auth;
    config.auth.tokens.extend(token.as_ref().map(demo_token));
    let usual = usual.listen;
    let choose = |address: Option<SocketAddr>| {
        let mut address = address?;
        address.set_ip(*listen);
        if *ports == Ports::Free || TcpListener::bind(address).is_err() {
            address.set_port(0);
        }
        Some(address)
    };
    config.listen = Listen {
        http: choose(usual.http),
        otlp_http: choose(usual.otlp_http),
        grpc: choose(usual.grpc),
    };
    Ok(config)
}

/// Where a listener on all addresses is reached from its own host.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The one token of a demo: its senders report with it, and whoever looks reads with it.
fn demo_token(secret: &Secret<String>) -> Token {
    Token {
        hash: hash_token(secret.expose()),
        grant: Grant {
            name: "demo".into(),
            scopes: vec![Scope::Ingest, Scope::Read, Scope::Quota, Scope::Finance],
            binding: Binding::default(),
            authenticated: true,
        },
    }
}

async fn play(
    settings: Settings,
    addresses: Addresses,
    asks: bool,
    parts: &Parts,
    stop: &Stop,
    loaded: impl FnOnce(&History),
) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let senders = Senders::new(addresses, settings.token.clone())?;
    let people: Arc<[Person]> = company(settings.users.into(), settings.seed).into();
    let now = parts.clock.now();
    let sessions = work::history(&people, settings.days, settings.seed, now);
    let count = sessions.len();
    info!(
        people = people.len(),
        sessions = count,
        "the history is loading"
    );
    let (played, events) = load(sessions, &people, &senders, stop).await?;
    if stop.is_stopped() {
        return Ok(());
    }
    let history = History {
        addresses,
        settings: settings.clone(),
        since: day(now, -i64::from(settings.days))?,
        people: people.len(),
        sessions: count,
        events,
        played,
        counted: counted(&senders, settings.days, now).await?,
        took: watch.elapsed(),
    };
    parts.exposing.store(true, Ordering::Relaxed);
    note(
        parts,
        true,
        "simulated company: the history is in, live now",
    );
    loaded(&history);
    if history.counted != history.played && settings.duration.is_some() {
        bail!("the counted totals differ from what was played");
    }
    let live = live::work(
        people,
        settings.seed,
        senders,
        asks,
        parts.clock.clone(),
        stop.clone(),
    );
    match settings.duration {
        Some(duration) => match tokio::time::timeout(duration, live).await {
            Ok(ended) => ended,
            Err(_) => Ok(()),
        },
        None => live.await,
    }
}

/// Sends the history. Returns what must be counted, and how many events were sent.
async fn load(
    sessions: Vec<Session>,
    people: &Arc<[Person]>,
    senders: &Senders,
    stop: &Stop,
) -> anyhow::Result<(ByTeam, u64)> {
    let mut totals = ByTeam::new();
    let mut events = 0;
    let mut under_way: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for (index, some) in sessions.chunks(SESSIONS_AT_ONCE).enumerate() {
        if stop.is_stopped() {
            break;
        }
        let mut load = Load {
            again: index % AGAIN_EVERY == AGAIN_EVERY - 1,
            ..Load::default()
        };
        for session in some {
            let who = &people[session.person];
            let all = session.turns.len();
            *totals.entry(who.team.to_owned()).or_default() +=
                Totals::of_turns(who, session, 0..all);
            for start in (0..all).step_by(TURNS_AT_ONCE) {
                let turns = start..all.min(start + TURNS_AT_ONCE);
                add(&mut load, who, session, turns);
            }
        }
        events += count_events(&load);
        if under_way.len() >= LOADS_AT_ONCE
            && let Some(sent) = under_way.join_next().await
        {
            sent??;
        }
        let senders = senders.clone();
        under_way.spawn(async move { senders.send(load).await });
    }
    while let Some(sent) = under_way.join_next().await {
        sent??;
    }
    Ok((totals, events))
}

/// Adds what is told of some turns to a load.
fn add(load: &mut Load, who: &Person, session: &Session, turns: std::ops::Range<usize>) {
    if who.way != Way::Gateway {
        if session.loss != Loss::Events {
            load.events.push(wire::events(who, session, turns.clone()));
        }
        if session.loss != Loss::Metrics {
            load.metrics
                .push(wire::metrics(who, session, turns.clone()));
        }
    }
    if who.way != Way::Client {
        load.records.extend(wire::records(who, session, turns));
    }
}

fn count_events(load: &Load) -> u64 {
    let scopes = load.events.iter().flat_map(|resource| &resource.scope_logs);
    let events: usize = scopes.map(|scope| scope.log_records.len()).sum();
    events as u64
}

/// What the daemon has counted in all of the history.
async fn counted(senders: &Senders, days: u32, now: Timestamp) -> anyhow::Result<ByTeam> {
    let from = day(now, -i64::from(days) - 2)?;
    let to = day(now, 2)?;
    let query = format!("from={from}&to={to}&timezone=UTC&group_by=team");
    Ok(totals::of_answer(&senders.ask(&query).await?))
}

fn day(now: Timestamp, days: i64) -> anyhow::Result<Date> {
    let at = now.checked_add(SignedDuration::from_hours(24 * days));
    let at = at.context("the calendar ends there")?;
    Ok(at.to_zoned(TimeZone::UTC).date())
}
