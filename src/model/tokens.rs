//! Token counts of one model request, and the sums of many.
//!
//! The six kinds are disjoint: `input` never contains cache reads or writes. Sources that report
//! an inclusive input are normalised at the door.

/// Counts of tokens by kind. All are plain token counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    /// Cache writes whose lifetime the source does not tell; OpenTelemetry never does.
    pub cache_write_unknown: u64,
}

impl Tokens {
    /// The largest count of one kind in one record. Above it a counter is corrupt, and the bound
    /// keeps every sum of a ledger row within 63 bits.
    pub const MAX: u64 = 1 << 53;

    /// All cache writes together, the figure that every source has.
    #[must_use]
    pub fn cache_write(&self) -> u64 {
        self.cache_write_5m + self.cache_write_1h + self.cache_write_unknown
    }

    /// The plain sum of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input + self.output + self.cache_read + self.cache_write()
    }

    /// What the model read: uncached input, cache reads and cache writes. Context bands of the
    /// price table compare against this (LiteLLM price map: threshold on total input).
    #[must_use]
    pub fn context(&self) -> u64 {
        self.input + self.cache_read + self.cache_write()
    }

    /// The count of one published kind.
    #[must_use]
    pub fn of(&self, kind: TokenKind) -> u64 {
        match kind {
            TokenKind::Input => self.input,
            TokenKind::Output => self.output,
            TokenKind::CacheRead => self.cache_read,
            TokenKind::CacheCreation => self.cache_write(),
        }
    }
}

/// The kinds that `/metrics` and the client's own telemetry tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenKind {
    Input,
    Output,
    CacheRead,
    CacheCreation,
}

impl TokenKind {
    pub const ALL: [Self; 4] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheCreation,
    ];

    /// The label value of `type`, as Claude Code spells it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cacheRead",
            Self::CacheCreation => "cacheCreation",
        }
    }

    /// The inverse of [`TokenKind::label`].
    #[must_use]
    pub fn parse(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}
