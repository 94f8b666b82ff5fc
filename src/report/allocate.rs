//! Sharing out what was billed of one day to those who used it. Pure and exact.
//!
//! Tokens billed of a provider and model are shared within their kind, in proportion to the
//! estimates. What the bill tells of a person is that person's, and the rest is shared among the
//! others. What nobody used stays as it is.
//!
//! Pico-dollars that do not divide go by the order of rows, which is that of SKUs and identities
//! ([`Sharing`]). It does not depend on what a report is told apart by, so nobody's amount does.
#![deny(clippy::float_arithmetic)]

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::model::bill::{Charge, PricedKind};
use crate::model::cost::CostDay;
use crate::model::money::Sharing;

/// A provider and model, as a number. What a bill tells without a model is a model of its own.
pub type Sold = u32;

/// An account that pays, as a number.
pub type Account = u32;

/// No account, or several.
pub const NO_ACCOUNT: Account = 0;

/// Who takes part: the rows of the estimate, and what they are.
#[derive(Clone, Copy, Debug)]
pub struct Uses<'a> {
    pub day: &'a CostDay,
    /// What each part of the day was sold as.
    pub sold: &'a [Sold],
    /// The person of each group, as a number.
    pub users: &'a [u32],
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
    /// To the use of a kind, by its row.
    Use {
        row: usize,
        kind: PricedKind,
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

/// Shares out one day: tells `give` who gets what. The shares add up to the bill.
pub fn allocate(uses: &Uses<'_>, bill: &[Billed], mut give: impl FnMut(Share)) {
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
    let told = Told::of(uses, persons.keys().map(|(sold, user, _)| (*sold, *user)));
    for ((sold, user, kind), amount) in persons {
        let takers = Takers {
            day: uses.day,
            rows: told.rows(sold, user),
            left_out: &[],
        };
        let mut kinds = takers.fitting(kind);
        if kinds.is_empty() {
            // The kinds of the bill and of the telemetry differ; the person is the same.
            kinds = takers.fitting(None);
        }
        let person = Some(Method::Direct);
        if share(&takers, &kinds, amount, person, &mut give).is_none() {
            give(Share::Person {
                user,
                sold,
                kind,
                amount,
            });
        }
    }
    for ((sold, kind), (amount, account)) in pools {
        let takers = Takers {
            day: uses.day,
            rows: uses.rows_of(sold),
            left_out: &told.is_told,
        };
        let kinds = takers.fitting(kind);
        if share(&takers, &kinds, amount, None, &mut give).is_none() {
            *own.entry((Charge::Tokens, sold, account, kind))
                .or_default() += amount;
        }
    }
    for ((charge, sold, account, kind), amount) in own {
        give(Share::Own {
            charge,
            sold,
            account,
            kind,
            amount,
        });
    }
}

impl Uses<'_> {
    /// The rows of what was sold.
    fn rows_of(&self, sold: Sold) -> Vec<Range<usize>> {
        let parts = self.day.parts.iter().zip(self.sold);
        let own = parts.filter(|(_, of)| **of == sold);
        own.map(|(rows, _)| rows.clone()).collect()
    }
}

/// Those whom the bill tells.
#[derive(Debug, Default)]
struct Told {
    rows: HashMap<(Sold, u32), Vec<Range<usize>>>,
    /// By row; empty if the bill tells nobody.
    is_told: Vec<bool>,
}

impl Told {
    fn of(uses: &Uses<'_>, persons: impl Iterator<Item = (Sold, u32)>) -> Self {
        let persons = persons.map(|person| (person, Vec::new()));
        let mut told = Self {
            rows: persons.collect(),
            is_told: Vec::new(),
        };
        if told.rows.is_empty() {
            return told;
        }
        told.is_told.resize(uses.day.groups.len(), false);
        for (rows, sold) in uses.day.parts.iter().zip(uses.sold) {
            for row in rows.clone() {
                let user = uses.users[uses.day.groups[row] as usize];
                if let Some(own) = told.rows.get_mut(&(*sold, user)) {
                    own.push(row..row + 1);
                    told.is_told[row] = true;
                }
            }
        }
        told
    }

    fn rows(&self, sold: Sold, user: u32) -> Vec<Range<usize>> {
        self.rows.get(&(sold, user)).cloned().unwrap_or_default()
    }
}

