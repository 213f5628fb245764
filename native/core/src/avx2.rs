//! The kernel for AVX2: 32 bytes a step, eight windows hashed and looked up at once.

use std::arch::x86_64::*;

use crate::kernel::WORD_BYTES;
use crate::sieve::{Sieve, WINDOW_BYTES, filter_hash};

pub fn available() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Fills words from `text`, which is 3 bytes longer than the words cover.
pub fn scan(sieve: &Sieve, text: &[u8], samples: &mut [u64], gaps: &mut [u64]) {
    assert!(available() && samples.len() == gaps.len());
    assert!(samples.is_empty() || text.len() >= samples.len() * WORD_BYTES + WINDOW_BYTES - 1);
    let (filter, shift) = sieve.filter();
    assert!(shift < 32 && filter.len() >= (1usize << (32 - shift)) / 32);
    // SAFETY: AVX2 is there. `text` covers all words and 3 bytes more, and the filter has a bit for every index of `32 - shift` bits.
    unsafe {
        match sieve.stride() {
            1 => words::<1>(filter, shift, text, samples, gaps),
            2 => words::<2>(filter, shift, text, samples, gaps),
            _ => words::<4>(filter, shift, text, samples, gaps),
        }
    }
}

/// SAFETY: the caller made sure of what `scan` asserts.
#[target_feature(enable = "avx2")]
unsafe fn words<const STRIDE: usize>(filter: &[u32], shift: u32, text: &[u8], samples: &mut [u64], gaps: &mut [u64]) {
    let mix = _mm256_set1_epi32(filter_hash(1).cast_signed());
    let down = _mm_cvtsi32_si128(shift.cast_signed());
    let low = _mm256_set1_epi8(0x1b);
    for (index, (sample, gap)) in samples.iter_mut().zip(gaps).enumerate() {
        let start = index * WORD_BYTES;
        // SAFETY: 64 bytes from `start` lie in `text`.
        let (a, b) = unsafe {
            let bytes = text.as_ptr().add(start).cast::<__m256i>();
            (_mm256_loadu_si256(bytes), _mm256_loadu_si256(bytes.add(1)))
        };
        let is_low = |bytes| _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(bytes, low), bytes)).cast_unsigned();
        *gap = u64::from(is_low(a)) | u64::from(is_low(b)) << 32;
        if *gap != 0 {
            *gap = exact_gaps(a, b);
        }
        *sample = 0;
        let mut phase = 0;
        while phase < WINDOW_BYTES {
            for half in 0..2 {
                // SAFETY: 32 bytes from there end at most 3 bytes behind the word, still in `text`.
                let windows = unsafe { _mm256_loadu_si256(text.as_ptr().add(start + half * 32 + phase).cast()) };
                let at = _mm256_srl_epi32(_mm256_mullo_epi32(windows, mix), down);
                // SAFETY: the index is at most that of the filter's last word.
                let words = unsafe { _mm256_i32gather_epi32::<4>(filter.as_ptr().cast(), _mm256_srli_epi32::<5>(at)) };
                // The bit moves to the top: a shift by 31 minus its number, which is its number inverted in five bits.
                let up = _mm256_andnot_si256(at, _mm256_set1_epi32(31));
                let hits = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sllv_epi32(words, up))).cast_unsigned();
                if hits != 0 {
                    *sample |= spread(hits) << (half * 32 + phase);
                }
            }
            phase += STRIDE;
        }
    }
}

/// Bit i of eight to bit 4 i.
#[inline(always)]
fn spread(bits: u32) -> u64 {
    let mut spread = 0;
    let mut rest = bits;
    while rest != 0 {
        spread |= 1 << (4 * rest.trailing_zeros());
        rest &= rest - 1;
    }
    spread
}

#[target_feature(enable = "avx2")]
fn exact_gaps(a: __m256i, b: __m256i) -> u64 {
    let gaps = |bytes| {
        let is = |byte| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte));
        let any = _mm256_or_si256(_mm256_or_si256(is(0x0a), is(0x0d)), _mm256_or_si256(is(0x08), is(0x1b)));
        u64::from(_mm256_movemask_epi8(any).cast_unsigned())
    };
    gaps(a) | gaps(b) << 32
}
