//! The kernel for AVX2: eight windows are hashed and looked up at once.

use std::arch::x86_64::*;

use crate::kernel::{BEHIND_BYTES, WORD_BYTES};
use crate::projection::is_blank;
use crate::sieve::{Filter, LONG_BYTES, Short, Sieve, mix};

/// AVX2, and the instructions for bits that every machine with it has.
pub fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("popcnt")
}

/// Fills in words from `text`, which is `BEHIND_BYTES` longer than they cover.
pub fn scan(sieve: &Sieve, text: &[u8], long: &mut [u8], short: &mut [u64], gaps: &mut [u64]) {
    assert!(available() && long.len() == gaps.len() && short.len() == gaps.len());
    assert!(gaps.is_empty() || text.len() >= gaps.len() * WORD_BYTES + BEHIND_BYTES);
    // SAFETY: AVX2 is there, and `text` covers all words and what their windows reach into.
    unsafe {
        gaps_of(text, gaps);
        if let Some(filter) = &sieve.long {
            long_samples(&Table::new(filter), text, long);
        }
        if let Some(Short { filter, stride, width }) = &sieve.short {
            let table = Table::new(filter);
            match (stride, width) {
                (1, _) => short_samples::<1, false>(&table, text, short),
                (2, _) => short_samples::<2, false>(&table, text, short),
                (_, 4) => short_samples::<4, false>(&table, text, short),
                _ => short_samples::<4, true>(&table, text, short),
            }
        }
    }
}

/// Looks up windows of long needles, eight for each byte of `hits`.
pub fn look_up(filter: &Filter, windows: &[u64], hits: &mut [u8]) {
    assert!(available() && windows.len() == hits.len() * LONG_BYTES);
    // SAFETY: AVX2 is there, numbers may be read as the bytes they are stored in (which is little-endian here), and the windows cover all of `hits`.
    unsafe {
        let text = std::slice::from_raw_parts(windows.as_ptr().cast::<u8>(), size_of_val(windows));
        long_samples(&Table::new(filter), text, hits);
    }
}

/// Line feeds in `text`.
pub fn count_lines(text: &[u8]) -> usize {
    assert!(available());
    // SAFETY: AVX2 is there.
    unsafe { count_lines_in(text) }
}

#[target_feature(enable = "avx2")]
fn count_lines_in(text: &[u8]) -> usize {
    let wanted = _mm256_set1_epi8(b'\n' as i8);
    let mut total = _mm256_setzero_si256();
    // Each byte of a sum counts to 255.
    for part in text.chunks(32 * 255) {
        let mut sum = _mm256_setzero_si256();
        for at in (0..part.len() / 32).map(|index| index * 32) {
            sum = _mm256_sub_epi8(sum, _mm256_cmpeq_epi8(load(part, at), wanted));
        }
        total = _mm256_add_epi64(total, _mm256_sad_epu8(sum, _mm256_setzero_si256()));
    }
    let mut lanes = [0u64; 4];
    // SAFETY: four numbers are 32 bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), total) };
    // Only the last part may have bytes left over.
    let rest = text.chunks(32 * 255).next_back().map_or(&[][..], |part| &part[part.len() / 32 * 32..]);
    lanes.iter().sum::<u64>() as usize + rest.iter().filter(|&&byte| byte == b'\n').count()
}

/// For each mask of eight bytes the order that moves those that are not in it to the front, and how many those are.
static DENSE: [([u8; 8], u8); 256] = {
    let mut table = [([0; 8], 0); 256];
    let mut mask = 0;
    while mask < 256 {
        let mut byte = 0;
        while byte < 8 {
            if mask >> byte & 1 == 0 {
                table[mask].0[table[mask].1 as usize] = byte;
                table[mask].1 += 1;
            }
            byte += 1;
        }
        mask += 1;
    }
    table
};

/// Appends `text` without whitespace to `dense`.
pub fn despace(text: &[u8], dense: &mut Vec<u8>) {
    assert!(available());
    let start = dense.len();
    dense.resize(start + text.len() + 8, 0);
    // SAFETY: AVX2 is there.
    let length = unsafe { despace_into(text, &mut dense[start..]) };
    dense.truncate(start + length);
}

/// `dense` is 8 bytes longer than `text`.
#[target_feature(enable = "avx2")]
fn despace_into(text: &[u8], dense: &mut [u8]) -> usize {
    let mut length = 0;
    let mut eights = text.chunks_exact(8);
    for eight in &mut eights {
        let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(eight.try_into().expect("8 bytes")));
        let controls = _mm_sub_epi8(bytes, _mm_set1_epi8(0x09));
        let blank =
            _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b' ' as i8)), _mm_cmpeq_epi8(_mm_min_epu8(controls, _mm_set1_epi8(4)), controls));
        let (order, count) = DENSE[_mm_movemask_epi8(blank) as usize & 0xff];
        let packed = _mm_shuffle_epi8(bytes, _mm_cvtsi64_si128(i64::from_le_bytes(order)));
        dense[length..length + 8].copy_from_slice(&_mm_cvtsi128_si64(packed).to_le_bytes());
        length += usize::from(count);
    }
    for &byte in eights.remainder() {
        dense[length] = byte;
        length += usize::from(!is_blank(byte));
    }
    length
}

