//! `tallyd cloudwatch`: one file a subcommand below, one line a subcommand here.

mod dashboard;

use clap::Subcommand;

pub use dashboard::DashboardCommand;

/// What is in Amazon CloudWatch.
#[derive(Debug, Subcommand)]
pub enum CloudWatchCommand {
    /// The dashboard of the metrics that tallyd sends.
    #[command(subcommand)]
    Dashboard(DashboardCommand),
}

pub(super) fn execute(command: CloudWatchCommand) -> anyhow::Result<()> {
    match command {
        CloudWatchCommand::Dashboard(command) => dashboard::execute(command),
    }
}
