//! The rows of chargeback: estimate and bill side by side, summed by whatever is asked.
//!
//! Keys are numbers of names, so that a year of ten thousand people fits into memory.
#![deny(clippy::float_arithmetic)]

use std::collections::HashMap;
use std::sync::Arc;

use super::allocate::Method;
use crate::model::bill::{Charge, PricedKind, Standing};

/// What one row sums. All money is in pico-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub tokens: u64,
    pub requests: u64,
    pub unpriced: u64,
    pub list: i128,
    pub estimate: i128,
    pub actual: i128,
    pub marks: Marks,
}

/// What a row is made of, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// Some of it is of a day that was billed.
    const BILLED: u8 = 1;
    /// Some of it is of a day that is not billed yet, or not finally.
    const PROVISIONAL: u8 = 2;
    const FINAL: u8 = 4;
    const METHODS: u8 = 4;

    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    #[must_use]
    pub const fn standing(standing: Standing) -> Self {
        Self(match standing {
            Standing::Provisional => Self::BILLED | Self::PROVISIONAL,
            Standing::Final => Self::BILLED | Self::FINAL,
            Standing::Closed => Self::BILLED,
        })
    }

    /// Nobody has billed it yet.
    #[must_use]
    pub const fn open() -> Self {
        Self(Self::PROVISIONAL)
    }

    #[must_use]
    pub const fn method(method: Method) -> Self {
        Self(1 << (Self::METHODS + method as u8))
    }

    #[must_use]
    pub const fn is_billed(self) -> bool {
        self.0 & Self::BILLED != 0
    }

    /// How sure the least sure part is.
    #[must_use]
    pub const fn least(self) -> Standing {
        if self.0 & Self::PROVISIONAL != 0 || self.0 & Self::BILLED == 0 {
            Standing::Provisional
        } else if self.0 & Self::FINAL != 0 {
            Standing::Final
        } else {
            Standing::Closed
        }
    }

    /// The one method, `mixed`, or nothing.
    #[must_use]
    pub fn method_name(self) -> Option<&'static str> {
        let mut methods = Method::ALL
            .into_iter()
            .filter(|method| self.0 & Self::method(*method).0 != 0);
        let first = methods.next()?;
        Some(match methods.next() {
            Some(_) => "mixed",
            None => first.name(),
        })
    }
}

impl Sums {
    pub const fn add(&mut self, other: &Self) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.requests = self.requests.saturating_add(other.requests);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
        self.list = self.list.saturating_add(other.list);
        self.estimate = self.estimate.saturating_add(other.estimate);
        self.actual = self.actual.saturating_add(other.actual);
        self.marks.add(other.marks);
    }
}

/// What a row is for, in the order of reports.
const CHARGES: [(Charge, &str); 7] = [
    (Charge::Tokens, "Usage"),
    (Charge::OtherUsage, "Other usage"),
    (Charge::Credit, "Credit"),
    (Charge::Refund, "Refund"),
    (Charge::Tax, "Tax"),
    (Charge::Fee, "Fee"),
    (Charge::Unclassified, "Unclassified"),
];

/// Usage that was billed and that nobody is known to have used.
pub const UNALLOCATED: &str = "Unallocated";

/// The name of a charge in reports.
#[must_use]
pub fn charge_name(charge: Charge) -> &'static str {
    CHARGES
        .iter()
        .find(|(known, _)| *known == charge)
        .map_or("Unclassified", |(_, name)| name)
}

/// Rows under construction.
#[derive(Debug, Default)]
pub struct Sheet {
    names: HashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
    rows: HashMap<Box<[u32]>, Sums>,
}

/// What tells a row apart besides what was asked: its charge, and its kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What {
    pub charge: &'static str,
    pub kind: Option<PricedKind>,
}

impl Sheet {
    /// The number of a name.
    pub fn name(&mut self, name: &str) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.list.push(Arc::clone(&name));
        self.names.insert(name, number);
        number
    }

    /// Adds to the row of a key; `key` is a buffer that begins with the asked dimensions.
    pub fn add(&mut self, key: &mut Vec<u32>, what: What, sums: &Sums) {
        let dimensions = key.len();
        let charge = self.name(what.charge);
        let kind = self.name(what.kind.map_or("", PricedKind::name));
        key.extend([charge, kind]);
        if let Some(row) = self.rows.get_mut(key.as_slice()) {
            row.add(sums);
        } else {
            self.rows.insert(key.clone().into_boxed_slice(), *sums);
        }
        key.truncate(dimensions);
    }

    /// Adds the rows of another sheet of the same dimensions.
    pub fn merge(&mut self, other: Self) {
        let names: Vec<u32> = other.list.iter().map(|name| self.name(name)).collect();
        for (mut key, sums) in other.rows {
            for name in &mut key {
                *name = names[*name as usize];
            }
            match self.rows.get_mut(&key) {
                Some(row) => row.add(&sums),
                None => {
                    self.rows.insert(key, sums);
                }
            }
        }
    }

    /// The rows in the order of their keys: usage first, then what is billed besides.
    #[must_use]
    pub fn finish(self, dimensions: usize) -> Ordered {
        let Self { list, rows, .. } = self;
        let mut order: Vec<u32> = (0..).take(list.len()).collect();
        let place = |name: &str| {
            let other = CHARGES.iter().position(|(_, known)| *known == name);
            match (name, other) {
                (UNALLOCATED, _) => 1,
                (_, Some(0) | None) => 0,
                (_, Some(place)) => place + 1,
            }
        };
        order.sort_by_cached_key(|number| {
            let name = &list[*number as usize];
            (place(name), Arc::clone(name))
        });
        let mut rank = vec![0; order.len()];
        for (place, number) in (0_u32..).zip(&order) {
            rank[*number as usize] = place;
        }
        let names = order
            .iter()
            .map(|number| Arc::clone(&list[*number as usize]));
        let mut lines: Vec<(Box<[u32]>, Sums)> = rows.into_iter().collect();
        for (key, _) in &mut lines {
            for number in key {
                *number = rank[*number as usize];
            }
        }
        // What is billed besides usage stands behind all usage.
        let key = |key: &'_ [u32]| key[dimensions];
        lines.sort_unstable_by(|(a, _), (b, _)| key(a).cmp(&key(b)).then_with(|| a.cmp(b)));
        Ordered {
            names: names.collect(),
            lines,
            dimensions,
        }
    }
}

/// Finished rows.
#[derive(Debug, Default)]
pub struct Ordered {
    names: Vec<Arc<str>>,
    lines: Vec<(Box<[u32]>, Sums)>,
    dimensions: usize,
}

impl Ordered {
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    #[must_use]
    pub fn sums(&self, row: usize) -> &Sums {
        &self.lines[row].1
    }

    /// The asked dimensions of a row.
    pub fn keys(&self, row: usize) -> impl Iterator<Item = &Arc<str>> {
        let keys = self.lines[row].0.iter().take(self.dimensions);
        keys.map(|number| &self.names[*number as usize])
    }

    #[must_use]
    pub fn charge(&self, row: usize) -> &Arc<str> {
        &self.names[self.lines[row].0[self.dimensions] as usize]
    }

    /// The name of the kind of token; empty where there is none.
    #[must_use]
    pub fn kind(&self, row: usize) -> &Arc<str> {
        &self.names[self.lines[row].0[self.dimensions + 1] as usize]
    }
}
