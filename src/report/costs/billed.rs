//! What is billed, by day, in numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::bill::{Basis, BillDay, Standing};
use crate::model::identity::Identity;
use crate::model::label;
use crate::model::rates::USD;
use crate::model::window::day_start;
use crate::report::allocate::{Billed, NO_ACCOUNT, Uses};
use crate::store::Terms;

/// Numbers of names.
#[derive(Debug, Default)]
pub(super) struct Numbers<K>(HashMap<K, u32>, pub(super) Vec<K>);

impl<K: std::hash::Hash + Eq + Clone> Numbers<K> {
    pub(super) fn of(&mut self, key: K) -> u32 {
        if let Some(number) = self.0.get(&key) {
            return *number;
        }
        let number = u32::try_from(self.1.len()).unwrap_or(u32::MAX);
        self.1.push(key.clone());
        self.0.insert(key, number);
        number
    }
}

/// What is billed of one day, ready to be shared out.
#[derive(Debug, Default)]
pub(super) struct Bill {
    billed: Vec<Billed>,
    /// Users that may be no persons: roles, and sessions of machines.
    unsure: BTreeSet<u32>,
    /// How sure each provider's bill is.
    pub(super) standing: HashMap<Arc<str>, Standing>,
}

impl Bill {
    /// The bill with persons only: a name that neither the directory nor telemetry of the day
    /// knows stands for a machine that many may use, so its amounts are shared like those without
    /// a name.
    pub(super) fn named(&self, uses: &Uses<'_>) -> Vec<Billed> {
        let mut billed = self.billed.clone();
        if self.unsure.is_empty() {
            return billed;
        }
        let groups = uses.day.groups.iter();
        let seen: BTreeSet<u32> = groups.map(|group| uses.users[*group as usize]).collect();
        for line in &mut billed {
            let is_person = |user: &u32| !self.unsure.contains(user) || seen.contains(user);
            line.user = line.user.filter(is_person);
        }
        billed
    }
}

/// The bill of some days, and the numbers of the names in it.
#[derive(Debug, Default)]
pub(super) struct Bills {
    pub(super) days: BTreeMap<Date, Bill>,
    /// Providers and models.
    pub(super) sold: Numbers<(Arc<str>, Arc<str>)>,
    pub(super) users: Numbers<Arc<str>>,
    pub(super) accounts: Numbers<Arc<str>>,
}

impl Bills {
    pub(super) fn new<'b>(
        bill: impl Iterator<Item = &'b BillDay>,
        basis: Basis,
        terms: &Terms,
    ) -> Self {
        let mut bills = Self::default();
        let none = bills.accounts.of("".into());
        debug_assert_eq!(none, NO_ACCOUNT);
        for day in bill {
            bills.take(day, basis, terms);
        }
        bills
    }

    /// Takes a day of the bill in.
    fn take(&mut self, day: &BillDay, basis: Basis, terms: &Terms) {
        let standing = day.standing();
        let providers = day.lines.iter().map(|line| &*line.provider);
        for provider in providers.chain([&*day.provider]) {
            let bill = self.days.entry(day.day).or_default();
            let known = bill.standing.entry(provider.into()).or_insert(standing);
            *known = least(*known, standing);
        }
        for line in &day.lines {
            if *line.currency != *USD {
                continue;
            }
            let model = line.sku.model.as_deref().unwrap_or_default();
            let sold = (Arc::from(&*line.provider), Arc::from(model));
            let user = line.user.as_deref().map(|user| {
                let (name, is_sure) = person(user, day.day, terms);
                let user = self.users.of(name);
                if !is_sure {
                    let bill = self.days.entry(day.day).or_default();
                    bill.unsure.insert(user);
                }
                user
            });
            let billed = Billed {
                charge: line.charge,
                sold: self.sold.of(sold),
                account: self.accounts.of(Arc::from(&*line.account)),
                kind: line.sku.kind,
                user,
                amount: line.amounts.on(basis).0,
            };
            self.days.entry(day.day).or_default().billed.push(billed);
        }
    }
}

/// Who a user of the bill is, and whether that is somebody for sure. Of a role that somebody
/// took, as in `assumed-role/ROLE/NAME`, the name counts.
fn person(raw: &str, day: Date, terms: &Terms) -> (Arc<str>, bool) {
    let at = day_start(day, &TimeZone::UTC);
    let named = |name: &str| {
        let user = label::fold(name)?.into_owned();
        let identity = identity(&user);
        let known = terms.directory.attribute(&identity, at);
        let is_sure = *known.user != *user
            || known.team.is_some()
            || known.project.is_some()
            || known.cost_center.is_some()
            || (user.contains('@') && !user.contains('/'));
        Some((Arc::<str>::from(&*known.user), is_sure))
    };
    let last = || raw.rsplit_once('/').and_then(|(_, name)| named(name));
    match named(raw) {
        Some((known, true)) => (known, true),
        whole => last().or(whole).unwrap_or_else(|| (raw.into(), false)),
    }
}

pub(super) fn identity(user: &str) -> Identity {
    Identity {
        user: Some(user.into()),
        ..Identity::default()
    }
}

const fn least(a: Standing, b: Standing) -> Standing {
    match (a, b) {
        (Standing::Provisional, _) | (_, Standing::Provisional) => Standing::Provisional,
        (Standing::Final, _) | (_, Standing::Final) => Standing::Final,
        (Standing::Closed, Standing::Closed) => Standing::Closed,
    }
}
