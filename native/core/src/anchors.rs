//! Anchors: the literals that make a rule worth a look. All places are reported; the rules, which are not native, say what they mean.
//!
//! Where may one stand? Each anchor of 5 bytes and more has two neighbouring 4-byte windows, the rarest it has; they lie in a Bloom filter, letters folded, and
//! every second position of the log is looked up in it. So are 3-byte windows of anchors of 4 bytes in another. For those of 3 bytes, every position is looked
//! up in tables of masks, a bit for each of eight groups (by SIMD: in halves of bytes), which are grouped by their last byte. What passes is looked up in
//! hash tables, and compared. The portable engine finds the same: `src/core/anchors.ts`, which also defines the shape of an assignment and what may stand
//! before a token.

use crate::anchor_filter::{AnchorBits, AnchorFilter};
use crate::kernel::{BLOCK_BYTES, Simd, WORD_BYTES};
use crate::shape::{has_shape, may_start};

/// Flags of an anchor; defined in `src/core/anchors.ts`.
const FOLD: u8 = 1;
const ASSIGN: u8 = 2;
const TOKEN: u8 = 4;

pub const MIN_ANCHOR_BYTES: usize = 3;
pub const MAX_ANCHOR_BYTES: usize = 32;
/// Bytes that a group of anchors is told by.
pub const KEY_BYTES: usize = 3;
/// Anchors from this length on are looked for by windows of 4 bytes.
const WIDE_BYTES: usize = 5;
/// What folds letters, and a few other bytes with them.
const FOLD_BITS: u32 = 0x2020_2020;

struct Anchor {
    /// Lower case if folded.
    literal: Box<[u8]>,
    flags: u8,
    /// Which of the set's alphabets, and how many of its bytes must follow. None if that is 0.
    follow: u8,
    count: u8,
    /// Offset of its first window.
    window: u8,
}

/// Anchors, ready to search. Immutable. They are no secrets.
pub struct AnchorSet {
    anchors: Vec<Anchor>,
    filter: AnchorFilter,
    /// Anchors of three and four bytes by those.
    by_three: KeyTable,
    by_four: KeyTable,
    /// Longer ones by their windows, each with the window's offset in the low byte.
    by_window: KeyTable,
    /// Longer ones by their first four bytes, for the few bytes around the start of a chunk.
    by_start: KeyTable,
    /// Alphabets, 256 bytes each, 1 for a byte that belongs.
    alphabets: Box<[u8]>,
    longest: usize,
}

const NO_KEY: u32 = u32::MAX;

fn fold(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

/// A byte above those of a key of three; one of four has a byte there that no anchor begins with 0.
fn key_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |key, &byte| key << 8 | u32::from(fold(byte)))
}

/// An open-addressing table from the first bytes of anchors to all that begin so. The keys stand by themselves to stay in cache.
struct KeyTable {
    /// A key of `NO_KEY` is empty.
    keys: Vec<u32>,
    ranges: Vec<(u32, u32)>,
    /// Numbers of anchors, those with the same key together.
    order: Vec<u32>,
}

impl KeyTable {
    fn new(mut anchors: Vec<(u32, u32)>) -> Self {
        anchors.sort_unstable();
        let same_key = |a: &(u32, u32), b: &(u32, u32)| a.0 == b.0;
        let distinct = anchors.chunk_by(same_key).count();
        let size = (distinct * 2).max(16).next_power_of_two();
        let mut table = Self { keys: vec![NO_KEY; size], ranges: vec![(0, 0); size], order: anchors.iter().map(|&(_, anchor)| anchor).collect() };
        let mut start = 0;
        for same in anchors.chunk_by(same_key) {
            let mut slot = table.slot(same[0].0);
            while table.keys[slot] != NO_KEY {
                slot = (slot + 1) & (size - 1);
            }
            table.keys[slot] = same[0].0;
            table.ranges[slot] = (start, start + same.len() as u32);
            start += same.len() as u32;
        }
        table
    }

    fn slot(&self, key: u32) -> usize {
        // The high bits of the product depend on all bits of the key.
        (key.wrapping_mul(0x9e37_79b1) >> (32 - self.keys.len().trailing_zeros())) as usize
    }

