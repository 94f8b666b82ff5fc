//! The rows of chargeback: estimate and bill side by side, summed by whatever is asked.
//!
//! Keys are numbers of names and rows lie in columns, so that a year of ten thousand people fits
//! into memory.
#![deny(clippy::float_arithmetic)]

mod columns;
mod ordered;

use std::collections::HashMap;
use std::sync::Arc;

use super::allocate::Method;
use crate::model::bill::{Charge, PricedKind, Standing};
use columns::Columns;

pub use ordered::Ordered;

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

/// The method of a row that has several.
const MIXED: &str = "mixed";

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
            Some(_) => MIXED,
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
const CHARGES: [(Option<Charge>, &str); 8] = [
    (Some(Charge::Tokens), "Usage"),
    (None, UNALLOCATED),
    (Some(Charge::OtherUsage), "Other usage"),
    (Some(Charge::Credit), "Credit"),
    (Some(Charge::Refund), "Refund"),
    (Some(Charge::Tax), "Tax"),
    (Some(Charge::Fee), "Fee"),
    (Some(Charge::Unclassified), "Unclassified"),
];

/// Usage that was billed and that nobody is known to have used.
pub const UNALLOCATED: &str = "Unallocated";

/// The name of a charge in reports.
#[must_use]
pub fn charge_name(charge: Charge) -> &'static str {
    CHARGES
        .iter()
        .find(|(known, _)| *known == Some(charge))
        .map_or("Unclassified", |(_, name)| name)
}

const KINDS: usize = PricedKind::ALL.len();

/// Where a group has no row.
const NO_ROW: u32 = u32::MAX;

/// What tells a row apart besides what was asked: its charge, and its kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct What {
    pub charge: &'static str,
    pub kind: Option<PricedKind>,
}

impl What {
    /// Tokens that were used.
    #[must_use]
    pub fn usage(kind: PricedKind) -> Self {
        Self {
            charge: charge_name(Charge::Tokens),
            kind: Some(kind),
        }
    }
}

/// Rows under construction.
#[derive(Debug, Default)]
pub struct Sheet {
    names: HashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
    groups: HashMap<Box<[u32]>, u32>,
    /// The keys of all groups, one after the other.
    keys: Vec<u32>,
    /// By group: its rows of usage by kind.
    usage: Vec<[u32; KINDS]>,
    others: HashMap<(u32, What), u32>,
    rows: Columns,
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

    /// The number of the group of a key: the asked dimensions as numbers of names.
    pub fn group(&mut self, key: &[u32]) -> u32 {
        if let Some(group) = self.groups.get(key) {
            return *group;
        }
        let group = u32::try_from(self.usage.len()).unwrap_or(u32::MAX);
        self.groups.insert(key.into(), group);
        self.keys.extend_from_slice(key);
        self.usage.push([NO_ROW; KINDS]);
        group
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.usage.len()
    }

    /// Adds to a row of a group.
    pub fn add(&mut self, group: u32, what: What, sums: &Sums) {
        let row = match what.kind {
            Some(kind) if what.charge == CHARGES[0].1 => {
                &mut self.usage[group as usize][kind as usize]
            }
            _ => self.others.entry((group, what)).or_insert(NO_ROW),
        };
        if *row == NO_ROW {
            *row = self.rows.push(group, what, sums);
        } else {
            self.rows.add(*row as usize, sums);
        }
    }

    /// Adds the rows of another sheet of the same dimensions.
    pub fn merge(&mut self, other: &Self) {
        let names: Vec<u32> = other.list.iter().map(|name| self.name(name)).collect();
        let width = other.keys.len() / other.usage.len().max(1);
        let mut key = Vec::with_capacity(width);
        let mut groups = Vec::with_capacity(other.usage.len());
        for group in 0..other.usage.len() {
            key.clear();
            let places = &other.keys[group * width..(group + 1) * width];
            key.extend(places.iter().map(|name| names[*name as usize]));
            groups.push(self.group(&key));
        }
        for row in 0..other.rows.len() {
            let (group, what) = other.rows.place(row);
            self.add(groups[group as usize], what, &other.rows.sums(row));
        }
    }

    /// The rows in the order of their keys: usage first, then what is billed besides.
    #[must_use]
    pub fn finish(self, dimensions: usize) -> Ordered {
        let Self {
            list, keys, rows, ..
        } = self;
        Ordered::new(&list, keys, dimensions, rows)
    }
}
