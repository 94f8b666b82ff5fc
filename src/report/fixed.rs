//! Fixed cost: what each day bears, and who bears it. Pure.
//!
//! The amount of a period is spread over its days and each day's part over those who bear it, both
//! exactly; so every grouping of a report has the same totals, for each team too.
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::config::{Allocate, Fixed, Period};
use crate::model::money::{PicoUsd, share_out};

/// Who bears a part; empty where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub cost_center: Arc<str>,
    pub team: Arc<str>,
    pub project: Arc<str>,
    pub user: Arc<str>,
}

/// What somebody used in a month: the estimate, in pico-USD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub owner: Owner,
    pub estimate: PicoUsd,
}

/// How a month's parts are shared: between groups, and within each by weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    pub method: &'static str,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    weight: i128,
    members: Vec<Owner>,
    weights: Vec<i128>,
}

/// The method where nobody is there to bear a part.
pub const UNALLOCATED: &str = "unallocated";

/// What a day bears; zero outside the time that is charged.
#[must_use]
pub fn on_day(fixed: &Fixed, day: Date) -> PicoUsd {
    if day < fixed.from || fixed.to.is_some_and(|to| day >= to) {
        return PicoUsd::ZERO;
    }
    let (begin, end) = period(fixed, day);
    let length = days_between(begin, end).max(1);
    let passed = days_between(begin, day);
    let seats = i128::from(fixed.users.unwrap_or(1));
    let amount = fixed.amount.0.saturating_mul(seats);
    // The parts up to a day, rounded down, so that they add up to the amount.
    let up_to = |days: i128| amount.saturating_mul(days).div_euclid(length);
    PicoUsd(up_to(passed + 1) - up_to(passed))
}

/// The period that holds a day, half-open.
fn period(fixed: &Fixed, day: Date) -> (Date, Date) {
    match fixed.period {
        Period::Month => {
            let first = day.first_of_month();
            (first, first.saturating_add(1.month()))
        }
        Period::Year => {
            // The 29th of February counts its years from the first of March.
            let first = fixed.from;
            let mut years = i32::from(day.year()) - i32::from(first.year());
            if first.saturating_add(years.years()) > day {
                years -= 1;
            }
            let begin = first.saturating_add(years.years());
            (begin, first.saturating_add((years + 1).years()))
        }
        Period::Once => {
            let next = fixed.from.saturating_add(1.day());
            (fixed.from, fixed.to.unwrap_or(next))
        }
    }
}

fn days_between(from: Date, to: Date) -> i128 {
    from.until(to).map_or(0, |span| span.get_days().into())
}

impl Shares {
    /// How the parts of a month are shared, given who used what in it.
    #[must_use]
    pub fn of(allocate: &Allocate, used: &[Used]) -> Self {
        let groups = match allocate {
            Allocate::EvenUsers => even(used, |owner| {
                let known = !owner.user.is_empty();
                known.then(|| (owner.user.clone(), owner.clone()))
            }),
            Allocate::EvenTeams => even(used, |owner| {
                let team = Owner {
                    cost_center: owner.cost_center.clone(),
                    team: owner.team.clone(),
                    ..Owner::default()
                };
                (!owner.team.is_empty()).then(|| (owner.team.clone(), team))
            }),
            Allocate::Proportional => proportional(used),
            Allocate::Team(team) => one(Owner {
                team: team.as_str().into(),
                ..Owner::default()
            }),
            Allocate::CostCenter(center) => one(Owner {
                cost_center: center.as_str().into(),
                ..Owner::default()
            }),
        };
        if groups.is_empty() {
            return Self {
                method: UNALLOCATED,
                groups: one(Owner::default()),
            };
        }
        Self {
            method: allocate.name(),
            groups,
        }
    }

    /// Adds an amount's parts to what is given to their bearers.
    pub fn add(&self, amount: PicoUsd, give: &mut impl FnMut(&Owner, PicoUsd)) {
        let weights: Vec<i128> = self.groups.iter().map(|group| group.weight).collect();
        let Some(parts) = share_out(amount.0, &weights) else {
            return;
        };
        for (group, part) in self.groups.iter().zip(parts) {
            let ones = vec![1; group.members.len()];
            let shares = share_out(part, &group.weights).or_else(|| share_out(part, &ones));
            for (owner, share) in group.members.iter().zip(shares.unwrap_or_default()) {
                if share != 0 {
                    give(owner, PicoUsd(share));
                }
            }
        }
    }
}

/// Groups of equal weight, and in each its members by what they used.
fn even(used: &[Used], group_of: impl Fn(&Owner) -> Option<(Arc<str>, Owner)>) -> Vec<Group> {
    let mut groups: BTreeMap<Arc<str>, BTreeMap<Owner, i128>> = BTreeMap::new();
    for one in used {
        if let Some((name, owner)) = group_of(&one.owner) {
            *groups.entry(name).or_default().entry(owner).or_default() += one.estimate.0;
        }
    }
    let group = |members: BTreeMap<Owner, i128>| {
        let (members, weights) = members.into_iter().unzip();
        Group {
            weight: 1,
            members,
            weights,
        }
    };
    groups.into_values().map(group).collect()
}

fn proportional(used: &[Used]) -> Vec<Group> {
    let mut owners: BTreeMap<&Owner, i128> = BTreeMap::new();
    for one in used {
        *owners.entry(&one.owner).or_default() += one.estimate.0;
    }
    owners.retain(|_, weight| *weight > 0);
    if owners.is_empty() {
        return Vec::new();
    }
    let (members, weights) = owners.into_iter().map(|(o, w)| (o.clone(), w)).unzip();
    vec![Group {
        weight: 1,
        members,
        weights,
    }]
}

