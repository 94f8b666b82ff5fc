//! Actual cost by user: a second answer, by tag and service, laid over the first.
//!
//! The one tells what each usage type cost, the other what each user cost; neither tells both. So
//! the lines of a service are split among its users such that every user's sum and every usage
//! type's sum stay exactly as billed.

use std::collections::BTreeMap;

use crate::model::bill::{Amounts, BillLine};
use crate::model::money::PicoUsd;

/// What users of one service cost in one currency.
pub(super) type Shares = BTreeMap<String, PicoUsd>;

/// Splits the lines of one day. `shares` are by service and currency. Lines of services that
/// cannot be split (negative amounts, or users that cost more than the service) stay whole.
pub(super) fn split(
    lines: Vec<BillLine>,
    shares: &BTreeMap<(String, String), Shares>,
) -> Vec<BillLine> {
    let mut by_service: BTreeMap<(String, String), Vec<BillLine>> = BTreeMap::new();
    let mut done = Vec::with_capacity(lines.len());
    for line in lines {
        let key = (line.service.to_string(), line.currency.to_string());
        if shares.contains_key(&key) {
            by_service.entry(key).or_default().push(line);
        } else {
            done.push(line);
        }
    }
    for (key, lines) in by_service {
        match shares.get(&key).and_then(|shares| parts(&lines, shares)) {
            Some(split) => done.extend(split),
            None => done.extend(lines),
        }
    }
    done
}

fn parts(lines: &[BillLine], shares: &Shares) -> Option<Vec<BillLine>> {
    let cost = |line: &BillLine| line.amounts.unblended.map(|amount| amount.0);
    let rows: Vec<i128> = lines.iter().map(cost).collect::<Option<_>>()?;
    let total = rows
        .iter()
        .try_fold(0_i128, |sum, row| sum.checked_add(*row))?;
    let mut users: Vec<Option<&str>> = shares.keys().map(|user| Some(&**user)).collect();
    let mut columns: Vec<i128> = shares.values().map(|amount| amount.0).collect();
    let told = columns
        .iter()
        .try_fold(0_i128, |sum, part| sum.checked_add(*part))?;
    // What the bill has and no user is told for stays without one.
    users.push(None);
    columns.push(total.checked_sub(told)?);
    let cells = fill(&rows, &columns)?;
    let mut split = Vec::new();
    for (line, cells) in lines.iter().zip(cells) {
        let amounts = line.amounts;
        let net = share_out(amounts.net, &cells)?;
        let blended = share_out(amounts.blended, &cells)?;
        let tokens = line.tokens.map(|tokens| PicoUsd(i128::from(tokens)));
        let tokens = share_out(tokens, &cells)?;
        let before = split.len();
        for (index, user) in users.iter().enumerate() {
            let tokens = tokens[index].and_then(|tokens| u64::try_from(tokens.0).ok());
            let part = BillLine {
                user: user.map(Into::into),
                quantity: tokens
                    .map_or_else(String::new, |tokens| tokens.to_string())
                    .into(),
                unit: if tokens.is_some() { "Tokens" } else { "" }.into(),
                tokens,
                amounts: Amounts {
                    unblended: Some(PicoUsd(cells[index])),
                    net: net[index],
                    blended: blended[index],
                },
                ..line.clone()
            };
            let amounts = [
                part.amounts.unblended,
                part.amounts.net,
                part.amounts.blended,
            ];
            let costs_nothing = amounts.into_iter().flatten().all(|amount| amount.0 == 0);
            if !costs_nothing || tokens.is_some_and(|tokens| tokens > 0) {
                split.push(part);
            }
        }
        if split.len() == before {
            split.push(line.clone());
        }
    }
    Some(split)
}

/// Whole numbers with these sums by row and by column, near to proportional. `None` if a sum is
/// negative or the numbers are too large.
fn fill(rows: &[i128], columns: &[i128]) -> Option<Vec<Vec<i128>>> {
    if rows.iter().chain(columns).any(|sum| *sum < 0) {
        return None;
    }
    let total: i128 = rows.iter().sum();
    let floor = |row: i128, column: i128| match total {
        0 => Some(0),
        total => wide(row, column, total),
    };
    let mut cells = Vec::with_capacity(rows.len());
    for row in rows {
        let row: Option<Vec<i128>> = columns.iter().map(|column| floor(*row, *column)).collect();
        cells.push(row?);
    }
    // What rounding down left over has equal sums both ways: it is handed out from the first corner.
    let mut missing: Vec<i128> = columns.to_vec();
    for row in &cells {
        for (column, cell) in missing.iter_mut().zip(row) {
            *column -= cell;
        }
    }
    for (row, sum) in cells.iter_mut().zip(rows) {
        let mut left = sum - row.iter().sum::<i128>();
        for (cell, missing) in row.iter_mut().zip(&mut missing) {
            let more = left.min(*missing);
            *cell += more;
            *missing -= more;
            left -= more;
        }
    }
    Some(cells)
}

/// `a * b / c`, rounded down, where the product may be wider than 128 bits by little: amounts above
/// nine million of a currency a day lose their last places here, never in a sum.
fn wide(a: i128, b: i128, c: i128) -> Option<i128> {
    if let Some(product) = a.checked_mul(b) {
        return Some(product / c);
    }
    a.checked_mul(b / 1_000_000)
        .map(|product| product / c)?
        .checked_mul(1_000_000)
}

