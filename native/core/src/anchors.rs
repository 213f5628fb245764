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

/// What must come within so many bytes of an anchor's start, before any byte that no match has: one of some words, or a byte of an alphabet.
#[derive(Clone, Copy)]
struct Reach {
    /// Numbers of alphabets.
    passed: u16,
    needed: u16,
    most: u16,
    words: Option<usize>,
}

/// Words in lower case, one of which every match holds.
struct Words {
    words: Vec<Box<[u8]>>,
    /// Whether one begins with a byte, in either case.
    firsts: [bool; 256],
}

impl Words {
    fn new(words: Vec<Box<[u8]>>) -> Self {
        let mut firsts = [false; 256];
        for first in words.iter().filter_map(|word| word.first()) {
            firsts[usize::from(*first)] = true;
            firsts[usize::from(first.to_ascii_uppercase())] = true;
        }
        Self { words, firsts }
    }

    /// Whether one stands at `at`.
    fn stand(&self, text: &[u8], at: usize) -> bool {
        self.firsts[usize::from(text[at])]
            && self.words.iter().any(|word| text.get(at..at + word.len()).is_some_and(|here| here.eq_ignore_ascii_case(word)))
    }

    /// Reads the list at `table[at..]`: how many there are, and for each its length and its bytes.
    fn read(table: &[u8], mut at: usize) -> Option<Self> {
        let count = *table.get(at)?;
        at += 1;
        let mut words = Vec::with_capacity(count.into());
        for _ in 0..count {
            let length = usize::from(*table.get(at)?);
            words.push(table.get(at + 1..at + 1 + length)?.into());
            at += 1 + length;
        }
        Some(Self::new(words))
    }
}

/// Anchors, ready to search. Immutable. They are no secrets.
pub struct AnchorSet {
    anchors: Vec<Anchor>,
    filter: AnchorFilter,
    by_key: KeyTable,
    /// Alphabets, 256 bytes each, 1 for a byte that belongs.
    alphabets: Box<[u8]>,
    words: Vec<Words>,
    longest: usize,
}

/// Anchors as they cross the boundary; `src/core/anchors.ts` defines each table.
pub struct AnchorTable<'a> {
    pub bytes: &'a [u8],
    pub offsets: &'a [u32],
    pub flags: &'a [u8],
    pub hints: &'a [u8],
    pub reaches: &'a [u16],
    pub alphabets: &'a [u8],
    pub words: &'a [u8],
}

/// Numbers per anchor.
const HINT_SIZE: usize = 3;
const REACH_SIZE: usize = 4;

impl Anchor {
    fn key(&self) -> &[u8] {
        &self.literal[usize::from(self.key)..][..self.literal.len().min(MAX_KEY_BYTES)]
    }
}

impl AnchorSet {
    /// Builds a set. None if the table is not one, or an anchor is too short or too long.
    pub fn new(table: &AnchorTable) -> Option<Self> {
        let &AnchorTable { bytes, offsets, flags, hints, reaches, alphabets, words } = table;
        let anchor_count = flags.len();
        if offsets.len() != anchor_count + 1
            || offsets[0] != 0
            || offsets[anchor_count] as usize != bytes.len()
            || hints.len() != anchor_count * HINT_SIZE
            || reaches.len() != anchor_count * REACH_SIZE
        {
            return None;
        }
        let mut lists = Vec::new();
        let mut list_numbers = std::collections::HashMap::new();
        let is_alphabet = |number: usize| (number + 1) * 256 <= alphabets.len();
        let mut anchors = Vec::with_capacity(flags.len());
        for (((pair, &flags), hint), reach) in offsets.windows(2).zip(flags).zip(hints.chunks_exact(HINT_SIZE)).zip(reaches.chunks_exact(REACH_SIZE))
        {
            let (follow, count, key) = (hint[0], hint[1], hint[2]);
            let (passed, needed, most) = (reach[0], reach[1], reach[2]);
            if (count > 0 && !is_alphabet(follow.into())) || (most > 0 && !(is_alphabet(passed.into()) && is_alphabet(needed.into()))) {
                return None;
            }
            let words = match (most, reach[3]) {
                (0, _) | (_, 0) => None,
                (_, place) => Some(match list_numbers.entry(place) {
                    std::collections::hash_map::Entry::Occupied(known) => *known.get(),
                    std::collections::hash_map::Entry::Vacant(fresh) => {
                        lists.push(Words::read(words, usize::from(place) - 1)?);
                        *fresh.insert(lists.len() - 1)
                    }
                }),
            };
            let reach = (most > 0).then_some(Reach { passed, needed, most, words });
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
        Some(Self { anchors, filter, by_key, alphabets: alphabets.into(), words: lists, longest })
    }

    /// Whether as many bytes of an alphabet stand at `at`, as far as the text goes.
    fn follows(&self, text: &[u8], at: usize, follow: u8, count: u8) -> bool {
        let alphabet = usize::from(follow) * 256;
        text[at..].iter().take(usize::from(count)).all(|&byte| self.alphabets[alphabet + usize::from(byte)] != 0)
    }

    /// Whether a word, or a byte, that every match has comes before a byte that none has. True where the text ends before that is decided.
    fn reaches(&self, text: &[u8], start: usize, end: usize, Reach { passed, needed, most, words }: Reach) -> bool {
        let [passed, needed] = [passed, needed].map(|number| &self.alphabets[usize::from(number) * 256..][..256]);
        let words = words.map(|number| &self.words[number]);
        let until = start + usize::from(most);
        for at in end..text.len().min(until) {
            let byte = usize::from(text[at]);
            if words.map_or(needed[byte] != 0, |words| words.stand(text, at)) {
                return true;
            }
            if passed[byte] == 0 {
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
