//! Arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use tallyd::app::{self, App};
use tallyd::cli::{Cli, Command, ConfigFile, TokenCommand, new_token};
use tallyd::clock::Clock;
use tallyd::config::{Environment, Faults, Source};
use tallyd::schedule::Stop;
use tallyd::serve::Certificate;
use tallyd::telemetry;

/// The command line or the configuration is wrong (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nothing can be said where standard error is closed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(if error.is::<Faults>() { USAGE } else { 1 })
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(file) => run(file),
        Command::Check(file) => check(file),
        Command::Token(TokenCommand::New(wanted)) => {
            print!("{}", new_token(&wanted)?);
            Ok(())
        }
    }
}

fn source(file: ConfigFile) -> Source {
    Source {
        file: file.config,
        environment: Environment::read(),
    }
}

fn check(file: ConfigFile) -> anyhow::Result<()> {
    let config = source(file).load()?;
    if let Some(files) = &config.tls {
        Certificate::load(files).map_err(|error| Faults(vec![format!("tls: {error:#}")]))?;
    }
    println!(
        "the configuration is good; the ledger is in {}",
        config.store.path.display()
    );
    Ok(())
}

#[tokio::main]
async fn run(file: ConfigFile) -> anyhow::Result<()> {
    let source = source(file);
    let config = source.load()?;
    let level = telemetry::install(&config.log)?;
    let stop = Stop::new();
    app::stop_on_signals(stop.clone())?;
    let app = App::build(config, Clock::System).await?;
    app.run(Some((source, level)), stop).await
}
