//! `tallyd alarms`: one file a subcommand below, one line a subcommand here.
//!
//! `check`, `test` and `render` work alone; what acts on an account or asks the daemon says so.

mod account;
mod backtest;
mod check;
mod mute;
mod notify_test;
mod render;
mod test;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

pub(super) use account::{Apply, Due, Plan};
pub(super) use backtest::Backtest;
pub(super) use check::Check;
pub(super) use mute::{Mute, Mutes, Unmute};
pub(super) use notify_test::NotifyTest;
pub(super) use render::Render;
pub(super) use test::Test;

use super::{ConfigFile, block_on};
use crate::alarm::{self, BUILT_IN_NAME, Fault, Loaded};
use crate::cli::out;
use crate::config::{Config, Faults};
use crate::model::minute::NAMESPACE;

/// Checks, tests and looks back with alarms.
#[derive(Debug, Subcommand)]
pub enum AlarmsCommand {
    /// Reads alarm templates and prints the alarms; reports all faults at once and exits 64.
    Check(Check),
    /// Runs stories: exits 1 if one fails, 64 if a file is malformed.
    Test(Test),
    /// Says when alarms would have fired on the minutes that the daemon keeps.
    Backtest(Backtest),
    /// Prints the alarms as a file of Prometheus rules.
    Render(Render),
    /// Shows how an account's alarms differ from the set; exits 2 if changes are due.
    Plan(Plan),
    /// Makes the account's alarms those of the set.
    Apply(Apply),
    /// Lets the daemon send a marked test to a target of notifications.
    NotifyTest(NotifyTest),
    /// Sets a maintenance window: alarms are not told until it ends.
    Mute(Mute),
    /// Lists the maintenance windows.
    Mutes(Mutes),
    /// Ends a maintenance window now.
    Unmute(Unmute),
}

pub(super) fn execute(command: AlarmsCommand) -> anyhow::Result<()> {
    match command {
        AlarmsCommand::Check(wanted) => check::execute(&wanted),
        AlarmsCommand::Test(wanted) => test::execute(&wanted),
        AlarmsCommand::Backtest(wanted) => block_on(backtest::execute(wanted))?,
        AlarmsCommand::Render(wanted) => render::execute(&wanted),
        AlarmsCommand::Plan(wanted) => account::plan(wanted),
        AlarmsCommand::Apply(wanted) => account::apply(wanted),
        AlarmsCommand::NotifyTest(wanted) => block_on(notify_test::execute(wanted))?,
        AlarmsCommand::Mute(wanted) => block_on(mute::add(wanted))?,
        AlarmsCommand::Mutes(wanted) => block_on(mute::list(wanted))?,
        AlarmsCommand::Unmute(wanted) => block_on(mute::end(wanted))?,
    }
}

/// How many alarms of a configuration CloudWatch would have.
pub(super) fn in_cloudwatch(config: &Config) -> anyhow::Result<u64> {
    let loaded = alarm::load(config).map_err(|faults| faulty(&faults))?;
    Ok(loaded.in_cloudwatch())
}

/// Which alarms a command is about.
#[derive(Args, Clone, Debug, Default)]
pub struct Templates {
    /// CloudFormation templates, or folders of them; without any: the alarms of the configuration,
    /// else those that ship with tallyd.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub values: Values,
}

/// Values of the parameters of templates.
#[derive(Args, Clone, Debug, Default)]
pub struct Values {
    /// A value of a template's parameter: NAME=VALUE.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    pub parameters: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

impl Templates {
    /// Reads the templates. Faults end a command with 64.
    fn read(&self, config: &ConfigFile) -> anyhow::Result<Loaded> {
        let loaded = read(&self.files, &self.values, config)?;
        for warning in &loaded.set.warnings {
            out::note(format_args!("warning: {warning}"));
        }
        Ok(loaded)
    }

    /// The name of the set: that of the first file or folder, without its ending.
    fn name(&self, config: &ConfigFile) -> anyhow::Result<String> {
        let mut files = self.files.clone();
        if files.is_empty() && config.config.is_some() {
            files = config.clone().source().load()?.alarms.files;
        }
        let first = files
            .first()
            .map_or(Path::new(BUILT_IN_NAME), PathBuf::as_path);
        let stem = first.file_stem().map(|stem| stem.to_string_lossy());
        Ok(stem.map_or_else(|| "alarms".to_owned(), Cow::into_owned))
    }
}

/// Reads templates as a daemon with that configuration would.
fn read(files: &[PathBuf], values: &Values, config: &ConfigFile) -> anyhow::Result<Loaded> {
    let given: BTreeMap<_, _> = values.parameters.iter().cloned().collect();
    if config.config.is_none() {
        // It is not known which dimensions are measured, so none are refused.
        let files = alarm::files(files).map_err(|faults| faulty(&faults))?;
        let set = alarm::read(&files, &given).map_err(|faults| faulty(&faults))?;
        let namespace = NAMESPACE.to_owned();
        return Ok(Loaded {
            set,
            namespace,
            ..Loaded::default()
        });
    }
    let mut config = config.clone().source().load()?;
    if !files.is_empty() {
        // The parameters of the configuration belong to its files.
        config.alarms.parameters.clear();
        config.alarms.files = files.to_vec();
    }
    config.alarms.parameters.extend(given);
    alarm::load(&config).map_err(|faults| faulty(&faults))
}

/// Makes faults of templates the faults of a command.
fn faulty(faults: &[Fault]) -> anyhow::Error {
    let lines = faults.iter().map(ToString::to_string);
    Faults(lines.collect()).into()
}

fn read_file(file: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    // A file that is not there is as wrong as one that is malformed.
    text.map_err(|error| Faults(vec![format!("{error:#}")]).into())
}
