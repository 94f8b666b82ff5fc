//! `tallyd alarms test`: runs stories.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::{Values, faulty, read, read_file};
use crate::alarm::story::{self, Story};
use crate::cli::ConfigFile;
use crate::cli::out;
use crate::config::Faults;

/// Files of stories.
#[derive(Args, Debug)]
pub struct Test {
    /// YAML files of stories.
    #[arg(required = true, value_name = "FILE")]
    pub stories: Vec<PathBuf>,
    /// Templates or folders whose alarms the stories may name; without any: the alarms of the
    /// configuration, else those that ship with tallyd.
    #[arg(long, value_name = "FILE")]
    pub alarms: Vec<PathBuf>,
    #[command(flatten)]
    pub values: Values,
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn execute(wanted: &Test) -> anyhow::Result<()> {
    let set = read(&wanted.alarms, &wanted.values, &wanted.config)?.set;
    let mut stories: Vec<Story> = Vec::new();
    let mut faults = Vec::new();
    for file in &wanted.stories {
        let told = read_file(file)
            .and_then(|text| story::read(file, &text, &set).map_err(|faults| faulty(&faults)));
        match told {
            Ok(more) => stories.extend(more),
            Err(error) => faults.push(error.to_string()),
        }
    }
    if !faults.is_empty() {
        return Err(Faults(faults).into());
    }
    let failures: Vec<_> = stories.iter().filter_map(Story::failure).collect();
    for failure in &failures {
        out::println(failure)?;
    }
    let (stories, holds, fails) = match stories.len() {
        1 => ("1 story".to_owned(), "holds", "fails"),
        count => (format!("{count} stories"), "hold", "fail"),
    };
    if !failures.is_empty() {
        bail!("{} of {stories} {fails}", failures.len());
    }
    out::println(format_args!("{stories} {holds}"))?;
    Ok(())
}