    #[inline]
    fn get(&self, key: u32) -> &[u32] {
        let mut slot = self.slot(key);
        loop {
            match self.keys[slot] {
                found if found == key => {
                    let (start, end) = self.ranges[slot];
                    return &self.order[start as usize..end as usize];
                }
                NO_KEY => return &[],
                _ => slot = (slot + 1) & (self.keys.len() - 1),
            }
        }
    }
}

impl AnchorSet {
    /// Builds a set; anchor `i` is `bytes[offsets[i]..offsets[i + 1]]`, its windows begin at `hints[3 * i + 2]` and one behind, and at least `hints[3 * i + 1]` bytes of
    /// alphabet `hints[3 * i]` must come behind it.
    /// None if the table is not one, or an anchor is too short or too long.
    pub fn new(bytes: &[u8], offsets: &[u32], flags: &[u8], hints: &[u8], alphabets: &[u8]) -> Option<Self> {
        if offsets.len() != flags.len() + 1 || offsets[0] != 0 || offsets[flags.len()] as usize != bytes.len() || hints.len() != flags.len() * 3 {
            return None;
        }
        let mut anchors = Vec::with_capacity(flags.len());
        for ((pair, &flags), hint) in offsets.windows(2).zip(flags).zip(hints.chunks_exact(3)) {
            let (follow, count, window) = (hint[0], hint[1], hint[2]);
            if count > 0 && (usize::from(follow) + 1) * 256 > alphabets.len() {
                return None;
            }
            let literal = bytes.get(pair[0] as usize..pair[1] as usize)?;
            if !(MIN_ANCHOR_BYTES..=MAX_ANCHOR_BYTES).contains(&literal.len())
                || flags & !(FOLD | ASSIGN | TOKEN) != 0
                || (literal.len() >= WIDE_BYTES && usize::from(window) + WIDE_BYTES > literal.len())
            {
                return None;
            }
            anchors.push(Anchor { literal: literal.into(), flags, follow, count, window });
        }
        let longest = anchors.iter().map(|anchor| anchor.literal.len()).max().unwrap_or(MIN_ANCHOR_BYTES);
        let keyed = |lengths: std::ops::RangeInclusive<usize>| {
            let some = anchors.iter().enumerate().filter(move |(_, anchor)| lengths.contains(&anchor.literal.len()));
            KeyTable::new(some.map(|(index, anchor)| (key_of(&anchor.literal[..anchor.literal.len().min(KEY_BYTES + 1)]), index as u32)).collect())
        };
        let by_window = anchors.iter().enumerate().filter(|(_, anchor)| anchor.literal.len() >= WIDE_BYTES).flat_map(|(index, anchor)| {
            [0, 1].map(|more| usize::from(anchor.window) + more).map(|at| (window_at(&anchor.literal, at) | FOLD_BITS, (index << 8 | at) as u32))
        });
        let by_window = KeyTable::new(by_window.collect());
        let (by_three, by_four, by_start) = (keyed(3..=3), keyed(4..=4), keyed(WIDE_BYTES..=MAX_ANCHOR_BYTES));
        let mut filter = AnchorFilter::new();
        for Anchor { literal, window, .. } in &anchors {
            let known = if literal.len() < WIDE_BYTES { &literal[..] } else { &literal[usize::from(*window)..][..WIDE_BYTES] };
            filter.insert(known);
        }
        Some(Self { anchors, filter, by_three, by_four, by_window, by_start, alphabets: alphabets.into(), longest })
    }

    /// Whether as many bytes of an alphabet stand at `at`, as far as the text goes.
    fn follows(&self, text: &[u8], at: usize, follow: u8, count: u8) -> bool {
        let alphabet = usize::from(follow) * 256;
        text[at..].iter().take(usize::from(count)).all(|&byte| self.alphabets[alphabet + usize::from(byte)] != 0)
    }

    /// Calls `each` with every anchor that stands at `at`.
    fn all_at(&self, text: &[u8], at: usize, mut each: impl FnMut(u32, usize)) {
        self.threes_at(text, at, &mut each);
        self.fours_at(text, at, &mut each);
        if let Some(four) = text.get(at..at + KEY_BYTES + 1) {
            self.compare(text, at, self.by_start.get(key_of(four)), &mut each);
        }
    }

    #[inline]
    fn threes_at(&self, text: &[u8], at: usize, each: &mut impl FnMut(u32, usize)) {
        if let Some(three) = text.get(at..at + KEY_BYTES) {
            self.compare(text, at, self.by_three.get(key_of(three)), each);
        }
    }

