//! `tallyd cloudwatch dashboard`: prints the dashboard, or puts it into an AWS account.

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::aws::Aws;
use crate::cli::out;
use crate::cli::{ConfigFile, block_on};
use crate::clock::Clock;
use crate::export::dashboard;

#[derive(Debug, Subcommand)]
pub enum DashboardCommand {
    /// Prints the dashboard's body; nothing is asked of AWS.
    Show(Show),
    /// Creates or replaces the dashboard in the account.
    Apply(Apply),
}

/// What is printed.
#[derive(Args, Debug)]
pub struct Show {
    /// The region that tallyd sends to; without it: that of the configuration.
    #[arg(long)]
    pub region: Option<String>,
    /// Where the namespace and the section [aws] are read from.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Which dashboard, and whose account.
#[derive(Args, Debug)]
pub struct Apply {
    /// The dashboard's name in CloudWatch; what was there under it is replaced.
    #[arg(long, default_value = "ClaudeCode", value_parser = dashboard::name)]
    pub name: String,
    /// The region that tallyd sends to; without it: the one that calls go to.
    #[arg(long)]
    pub region: Option<String>,
    /// Where the namespace and the section [aws] are read from.
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn execute(command: DashboardCommand) -> anyhow::Result<()> {
    match command {
        DashboardCommand::Show(wanted) => show(wanted),
        DashboardCommand::Apply(wanted) => block_on(apply(wanted))?,
    }
}

fn show(wanted: Show) -> anyhow::Result<()> {
    let config = wanted.config.source().load()?;
    let region = wanted.region.or(config.aws.region);
    let region = region.context("the region is not known: give --region, or set aws.region")?;
    let body = dashboard::body(&region, &config.cloudwatch.namespace);
    Ok(out::println(body)?)
}

async fn apply(wanted: Apply) -> anyhow::Result<()> {
    let config = wanted.config.source().load()?;
    let aws = Aws::new(&config.aws)?;
    aws.connect(Clock::System.now()).await;
    let client = aws.cloudwatch().context("cannot call AWS")?;
    let own = client.config().region().map(ToString::to_string);
    let region = wanted.region.or(own);
    let region = region.context("the region is not known: give --region, or set aws.region")?;
    let body = dashboard::body(&region, &config.cloudwatch.namespace);
    let warnings = dashboard::put(&client, &wanted.name, body).await?;
    for warning in warnings {
        out::note(&warning);
    }
    out::println(format_args!(
        "https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#dashboards/dashboard/{}",
        wanted.name
    ))?;
    Ok(())
}
