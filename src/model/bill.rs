//! What a provider billed: lines of invoices and of cost explorers, as they came.
//!
//! A bill is kept beside the estimate and never mixed with it. Amounts are exact; whatever is not
//! understood stays as [`Charge::Unclassified`].
#![deny(clippy::float_arithmetic)]

pub mod classify;
pub mod import;
mod region;
mod words;

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::money::PicoUsd;
use super::usage::Tier;

/// Which amount of a bill counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Basis {
    /// What the invoice says, before credits of other lines.
    #[default]
    Unblended,
    /// After discounts.
    Net,
    /// The average over an organisation's accounts.
    Blended,
}

impl Basis {
    pub const ALL: [Self; 3] = [Self::Unblended, Self::Net, Self::Blended];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unblended => "unblended",
            Self::Net => "net",
            Self::Blended => "blended",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|basis| basis.name() == name)
    }
}

/// What a line of a bill is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Charge {
    /// Tokens of a model.
    Tokens,
    /// Use of Claude that is not billed by token: web searches, provisioned throughput.
    OtherUsage,
    Credit,
    Refund,
    Tax,
    /// Support, subscriptions, rounding of a marketplace.
    Fee,
    /// It looks like Claude, but the line is not understood.
    Unclassified,
}

impl Charge {
    pub const ALL: [Self; 7] = [
        Self::Tokens,
        Self::OtherUsage,
        Self::Credit,
        Self::Refund,
        Self::Tax,
        Self::Fee,
        Self::Unclassified,
    ];

    /// The name in the ledger and in reports. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::OtherUsage => "other_usage",
            Self::Credit => "credit",
            Self::Refund => "refund",
            Self::Tax => "tax",
            Self::Fee => "fee",
            Self::Unclassified => "unclassified",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|charge| charge.name() == name)
    }
}

/// Kinds of tokens that have prices of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PricedKind {
    Input,
    Output,
    CacheRead,
    CacheWrite5m,
    CacheWrite1h,
    /// A cache write whose lifetime is not told. No bill has it, telemetry does.
    CacheWriteUnknown,
}

impl PricedKind {
    /// In the order of [`Tokens`](super::tokens::Tokens).
    pub const ALL: [Self; 6] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::CacheWriteUnknown,
    ];

    /// The name in the ledger and in reports. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::CacheWriteUnknown => "cache_write_unknown",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What tokens of a line were of. Only what the line tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BilledSku {
    /// The canonical name: `claude-sonnet-4-6`.
    pub model: Option<Box<str>>,
    pub kind: Option<PricedKind>,
    /// As [`Sku::scope`](super::usage::Sku): `global`, `us`, `in_region`, ...
    pub scope: Option<Box<str>>,
    /// `us-east-1`.
    pub region: Option<Box<str>>,
    pub tier: Tier,
    /// True if the line is at the price of long contexts.
    pub long_context: bool,
}

/// Amounts of one line in its currency, in 1e-12 of a unit; `None` where the provider gave none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    pub unblended: Option<PicoUsd>,
    pub net: Option<PicoUsd>,
    pub blended: Option<PicoUsd>,
}

impl Amounts {
    /// The amount on a basis; where the provider gave none for it, the unblended one.
    #[must_use]
    pub fn on(&self, basis: Basis) -> PicoUsd {
        let wanted = match basis {
            Basis::Unblended => self.unblended,
            Basis::Net => self.net,
            Basis::Blended => self.blended,
        };
        let given = [wanted, self.unblended, self.net, self.blended];
        given.into_iter().flatten().next().unwrap_or_default()
    }
}

/// One line of a bill: one service and usage type on one UTC day, perhaps of one person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BillLine {
    /// As in usage: `bedrock`, `vertex`, `anthropic`, or what an imported file says.
    pub provider: Box<str>,
    /// Account, project or organisation that pays; empty if not told.
    pub account: Box<str>,
    /// UTC.
    pub day: Date,
    pub charge: Charge,
    pub sku: BilledSku,
    /// As billed, for whoever looks a line up.
    pub service: Box<str>,
    pub usage_type: Box<str>,
    /// Who used it, raw, if the bill tells it for this line.
    pub user: Option<Box<str>>,
    /// Decimal text and its unit, as billed.
    pub quantity: Box<str>,
    pub unit: Box<str>,
    /// The quantity in tokens, if the unit is understood.
    pub tokens: Option<u64>,
    /// ISO 4217. Amounts of different currencies are never added.
    pub currency: Box<str>,
    pub amounts: Amounts,
}

/// How sure a billed day is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// The provider calls it an estimate, or it is too young.
    Provisional,
    /// The provider calls it final, and the time for corrections is over.
    Final,
    /// The month was closed with it; what changes now is an adjustment.
    Closed,
}

impl Standing {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Final => "final",
            Self::Closed => "closed",
        }
    }
}

