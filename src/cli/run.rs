//! `tallyd run` and `tallyd check`.

use std::path::PathBuf;

use clap::Args;

use super::block_on;
use crate::app::{self, App};
use crate::cli::out;
use crate::clock::Clock;
use crate::config::{Environment, Faults, Source};
use crate::schedule::Stop;
use crate::serve::Certificate;
use crate::telemetry;

/// Where the configuration is.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// TOML file; without one every setting has its default.
    #[arg(long, value_name = "FILE", env = "TALLYD_CONFIG")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    pub(super) fn source(self) -> Source {
        Source {
            file: self.config,
            environment: Environment::read(),
        }
    }
}

pub(super) fn check(file: ConfigFile) -> anyhow::Result<()> {
    let config = file.source().load()?;
    if let Some(files) = &config.tls {
        Certificate::load(files).map_err(|error| Faults(vec![format!("tls: {error:#}")]))?;
    }
    for warning in app::check_files(&config)? {
        out::note(format_args!("warning: {warning}"));
    }
    out::println(format_args!(
        "the configuration is good; the ledger is in {}",
        config.store.path.display()
    ))?;
    Ok(())
}

pub(super) fn run(file: ConfigFile) -> anyhow::Result<()> {
    let source = file.source();
    let config = source.load()?;
    let level = telemetry::install(&config.log)?;
    block_on(async {
        let stop = Stop::new();
        app::stop_on_signals(stop.clone())?;
        let app = App::build(config, Clock::System).await?;
        app.run(Some((source, level)), stop).await
    })?
}
