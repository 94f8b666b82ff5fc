//! `tallyd alarms check`: reads templates and prints the alarms.

use clap::Args;

use super::Templates;
use crate::alarm::{self, Loaded};
use crate::cli::ConfigFile;
use crate::cli::out;
use crate::cli::table::{Align, table};
use crate::model::alarm::{Alarm, Comparison};

/// Templates to check.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub templates: Templates,
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn execute(wanted: &Check) -> anyhow::Result<()> {
    let loaded = wanted.templates.read(&wanted.config)?;
    out::print(written(&loaded))?;
    Ok(())
}

fn written(loaded: &Loaded) -> String {
    let set = &loaded.set;
    let columns = [
        ("alarm", Align::Left),
        ("fires when", Align::Left),
        ("missing data", Align::Left),
        ("severity", Align::Left),
    ];
    let rows: Vec<_> = set.alarms.iter().map(row).collect();
    let mut text = table(&columns, &rows, 0);
    let foreign: Vec<_> = set
        .alarms
        .iter()
        .filter(|alarm| alarm::series_of(alarm, &loaded.namespace).is_none())
        .collect();
    if !foreign.is_empty() {
        text.push_str("\nNot evaluated by tallyd, only by CloudWatch:\n");
        for alarm in foreign {
            let line = format!("  {} ({}/{})\n", alarm.name, alarm.namespace, alarm.metric);
            text.push_str(&line);
        }
    }
    text
}

fn row(alarm: &Alarm) -> Vec<String> {
    let sign = match alarm.comparison {
        Comparison::GreaterThanOrEqual => ">=",
        Comparison::GreaterThan => ">",
        Comparison::LessThan => "<",
        Comparison::LessThanOrEqual => "<=",
    };
    let dimensions: Vec<_> = alarm
        .dimensions
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let of = match dimensions.as_slice() {
        [] => String::new(),
        dimensions => format!(" {{{}}}", dimensions.join(", ")),
    };
    let when = format!(
        "{} of {}{of} {sign} {}, {} of {} x {} s",
        alarm.statistic.name(),
        alarm.metric,
        alarm.threshold,
        alarm.datapoints_to_alarm,
        alarm.evaluation_periods,
        alarm.period_seconds,
    );
    vec![
        alarm.name.clone(),
        when,
        alarm.missing_data.name().to_owned(),
        alarm.severity.clone(),
    ]
}
