//! An open-addressing table from a 32-bit gram to a number, behind a bit filter that answers most misses from cache.

use crate::secret_buf::SecretBuf;

const MIX: u32 = 0x9e37_79b1;

/// Everything lies in one buffer, since each one is a mapping and a process may have only so many: filter words, then slots of key and
/// value, the value stored plus one so that zeroed memory means empty.
pub struct GramTable {
    words: SecretBuf<u32>,
    filter_words: usize,
    filter_shift: u32,
    shift: u32,
}

impl GramTable {
    pub fn new(count: usize) -> Self {
        // Half full at most; 32 filter bits per slot keep false alarms near 3 %.
        let bits = (usize::BITS - (count * 2).max(16).leading_zeros()).min(30);
        let filter_bits = (bits + 4).min(26);
        let filter_words = 1 << (filter_bits - 5);
        Self { words: SecretBuf::zeroed(filter_words + (2 << bits)), filter_words, filter_shift: 32 - filter_bits, shift: 32 - bits }
    }

    /// The first position in `text` (4 bytes or more) where a gram of the table stands, and its value: the loop that sees almost all bytes of a log.
    #[inline]
    pub fn find(&self, text: &[u8]) -> Option<(usize, u32)> {
        let filter = &self.words[..self.filter_words];
        let mut gram = u32::from_le_bytes([0, text[0], text[1], text[2]]);
        for (at, &byte) in text[3..].iter().enumerate() {
            gram = gram >> 8 | u32::from(byte) << 24;
            let bit = gram.wrapping_mul(MIX) >> self.filter_shift;
            let word = filter.get((bit >> 5) as usize)?;
            if word & (1 << (bit & 31)) != 0
                && let Some(value) = self.get(gram)
            {
                return Some((at, value));
            }
        }
        None
    }

    /// Whether `gram` may be in the table: no false negatives.
    #[inline(always)]
    pub fn maybe(&self, gram: u32) -> bool {
        let bit = gram.wrapping_mul(MIX) >> self.filter_shift;
        self.words[(bit >> 5) as usize] & (1 << (bit & 31)) != 0
    }

    /// Where the slot of `hash` lies in `words`.
    #[inline]
    fn slot(&self, hash: u32) -> usize {
        self.filter_words + 2 * (hash >> self.shift) as usize
    }

    #[inline]
    fn next(&self, slot: usize) -> usize {
        if slot + 2 == self.words.len() { self.filter_words } else { slot + 2 }
    }

    #[inline]
    pub fn get(&self, gram: u32) -> Option<u32> {
        let mut slot = self.slot(gram.wrapping_mul(MIX));
        loop {
            match self.words[slot + 1] {
                0 => return None,
                value if self.words[slot] == gram => return Some(value - 1),
                _ => slot = self.next(slot),
            }
        }
    }

    /// Sets the value, below 2^32 - 1, of `gram`.
    pub fn set(&mut self, gram: u32, value: u32) {
        let hash = gram.wrapping_mul(MIX);
        let mut slot = self.slot(hash);
        while self.words[slot + 1] != 0 && self.words[slot] != gram {
            slot = self.next(slot);
        }
        self.words[slot] = gram;
        self.words[slot + 1] = value + 1;
        let bit = hash >> self.filter_shift;
        self.words[(bit >> 5) as usize] |= 1 << (bit & 31);
    }

    pub fn bytes(&self) -> usize {
        self.words.bytes()
    }

    pub fn locked_bytes(&self) -> usize {
        self.words.locked_bytes()
    }
}
