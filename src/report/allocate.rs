//! Sharing out what was billed of one day to those who used it. Pure and exact.
//!
//! Tokens billed of a provider and model are shared within their kind, in proportion to the
//! estimates. What the bill tells of a person is that person's, and the rest is shared among the
//! others. What nobody used stays as it is.
#![deny(clippy::float_arithmetic)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::bill::{Charge, PricedKind};
use crate::model::money::share_out;

/// A provider and model, as a number. What a bill tells without a model is a model of its own.
pub type Sold = u32;

/// An account that pays, as a number.
pub type Account = u32;

/// No account, or several.
pub const NO_ACCOUNT: Account = 0;

/// Who takes part: one kind of token of one group on the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    pub group: u32,
    pub sold: Sold,
    /// The person, as a number.
    pub user: u32,
    pub kind: PricedKind,
    pub tokens: u64,
    /// Pico-USD.
    pub estimate: i128,
}

/// One amount of the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billed {
    pub charge: Charge,
    pub sold: Sold,
    pub account: Account,
    pub kind: Option<PricedKind>,
    /// The person, where the bill tells it.
    pub user: Option<u32>,
    /// In 1e-12 of the bill's currency.
    pub amount: i128,
}

/// How an amount came to where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// The bill tells the person.
    Direct,
    /// In proportion to the estimates.
    ByEstimate,
    /// In proportion to the tokens: none of them has a price.
    ByTokens,
    /// Nobody is known who used it.
    Unallocated,
}

impl Method {
    pub const ALL: [Self; 4] = [
        Self::Direct,
        Self::ByEstimate,
        Self::ByTokens,
        Self::Unallocated,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::ByEstimate => "by_estimate",
            Self::ByTokens => "by_tokens",
            Self::Unallocated => "unallocated",
        }
    }
}

/// Where an amount goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// To a use, by its place in the list.
    Use {
        place: usize,
        amount: i128,
        method: Method,
    },
    /// To a person that has no use of this model on the day.
    Person {
        user: u32,
        sold: Sold,
        kind: Option<PricedKind>,
        amount: i128,
    },
    /// It stays a line of its own: nobody used it, or it is not for tokens.
    Own {
        charge: Charge,
        sold: Sold,
        account: Account,
        kind: Option<PricedKind>,
        amount: i128,
    },
}

/// Shares out one day. The shares add up to the bill.
#[must_use]
pub fn allocate(uses: &[Use], bill: &[Billed]) -> Vec<Share> {
    let by_sold = by_sold(uses);
    let mut shares = Vec::new();
    let mut own: BTreeMap<(Charge, Sold, Account, Option<PricedKind>), i128> = BTreeMap::new();
    let mut persons: BTreeMap<(Sold, u32, Option<PricedKind>), i128> = BTreeMap::new();
    let mut pools: BTreeMap<(Sold, Option<PricedKind>), (i128, Account)> = BTreeMap::new();
    for billed in bill {
        let (sold, kind, account) = (billed.sold, billed.kind, billed.account);
        let sum = match (billed.charge, billed.user) {
            (Charge::Tokens, Some(user)) => persons.entry((sold, user, kind)).or_default(),
            (Charge::Tokens, None) => {
                let (sum, of) = pools.entry((sold, kind)).or_insert((0, account));
                if *of != account {
                    *of = NO_ACCOUNT;
                }
                sum
            }
            (charge, _) => own.entry((charge, sold, account, kind)).or_default(),
        };
        *sum += billed.amount;
    }
    let told: BTreeSet<(Sold, u32)> = persons
        .keys()
        .map(|(sold, user, _)| (*sold, *user))
        .collect();
    let by_person = by_person(uses, &told);
    let none = Vec::new();
    for ((sold, user, kind), amount) in persons {
        let all = by_person.get(&(sold, user)).unwrap_or(&none);
        let mut fitting = fitting(uses, all, kind);
        if fitting.is_empty() {
            // The kinds of the bill and of the telemetry differ; the person is the same.
            fitting.clone_from(all);
        }
        if share(uses, &fitting, amount, Some(Method::Direct), &mut shares).is_none() {
            shares.push(Share::Person {
                user,
                sold,
                kind,
                amount,
            });
        }
    }
    for ((sold, kind), (amount, account)) in pools {
        let all = by_sold.get(sold as usize).unwrap_or(&none);
        let others;
        let others = if told.is_empty() {
            all
        } else {
            others = of(all, |place| !told.contains(&(sold, uses[place].user)));
            &others
        };
        let fitting = fitting(uses, others, kind);
        if share(uses, &fitting, amount, None, &mut shares).is_none() {
            *own.entry((Charge::Tokens, sold, account, kind))
                .or_default() += amount;
        }
    }
    for ((charge, sold, account, kind), amount) in own {
        shares.push(Share::Own {
            charge,
            sold,
            account,
            kind,
            amount,
        });
    }
    shares
}

