//! Finished rows, in the order of reports.

use std::sync::Arc;

use super::columns::Columns;
use super::{CHARGES, MIXED, Sums};
use crate::model::bill::{PricedKind, Standing};
use crate::model::cost::ranks;
use crate::report::allocate::Method;

const STANDINGS: [Standing; 3] = [Standing::Provisional, Standing::Final, Standing::Closed];

/// Finished rows.
#[derive(Debug, Default)]
pub struct Ordered {
    names: Vec<Arc<str>>,
    /// The asked dimensions of each group, as places in `names`.
    keys: Vec<u32>,
    dimensions: usize,
    rows: Columns,
    order: Vec<u32>,
    /// By their places in a row.
    charges: Vec<Arc<str>>,
    kinds: Vec<Arc<str>>,
    methods: Vec<Arc<str>>,
    standings: Vec<Arc<str>>,
}

impl Ordered {
    pub(super) fn new(
        list: &[Arc<str>],
        mut keys: Vec<u32>,
        dimensions: usize,
        rows: Columns,
    ) -> Self {
        let mut sorted: Vec<u32> = (0..).take(list.len()).collect();
        sorted.sort_unstable_by(|a, b| list[*a as usize].cmp(&list[*b as usize]));
        let rank = ranks(&sorted);
        for name in &mut keys {
            *name = rank[*name as usize];
        }
        let names = sorted.iter().map(|name| Arc::clone(&list[*name as usize]));
        let mut ordered = Self {
            names: names.collect(),
            keys,
            dimensions,
            order: Vec::new(),
            rows,
            charges: words(CHARGES.map(|(_, name)| name)),
            kinds: words(
                [""].into_iter()
                    .chain(PricedKind::ALL.map(PricedKind::name)),
            ),
            methods: words(Method::ALL.map(Method::name).into_iter().chain([MIXED])),
            standings: words(STANDINGS.map(Standing::name)),
        };
        ordered.order = ordered.sorted();
        ordered
    }

    /// Rows by charge, so that what is billed besides usage stands behind it, by key and by kind.
    fn sorted(&self) -> Vec<u32> {
        let width = self.dimensions;
        let key = |group: u32| &self.keys[group as usize * width..(group as usize + 1) * width];
        let count = self.keys.len().checked_div(width).unwrap_or(1);
        let mut groups: Vec<u32> = (0..).take(count).collect();
        groups.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
        let of_group = ranks(&groups);
        let mut kinds: Vec<u32> = (0..).take(self.kinds.len()).collect();
        kinds.sort_unstable_by_key(|kind| &self.kinds[*kind as usize]);
        let of_kind = ranks(&kinds);
        let mut order: Vec<u32> = (0..).take(self.rows.len()).collect();
        order.sort_unstable_by_key(|row| {
            let [charge, kind] = self.rows.what(*row as usize);
            let group = of_group[self.rows.group(*row as usize) as usize];
            (charge, group, of_kind[usize::from(kind)])
        });
        order
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    #[must_use]
    pub fn sums(&self, row: usize) -> Sums {
        self.rows.sums(self.order[row] as usize)
    }

    /// The asked dimensions of a row.
    pub fn keys(&self, row: usize) -> impl Iterator<Item = &Arc<str>> {
        let group = self.rows.group(self.order[row] as usize) as usize;
        let keys = &self.keys[group * self.dimensions..(group + 1) * self.dimensions];
        keys.iter().map(|name| &self.names[*name as usize])
    }

    #[must_use]
    pub fn charge(&self, row: usize) -> &Arc<str> {
        let [charge, _] = self.rows.what(self.order[row] as usize);
        &self.charges[usize::from(charge)]
    }

    /// How the amount of a row came to it: one way, `mixed`, or nothing.
    #[must_use]
    pub fn method(&self, sums: &Sums) -> Option<&Arc<str>> {
        let name = sums.marks.method_name()?;
        self.methods.iter().find(|word| ***word == *name)
    }

    /// How sure the least sure part of a row is.
    #[must_use]
    pub fn standing(&self, sums: &Sums) -> &Arc<str> {
        let standing = sums.marks.least();
        let place = STANDINGS.iter().position(|known| *known == standing);
        &self.standings[place.unwrap_or(0)]
    }

    /// The name of the kind of token; empty where there is none.
    #[must_use]
    pub fn kind(&self, row: usize) -> &Arc<str> {
        let [_, kind] = self.rows.what(self.order[row] as usize);
        &self.kinds[usize::from(kind)]
    }
}

/// Words that many rows share.
fn words(names: impl IntoIterator<Item = &'static str>) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}
