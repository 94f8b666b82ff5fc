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

/// Shares an amount out among parts that come one after the other, exactly: up to each part, so
/// much is given as the weights so far have of all weights, rounded down. Each part is within one
/// of its share, and parts that follow each other have together what one part of their weights
/// would have. So it does not matter whether weights are summed before or after.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Of the amount; its sign comes last.
    whole: u128,
    is_negative: bool,
    total: u128,
    weights: u128,
    given: u128,
    narrow: Option<Narrow>,
}

/// What a division by the total is made of where all numbers are below 2^63.
#[derive(Clone, Copy, Debug)]
struct Narrow {
    whole: u64,
    total: u64,
    /// `whole * 2^64 / total`, rounded down: its upper and its lower half.
    factor: [u64; 2],
}

impl Sharing {
    /// `total` is the sum of all weights that will come. `None` if it is zero.
    #[must_use]
    pub fn new(amount: i128, total: u128) -> Option<Self> {
        let whole = amount.unsigned_abs();
        (total > 0).then(|| Self {
            whole,
            is_negative: amount < 0,
            total,
            weights: 0,
            given: 0,
            narrow: Narrow::new(whole, total),
        })
    }

    /// The share of the next part.
    pub fn next(&mut self, weight: u64) -> i128 {
        self.weights += u128::from(weight);
        let upto = match &self.narrow {
            Some(narrow) => narrow.upto(low(self.weights)).into(),
            None => multiply_divide(self.whole, self.weights.min(self.total), self.total).0,
        };
        let part = i128::try_from(upto - self.given).unwrap_or(i128::MAX);
        self.given = upto;
        if self.is_negative { -part } else { part }
    }
}

impl Narrow {
    fn new(whole: u128, total: u128) -> Option<Self> {
        let below = |number: u128| u64::try_from(number).ok().filter(|n| *n < 1 << 63);
        let (whole, total) = (below(whole)?, below(total)?);
        let factor = (u128::from(whole) << 64) / u128::from(total);
        Some(Self {
            whole,
            total,
            factor: [low(factor >> 64), low(factor)],
        })
    }

    /// `whole * weights / total`, rounded down: multiplied with the factor it is that or one less,
    /// as the factor lacks less than one, and `weights` are below 2^64.
    fn upto(&self, weights: u64) -> u64 {
        let [upper, lower] = self.factor;
        let carried = low((u128::from(lower) * u128::from(weights)) >> 64);
        let upto = upper.wrapping_mul(weights).wrapping_add(carried);
        let product = self.whole.wrapping_mul(weights);
        let remainder = product.wrapping_sub(upto.wrapping_mul(self.total));
        upto + u64::from(remainder >= self.total)
    }
}

/// The lower half.
fn low(wide: u128) -> u64 {
    u64::try_from(wide & u128::from(u64::MAX)).unwrap_or(0)
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
        fn sharing_gives_all_and_each_within_one_of_its_share(
            amount in prop_oneof![
                -(1_i128 << 62)..(1_i128 << 62), -(1_i128 << 90)..(1_i128 << 90), -9_i128..9],
            weights in prop::collection::vec(
                prop_oneof![0_u64..10, 0_u64..1 << 40, 0_u64..1 << 62], 1..20),
        ) {
            let total: u128 = weights.iter().copied().map(u128::from).sum();
            prop_assume!(total > 0);
            let mut sharing = Sharing::new(amount, total).expect("a weight is above zero");
            let (mut all, mut before) = (0, 0_u128);
            for weight in &weights {
                let part = sharing.next(*weight);
                before += u128::from(*weight);
                all += part;
                let (upto, _) = multiply_divide(amount.unsigned_abs(), before, total);
                prop_assert_eq!(all.unsigned_abs(), upto);
                let share = multiply_divide(amount.unsigned_abs(), (*weight).into(), total).0;
                prop_assert!(part.unsigned_abs() == share || part.unsigned_abs() == share + 1);
            }
            prop_assert_eq!(all, amount);
        }

        #[test]
        fn wide_products_are_divided_exactly(a in 0_u128..(1 << 100), b in 1_u128..(1 << 100)) {
            // Against a divisor that divides the product: what comes out is known.
            let c = b * 4;
            prop_assert_eq!(multiply_divide(a, b, c), (a / 4, (a % 4) * b));
        }
    }
}
