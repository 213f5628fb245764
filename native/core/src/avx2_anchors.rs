//! The loop of `anchor_filter.rs` for AVX2. Hashes of sixteen positions are made at once, in 16-bit lanes; the tables are read one word at a time, which is
//! faster than a gather.

use std::arch::x86_64::*;

use crate::anchor_filter::*;
use crate::anchor_keys::{KeyTable, Places};
use crate::avx2::available;
use crate::kernel::WORD_BYTES;

/// Words of text that are hashed before the tables are read for them: their hashes stay in cache.
const STRIP_WORDS: usize = 8;
const POSITIONS: usize = WORD_BYTES / 2;
/// Positions in a vector.
const LANES: usize = 16;

/// Which word of the table each position names.
type Strip = [u16; STRIP_WORDS * POSITIONS];

/// Fills in words from `text`, which is `BEFORE_BYTES` and `BEHIND_BYTES` longer than they cover.
pub fn scan(filter: &AnchorFilter, text: &[u8], bits: &mut [u32]) {
    assert!(available() && (bits.is_empty() || text.len() >= BEFORE_BYTES + bits.len() * WORD_BYTES + BEHIND_BYTES));
    let mut names = [0; STRIP_WORDS * POSITIONS];
    for (index, bits) in bits.chunks_mut(STRIP_WORDS).enumerate() {
        let text = &text[index * STRIP_WORDS * WORD_BYTES..];
        // SAFETY: AVX2 is there, `text` covers the words and what their positions reach into, and `name` leaves names below `WORDS`.
        unsafe {
            name(text, &mut names[..bits.len() * POSITIONS]);
            test(filter.words(), text, &names, bits);
        }
    }
}

#[inline(always)]
fn load(text: &[u8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= text.len());
    // SAFETY: callers stay below the words that `scan` compared with the text.
    unsafe { _mm256_loadu_si256(text.as_ptr().add(at).cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(bits: u16) -> __m256i {
    _mm256_set1_epi16(bits.cast_signed())
}

/// The three bytes of each position, hashed.
#[inline]
#[target_feature(enable = "avx2")]
fn hash(first: __m256i, third: __m256i, mix: [u16; 2]) -> __m256i {
    _mm256_add_epi16(_mm256_mullo_epi16(first, lanes(mix[0])), _mm256_mullo_epi16(third, lanes(mix[1])))
}

#[target_feature(enable = "avx2")]
fn name(text: &[u8], names: &mut [u16]) {
    const SHIFT: i32 = (0x10000 / WORDS).trailing_zeros().cast_signed();
    let (fold, low) = (lanes(FOLD), lanes(0xff));
    for (index, names) in names.chunks_exact_mut(LANES).enumerate() {
        let at = BEFORE_BYTES + index * 2 * LANES;
        let first = _mm256_or_si256(load(text, at), fold);
        let third = _mm256_and_si256(_mm256_or_si256(load(text, at + 2), fold), low);
        // SAFETY: there are sixteen lanes.
        unsafe { _mm256_storeu_si256(names.as_mut_ptr().cast(), _mm256_srli_epi16::<SHIFT>(hash(first, third, WORD_MIX))) };
    }
}

/// The words that sixteen positions name: their lower halves, and their upper ones.
/// SAFETY: the names are below `WORDS`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn look_up(words: &[Word; WORDS], names: &[u16; LANES]) -> [__m256i; 2] {
    // SAFETY: the caller's.
    let word = |lane: usize| unsafe { words.get_unchecked(usize::from(names[lane])) }.cast_signed();
    // Packing takes turns with the halves of both.
    let a = _mm256_setr_epi32(word(0), word(1), word(2), word(3), word(8), word(9), word(10), word(11));
    let b = _mm256_setr_epi32(word(4), word(5), word(6), word(7), word(12), word(13), word(14), word(15));
    let low = _mm256_set1_epi32(0xffff);
    [
        _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low)),
        _mm256_packus_epi32(_mm256_srli_epi32::<16>(a), _mm256_srli_epi32::<16>(b)),
    ]
}

/// `signature` of sixteen hashes, and whether the words have all its bits.
#[inline]
#[target_feature(enable = "avx2")]
fn has(words: __m256i, hashes: __m256i) -> __m256i {
    // SAFETY: sixteen bytes are read from an array of sixteen.
    let patterns = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(PATTERNS.as_ptr().cast()) });
    let nibbles = _mm256_and_si256(_mm256_srli_epi16::<4>(hashes), _mm256_set1_epi8(15));
    let signature = _mm256_shuffle_epi8(patterns, nibbles);
    _mm256_cmpeq_epi16(_mm256_and_si256(words, signature), signature)
}

/// SAFETY: the names are below `WORDS`.
#[target_feature(enable = "avx2")]
unsafe fn test(words: &[Word; WORDS], text: &[u8], names: &Strip, bits: &mut [u32]) {
    let (fold, low) = (lanes(FOLD), lanes(0xff));
    for (index, bits) in bits.iter_mut().enumerate() {
        let [a, b] = [0, LANES].map(|lane| {
            let names = names[index * POSITIONS + lane..][..LANES].try_into().expect("16 lanes");
            // SAFETY: the caller's.
            let [low_half, high_half] = unsafe { look_up(words, names) };
            let at = BEFORE_BYTES + index * WORD_BYTES + 2 * lane;
            let before = _mm256_and_si256(_mm256_or_si256(load(text, at - 1), fold), low);
            let first = _mm256_or_si256(load(text, at), fold);
            let second = _mm256_or_si256(load(text, at + 2), fold);
            let behind = _mm256_or_si256(load(text, at + 3), fold);
            let around = _mm256_or_si256(before, _mm256_andnot_si256(low, second));
            let three = hash(first, _mm256_and_si256(second, low), BITS_MIX);
            let beside = |lane: __m256i, mix: u16| _mm256_add_epi16(three, _mm256_mullo_epi16(lane, lanes(mix)));
            let four = _mm256_or_si256(has(low_half, beside(_mm256_srli_epi16::<8>(second), NEXT_MIX)), has(high_half, beside(before, BEFORE_MIX)));
            let five = _mm256_or_si256(has(low_half, beside(behind, BEHIND_MIX)), has(low_half, beside(around, AROUND_MIX)));
            _mm256_or_si256(has(low_half, three), _mm256_or_si256(four, five))
        });
        let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(a, b));
        *bits = _mm256_movemask_epi8(bytes).cast_unsigned();
    }
}

/// `Places::find_in` with the instructions for bits that come with AVX2.
pub fn find(places: &mut Places, table: &KeyTable, text: &[u8], words: &[u32], start: usize) {
    assert!(available());
    // SAFETY: AVX2 is there, and what comes with it.
    unsafe { find_with_bits(places, table, text, words, start) };
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn find_with_bits(places: &mut Places, table: &KeyTable, text: &[u8], words: &[u32], start: usize) {
    places.find_in(table, text, words, start);
}