/// Places of uses by what was sold, whose numbers are few and dense.
fn by_sold(uses: &[Use]) -> Vec<Vec<usize>> {
    let mut places: Vec<Vec<usize>> = Vec::new();
    for (place, used) in uses.iter().enumerate() {
        let sold = used.sold as usize;
        if sold >= places.len() {
            places.resize_with(sold + 1, Vec::new);
        }
        places[sold].push(place);
    }
    places
}

/// Places of the uses of those whom the bill tells.
fn by_person(uses: &[Use], told: &BTreeSet<(Sold, u32)>) -> HashMap<(Sold, u32), Vec<usize>> {
    let mut places: HashMap<(Sold, u32), Vec<usize>> = HashMap::new();
    if told.is_empty() {
        return places;
    }
    for (place, used) in uses.iter().enumerate() {
        let person = (used.sold, used.user);
        if told.contains(&person) {
            places.entry(person).or_default().push(place);
        }
    }
    places
}

fn of(places: &[usize], keep: impl Fn(usize) -> bool) -> Vec<usize> {
    places
        .iter()
        .copied()
        .filter(|place| keep(*place))
        .collect()
}

/// The uses among which a billed kind is shared. Telemetry often does not tell how long a cache
/// write lives, so writes of unknown lifetime take part in both.
fn fitting(uses: &[Use], places: &[usize], kind: Option<PricedKind>) -> Vec<usize> {
    use PricedKind::{CacheWrite1h, CacheWrite5m, CacheWriteUnknown};
    let Some(kind) = kind else {
        return places.to_vec();
    };
    let is_write = |kind| matches!(kind, CacheWrite5m | CacheWrite1h | CacheWriteUnknown);
    let same = of(places, |place| {
        let used = uses[place].kind;
        used == kind || (used == CacheWriteUnknown && is_write(kind))
    });
    if same.is_empty() && is_write(kind) {
        return of(places, |place| is_write(uses[place].kind));
    }
    same
}

/// Shares an amount out; `None` if there is nobody to take it.
fn share(
    uses: &[Use],
    places: &[usize],
    amount: i128,
    method: Option<Method>,
    shares: &mut Vec<Share>,
) -> Option<()> {
    let weigh = |weight: fn(&Use) -> i128| -> Vec<i128> {
        places.iter().map(|place| weight(&uses[*place])).collect()
    };
    let (parts, known) = if let Some(parts) = share_out(amount, &weigh(|used| used.estimate)) {
        (parts, Method::ByEstimate)
    } else {
        let tokens = weigh(|used| i128::from(used.tokens));
        (share_out(amount, &tokens)?, Method::ByTokens)
    };
    for (place, amount) in places.iter().zip(parts) {
        shares.push(Share::Use {
            place: *place,
            amount,
            method: method.unwrap_or(known),
        });
    }
    Some(())
}

