//! One pass of the sieve over a chunk: where must the lanes go on, because a match may begin there?
//!
//! 1. *Samples*: windows at multiples of the stride that the sieve knows. They find every match whose stretch lies unbroken in the chunk.
//! 2. *Gaps*: a stretch that is broken lies around bytes that a lane deletes: line ends, control sequences. There the text before and after is joined
//!    and its windows are tested. Backspaces are left to the lanes.
//! 3. The last bytes of the chunk, whose matches may go on in the next one, are the lanes' too.
//!
//! What is found is a suspicion; the lanes run from a little before it and decide.

use crate::kernel::{Block, WORD_BYTES, is_gap};
use crate::projection::{Kind, Parser};
use crate::sieve::{LONG_BYTES, MAX_STRETCH, SHORT_BYTES, Sieve};

/// Depth of a match that lanes which have passed its start know of; less is lost when they stop.
pub const KNOWN_BYTES: usize = 4;
/// Bytes of text from which the lanes go on before something suspicious: the rest of its stretch, and one byte by which a token is judged.
const BACK_BYTES: usize = MAX_STRETCH;
/// Text behind a gap up to which its windows must be free of gaps: a window, and a byte that keeps a backspace away from it.
const FREE_BYTES: usize = LONG_BYTES + 1;

/// Where the lanes must go on: from `from` at least up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub from: usize,
    pub until: usize,
}

pub struct Search<'a> {
    sieve: &'a Sieve,
    chunk: &'a [u8],
    block: &'a mut Block,
    /// Text in one piece starts here: the end of the last gap, or where the pass starts.
    text: usize,
    /// Gaps that start before it have been looked at.
    gaps: usize,
    /// Samples before it have been looked at.
    samples: usize,
    /// A place in the text before the last gap that was looked at: from there the lanes can always go on.
    before_gap: usize,
    /// Matches that begin before it have a sample in the chunk, or a gap that has been looked at.
    tail: usize,
    /// The last place at or before `tail` from which lanes can go on, as far as is known.
    safe: usize,
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + LONG_BYTES).map(|window| u64::from_le_bytes(window.try_into().expect("8 bytes")))
}

impl<'a> Search<'a> {
    pub fn new(sieve: &'a Sieve, chunk: &'a [u8], block: &'a mut Block) -> Self {
        block.clear();
        Self { sieve, chunk, block, text: 0, gaps: 0, samples: 0, before_gap: 0, tail: chunk.len().saturating_sub(BACK_BYTES), safe: 0 }
    }

    /// The next place to look at, for lanes that stand at `at` with less than 4 bytes under way, none of them before `text`.
    pub fn next(&mut self, at: usize, text: usize) -> Stop {
        // What is under way may begin, in the raw lane, in bytes of a gap.
        let raw = at.saturating_sub(KNOWN_BYTES - 1);
        (self.text, self.before_gap, self.safe) = (text.max(raw), raw, raw);
        (self.gaps, self.samples) = (at, raw);
        let stop = self.find(raw / WORD_BYTES).unwrap_or(Stop { from: self.tail.max(self.text), until: self.chunk.len() });
        // A match in bytes of a gap may begin so close to the end that it has no sample yet.
        if stop.from > self.tail { Stop { from: stop.from.min(self.safe), ..stop } } else { stop }
    }

    fn find(&mut self, mut word: usize) -> Option<Stop> {
        while word * WORD_BYTES < self.chunk.len() {
            let start = word * WORD_BYTES;
            let (samples, gaps) = self.block.word(self.sieve, self.chunk, start);
            loop {
                // Positions below a cursor have been looked at.
                let (samples, gaps) = (samples & above(self.samples, start), gaps & above(self.gaps, start));
                let bits = samples | gaps;
                if bits == 0 {
                    break;
                }
                let offset = bits.trailing_zeros() as usize;
                let position = start + offset;
                let stop = if samples >> offset & 1 != 0 { self.sample(position) } else { self.gap(position) };
                if stop.is_some() {
                    return stop;
                }
            }
            word += 1;
        }
        None
    }

    fn sample(&mut self, at: usize) -> Option<Stop> {
        self.samples = at + 1;
        if !self.suspect(at) {
            return None;
        }
        // A match in the raw lane may begin in the bytes of the last gap, where the lanes cannot start.
        let from = if at < self.text + LONG_BYTES - 1 { self.before_gap } else { at.saturating_sub(BACK_BYTES).max(self.text) };
        Some(Stop { from, until: at + KNOWN_BYTES })
    }

    /// Whether a match may begin with the sampled window at `at`.
    fn suspect(&self, at: usize) -> bool {
        // Of a short needle only 4 bytes are sampled: a gap behind them, or a byte that a backspace takes back, makes more of them say nothing.
        let (Some(window), Some(behind)) = (long_at(self.chunk, at), self.chunk.get(at + SHORT_BYTES..=at + LONG_BYTES)) else { return true };
        self.sieve.knows_long(window) || (self.sieve.short.is_some() && (self.sieve.knows_short(window) || behind.iter().any(|&byte| is_gap(byte))))
    }

    /// Looks at the gap that starts at `at`, and at those that follow it closely.
    #[inline]
    fn gap(&mut self, at: usize) -> Option<Stop> {
        let simple = self.gap_end(at).filter(|&end| at >= LONG_BYTES && self.is_text(end));
        let before = at.saturating_sub(BACK_BYTES).max(self.text);
        if self.text <= self.tail {
            self.safe = at.min(self.tail);
        }
        let Some(end) = simple else { return self.broken(at, before).map(|stop| self.with_samples(stop, before)) };
        self.before_gap = before;
        if self.seam(at, end) {
            return Some(Stop { from: self.before_gap, until: end + KNOWN_BYTES });
        }
        (self.text, self.gaps) = (end, end);
        None
    }

