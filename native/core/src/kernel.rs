//! The loops that see every byte of a log: for each position whether the sieve's filter knows the window sampled there, and whether a gap may
//! start there. One portable loop, and one per instruction set in a file of its own; all answer the same bits.

use std::ops::Range;

use crate::projection::is_blank;
use crate::sieve::{Filter, LONG_BYTES, Short, Sieve, long_hash, short_hash};

/// Positions per word of bits.
pub const WORD_BYTES: usize = 64;
/// Bytes behind a word that its last windows reach into.
pub const BEHIND_BYTES: usize = 4;
pub const BLOCK_WORDS: usize = 64;
pub const BLOCK_BYTES: usize = WORD_BYTES * BLOCK_WORDS;

/// Which loop runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Simd {
    Scalar,
    Avx2,
}

impl Simd {
    pub const ALL: [Self; 2] = [Self::Scalar, Self::Avx2];

    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
        }
    }

    /// Whether this machine can run it.
    pub fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::avx2::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
        }
    }

    /// The fastest that this machine can run.
    pub fn best() -> Self {
        if Self::Avx2.available() { Self::Avx2 } else { Self::Scalar }
    }
}

/// Whether some lane deletes the byte, or what it begins.
#[inline(always)]
pub fn is_gap(byte: u8) -> bool {
    const GAPS: u32 = 1 << b'\n' | 1 << b'\r' | 1 << 0x08 | 1 << 0x1b;
    byte < 32 && GAPS >> byte & 1 != 0
}

/// The bits of one stretch of a chunk, for each of its words.
pub struct Bits {
    /// 8-byte windows that the sieve knows, a bit for each of the eight.
    pub long: [u8; BLOCK_WORDS],
    /// 4-byte windows that it knows, a bit for each position. Left as it is if there are no short needles.
    pub short: [u64; BLOCK_WORDS],
    /// Bytes that are or begin a gap.
    pub gaps: [u64; BLOCK_WORDS],
}

impl Default for Bits {
    fn default() -> Self {
        Self { long: [0; BLOCK_WORDS], short: [0; BLOCK_WORDS], gaps: [0; BLOCK_WORDS] }
    }
}

impl Bits {
    /// Fills in the bits of `chunk[start..]`, at most `BLOCK_BYTES` of it. Returns how many words that are.
    pub fn fill(&mut self, simd: Simd, sieve: &Sieve, chunk: &[u8], start: usize) -> usize {
        let text = &chunk[start..chunk.len().min(start + BLOCK_BYTES)];
        // Windows at the end of the stretch go on behind it.
        let behind = &chunk[start..chunk.len().min(start + BLOCK_BYTES + BEHIND_BYTES)];
        let words = text.len().div_ceil(WORD_BYTES);
        let whole = behind.len().saturating_sub(BEHIND_BYTES) / WORD_BYTES;
        self.scan(simd, sieve, behind, 0..whole);
        for word in whole..words {
            let rest = &text[word * WORD_BYTES..];
            let mut padded = [b'.'; WORD_BYTES + BEHIND_BYTES];
            let length = rest.len().min(padded.len());
            padded[..length].copy_from_slice(&rest[..length]);
            self.scan(simd, sieve, &padded, word..word + 1);
        }
        words
    }

    /// Fills in `words` from `text`, which is `BEHIND_BYTES` longer than they cover.
    fn scan(&mut self, simd: Simd, sieve: &Sieve, text: &[u8], words: Range<usize>) {
        let (long, short, gaps) = (&mut self.long[words.clone()], &mut self.short[words.clone()], &mut self.gaps[words]);
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => crate::avx2::scan(sieve, text, long, short, gaps),
            _ => {
                gaps_of(text, gaps);
                if let Some(filter) = &sieve.long {
                    long_samples(filter, text, long);
                }
                if let Some(filter) = &sieve.short {
                    short_samples(filter, text, short);
                }
            }
        }
    }
}

/// Looks up windows of long needles, eight for each byte of `hits`, which gets a bit for each.
pub fn look_up(simd: Simd, filter: &Filter, windows: &[u64], hits: &mut [u8]) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => crate::avx2::look_up(filter, windows, hits),
        _ => {
            for (eight, hits) in windows.chunks_exact(8).zip(hits) {
                *hits = eight.iter().rev().fold(0, |hits, &window| hits << 1 | u8::from(filter.has(long_hash(window))));
            }
        }
    }
}

/// Line feeds in `text`.
pub fn count_lines(simd: Simd, text: &[u8]) -> usize {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => crate::avx2::count_lines(text),
        _ => memchr::memchr_iter(b'\n', text).count(),
    }
}

/// Appends `text` without whitespace to `dense`.
pub fn despace(simd: Simd, text: &[u8], dense: &mut Vec<u8>) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => crate::avx2::despace(text, dense),
        _ => {
            let mut length = dense.len();
            dense.resize(length + text.len(), 0);
            for &byte in text {
                dense[length] = byte;
                length += usize::from(!is_blank(byte));
            }
            dense.truncate(length);
        }
    }
}

fn long_samples(filter: &Filter, text: &[u8], samples: &mut [u8]) {
    for (sample, bytes) in samples.iter_mut().zip(text.chunks_exact(WORD_BYTES)) {
        let has = |window: &[u8]| filter.has(long_hash(u64::from_le_bytes(window.try_into().expect("8 bytes"))));
        *sample = bytes.rchunks_exact(LONG_BYTES).fold(0, |hits, window| hits << 1 | u8::from(has(window)));
    }
}

fn short_samples(short: &Short, text: &[u8], samples: &mut [u64]) {
    for (index, sample) in samples.iter_mut().enumerate() {
        let bytes = &text[index * WORD_BYTES..][..WORD_BYTES + BEHIND_BYTES];
        *sample = 0;
        for at in (0..WORD_BYTES).step_by(short.stride) {
            let low = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let window = short.of(u64::from(low) | u64::from(bytes[at + 4]) << 32);
            *sample |= u64::from(short.filter.has(short_hash(window))) << at;
        }
    }
}

fn gaps_of(text: &[u8], gaps: &mut [u64]) {
    for (index, gap) in gaps.iter_mut().enumerate() {
        let bytes = &text[index * WORD_BYTES..][..WORD_BYTES];
        *gap = 0;
        for (i, eight) in bytes.chunks_exact(8).enumerate() {
            if low_bytes(u64::from_le_bytes(eight.try_into().expect("8 bytes"))) != 0 {
                for (j, &byte) in eight.iter().enumerate() {
                    *gap |= u64::from(is_gap(byte)) << (i * 8 + j);
                }
            }
        }
    }
}

/// The top bits of bytes below 0x1c, as all gap bytes are. The lowest of them is right, those above it may be of other bytes.
#[inline(always)]
pub fn low_bytes(eight: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    eight.wrapping_sub(EACH * 0x1c) & !eight & (EACH * 0x80)
}
