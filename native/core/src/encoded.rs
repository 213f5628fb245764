//! Text that base64 or hex hides: where does a run of either begin to decode to text? The rules decode it then, and look inside.
//!
//! Base64 (either alphabet, RFC 4648 §§4, 5): sixteen characters that decode to twelve bytes of text, at any of the four phases. Hex: 24 digits. Hashes, keys
//! and paths almost never do. Four classes of bytes, a bit per position each, leave few positions; those are decoded. The same in `src/core/encoded.ts`.

use crate::kernel::{Simd, WORD_BYTES};

/// What a hit begins, in the place of an anchor's number.
pub const BASE64: u32 = 0;
pub const HEX: u32 = 1;

/// Characters of a hit, and of the group before that must not be text too: a hit is where text begins.
const BASE64_CHARS: usize = 16;
const BASE64_GROUP: usize = 4;
const HEX_CHARS: usize = 24;
const HEX_GROUP: usize = 2;
/// Bytes of the past that a hit may reach into: all of it but the last, and the group before.
const TAIL_BYTES: usize = HEX_CHARS + HEX_GROUP - 1;
/// Bytes of a chunk with which the past is joined: hits that begin there may have their group before in the past.
const JOINED_BYTES: usize = BASE64_GROUP + HEX_CHARS;
/// Classes of bytes: what may be the first or the second character of four, the first digit of two, a digit.
pub const CLASSES: usize = 4;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const HIGH: u8 = 4;
const DIGIT: u8 = 8;

/// The value of a base64 character, or 64.
const fn sextet(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => 64,
    }
}

/// The value of a hex digit, or 16.
const fn nibble(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 16,
    }
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | b'\t' | b'\n' | b'\r')
}

/// The classes of every byte, a bit each. All of them are ASCII.
pub static CLASS: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let six = sextet(byte);
        let four = nibble(byte);
        // The first byte of three has these top bits, the second those upper four.
        let first = matches!(six, 2 | 3 | 8..=31);
        let second = six < 64 && matches!(six & 15, 0 | 2..=7);
        let high = matches!(four, 0 | 2..=7);
        classes[byte as usize] = (first as u8 * FIRST) | (second as u8 * SECOND) | (high as u8 * HIGH) | ((four < 16) as u8 * DIGIT);
        byte += 1;
    }
    classes
};

/// Whether the four characters at `at` decode to text.
fn is_quad(text: &[u8], at: usize) -> bool {
    let Some(&[a, b, c, d]) = text.get(at..at + BASE64_GROUP).and_then(|quad| quad.first_chunk()) else { return false };
    let (a, b, c, d) = (sextet(a), sextet(b), sextet(c), sextet(d));
    (a | b | c | d) < 64 && is_text(a << 2 | b >> 4) && is_text(b << 4 | c >> 2) && is_text(c << 6 | d)
}

/// Whether the two digits at `at` are a byte of text.
fn is_pair(text: &[u8], at: usize) -> bool {
    let Some(&[high, low]) = text.get(at..at + HEX_GROUP).and_then(|pair| pair.first_chunk()) else { return false };
    let (high, low) = (nibble(high), nibble(low));
    (high | low) < 16 && is_text(high << 4 | low)
}

/// Whether text begins at `at`.
fn begins(text: &[u8], at: usize, chars: usize, group: usize, is_group: impl Fn(&[u8], usize) -> bool) -> bool {
    (at..at + chars).step_by(group).all(|part| is_group(text, part)) && !at.checked_sub(group).is_some_and(|before| is_group(text, before))
}

fn base64_begins(text: &[u8], at: usize) -> bool {
    begins(text, at, BASE64_CHARS, BASE64_GROUP, is_quad)
}

fn hex_begins(text: &[u8], at: usize) -> bool {
    begins(text, at, HEX_CHARS, HEX_GROUP, is_pair)
}

/// For a word and the one behind it the positions of every class.
pub type Masks = [u128; CLASSES];

