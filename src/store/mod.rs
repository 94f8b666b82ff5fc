//! The ledger: what was used, durable and counted once.

use crate::model::query::{ControlRow, UsageQuery, UsageRow};

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The range covers too much for one answer.
    #[error("{0}")]
    TooLarge(String),
    #[error("the ledger cannot be read: {0}")]
    Store(String),
}

/// The ledger's handle. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ledger {}

impl Ledger {
    /// Usage in a range, grouped and sorted by the group's keys.
    pub async fn usage(&self, _query: UsageQuery) -> Result<Vec<UsageRow>, QueryError> {
        Ok(Vec::new())
    }

    /// Control totals by source, provider, model and UTC day.
    pub async fn control(
        &self,
        _from: jiff::Timestamp,
        _to: jiff::Timestamp,
    ) -> Result<Vec<ControlRow>, QueryError> {
        Ok(Vec::new())
    }

    /// Copies the whole ledger, consistently, into `path`.
    pub async fn backup(&self, _path: &std::path::Path) -> Result<u64, QueryError> {
        Ok(0)
    }
}