    #[inline]
    fn fours_at(&self, text: &[u8], at: usize, each: &mut impl FnMut(u32, usize)) {
        if let Some(four) = text.get(at..at + KEY_BYTES + 1) {
            self.compare(text, at, self.by_four.get(key_of(four)), each);
        }
    }

    /// Calls `each` with every longer anchor, and where it starts, that has the window at `at`.
    #[inline]
    fn windowed(&self, text: &[u8], at: usize, mut each: impl FnMut(u32, usize)) {
        if at + 4 > text.len() {
            return;
        }
        for &entry in self.by_window.get(window_at(text, at) | FOLD_BITS) {
            if let Some(start) = at.checked_sub((entry & 0xff) as usize) {
                self.compare(text, start, &[entry >> 8], &mut |anchor, _| each(anchor, start));
            }
        }
    }

    fn compare(&self, text: &[u8], at: usize, anchors: &[u32], each: &mut impl FnMut(u32, usize)) {
        for &anchor in anchors {
            let Anchor { literal, flags, follow, count, .. } = &self.anchors[anchor as usize];
            let Some(here) = text.get(at..at + literal.len()) else { continue };
            let equal = if flags & FOLD != 0 { here.eq_ignore_ascii_case(literal) } else { *here == **literal };
            let fits = equal
                && (flags & ASSIGN == 0 || has_shape(text, at + literal.len()))
                && (flags & TOKEN == 0 || may_start(text, at))
                && self.follows(text, at + literal.len(), *follow, *count);
            if fits {
                each(anchor, at + literal.len());
            }
        }
    }
}

fn window_at(text: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(text[at..at + 4].try_into().expect("4 bytes"))
}

/// Calls `each` with the even position of every bit; the first word begins at `start`.
#[inline]
fn each_bit(words: &[u32], start: usize, mut each: impl FnMut(usize)) {
    for (word, &bits) in words.iter().enumerate() {
        let mut rest = bits;
        while rest != 0 {
            each(start + word * WORD_BYTES + 2 * rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}

/// The anchors of one stream.
pub struct AnchorStream {
    set: std::sync::Arc<AnchorSet>,
    simd: Simd,
    /// The last bytes of the input, too few for an anchor that began in them.
    tail: Vec<u8>,
    bits: Box<AnchorBits>,
    /// Anchor, and how many bytes before the end of the input it starts.
    hits: Vec<(u32, u32)>,
}

impl AnchorStream {
    pub fn new(set: std::sync::Arc<AnchorSet>, simd: Simd) -> Self {
        Self { set, simd, tail: Vec::new(), bits: Box::default(), hits: Vec::new() }
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
                set.all_at(&joined, at, |anchor, end| {
                    if end > before {
                        hits.push((anchor, (total - at) as u32));
                    }
                });
            }
            joined.truncate(before);
            *tail = joined;
        }
        let first = hits.len();
        let mut add = |anchor: u32, at: usize| hits.push((anchor, (chunk.len() - at) as u32));
        for start in (0..chunk.len()).step_by(BLOCK_BYTES) {
            let words = bits.fill(*simd, &set.filter, chunk, start);
            each_bit(&bits.threes[..words], start, |at| {
                set.threes_at(chunk, at, &mut |anchor, _| add(anchor, at));
                if let Some(before) = at.checked_sub(1) {
                    set.threes_at(chunk, before, &mut |anchor, _| add(anchor, before));
                }
            });
            each_bit(&bits.fours[..words], start, |at| {
                set.fours_at(chunk, at, &mut |anchor, _| add(anchor, at));
                if let Some(before) = at.checked_sub(1) {
                    set.fours_at(chunk, before, &mut |anchor, _| add(anchor, before));
                }
            });
            each_bit(&bits.windows[..words], start, |at| set.windowed(chunk, at, &mut add));
        }
        hits[first..].sort_unstable_by_key(|&(anchor, back)| (std::cmp::Reverse(back), anchor));
        tail.extend_from_slice(&chunk[chunk.len().saturating_sub(carry)..]);
        let extra = tail.len().saturating_sub(carry);
        tail.drain(..extra);
    }

    /// What the last scan found, in order of position.
    pub fn hits(&self) -> &[(u32, u32)] {
        &self.hits
    }
}
