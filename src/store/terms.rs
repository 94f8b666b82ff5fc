//! The terms on which the ledger counts: prices, who is who, which source is preferred.

use std::sync::Arc;

use jiff::Timestamp;

use super::span::time_of;
use crate::model::business::Assumptions;
use crate::model::directory::{Attributed, Directory};
use crate::model::identity::Identity;
use crate::model::minute::Dimension;
use crate::model::price::{PriceTable, WriteLifetime};
use crate::model::tokens::Tokens;
use crate::model::usage::{Sku, UsageRecord, source};

/// A source that reports for control only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlRule {
    pub source: String,
    pub provider: Option<String>,
    pub team: Option<String>,
    pub account: Option<String>,
}

/// What minutes tell of business figures.
#[derive(Clone, Debug, Default)]
pub struct BusinessTerms {
    /// Something tells of fixed bugs, so that none is 0.
    pub tells_bugs: bool,
    pub assumptions: Option<Arc<Assumptions>>,
}

impl BusinessTerms {
    /// Metrics that are 0 in a minute in which nothing happened, because their source is there.
    pub(super) fn zeroed(&self) -> Vec<&'static str> {
        let mut zeroed = Vec::new();
        if self.tells_bugs {
            zeroed.push("bugs_fixed");
        }
        if let Some(assumed) = &self.assumptions
            && assumed.tell_middle()
        {
            zeroed.push("time_saved_minutes");
            if assumed.hourly_rate.is_some() {
                zeroed.push("cost_savings_usd");
            }
        }
        zeroed
    }

    /// The metrics that saved minutes add to; `minutes` are millionths.
    pub(super) fn saved(&self, minutes: i64) -> Vec<(&'static str, f64)> {
        let mut told = vec![("time_saved_minutes", minutes as f64 / 1e6)];
        let worth = self.assumptions.as_ref().and_then(|a| a.worth_of(minutes));
        told.extend(worth.map(|worth| ("cost_savings_usd", worth.0 as f64 / 1e12)));
        told
    }
}

/// The terms. They can be swapped while the ledger works; what was counted stays.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub prices: PriceTable,
    /// How cache writes are priced whose lifetime is not told.
    pub unknown_write: WriteLifetime,
    /// The same for single providers.
    pub unknown_write_of: Vec<(Box<str>, WriteLifetime)>,
    pub directory: Directory,
    /// Sources of request reports, preferred first.
    pub order: Vec<String>,
    pub control: Vec<ControlRule>,
    /// AWS accounts whose Bedrock logs count: nothing better tells of them. All other logs are a
    /// control total.
    pub counted_log_accounts: Vec<String>,
    /// Sets of dimensions by which minutes are kept apart, besides the totals.
    pub dimensions: Vec<Vec<Dimension>>,
    pub business: BusinessTerms,
}

/// Sources outside the configured order come after it, told apart by their names.
const UNLISTED: u32 = 1_000;

impl Terms {
    /// The place of a source in the order of preference.
    pub(super) fn rank(&self, name: &str) -> u32 {
        if name == source::RETRIES || name == source::EXPIRED {
            return u32::MAX;
        }
        if let Some(place) = self.order.iter().position(|listed| listed == name) {
            return u32::try_from(place).unwrap_or(UNLISTED);
        }
        let mut hash = super::fact::Hash::new("rank");
        hash.text(name);
        let spread = hash.short().cast_unsigned() >> 33;
        UNLISTED + u32::try_from(spread).unwrap_or(0) % (u32::MAX - UNLISTED - 1)
    }

    /// True if a report is for control only.
    pub(super) fn is_control(&self, record: &UsageRecord) -> bool {
        if *record.source == *source::BEDROCK_LOGS && !self.counts_logs_of(&record.identity) {
            return true;
        }
        let fits = |rule: &Option<String>, value: Option<&str>| {
            rule.as_deref().is_none_or(|rule| value == Some(rule))
        };
        self.control.iter().any(|rule| {
            *rule.source == *record.source
                && fits(&rule.provider, Some(&record.sku.provider))
                && fits(&rule.team, record.identity.team.as_deref())
                && fits(&rule.account, record.identity.account.as_deref())
        })
    }

    fn counts_logs_of(&self, identity: &Identity) -> bool {
        let account = identity.account.as_deref();
        account.is_some_and(|account| self.counted_log_accounts.iter().any(|own| own == account))
    }

    /// tallyd's own estimate in pico-USD for usage at a time, or `None` if a price is missing.
    pub fn cost(&self, tokens: &Tokens, sku: &Sku, at: Timestamp) -> Option<i64> {
        let write = self.write_lifetime(&sku.provider);
        let cost = self.prices.cost(tokens, sku, at, write).cost?;
        i64::try_from(cost.0).ok()
    }

    /// As what a provider's cache writes are priced whose lifetime is not told.
    #[must_use]
    pub fn write_lifetime(&self, provider: &str) -> WriteLifetime {
        let mut own = self.unknown_write_of.iter();
        own.find(|(name, _)| **name == *provider)
            .map_or(self.unknown_write, |(_, lifetime)| *lifetime)
    }

    /// The user and team under which an identity is published.
    pub(super) fn shown(&self, identity: &Identity, at_ms: i64) -> (String, String) {
        let at = time_of(at_ms);
        let attributed = self.attribute(identity, at);
        (
            attributed.user.into_owned(),
            attributed.team.unwrap_or_default().to_owned(),
        )
    }

    pub(super) fn attribute<'a>(&'a self, identity: &'a Identity, at: Timestamp) -> Attributed<'a> {
        self.directory.attribute(identity, at)
    }
}
