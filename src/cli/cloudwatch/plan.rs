//! `tallyd cloudwatch plan`: what the export makes of the minutes, and what it costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;

use crate::cli::alarms::in_cloudwatch;
use crate::cli::out;
use crate::cli::run::ConfigFile;
use crate::cli::table::{Align, table, usd};
use crate::cli::{Remote, block_on};
use crate::export::cloudwatch::{self, Plan as Planned};
use crate::model::label::grouped;

/// The running daemon knows the series of the last day; without it only the totals are known.
#[derive(Args, Debug)]
pub struct Plan {
    /// Alarms in CloudWatch; default: those of the configuration, none where alarms.evaluate leaves
    /// CloudWatch out.
    #[arg(long, value_name = "NUMBER")]
    pub alarms: Option<u64>,
    /// Asks no daemon: plans for the totals alone, with the configuration file.
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub config: ConfigFile,
    #[command(flatten)]
    pub remote: Remote,
}

/// The plan as the daemon tells it.
#[derive(Debug, Deserialize)]
struct Answer {
    namespace: String,
    metrics: Vec<Metric>,
    max_metrics: usize,
    folded: usize,
    calls: u64,
    alarms: u64,
    alarms_counted: String,
    prices_usd: Prices,
}

#[derive(Debug, Deserialize)]
struct Metric {
    #[serde(rename = "metric")]
    name: String,
    dimensions: BTreeMap<String, String>,
    unit: String,
}

#[derive(Debug, Deserialize)]
struct Prices {
    metrics: String,
    calls: String,
    alarms: String,
    total: String,
}

pub(super) fn execute(wanted: Plan) -> anyhow::Result<()> {
    let answer = if wanted.offline {
        offline(wanted.config, wanted.alarms)?
    } else {
        let alarms = wanted.alarms.map_or_else(String::new, |it| it.to_string());
        let path = "/api/v1/cloudwatch/plan";
        block_on(wanted.remote.get(path, &[("alarms", &alarms)]))??
    };
    out::print(shown(&answer))?;
    Ok(())
}

fn offline(config: ConfigFile, alarms: Option<u64>) -> anyhow::Result<Answer> {
    let config = config.source().load()?;
    let (alarms, counted) = match alarms {
        Some(alarms) => (alarms, "given"),
        None => match in_cloudwatch(&config)? {
            0 => (0, "none"),
            alarms => (alarms, "set"),
        },
    };
    let settings = config.cloudwatch;
    let plan = cloudwatch::plan(&cloudwatch::totals(), Vec::new(), &settings, alarms);
    Ok(Answer {
        namespace: settings.namespace,
        max_metrics: settings.max_metrics,
        alarms_counted: counted.to_owned(),
        ..Answer::from(plan)
    })
}

impl From<Planned> for Answer {
    fn from(plan: Planned) -> Self {
        let exact = |price: crate::model::money::PicoUsd| price.to_decimal(6);
        Self {
            namespace: String::new(),
            max_metrics: 0,
            folded: plan.folded,
            calls: plan.calls,
            alarms: plan.alarms,
            alarms_counted: String::new(),
            prices_usd: Prices {
                metrics: exact(plan.metrics_price),
                calls: exact(plan.calls_price),
                alarms: exact(plan.alarms_price),
                total: exact(plan.price()),
            },
            metrics: plan
                .lines
                .into_iter()
                .map(|line| Metric {
                    name: line.metric.to_owned(),
                    unit: line.unit.to_owned(),
                    dimensions: line
                        .dimensions
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                })
                .collect(),
        }
    }
}

fn shown(answer: &Answer) -> String {
    let columns = [
        ("metric", Align::Left),
        ("dimensions", Align::Left),
        ("unit", Align::Left),
    ];
    let rows: Vec<_> = answer
        .metrics
        .iter()
        .map(|it| {
            let pairs = it.dimensions.iter();
            let pairs: Vec<_> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            vec![it.name.clone(), pairs.join(" "), it.unit.clone()]
        })
        .collect();
    let mut text = format!("Namespace {}\n\n", answer.namespace);
    text += &table(&columns, &rows, 0);
    text.push('\n');
    if answer.metrics.is_empty() {
        text += "No minute of the last day is over: --offline tells what there would be.\n\n";
    }
    if answer.folded > 0 {
        let _ = writeln!(
            text,
            "{} combinations of dimension values go as other: max_metrics is {}.\n",
            grouped(answer.folded as u64),
            grouped(answer.max_metrics as u64)
        );
    }
    let columns = [
        ("in a month", Align::Left),
        ("number", Align::Right),
        ("USD", Align::Right),
    ];
    let prices = &answer.prices_usd;
    let row = |what: &str, number: String, price: &str| vec![what.to_owned(), number, usd(price)];
    let rows = [
        row(
            "metrics",
            grouped(answer.metrics.len() as u64),
            &prices.metrics,
        ),
        row("calls", grouped(answer.calls), &prices.calls),
        row("alarms", grouped(answer.alarms), &prices.alarms),
        row("total", String::new(), &prices.total),
    ];
    text += &table(&columns, &rows, 1);
    text += match answer.alarms_counted.as_str() {
        "given" => "Alarms: as many as asked for.\n",
        "set" => "Alarms: those of the configuration.\n",
        _ => "Alarms: none, since alarms.evaluate leaves CloudWatch out; --alarms counts some.\n",
    };
    text + "List prices of [cloudwatch], without the free tier.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_shows_metrics_and_prices() {
        let metric = |metric: &str, dimensions: &[(&str, &str)]| Metric {
            name: metric.to_owned(),
            dimensions: dimensions
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            unit: "Count".to_owned(),
        };
        let answer = Answer {
            namespace: "ClaudeCode/Enterprise".to_owned(),
            metrics: vec![
                metric("tokens_processed", &[]),
                metric("tokens_processed", &[("model", "opus"), ("team", "other")]),
            ],
            max_metrics: 100,
            folded: 1_290,
            calls: 43_800,
            alarms: 10,
            alarms_counted: "set".to_owned(),
            prices_usd: Prices {
                metrics: "0.60".to_owned(),
                calls: "0.438".to_owned(),
                alarms: "1.00".to_owned(),
                total: "2.038".to_owned(),
            },
        };
        assert_eq!(
            shown(&answer),
            "Namespace ClaudeCode/Enterprise\n\n\
             metric            dimensions             unit\n\
             ----------------------------------------------\n\
             tokens_processed                         Count\n\
             tokens_processed  model=opus team=other  Count\n\n\
             1,290 combinations of dimension values go as other: max_metrics is 100.\n\n\
             in a month  number   USD\n\
             ------------------------\n\
             metrics          2  0.60\n\
             calls       43,800  0.44\n\
             alarms          10  1.00\n\
             ------------------------\n\
             total               2.04\n\
             Alarms: those of the configuration.\n\
             List prices of [cloudwatch], without the free tier.\n"
        );
        // A daemon that has just begun.
        let answer = Answer {
            metrics: Vec::new(),
            ..answer
        };
        let text = shown(&answer);
        assert!(
            text.contains("--offline tells what there would be"),
            "{text}"
        );
    }
}
