//! A Bloom filter in blocks: tells which keys a run certainly does not hold.

/// Bits a key: about 1 of 200 keys that a run does not hold is looked for in vain.
const BITS_PER_KEY: usize = 12;

/// Words of a block. Each key sets one bit in each word of one block.
const WORDS: usize = 8;

/// Odd numbers that spread a key over the words of its block.
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<[u32; WORDS]>,
}

impl Filter {
    /// An empty filter for a number of keys.
    pub(super) fn for_keys(keys: usize) -> Self {
        let blocks = (keys * BITS_PER_KEY).div_ceil(WORDS * 32).max(1);
        Self {
            blocks: vec![[0; WORDS]; blocks],
        }
    }

    pub(super) fn insert(&mut self, key: u64) {
        let block = self.block_of(key);
        for (word, mask) in self.blocks[block].iter_mut().zip(masks(key)) {
            *word |= mask;
        }
    }

    pub(super) fn may_hold(&self, key: u64) -> bool {
        let words = self.blocks[self.block_of(key)].iter();
        words.zip(masks(key)).all(|(word, mask)| word & mask != 0)
    }

    /// The upper half of a key chooses the block, the lower half the bits in it.
    fn block_of(&self, key: u64) -> usize {
        let scaled = (u128::from(key) * self.blocks.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or(0)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let words = self.blocks.as_flattened().iter();
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Nothing if the bytes are not a filter's.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let (blocks, left) = words.as_chunks::<WORDS>();
        (rest.is_empty() && left.is_empty() && !blocks.is_empty()).then(|| Self {
            blocks: blocks.to_vec(),
        })
    }
}

fn masks(key: u64) -> [u32; WORDS] {
    let low = u32::try_from(key & u64::from(u32::MAX)).unwrap_or(0);
    SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys are hashes, so evenly spread ones stand for them.
    fn keys(from: u64) -> impl Iterator<Item = u64> {
        (from..from + 10_000).map(|i| {
            let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        })
    }

    #[test]
    fn every_key_is_found_again_and_few_others_are() {
        let mut filter = Filter::for_keys(10_000);
        keys(0).for_each(|key| filter.insert(key));
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!(keys(0).all(|key| filter.may_hold(key)));
        let in_vain = keys(10_000).filter(|key| filter.may_hold(*key)).count();
        assert!(in_vain < 100, "{in_vain} of 10,000");
        assert_eq!(filter.bytes(), 15_008);
    }

    #[test]
    fn bytes_of_another_length_are_no_filter() {
        assert!(Filter::from_bytes(&[]).is_none());
        assert!(Filter::from_bytes(&[0; 31]).is_none());
    }
}
