//! `tallyd alarms render`: the alarms in another system's words.

use clap::{Args, ValueEnum};

use super::chosen::Chosen;
use crate::alarm::render;

/// What to render, and for whom.
#[derive(Args, Debug)]
pub struct Render {
    /// What the alarms become.
    #[arg(long, value_enum)]
    pub to: Target,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A file of alerting rules, from Prometheus 2.42 on.
    Prometheus,
}

pub(super) fn execute(wanted: Render) -> anyhow::Result<()> {
    let Target::Prometheus = wanted.to;
    let (name, set, _) = wanted.chosen.read()?;
    let rendered = render::prometheus(&name, &set.alarms);
    print!("{}", rendered.rules);
    for (name, reason) in &rendered.left_out {
        eprintln!("left out: {name}: {reason}");
    }
    Ok(())
}
