//! What prompt caching changed, from roll-ups: cheap enough for gauges.

use std::collections::{BTreeMap, HashMap};

use super::query::Reader;
use super::rollup::Sums;
use super::span::{Spans, start_of};
use super::sums::each_sum;
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::money::PicoUsd;
use crate::model::price::UnitPrices;
use crate::model::query::{Dimension, UsageQuery};
use crate::model::saving::caching;
use crate::model::tokens::Tokens;

/// What the cache did for one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Tokens that came from the cache.
    pub reads: u64,
    /// All tokens that were read: input, cache reads and cache writes.
    pub context: u64,
    /// Reads at the price of input, less what they cost, less what writes cost above input.
    /// Negative if the cache cost more than it saved; tokens without a price add nothing.
    pub saved: PicoUsd,
}

/// By provider and model.
pub type CacheUses = BTreeMap<(Box<str>, Box<str>), CacheUse>;

/// Quarter hours of a UTC day: prices change at most once a day.
const QUARTERS_A_DAY: i64 = 96;

impl Ledger {
    /// What the cache did in a half-open range, by provider and model.
    pub async fn cache_uses(&self, query: UsageQuery) -> Result<CacheUses, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| {
            reader.begin()?;
            let uses = reader.cache_uses(&query, &inner.terms.load(), &inner.spans);
            reader.end()?;
            uses
        })
        .await
    }
}

impl Reader {
    fn cache_uses(
        &mut self,
        query: &UsageQuery,
        terms: &Terms,
        spans: &Spans,
    ) -> Result<CacheUses, QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        // Days, and no longer roll-ups: a price may change within a month.
        let query = UsageQuery {
            group_by: vec![Dimension::Day],
            ..query.clone()
        };
        let mut uses = CacheUses::new();
        let mut prices: HashMap<(i64, i64), UnitPrices> = HashMap::new();
        each_sum(&self.connection, &query, &spans, &[], |place, sums| {
            let id = place.sku;
            let sku = self.skus.get(&id).ok_or(StoreError::Dangling { id })?;
            let day = place.start.div_euclid(QUARTERS_A_DAY);
            let prices = prices.entry((id, day)).or_insert_with(|| {
                let unit = terms.prices.unit(sku, start_of(place.start));
                unit.unwrap_or_default()
            });
            let tokens = tokens_of(sums);
            let cached = caching(&tokens, prices, terms.write_lifetime(&sku.provider));
            let cached = cached.unwrap_or_default();
            let key = (sku.provider.clone(), sku.model.clone());
            let one = uses.entry(key).or_default();
            one.reads = one.reads.saturating_add(tokens.cache_read);
            one.context = one.context.saturating_add(tokens.context());
            let saved = cached
                .saved_by_reads
                .0
                .saturating_sub(cached.write_premium.0);
            one.saved = PicoUsd(one.saved.0.saturating_add(saved));
            Ok(())
        })?;
        Ok(uses)
    }
}

fn tokens_of(sums: &Sums) -> Tokens {
    let [input, output, cache_read, short, long, unknown] =
        sums.tokens.map(|count| u64::try_from(count).unwrap_or(0));
    Tokens {
        input,
        output,
        cache_read,
        cache_write_5m: short,
        cache_write_1h: long,
        cache_write_unknown: unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::clock::Clock;
    use crate::model::price::{EMBEDDED, PriceTable};
    use crate::model::usage::{Band, Intake, Sku, UsageRecord};
    use crate::store::Settings;

    fn record(id: &str, model: &str, at: Timestamp, tokens: Tokens) -> UsageRecord {
        UsageRecord {
            sku: Arc::new(Sku {
                band: Band::of(&tokens),
                ..Sku::plain(model)
            }),
            tokens,
            ..UsageRecord::plain("gateway", id, at)
        }
    }

    #[tokio::test]
    async fn what_the_cache_saved_is_told_by_model_and_nothing_is_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            folder: folder.path().to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Terms {
            prices: PriceTable::parse(EMBEDDED).unwrap(),
            ..Terms::default()
        };
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let opened = Ledger::open(&settings, terms, Clock::manual(now));
        let (ledger, thread) = opened.unwrap().start(Box::new(|_, _| {})).unwrap();
        let cached = Tokens {
            input: 100,
            output: 5,
            cache_read: 800,
            cache_write_5m: 100,
            ..Tokens::default()
        };
        let day = |day: &str| format!("2026-11-{day}T10:00:00Z").parse().unwrap();
        let records = vec![
            record("before", "claude-opus-4-8", day("09"), cached),
            record("a", "claude-opus-4-8", day("10"), cached),
            record("b", "claude-opus-4-8", day("22"), cached),
            record("c", "claude-of-tomorrow", day("22"), cached),
        ];
        let intake = Intake {
            records,
            ..Intake::default()
        };
        ledger.append(intake).await.unwrap();
        let query = UsageQuery {
            from: "2026-11-10T00:00:00Z".parse().unwrap(),
            to: now,
            group_by: Vec::new(),
            zone: TimeZone::UTC,
            user: None,
        };
        let uses = ledger.cache_uses(query).await.unwrap();
        let of = |model: &str| uses[&("anthropic".into(), model.into())].clone();
        assert_eq!(
            [of("claude-opus-4-8"), of("claude-of-tomorrow")],
            [
                CacheUse {
                    reads: 1_600,
                    context: 2_000,
                    saved: PicoUsd(1_600 * 4_500_000 - 200 * 1_250_000),
                },
                CacheUse {
                    reads: 800,
                    context: 1_000,
                    saved: PicoUsd::ZERO,
                },
            ]
        );
        ledger.close();
        thread.join();
    }
}
