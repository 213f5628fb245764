//! Anchors: the literals that make a rule worth a look. All places are reported; the rules, which are not native, say what they mean.
//!
//! Each anchor has a *key* of 3 to 5 bytes, letters folded: itself if it is that short, else the five bytes of it that text is least likely to hold. The loop
//! over the log (`anchor_filter.rs`) names positions where a key may be; those are looked up in a bit filter by key, then in a hash table, and compared. The
//! portable engine finds the same: `src/core/anchors.ts`, which also defines the shape of an assignment and what may stand before a token.

use std::cell::RefCell;

use crate::anchor_filter::{AnchorBits, AnchorFilter};
use crate::anchor_keys::{HERE, KeyTable, MAX_KEY_BYTES, Places};
use crate::kernel::{BLOCK_BYTES, Simd};
use crate::shape::{has_shape, may_start};

/// Flags of an anchor; defined in `src/core/anchors.ts`.
const FOLD: u8 = 1;
const ASSIGN: u8 = 2;
const TOKEN: u8 = 4;

pub const MIN_ANCHOR_BYTES: usize = 3;
pub const MAX_ANCHOR_BYTES: usize = 32;

struct Anchor {
    /// Lower case if folded.
    literal: Box<[u8]>,
    flags: u8,
    /// Which of the set's alphabets, and how many of its bytes must follow. None if that is 0.
    follow: u8,
    count: u8,
    /// Offset of its key.
    key: u8,
    reach: Option<Reach>,
}

/// What must come within so many bytes of an anchor's start, before any byte that no match has: numbers of alphabets.
#[derive(Clone, Copy)]
struct Reach {
    passed: u16,
    needed: u16,
    most: u16,
}

/// Anchors, ready to search. Immutable. They are no secrets.
pub struct AnchorSet {
    anchors: Vec<Anchor>,
    filter: AnchorFilter,
    by_key: KeyTable,
    /// Alphabets, 256 bytes each, 1 for a byte that belongs.
    alphabets: Box<[u8]>,
    longest: usize,
}

impl Anchor {
    fn key(&self) -> &[u8] {
        &self.literal[usize::from(self.key)..][..self.literal.len().min(MAX_KEY_BYTES)]
    }
}

impl AnchorSet {
    /// Builds a set; anchor `i` is `bytes[offsets[i]..offsets[i + 1]]`, its key, if it is longer than one, begins at `hints[3 * i + 2]`, and at least
    /// `hints[3 * i + 1]` bytes of alphabet `hints[3 * i]` must come behind it. Of `reaches` too three belong to each: behind the anchor must come, within
    /// `reaches[3 * i + 2]` bytes of its start (0: need not), a byte of alphabet `reaches[3 * i + 1]`, and until then only bytes of alphabet `reaches[3 * i]`.
    /// None if the table is not one, or an anchor is too short or too long.
    pub fn new(bytes: &[u8], offsets: &[u32], flags: &[u8], hints: &[u8], reaches: &[u16], alphabets: &[u8]) -> Option<Self> {
        let anchor_count = flags.len();
        if offsets.len() != anchor_count + 1
            || offsets[0] != 0
            || offsets[anchor_count] as usize != bytes.len()
            || hints.len() != anchor_count * 3
            || reaches.len() != anchor_count * 3
        {
            return None;
        }
        let is_alphabet = |number: usize| (number + 1) * 256 <= alphabets.len();
        let mut anchors = Vec::with_capacity(flags.len());
        for (((pair, &flags), hint), reach) in offsets.windows(2).zip(flags).zip(hints.chunks_exact(3)).zip(reaches.chunks_exact(3)) {
            let (follow, count, key) = (hint[0], hint[1], hint[2]);
            let (passed, needed, most) = (reach[0], reach[1], reach[2]);
            if (count > 0 && !is_alphabet(follow.into())) || (most > 0 && !(is_alphabet(passed.into()) && is_alphabet(needed.into()))) {
                return None;
            }
            let reach = (most > 0).then_some(Reach { passed, needed, most });
            let literal = bytes.get(pair[0] as usize..pair[1] as usize)?;
            if !(MIN_ANCHOR_BYTES..=MAX_ANCHOR_BYTES).contains(&literal.len())
                || flags & !(FOLD | ASSIGN | TOKEN) != 0
                || (literal.len() >= MAX_KEY_BYTES && usize::from(key) + MAX_KEY_BYTES > literal.len())
            {
                return None;
            }
            anchors.push(Anchor { literal: literal.into(), flags, follow, count, key: if literal.len() > MAX_KEY_BYTES { key } else { 0 }, reach });
        }
        let longest = anchors.iter().map(|anchor| anchor.literal.len()).max().unwrap_or(MIN_ANCHOR_BYTES);
        let mut filter = AnchorFilter::new();
        for anchor in &anchors {
            if let [a, b, c] = anchor.literal[..] {
                let follows = |byte: &u8| anchor.count == 0 || alphabets[usize::from(anchor.follow) * 256 + usize::from(*byte)] != 0;
                filter.insert_three([a, b, c], (0..=u8::MAX).filter(follows));
            } else {
                filter.insert(anchor.key());
            }
        }
        let by_key = KeyTable::new(anchors.iter().enumerate().map(|(index, anchor)| (anchor.key(), index as u32)));
        Some(Self { anchors, filter, by_key, alphabets: alphabets.into(), longest })
    }