fn one(owner: Owner) -> Vec<Group> {
    vec![Group {
        weight: 1,
        members: vec![owner],
        weights: vec![1],
    }]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USD: i128 = 1_000_000_000_000;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn fixed(amount: i128, period: Period, from: &str, to: Option<&str>) -> Fixed {
        Fixed {
            name: "x".to_owned(),
            amount: PicoUsd(amount),
            period,
            from: day(from),
            to: to.map(day),
            allocate: Allocate::Proportional,
            users: None,
        }
    }

    fn sum(fixed: &Fixed, from: &str, to: &str) -> i128 {
        let (mut at, to) = (day(from), day(to));
        let mut sum = 0;
        while at < to {
            sum += on_day(fixed, at).0;
            at = at.tomorrow().unwrap();
        }
        sum
    }

    #[test]
    fn the_days_of_a_period_add_up_to_its_amount() {
        let monthly = fixed(100 * USD, Period::Month, "2026-01-01", None);
        assert_eq!(sum(&monthly, "2026-02-01", "2026-03-01"), 100 * USD);
        assert_eq!(sum(&monthly, "2026-01-01", "2027-01-01"), 1_200 * USD);
        let yearly = fixed(1_000 * USD, Period::Year, "2026-04-01", None);
        assert_eq!(sum(&yearly, "2026-04-01", "2027-04-01"), 1_000 * USD);
        assert_eq!(sum(&yearly, "2027-04-01", "2028-04-01"), 1_000 * USD);
        let leap = fixed(1_000 * USD, Period::Year, "2028-02-29", None);
        assert_eq!(sum(&leap, "2028-02-29", "2030-02-28"), 2_000 * USD);
        let once = fixed(7 * USD, Period::Once, "2026-10-01", None);
        assert_eq!(on_day(&once, day("2026-10-01")), PicoUsd(7 * USD));
        let spread = fixed(7 * USD, Period::Once, "2026-10-01", Some("2026-10-04"));
        assert_eq!(sum(&spread, "2026-09-01", "2026-12-01"), 7 * USD);
    }

    #[test]
    fn a_month_that_begins_late_or_ends_early_bears_its_days_only() {
        let half = fixed(30 * USD, Period::Month, "2026-11-16", Some("2026-12-01"));
        assert_eq!(sum(&half, "2026-11-01", "2027-01-01"), 15 * USD);
    }

    #[test]
    fn seats_multiply_the_amount() {
        let mut seats = fixed(20 * USD, Period::Month, "2026-11-01", None);
        seats.users = Some(150);
        assert_eq!(sum(&seats, "2026-11-01", "2026-12-01"), 3_000 * USD);
    }

    fn used(center: &str, team: &str, user: &str, usd: i128) -> Used {
        Used {
            owner: Owner {
                cost_center: center.into(),
                team: team.into(),
                project: "".into(),
                user: user.into(),
            },
            estimate: PicoUsd(usd * USD),
        }
    }

    fn shared(allocate: &Allocate, used: &[Used], dollars: i128) -> Vec<(String, i128)> {
        let mut parts = Vec::new();
        Shares::of(allocate, used).add(PicoUsd(dollars * USD), &mut |owner, part| {
            let Owner {
                cost_center,
                team,
                user,
                ..
            } = owner;
            parts.push((format!("{cost_center}/{team}/{user}"), part.0 / USD));
        });
        parts
    }

    #[test]
    fn parts_go_to_users_to_teams_or_by_use() {
        let used = [
            used("1", "a", "ann", 60),
            used("1", "b", "ann", 20),
            used("2", "b", "bob", 20),
            used("", "", "", 0),
        ];
        let expected = |parts: &[(&str, i128)]| -> Vec<(String, i128)> {
            let owned = parts.iter().map(|(name, part)| ((*name).to_owned(), *part));
            owned.collect()
        };
        // Each of two users half; Ann's half by where she worked.
        assert_eq!(
            shared(&Allocate::EvenUsers, &used, 80),
            expected(&[("1/a/ann", 30), ("1/b/ann", 10), ("2/b/bob", 40)])
        );
        assert_eq!(
            shared(&Allocate::EvenTeams, &used, 80),
            expected(&[("1/a/", 40), ("1/b/", 20), ("2/b/", 20)])
        );
        assert_eq!(
            shared(&Allocate::Proportional, &used, 100),
            expected(&[("1/a/ann", 60), ("1/b/ann", 20), ("2/b/bob", 20)])
        );
        assert_eq!(
            shared(&Allocate::CostCenter("9".to_owned()), &used, 5),
            expected(&[("9//", 5)])
        );
    }

    #[test]
    fn what_nobody_bears_is_unallocated() {
        for allocate in [
            Allocate::EvenUsers,
            Allocate::EvenTeams,
            Allocate::Proportional,
        ] {
            assert_eq!(Shares::of(&allocate, &[]).method, UNALLOCATED);
            assert_eq!(shared(&allocate, &[], 5), [("//".to_owned(), 5)]);
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_pico_dollar(
            amount in 0_i128..1_000_000 * USD,
            estimates in prop::collection::vec((0_u8..4, 0_u8..9, 0_i128..1_000), 0..40),
            how in 0_usize..3,
        ) {
            let used: Vec<Used> = estimates
                .iter()
                .map(|(team, user, usd)| used("", &team.to_string(), &user.to_string(), *usd))
                .collect();
            let allocate = [Allocate::EvenUsers, Allocate::EvenTeams, Allocate::Proportional];
            let mut sum = 0;
            Shares::of(&allocate[how], &used).add(PicoUsd(amount), &mut |_, part| sum += part.0);
            prop_assert_eq!(sum, amount);
        }
    }
}