    /// Where text goes on after the line ends and control sequences from `at`. None if that is not in the chunk, or a backspace stands there.
    #[inline]
    fn gap_end(&self, at: usize) -> Option<usize> {
        let mut parser = Parser::Ground;
        for (offset, &byte) in self.chunk[at..].iter().enumerate() {
            let (kind, next) = parser.classify(byte);
            match kind {
                Kind::Text => return Some(at + offset),
                Kind::Backspace => return None,
                Kind::Newline | Kind::Sequence | Kind::Str => parser = next,
            }
        }
        None
    }

    /// Whether enough text without a gap starts at `at`.
    #[inline]
    fn is_text(&self, at: usize) -> bool {
        self.chunk.get(at..at + FREE_BYTES).is_some_and(|text| !text.iter().any(|&byte| is_gap(byte)))
    }

    /// Tests windows of the text before `at` joined with that from `end`: of every stretch that is broken here, one of them is whole.
    #[inline]
    fn seam(&self, at: usize, end: usize) -> bool {
        let (Some(before), Some(behind)) = (long_at(self.chunk, at - LONG_BYTES), long_at(self.chunk, end)) else { return true };
        let joined = |back: u32| before >> (64 - 8 * back) | behind << (8 * back);
        let long = self.sieve.long.is_some() && (self.sieve.knows_long(joined(7)) || self.sieve.knows_long(behind));
        let backs: &[u32] = match self.sieve.short.as_ref().map(|short| short.stride) {
            None => &[],
            Some(1) => &[3, 2, 1],
            Some(2) => &[3, 1],
            Some(_) => &[3],
        };
        long || backs.iter().any(|&back| self.sieve.knows_short(joined(back))) || self.sieve.knows_short(behind)
    }

    /// A stop in the middle of several gaps must not skip a match in the raw lane that begins among them: then the lanes go on at `before` them.
    fn with_samples(&mut self, stop: Stop, before: usize) -> Stop {
        for word in self.samples / WORD_BYTES..stop.until.div_ceil(WORD_BYTES) {
            let start = word * WORD_BYTES;
            let mut samples = self.block.word(self.sieve, self.chunk, start).0 & above(self.samples, start) & !above(stop.until, start);
            while samples != 0 {
                if self.suspect(start + samples.trailing_zeros() as usize) {
                    return Stop { from: before, ..stop };
                }
                samples &= samples - 1;
            }
        }
        stop
    }

    /// Goes from the gap at `at` on, joining the text between gaps, until there is enough text without one.
    #[cold]
    fn broken(&mut self, at: usize, before: usize) -> Option<Stop> {
        let mut joined = Joined::new(self.chunk, before..at);
        let mut parser = Parser::Ground;
        let mut since = 0;
        for (position, &byte) in self.chunk.iter().enumerate().skip(at) {
            let (kind, next) = parser.classify(byte);
            parser = next;
            match kind {
                Kind::Text => {
                    joined.push(byte, position);
                    since += 1;
                    if joined.has_new(self.sieve) {
                        return Some(Stop { from: joined.back(BACK_BYTES + 1), until: position + 1 });
                    }
                    if since == MAX_STRETCH {
                        self.text = position + 1 - since;
                        (self.gaps, self.before_gap) = (self.text, joined.back(BACK_BYTES + 1 + since));
                        return None;
                    }
                }
                // What it takes back is the lanes' business.
                Kind::Backspace => return Some(Stop { from: joined.back(BACK_BYTES + 1), until: position + 1 }),
                Kind::Newline | Kind::Sequence | Kind::Str => since = 0,
            }
        }
        Some(Stop { from: joined.back(BACK_BYTES + 1), until: self.chunk.len() })
    }
}

/// The newest bytes of text without gaps, and where each stands in the chunk.
struct Joined {
    bytes: [u8; Self::SIZE],
    places: [usize; Self::SIZE],
    count: usize,
    /// Where the first byte stands, or would.
    start: usize,
}

impl Joined {
    const SIZE: usize = 32;

    fn new(chunk: &[u8], range: std::ops::Range<usize>) -> Self {
        let mut joined = Self { bytes: [0; Self::SIZE], places: [0; Self::SIZE], count: 0, start: range.start };
        for position in range {
            joined.push(chunk[position], position);
        }
        joined
    }

    fn push(&mut self, byte: u8, position: usize) {
        self.bytes[self.count % Self::SIZE] = byte;
        self.places[self.count % Self::SIZE] = position;
        self.count += 1;
    }

    /// Place of the byte `back` (at most `SIZE`) bytes ago, or the start.
    fn back(&self, back: usize) -> usize {
        if back > self.count { self.start } else { self.places[(self.count - back) % Self::SIZE] }
    }

    /// Whether the sieve knows the newest window.
    fn has_new(&self, sieve: &Sieve) -> bool {
        if self.count < SHORT_BYTES {
            return false;
        }
        let window = (1..=LONG_BYTES.min(self.count)).fold(0u64, |window, back| window << 8 | u64::from(self.bytes[(self.count - back) % Self::SIZE]));
        let long = self.count >= LONG_BYTES && sieve.knows_long(window);
        long || sieve.short.as_ref().is_some_and(|short| {
            let word = if self.count >= LONG_BYTES { (window >> 32) as u32 } else { (window >> (8 * (self.count - SHORT_BYTES))) as u32 };
            short.filter.has(crate::sieve::short_hash(word))
        })
    }
}

/// The bits of the word at `start` whose positions are not below `cursor`.
#[inline(always)]
fn above(cursor: usize, start: usize) -> u64 {
    match cursor.saturating_sub(start) {
        skip if skip >= WORD_BYTES => 0,
        skip => !0 << skip,
    }
}
