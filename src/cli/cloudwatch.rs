//! `tallyd cloudwatch`: one file a subcommand below, one line a subcommand here.

mod dashboard;
mod plan;

use clap::Subcommand;

pub(super) use dashboard::DashboardCommand;
pub(super) use plan::Plan;

/// What is in Amazon CloudWatch.
#[derive(Debug, Subcommand)]
pub enum CloudWatchCommand {
    /// Prints each metric that CloudWatch would have, and what a month would cost.
    Plan(Plan),
    /// The dashboard of the metrics that tallyd sends.
    #[command(subcommand)]
    Dashboard(DashboardCommand),
}

pub(super) fn execute(command: CloudWatchCommand) -> anyhow::Result<()> {
    match command {
        CloudWatchCommand::Plan(wanted) => plan::execute(wanted),
        CloudWatchCommand::Dashboard(command) => dashboard::execute(command),
    }
}
