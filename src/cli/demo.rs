//! `tallyd demo`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::block_on;
use crate::app;
use crate::cli::out;
use crate::clock::Clock;
use crate::config::{Config, Environment, Secret};
use crate::demo::{self, Ports, Settings};
use crate::schedule::Stop;
use crate::telemetry;

/// What to play.
#[derive(Args, Debug)]
pub struct Demo {
    /// People of the simulated company, at most 5000.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub users: u32,
    /// Days of history, at most 365.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub days: u32,
    /// The same seed plays the same history.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End this long after the history is in, and exit 1 if the totals are not what was played.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Take free ports instead of the usual ones.
    #[arg(long)]
    pub free_ports: bool,
    /// Address to listen on; one that is not loopback needs a token.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    pub listen: IpAddr,
    /// File with a token that everyone has to show who calls.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Configuration file for all but store, listeners, tokens and TLS: where the bill is read,
    /// budgets, scheduled reports. What it names is really called and written.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The token in a file, without the line's end.
fn token(file: &Path) -> anyhow::Result<Secret<String>> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("--token-file: cannot read {}", file.display()))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        bail!("--token-file: {} must hold one token", file.display());
    }
    Ok(Secret::new(token.to_owned()))
}

pub(super) fn execute(wanted: &Demo) -> anyhow::Result<()> {
    let settings = Settings {
        users: wanted.users,
        days: wanted.days,
        seed: wanted.seed,
        ports: if wanted.free_ports {
            Ports::Free
        } else {
            Ports::Usual
        },
        listen: wanted.listen,
        token: wanted.token_file.as_deref().map(token).transpose()?,
        config: wanted.config.clone(),
        duration: wanted.duration,
    };
    let config = Config::load(wanted.config.as_deref(), &Environment::default())?;
    telemetry::install(&config.log)?;
    block_on(async {
        let stop = Stop::new();
        app::stop_on_signals(stop.clone())?;
        let loaded = |history: &demo::History| {
            // The demonstration goes on, whether or not somebody reads this.
            let _ = out::print(demo::summary(history));
        };
        demo::run(settings, Clock::System, stop, loaded).await
    })?
}