/// Shares an amount out as the weights are, exactly: the largest remainders get what is left.
fn share_out(amount: Option<PicoUsd>, weights: &[i128]) -> Option<Vec<Option<PicoUsd>>> {
    let Some(PicoUsd(amount)) = amount else {
        return Some(vec![None; weights.len()]);
    };
    let total: i128 = weights.iter().sum();
    if total == 0 {
        // Nothing tells whose it is: it stays with the part without a user, which is the last.
        let mut parts = vec![Some(PicoUsd::ZERO); weights.len()];
        *parts.last_mut()? = Some(PicoUsd(amount));
        return Some(parts);
    }
    let mut before = 0_i128;
    let mut given = 0_i128;
    let mut parts = Vec::with_capacity(weights.len());
    for weight in weights {
        before += weight;
        // Each part is what the running sum grows by, so that parts add up to the amount.
        let until = if before == total {
            amount
        } else {
            wide(amount, before, total)?
        };
        parts.push(Some(PicoUsd(until - given)));
        given = until;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::bill::{BilledSku, Charge};

    fn line(usage_type: &str, cost: i128, tokens: u64) -> BillLine {
        BillLine {
            provider: "bedrock".into(),
            account: "111122223333".into(),
            day: "2026-11-20".parse().unwrap(),
            charge: Charge::Tokens,
            sku: BilledSku::default(),
            service: "Claude Sonnet 4.6 (Amazon Bedrock Edition)".into(),
            usage_type: usage_type.into(),
            user: None,
            quantity: "1".into(),
            unit: "Units".into(),
            tokens: Some(tokens),
            currency: "USD".into(),
            amounts: Amounts {
                unblended: Some(PicoUsd(cost)),
                net: Some(PicoUsd(cost / 2)),
                blended: None,
            },
        }
    }

    fn shares(users: &[(&str, i128)]) -> BTreeMap<(String, String), Shares> {
        let shares = users
            .iter()
            .map(|(user, cost)| ((*user).to_owned(), PicoUsd(*cost)));
        let service = "Claude Sonnet 4.6 (Amazon Bedrock Edition)".to_owned();
        [((service, "USD".to_owned()), shares.collect())].into()
    }

    fn told(lines: &[BillLine]) -> Vec<(&str, Option<&str>, i128, Option<u64>)> {
        let lines = lines.iter();
        lines
            .map(|line| {
                let cost = line.amounts.unblended.unwrap_or_default().0;
                (&*line.usage_type, line.user.as_deref(), cost, line.tokens)
            })
            .collect()
    }

    #[test]
    fn every_sum_stays_as_billed_and_the_rest_has_no_user() {
        let lines = vec![line("input", 30, 300), line("output", 70, 7)];
        let split = split(lines, &shares(&[("ada", 50), ("bob", 40)]));
        assert_eq!(
            told(&split),
            [
                ("input", Some("ada"), 15, Some(150)),
                ("input", Some("bob"), 12, Some(120)),
                ("input", None, 3, Some(30)),
                ("output", Some("ada"), 35, Some(3)),
                ("output", Some("bob"), 28, Some(3)),
                ("output", None, 7, Some(1)),
            ]
        );
    }

    #[test]
    fn what_cannot_be_split_stays_whole() {
        let lines = vec![line("input", 30, 300), line("refund", -5, 0)];
        assert_eq!(split(lines.clone(), &shares(&[("ada", 25)])), lines);
        let lines = vec![line("input", 30, 300)];
        assert_eq!(split(lines.clone(), &shares(&[("ada", 31)])), lines);
        assert_eq!(split(lines.clone(), &BTreeMap::new()), lines);
    }

    proptest! {
        #[test]
        fn sums_by_user_and_by_usage_type_are_exact(
            costs in prop::collection::vec((0_i128..1 << 60, 0_u64..1 << 40), 1..6),
            users in prop::collection::vec(0_u32..1_000_000, 0..6),
        ) {
            let total: i128 = costs.iter().map(|(cost, _)| cost).sum();
            let names = ["ada", "bob", "cy", "dee", "eve", "fay"];
            let mut left = total;
            let mut wanted = Vec::new();
            for (name, part) in names.iter().zip(users) {
                let part = left * i128::from(part) / 1_000_000;
                left -= part;
                wanted.push((*name, part));
            }
            let kinds = ["a", "b", "c", "d", "e"];
            let lines: Vec<_> = kinds
                .iter()
                .zip(&costs)
                .map(|(kind, (cost, tokens))| line(kind, *cost, *tokens))
                .collect();
            let done = split(lines, &shares(&wanted));
            for (user, cost) in wanted {
                let of_user = done.iter().filter(|line| line.user.as_deref() == Some(user));
                let sum: i128 = of_user.filter_map(|line| line.amounts.unblended).map(|a| a.0).sum();
                prop_assert_eq!(sum, cost);
            }
            for (kind, (cost, tokens)) in kinds.iter().zip(&costs) {
                let parts: Vec<_> = done.iter().filter(|line| &*line.usage_type == *kind).collect();
                let sum = |of: &dyn Fn(&BillLine) -> i128| parts.iter().map(|p| of(p)).sum::<i128>();
                prop_assert_eq!(sum(&|p| p.amounts.unblended.unwrap_or_default().0), *cost);
                prop_assert_eq!(sum(&|p| i128::from(p.tokens.unwrap_or_default())), i128::from(*tokens));
                let net = if parts.is_empty() { 0 } else { cost / 2 };
                prop_assert_eq!(sum(&|p| p.amounts.net.unwrap_or_default().0), net);
            }
        }
    }
}
