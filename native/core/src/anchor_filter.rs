//! Where anchors may stand: the loops that see every byte of a log. They look at every even position, and nearly all of a log is done with after that.
//!
//! The three bytes from an even position on name a word of a table, and what stands beside them names a few of its bits, which are set if an anchor has all
//! these bytes. An anchor of five bytes and more is known by five of them: from an even position on stand all five, or the last four. Of one of four bytes stand
//! there the four, or the last three; of one of three bytes the three, or the last two and a byte that may follow. Letters are folded by setting a bit, which
//! folds some other bytes too.

use std::ops::Range;

use crate::kernel::{BLOCK_BYTES, BLOCK_WORDS, Simd, WORD_BYTES};

/// Bytes before and behind a word that its positions reach into.
pub const BEFORE_BYTES: usize = 1;
pub const BEHIND_BYTES: usize = 4;

/// Words of the table. It fills the first-level cache, but a log names few of its words.
pub const WORDS: usize = 1 << 13;

/// Folds both bytes of a lane.
pub const FOLD: u16 = 0x2020;

/// Multipliers of the hashes, which are 16-bit lanes: odd, with bits all over. Of the three bytes, the first two and the last: for the word, and for its bits.
pub const WORD_MIX: [u16; 2] = [0xf1a7, 0x5d33];
pub const BITS_MIX: [u16; 2] = [0xb1e5, 0x9d47];
/// Of what stands beside them: one byte before; one behind; one before and one behind; two behind.
pub const BEFORE_MIX: u16 = 0xb52d;
pub const NEXT_MIX: u16 = 0xc8b3;
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

    fn hash(&self, mix: [u16; 2]) -> u16 {
        self.first.wrapping_mul(mix[0]).wrapping_add((self.second & 0xff).wrapping_mul(mix[1]))
    }

    #[inline(always)]
    fn word(&self) -> usize {
        usize::from(self.hash(WORD_MIX)) / (0x10000 / WORDS)
    }

    /// The bits of three bytes, and one of the lanes beside them.
    #[inline(always)]
    fn bits(&self, beside: u16, mix: u16) -> u16 {
        signature(self.hash(BITS_MIX).wrapping_add(beside.wrapping_mul(mix)))
    }

    /// Of five bytes from the position on, and from the one before on.
    #[inline(always)]
    fn fives(&self) -> [u16; 2] {
        [self.bits(self.behind, BEHIND_MIX), self.bits(self.before | self.second & 0xff00, AROUND_MIX)]
    }

    /// Of three bytes from the position on, and of four.
    #[inline(always)]
    fn shorter(&self) -> [u16; 2] {
        [signature(self.hash(BITS_MIX)), self.bits(self.second >> 8, NEXT_MIX)]
    }

    /// Of four bytes from the one before on.
    #[inline(always)]
    fn before(&self) -> u16 {
        self.bits(self.before, BEFORE_MIX)
    }
}

/// A word of the table. Most is in its lower half; in the upper one are bits of short anchors that begin one byte before, which are many: whatever may follow
/// three bytes is among them.
pub type Word = u32;

/// The table. Immutable once it is in an anchor set.
pub struct AnchorFilter {
    words: Box<[Word; WORDS]>,
}

impl AnchorFilter {
    pub fn new() -> Self {
        Self { words: Box::new([0; WORDS]) }
    }

    pub fn words(&self) -> &[Word; WORDS] {
        &self.words
    }

    /// Adds an anchor of four bytes, or five bytes of a longer one.
    pub fn insert(&mut self, bytes: &[u8]) {
        for lead in [BEFORE_BYTES, 0] {
            let mut six = [0; 6];
            six[lead..lead + bytes.len()].copy_from_slice(bytes);
            let around = Around::new(six);
            let ([five, five_before], [_, four]) = (around.fives(), around.shorter());
            let bits = match (bytes.len(), lead) {
                (4, 0) => u32::from(around.before()) << 16,
                (4, _) => u32::from(four),
                (_, 0) => u32::from(five_before),
                _ => u32::from(five),
            };
            self.words[around.word()] |= bits;
        }
    }

    /// Adds an anchor of three bytes; `follows` are the bytes that may come behind it. At the end of a text a 0 does.
    pub fn insert_three(&mut self, three: [u8; 3], follows: impl Iterator<Item = u8>) {
        let [a, b, c] = three;
        let even = Around::new([0, a, b, c, 0, 0]);
        self.words[even.word()] |= u32::from(even.shorter()[0]);
        for follow in follows.chain([0]) {
            let odd = Around::new([a, b, c, follow, 0, 0]);
            self.words[odd.word()] |= u32::from(odd.before()) << 16;
        }
    }
}

/// Even positions of a stretch of a chunk where an anchor may stand, for each of its words: bit `i` is position `2 i`.
pub struct AnchorBits([u32; BLOCK_WORDS]);

impl Default for AnchorBits {
    fn default() -> Self {
        Self([0; BLOCK_WORDS])
    }
}

impl AnchorBits {
    /// Fills in the bits of `chunk[start..]`, at most `BLOCK_BYTES` of it, and returns them.
    pub fn fill(&mut self, simd: Simd, filter: &AnchorFilter, chunk: &[u8], start: usize) -> &[u32] {
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
        &self.0[..words]
    }

    /// Fills in words from `text`, which is `BEFORE_BYTES` and `BEHIND_BYTES` longer than they cover.
    fn scan(&mut self, simd: Simd, filter: &AnchorFilter, text: &[u8], words: Range<usize>) {
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => crate::avx2_anchors::scan(filter, text, &mut self.0[words]),
            _ => scan(filter, text, &mut self.0[words]),
        }
    }
}

fn scan(filter: &AnchorFilter, text: &[u8], bits: &mut [u32]) {
    for (index, bits) in bits.iter_mut().enumerate() {
        let bytes = &text[index * WORD_BYTES..][..BEFORE_BYTES + WORD_BYTES + BEHIND_BYTES];
        *bits = 0;
        for bit in 0..WORD_BYTES / 2 {
            let around = Around::new(bytes[2 * bit..2 * bit + 6].try_into().expect("6 bytes"));
            let word = filter.words[around.word()];
            let (low, high) = (word as u16, (word >> 16) as u16);
            let [a, b] = around.fives();
            let [c, d] = around.shorter();
            let before = around.before();
            if [a, b, c, d].iter().any(|bits| low & bits == *bits) || high & before == before {
                *bits |= 1 << bit;
            }
        }
    }
}
