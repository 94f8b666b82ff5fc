//! What is read on a schedule: the host today, clouds and bills later.
//!
//! A collector is one file here and one line in the list of jobs. It returns its values and
//! knows nothing of the registry; [`run`] does the timing, the counting of failures and the
//! publishing.

pub mod bedrock;
pub mod bedrock_logs;
mod cgroup;
pub mod cost;
pub mod run;
pub mod system;

use std::error::Error;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::registry::Sample;

/// Something that is read on a schedule.
pub trait Collector: Send {
    /// The value of the label `collector`, and the owner of its series in the registry.
    fn name(&self) -> &'static str;

    /// Reads all values once. What the round before returned and this one does not, vanishes.
    ///
    /// The future may be dropped when its time is over. Reads that block belong into
    /// `tokio::task::spawn_blocking`.
    fn collect(&mut self, now: Timestamp) -> BoxFuture<'_, Result<Vec<Sample>, CollectError>>;
}

/// Why a round brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("cannot read {what}")]
    Read {
        what: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the collector panicked: {0}")]
    Panicked(String),
}
