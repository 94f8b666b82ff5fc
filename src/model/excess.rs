//! What counters saw and no request report explains.
//!
//! A client's counters and its request reports tell of the same work. Counters count only where
//! they exceed the larger of what the client's events and the counted requests say, per session
//! and model (without session: per device and day). That excess is what the log export lost, or
//! what went past the gateway.

use std::borrow::Cow;

/// Amounts of the kinds that counters and requests have in common: input, output, cache reads,
/// cache writes, the client's cost estimate in micro-USD, requests.
pub type Amounts = [i64; 6];

/// Index of the client's cost estimate in [`Amounts`].
pub const CLIENT_COST: usize = 4;
/// Index of the number of requests in [`Amounts`].
pub const REQUESTS: usize = 5;

/// What is known for one quarter hour from requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    pub quarter: i64,
    /// All of the client's events, counted or not.
    pub events: Amounts,
    /// Counted requests.
    pub requests: Amounts,
}

/// What counters said for one quarter hour, by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metered {
    pub quarter: i64,
    /// Orders rows of one quarter hour: a hash of identity and model terms.
    pub order: u64,
    /// Below zero where the parts of an inclusive input are known, and the input lies elsewhere.
    pub amounts: Amounts,
}

/// The part of each row that counts. The sum per kind is the excess of the whole scope; it is
/// laid where the quarter hours themselves show excess, latest first, then wherever counters
/// counted.
#[must_use]
pub fn excess(covers: &[Cover], metered: &[Metered]) -> Vec<Amounts> {
    let metered = &*settled(metered);
    let mut result = vec![Amounts::default(); metered.len()];
    let mut latest_first: Vec<usize> = (0..metered.len()).collect();
    latest_first.sort_by_key(|i| {
        let row = &metered[*i];
        (std::cmp::Reverse(row.quarter), row.order)
    });
    for kind in 0..Amounts::default().len() {
        let total: i64 = metered.iter().map(|row| row.amounts[kind]).sum();
        let events: i64 = covers.iter().map(|cover| cover.events[kind]).sum();
        let requests: i64 = covers.iter().map(|cover| cover.requests[kind]).sum();
        let mut left = (total - events.max(requests)).max(0);
        if left == total {
            for (row, part) in metered.iter().zip(&mut result) {
                part[kind] = row.amounts[kind];
            }
            continue;
        }
        let mut quarter = None;
        let mut room = 0;
        for index in &latest_first {
            let row = &metered[*index];
            if quarter != Some(row.quarter) {
                quarter = Some(row.quarter);
                room = local_excess(covers, metered, row.quarter, kind);
            }
            let part = row.amounts[kind].min(room).min(left);
            result[*index][kind] = part;
            room -= part;
            left -= part;
        }
        for index in &latest_first {
            let part = (metered[*index].amounts[kind] - result[*index][kind]).min(left);
            result[*index][kind] += part;
            left -= part;
        }
    }
    result
}

/// Takes what lies below zero off other rows of the same order, the latest first. What no row has to
/// give is let go.
fn settled(metered: &[Metered]) -> Cow<'_, [Metered]> {
    let is_positive = |row: &Metered| row.amounts.iter().all(|amount| *amount >= 0);
    if metered.iter().all(is_positive) {
        return Cow::Borrowed(metered);
    }
    let mut rows = metered.to_vec();
    let mut by_order: Vec<&mut Metered> = rows.iter_mut().collect();
    by_order.sort_by_key(|row| (row.order, std::cmp::Reverse(row.quarter)));
    for same in by_order.chunk_by_mut(|a, b| a.order == b.order) {
        for kind in 0..Amounts::default().len() {
            let owed = same.iter().map(|row| row.amounts[kind].min(0)).sum::<i64>();
            let mut owed = owed.saturating_neg();
            for row in same.iter_mut() {
                let held = row.amounts[kind].max(0);
                let part = owed.min(held);
                row.amounts[kind] = held - part;
                owed -= part;
            }
        }
    }
    Cow::Owned(rows)
}

fn local_excess(covers: &[Cover], metered: &[Metered], quarter: i64, kind: usize) -> i64 {
    let counted: i64 = metered
        .iter()
        .filter(|row| row.quarter == quarter)
        .map(|row| row.amounts[kind])
        .sum();
    let known: i64 = covers
        .iter()
        .filter(|cover| cover.quarter == quarter)
        .map(|cover| cover.events[kind].max(cover.requests[kind]))
        .sum();
    (counted - known).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn input(amount: i64) -> Amounts {
        [amount, 0, 0, 0, 0, 0]
    }

    fn metered(quarter: i64, amount: i64) -> Metered {
        Metered {
            quarter,
            order: 0,
            amounts: input(amount),
        }
    }

    #[test]
    fn counters_alone_count_whole() {
        assert_eq!(
            excess(&[], &[metered(1, 5), metered(2, 7)]),
            [input(5), input(7)]
        );
    }

    #[test]
    fn covered_counters_do_not_count() {
        let cover = Cover {
            quarter: 1,
            events: input(12),
            requests: input(3),
        };
        assert_eq!(
            excess(&[cover], &[metered(1, 5), metered(2, 7)]),
            [input(0), input(0)]
        );
    }

    #[test]
    fn an_outage_of_the_log_export_is_booked_where_it_happened() {
        let cover = |quarter, amount| Cover {
            quarter,
            events: input(amount),
            requests: input(amount),
        };
        let rows = [metered(1, 10), metered(2, 10), metered(3, 10)];
        assert_eq!(
            excess(&[cover(1, 10), cover(3, 10)], &rows),
            [input(0), input(10), input(0)]
        );
    }

    #[test]
    fn what_lies_below_zero_is_taken_off_rows_of_the_same_order() {
        let of = |order, quarter, amount| Metered {
            order,
            ..metered(quarter, amount)
        };
        let rows = [of(1, 1, 1000), of(1, 3, -600), of(2, 2, 50), of(3, 2, -70)];
        assert_eq!(
            excess(&[], &rows),
            [input(400), input(0), input(50), input(0)]
        );
    }

    proptest! {
        #[test]
        fn the_sum_is_the_scopes_excess_and_no_row_gives_more_than_it_has(
            covers in proptest::collection::vec((0..4_i64, 0..50_i64, 0..50_i64), 0..5),
            rows in proptest::collection::vec((0..4_i64, 0..50_i64), 0..6),
        ) {
            let covers: Vec<Cover> = covers.into_iter()
                .map(|(quarter, events, requests)| Cover { quarter, events: input(events), requests: input(requests) })
                .collect();
            let rows: Vec<Metered> = rows.into_iter().enumerate()
                .map(|(i, (quarter, amount))| Metered { order: i as u64, ..metered(quarter, amount) })
                .collect();
            let parts = excess(&covers, &rows);
            let total: i64 = rows.iter().map(|r| r.amounts[0]).sum();
            let events: i64 = covers.iter().map(|c| c.events[0]).sum();
            let requests: i64 = covers.iter().map(|c| c.requests[0]).sum();
            prop_assert_eq!(parts.iter().map(|p| p[0]).sum::<i64>(), (total - events.max(requests)).max(0));
            for (row, part) in rows.iter().zip(&parts) {
                prop_assert!(part[0] >= 0 && part[0] <= row.amounts[0]);
            }
        }
    }
}
