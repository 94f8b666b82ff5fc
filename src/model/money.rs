//! Money as integers: pico-USD, a millionth of a millionth of a dollar.
//!
//! Every Claude list price is a whole number of pico-USD per token, so products and sums are
//! exact. Rounding happens only where figures are shown.
#![deny(clippy::float_arithmetic)]

mod share;

use std::fmt;

use super::decimal;

pub use share::{Sharing, share_out};

/// Decimal places of one pico-USD.
pub const PICO_DIGITS: u32 = 12;

/// The longest decimal text read; no currency amount needs more.
const MAX_TEXT_BYTES: usize = 128;

/// An amount in pico-USD (1e-12 USD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PicoUsd(pub i128);

/// What is wrong with a decimal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("the number is empty")]
    Empty,
    #[error("`{found}` does not belong in a decimal number")]
    Unexpected { found: char },
    #[error("a digit is missing beside the sign, the point or the exponent")]
    MissingDigit,
    #[error("more than {decimals} decimal places")]
    TooFine { decimals: u32 },
    #[error("the number is too large")]
    TooLarge,
}

impl PicoUsd {
    pub const ZERO: Self = Self(0);

    /// `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `None` on overflow.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `None` on overflow.
    #[must_use]
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(i128::from(factor)).map(Self)
    }

    /// Reads an amount in USD exactly: `12`, `-0.5`, `1.25e-7`. Text with more than twelve decimal
    /// places is refused.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        parse_decimal(text, PICO_DIGITS).map(Self)
    }

    /// Reads an amount in USD that may have passed through a float somewhere, such as
    /// `0.011980000000000001`: places beyond the twelfth are rounded half-even.
    pub fn parse_rounded(text: &str) -> Result<Self, DecimalError> {
        let number = Number::scan(text, PICO_DIGITS)?;
        if number.shift >= 0 {
            return number.exact(PICO_DIGITS).map(Self);
        }
        // Beyond 38 places nothing is left of any number that fits.
        let divisor = 10_i128.checked_pow(number.shift.unsigned_abs());
        Ok(Self(divisor.map_or(0, |divisor| {
            divide_half_even(number.digits, divisor)
        })))
    }

    /// The amount rounded half-even to `digits` decimal places of a dollar, at most twelve.
    #[must_use]
    pub fn rounded(self, digits: u32) -> Self {
        let step = step(digits);
        let rounded = divide_half_even(self.0, step).saturating_mul(step);
        Self(rounded)
    }

    /// The amount in USD with exactly `digits` decimal places (2 to 12), rounded half-even.
    #[must_use]
    pub fn to_decimal(self, digits: u32) -> String {
        let mut text = String::new();
        self.put_decimal(&mut text, digits);
        text
    }

    /// Writes the same behind a text.
    pub fn put_decimal(self, text: &mut String, digits: u32) {
        let digits = digits.clamp(2, PICO_DIGITS);
        let units = divide_half_even(self.0, step(digits));
        decimal::put_fixed(text, units, digits);
    }
}

/// Shows the exact amount in USD, with two decimal places or as many as it needs.
impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_decimal(PICO_DIGITS);
        let spare = PICO_DIGITS as usize - 2;
        let zeros = text
            .bytes()
            .rev()
            .take(spare)
            .take_while(|b| *b == b'0')
            .count();
        f.write_str(&text[..text.len() - zeros])
    }
}

/// Rounds lines to `digits` decimal places so that they add up to their rounded total: each line
/// is rounded down, and what is left of the total goes to the largest remainders, the first line
/// first among equals. `None` if the total overflows.
#[must_use]
pub fn apportion(lines: &[PicoUsd], digits: u32) -> Option<Vec<PicoUsd>> {
    let step = step(digits);
    let mut total = PicoUsd::ZERO;
    let mut floors = PicoUsd::ZERO;
    let mut shown = Vec::with_capacity(lines.len());
    let mut order = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let remainder = line.0.rem_euclid(step);
        let floor = PicoUsd(line.0.checked_sub(remainder)?);
        total = total.checked_add(*line)?;
        floors = floors.checked_add(floor)?;
        shown.push(floor);
        order.push((remainder, index));
    }
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut left = total.rounded(digits).checked_sub(floors)?;
    for (_, index) in order {
        if left.0 < step {
            break;
        }
        shown[index] = shown[index].checked_add(PicoUsd(step))?;
        left = left.checked_sub(PicoUsd(step))?;
    }
    Some(shown)
}

