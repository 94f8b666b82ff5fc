//! What prices are lacking, which table was in force, and what pricing anew has changed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::{OptionalExtension as _, Row, params};

use super::dict::sku_of;
use super::query::Reader;
use super::reprice::{date_of, day_number};
use super::span::{Spans, start_of, time_of};
use super::sums::each_sum;
use super::terms::Terms;
use super::{Ledger, QueryError, StoreError};
use crate::model::bill::PricedKind;
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::query::UsageQuery;
use crate::model::usage::{Band, Sku, Tier};

/// Reported names told of one missing price.
const RAW_MODELS: usize = 3;

/// Adjustments in one answer.
pub const MAX_PRICE_ADJUSTMENTS: usize = 10_000;

/// Usage that could not be priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPrice {
    pub provider: Box<str>,
    pub model: Box<str>,
    pub scope: Box<str>,
    pub tier: Tier,
    pub band: Band,
    /// Some names under which it was reported.
    pub raw_models: Vec<Box<str>>,
    pub requests: u64,
    pub tokens: u64,
    /// Kinds that have no price in the table of today; empty if only the sums are old.
    pub kinds: Vec<PricedKind>,
    /// UTC days.
    pub first: Date,
    pub last: Date,
}

/// One sum that was priced anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceAdjustment {
    pub run: i64,
    /// The UTC day.
    pub day: Date,
    pub identity: Identity,
    pub sku: Sku,
    pub old_cost: PicoUsd,
    pub new_cost: PicoUsd,
    pub old_unpriced: u64,
    pub new_unpriced: u64,
    /// Empty if not known.
    pub old_version: Box<str>,
    pub new_version: Box<str>,
    pub at: Timestamp,
    pub reason: Box<str>,
    pub created_by: Box<str>,
}

