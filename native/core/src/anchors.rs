//! Anchors: the literals that make a rule worth a look. All places are reported; the rules, which are not native, say what they mean.
//!
//! Each anchor has a *key* of 3 to 5 bytes, letters folded: itself if it is that short, else the five bytes of it that text is least likely to hold. The loop
//! over the log (`anchor_filter.rs`) names positions where a key may be; those are looked up in a bit filter by key, then in a hash table, and compared. The
//! portable engine finds the same: `src/core/anchors.ts`, which also defines the shape of an assignment and what may stand before a token.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

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

/// What must come within so many bytes of an anchor's start, before any byte that no match has.
#[derive(Clone, Copy)]
struct Reach {
    most: u16,
    /// Numbers of alphabets.
    passed: u16,
    needed: Option<u16>,
    /// Which of the set's lists.
    words: Option<usize>,
    /// An alphabet, and how many of its bytes in a row.
    run: (u16, u16),
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
const REACH_SIZE: usize = 6;

impl Anchor {
    fn key(&self) -> &[u8] {
        &self.literal[usize::from(self.key)..][..self.literal.len().min(MAX_KEY_BYTES)]
    }
}

/// Whether so many bytes in a row are members: a run holds a place of every such distance, counted from anywhere.
fn has_run(text: &[u8], count: usize, member: impl Fn(u8) -> bool) -> bool {
    if count == 0 {
        return true;
    }
    let mut at = count - 1;
    while at < text.len() {
        if member(text[at]) {
            let before = text[..at].iter().rev().take_while(|&&byte| member(byte)).take(count).count();
            let behind = text[at..].iter().take_while(|&&byte| member(byte)).take(count).count();
            if before + behind >= count {
                return true;
            }
        }
        at += count;
    }
    false
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
        let mut list_numbers = HashMap::new();
        let is_alphabet = |number: usize| (number + 1) * 256 <= alphabets.len();
        let mut anchors = Vec::with_capacity(flags.len());
        for (((pair, &flags), hint), reach) in offsets.windows(2).zip(flags).zip(hints.chunks_exact(HINT_SIZE)).zip(reaches.chunks_exact(REACH_SIZE))
        {
            let (follow, count, key) = (hint[0], hint[1], hint[2]);
            let &[most, passed, needed, place, run, run_bytes] = reach else { return None };
            let known = [follow.into(), passed.into(), needed.saturating_sub(1).into(), run.into()].map(is_alphabet);
            if (count > 0 && !known[0]) || (most > 0 && !(known[1] && (needed == 0 || known[2]) && (run_bytes == 0 || known[3]))) {
                return None;
            }
            let words = match (most, place) {
                (0, _) | (_, 0) => None,
                _ => Some(match list_numbers.entry(place) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(fresh) => {
                        lists.push(Words::read(words, usize::from(place) - 1)?);
                        *fresh.insert(lists.len() - 1)
                    }
                }),
            };
            let reach = (most > 0).then_some(Reach { most, passed, needed: needed.checked_sub(1), words, run: (run, run_bytes) });
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

    /// Whether what every match has comes before a byte that none has. True where the text ends before that is decided.
    fn reaches(&self, text: &[u8], start: usize, end: usize, reach: Reach) -> bool {
        let alphabet = |number: u16| -> &[u8; 256] { self.alphabets[usize::from(number) * 256..][..256].try_into().expect("256 bytes") };
        let passed = alphabet(reach.passed);
        let until = start + usize::from(reach.most);
        let behind = text.get(end..text.len().min(until)).unwrap_or_default();
        let Some(stop) = behind.iter().position(|&byte| passed[usize::from(byte)] == 0) else {
            return text.len() < until || self.has_all(behind, reach, text, end);
        };
        self.has_all(&behind[..=stop], reach, text, end)
    }

    /// Whether `behind`, which stands at `end` of the text, has what must come.
    fn has_all(&self, behind: &[u8], Reach { needed, words, run: (set, count), .. }: Reach, text: &[u8], end: usize) -> bool {
        let member = |number: u16, byte: u8| self.alphabets[usize::from(number) * 256 + usize::from(byte)] != 0;
        // What rules most out comes first.
        has_run(behind, count.into(), |byte| member(set, byte))
            && needed.is_none_or(|needed| behind.iter().any(|&byte| member(needed, byte)))
            && words.is_none_or(|list| (0..behind.len()).any(|at| self.words[list].stand(text, end + at)))
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
