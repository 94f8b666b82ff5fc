//! The names of reports.

/// A report that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    Chargeback,
    CostDetail,
    Reconciliation,
    Budget,
    MonthClose,
    Trend,
    Anomalies,
    DataQuality,
    Savings,
    Roi,
    Rollout,
}

impl Name {
    pub const ALL: [Self; 11] = [
        Self::Chargeback,
        Self::CostDetail,
        Self::Reconciliation,
        Self::Budget,
        Self::MonthClose,
        Self::Trend,
        Self::Anomalies,
        Self::DataQuality,
        Self::Savings,
        Self::Roi,
        Self::Rollout,
    ];

    /// The name in addresses and files. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chargeback => "chargeback",
            Self::CostDetail => "cost_detail",
            Self::Reconciliation => "reconciliation",
            Self::Budget => "budget",
            Self::MonthClose => "month-close",
            Self::Trend => "trend",
            Self::Anomalies => "anomalies",
            Self::DataQuality => "data-quality",
            Self::Savings => "savings",
            Self::Roi => "roi",
            Self::Rollout => "rollout",
        }
    }

    /// Underscores and hyphens are the same.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let same = |known: &str| {
            let fold = |byte: u8| if byte == b'_' { b'-' } else { byte };
            known.bytes().map(fold).eq(name.bytes().map(fold))
        };
        Self::ALL.into_iter().find(|report| same(report.name()))
    }
}
