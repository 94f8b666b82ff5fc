//! A whole tallyd with a policy.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use tallyd::app::App;
use tallyd::clock::Clock;
use tallyd::config::{Config, Environment};
use tallyd::schedule::Stop;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) users: usize,
    pub(crate) teams: usize,
    /// Limits of single teams, beside the three that match every request.
    more_limits: usize,
}

pub(crate) const SMALL: Size = Size {
    users: 1_000,
    teams: 20,
    more_limits: 0,
};

pub(crate) const LARGE: Size = Size {
    users: 100_000,
    teams: 2_000,
    more_limits: 997,
};

/// Three limits that match every request. Further ones are for teams without requests, so that
/// the same work is done and only the policy is larger.
pub(crate) fn policy(size: Size) -> String {
    let mut text = String::from("timezone = \"Asia/Tokyo\"\n");
    for (name, per, window) in [
        ("user-day", "user", "day"),
        ("team-month", "team", "month"),
        ("project-month", "project", "month"),
    ] {
        // A string's `write!` cannot fail.
        let _ = write!(
            text,
            "[[limits]]\nname = \"{name}\"\nper = [\"{per}\"]\nunit = \"weighted_tokens\"\n\
             limit = 900_000_000_000_000\nwindow = \"{window}\"\n"
        );
    }
    for team in 0..size.more_limits {
        let _ = write!(
            text,
            "[[limits]]\nname = \"more-{team}\"\nmatch = {{ team = \"other{team}\" }}\n\
             per = [\"team\"]\nunit = \"tokens\"\nlimit = 1_000_000_000\nwindow = \"month\"\n"
        );
    }
    text
}

/// A daemon that answers.
pub(crate) struct Daemon {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    stop: Stop,
    running: JoinHandle<anyhow::Result<()>>,
    _folder: TempDir,
}

impl Daemon {
    pub(crate) async fn start(size: Size) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, policy(size))?;
        let text = format!(
            "[listen]\nhttp = \"127.0.0.1:0\"\notlp_http = \"\"\ngrpc = \"127.0.0.1:0\"\n\
             [store]\npath = \"{}\"\n[quota]\npolicy = \"{}\"\n",
            folder.path().join("store").display(),
            file.display()
        );
        let config = Config::parse(&text, &Environment::default())?;
        let app = App::build(config, Clock::System).await?;
        let addresses = app.addresses();
        let stop = Stop::new();
        let running = tokio::spawn(app.run(None, stop.clone()));
        Ok(Self {
            http: addresses.http.context("no HTTP listener")?,
            grpc: addresses.grpc.context("no gRPC listener")?,
            stop,
            running,
            _folder: folder,
        })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.stop();
        self.running.await?
    }
}
