//! What a contract makes of list prices: multipliers, and rates of its own.
#![deny(clippy::float_arithmetic)]

use std::sync::Arc;

use jiff::Timestamp;

use super::read::FileRow;
use super::{ONE, Rate, Rates, Time, UnitPrices, scaled};

/// What list prices are multiplied with.
#[derive(Clone, Debug)]
pub(super) struct Multiplier {
    pub(super) provider: Box<str>,
    /// All models if not given.
    pub(super) model: Option<Box<str>>,
    /// All scopes if not given.
    pub(super) scope: Option<Box<str>>,
    /// In millionths.
    pub(super) factor: u64,
    pub(super) time: Time,
    pub(super) source: Arc<str>,
}

/// What a contract says of one key during some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'c> {
    pub(super) multiplier: Option<&'c Multiplier>,
    pub(super) rates: Option<&'c FileRow>,
}

impl Multiplier {
    fn fits(&self, row: &FileRow) -> bool {
        self.provider == row.provider
            && self.model.as_ref().is_none_or(|model| *model == row.model)
            && self.scope.as_ref().is_none_or(|scope| *scope == row.scope)
    }

    /// The one that says more is meant where two fit.
    fn precision(&self) -> u8 {
        2 * u8::from(self.model.is_some()) + u8::from(self.scope.is_some())
    }

    /// True if both say as much of the same rows at the same time.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        self.provider == other.provider
            && self.model == other.model
            && self.scope == other.scope
            && self.time.both(other.time).is_some()
    }
}

/// The times into which a contract cuts the time of a list row.
pub(super) fn pieces(row: &FileRow, rates: &[FileRow], multipliers: &[Multiplier]) -> Vec<Time> {
    let of_rates = rates.iter().filter(|rates| rates.same_key(row));
    let of_multipliers = multipliers.iter().filter(|multiplier| multiplier.fits(row));
    let times = of_rates.map(|rates| rates.time);
    let mut edges: Vec<Timestamp> = times
        .chain(of_multipliers.map(|multiplier| multiplier.time))
        .flat_map(|time| [time.from, time.to])
        .filter(|edge| row.time.from < *edge && *edge < row.time.to)
        .chain([row.time.from, row.time.to])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    let pairs = edges.windows(2);
    pairs
        .map(|pair| Time {
            from: pair[0],
            to: pair[1],
        })
        .collect()
}

/// What a contract says of a list row at a time.
pub(super) fn terms<'c>(
    row: &FileRow,
    at: Timestamp,
    rates: &'c [FileRow],
    multipliers: &'c [Multiplier],
) -> Terms<'c> {
    let mut of_rates = rates.iter().filter(|rates| rates.same_key(row));
    let of_multipliers = multipliers.iter().filter(|multiplier| multiplier.fits(row));
    Terms {
        multiplier: of_multipliers
            .filter(|multiplier| multiplier.time.holds(at))
            .max_by_key(|multiplier| multiplier.precision()),
        rates: of_rates.find(|rates| rates.time.holds(at)),
    }
}

impl Terms<'_> {
    /// True if the contract says nothing.
    pub(super) fn is_silent(&self) -> bool {
        self.multiplier.is_none() && self.rates.is_none()
    }

    /// The contract's prices: its own rates, and the multiplied list price where it names none.
    /// `None` if a fraction of a pico-USD would be left.
    pub(super) fn apply(&self, list: &Rate) -> Option<Rate> {
        let factor = self.multiplier.map_or(ONE, |multiplier| multiplier.factor);
        let mut rate = list.times(factor)?;
        if let Some(own) = self.rates {
            rate = rate.with(&own.rate);
        }
        rate.is_whole().then_some(rate)
    }

    pub(super) fn source(&self) -> Option<Arc<str>> {
        let rates = self.rates.map(|rates| &rates.source);
        rates.or(self.multiplier.map(|m| &m.source)).cloned()
    }
}

impl Rate {
    fn times(&self, factor: u64) -> Option<Self> {
        let mut rate = *self;
        rate.base = rate.base.times(factor)?;
        if let Some(long) = &mut rate.long_context {
            long.rates = long.rates.times(factor)?;
        }
        Some(rate)
    }

    /// With what another says in the place of the own.
    fn with(&self, other: &Self) -> Self {
        let long_context = match (self.long_context, other.long_context) {
            (Some(own), Some(theirs)) if own.above == theirs.above => Some(super::LongContext {
                rates: own.rates.with(&theirs.rates),
                ..own
            }),
            (own, theirs) => theirs.or(own),
        };
        Self {
            base: self.base.with(&other.base),
            long_context,
            fast: other.fast.or(self.fast),
            us_geo: other.us_geo.or(self.us_geo),
            regional: other.regional.or(self.regional),
        }
    }
}

impl Rates {
    fn times(&self, factor: u64) -> Option<Self> {
        Some(Self {
            standard: self.standard.times(factor)?,
            batch: self.batch.times(factor)?,
        })
    }

    fn with(&self, other: &Self) -> Self {
        Self {
            standard: self.standard.with(&other.standard),
            batch: self.batch.with(&other.batch),
        }
    }
}

impl UnitPrices {
    fn times(&self, factor: u64) -> Option<Self> {
        let product = self.each(|price| scaled(price, factor, ONE));
        let lost =
            |(before, after): (&Option<u64>, &Option<u64>)| before.is_some() && after.is_none();
        let (before, after) = (self.kinds(), product.kinds());
        (!before.iter().zip(&after).any(lost)).then_some(product)
    }

    fn with(&self, other: &Self) -> Self {
        Self {
            input: other.input.or(self.input),
            output: other.output.or(self.output),
            cache_read: other.cache_read.or(self.cache_read),
            cache_write_5m: other.cache_write_5m.or(self.cache_write_5m),
            cache_write_1h: other.cache_write_1h.or(self.cache_write_1h),
        }
    }
}
