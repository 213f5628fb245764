//! Anchors: the literals that make a rule worth a look. All places are reported; the rules, which are not native, say what they mean.
//!
//! For every position the first three bytes, folded to lower case, are looked up in three tables of masks, a bit for each of eight groups of anchors
//! (the kernel does so for many positions at once, by halves of bytes). Where the three have a bit in common, a hash table of the three bytes names the
//! anchors that may stand there, and those are compared. The portable engine does the same: `src/core/anchors.ts`, which also defines the shape of an assignment.

use crate::kernel::{Simd, WORD_BYTES, anchor_bits};

/// Flags of an anchor; defined in `src/core/anchors.ts`.
const FOLD: u8 = 1;
const ASSIGN: u8 = 2;

pub const MIN_ANCHOR_BYTES: usize = 3;
pub const MAX_ANCHOR_BYTES: usize = 32;
/// Bytes that a group of anchors is told by.
pub const KEY_BYTES: usize = 3;
const GROUPS: usize = 8;

/// For each of the first three bytes of an anchor and each byte the groups that may have it there.
pub type Masks = [[u8; 256]; KEY_BYTES];

struct Anchor {
    /// Lower case if folded.
    literal: Box<[u8]>,
    flags: u8,
}

/// Anchors, ready to search. Immutable. They are no secrets.
pub struct AnchorSet {
    anchors: Vec<Anchor>,
    masks: Masks,
    /// The masks again by the low and the high half of the byte.
    halves: [[[u8; 16]; 2]; KEY_BYTES],
    /// Numbers of anchors, those with the same three bytes together.
    order: Vec<u32>,
    /// An open-addressing table from three bytes to a range of `order`: key, start, end. A key of `NO_KEY` is empty.
    slots: Vec<(u32, u32, u32)>,
    longest: usize,
}

const NO_KEY: u32 = u32::MAX;

