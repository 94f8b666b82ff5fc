//! `tallyd alarms render`: the alarms in another system's words.

use clap::{Args, ValueEnum};

use super::Templates;
use crate::alarm::render;
use crate::cli::ConfigFile;
use crate::cli::out;

/// What to render, and for whom.
#[derive(Args, Debug)]
pub struct Render {
    /// What the alarms become.
    #[arg(long, value_enum)]
    pub to: Target,
    #[command(flatten)]
    pub templates: Templates,
    #[command(flatten)]
    pub config: ConfigFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A file of alerting rules, from Prometheus 2.42 on.
    Prometheus,
}

pub(super) fn execute(wanted: &Render) -> anyhow::Result<()> {
    let set = wanted.templates.read(&wanted.config)?.set;
    let Target::Prometheus = wanted.to;
    let group = wanted.templates.name(&wanted.config)?;
    let rendered = render::prometheus(&group, &set.alarms);
    out::print(rendered.rules)?;
    for (name, reason) in &rendered.left_out {
        out::note(format_args!("left out: {name}: {reason}"));
    }
    Ok(())
}
