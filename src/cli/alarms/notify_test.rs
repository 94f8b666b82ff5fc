//! `tallyd alarms notify-test`: is a target reached?

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::cli::Remote;
use crate::cli::out;

#[derive(Args, Debug)]
pub struct NotifyTest {
    /// NAME of `[notify.NAME]` in the daemon's configuration.
    pub name: String,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Taken {
    target: String,
    at: String,
}

pub(super) async fn execute(wanted: NotifyTest) -> anyhow::Result<()> {
    let path = format!("/api/v1/notify/{}/test", wanted.name);
    let taken: Taken = wanted.remote.post(&path, &json!({})).await?;
    out::println(format_args!("{} took a test at {}", taken.target, taken.at))?;
    Ok(())
}
