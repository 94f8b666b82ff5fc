//! `tallyd alarms plan` and `apply`: the alarms of an AWS account. They speak to CloudWatch
//! directly; the daemon need not run.

use anyhow::{Context as _, bail};
use clap::Args;

use super::Templates;
use crate::alarm::Loaded;
use crate::alarm::apply::Account;
use crate::alarm::plan::{self, Reach, Wanted};
use crate::aws::Aws;
use crate::cli::out;
use crate::cli::{ConfigFile, block_on};
use crate::clock::Clock;
use crate::config::Faults;

/// The account differs from the set.
#[derive(Debug, thiserror::Error)]
#[error("the account is not as the set: `tallyd alarms apply` makes it so")]
pub(in crate::cli) struct Due;

/// Which alarms, and whose account.
#[derive(Args, Debug)]
pub struct Plan {
    #[command(flatten)]
    pub templates: Templates,
    /// The name of the set, in the tag `tallyd` of its alarms; without it: that of the first file.
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// The ARN to use where the template refers to a topic that its stack would make.
    #[arg(long, value_name = "ARN", value_parser = topic)]
    pub topic: Option<String>,
    /// Deletes alarms of the set that are not in the files any more.
    #[arg(long)]
    pub prune: bool,
    /// Takes over alarms of the same names that do not belong to the set.
    #[arg(long)]
    pub adopt: bool,
    /// Where the section [aws] is read from.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// As for a plan.
#[derive(Args, Debug)]
pub struct Apply {
    #[command(flatten)]
    pub plan: Plan,
}

fn topic(text: &str) -> Result<String, String> {
    if text.starts_with("arn:") {
        Ok(text.to_owned())
    } else {
        Err("must be an ARN: arn:aws:sns:REGION:ACCOUNT:NAME".to_owned())
    }
}

pub(super) fn plan(wanted: Plan) -> anyhow::Result<()> {
    block_on(async {
        let (_, plan) = Box::pin(compare(wanted)).await?;
        out::println(&plan)?;
        if plan.is_done() {
            Ok(())
        } else {
            Err(Due.into())
        }
    })?
}

pub(super) fn apply(wanted: Apply) -> anyhow::Result<()> {
    block_on(async {
        let (mut account, plan) = Box::pin(compare(wanted.plan)).await?;
        // Whether or not somebody reads what is done.
        let said = out::println(&plan);
        let failures = account.carry_out(&plan).await;
        for (name, error) in &failures {
            out::note(format_args!("{name}: {error}"));
        }
        let (failed, refused) = (failures.len(), plan.foreign.len());
        if failed > 0 || refused > 0 {
            let changes = if failed == 1 { "change" } else { "changes" };
            let alarms = if refused == 1 {
                "alarm belongs"
            } else {
                "alarms belong"
            };
            bail!("{failed} {changes} failed, {refused} {alarms} to someone else");
        }
        Ok(said?)
    })?
}

async fn compare(wanted: Plan) -> anyhow::Result<(Account, plan::Plan)> {
    let set = match &wanted.set {
        Some(set) => set.clone(),
        None => wanted.templates.name(&wanted.config)?,
    };
    let alarms = resolve(&wanted, &set)?;
    let reach = Reach {
        prunes: wanted.prune,
        adopts: wanted.adopt,
    };
    let config = wanted.config.source().load()?;
    let aws = Aws::new(&config.aws)?;
    aws.connect(Clock::System.now()).await;
    let mut account = Account::new(aws.cloudwatch().context("cannot call AWS")?);
    let found = account.read(&alarms).await;
    let found = found.context("cannot read the account's alarms")?;
    Ok((account, plan::plan(&set, alarms, &found, reach)))
}

fn resolve(wanted: &Plan, set: &str) -> anyhow::Result<Vec<Wanted>> {
    let Loaded {
        set: read,
        namespace,
        ..
    } = wanted.templates.read(&wanted.config)?;
    let mut alarms = Vec::new();
    let mut faults = Vec::new();
    for alarm in &read.alarms {
        let tags = read.origins.get(&alarm.name);
        let tags = tags.map(|origin| origin.tags.clone()).unwrap_or_default();
        let topic = wanted.topic.as_deref();
        match plan::wanted(alarm, &tags, set, topic, &namespace) {
            Ok(alarm) => alarms.push(alarm),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(alarms)
    } else {
        Err(Faults(faults).into())
    }
}