/// Positions of the word at which base64 and hex text may begin.
fn candidates([first, second, high, digit]: Masks) -> (u64, u64) {
    let quads = first & second >> 1;
    let two = quads & quads >> 4;
    let pairs = high & digit >> 1;
    let four = pairs & pairs >> 2;
    let eight = four & four >> 4;
    ((two & two >> 8) as u64, (eight & eight >> 8 & eight >> 16) as u64)
}

/// What is encoded in one stream.
pub struct EncodedStream {
    simd: Simd,
    tail: Vec<u8>,
    /// Kind, and how many bytes before the end of the input it begins.
    hits: Vec<(u32, u32)>,
}

impl EncodedStream {
    pub fn new(simd: Simd) -> Self {
        Self { simd, tail: Vec::new(), hits: Vec::new() }
    }

    /// Scans the next bytes. A hit is reported by the scan that completes it.
    pub fn scan(&mut self, chunk: &[u8]) {
        let Self { simd, tail, hits } = self;
        hits.clear();
        let past = tail.len();
        tail.extend_from_slice(&chunk[..chunk.len().min(JOINED_BYTES)]);
        let end = past + chunk.len();
        let mut add = |kind: u32, back: usize| hits.push((kind, back as u32));
        for at in 0..(past + BASE64_GROUP).min(tail.len()) {
            if at + BASE64_CHARS > past && base64_begins(tail, at) {
                add(BASE64, end - at);
            }
            if at + HEX_CHARS > past && hex_begins(tail, at) {
                add(HEX, end - at);
            }
        }
        tail.truncate(past);
        find(*simd, chunk, BASE64_GROUP, |kind, at| add(kind, chunk.len() - at));
        tail.extend_from_slice(&chunk[chunk.len().saturating_sub(TAIL_BYTES)..]);
        let extra = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..extra);
    }

    /// Forgets what was scanned.
    pub fn reset(&mut self) {
        self.tail.clear();
        self.hits.clear();
    }

    /// What the last scan found.
    pub fn hits(&self) -> &[(u32, u32)] {
        &self.hits
    }
}

/// Words whose classes are found at a time; the last is the first of the next stretch.
const STRETCH_WORDS: usize = 64;

/// Calls `each` with what begins in `text` at `first` and behind.
fn find(simd: Simd, text: &[u8], first: usize, mut each: impl FnMut(u32, usize)) {
    let mut classes = [[0; CLASSES]; STRETCH_WORDS + 1];
    for start in (0..text.len()).step_by(STRETCH_WORDS * WORD_BYTES) {
        let here = &text[start..text.len().min(start + (STRETCH_WORDS + 1) * WORD_BYTES)];
        let whole = here.len() / WORD_BYTES;
        classes.fill([0; CLASSES]);
        classify(simd, &here[..whole * WORD_BYTES], &mut classes);
        if whole <= STRETCH_WORDS {
            let mut padded = [0; WORD_BYTES];
            padded[..here.len() % WORD_BYTES].copy_from_slice(&here[whole * WORD_BYTES..]);
            classify(simd, &padded, &mut classes[whole..]);
        }
        for (word, pair) in classes.windows(2).enumerate() {
            let (base64, hex) = candidates(std::array::from_fn(|class| u128::from(pair[0][class]) | u128::from(pair[1][class]) << 64));
            for (kind, mut rest) in [(BASE64, base64), (HEX, hex)] {
                while rest != 0 {
                    let at = start + word * WORD_BYTES + rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    if at >= first && if kind == BASE64 { base64_begins(text, at) } else { hex_begins(text, at) } {
                        each(kind, at);
                    }
                }
            }
        }
    }
}

/// The positions of every class in each word of `text`, which is as many words long.
fn classify(simd: Simd, text: &[u8], into: &mut [[u64; CLASSES]]) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => crate::avx2_encoded::classify(text, into),
        _ => {
            for (word, into) in text.chunks_exact(WORD_BYTES).zip(into) {
                for (at, &byte) in word.iter().enumerate() {
                    let classes = CLASS[usize::from(byte)];
                    for (class, bits) in into.iter_mut().enumerate() {
                        *bits |= u64::from(classes >> class & 1) << at;
                    }
                }
            }
        }
    }
}