/// Reads decimal text exactly, as a whole number of units of `10^-decimals`.
pub fn parse_decimal(text: &str, decimals: u32) -> Result<i128, DecimalError> {
    Number::scan(text, decimals)?.exact(decimals)
}

/// A decimal number: `digits * 10^shift` units, without trailing zeros in `digits`.
struct Number {
    digits: i128,
    shift: i32,
}

impl Number {
    fn scan(text: &str, decimals: u32) -> Result<Self, DecimalError> {
        if text.is_empty() {
            return Err(DecimalError::Empty);
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(DecimalError::TooLarge);
        }
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, part) = match mantissa.split_once('.') {
            Some((whole, part)) => (whole, only_digits(part)?),
            None => (mantissa, ""),
        };
        let mut places = i32::try_from(part.len()).map_err(|_| DecimalError::TooLarge)?;
        let joined = format!("{}{part}", only_digits(whole)?);
        let significant = joined.trim_end_matches('0');
        places -= i32::try_from(joined.len() - significant.len()).unwrap_or(0);
        let mut digits = 0_i128;
        for byte in significant.bytes() {
            digits = digits
                .checked_mul(10)
                .and_then(|digits| digits.checked_add(i128::from(byte - b'0')))
                .ok_or(DecimalError::TooLarge)?;
        }
        let decimals = i32::try_from(decimals).map_err(|_| DecimalError::TooLarge)?;
        Ok(Self {
            digits: sign * digits,
            shift: decimals + exponent - places,
        })
    }

    fn exact(&self, decimals: u32) -> Result<i128, DecimalError> {
        if self.digits == 0 {
            return Ok(0);
        }
        let shift = u32::try_from(self.shift).map_err(|_| DecimalError::TooFine { decimals })?;
        10_i128
            .checked_pow(shift)
            .and_then(|factor| self.digits.checked_mul(factor))
            .ok_or(DecimalError::TooLarge)
    }
}

fn only_digits(text: &str) -> Result<&str, DecimalError> {
    if text.is_empty() {
        return Err(DecimalError::MissingDigit);
    }
    match text.chars().find(|c| !c.is_ascii_digit()) {
        Some(found) => Err(DecimalError::Unexpected { found }),
        None => Ok(text),
    }
}

fn parse_exponent(text: &str) -> Result<i32, DecimalError> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    // Three digits reach every float; the sum with other shifts then stays far from overflow.
    match only_digits(digits)?.trim_start_matches('0') {
        "" => Ok(0),
        digits if digits.len() > 3 => Err(DecimalError::TooLarge),
        digits => digits
            .parse::<i32>()
            .map(|value| sign * value)
            .map_err(|_| DecimalError::TooLarge),
    }
}

/// Pico-USD in one unit of the last shown place.
fn step(digits: u32) -> i128 {
    10_i128.pow(PICO_DIGITS - digits.min(PICO_DIGITS))
}

/// Divides by a positive number and rounds down; what is left is never below zero. Most amounts
/// fit into 64 bits, and are then divided faster.
pub fn divide_floor(value: i128, divisor: i128) -> (i128, i128) {
    if let (Ok(value), Ok(divisor)) = (i64::try_from(value), i64::try_from(divisor)) {
        let floor = value.div_euclid(divisor);
        return (floor.into(), value.rem_euclid(divisor).into());
    }
    (value.div_euclid(divisor), value.rem_euclid(divisor))
}

