//! The names of reports.

/// A report that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    Chargeback,
    CostDetail,
    Reconciliation,
    Savings,
}

impl Name {
    pub const ALL: [Self; 4] = [
        Self::Chargeback,
        Self::CostDetail,
        Self::Reconciliation,
        Self::Savings,
    ];

    /// The name in addresses and files. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chargeback => "chargeback",
            Self::CostDetail => "cost_detail",
            Self::Reconciliation => "reconciliation",
            Self::Savings => "savings",
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
