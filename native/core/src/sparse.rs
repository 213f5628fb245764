//! A map from few of many node numbers to values: a bit per node, a running count per 64, and the values in order.

pub struct Sparse<T> {
    bits: Vec<u64>,
    ranks: Vec<u32>,
    values: Vec<T>,
}

impl<T: Copy> Sparse<T> {
    /// Builds from pairs in ascending order of keys below `size`.
    pub fn new(size: usize, pairs: impl Iterator<Item = (u32, T)>) -> Self {
        let mut bits = vec![0u64; size / 64 + 1];
        let mut values = Vec::new();
        for (key, value) in pairs {
            bits[key as usize / 64] |= 1 << (key % 64);
            values.push(value);
        }
        values.shrink_to_fit();
        let mut count = 0;
        let ranks = bits
            .iter()
            .map(|word| {
                let before = count;
                count += word.count_ones();
                before
            })
            .collect();
        Self { bits, ranks, values }
    }

    #[inline]
    pub fn get(&self, key: u32) -> Option<T> {
        let word = self.bits[key as usize / 64];
        let bit = 1u64 << (key % 64);
        if word & bit == 0 {
            return None;
        }
        let below = (word & (bit - 1)).count_ones();
        Some(self.values[(self.ranks[key as usize / 64] + below) as usize])
    }

    pub fn bytes(&self) -> usize {
        self.bits.len() * 8 + self.ranks.len() * 4 + self.values.capacity() * size_of::<T>()
    }
}
