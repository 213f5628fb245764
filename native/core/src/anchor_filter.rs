//! Where anchors may stand: the loops that see every byte of a log. They look at every even position, and nearly all of a log is done with after that.
//!
//! Three bytes from an even position on name a word of a table, and what stands beside those three names a few of its bits, which are set if an anchor has all
//! these bytes. Longer anchors are known by five bytes: behind an even position stand the five, or the last four of them. Those of four bytes likewise: the four,
//! or the last three. For those of three bytes there is a smaller table, whose words are named by two bytes. Letters are folded by setting a bit, which folds
//! some other bytes too.

use std::ops::Range;

use crate::kernel::{BLOCK_BYTES, BLOCK_WORDS, Simd, WORD_BYTES};

/// Bytes before and behind a word that its positions reach into.
pub const BEFORE_BYTES: usize = 1;
pub const BEHIND_BYTES: usize = 4;

/// Words of the two tables. Both lie in the first-level cache, with room for what else is at work.
pub const TRIPLES: usize = 1 << 13;
pub const PAIRS: usize = 1 << 11;

/// Folds both bytes of a lane.
pub const FOLD: u16 = 0x2020;

/// Multipliers of the hashes, which are 16-bit lanes: odd, with bits all over.
pub const TRIPLE_MIX: [u16; 2] = [0x9e35, 0x6f4d];
pub const PAIR_MIX: u16 = 0x9e35;
pub const BEFORE_MIX: u16 = 0xb52d;
pub const THIRD_MIX: u16 = 0x8d4f;
pub const FOURTH_MIX: u16 = 0xc8b3;
pub const AROUND_MIX: u16 = 0x7a95;
pub const BEHIND_MIX: u16 = 0xa6c7;

/// Bits of a byte by four bits of a hash: two each.
pub const PATTERNS: [u8; 16] = [0x03, 0x05, 0x11, 0x21, 0x81, 0x0a, 0x12, 0x42, 0x82, 0x0c, 0x24, 0x44, 0x18, 0x28, 0x50, 0xa0];

/// Bits of a word by a hash: four.
#[inline(always)]
fn signature(hash: u16) -> u16 {
    u16::from(PATTERNS[usize::from(hash >> 4 & 15)]) | u16::from(PATTERNS[usize::from(hash >> 12)]) << 8
}

/// Six bytes around a position, folded, in lanes of two as the loops have them.
struct Around {
    /// The byte before the position.
    before: u16,
    /// Bytes 0 and 1 from the position on; 2 and 3; 3 and 4.
    first: u16,
    second: u16,
    behind: u16,
}

impl Around {
    /// The position is that of `bytes[1]`.
    #[inline(always)]
    fn new(bytes: [u8; 6]) -> Self {
        let lane = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) | FOLD;
        Self { before: lane(0) & 0xff, first: lane(1), second: lane(3), behind: lane(4) }
    }

    #[inline(always)]
    fn triple(&self) -> usize {
        let hash = self.first.wrapping_mul(TRIPLE_MIX[0]).wrapping_add((self.second & 0xff).wrapping_mul(TRIPLE_MIX[1]));
        usize::from(hash) / (0x10000 / TRIPLES)
    }

    #[inline(always)]
    fn pair(&self) -> usize {
        usize::from(self.first.wrapping_mul(PAIR_MIX)) / (0x10000 / PAIRS)
    }

    /// Of five bytes from the position on.
    #[inline(always)]
    fn five(&self) -> u16 {
        signature(self.behind.wrapping_mul(BEHIND_MIX))
    }

    /// Of five bytes from the one before on.
    #[inline(always)]
    fn five_before(&self) -> u16 {
        signature((self.before | self.second & 0xff00).wrapping_mul(AROUND_MIX))
    }

    /// Of four bytes from the position on.
    #[inline(always)]
    fn four(&self) -> u16 {
        signature((self.second >> 8).wrapping_mul(FOURTH_MIX))
    }

    /// Of three bytes from the position on.
    #[inline(always)]
    fn three(&self) -> u16 {
        signature((self.second & 0xff).wrapping_mul(THIRD_MIX))
    }

    /// Of three or four bytes from the one before on.
    #[inline(always)]
    fn three_or_four_before(&self) -> u16 {
        signature(self.before.wrapping_mul(BEFORE_MIX))
    }
}

/// The tables. Immutable once they are in an anchor set.
pub struct AnchorFilter {
    pub triples: Box<[u16; TRIPLES]>,
    pub pairs: Box<[u16; PAIRS]>,
}

impl AnchorFilter {
    pub fn new() -> Self {
        Self { triples: Box::new([0; TRIPLES]), pairs: Box::new([0; PAIRS]) }
    }