/// Divides by a positive number; an exact half goes to the even neighbour.
pub fn divide_half_even(value: i128, divisor: i128) -> i128 {
    let (floor, remainder) = divide_floor(value, divisor);
    let rest = divisor - remainder;
    let up = remainder > rest || (remainder == rest && floor % 2 != 0);
    floor + i128::from(up)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_text_is_read_exactly() {
        let read = [
            "0",
            "-0",
            "12",
            "+0.5",
            "-0.000000000001",
            "1.250e-7",
            "3E2",
            "0.0000000000010000",
            "1e0",
        ]
        .map(|text| PicoUsd::parse(text).map(|amount| amount.0));
        let expected = [
            0,
            0,
            12_000_000_000_000,
            500_000_000_000,
            -1,
            125_000,
            300_000_000_000_000,
            1,
            1_000_000_000_000,
        ]
        .map(Ok);
        assert_eq!(read, expected);
    }

    #[test]
    fn a_bad_number_is_told_what_is_wrong_with_it() {
        let read = [
            "",
            "1,5",
            "1.",
            ".5",
            "-",
            "1e",
            "NaN",
            "1.2.3",
            " 1",
            "0.0000000000001",
            "1e999",
            "99999999999999999999999999999999999999999",
            "1e99999",
        ]
        .map(|text| PicoUsd::parse(text).map_err(|error| error.to_string()));
        let digit = "a digit is missing beside the sign, the point or the exponent";
        let expected = [
            "the number is empty",
            "`,` does not belong in a decimal number",
            digit,
            digit,
            digit,
            digit,
            "`N` does not belong in a decimal number",
            "`.` does not belong in a decimal number",
            "` ` does not belong in a decimal number",
            "more than 12 decimal places",
            "the number is too large",
            "the number is too large",
            "the number is too large",
        ]
        .map(|message| Err(message.to_owned()));
        assert_eq!(read, expected);
    }

    #[test]
    fn float_dust_is_rounded_half_even() {
        let read = [
            "0.011980000000000001",
            "0.0000000000005",
            "0.0000000000015",
            "-0.0000000000015",
            "1e-300",
            "2.5",
            "7e-13",
        ]
        .map(|text| PicoUsd::parse_rounded(text).map(|amount| amount.0));
        let expected = [11_980_000_000, 0, 2, -2, 0, 2_500_000_000_000, 1].map(Ok);
        assert_eq!(read, expected);
    }

    #[test]
    fn an_amount_is_shown_exactly_or_rounded_half_even() {
        let amount = PicoUsd(11_985_000_000);
        let shown = [
            amount.to_string(),
            amount.to_decimal(2),
            amount.to_decimal(5),
            amount.to_decimal(12),
            PicoUsd(-5_000_000_000).to_decimal(2),
            PicoUsd(-15_000_000_000).to_decimal(2),
            PicoUsd(25_000_000_000).to_decimal(0),
            PicoUsd(-1).to_string(),
            PicoUsd(3_000_000_000_000).to_string(),
            PicoUsd(i128::MIN).to_decimal(12),
        ];
        assert_eq!(
            shown,
            [
                "0.011985",
                "0.01",
                "0.01198",
                "0.011985000000",
                "0.00",
                "-0.02",
                "0.02",
                "-0.000000000001",
                "3.00",
                "-170141183460469231731687303.715884105728",
            ]
        );
    }

    #[test]
    fn arithmetic_reports_overflow() {
        let most = PicoUsd(i128::MAX);
        assert_eq!(
            (
                most.checked_add(PicoUsd(1)),
                PicoUsd(i128::MIN).checked_sub(PicoUsd(1)),
                most.checked_mul(2),
                PicoUsd(7).checked_mul(6),
            ),
            (None, None, None, Some(PicoUsd(42)))
        );
    }

    #[test]
    fn shown_lines_add_up_to_the_shown_total() {
        let thirds = [PicoUsd(3_333_333_333_333); 3];
        assert_eq!(
            apportion(&thirds, 2),
            Some(vec![
                PicoUsd(3_340_000_000_000),
                PicoUsd(3_330_000_000_000),
                PicoUsd(3_330_000_000_000)
            ])
        );
        assert_eq!(apportion(&[], 2), Some(Vec::new()));
        assert_eq!(apportion(&[PicoUsd(i128::MAX), PicoUsd(1)], 2), None);
    }

    proptest! {
        #[test]
        fn any_lines_add_up_and_move_less_than_one_step(
            lines in prop::collection::vec(-1_000_000_000_000_000_i128..1_000_000_000_000_000, 0..40),
            digits in 2_u32..=12,
        ) {
            let lines: Vec<PicoUsd> = lines.into_iter().map(PicoUsd).collect();
            let shown = apportion(&lines, digits).expect("these totals are small");
            let total = PicoUsd(lines.iter().map(|line| line.0).sum()).rounded(digits);
            prop_assert_eq!(PicoUsd(shown.iter().map(|line| line.0).sum()), total);
            for (line, shown) in lines.iter().zip(&shown) {
                prop_assert!((line.0 - shown.0).abs() < step(digits));
                prop_assert_eq!(*shown, shown.rounded(digits));
            }
        }

        #[test]
        fn what_is_shown_is_read_back(amount in -(1_i128 << 100)..(1_i128 << 100)) {
            prop_assert_eq!(PicoUsd::parse(&PicoUsd(amount).to_string()), Ok(PicoUsd(amount)));
        }

        #[test]
        fn no_text_upsets_the_reader(text in "[-+0-9.eE]{0,30}|\\PC{0,20}") {
            if let (Ok(exact), rounded) = (PicoUsd::parse(&text), PicoUsd::parse_rounded(&text)) {
                prop_assert_eq!(rounded, Ok(exact));
            }
        }
    }
}
