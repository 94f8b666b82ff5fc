//! `tallyd alarms backtest`: when alarms would have fired on the minutes that the daemon keeps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{Values, read_file};
use crate::cli::Remote;
use crate::cli::out;
use crate::cli::remote::Refused;
use crate::cli::table::{Align, table};
use crate::config::Faults;

/// What the daemon calls a template that it is given.
const TEMPLATE: &str = "template";

/// What to look back on.
#[derive(Args, Debug)]
pub struct Backtest {
    /// A CloudFormation template; without it: the alarms that the daemon uses.
    #[arg(value_name = "FILE")]
    pub template: Option<PathBuf>,
    #[command(flatten)]
    pub values: Values,
    /// How many days to look back.
    #[arg(long, default_value_t = 15)]
    pub days: u32,
    /// Only alarms on this metric; may be given several times.
    #[arg(long = "metric", value_name = "METRIC")]
    pub metrics: Vec<String>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Answer {
    from: String,
    to: String,
    alarms: Vec<Outcome>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    name: String,
    minutes: u64,
    minutes_without_data: u64,
    fired: usize,
    episodes: Vec<Episode>,
    state: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Episode {
    from: String,
    to: Option<String>,
    duration_seconds: u64,
    worst: Option<f64>,
}

pub(super) async fn execute(wanted: Backtest) -> anyhow::Result<()> {
    let template = wanted.template.as_deref().map(read_file).transpose()?;
    let parameters: BTreeMap<_, _> = wanted.values.parameters.into_iter().collect();
    let body = json!({
        "days": wanted.days,
        "metrics": wanted.metrics,
        "template": template,
        "parameters": parameters,
    });
    let asked = wanted.remote.post("/api/v1/alarms/backtest", &body).await;
    let answer: Answer = asked.map_err(|error| faulty(error, wanted.template.as_deref()))?;
    out::print(written(&answer))?;
    Ok(())
}

/// What the daemon says of the arguments is a fault of them, in the file's own name.
fn faulty(error: anyhow::Error, template: Option<&Path>) -> anyhow::Error {
    let Some(Refused { code, detail, .. }) = error.downcast_ref() else {
        return error;
    };
    let name = template.unwrap_or_else(|| Path::new(TEMPLATE)).display();
    let line = |line: &str| {
        let named = line
            .strip_prefix(TEMPLATE)
            .filter(|rest| rest.starts_with(':'))
            .map_or_else(|| line.to_owned(), |rest| format!("{name}{rest}"));
        named.replace(&format!(", at {TEMPLATE}:"), &format!(", at {name}:"))
    };
    match code.as_str() {
        "invalid_template" => Faults(detail.lines().map(line).collect()).into(),
        "invalid_body" => Faults(vec![detail.clone()]).into(),
        _ => error,
    }
}

fn written(answer: &Answer) -> String {
    let columns = [
        ("alarm", Align::Left),
        ("fired", Align::Right),
        ("minutes", Align::Right),
        ("without data", Align::Right),
        ("state at the end", Align::Left),
    ];
    let rows: Vec<_> = answer
        .alarms
        .iter()
        .map(|alarm| {
            vec![
                alarm.name.clone(),
                alarm.fired.to_string(),
                alarm.minutes.to_string(),
                alarm.minutes_without_data.to_string(),
                alarm.state.clone().unwrap_or_else(|| "no data".to_owned()),
            ]
        })
        .collect();
    let mut text = format!("{} to {}\n\n", answer.from, answer.to);
    text.push_str(&table(&columns, &rows, 0));
    for alarm in answer.alarms.iter().filter(|alarm| alarm.fired > 0) {
        text.push_str(&episodes(alarm));
    }
    text
}

/// When one alarm would have fired.
fn episodes(alarm: &Outcome) -> String {
    let columns = [
        ("from", Align::Left),
        ("to", Align::Left),
        ("duration", Align::Right),
        ("worst value", Align::Right),
    ];
    let rows: Vec<_> = alarm
        .episodes
        .iter()
        .map(|episode| {
            let duration = std::time::Duration::from_secs(episode.duration_seconds);
            vec![
                episode.from.clone(),
                episode.to.clone().unwrap_or_else(|| "not ended".to_owned()),
                humantime::format_duration(duration).to_string(),
                episode
                    .worst
                    .map_or_else(String::new, |worst| worst.to_string()),
            ]
        })
        .collect();
    let mut text = format!("\n{}\n", alarm.name);
    text.push_str(&table(&columns, &rows, 0));
    let untold = alarm.fired.saturating_sub(alarm.episodes.len());
    if untold > 0 {
        text.extend(["... and ", &untold.to_string(), " more\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_back_tells_each_time_in_alarm() {
        let answer = serde_json::from_value(json!({
            "from": "2026-11-21T00:00:00Z", "to": "2026-11-22T00:00:00Z",
            "alarms": [
                {"name": "errors", "minutes": 1440, "minutes_without_data": 30, "fired": 2,
                    "state": "ALARM", "episodes": [
                        {"from": "2026-11-21T10:00:00Z", "to": "2026-11-21T11:05:00Z",
                            "duration_seconds": 3900, "worst": 42.5}]},
                {"name": "slow", "minutes": 0, "minutes_without_data": 0, "fired": 0,
                    "state": null, "episodes": []},
            ],
        }));
        let expected = "\
2026-11-21T00:00:00Z to 2026-11-22T00:00:00Z

alarm   fired  minutes  without data  state at the end
------------------------------------------------------
errors      2     1440            30  ALARM
slow        0        0             0  no data

errors
from                  to                    duration  worst value
-----------------------------------------------------------------
2026-11-21T10:00:00Z  2026-11-21T11:05:00Z     1h 5m         42.5
... and 1 more
";
        assert_eq!(written(&answer.unwrap()), expected);
    }
}