/// When a billed day is no longer corrected: the invoice of a month closes between the 3rd and the
/// 7th of the next one, so the 10th of it.
#[must_use]
pub fn settles_at(day: Date) -> Timestamp {
    let tenth = day
        .first_of_month()
        .checked_add(Span::new().months(1).days(9))
        .unwrap_or(Date::MAX);
    let zoned = tenth.to_zoned(TimeZone::UTC);
    zoned.map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// All lines of one day of one bill. A day is replaced as a whole: what it no longer says is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillDay {
    /// Where it was read: `cost_explorer`, `import:aws`, ...
    pub source: Box<str>,
    /// Whose bill it is; lines may be of another door to it, such as `bedrock_mantle`.
    pub provider: Box<str>,
    pub account: Box<str>,
    /// UTC.
    pub day: Date,
    /// The provider calls it an estimate.
    pub estimated: bool,
    /// Counted from 1; grows each time the lines change.
    pub revision: u32,
    pub pulled_at: Timestamp,
    pub lines: Vec<BillLine>,
}

impl BillDay {
    /// True if it came from a file that somebody gave, not from a collector.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.source.starts_with("import:")
    }

    /// How sure the day is by itself; whether its month was closed is told elsewhere. Never
    /// [`Standing::Closed`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.estimated || self.pulled_at < settles_at(self.day) {
            Standing::Provisional
        } else {
            Standing::Final
        }
    }
}

/// What a provider expects the rest of a month to cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillForecast {
    pub account: Box<str>,
    /// UTC days, half-open: from the day it was made to the end of the month.
    pub from: Date,
    pub to: Date,
    /// ISO 4217.
    pub currency: Box<str>,
    pub low: PicoUsd,
    pub mid: PicoUsd,
    pub high: PicoUsd,
    /// How sure the provider is that it will be within low and high, in percent.
    pub level: u8,
    pub made_at: Timestamp,
}

/// Which of these days count, one by one: two sources may tell of one day of one account, and
/// only one of them may be added.
///
/// An imported file goes before what a collector read, because somebody chose it and it may name
/// persons; it speaks for its own account and for those of its lines. Of two files the one read
/// last counts.
#[must_use]
pub fn counted(days: &[BillDay]) -> Vec<bool> {
    let mut speakers: HashMap<(&str, Date, &str), &BillDay> = HashMap::new();
    for day in days.iter().filter(|day| day.is_imported()) {
        let accounts = day.lines.iter().map(|line| &*line.account);
        for account in accounts.chain([&*day.account]) {
            let speaker = speakers
                .entry((&day.provider, day.day, account))
                .or_insert(day);
            if speaker.pulled_at < day.pulled_at {
                *speaker = day;
            }
        }
    }
    let counts = |day: &BillDay| {
        let speaker = speakers.get(&(&*day.provider, day.day, &*day.account));
        speaker.is_none_or(|speaker| std::ptr::eq(*speaker, day))
    };
    days.iter().map(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_counts_for_a_day_of_an_account() {
        let day = |source: &str, account: &str, pulled_at: &str, line_of: &[&str]| {
            let line = |account: &&str| BillLine {
                provider: "bedrock".into(),
                account: (*account).into(),
                day: "2026-01-31".parse().unwrap(),
                charge: Charge::Tokens,
                sku: BilledSku::default(),
                service: "".into(),
                usage_type: "".into(),
                user: None,
                quantity: "".into(),
                unit: "".into(),
                tokens: None,
                currency: "USD".into(),
                amounts: Amounts::default(),
            };
            BillDay {
                source: source.into(),
                provider: "bedrock".into(),
                account: account.into(),
                day: "2026-01-31".parse().unwrap(),
                estimated: false,
                revision: 1,
                pulled_at: pulled_at.parse().unwrap(),
                lines: line_of.iter().map(line).collect(),
            }
        };
        let days = [
            day("cost_explorer", "payer", "2026-02-11T00:00:00Z", &[]),
            day("cost_explorer", "member", "2026-02-11T00:00:00Z", &[]),
            day("cost_explorer", "other", "2026-02-11T00:00:00Z", &[]),
            day("import:aws", "payer", "2026-02-10T00:00:00Z", &["member"]),
            day("import:csv", "payer", "2026-02-09T00:00:00Z", &[]),
            BillDay {
                provider: "vertex".into(),
                ..day("import:vertex", "payer", "2026-02-12T00:00:00Z", &[])
            },
        ];
        assert_eq!(counted(&days), [false, false, true, true, false, true]);
    }

    #[test]
    fn a_day_is_final_when_it_was_read_after_the_tenth_of_the_next_month() {
        let day = |day: &str, pulled_at: &str, estimated| BillDay {
            source: "cost_explorer".into(),
            provider: "bedrock".into(),
            account: "111122223333".into(),
            day: day.parse().unwrap(),
            estimated,
            revision: 1,
            pulled_at: pulled_at.parse().unwrap(),
            lines: Vec::new(),
        };
        let standing = [
            day("2026-01-31", "2026-02-09T23:59:59Z", false),
            day("2026-01-31", "2026-02-10T00:00:00Z", true),
            day("2026-01-31", "2026-02-10T00:00:00Z", false),
            day("2026-12-01", "2027-01-10T00:00:00Z", false),
        ]
        .map(|day| day.standing());
        assert_eq!(
            standing,
            [
                Standing::Provisional,
                Standing::Provisional,
                Standing::Final,
                Standing::Final
            ]
        );
    }
}