impl Share {
    #[must_use]
    pub const fn amount(&self) -> i128 {
        match self {
            Self::Use { amount, .. } | Self::Person { amount, .. } | Self::Own { amount, .. } => {
                *amount
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SONNET: Sold = 0;
    const HAIKU: Sold = 1;
    const ALICE: u32 = 0;
    const BOB: u32 = 1;

    fn used(group: u32, user: u32, kind: PricedKind, estimate: i128) -> Use {
        Use {
            group,
            sold: SONNET,
            user,
            kind,
            tokens: 10,
            estimate,
        }
    }

    fn tokens(kind: PricedKind, amount: i128) -> Billed {
        Billed {
            charge: Charge::Tokens,
            sold: SONNET,
            account: 1,
            kind: Some(kind),
            user: None,
            amount,
        }
    }

    fn to(place: usize, amount: i128, method: Method) -> Share {
        Share::Use {
            place,
            amount,
            method,
        }
    }

    fn own(charge: Charge, kind: Option<PricedKind>, amount: i128) -> Share {
        Share::Own {
            charge,
            sold: SONNET,
            account: 1,
            kind,
            amount,
        }
    }

    #[test]
    fn a_kind_is_shared_by_the_estimates_of_that_kind() {
        let uses = [
            used(0, ALICE, PricedKind::Input, 30),
            used(1, BOB, PricedKind::Input, 10),
            used(1, BOB, PricedKind::Output, 500),
        ];
        let bill = [
            tokens(PricedKind::Input, 101),
            tokens(PricedKind::CacheRead, 7),
        ];
        assert_eq!(
            allocate(&uses, &bill),
            [
                to(0, 76, Method::ByEstimate),
                to(1, 25, Method::ByEstimate),
                own(Charge::Tokens, Some(PricedKind::CacheRead), 7),
            ]
        );
    }

    #[test]
    fn what_the_bill_tells_of_a_person_replaces_the_share_of_that_person() {
        let uses = [
            used(0, ALICE, PricedKind::Input, 30),
            used(1, BOB, PricedKind::Input, 10),
        ];
        let alice = Billed {
            user: Some(ALICE),
            ..tokens(PricedKind::Input, 5)
        };
        assert_eq!(
            allocate(&uses, &[tokens(PricedKind::Input, 100), alice]),
            [to(0, 5, Method::Direct), to(1, 100, Method::ByEstimate)]
        );
        let haiku = Billed {
            sold: HAIKU,
            ..alice
        };
        assert_eq!(
            allocate(&uses, &[haiku]),
            [Share::Person {
                user: ALICE,
                sold: HAIKU,
                kind: Some(PricedKind::Input),
                amount: 5
            }]
        );
    }

    #[test]
    fn writes_of_unknown_lifetime_take_part_in_both() {
        let uses = [
            used(0, ALICE, PricedKind::CacheWriteUnknown, 10),
            used(1, BOB, PricedKind::CacheWrite1h, 10),
        ];
        let bill = [
            tokens(PricedKind::CacheWrite5m, 8),
            tokens(PricedKind::CacheWrite1h, 6),
        ];
        assert_eq!(
            allocate(&uses, &bill),
            [
                to(0, 8, Method::ByEstimate),
                to(0, 3, Method::ByEstimate),
                to(1, 3, Method::ByEstimate),
            ]
        );
        assert_eq!(
            allocate(&uses[1..], &bill[..1]),
            [to(0, 8, Method::ByEstimate)],
            "a write is a write"
        );
    }

    #[test]
    fn what_has_no_price_is_shared_by_tokens() {
        let uses = [
            used(0, ALICE, PricedKind::Input, 0),
            used(1, BOB, PricedKind::Input, 0),
        ];
        assert_eq!(
            allocate(&uses, &[tokens(PricedKind::Input, 3)]),
            [to(0, 2, Method::ByTokens), to(1, 1, Method::ByTokens)]
        );
    }

    #[test]
    fn credits_tax_and_what_is_not_understood_stay_apart() {
        let uses = [used(0, ALICE, PricedKind::Input, 1)];
        let bill = [Charge::Credit, Charge::Tax, Charge::Unclassified].map(|charge| Billed {
            charge,
            kind: None,
            ..tokens(PricedKind::Input, -4)
        });
        assert_eq!(
            allocate(&uses, &bill),
            [Charge::Credit, Charge::Tax, Charge::Unclassified].map(|charge| own(charge, None, -4))
        );
    }

    fn kinds() -> impl Strategy<Value = PricedKind> {
        prop::sample::select(PricedKind::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_bill(
            uses in prop::collection::vec(
                (0_u32..3, 0_u32..4, kinds(), 0_u64..100, 0_i128..1 << 50), 0..30),
            bill in prop::collection::vec(
                (0_usize..7, (0_u32..4, 0_u32..3), prop::option::of(kinds()),
                 prop::option::of(0_u32..5), -(1_i128 << 60)..1 << 60), 0..30),
        ) {
            let uses: Vec<Use> = uses.into_iter().zip(0..).map(|(used, group)| {
                let (sold, user, kind, tokens, estimate) = used;
                Use { group, sold, user, kind, tokens, estimate }
            }).collect();
            let bill: Vec<Billed> = bill.into_iter().map(|(charge, told, kind, user, amount)| {
                let (sold, account) = told;
                Billed { charge: Charge::ALL[charge], sold, account, kind, user, amount }
            }).collect();
            let shares = allocate(&uses, &bill);
            let shared: i128 = shares.iter().map(Share::amount).sum();
            prop_assert_eq!(shared, bill.iter().map(|billed| billed.amount).sum::<i128>());
            for share in &shares {
                if let Share::Use { place, .. } = share {
                    prop_assert!(*place < uses.len());
                }
            }
        }
    }
}
