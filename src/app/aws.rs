//! Keeps the way to AWS open and tells what is wrong with it.

use std::time::Duration;

use super::Parts;
use crate::aws::{Aws, State};
use crate::model::catalogue;
use crate::registry::Sample;
use crate::schedule::Ticks;

/// Time between two looks at what is wrong.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// Looks for credentials, renews them, and publishes the state.
pub(super) async fn watch(mut ticks: Ticks, parts: Parts) {
    while let Some(now) = ticks.next().await {
        parts.aws.connect(now).await;
        publish(&parts);
    }
}

/// Publishes the state in `/readyz` and `/metrics`. AWS in trouble is no reason to take no usage,
/// so the condition holds all the same.
pub(super) fn publish(parts: &Parts) {
    let problems = parts.aws.problems();
    parts.readiness.set("aws", true, detail(&parts.aws));
    let samples = problems.iter().map(|problem| Sample {
        desc: catalogue::AWS_PROBLEM,
        labels: vec![problem.action.to_owned()],
        value: 1.0,
    });
    parts.registry.replace("aws", samples.collect());
}

fn detail(aws: &Aws) -> String {
    let problems = aws.problems();
    if !problems.is_empty() {
        let lines: Vec<_> = problems.into_iter().map(|problem| problem.open).collect();
        return lines.join("\n");
    }
    match aws.state() {
        State::Ready { region, .. } => format!("ready in {region}"),
        State::Off | State::Trouble(_) => "not used".to_owned(),
    }
}