/// Those among whom an amount is shared.
struct Takers<'a> {
    day: &'a CostDay,
    rows: Vec<Range<usize>>,
    /// Rows that take no part, where there are any.
    left_out: &'a [bool],
}

impl Takers<'_> {
    /// Visits the uses of some kinds: row, kind, tokens and estimate.
    fn each(&self, kinds: &[PricedKind], mut visit: impl FnMut(usize, PricedKind, u64, u64)) {
        for kind in kinds {
            for rows in &self.rows {
                let Some((tokens, estimate)) = self.day.uses(*kind, rows) else {
                    continue;
                };
                for ((row, tokens), estimate) in rows.clone().zip(tokens).zip(estimate) {
                    let is_used = *tokens != 0 || *estimate != 0;
                    if is_used && !self.left_out.get(row).is_some_and(|out| *out) {
                        let weight = |value: i64| u64::try_from(value).unwrap_or(0);
                        visit(row, *kind, weight(*tokens), weight(*estimate));
                    }
                }
            }
        }
    }

    fn have(&self, kinds: &[PricedKind]) -> bool {
        let mut any = false;
        self.each(kinds, |_, _, _, _| any = true);
        any
    }

    /// The kinds among which a billed kind is shared; none if nobody used them. Telemetry often
    /// does not tell how long a cache write lives, so writes of unknown lifetime take part in both.
    fn fitting(&self, kind: Option<PricedKind>) -> Vec<PricedKind> {
        use PricedKind::{CacheWrite1h, CacheWrite5m, CacheWriteUnknown};
        let writes = vec![CacheWrite5m, CacheWrite1h, CacheWriteUnknown];
        let choices = match kind {
            None => vec![PricedKind::ALL.to_vec()],
            Some(CacheWriteUnknown) => vec![vec![CacheWriteUnknown], writes],
            Some(kind) if writes.contains(&kind) => vec![vec![kind, CacheWriteUnknown], writes],
            Some(kind) => vec![vec![kind]],
        };
        let fits = choices.into_iter().find(|kinds| self.have(kinds));
        fits.unwrap_or_default()
    }
}

