//! What the sieve found in a stretch of a chunk, as two lists of positions: windows that may begin a match, and gaps.

use crate::kernel::{BLOCK_BYTES, Bits, Simd, WORD_BYTES, is_gap};
use crate::sieve::{LONG_BYTES, SHORT_BYTES, Sieve};

/// Positions as distances from the start of the stretch, in order. Entries behind `count` mean nothing.
struct List {
    positions: Box<[u16; BLOCK_BYTES + Self::SLACK]>,
    count: usize,
    /// The first entry that has not been dropped.
    first: usize,
}

impl List {
    /// Entries are written by this many, whether there are as many or not.
    const SLACK: usize = 2;

    fn new() -> Self {
        Self { positions: Box::new([0; BLOCK_BYTES + Self::SLACK]), count: 0, first: 0 }
    }

    /// Adds the positions of the bits of a word. Most words have none or one: writing two takes no branch.
    #[inline(always)]
    fn add(&mut self, start: usize, mut bits: u64) {
        let total = self.count + bits.count_ones() as usize;
        while {
            for slot in &mut self.positions[self.count..self.count + Self::SLACK] {
                *slot = (start + bits.trailing_zeros() as usize) as u16;
                bits &= bits.wrapping_sub(1);
            }
            self.count += Self::SLACK;
            self.count < total
        } {}
        self.count = total;
    }
}

pub struct Block {
    simd: Simd,
    bits: Box<Bits>,
    /// The stretch.
    start: usize,
    end: usize,
    gaps: List,
    suspects: List,
}

impl Block {
    pub fn new(simd: Simd) -> Self {
        Self { simd, bits: Box::default(), start: 0, end: 0, gaps: List::new(), suspects: List::new() }
    }

    /// Forgets the stretch: another chunk comes.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    pub fn end(&self) -> usize {
        self.end
    }

    /// Makes `position` part of the stretch, and drops suspects before it.
    pub fn reach(&mut self, sieve: &Sieve, chunk: &[u8], position: usize) {
        if position >= self.end || position < self.start {
            self.fill(sieve, chunk, position / WORD_BYTES * WORD_BYTES);
        }
        while self.suspect().is_some_and(|suspect| suspect < position) {
            self.suspects.first += 1;
        }
    }

    /// Goes on to the next stretch. False if there is none.
    pub fn advance(&mut self, sieve: &Sieve, chunk: &[u8]) -> bool {
        let more = self.end < chunk.len();
        if more {
            self.fill(sieve, chunk, self.end);
        }
        more
    }

    /// The first gap at or behind `from` in the stretch.
    #[inline(always)]
    pub fn gap(&mut self, from: usize) -> Option<usize> {
        while self.gaps.first < self.gaps.count {
            let position = self.start + usize::from(self.gaps.positions[self.gaps.first]);
            if position >= from {
                return Some(position);
            }
            self.gaps.first += 1;
        }
        None
    }

    /// The gap that follows the one `gap` answered, if it is in the stretch.
    #[inline(always)]
    pub fn gap_behind(&self) -> Option<usize> {
        let next = self.gaps.first + 1;
        (next < self.gaps.count).then(|| self.start + usize::from(self.gaps.positions[next]))
    }

    /// The first suspect in the stretch that has not been dropped.
    #[inline(always)]
    pub fn suspect(&self) -> Option<usize> {
        (self.suspects.first < self.suspects.count).then(|| self.start + usize::from(self.suspects.positions[self.suspects.first]))
    }

    pub fn drop_suspect(&mut self) {
        self.suspects.first += 1;
    }

    fn fill(&mut self, sieve: &Sieve, chunk: &[u8], start: usize) {
        let words = self.bits.fill(self.simd, sieve, chunk, start);
        self.start = start;
        self.end = chunk.len().min(start + BLOCK_BYTES);
        for list in [&mut self.gaps, &mut self.suspects] {
            (list.first, list.count) = (0, 0);
        }
        for word in 0..words {
            let (gaps, samples) = (self.bits.gaps.0[word], self.bits.samples.0[word]);
            self.gaps.add(word * WORD_BYTES, gaps);
            if samples != 0 {
                self.add_suspects(sieve, chunk, word * WORD_BYTES, samples);
            }
        }
    }

    fn add_suspects(&mut self, sieve: &Sieve, chunk: &[u8], start: usize, samples: u64) {
        let mut samples = samples;
        while samples != 0 {
            let offset = start + samples.trailing_zeros() as usize;
            if is_suspect(sieve, chunk, self.start + offset) {
                self.suspects.positions[self.suspects.count] = offset as u16;
                self.suspects.count += 1;
            }
            samples &= samples - 1;
        }
    }
}

/// Whether a match may begin with the sampled window at `at`.
fn is_suspect(sieve: &Sieve, chunk: &[u8], at: usize) -> bool {
    let Some(behind) = chunk.get(at..=at + LONG_BYTES) else { return chunk.len() >= at + SHORT_BYTES };
    let window = u64::from_le_bytes(behind[..LONG_BYTES].try_into().expect("8 bytes"));
    if sieve.knows_long(window) {
        return true;
    }
    // Of a short needle only 4 bytes are sampled: a gap behind them, or a byte that a backspace takes back, makes more of them say nothing.
    sieve.short.is_some() && (sieve.knows_short(window) || behind[SHORT_BYTES..].iter().any(|&byte| is_gap(byte)))
}
