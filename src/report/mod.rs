//! Reports: numbers first, then a form for them.
//!
//! A report is worked out as exact cells in tables; how it is rounded and written is decided
//! after that, so that every format tells the same.

pub mod allocate;
pub mod anomalies;
pub mod baseline;
pub mod budget;
pub mod business;
pub mod chargeback;
mod closed;
pub mod closing;
pub mod cost_detail;
pub mod costs;
mod currency;
pub mod data_quality;
pub mod deliver;
pub mod delta;
pub mod fixed;
mod fixed_lines;
pub mod forecast;
pub mod gauges;
pub mod grid;
pub mod month_close;
mod name;
pub mod period;
pub mod reconcile;
pub mod reconciliation;
pub mod roi;
pub mod rollout;
pub mod savings;
pub mod schedule;
pub mod sheet;
pub mod table;
#[cfg(test)]
mod tests;
pub mod trend;
pub mod write;

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use name::Name;
pub use table::{Cell, Column, Kind, Rows, Table};

use crate::config::Config;
use crate::heard::Heard;
use crate::model::bill::{Basis, Standing};
use crate::store::{Ledger, QueryError, Terms};

/// What reports are made from.
#[derive(Clone, Debug)]
pub struct Reports {
    pub ledger: Ledger,
    /// Replaced when the configuration is read again.
    pub config: Arc<ArcSwap<Config>>,
    /// Prices and the directory.
    pub terms: Arc<ArcSwap<Terms>>,
    /// Who reported, and what was refused at the doors.
    pub heard: Arc<Heard>,
}

impl Reports {
    /// Works a report out.
    ///
    /// Errors: a parameter or a setting that does not fit the report, or a ledger that cannot
    /// answer.
    pub async fn run(
        &self,
        name: Name,
        request: &Request,
        now: Timestamp,
    ) -> Result<Report, ReportError> {
        // Before the work: a currency without a rate costs no more than this.
        let rate = currency::rate(self, request, now)?;
        let mut report = match name {
            Name::Chargeback => closed::report(self, request, now).await,
            Name::CostDetail => {
                let report = cost_detail::report(self, request, now).await?;
                let report = fixed_lines::with_fixed(self, report, now).await?;
                closed::with_notes(self, report).await
            }
            Name::Reconciliation => reconciliation::report(self, request, now).await,
            Name::Budget => budget::report(self, request, now).await,
            Name::MonthClose => month_close::report(self, request, now).await,
            Name::Trend => trend::report(self, request, now).await,
            Name::Anomalies => anomalies::report(self, request, now).await,
            Name::DataQuality => data_quality::report(self, request, now).await,
            Name::Savings => savings::report(self, request, now).await,
            Name::Roi => roi::report(self, request, now).await,
            Name::Rollout => rollout::report(self, request, now).await,
        }?;
        if let Some(rate) = rate {
            currency::convert(&mut report, &rate);
        }
        Ok(report)
    }

    /// The manifest of a report that is made now.
    #[must_use]
    pub fn manifest(&self, report: &'static str, request: &Request, now: Timestamp) -> Manifest {
        let terms = self.terms.load();
        let (version, sha256) = (terms.prices.version(), terms.prices.sha256());
        Manifest {
            report,
            made_at: now,
            request: request.clone(),
            standing: Standing::Provisional,
            prices: (version.to_owned(), sha256.to_owned()),
            rate: None,
            watermarks: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The message begins with the name of the parameter and says what would be right.
    #[error("{0}")]
    Parameter(String),
    /// The message names the setting that is missing.
    #[error("{0}")]
    NotConfigured(String),
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// What is asked of every report.
#[derive(Clone, Debug)]
pub struct Request {
    /// Half-open.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Of days and months, and of the times shown.
    pub zone: TimeZone,
    /// Columns that split lines, in the order asked; empty: those of the report.
    pub group_by: Vec<Arc<str>>,
    pub basis: Basis,
    /// Decimal places of money shown, 2 to 12; with 12 it is exact.
    pub decimals: u32,
    /// ISO 4217 code in which money is shown; the ledger is in USD.
    pub currency: Arc<str>,
}

impl Request {
    /// Errors: `group_by` is given, and this says why the report has none.
    fn ungrouped(&self, why: &str) -> Result<(), ReportError> {
        if self.group_by.is_empty() {
            return Ok(());
        }
        Err(ReportError::Parameter(format!("group_by: {why}")))
    }
}

/// A report that was worked out.
#[derive(Debug)]
pub struct Report {
    /// `chargeback`, ... as in the address.
    pub name: &'static str,
    /// One sentence for whoever reads it.
    pub title: String,
    /// The first one is the report, the others explain it.
    pub tables: Vec<Table>,
    pub manifest: Manifest,
}

/// What a report was made of, so that it can be checked and made again.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub report: &'static str,
    pub made_at: Timestamp,
    pub request: Request,
    /// How sure the least sure number is.
    pub standing: Standing,
    /// Version and SHA-256 of the price table.
    pub prices: (String, String),
    /// The exchange rate from USD as decimal text with its day and source; `None` for USD.
    pub rate: Option<(String, String)>,
    /// How far each source was read, by its name.
    pub watermarks: Vec<(String, Timestamp)>,
    /// What a reader must know before using the numbers.
    pub notes: Vec<String>,
}
