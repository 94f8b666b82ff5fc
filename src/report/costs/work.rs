//! Sharing a bill out over the estimate, day by day: whose amount each billed line becomes.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Unbilled;
use super::billed::{Bill, Bills, identity};
use crate::model::bill::{Basis, BillDay, Charge, PricedKind, Standing};
use crate::model::cost::{By, CostDay, CostGroups};
use crate::model::window::day_start;
use crate::report::allocate::{Method, NO_ACCOUNT, Share, Sold, Uses, allocate};
use crate::report::sheet::{Marks, Sheet, Sums, UNALLOCATED, What, charge_name};
use crate::store::Terms;

const KINDS: usize = PricedKind::ALL.len();

/// What the groups of the estimate are, in numbers.
#[derive(Debug, Default)]
struct Groups {
    sold: Vec<Sold>,
    users: Vec<u32>,
    /// The asked dimensions as names of the sheet, one group after the other; times are filled in.
    keys: Vec<u32>,
}

/// Sums of the days of one time key, by group and kind.
#[derive(Debug, Default)]
struct Totals {
    actual: Vec<[i128; KINDS]>,
    marks: Vec<[Marks; KINDS]>,
    touched: Vec<u32>,
}

impl Totals {
    fn mark(&mut self, group: u32, kind: PricedKind, marks: Marks) {
        let known = &mut self.marks[group as usize];
        if *known == [Marks::default(); KINDS] {
            self.touched.push(group);
        }
        known[kind as usize].add(marks);
    }
}

/// What came of sharing a bill out.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) actual: i128,
    pub(super) marks: Marks,
    pub(super) unbilled: Unbilled,
}

impl Shared {
    /// Takes in what came of other days.
    pub(super) fn take(&mut self, other: Self) {
        self.actual = self.actual.saturating_add(other.actual);
        self.marks.add(other.marks);
        for (provider, days) in other.unbilled {
            self.unbilled.entry(provider).or_default().extend(days);
        }
    }
}

/// The work of sharing out, day by day.
pub(super) struct Work {
    by: Vec<By>,
    terms: Arc<Terms>,
    sheet: Sheet,
    bills: Bills,
    groups: Groups,
    totals: Totals,
    /// The day of which the totals are.
    at: Option<Date>,
    done: Shared,
}

