//! Numbers that look random and are the same for the same seed.

use std::fmt::Write as _;

/// `SplitMix64` (Steele, Lea, Flood 2014): small, fast, and good enough to play with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Random(u64);

impl Random {
    /// A stream of its own for each list of numbers.
    pub(super) fn of(seed: u64, parts: &[u64]) -> Self {
        let mut random = Self(seed);
        for part in parts {
            random.0 = random.next() ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        }
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `[low, high]`, evenly spread.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// A number in `[low, high]`, small ones more often: most requests are small.
    pub(super) fn skewed(&mut self, low: u64, high: u64) -> u64 {
        let (one, two) = (self.between(low, high), self.between(low, high));
        let three = self.between(low, high);
        one.min(two).min(three)
    }

    /// True in this many of a hundred cases.
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.between(1, 100) <= chance
    }

    /// One of a list that is never empty.
    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        let index = self.next() % (list.len() as u64);
        list[usize::try_from(index).unwrap_or_default()]
    }

    /// Hexadecimal digits.
    pub(super) fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            let _ = write!(text, "{:016x}", self.next());
        }
        text.truncate(digits);
        text
    }

    /// A UUID of version 4.
    pub(super) fn uuid(&mut self) -> String {
        let digits = self.hex(30);
        format!(
            "{}-{}-4{}-a{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..15],
            &digits[15..18],
            &digits[18..30]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_the_published_numbers() {
        // The reference implementation's first outputs for the seed 1234567.
        let mut random = Random(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn streams_differ_and_repeat() {
        assert_eq!(Random::of(1, &[2, 3]), Random::of(1, &[2, 3]));
        assert_ne!(Random::of(1, &[2, 3]).next(), Random::of(1, &[3, 2]).next());
        let uuid = Random::of(1, &[]).uuid();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
    }
}
