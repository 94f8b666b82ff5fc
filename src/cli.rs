//! The command line: one file per command below, one line per command here.
//!
//! `run`, `check`, `metrics`, `client-config`, `token`, `demo` and `store restore` work alone;
//! all others ask a running daemon over HTTP.

mod alarms;
mod bills;
mod client_config;
mod cloudwatch;
mod demo;
mod doctor;
mod identity;
mod import;
mod out;
mod prices;
mod quota;
mod remote;
mod report;
mod run;
mod store;
mod table;
mod token;
mod usage;

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

pub use alarms::AlarmsCommand;
pub use bills::BillsCommand;
pub use client_config::ClientConfig;
pub use cloudwatch::CloudWatchCommand;
pub use demo::Demo;
pub use doctor::Doctor;
pub use identity::IdentityCommand;
pub use import::ImportCommand;
pub use prices::PricesCommand;
pub use quota::{QuotaCommand, StatusLine, Verify};
pub use remote::Remote;
pub use report::ReportCommand;
pub use run::ConfigFile;
pub use store::StoreCommand;
pub use token::TokenCommand;
pub use usage::Usage;

use crate::config::Faults;
use crate::model::catalogue;

/// The command line or the configuration is wrong (`EX_USAGE` of sysexits).
pub const USAGE: u8 = 64;

/// `tallyd alarms plan` found changes to be made.
pub const DUE: u8 = 2;

/// Usage, cost and quota daemon for a company's Claude Code deployment.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the daemon.
    Run(ConfigFile),
    /// Checks the configuration, reports all faults at once and exits 64 if there are any.
    Check(ConfigFile),
    /// Runs the daemon on a temporary store and plays a simulated organisation.
    Demo(Demo),
    /// Prints the Claude Code settings that make clients report to tallyd.
    ClientConfig(ClientConfig),
    /// Tells who is heard and what to do about who is not; exits 1 if something is wrong.
    Doctor(Doctor),
    /// Prints usage and cost as a table.
    Usage(Usage),
    /// Makes a report for finance, or writes it to a file.
    Report(ReportCommand),
    /// Lists what providers billed, day by day: source, standing, revision and amount.
    Bills(BillsCommand),
    /// Lists who is not known, maps identities to persons, forgets persons.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Lists and checks prices, imports them, and prices past days anew.
    #[command(subcommand)]
    Prices(PricesCommand),
    /// Shows how limits stand, and corrects them.
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// Compares the counters of limits with the ledger; exits 1 if any differs.
    Verify(Verify),
    /// Prints one line about the own quota for the status line of Claude Code.
    #[command(name = "statusline")]
    StatusLine(StatusLine),
    /// Prints all metrics of `/metrics` as a Markdown table.
    Metrics,
    /// Works with alarms: checks templates, runs stories, renders, applies.
    #[command(subcommand)]
    Alarms(AlarmsCommand),
    /// Makes tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Plans what CloudWatch would hold and cost, and keeps its dashboard.
    #[command(subcommand, name = "cloudwatch")]
    CloudWatch(CloudWatchCommand),
    /// Imports history; it moves no counter and fires no alarm.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Backs the ledger up and restores it.
    #[command(subcommand)]
    Store(StoreCommand),
}

/// Does what a command says and tells how it went.
pub fn execute(command: Command) -> ExitCode {
    let done = match command {
        Command::Run(file) => run::run(file),
        Command::Check(file) => run::check(file),
        Command::Demo(wanted) => demo::execute(&wanted),
        Command::ClientConfig(wanted) => client_config::execute(&wanted),
        Command::Doctor(wanted) => doctor::execute(&wanted),
        Command::Usage(wanted) => usage::execute(&wanted),
        Command::Bills(wanted) => bills::execute(&wanted),
        Command::Report(wanted) => report::execute(&wanted),
        Command::Identity(command) => identity::execute(command),
        Command::Prices(command) => prices::execute(command),
        Command::Quota(command) => quota::execute(command),
        Command::Verify(wanted) => quota::verify(&wanted),
        Command::StatusLine(wanted) => {
            quota::statusline(&wanted);
            Ok(())
        }
        Command::Metrics => out::print(catalogue::markdown()).map_err(Into::into),
        Command::Alarms(command) => alarms::execute(command),
        Command::Token(TokenCommand::New(wanted)) => {
            token::new_token(&wanted).and_then(|text| Ok(out::print(text)?))
        }
        Command::CloudWatch(command) => cloudwatch::execute(command),
        Command::Import(command) => import::execute(command),
        Command::Store(command) => store::execute(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has seen enough.
        Err(error) if out::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out::note(format_args!("{error:#}"));
            ExitCode::from(code(&error))
        }
    }
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Faults>() {
        USAGE
    } else if error.is::<alarms::Due>() {
        DUE
    } else {
        1
    }
}

fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documentation_names_every_command() {
        let page = include_str!("../docs/cli.md");
        for command in Cli::command().get_subcommands() {
            let name = format!("tallyd {}", command.get_name());
            assert!(page.contains(&name), "{name}");
        }
    }
}
