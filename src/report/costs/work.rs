//! Sharing a bill out over the estimate, day by day: whose amount each billed line becomes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Unbilled;
use crate::model::bill::{Basis, BillDay, Charge, PricedKind, Standing};
use crate::model::cost::{By, CostLines};
use crate::model::identity::Identity;
use crate::model::label;
use crate::model::rates::USD;
use crate::model::window::day_start;
use crate::report::allocate::{Billed, Method, NO_ACCOUNT, Share, Sold, Use, allocate};
use crate::report::sheet::{Marks, Sheet, Sums, UNALLOCATED, What, charge_name};
use crate::store::Terms;

const KINDS: usize = PricedKind::ALL.len();

/// Numbers of names.
#[derive(Debug, Default)]
struct Numbers<K>(HashMap<K, u32>, Vec<K>);

impl<K: std::hash::Hash + Eq + Clone> Numbers<K> {
    fn of(&mut self, key: K) -> u32 {
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
struct Bill {
    billed: Vec<Billed>,
    /// Users that may be no persons: roles, and sessions of machines.
    unsure: BTreeSet<u32>,
    /// How sure each provider's bill is.
    standing: HashMap<Arc<str>, Standing>,
}

impl Bill {
    /// The bill with persons only: a name that neither the directory nor telemetry of the day
    /// knows stands for a machine that many may use, so its amounts are shared like those without
    /// a name.
    fn named(&self, uses: &[Use]) -> Vec<Billed> {
        let seen: BTreeSet<u32> = if self.unsure.is_empty() {
            BTreeSet::new()
        } else {
            uses.iter().map(|used| used.user).collect()
        };
        let mut billed = self.billed.clone();
        for line in &mut billed {
            let is_person = |user: &u32| !self.unsure.contains(user) || seen.contains(user);
            line.user = line.user.filter(is_person);
        }
        billed
    }
}

/// What a group of the estimate is, in numbers.
#[derive(Debug)]
struct Of {
    sold: Sold,
    user: u32,
    /// The asked dimensions as names of the sheet; times are filled in.
    key: Box<[u32]>,
}

/// The work of sharing out, day by day.
pub(super) struct Work {
    by: Vec<By>,
    terms: Arc<Terms>,
    pub(super) sheet: Sheet,
    bills: BTreeMap<Date, Bill>,
    sold: Numbers<(Arc<str>, Arc<str>)>,
    users: Numbers<Arc<str>>,
    accounts: Numbers<Arc<str>>,
    groups: Vec<Of>,
    /// The uses of a day; kept for their memory.
    uses: Vec<Use>,
    /// Sums of the days of one time key, by group and kind.
    sums: Vec<[(i128, Marks); KINDS]>,
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    /// The day of which the sums are.
    at: Option<Date>,
    pub(super) actual: i128,
    pub(super) marks: Marks,
    pub(super) unbilled: Unbilled,
}

impl Work {
    pub(super) fn new(bill: &[BillDay], basis: Basis, by: &[By], terms: Arc<Terms>) -> Self {
        let mut work = Self {
            by: by.to_vec(),
            terms,
            sheet: Sheet::default(),
            bills: BTreeMap::new(),
            sold: Numbers::default(),
            users: Numbers::default(),
            accounts: Numbers::default(),
            groups: Vec::new(),
            uses: Vec::new(),
            sums: Vec::new(),
            touched: Vec::new(),
            is_touched: Vec::new(),
            at: None,
            actual: 0,
            marks: Marks::default(),
            unbilled: Unbilled::new(),
        };
        let none = work.accounts.of("".into());
        debug_assert_eq!(none, NO_ACCOUNT);
        for day in bill {
            work.take(day, basis);
        }
        work
    }

    /// Takes a day of the bill in.
    fn take(&mut self, day: &BillDay, basis: Basis) {
        let standing = day.standing();
        let providers = day.lines.iter().map(|line| &*line.provider);
        for provider in providers.chain([&*day.provider]) {
            let bill = self.bills.entry(day.day).or_default();
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
                let (name, is_sure) = self.person(user, day.day);
                let user = self.users.of(name);
                if !is_sure {
                    let bill = self.bills.entry(day.day).or_default();
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
            self.bills.entry(day.day).or_default().billed.push(billed);
        }
    }

    /// Who a user of the bill is, and whether that is somebody for sure. Of a role that somebody
    /// took, as in `assumed-role/ROLE/NAME`, the name counts.
    fn person(&self, raw: &str, day: Date) -> (Arc<str>, bool) {
        let at = day_start(day, &TimeZone::UTC);
        let named = |name: &str| {
            let user = label::fold(name)?.into_owned();
            let identity = identity(&user);
            let known = self.terms.directory.attribute(&identity, at);
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

    /// Visits a day of the estimate.
    pub(super) fn day(&mut self, day: Date, lines: &CostLines) {
        while let Some((first, bill)) = self.bills.pop_first() {
            if first >= day {
                self.bills.insert(first, bill);
                break;
            }
            self.share_out(first, &bill, &[]);
        }
        self.learn(lines);
        let mut uses = std::mem::take(&mut self.uses);
        uses.clear();
        uses.extend(lines.lines.iter().map(|line| {
            let of = &self.groups[line.group as usize];
            Use {
                group: line.group,
                sold: of.sold,
                user: of.user,
                kind: line.kind,
                tokens: line.tokens,
                estimate: line.estimate.0,
            }
        }));
        let bill = self.bills.remove(&day).unwrap_or_default();
        self.share_out(day, &bill, &uses);
        self.uses = uses;
    }

    /// Learns what new groups are.
    fn learn(&mut self, lines: &CostLines) {
        let known = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        for group in known..lines.groups() {
            let value = |by| Arc::<str>::from(lines.key(group, by));
            let sold = self.sold.of((value(By::Provider), value(By::Model)));
            let user = self.users.of(value(By::User));
            let by = self.by.iter();
            let key = by.map(|by| self.sheet.name(lines.key(group, *by)));
            self.groups.push(Of {
                sold,
                user,
                key: key.collect(),
            });
            self.sums.push(Default::default());
            self.is_touched.push(false);
        }
    }

    /// Shares one day out.
    fn share_out(&mut self, day: Date, bill: &Bill, uses: &[Use]) {
        if self.at.is_some_and(|at| !self.is_same_time(at, day)) {
            self.flush();
        }
        self.at = Some(day);
        let standing = |(provider, _): &(Arc<str>, Arc<str>)| bill.standing.get(provider);
        let standings = self.sold.1.iter().map(|sold| standing(sold).copied());
        let standings: Vec<Option<Standing>> = standings.collect();
        let mut is_open = vec![false; standings.len()];
        for used in uses {
            let marks = if let Some(standing) = standings[used.sold as usize] {
                Marks::standing(standing)
            } else {
                is_open[used.sold as usize] = true;
                Marks::open()
            };
            self.add(used, 0, marks);
        }
        for ((provider, _), _) in self.sold.1.iter().zip(is_open).filter(|(_, open)| *open) {
            let days = self.unbilled.entry(provider.clone()).or_default();
            days.insert(day);
        }
        for standing in bill.standing.values() {
            self.marks.add(Marks::standing(*standing));
        }
        for share in allocate(uses, &bill.named(uses)) {
            self.actual = self.actual.saturating_add(share.amount());
            match share {
                Share::Use {
                    place,
                    amount,
                    method,
                } => self.add(&uses[place], amount, Marks::method(method)),
                share => self.own_row(day, bill, &share),
            }
        }
    }

    fn add(&mut self, used: &Use, amount: i128, marks: Marks) {
        let group = used.group as usize;
        if !std::mem::replace(&mut self.is_touched[group], true) {
            self.touched.push(used.group);
        }
        let (sum, known) = &mut self.sums[group][used.kind as usize];
        *sum = sum.saturating_add(amount);
        known.add(marks);
    }

    /// Adds a share that no use has.
    fn own_row(&mut self, day: Date, bill: &Bill, share: &Share) {
        let (charge, sold, kind, account, user) = match *share {
            Share::Person {
                user, sold, kind, ..
            } => (Charge::Tokens, sold, kind, NO_ACCOUNT, Some(user)),
            Share::Own {
                charge,
                sold,
                account,
                kind,
                ..
            } => (charge, sold, kind, account, None),
            Share::Use { .. } => return,
        };
        let (provider, model) = self.sold.1[sold as usize].clone();
        let user = user.map(|user| self.users.1[user as usize].clone());
        let at = day_start(day, &TimeZone::UTC);
        let identity = user.as_deref().map(identity).unwrap_or_default();
        let terms = self.terms.clone();
        let person = user
            .is_some()
            .then(|| terms.directory.attribute(&identity, at));
        let mut key: Vec<u32> = Vec::with_capacity(self.by.len() + 2);
        for by in self.by.clone() {
            let person = person.as_ref();
            let text: &str = match by {
                By::User => user.as_deref().unwrap_or_default(),
                By::Team => person.and_then(|person| person.team).unwrap_or_default(),
                By::Project => person.and_then(|person| person.project).unwrap_or_default(),
                By::CostCenter => person
                    .and_then(|person| person.cost_center)
                    .unwrap_or_default(),
                By::Role => person.and_then(|person| person.role).unwrap_or_default(),
                By::Provider => &provider,
                By::Model => &model,
                By::Account => &self.accounts.1[account as usize],
                _ => "",
            };
            key.push(self.sheet.name(text));
        }
        self.fill_time(&mut key, day);
        let (charge, method) = match (charge, &user) {
            (Charge::Tokens, None) => (UNALLOCATED, Some(Method::Unallocated)),
            (Charge::Tokens, Some(_)) => (charge_name(charge), Some(Method::Direct)),
            _ => (charge_name(charge), None),
        };
        let standing = bill.standing.get(&provider);
        let mut marks = Marks::standing(standing.copied().unwrap_or(Standing::Provisional));
        if let Some(method) = method {
            marks.add(Marks::method(method));
        }
        let sums = Sums {
            actual: share.amount(),
            marks,
            ..Sums::default()
        };
        self.sheet.add(&mut key, What { charge, kind }, &sums);
    }

    /// Puts the names of a day and its month where they belong.
    fn fill_time(&mut self, key: &mut [u32], day: Date) {
        for (place, by) in self.by.iter().enumerate() {
            key[place] = match by {
                By::Day => self.sheet.name(&day.to_string()),
                By::Month => self.sheet.name(&month(day)),
                _ => continue,
            };
        }
    }

    /// True if rows do not tell two days apart.
    fn is_same_time(&self, a: Date, b: Date) -> bool {
        if self.by.contains(&By::Day) {
            return a == b;
        }
        !self.by.contains(&By::Month) || a.first_of_month() == b.first_of_month()
    }

    /// Moves the sums of days that rows do not tell apart into the sheet.
    fn flush(&mut self) {
        let Some(day) = self.at else { return };
        let mut key = Vec::new();
        for group in std::mem::take(&mut self.touched) {
            self.is_touched[group as usize] = false;
            let sums = std::mem::take(&mut self.sums[group as usize]);
            key.clear();
            key.extend_from_slice(&self.groups[group as usize].key);
            self.fill_time(&mut key, day);
            for (kind, (actual, marks)) in PricedKind::ALL.into_iter().zip(sums) {
                if marks == Marks::default() {
                    continue;
                }
                let what = What {
                    charge: charge_name(Charge::Tokens),
                    kind: Some(kind),
                };
                let sums = Sums {
                    actual,
                    marks,
                    ..Sums::default()
                };
                self.sheet.add(&mut key, what, &sums);
            }
        }
    }

    /// Shares out the days after the last use.
    pub(super) fn finish(mut self) -> Self {
        for (day, bill) in std::mem::take(&mut self.bills) {
            self.share_out(day, &bill, &[]);
        }
        self.flush();
        self
    }
}

fn identity(user: &str) -> Identity {
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

/// As rows name a month.
fn month(day: Date) -> String {
    format!("{:04}-{:02}", day.year(), day.month())
}