    /// Adds an anchor of three or four bytes, or five bytes of a longer one.
    pub fn insert(&mut self, bytes: &[u8]) {
        for lead in [BEFORE_BYTES, 0] {
            let mut six = [0; 6];
            six[lead..lead + bytes.len()].copy_from_slice(bytes);
            let around = Around::new(six);
            match (bytes.len(), lead) {
                (3, 0) => self.pairs[around.pair()] |= around.three_or_four_before(),
                (3, _) => self.pairs[around.pair()] |= around.three(),
                (4, 0) => self.triples[around.triple()] |= around.three_or_four_before(),
                (4, _) => self.triples[around.triple()] |= around.four(),
                (_, 0) => self.triples[around.triple()] |= around.five_before(),
                _ => self.triples[around.triple()] |= around.five(),
            }
        }
    }
}

/// Bits of the even positions of a stretch of a chunk, for each of its words: bit `i` is position `2 i`.
pub struct AnchorBits {
    /// An anchor of 3 bytes may begin here or one byte before.
    pub threes: [u32; BLOCK_WORDS],
    /// One of 4 bytes likewise.
    pub fours: [u32; BLOCK_WORDS],
    /// One of the two windows of a longer one may begin here.
    pub windows: [u32; BLOCK_WORDS],
}

impl Default for AnchorBits {
    fn default() -> Self {
        Self { threes: [0; BLOCK_WORDS], fours: [0; BLOCK_WORDS], windows: [0; BLOCK_WORDS] }
    }
}

impl AnchorBits {
    /// Fills in the bits of `chunk[start..]`, at most `BLOCK_BYTES` of it. Returns how many words that are.
    pub fn fill(&mut self, simd: Simd, filter: &AnchorFilter, chunk: &[u8], start: usize) -> usize {
        let rest = chunk.len() - start;
        let words = rest.min(BLOCK_BYTES).div_ceil(WORD_BYTES);
        // The first word of the chunk has no byte before it, the last ones too few behind them.
        let inner = usize::from(start == 0).min(words)..words.min(rest.saturating_sub(BEHIND_BYTES) / WORD_BYTES);
        for word in (0..inner.start).chain(inner.end.max(inner.start)..words) {
            let mut padded = [0; BEFORE_BYTES + WORD_BYTES + BEHIND_BYTES];
            let at = start + word * WORD_BYTES;
            let lead = at.min(BEFORE_BYTES);
            let length = (chunk.len() - at).min(WORD_BYTES + BEHIND_BYTES) + lead;
            padded[BEFORE_BYTES - lead..][..length].copy_from_slice(&chunk[at - lead..][..length]);
            self.scan(simd, filter, &padded, word..word + 1);
        }
        if !inner.is_empty() {
            let text = &chunk[start + inner.start * WORD_BYTES - BEFORE_BYTES..start + inner.end * WORD_BYTES + BEHIND_BYTES];
            self.scan(simd, filter, text, inner);
        }
        words
    }

    /// Fills in words from `text`, which is `BEFORE_BYTES` and `BEHIND_BYTES` longer than they cover.
    fn scan(&mut self, simd: Simd, filter: &AnchorFilter, text: &[u8], words: Range<usize>) {
        let (threes, fours, windows) = (&mut self.threes[words.clone()], &mut self.fours[words.clone()], &mut self.windows[words]);
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => crate::avx2_anchors::scan(filter, text, threes, fours, windows),
            _ => scan(filter, text, threes, fours, windows),
        }
    }
}

fn scan(filter: &AnchorFilter, text: &[u8], threes: &mut [u32], fours: &mut [u32], windows: &mut [u32]) {
    for index in 0..threes.len() {
        let bytes = &text[index * WORD_BYTES..][..BEFORE_BYTES + WORD_BYTES + BEHIND_BYTES];
        (threes[index], fours[index], windows[index]) = (0, 0, 0);
        for bit in 0..WORD_BYTES / 2 {
            let around = Around::new(bytes[2 * bit..2 * bit + 6].try_into().expect("6 bytes"));
            let (triple, pair) = (filter.triples[around.triple()], filter.pairs[around.pair()]);
            if triple == 0 && pair == 0 {
                continue;
            }
            let has = |word: u16, signature: u16| u32::from(word & signature == signature) << bit;
            let before = around.three_or_four_before();
            threes[index] |= has(pair, around.three()) | has(pair, before);
            fours[index] |= has(triple, around.four()) | has(triple, before);
            windows[index] |= has(triple, around.five()) | has(triple, around.five_before());
        }
    }
}
