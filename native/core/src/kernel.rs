//! The loops that see every byte of a log: for each position whether the sieve's filter knows the window sampled there, and whether a gap may
//! start there. One portable loop, and one per instruction set in a file of its own; all answer the same bits.

use crate::sieve::{Filter, LONG_BYTES, SHORT_BYTES, Short, Sieve, long_hash, short_hash};

/// Positions per word of bits.
pub const WORD_BYTES: usize = 64;
/// Bytes behind a word that its last windows reach into.
pub const BEHIND_BYTES: usize = SHORT_BYTES - 1;
const BLOCK_WORDS: usize = 64;
const BLOCK_BYTES: usize = WORD_BYTES * BLOCK_WORDS;

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
pub fn is_gap(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0x08 | 0x1b)
}

/// The bits of a stretch of a chunk: two words of 64 per 64 bytes.
pub struct Block {
    simd: Simd,
    /// Where it starts in the chunk, and how many words are filled.
    base: usize,
    words: usize,
    samples: [u64; BLOCK_WORDS],
    gaps: [u64; BLOCK_WORDS],
}

impl Block {
    pub fn new(simd: Simd) -> Self {
        Self { simd, base: 0, words: 0, samples: [0; BLOCK_WORDS], gaps: [0; BLOCK_WORDS] }
    }

    pub fn clear(&mut self) {
        self.words = 0;
    }

    /// The bits at `chunk[start..]`: samples that the filter knows, gap bytes. `start` is a multiple of 64 inside the chunk.
    #[inline(always)]
    pub fn word(&mut self, sieve: &Sieve, chunk: &[u8], start: usize) -> (u64, u64) {
        let index = start.wrapping_sub(self.base) / WORD_BYTES;
        if index < self.words {
            return (self.samples[index], self.gaps[index]);
        }
        self.fill(sieve, chunk, start);
        (self.samples[0], self.gaps[0])
    }

    #[cold]
    fn fill(&mut self, sieve: &Sieve, chunk: &[u8], start: usize) {
        let text = &chunk[start..chunk.len().min(start + BLOCK_BYTES)];
        // Windows at the end of the stretch go on behind it.
        let behind = &chunk[start..chunk.len().min(start + BLOCK_BYTES + BEHIND_BYTES)];
        let whole = behind.len().saturating_sub(BEHIND_BYTES) / WORD_BYTES;
        self.base = start;
        self.words = text.len().div_ceil(WORD_BYTES);
        let (samples, gaps) = (&mut self.samples[..whole], &mut self.gaps[..whole]);
        match self.simd {
            Simd::Scalar => scalar(sieve, behind, samples, gaps),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => crate::avx2::scan(sieve, behind, samples, gaps),
            #[cfg(not(target_arch = "x86_64"))]
            Simd::Avx2 => scalar(sieve, behind, samples, gaps),
        }
        for word in whole..self.words {
            let rest = &text[word * WORD_BYTES..];
            let mut padded = [0u8; WORD_BYTES + BEHIND_BYTES];
            let length = rest.len().min(padded.len());
            padded[..length].copy_from_slice(&rest[..length]);
            let (mut gap, mut long, mut short) = ([0], [0], [0]);
            gaps_of(&padded, &mut gap);
            if let Some(filter) = &sieve.long {
                long_samples(filter, &padded, &mut long);
            }
            if let Some(filter) = &sieve.short {
                short_samples(filter, &padded, &mut short);
            }
            // Only windows that lie in the text count.
            let within = |width: usize| match (rest.len() + 1).saturating_sub(width) {
                valid if valid >= WORD_BYTES => !0,
                valid => (1 << valid) - 1,
            };
            self.samples[word] = long[0] & within(LONG_BYTES) | short[0] & within(SHORT_BYTES);
            self.gaps[word] = gap[0];
        }
    }
}

/// Fills words from `text`, which is `BEHIND_BYTES` longer than the words cover.
fn scalar(sieve: &Sieve, text: &[u8], samples: &mut [u64], gaps: &mut [u64]) {
    gaps_of(text, gaps);
    samples.fill(0);
    if let Some(filter) = &sieve.long {
        long_samples(filter, text, samples);
    }
    if let Some(filter) = &sieve.short {
        short_samples(filter, text, samples);
    }
}

/// Adds the samples of long needles.
fn long_samples(filter: &Filter, text: &[u8], samples: &mut [u64]) {
    for (index, sample) in samples.iter_mut().enumerate() {
        let bytes = &text[index * WORD_BYTES..][..WORD_BYTES];
        for (i, window) in bytes.chunks_exact(LONG_BYTES).enumerate() {
            let window = u64::from_le_bytes(window.try_into().expect("8 bytes"));
            *sample |= u64::from(filter.has(long_hash(window))) << (i * LONG_BYTES);
        }
    }
}

/// Adds the samples of short needles.
fn short_samples(short: &Short, text: &[u8], samples: &mut [u64]) {
    match short.stride {
        1 => short_samples_by::<1>(&short.filter, text, samples),
        2 => short_samples_by::<2>(&short.filter, text, samples),
        _ => short_samples_by::<4>(&short.filter, text, samples),
    }
}

fn short_samples_by<const STRIDE: usize>(filter: &Filter, text: &[u8], samples: &mut [u64]) {
    for (index, sample) in samples.iter_mut().enumerate() {
        let bytes = &text[index * WORD_BYTES..][..WORD_BYTES + BEHIND_BYTES];
        for at in (0..WORD_BYTES).step_by(STRIDE) {
            let window = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            *sample |= u64::from(filter.has(short_hash(window))) << at;
        }
    }
}

fn gaps_of(text: &[u8], gaps: &mut [u64]) {
    for (index, gap) in gaps.iter_mut().enumerate() {
        let bytes = &text[index * WORD_BYTES..][..WORD_BYTES];
        *gap = 0;
        for (i, eight) in bytes.chunks_exact(8).enumerate() {
            if has_low_byte(u64::from_le_bytes(eight.try_into().expect("8 bytes"))) {
                for (j, &byte) in eight.iter().enumerate() {
                    *gap |= u64::from(is_gap(byte)) << (i * 8 + j);
                }
            }
        }
    }
}

/// Whether a byte is below 0x1c, as all gap bytes are; a byte from 0x80 on may count too.
#[inline(always)]
pub fn has_low_byte(eight: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    eight.wrapping_sub(EACH * 0x1c) & !eight & (EACH * 0x80) != 0
}
