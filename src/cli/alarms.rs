//! `tallyd alarms`: one file a subcommand below, one line a subcommand here.
//!
//! `check`, `test` and `render` work alone; what acts on an account or asks the daemon says so.

mod account;
mod check;
mod chosen;
mod render;
mod test;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

pub(super) use account::{Apply, Due, Plan};
pub(super) use check::Check;
pub(super) use render::Render;
pub(super) use test::Test;

use crate::alarm::{self, AlarmSet, Fault};
use crate::config::Faults;

/// Checks, tests and looks back with alarms.
#[derive(Debug, Subcommand)]
pub enum AlarmsCommand {
    /// Reads alarm templates and prints the alarms; reports all faults at once and exits 64.
    Check(Check),
    /// Runs stories: exits 1 if one fails, 64 if a file is malformed.
    Test(Test),
    /// Prints the alarms as a file of Prometheus rules.
    Render(Render),
    /// Shows how an account's alarms differ from the set; exits 2 if changes are due.
    Plan(Plan),
    /// Makes the account's alarms those of the set.
    Apply(Apply),
}

pub(super) fn execute(command: AlarmsCommand) -> anyhow::Result<()> {
    match command {
        AlarmsCommand::Check(wanted) => check::execute(&wanted),
        AlarmsCommand::Test(wanted) => test::execute(&wanted),
        AlarmsCommand::Render(wanted) => render::execute(wanted),
        AlarmsCommand::Plan(wanted) => account::plan(wanted),
        AlarmsCommand::Apply(wanted) => account::apply(wanted),
    }
}

/// Which alarms a command is about.
#[derive(Args, Clone, Debug, Default)]
pub struct Templates {
    /// CloudFormation templates, or folders of them; without any: the alarms that ship with
    /// tallyd.
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
    fn read(&self) -> anyhow::Result<AlarmSet> {
        read(&self.files, &self.values)
    }
}

fn read(files: &[PathBuf], values: &Values) -> anyhow::Result<AlarmSet> {
    let files = alarm::files(files).map_err(|faults| faulty(&faults))?;
    let parameters: BTreeMap<_, _> = values.parameters.iter().cloned().collect();
    alarm::read(&files, &parameters).map_err(|faults| faulty(&faults))
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
