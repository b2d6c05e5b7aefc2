//! Enters: bytes. Leaves: sets of byte values, asked and joined in a few instructions. They carry the cheapest tests of
//! all: a value without a needed byte cannot match, nor be changed by a transformation.

/// A set of byte values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self([0; 4]);
    /// The set of some bytes.
    pub(crate) const fn of(bytes: &[u8]) -> Self {
        Self::EMPTY.with(bytes)
    }

    /// The set with some bytes more.
    pub(crate) const fn with(mut self, bytes: &[u8]) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self.0[(bytes[at] >> 6) as usize] |= 1 << (bytes[at] & 63);
            at += 1;
        }
        self
    }

    /// All bytes from one to another, both included.
    pub(crate) fn range(first: u8, last: u8) -> Self {
        (first..=last).fold(Self::EMPTY, |set, byte| set.with(&[byte]))
    }

    /// The bytes that occur in a text.
    pub(crate) fn present(text: &[u8]) -> Self {
        // Words that are chosen by an index would be updated through memory; a table of flags costs its reading, once.
        if text.len() < 24 && text.is_ascii() {
            let (mut low, mut high) = (0_u64, 0_u64);
            for byte in text {
                let bit = 1_u64 << (byte & 63);
                let upper = 0_u64.wrapping_sub(u64::from(byte >> 6));
                low |= bit & !upper;
                high |= bit & upper;
            }
            return Self([low, high, 0, 0]);
        }
        let mut seen = [0_u8; 256];
        for byte in text {
            seen[usize::from(*byte)] = 1;
        }
        let mut words = [0_u64; 4];
        let (chunks, _) = seen.as_chunks::<8>();
        for (at, flags) in chunks.iter().enumerate() {
            // Gathers the lowest bits of eight bytes.
            let bits = u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            words[at >> 3] |= bits << ((at & 7) * 8);
        }
        Self(words)
    }

    pub(crate) const fn has(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }

    pub(crate) const fn meets(&self, other: &Self) -> bool {
        (self.0[0] & other.0[0]) | (self.0[1] & other.0[1]) | (self.0[2] & other.0[2]) | (self.0[3] & other.0[3]) != 0
    }

    pub(crate) const fn union(&self, other: &Self) -> Self {
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1], self.0[2] | other.0[2], self.0[3] | other.0[3]])
    }

    pub(crate) const fn inverted(&self) -> Self {
        Self([!self.0[0], !self.0[1], !self.0[2], !self.0[3]])
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_texts_give_the_same_set() {
        let long: Vec<u8> = (0..=255_u8).filter(|b| b % 3 == 0).cycle().take(500).collect();
        assert_eq!(ByteSet::present(&long), ByteSet::of(&long));
        for text in [b"".as_slice(), b"\0 ?@AZ_`az\x7f", b"a\x80\xff"] {
            assert_eq!(ByteSet::present(text), ByteSet::of(text));
        }
        assert!(ByteSet::range(b'a', b'c').has(b'b') && !ByteSet::range(b'a', b'c').has(b'd'));
        assert_eq!(ByteSet::of(b"abc").inverted().len(), 253);
    }
}