/// A filter whose words are as many as its shift can name.
struct Table {
    words: *const i32,
    shift: __m128i,
}

impl Table {
    /// SAFETY: AVX2 is there; the filter outlives the table.
    #[target_feature(enable = "avx2")]
    fn new(filter: &Filter) -> Self {
        let (words, shift) = filter.table();
        assert!(shift < 32 && words.len() >= 1usize << (32 - shift));
        Self { words: words.as_ptr().cast(), shift: _mm_cvtsi32_si128(shift.cast_signed()) }
    }

    /// One bit for each of eight hashes: whether the filter has it.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn look_up(&self, hashes: __m256i) -> u32 {
        let index = _mm256_srl_epi32(_mm256_slli_epi32::<5>(hashes), self.shift);
        // SAFETY: the index is below 2^(32 - shift), which `new` compared with the words there are.
        let words = unsafe { _mm256_i32gather_epi32::<4>(self.words, index) };
        let low = _mm256_set1_epi32(31);
        let first = _mm256_srlv_epi32(words, _mm256_srli_epi32::<27>(hashes));
        let second = _mm256_srlv_epi32(words, _mm256_and_si256(_mm256_srli_epi32::<5>(hashes), low));
        let third = _mm256_srlv_epi32(words, _mm256_and_si256(hashes, low));
        let all = _mm256_and_si256(_mm256_and_si256(first, second), third);
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_slli_epi32::<31>(all))).cast_unsigned()
    }
}

#[inline(always)]
fn load(text: &[u8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= text.len());
    // SAFETY: callers stay below the words that `scan` compared with the text.
    unsafe { _mm256_loadu_si256(text.as_ptr().add(at).cast()) }
}

#[target_feature(enable = "avx2")]
fn long_samples(table: &Table, text: &[u8], samples: &mut [u8]) {
    let [low_mix, high_mix] = mix().map(|mix| _mm256_set1_epi32(mix.cast_signed()));
    for (index, sample) in samples.iter_mut().enumerate() {
        let (a, b) = (load(text, index * WORD_BYTES), load(text, index * WORD_BYTES + 32));
        // Halves of windows 0, 1, 4, 5, 2, 3, 6, 7, and those in order.
        let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
        let low = _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(a, b));
        let high = _mm256_castps_si256(_mm256_shuffle_ps::<0xdd>(a, b));
        let hashes = _mm256_add_epi32(_mm256_mullo_epi32(low, low_mix), _mm256_mullo_epi32(high, high_mix));
        *sample = table.look_up(_mm256_permute4x64_epi64::<0b11_01_10_00>(hashes)) as u8;
    }
}

/// Windows of 4 bytes, or, if `WIDE`, of 5.
#[target_feature(enable = "avx2")]
fn short_samples<const STRIDE: usize, const WIDE: bool>(table: &Table, text: &[u8], samples: &mut [u64]) {
    const LOW_BYTES: usize = 4;
    let [low_mix, high_mix] = mix().map(|mix| _mm256_set1_epi32(mix.cast_signed()));
    for (index, sample) in samples.iter_mut().enumerate() {
        *sample = 0;
        for phase in (0..LOW_BYTES).step_by(STRIDE) {
            for half in [0, 32] {
                let at = index * WORD_BYTES + half + phase;
                let mut product = _mm256_mullo_epi32(load(text, at), low_mix);
                if WIDE {
                    let fifth = _mm256_and_si256(load(text, at + LOW_BYTES), _mm256_set1_epi32(0xff));
                    product = _mm256_add_epi32(product, _mm256_mullo_epi32(fifth, high_mix));
                }
                let hits = table.look_up(_mm256_xor_si256(product, _mm256_srli_epi32::<15>(product)));
                *sample |= spread(hits) << (half + phase);
            }
        }
    }
}

/// Bit i of eight to bit 4 i.
#[inline(always)]
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    bits = (bits | bits << 12) & 0x000f_000f;
    bits = (bits | bits << 6) & 0x0303_0303;
    (bits | bits << 3) & 0x1111_1111
}

#[target_feature(enable = "avx2")]
fn gaps_of(text: &[u8], gaps: &mut [u64]) {
    // By its low four bits each byte looks up the only gap byte with the same ones, or one that it is not; bytes from 0x80 on look up 0.
    let of_low_bits = _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 0, 0, 0, 0, 0, 0, 0, 0x08, 0, 0x0a, 0x1b, 0, 0x0d, 0, 0));
    let mask = |bytes| u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_shuffle_epi8(of_low_bits, bytes), bytes)).cast_unsigned());
    for (index, gap) in gaps.iter_mut().enumerate() {
        *gap = mask(load(text, index * WORD_BYTES)) | mask(load(text, index * WORD_BYTES + 32)) << 32;
    }
}
