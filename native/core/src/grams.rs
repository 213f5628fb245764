//! An open-addressing table from a 32-bit gram to a number, behind a bit filter that answers most misses from cache.

use crate::secret_buf::SecretBuf;

const EMPTY: u32 = u32::MAX;
const MIX: u32 = 0x9e37_79b1;

pub struct GramTable {
    filter: SecretBuf<u32>,
    filter_shift: u32,
    keys: SecretBuf<u32>,
    /// Stored plus one, so that zeroed memory means empty.
    values: SecretBuf<u32>,
    shift: u32,
}

impl GramTable {
    pub fn new(count: usize) -> Self {
        // Half full at most; 32 filter bits per slot keep false alarms near 3 %.
        let bits = (usize::BITS - (count * 2).max(16).leading_zeros()).min(30);
        let filter_bits = (bits + 4).min(26);
        Self {
            filter: SecretBuf::zeroed(1 << (filter_bits - 5)),
            filter_shift: 32 - filter_bits,
            keys: SecretBuf::zeroed(1 << bits),
            values: SecretBuf::zeroed(1 << bits),
            shift: 32 - bits,
        }
    }

    /// Whether `gram` may be in the table: no false negatives.
    #[inline(always)]
    pub fn maybe(&self, gram: u32) -> bool {
        let bit = gram.wrapping_mul(MIX) >> self.filter_shift;
        self.filter[(bit >> 5) as usize] & (1 << (bit & 31)) != 0
    }

    #[inline]
    pub fn get(&self, gram: u32) -> Option<u32> {
        let mask = self.keys.len() - 1;
        let mut slot = (gram.wrapping_mul(MIX) >> self.shift) as usize;
        loop {
            match self.values[slot].wrapping_sub(1) {
                EMPTY => return None,
                value if self.keys[slot] == gram => return Some(value),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    pub fn set(&mut self, gram: u32, value: u32) {
        let hash = gram.wrapping_mul(MIX);
        let mask = self.keys.len() - 1;
        let mut slot = (hash >> self.shift) as usize;
        while self.values[slot] != 0 && self.keys[slot] != gram {
            slot = (slot + 1) & mask;
        }
        self.keys[slot] = gram;
        self.values[slot] = value + 1;
        let bit = hash >> self.filter_shift;
        self.filter[(bit >> 5) as usize] |= 1 << (bit & 31);
    }

    pub fn bytes(&self) -> usize {
        self.filter.bytes() + self.keys.bytes() + self.values.bytes()
    }

    pub fn locked_bytes(&self) -> usize {
        self.filter.locked_bytes() + self.keys.locked_bytes() + self.values.locked_bytes()
    }
}