/// Shares an amount out; `None` if there is nobody to take it.
fn share(
    takers: &Takers<'_>,
    kinds: &[PricedKind],
    amount: i128,
    method: Option<Method>,
    give: &mut impl FnMut(Share),
) -> Option<()> {
    let (mut estimates, mut counts) = (0_u128, 0_u128);
    takers.each(kinds, |_, _, tokens, estimate| {
        counts += u128::from(tokens);
        estimates += u128::from(estimate);
    });
    let by_estimate = estimates > 0;
    let total = if by_estimate { estimates } else { counts };
    let mut sharing = Sharing::new(amount, total)?;
    let method = method.unwrap_or(if by_estimate {
        Method::ByEstimate
    } else {
        Method::ByTokens
    });
    takers.each(kinds, |row, kind, tokens, estimate| {
        let weight = if by_estimate { estimate } else { tokens };
        give(Share::Use {
            row,
            kind,
            amount: sharing.next(weight),
            method,
        });
    });
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

    /// One kind of token of one row.
    #[derive(Clone, Copy, Debug)]
    struct Used {
        sold: Sold,
        user: u32,
        kind: PricedKind,
        tokens: i64,
        estimate: i64,
    }

    fn used(user: u32, kind: PricedKind, estimate: i64) -> Used {
        Used {
            sold: SONNET,
            user,
            kind,
            tokens: 10,
            estimate,
        }
    }

    /// The shares of a day on which each use is a row, and a group, of its own.
    fn shares(uses: &[Used], bill: &[Billed]) -> Vec<Share> {
        let mut day = CostDay::default();
        for (row, used) in uses.iter().enumerate() {
            day.parts.push(row..row + 1);
            day.groups.push(u32::try_from(row).unwrap());
            for kind in PricedKind::ALL {
                let is = i64::from(kind == used.kind);
                day.tokens[kind as usize].push(is * used.tokens);
                day.estimate[kind as usize].push(is * used.estimate);
            }
        }
        let uses = Uses {
            day: &day,
            sold: &uses.iter().map(|used| used.sold).collect::<Vec<_>>(),
            users: &uses.iter().map(|used| used.user).collect::<Vec<_>>(),
        };
        let mut shares = Vec::new();
        allocate(&uses, bill, |share| shares.push(share));
        shares
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

    fn to(row: usize, kind: PricedKind, amount: i128, method: Method) -> Share {
        Share::Use {
            row,
            kind,
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
            used(ALICE, PricedKind::Input, 30),
            used(BOB, PricedKind::Input, 10),
            used(BOB, PricedKind::Output, 500),
        ];
        let bill = [
            tokens(PricedKind::Input, 101),
            tokens(PricedKind::CacheRead, 7),
        ];
        assert_eq!(
            shares(&uses, &bill),
            [
                to(0, PricedKind::Input, 75, Method::ByEstimate),
                to(1, PricedKind::Input, 26, Method::ByEstimate),
                own(Charge::Tokens, Some(PricedKind::CacheRead), 7),
            ]
        );
    }

    #[test]
    fn what_the_bill_tells_of_a_person_replaces_the_share_of_that_person() {
        let uses = [
            used(ALICE, PricedKind::Input, 30),
            used(BOB, PricedKind::Input, 10),
        ];
        let alice = Billed {
            user: Some(ALICE),
            ..tokens(PricedKind::Input, 5)
        };
        assert_eq!(
            shares(&uses, &[tokens(PricedKind::Input, 100), alice]),
            [
                to(0, PricedKind::Input, 5, Method::Direct),
                to(1, PricedKind::Input, 100, Method::ByEstimate),
            ]
        );
        let haiku = Billed {
            sold: HAIKU,
            ..alice
        };
        assert_eq!(
            shares(&uses, &[haiku]),
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
            used(ALICE, PricedKind::CacheWriteUnknown, 10),
            used(BOB, PricedKind::CacheWrite1h, 10),
        ];
        let bill = [
            tokens(PricedKind::CacheWrite5m, 8),
            tokens(PricedKind::CacheWrite1h, 6),
        ];
        assert_eq!(
            shares(&uses, &bill),
            [
                to(0, PricedKind::CacheWriteUnknown, 8, Method::ByEstimate),
                to(1, PricedKind::CacheWrite1h, 3, Method::ByEstimate),
                to(0, PricedKind::CacheWriteUnknown, 3, Method::ByEstimate),
            ]
        );
        assert_eq!(
            shares(&uses[1..], &bill[..1]),
            [to(0, PricedKind::CacheWrite1h, 8, Method::ByEstimate)],
            "a write is a write"
        );
    }

    #[test]
    fn what_has_no_price_is_shared_by_tokens() {
        let uses = [
            used(ALICE, PricedKind::Input, 0),
            used(BOB, PricedKind::Input, 0),
        ];
        assert_eq!(
            shares(&uses, &[tokens(PricedKind::Input, 3)]),
            [
                to(0, PricedKind::Input, 1, Method::ByTokens),
                to(1, PricedKind::Input, 2, Method::ByTokens),
            ]
        );
    }

    #[test]
    fn credits_tax_and_what_is_not_understood_stay_apart() {
        let uses = [used(ALICE, PricedKind::Input, 1)];
        let bill = [Charge::Credit, Charge::Tax, Charge::Unclassified].map(|charge| Billed {
            charge,
            kind: None,
            ..tokens(PricedKind::Input, -4)
        });
        assert_eq!(
            shares(&uses, &bill),
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
                (0_u32..3, 0_u32..4, kinds(), 0_i64..100, -5_i64..1 << 50), 0..30),
            bill in prop::collection::vec(
                (0_usize..7, (0_u32..4, 0_u32..3), prop::option::of(kinds()),
                 prop::option::of(0_u32..5), -(1_i128 << 60)..1 << 60), 0..30),
        ) {
            let uses: Vec<Used> = uses.into_iter().map(|used| {
                let (sold, user, kind, tokens, estimate) = used;
                Used { sold, user, kind, tokens, estimate }
            }).collect();
            let bill: Vec<Billed> = bill.into_iter().map(|(charge, told, kind, user, amount)| {
                let (sold, account) = told;
                Billed { charge: Charge::ALL[charge], sold, account, kind, user, amount }
            }).collect();
            let shares = shares(&uses, &bill);
            let shared: i128 = shares.iter().map(Share::amount).sum();
            prop_assert_eq!(shared, bill.iter().map(|billed| billed.amount).sum::<i128>());
            for share in &shares {
                if let Share::Use { row, kind, .. } = share {
                    prop_assert_eq!(uses[*row].kind, *kind);
                }
            }
        }
    }
}