impl Work {
    pub(super) fn new<'b>(
        bill: impl Iterator<Item = &'b BillDay>,
        basis: Basis,
        by: &[By],
        terms: Arc<Terms>,
        sheet: Sheet,
    ) -> Self {
        Self {
            by: by.to_vec(),
            sheet,
            bills: Bills::new(bill, basis, &terms),
            terms,
            groups: Groups::default(),
            totals: Totals::default(),
            at: None,
            done: Shared::default(),
        }
    }

    /// Visits a day of the estimate.
    pub(super) fn day(&mut self, day: &CostDay, groups: &CostGroups) {
        while let Some(first) = self.bills.days.first_entry()
            && *first.key() < day.date
        {
            let (date, bill) = first.remove_entry();
            self.share_out(&CostDay::of(date), &bill);
        }
        self.learn(groups);
        let bill = self.bills.days.remove(&day.date).unwrap_or_default();
        self.share_out(day, &bill);
    }

    /// Learns what new groups are.
    fn learn(&mut self, groups: &CostGroups) {
        let known = u32::try_from(self.groups.sold.len()).unwrap_or(u32::MAX);
        for group in known..groups.count() {
            let value = |by| Arc::<str>::from(groups.key(group, by));
            let sold = (value(By::Provider), value(By::Model));
            self.groups.sold.push(self.bills.sold.of(sold));
            let user = self.bills.users.of(value(By::User));
            self.groups.users.push(user);
            for by in &self.by {
                let name = self.sheet.name(groups.key(group, *by));
                self.groups.keys.push(name);
            }
            self.totals.actual.push([0; KINDS]);
            self.totals.marks.push([Marks::default(); KINDS]);
        }
    }

    /// Shares one day out.
    fn share_out(&mut self, day: &CostDay, bill: &Bill) {
        if self.at.is_some_and(|at| !self.is_same_time(at, day.date)) {
            self.flush();
        }
        self.at = Some(day.date);
        let of_part = day.parts.iter().map(|rows| day.groups[rows.start]);
        let sold: Vec<Sold> = of_part
            .map(|group| self.groups.sold[group as usize])
            .collect();
        self.stand(day, &sold, &bill.standing);
        let (mut actual, mut others) = (0_i128, Vec::new());
        let uses = Uses {
            day,
            sold: &sold,
            users: &self.groups.users,
        };
        let totals = &mut self.totals;
        allocate(&uses, &bill.named(&uses), |share| match share {
            Share::Use {
                row,
                kind,
                amount,
                method,
            } => {
                let group = day.groups[row] as usize;
                let sum = &mut totals.actual[group][kind as usize];
                *sum = sum.saturating_add(amount);
                actual = actual.saturating_add(amount);
                totals.marks[group][kind as usize].add(Marks::method(method));
            }
            share => others.push(share),
        });
        for share in others {
            actual = actual.saturating_add(share.amount());
            self.own_row(day.date, bill, &share);
        }
        self.done.actual = self.done.actual.saturating_add(actual);
    }

    /// Marks what was used with how sure its bill is.
    fn stand(&mut self, day: &CostDay, sold: &[Sold], standing: &HashMap<Arc<str>, Standing>) {
        for known in standing.values() {
            self.done.marks.add(Marks::standing(*known));
        }
        for (rows, sold) in day.parts.iter().zip(sold) {
            let (provider, _) = &self.bills.sold.1[*sold as usize];
            let marks = if let Some(standing) = standing.get(provider) {
                Marks::standing(*standing)
            } else {
                let days = self.done.unbilled.entry(provider.clone()).or_default();
                days.insert(day.date);
                Marks::open()
            };
            for kind in PricedKind::ALL {
                let Some((tokens, estimate)) = day.uses(kind, rows) else {
                    continue;
                };
                let groups = &day.groups[rows.clone()];
                for ((group, tokens), estimate) in groups.iter().zip(tokens).zip(estimate) {
                    if *tokens != 0 || *estimate != 0 {
                        self.totals.mark(*group, kind, marks);
                    }
                }
            }
        }
        self.stand_idle(day, standing);
    }

    /// Requests without any tokens are told with the input.
    fn stand_idle(&mut self, day: &CostDay, standing: &HashMap<Arc<str>, Standing>) {
        for group in &day.idle {
            let sold = self.groups.sold[*group as usize];
            let (provider, _) = &self.bills.sold.1[sold as usize];
            let standing = standing.get(provider).copied();
            let marks = standing.map_or(Marks::open(), Marks::standing);
            self.totals.mark(*group, PricedKind::Input, marks);
        }
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
        let (provider, model) = self.bills.sold.1[sold as usize].clone();
        let user = user.map(|user| self.bills.users.1[user as usize].clone());
        let at = day_start(day, &TimeZone::UTC);
        let identity = user.as_deref().map(identity).unwrap_or_default();
        let terms = self.terms.clone();
        let person = user
            .is_some()
            .then(|| terms.directory.attribute(&identity, at));
        let mut key: Vec<u32> = Vec::with_capacity(self.by.len());
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
                By::Account => &self.bills.accounts.1[account as usize],
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
        let group = self.sheet.group(&key);
        self.sheet.add(group, What { charge, kind }, &sums);
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

    /// Moves the totals of days that rows do not tell apart into the sheet.
    fn flush(&mut self) {
        let Some(day) = self.at else { return };
        let width = self.by.len();
        let mut key = Vec::with_capacity(width);
        for group in std::mem::take(&mut self.totals.touched) {
            let group = group as usize;
            let actual = std::mem::take(&mut self.totals.actual[group]);
            let marks = std::mem::take(&mut self.totals.marks[group]);
            key.clear();
            key.extend_from_slice(&self.groups.keys[group * width..(group + 1) * width]);
            self.fill_time(&mut key, day);
            let row = self.sheet.group(&key);
            for ((kind, actual), marks) in PricedKind::ALL.into_iter().zip(actual).zip(marks) {
                if marks == Marks::default() {
                    continue;
                }
                let sums = Sums {
                    actual,
                    marks,
                    ..Sums::default()
                };
                self.sheet.add(row, What::usage(kind), &sums);
            }
        }
    }

    /// Shares out the days after the last use.
    pub(super) fn finish(mut self) -> (Sheet, Shared) {
        for (date, bill) in std::mem::take(&mut self.bills.days) {
            self.share_out(&CostDay::of(date), &bill);
        }
        self.flush();
        (self.sheet, self.done)
    }
}

/// As rows name a month.
fn month(day: Date) -> String {
    format!("{:04}-{:02}", day.year(), day.month())
}
