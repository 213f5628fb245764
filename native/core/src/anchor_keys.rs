//! Keys of anchors: the few bytes by which one is looked up. They count with letters folded by setting a bit, as in `anchor_filter.rs`.

use crate::kernel::{BLOCK_BYTES, Simd, WORD_BYTES};

/// Lengths of keys.
pub const KEY_BYTES: [usize; 3] = [3, 4, 5];
pub const MAX_KEY_BYTES: usize = KEY_BYTES[KEY_BYTES.len() - 1];
/// Of the keys around a position those that begin there.
pub const HERE: u32 = (1 << KEY_BYTES.len()) - 1;
const FOLD: u64 = 0x2020_2020_2020_2020;
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of the first `length` of eight bytes, little-endian. Its high bits depend on all of them. No folded byte is 0, so keys of different lengths differ.
#[inline(always)]
fn hash_of(eight: u64, length: usize) -> u64 {
    ((eight | FOLD) << (64 - 8 * length)).wrapping_mul(MIX)
}

/// The bytes in which keys that begin at a position, or one byte before, may stand. What is outside of the text counts as 0.
#[inline(always)]
fn around(text: &[u8], at: usize) -> u64 {
    match at.checked_sub(1).and_then(|start| text.get(start..start + 8)) {
        Some(eight) => u64::from_le_bytes(eight.try_into().expect("8 bytes")),
        None => at_an_end(text, at),
    }
}

#[cold]
fn at_an_end(text: &[u8], at: usize) -> u64 {
    let byte = |at: Option<usize>| at.and_then(|at| text.get(at)).map_or(0, |&byte| u64::from(byte));
    (0..8).rev().fold(0, |eight, index| eight << 8 | byte((at + index).checked_sub(1)))
}

/// Words of the filter: few enough to stay in cache, many enough that few of their bits are set.
const FILTER_WORDS: usize = 1 << 11;

#[inline(always)]
fn filter_word(three: u64) -> usize {
    (three >> (64 - FILTER_WORDS.trailing_zeros())) as usize
}

/// The bit of a key in its word: by bits of the hash that depend on its last byte, and, if it has no more than the three that name the word, on other bits.
#[inline(always)]
fn filter_bit(hash: u64, length: usize) -> u64 {
    if length == KEY_BYTES[0] { hash >> 47 & 63 } else { hash >> 58 }
}

/// An open-addressing table from hashes of keys to all anchors that have one. What has the same hash is taken for the same.
pub struct KeyTable {
    /// One bit per key, in the word that the hash of its first three bytes names.
    filter: Box<[u64; FILTER_WORDS]>,
    /// Hash and range in `order`, which is empty in a slot that is.
    slots: Vec<(u32, u32, u32)>,
    /// Numbers of anchors, those with the same key together.
    order: Vec<u32>,
}