fn fold(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

#[inline]
fn key_of(bytes: &[u8]) -> u32 {
    u32::from(fold(bytes[0])) << 16 | u32::from(fold(bytes[1])) << 8 | u32::from(fold(bytes[2]))
}

impl AnchorSet {
    /// Builds a set; anchor `i` is `bytes[offsets[i]..offsets[i + 1]]`. None if the table is not one, or an anchor is too short or too long.
    pub fn new(bytes: &[u8], offsets: &[u32], flags: &[u8]) -> Option<Self> {
        if offsets.len() != flags.len() + 1 || offsets[0] != 0 || offsets[flags.len()] as usize != bytes.len() {
            return None;
        }
        let mut anchors = Vec::with_capacity(flags.len());
        for (pair, &flags) in offsets.windows(2).zip(flags) {
            let literal = bytes.get(pair[0] as usize..pair[1] as usize)?;
            if !(MIN_ANCHOR_BYTES..=MAX_ANCHOR_BYTES).contains(&literal.len()) || flags & !(FOLD | ASSIGN) != 0 {
                return None;
            }
            anchors.push(Anchor { literal: literal.into(), flags });
        }
        let longest = anchors.iter().map(|anchor| anchor.literal.len()).max().unwrap_or(MIN_ANCHOR_BYTES);
        let mut order: Vec<u32> = (0..anchors.len() as u32).collect();
        let key = |&anchor: &u32| key_of(&anchors[anchor as usize].literal);
        order.sort_by_key(key);
        let mut slots = vec![(NO_KEY, 0, 0); (anchors.len() * 2).next_power_of_two()];
        let mut masks = [[0; 256]; KEY_BYTES];
        let keys: Vec<u32> = order.iter().map(key).collect();
        let distinct = keys.chunk_by(|a, b| a == b).count();
        let mut start = 0;
        // Neighbours in order share bytes, so each group's masks stay narrow.
        for (index, same) in keys.chunk_by(|a, b| a == b).enumerate() {
            insert(&mut slots, same[0], start as u32, (start + same.len()) as u32);
            start += same.len();
            let group = 1 << (index * GROUPS / distinct);
            for (mask, shift) in masks.iter_mut().zip([16, 8, 0]) {
                let byte = (same[0] >> shift) as u8;
                mask[usize::from(byte)] |= group;
                mask[usize::from(byte.to_ascii_uppercase())] |= group;
            }
        }
        let mut halves = [[[0; 16]; 2]; KEY_BYTES];
        for (mask, [low, high]) in masks.iter().zip(&mut halves) {
            for (byte, &groups) in mask.iter().enumerate() {
                low[byte & 15] |= groups;
                high[byte >> 4] |= groups;
            }
        }
        Some(Self { anchors, masks, halves, order, slots, longest })
    }

    pub fn masks(&self) -> &Masks {
        &self.masks
    }

    pub fn halves(&self) -> &[[[u8; 16]; 2]; KEY_BYTES] {
        &self.halves
    }

    /// Calls `each` with every anchor that stands at `at`.
    #[inline]
    fn at(&self, text: &[u8], at: usize, mut each: impl FnMut(u32, usize)) {
        let Some(bytes) = text.get(at..at + KEY_BYTES) else { return };
        let [first, second, third] = &self.masks;
        if first[usize::from(bytes[0])] & second[usize::from(bytes[1])] & third[usize::from(bytes[2])] == 0 {
            return;
        }
        let key = key_of(bytes);
        let mut slot = slot_of(&self.slots, key);
        while self.slots[slot].0 != key {
            if self.slots[slot].0 == NO_KEY {
                return;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        let (_, start, end) = self.slots[slot];
        for &anchor in &self.order[start as usize..end as usize] {
            let Anchor { literal, flags } = &self.anchors[anchor as usize];
            let Some(here) = text.get(at..at + literal.len()) else { continue };
            let equal = if flags & FOLD != 0 { here.eq_ignore_ascii_case(literal) } else { *here == **literal };
            if equal && (flags & ASSIGN == 0 || has_shape(text, at + literal.len())) {
                each(anchor, at + literal.len());
            }
        }
    }
}

fn slot_of(slots: &[(u32, u32, u32)], key: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> 8) as usize & (slots.len() - 1)
}

fn insert(slots: &mut [(u32, u32, u32)], key: u32, start: u32, end: u32) {
    let mut slot = slot_of(slots, key);
    while slots[slot].0 != NO_KEY {
        slot = (slot + 1) & (slots.len() - 1);
    }
    slots[slot] = (key, start, end);
}

/// The anchors of one stream.
pub struct AnchorStream {
    set: std::sync::Arc<AnchorSet>,
    simd: Simd,
    /// The last bytes of the input, too few for an anchor that began in them.
    tail: Vec<u8>,
    bits: Vec<u64>,
    /// Anchor, and how many bytes before the end of the input it starts.
    hits: Vec<(u32, u32)>,
}

/// Words whose bits are made at once.
const WORDS: usize = 64;

impl AnchorStream {
    pub fn new(set: std::sync::Arc<AnchorSet>, simd: Simd) -> Self {
        Self { set, simd, tail: Vec::new(), bits: vec![0; WORDS], hits: Vec::new() }
    }

    /// Scans the next bytes. An anchor is reported by the scan that completes it.
    pub fn scan(&mut self, chunk: &[u8]) {
        let Self { set, simd, tail, bits, hits } = self;
        hits.clear();
        let carry = set.longest - 1;
        if !tail.is_empty() {
            let before = tail.len();
            let mut joined = std::mem::take(tail);
            joined.extend_from_slice(&chunk[..chunk.len().min(carry)]);
            let total = before + chunk.len();
            for at in 0..before {
                set.at(&joined, at, |anchor, end| {
                    if end > before {
                        hits.push((anchor, (total - at) as u32));
                    }
                });
            }
            joined.truncate(before);
            *tail = joined;
        }
        for start in (0..chunk.len()).step_by(WORDS * WORD_BYTES) {
            let words = anchor_bits(*simd, set, chunk, start, bits);
            for (word, &set_bits) in bits[..words].iter().enumerate() {
                let mut rest = set_bits;
                while rest != 0 {
                    let at = start + word * WORD_BYTES + rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    set.at(chunk, at, |anchor, _| hits.push((anchor, (chunk.len() - at) as u32)));
                }
            }
        }
        tail.extend_from_slice(&chunk[chunk.len().saturating_sub(carry)..]);
        let extra = tail.len().saturating_sub(carry);
        tail.drain(..extra);
    }

    /// What the last scan found, in order of position.
    pub fn hits(&self) -> &[(u32, u32)] {
        &self.hits
    }
}

const NAME: u8 = 1;
const AROUND: u8 = 2;
const OPERATOR: u8 = 4;
const VALUE: u8 = 8;
const OPENER: u8 = 16;

const NAME_BYTES: usize = 40;
const AROUND_BYTES: usize = 16;
const VALUE_BYTES: usize = 6;

/// What a byte can be in the shape of an assignment.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0x21;
    while byte < 256 {
        classes[byte] = VALUE;
        byte += 1;
    }
    const fn mark(mut classes: [u8; 256], bytes: &[u8], class: u8, on: bool) -> [u8; 256] {
        let mut i = 0;
        while i < bytes.len() {
            let entry = &mut classes[bytes[i] as usize];
            *entry = if on { *entry | class } else { *entry & !class };
            i += 1;
        }
        classes
    }
    classes = mark(classes, b"\"'`,;<>(){}\x7f", VALUE, false);
    classes = mark(classes, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.-", NAME, true);
    classes = mark(classes, b" \t\"'`)]\\", AROUND, true);
    classes = mark(classes, b"=:>", OPERATOR, true);
    mark(classes, b"$'\"`([ \t\\=:>\x1b", OPENER, true)
};

/// Whether an operator and a value may follow the word that ends at `at`: `hasShape` of `src/core/anchors.ts`.
fn has_shape(text: &[u8], at: usize) -> bool {
    let mut at = skip(text, at, NAME_BYTES, NAME);
    at = skip(text, at, AROUND_BYTES, AROUND);
    let Some(&operator) = text.get(at) else { return true };
    if operator == b'%' || operator == b'&' || (operator == b'u' && text[at - 1] == b'\\') {
        return true;
    }
    if CLASSES[usize::from(operator)] & OPERATOR == 0 {
        return false;
    }
    at = skip(text, at, AROUND_BYTES, OPENER);
    if at >= text.len() || text[at - 1] == 0x1b {
        return true;
    }
    skip(text, at, VALUE_BYTES, VALUE) - at == VALUE_BYTES.min(text.len() - at)
}

fn skip(text: &[u8], from: usize, most: usize, class: u8) -> usize {
    let until = text.len().min(from + most);
    text[from..until].iter().position(|&byte| CLASSES[usize::from(byte)] & class == 0).map_or(until, |length| from + length)
}
