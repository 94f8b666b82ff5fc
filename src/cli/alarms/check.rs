//! `tallyd alarms check`: reads templates and prints the alarms.

use clap::Args;

use super::Templates;
use crate::alarm::AlarmSet;
use crate::cli::table::{Align, table};
use crate::model::alarm::{Alarm, Comparison};
use crate::model::minute;

/// Templates to check.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub templates: Templates,
}

pub(super) fn execute(wanted: &Check) -> anyhow::Result<()> {
    let set = wanted.templates.read()?;
    print!("{}", written(&set));
    Ok(())
}

fn written(set: &AlarmSet) -> String {
    let columns = [
        ("alarm", Align::Left),
        ("fires when", Align::Left),
        ("missing data", Align::Left),
        ("severity", Align::Left),
    ];
    let rows: Vec<_> = set.alarms.iter().map(row).collect();
    let mut text = table(&columns, &rows, 0);
    let foreign: Vec<_> = set.alarms.iter().filter(|alarm| !is_local(alarm)).collect();
    if !foreign.is_empty() {
        text.push_str("\nNot evaluated by tallyd, only by CloudWatch:\n");
        for alarm in foreign {
            let line = format!("  {} ({}/{})\n", alarm.name, alarm.namespace, alarm.metric);
            text.push_str(&line);
        }
    }
    text
}

/// True if tallyd has the metric itself.
fn is_local(alarm: &Alarm) -> bool {
    alarm.namespace == minute::NAMESPACE
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