impl KeyTable {
    pub fn new<'a>(keys: impl Iterator<Item = (&'a [u8], u32)>) -> Self {
        let mut filter = Box::new([0; FILTER_WORDS]);
        let mut hashed = |key: &[u8]| {
            let eight = key.iter().rev().fold(0, |eight, &byte| eight << 8 | u64::from(byte));
            let hash = hash_of(eight, key.len());
            filter[filter_word(hash_of(eight, KEY_BYTES[0]))] |= 1 << filter_bit(hash, key.len());
            hash
        };
        let mut keys: Vec<(u64, u32)> = keys.map(|(key, anchor)| (hashed(key), anchor)).collect();
        keys.sort_unstable();
        let same_key = |a: &(u64, u32), b: &(u64, u32)| a.0 >> 32 == b.0 >> 32;
        let distinct = keys.chunk_by(same_key).count();
        let size = (distinct * 2).max(16).next_power_of_two();
        let order = keys.iter().map(|&(_, anchor)| anchor).collect();
        let mut table = Self { filter, slots: vec![(0, 0, 0); size], order };
        let mut start = 0;
        for same in keys.chunk_by(same_key) {
            let hash = same[0].0;
            let mut slot = table.slot(hash);
            while table.slots[slot].1 != table.slots[slot].2 {
                slot = (slot + 1) & (size - 1);
            }
            let end = start + same.len() as u32;
            table.slots[slot] = ((hash >> 32) as u32, start, end);
            start = end;
        }
        table
    }

    fn slot(&self, hash: u64) -> usize {
        (hash >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    /// Anchors whose key may be one around `at`, and where that begins: those of `which`, a bit each.
    #[inline]
    pub fn around(&self, text: &[u8], at: usize, which: u32) -> impl Iterator<Item = (usize, &[u32])> {
        let bytes = around(text, at);
        // Before the text stands nothing.
        let mut rest = if at == 0 { which & HERE } else { which };
        std::iter::from_fn(move || {
            let which = (rest != 0).then_some(rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            let (back, length) = (which / KEY_BYTES.len(), KEY_BYTES[which % KEY_BYTES.len()]);
            Some((at - back, self.get(hash_of(if back == 0 { bytes >> 8 } else { bytes }, length))))
        })
    }

    /// Which of the keys around `at` the filter knows, a bit each: those that begin there, shortest first, then those that begin one byte before.
    #[inline(always)]
    pub fn known(&self, text: &[u8], at: usize) -> u32 {
        let bytes = around(text, at);
        let [here, before] = [bytes >> 8, bytes].map(|eight| {
            let [three, four, five] = KEY_BYTES.map(|length| hash_of(eight, length));
            let word = self.filter[filter_word(three)];
            let bit = |hash: u64, length: usize| word >> filter_bit(hash, length) & 1;
            bit(three, KEY_BYTES[0]) | bit(four, KEY_BYTES[1]) << 1 | bit(five, KEY_BYTES[2]) << 2
        });
        (here | before << KEY_BYTES.len()) as u32
    }

    #[inline]
    fn get(&self, hash: u64) -> &[u32] {
        let mut slot = self.slot(hash);
        loop {
            let (found, start, end) = self.slots[slot];
            if start == end || found == (hash >> 32) as u32 {
                return &self.order[start as usize..end as usize];
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }
}

/// Positions of a block where a key may stand, or one byte before.
pub struct Places {
    /// Position, and for each of its keys a bit: whether there may be an anchor with it.
    places: [(u32, u32); BLOCK_BYTES / 2 + STEP],
    count: usize,
}

/// So many bits of a word are taken without asking whether they are there: that costs less than a branch that nobody can predict.
const STEP: usize = 4;

impl Default for Places {
    fn default() -> Self {
        Self { places: [(0, 0); BLOCK_BYTES / 2 + STEP], count: 0 }
    }
}

impl Places {
    /// Positions of bits, of which the first word begins at `start`, where the table may know a key.
    pub fn find(&mut self, simd: Simd, table: &KeyTable, text: &[u8], words: &[u32], start: usize) -> &[(u32, u32)] {
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => crate::avx2_anchors::find(self, table, text, words, start),
            _ => self.find_in(table, text, words, start),
        }
        &self.places[..self.count]
    }

    /// `find` for any machine, to be inlined into loops that may use more of its instructions.
    #[inline(always)]
    pub fn find_in(&mut self, table: &KeyTable, text: &[u8], words: &[u32], start: usize) {
        let mut count = 0;
        for (word, &bits) in words.iter().enumerate() {
            let first = (start + word * WORD_BYTES) as u32;
            let next = count + bits.count_ones() as usize;
            let mut rest = bits;
            while count < next {
                for place in &mut self.places[count..count + STEP] {
                    place.0 = first + 2 * rest.trailing_zeros();
                    rest &= rest.wrapping_sub(1);
                }
                count += STEP;
            }
            count = next;
        }
        let mut kept = 0;
        for index in 0..count {
            let at = self.places[index].0;
            let known = table.known(text, at as usize);
            self.places[kept] = (at, known);
            kept += usize::from(known != 0);
        }
        self.count = kept;
    }
}