    /// Whether as many bytes of an alphabet stand at `at`, as far as the text goes.
    fn follows(&self, text: &[u8], at: usize, follow: u8, count: u8) -> bool {
        let alphabet = usize::from(follow) * 256;
        text[at..].iter().take(usize::from(count)).all(|&byte| self.alphabets[alphabet + usize::from(byte)] != 0)
    }

    /// Whether a byte that every match has comes before one that none has. True where the text ends before that is decided.
    fn reaches(&self, text: &[u8], start: usize, end: usize, Reach { passed, needed, most }: Reach) -> bool {
        let [passed, needed] = [passed, needed].map(|number| &self.alphabets[usize::from(number) * 256..][..256]);
        let until = start + usize::from(most);
        for &byte in text.get(end..text.len().min(until)).unwrap_or_default() {
            if needed[usize::from(byte)] != 0 {
                return true;
            }
            if passed[usize::from(byte)] == 0 {
                return false;
            }
        }
        text.len() < until
    }

    /// Calls `each` with every anchor that has one of the keys around `at`, where it starts, and where it ends.
    #[inline]
    fn stand_around(&self, text: &[u8], at: usize, which: u32, mut each: impl FnMut(u32, usize, usize)) {
        for (at, anchors) in self.by_key.around(text, at, which) {
            for &index in anchors {
                let anchor = &self.anchors[index as usize];
                let Some(start) = at.checked_sub(usize::from(anchor.key)) else { continue };
                if let Some(end) = self.stands(text, start, anchor) {
                    each(index, start, end);
                }
            }
        }
    }

    /// Where an anchor that starts at `start` ends.
    #[inline]
    fn stands(&self, text: &[u8], start: usize, anchor: &Anchor) -> Option<usize> {
        let end = start + anchor.literal.len();
        let here = text.get(start..end)?;
        let equal = if anchor.flags & FOLD != 0 { here.eq_ignore_ascii_case(&anchor.literal) } else { *here == *anchor.literal };
        // What rules most of them out comes first.
        (equal
            && self.follows(text, end, anchor.follow, anchor.count)
            && (anchor.flags & TOKEN == 0 || may_start(text, start))
            && (anchor.flags & ASSIGN == 0 || has_shape(text, end))
            && anchor.reach.is_none_or(|reach| self.reaches(text, start, end, reach)))
        .then_some(end)
    }
}

thread_local! {
    /// Where a scan works: of no use to the next one, and larger than all else that a stream has.
    static SCRATCH: RefCell<(Box<AnchorBits>, Box<Places>)> = RefCell::default();
}

/// The anchors of one stream.
pub struct AnchorStream {
    set: std::sync::Arc<AnchorSet>,
    simd: Simd,
    /// The last bytes of the input, too few for an anchor that began in them.
    tail: Vec<u8>,
    /// Anchor, and how many bytes before the end of the input it starts.
    hits: Vec<(u32, u32)>,
}

impl AnchorStream {
    pub fn new(set: std::sync::Arc<AnchorSet>, simd: Simd) -> Self {
        Self { set, simd, tail: Vec::new(), hits: Vec::new() }
    }

    /// Scans the next bytes. An anchor is reported by the scan that completes it.
    pub fn scan(&mut self, chunk: &[u8]) {
        let Self { set, simd, tail, hits } = self;
        hits.clear();
        let carry = set.longest - 1;
        if !tail.is_empty() {
            let before = tail.len();
            let mut joined = std::mem::take(tail);
            joined.extend_from_slice(&chunk[..chunk.len().min(carry)]);
            let total = before + chunk.len();
            for at in 0..joined.len() {
                set.stand_around(&joined, at, set.by_key.known(&joined, at) & HERE, |anchor, start, end| {
                    if start < before && end > before {
                        hits.push((anchor, (total - start) as u32));
                    }
                });
            }
            joined.truncate(before);
            *tail = joined;
        }
        SCRATCH.with_borrow_mut(|(bits, places)| {
            for start in (0..chunk.len()).step_by(BLOCK_BYTES) {
                let words = bits.fill(*simd, &set.filter, chunk, start);
                for &(at, which) in places.find(*simd, &set.by_key, chunk, words, start) {
                    set.stand_around(chunk, at as usize, which, |anchor, start, _| hits.push((anchor, (chunk.len() - start) as u32)));
                }
            }
        });
        hits.sort_unstable_by_key(|&(anchor, back)| (std::cmp::Reverse(back), anchor));
        // Two keys of which one begins with the other may have the same hash: each finds the anchors of both.
        hits.dedup();
        tail.extend_from_slice(&chunk[chunk.len().saturating_sub(carry)..]);
        let extra = tail.len().saturating_sub(carry);
        tail.drain(..extra);
    }

    /// Forgets what was scanned.
    pub fn reset(&mut self) {
        self.tail.clear();
        self.hits.clear();
    }

    /// What the last scan found, in order of position.
    pub fn hits(&self) -> &[(u32, u32)] {
        &self.hits
    }
}