impl Ledger {
    /// What was used without a price in a range, the most tokens first.
    pub async fn missing_prices(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<MissingPrice>, QueryError> {
        let inner = self.inner.clone();
        self.read(move |reader| reader.missing_prices(from, to, &inner.terms.load(), &inner.spans))
            .await
    }

    /// Notes that a price table is in force, unless it is so already.
    pub async fn note_prices(&self, at: Timestamp) -> Result<(), QueryError> {
        let terms = self.inner.terms.load_full();
        self.change(move |transaction| {
            let sha256 = terms.prices.sha256();
            let last: Option<String> = transaction
                .query_row(
                    "SELECT sha256 FROM price_table_use ORDER BY at DESC LIMIT 1",
                    [],
                    |row| row.get(0),
                )
                .optional()
                .map_err(StoreError::sql("find the price table in force"))?;
            if last.as_deref() == Some(sha256) {
                return Ok(());
            }
            transaction
                .execute(
                    "INSERT OR REPLACE INTO price_table_use (at, version, sha256) VALUES (?, ?, ?)",
                    params![at.as_millisecond(), terms.prices.version(), sha256],
                )
                .map(drop)
                .map_err(StoreError::sql("note the price table"))
        })
        .await
    }

    /// What was priced anew of some UTC days, in order of day and run.
    ///
    /// Errors: more rows than [`MAX_PRICE_ADJUSTMENTS`].
    pub async fn price_adjustments(
        &self,
        from: Date,
        to: Date,
    ) -> Result<Vec<PriceAdjustment>, QueryError> {
        let days = [day_number(from), day_number(to)];
        let rows: Vec<PriceAdjustment> = self
            .read(move |reader| {
                let found = reader
                    .connection
                    .prepare_cached(ADJUSTMENTS)
                    .and_then(|mut select| {
                        let limit = MAX_PRICE_ADJUSTMENTS + 1;
                        let rows =
                            select.query_map(params![days[0], days[1], limit], adjustment)?;
                        rows.collect()
                    });
                Ok(found.map_err(StoreError::sql("read adjustments of prices"))?)
            })
            .await?;
        if rows.len() > MAX_PRICE_ADJUSTMENTS {
            return Err(QueryError::TooLarge(format!(
                "there are more than {MAX_PRICE_ADJUSTMENTS} adjustments: ask for fewer days"
            )));
        }
        Ok(rows)
    }
}

/// Columns in the order of [`sku_of`] and [`identity_of`], then the adjustment's own.
const ADJUSTMENTS: &str = "SELECT sku.id, sku.provider, sku.model, sku.raw_model, sku.scope, \
    sku.region, sku.tier, sku.band, identity.origin, identity.user, identity.device, \
    identity.account, identity.organization, identity.team, identity.project, \
    identity.department, identity.cost_center, identity.role, price_adjustment.day, \
    price_adjustment.run, old_cost, new_cost, old_unpriced, new_unpriced, old_version, version, \
    reprice_run.at, reason, created_by FROM price_adjustment \
    JOIN reprice_run ON reprice_run.id = price_adjustment.run \
    JOIN sku ON sku.id = price_adjustment.sku \
    JOIN identity ON identity.id = price_adjustment.identity \
    WHERE price_adjustment.day >= ? AND price_adjustment.day < ? \
    ORDER BY price_adjustment.day, price_adjustment.run, price_adjustment.identity, \
    price_adjustment.sku LIMIT ?";

fn adjustment(row: &Row<'_>) -> rusqlite::Result<PriceAdjustment> {
    let tokens = |place: usize| -> rusqlite::Result<u64> {
        let count: i64 = row.get(place)?;
        Ok(count.max(0).unsigned_abs())
    };
    let money = |place: usize| row.get::<_, i64>(place).map(|cost| PicoUsd(cost.into()));
    Ok(PriceAdjustment {
        run: row.get(19)?,
        day: date_of(row.get(18)?),
        identity: identity_at(row)?,
        sku: sku_of(row)?,
        old_cost: money(20)?,
        new_cost: money(21)?,
        old_unpriced: tokens(22)?,
        new_unpriced: tokens(23)?,
        old_version: row.get(24)?,
        new_version: row.get(25)?,
        at: time_of(row.get(26)?),
        reason: row.get(27)?,
        created_by: row.get(28)?,
    })
}

fn identity_at(row: &Row<'_>) -> rusqlite::Result<Identity> {
    let origin: Box<str> = row.get(8)?;
    Ok(Identity {
        origin: crate::model::identity::Origin::parse(&origin).unwrap_or_default(),
        user: row.get(9)?,
        device: row.get(10)?,
        account: row.get(11)?,
        organization: row.get(12)?,
        team: row.get(13)?,
        project: row.get(14)?,
        department: row.get(15)?,
        cost_center: row.get(16)?,
        role: row.get(17)?,
    })
}

/// Provider, model, scope, tier and context band.
type Missing = (Box<str>, Box<str>, Box<str>, Tier, Band);

#[derive(Debug)]
struct Gap {
    raw_models: BTreeSet<Box<str>>,
    requests: i64,
    tokens: i64,
    kinds: BTreeSet<PricedKind>,
    first: Timestamp,
    last: Timestamp,
}

impl Reader {
    fn missing_prices(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        terms: &Terms,
        spans: &Spans,
    ) -> Result<Vec<MissingPrice>, QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        let query = UsageQuery::by_day(from, to);
        let mut gaps: BTreeMap<Missing, Gap> = BTreeMap::new();
        each_sum(&self.connection, &query, &spans, &[], |place, sums| {
            if sums.unpriced <= 0 {
                return Ok(());
            }
            let Some(sku) = self.skus.get(&place.sku) else {
                return Err(StoreError::Dangling { id: place.sku }.into());
            };
            let at = start_of(place.start);
            let key = (
                sku.provider.clone(),
                sku.model.clone(),
                sku.scope.clone(),
                sku.tier,
                sku.band,
            );
            let gap = gaps.entry(key).or_insert_with(|| Gap {
                raw_models: BTreeSet::new(),
                requests: 0,
                tokens: 0,
                kinds: BTreeSet::new(),
                first: at,
                last: at,
            });
            if gap.raw_models.len() < RAW_MODELS {
                gap.raw_models.insert(sku.raw_model.clone());
            }
            gap.requests += sums.requests;
            gap.tokens += sums.unpriced;
            gap.first = gap.first.min(at);
            gap.last = gap.last.max(at);
            let prices = terms.prices.unit(sku, at).unwrap_or_default();
            let write = terms.write_lifetime(&sku.provider);
            let kinds = PricedKind::ALL.into_iter().zip(sums.tokens);
            gap.kinds.extend(
                kinds
                    .filter(|(kind, count)| *count > 0 && prices.of(*kind, write).is_none())
                    .map(|(kind, _)| kind),
            );
            Ok(())
        })?;
        let mut missing: Vec<MissingPrice> = gaps.into_iter().map(told).collect();
        missing.sort_by_key(|missing| std::cmp::Reverse(missing.tokens));
        Ok(missing)
    }
}

fn told(((provider, model, scope, tier, band), gap): (Missing, Gap)) -> MissingPrice {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    MissingPrice {
        provider,
        model,
        scope,
        tier,
        band,
        raw_models: gap.raw_models.into_iter().collect(),
        requests: gap.requests.max(0).unsigned_abs(),
        tokens: gap.tokens.max(0).unsigned_abs(),
        kinds: gap.kinds.into_iter().collect(),
        first: day(gap.first),
        last: day(gap.last),
    }
}
