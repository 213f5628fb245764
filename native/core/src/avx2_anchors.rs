//! The loop of `anchor_filter.rs` for AVX2. Hashes of sixteen positions are made at once, in 16-bit lanes; the tables are read one word at a time, which is
//! faster than a gather.

use std::arch::x86_64::*;

use crate::anchor_filter::*;
use crate::avx2::available;
use crate::kernel::WORD_BYTES;

/// Words of text that are hashed before the tables are read for them: their hashes stay in cache.
const STRIP_WORDS: usize = 8;
const POSITIONS: usize = WORD_BYTES / 2;
/// Positions in a vector.
const LANES: usize = 16;

/// Table words by position, before that the hashes that name them.
type Strip = [u16; STRIP_WORDS * POSITIONS];

/// Fills in words from `text`, which is `BEFORE_BYTES` and `BEHIND_BYTES` longer than they cover.
pub fn scan(filter: &AnchorFilter, text: &[u8], threes: &mut [u32], fours: &mut [u32], windows: &mut [u32]) {
    assert!(available() && fours.len() == threes.len() && windows.len() == threes.len());
    assert!(threes.is_empty() || text.len() >= BEFORE_BYTES + threes.len() * WORD_BYTES + BEHIND_BYTES);
    let (mut triples, mut pairs) = ([0; STRIP_WORDS * POSITIONS], [0; STRIP_WORDS * POSITIONS]);
    let strips = threes.chunks_mut(STRIP_WORDS).zip(fours.chunks_mut(STRIP_WORDS)).zip(windows.chunks_mut(STRIP_WORDS));
    for (index, ((threes, fours), windows)) in strips.enumerate() {
        let text = &text[index * STRIP_WORDS * WORD_BYTES..];
        let positions = threes.len() * POSITIONS;
        // SAFETY: AVX2 is there, and `text` covers the words and what their positions reach into.
        unsafe { hash(text, &mut triples, &mut pairs, positions) };
        for (triple, pair) in triples.iter_mut().zip(&mut pairs).take(positions) {
            *triple = filter.triples[usize::from(*triple) / (0x10000 / TRIPLES)];
            *pair = filter.pairs[usize::from(*pair) / (0x10000 / PAIRS)];
        }
        // SAFETY: as above.
        unsafe { test(text, &triples, &pairs, threes, fours, windows) };
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

#[target_feature(enable = "avx2")]
fn hash(text: &[u8], triples: &mut Strip, pairs: &mut Strip, positions: usize) {
    let (fold, low) = (lanes(FOLD), lanes(0xff));
    let (mix, pair_mix) = (TRIPLE_MIX.map(|mix| lanes(mix)), lanes(PAIR_MIX));
    let vectors = triples.chunks_exact_mut(LANES).zip(pairs.chunks_exact_mut(LANES)).take(positions / LANES);
    for (index, (triples, pairs)) in vectors.enumerate() {
        let at = BEFORE_BYTES + index * 2 * LANES;
        let first = _mm256_or_si256(load(text, at), fold);
        let third = _mm256_and_si256(_mm256_or_si256(load(text, at + 2), fold), low);
        let triple = _mm256_add_epi16(_mm256_mullo_epi16(first, mix[0]), _mm256_mullo_epi16(third, mix[1]));
        // SAFETY: both have sixteen lanes.
        unsafe {
            _mm256_storeu_si256(triples.as_mut_ptr().cast(), triple);
            _mm256_storeu_si256(pairs.as_mut_ptr().cast(), _mm256_mullo_epi16(first, pair_mix));
        }
    }
}

/// `signature` of sixteen hashes.
#[inline]
#[target_feature(enable = "avx2")]
fn signature(lane: __m256i, mix: u16) -> __m256i {
    // SAFETY: sixteen bytes are read from an array of sixteen.
    let patterns = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(PATTERNS.as_ptr().cast()) });
    let nibbles = _mm256_and_si256(_mm256_srli_epi16::<4>(_mm256_mullo_epi16(lane, lanes(mix))), _mm256_set1_epi8(15));
    _mm256_shuffle_epi8(patterns, nibbles)
}

#[inline]
#[target_feature(enable = "avx2")]
fn has(words: __m256i, signature: __m256i) -> __m256i {
    _mm256_cmpeq_epi16(_mm256_and_si256(words, signature), signature)
}

#[target_feature(enable = "avx2")]
fn test(text: &[u8], triples: &Strip, pairs: &Strip, threes: &mut [u32], fours: &mut [u32], windows: &mut [u32]) {
    let (fold, low) = (lanes(FOLD), lanes(0xff));
    for (index, ((threes, fours), windows)) in threes.iter_mut().zip(fours).zip(windows).enumerate() {
        let mut found = [[_mm256_setzero_si256(); 2]; 3];
        for half in [0, 1] {
            let at = BEFORE_BYTES + index * WORD_BYTES + half * 2 * LANES;
            // SAFETY: the strips have sixteen lanes for either half of every word.
            let (triple, pair) = unsafe {
                let lane = index * POSITIONS + half * LANES;
                (_mm256_loadu_si256(triples.as_ptr().add(lane).cast()), _mm256_loadu_si256(pairs.as_ptr().add(lane).cast()))
            };
            let before = _mm256_and_si256(_mm256_or_si256(load(text, at - 1), fold), low);
            let second = _mm256_or_si256(load(text, at + 2), fold);
            let behind = _mm256_or_si256(load(text, at + 3), fold);
            let around = _mm256_or_si256(before, _mm256_andnot_si256(low, second));
            let short = signature(before, BEFORE_MIX);
            let three = signature(_mm256_and_si256(second, low), THIRD_MIX);
            found[0][half] = _mm256_or_si256(has(pair, three), has(pair, short));
            let four = signature(_mm256_srli_epi16::<8>(second), FOURTH_MIX);
            found[1][half] = _mm256_or_si256(has(triple, four), has(triple, short));
            let (five, other) = (signature(behind, BEHIND_MIX), signature(around, AROUND_MIX));
            found[2][half] = _mm256_or_si256(has(triple, five), has(triple, other));
        }
        [*threes, *fours, *windows] = found.map(|[low, high]| {
            // Packing takes turns with the halves of both.
            let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
            _mm256_movemask_epi8(bytes).cast_unsigned()
        });
    }
}
