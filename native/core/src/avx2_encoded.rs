//! Classes of bytes for AVX2: a byte is in a class if the table of its low half names the row of its high half.

use std::arch::x86_64::*;

use crate::encoded::{CLASS, CLASSES};
use crate::kernel::WORD_BYTES;

/// For each class and low half of a byte the high halves below 8 with which it is in the class, a bit each.
static ROWS: [[u8; 16]; CLASSES] = {
    let mut rows = [[0; 16]; CLASSES];
    let mut byte = 0;
    while byte < 128 {
        let mut class = 0;
        while class < CLASSES {
            rows[class][byte & 15] |= (CLASS[byte] >> class & 1) << (byte >> 4);
            class += 1;
        }
        byte += 1;
    }
    rows
};

/// The positions of every class in each word of `text`.
pub fn classify(text: &[u8], into: &mut [[u64; CLASSES]]) {
    assert!(crate::avx2::available());
    // SAFETY: AVX2 is there.
    unsafe { classify_in(text, into) }
}

#[target_feature(enable = "avx2")]
fn classify_in(text: &[u8], into: &mut [[u64; CLASSES]]) {
    // High halves from 8 on are in no row.
    let row = _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0));
    let half = _mm256_set1_epi8(15);
    let tables = ROWS.each_ref().map(|rows| {
        // SAFETY: sixteen bytes are read from an array of sixteen.
        _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(rows.as_ptr().cast()) })
    });
    for (word, into) in text.chunks_exact(WORD_BYTES).zip(into) {
        let halves = [0, 32].map(|part| {
            // SAFETY: 32 bytes are read from the first or second half of 64.
            let bytes = unsafe { _mm256_loadu_si256(word.as_ptr().add(part).cast()) };
            (bytes, _mm256_shuffle_epi8(row, _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), half)))
        });
        for (bits, &table) in into.iter_mut().zip(&tables) {
            let [low, high] = halves.map(|(bytes, rows)| {
                // A byte from 0x80 on looks up 0.
                let members = _mm256_and_si256(_mm256_shuffle_epi8(table, bytes), rows);
                !_mm256_movemask_epi8(_mm256_cmpeq_epi8(members, _mm256_setzero_si256())).cast_unsigned()
            });
            *bits = u64::from(low) | u64::from(high) << 32;
        }
    }
}
