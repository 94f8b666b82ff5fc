//! Shares of an amount that add up to it.
#![deny(clippy::float_arithmetic)]

/// Shares an amount out in proportion to weights, exactly: each part is rounded down, and what is
/// left goes to the largest remainders, the first part first among equals. A weight below zero
/// counts as zero. The parts add up to `amount`; `None` if no weight is above zero.
#[must_use]
pub fn share_out(amount: i128, weights: &[i128]) -> Option<Vec<i128>> {
    let total = weights
        .iter()
        .try_fold(0_i128, |total, weight| total.checked_add((*weight).max(0)))?;
    if total == 0 {
        return None;
    }
    let total = total.unsigned_abs();
    let whole = amount.unsigned_abs();
    let mut left = whole;
    let mut parts = Vec::with_capacity(weights.len());
    let mut order = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let weight = weight.max(&0).unsigned_abs();
        let (part, remainder) = multiply_divide(whole, weight, total);
        left -= part;
        parts.push(part);
        order.push((remainder, index));
    }
    // Each remainder is less than one, so fewer units are left than there are parts.
    let left = usize::try_from(left).unwrap_or(0);
    if left < order.len() {
        order.select_nth_unstable_by(left, |a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    }
    for (_, index) in order.into_iter().take(left) {
        parts[index] += 1;
    }
    let signed = |part: u128| {
        let part = i128::try_from(part).unwrap_or(i128::MAX);
        if amount < 0 { -part } else { part }
    };
    Some(parts.into_iter().map(signed).collect())
}

/// `a * b / c` and its remainder, exact even if the product needs more than 128 bits. `b` is at
/// most `c`, and `c` below 2^127.
fn multiply_divide(a: u128, b: u128, c: u128) -> (u128, u128) {
    if let Some(product) = a.checked_mul(b) {
        // One division: there are millions of them in a report of a year.
        let quotient = product / c;
        return (quotient, product - quotient * c);
    }
    let (mut quotient, mut remainder) = (0_u128, 0_u128);
    for bit in (0..u128::BITS).rev() {
        quotient *= 2;
        remainder *= 2;
        if remainder >= c {
            remainder -= c;
            quotient += 1;
        }
        if (a >> bit) & 1 == 1 {
            remainder += b;
            if remainder >= c {
                remainder -= c;
                quotient += 1;
            }
        }
    }
    (quotient, remainder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_goes_to_the_largest_remainders() {
        assert_eq!(share_out(10, &[1, 1, 1]), Some(vec![4, 3, 3]));
        assert_eq!(share_out(-10, &[1, 1, 1]), Some(vec![-4, -3, -3]));
        assert_eq!(share_out(7, &[0, 3, -5, 1]), Some(vec![0, 5, 0, 2]));
        assert_eq!(share_out(7, &[0, -1]), None);
        assert_eq!(share_out(7, &[]), None);
    }

    proptest! {
        #[test]
        fn parts_add_up_and_are_within_one_of_their_share(
            amount in -(1_i128 << 90)..(1_i128 << 90),
            weights in prop::collection::vec(0_i128..(1_i128 << 80), 1..20),
        ) {
            let total: i128 = weights.iter().sum();
            prop_assume!(total > 0);
            let parts = share_out(amount, &weights).expect("a weight is above zero");
            prop_assert_eq!(parts.iter().sum::<i128>(), amount);
            for (part, weight) in parts.iter().zip(&weights) {
                let (share, _) = multiply_divide(
                    amount.unsigned_abs(), weight.unsigned_abs(), total.unsigned_abs());
                prop_assert!(part.unsigned_abs() == share || part.unsigned_abs() == share + 1);
            }
        }

        #[test]
        fn wide_products_are_divided_exactly(a in 0_u128..(1 << 100), b in 1_u128..(1 << 100)) {
            // Against a divisor that divides the product: what comes out is known.
            let c = b * 4;
            prop_assert_eq!(multiply_divide(a, b, c), (a / 4, (a % 4) * b));
        }
    }
}
