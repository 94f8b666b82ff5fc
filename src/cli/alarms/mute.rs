//! `tallyd alarms mute`, `mutes`, `unmute`: maintenance windows of the running daemon.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::cli::Remote;
use crate::cli::out;

#[derive(Args, Debug)]
pub struct Mute {
    /// Which alarms: * is any text, ? one character.
    #[arg(default_value = "*")]
    pub alarms: String,
    /// How long, from now: 90m, 4h, 2d.
    #[arg(long = "for", value_name = "DURATION")]
    pub length: String,
    /// Why, for those who wonder.
    #[arg(long)]
    pub reason: String,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Mutes {
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Unmute {
    /// The number that `tallyd alarms mutes` shows.
    pub id: i64,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Window {
    id: Option<i64>,
    from: String,
    to: String,
    alarms: String,
    reason: String,
    created_by: String,
    active: bool,
}

impl Window {
    fn line(&self) -> String {
        let id = self.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let mark = if self.active { "active" } else { "" };
        format!(
            "{id:>5}  {:6}  {}  {}  {}  {} ({})",
            mark, self.from, self.to, self.alarms, self.reason, self.created_by
        )
    }
}

#[derive(Debug, Deserialize)]
struct Windows {
    mutes: Vec<Window>,
}

#[derive(Debug, Deserialize)]
struct Ended {
    id: i64,
}

pub(super) async fn add(wanted: Mute) -> anyhow::Result<()> {
    let body = json!({"for": wanted.length, "alarms": wanted.alarms, "reason": wanted.reason});
    let set: Window = wanted.remote.post("/api/v1/mutes", &body).await?;
    let id = set.id.unwrap_or_default();
    out::println(format_args!(
        "{} is muted until {}, window {id}",
        set.alarms, set.to
    ))?;
    Ok(())
}

pub(super) async fn list(wanted: Mutes) -> anyhow::Result<()> {
    let windows: Windows = wanted.remote.get("/api/v1/mutes", &[]).await?;
    for window in &windows.mutes {
        out::println(window.line())?;
    }
    if windows.mutes.is_empty() {
        out::println("no maintenance window is set")?;
    }
    Ok(())
}

pub(super) async fn end(wanted: Unmute) -> anyhow::Result<()> {
    let path = format!("/api/v1/mutes/{}", wanted.id);
    let ended: Ended = wanted.remote.delete(&path).await?;
    out::println(format_args!("window {} has ended", ended.id))?;
    Ok(())
}
