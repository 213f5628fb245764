//! One pass of the sieve over a chunk: where must the lanes go on, because a match may begin there?
//!
//! 1. *Samples*: windows at multiples of the stride that the sieve knows. They find every match whose stretch lies unbroken in the chunk.
//! 2. *Gaps*: a stretch that is broken lies around bytes that a lane deletes: line ends, control sequences. There the text before and after is joined
//!    and its windows are tested. Backspaces are left to the lanes.
//! 3. The last bytes of the chunk, whose matches may go on in the next one, are the lanes' too.
//!
//! What is found is a suspicion; the lanes run from a little before it and decide.

use crate::block::Block;
use crate::kernel::{has_low_byte, is_gap};
use crate::projection::{Kind, Parser};
use crate::sieve::{LONG_BYTES, MAX_STRETCH, Sieve, long_hash};

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
    /// A place in the text before the last gap that was looked at: from there the lanes can always go on.
    before_gap: usize,
    /// Matches that begin before it have a sample in the chunk, or a gap that has been looked at.
    tail: usize,
    /// The last place at or before `tail` from which lanes can go on, as far as is known.
    safe: usize,
}

fn is_newline(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + LONG_BYTES).map(|window| u64::from_le_bytes(window.try_into().expect("8 bytes")))
}

impl<'a> Search<'a> {
    pub fn new(sieve: &'a Sieve, chunk: &'a [u8], block: &'a mut Block) -> Self {
        block.clear();
        Self { sieve, chunk, block, text: 0, gaps: 0, before_gap: 0, tail: chunk.len().saturating_sub(BACK_BYTES), safe: 0 }
    }

    /// The next place to look at, for lanes that stand at `at` with less than 4 bytes under way, none of them before `text`.
    pub fn next(&mut self, at: usize, text: usize) -> Stop {
        // What is under way may begin, in the raw lane, in bytes of a gap.
        let raw = at.saturating_sub(KNOWN_BYTES - 1);
        (self.text, self.before_gap, self.safe, self.gaps) = (text.max(raw), raw, raw, at);
        self.block.reach(self.sieve, self.chunk, raw);
        let stop = self.find().unwrap_or(Stop { from: self.tail.max(self.text), until: self.chunk.len() });
        // A match in bytes of a gap may begin so close to the end that it has no sample yet.
        if stop.from > self.tail { Stop { from: stop.from.min(self.safe), ..stop } } else { stop }
    }

    fn find(&mut self) -> Option<Stop> {
        loop {
            let suspect = self.block.suspect();
            while let Some(at) = self.block.gap(self.gaps).filter(|&at| suspect.is_none_or(|suspect| at < suspect)) {
                if let Some(end) = self.line_end(at) {
                    self.enter(at);
                    (self.text, self.gaps) = (end, end);
                } else if let Some(stop) = self.gap(at) {
                    return Some(stop);
                }
            }
            match suspect {
                Some(at) => {
                    self.block.drop_suspect();
                    return Some(self.sample(at));
                }
                None if self.block.advance(self.sieve, self.chunk) => {}
                None => return None,
            }
        }
    }

    /// Where the lanes go on for a sampled window at `at`.
    fn sample(&self, at: usize) -> Stop {
        // A match in the raw lane may begin in the bytes of the last gap, where the lanes cannot start.
        let from = if at < self.text + LONG_BYTES - 1 { self.before_gap } else { at.saturating_sub(BACK_BYTES).max(self.text) };
        Stop { from, until: at + KNOWN_BYTES }
    }

    /// End of a gap that is just a line end, with enough text on both sides that nothing suspicious goes across: the common case, in few branches.
    #[inline(always)]
    fn line_end(&self, at: usize) -> Option<usize> {
        let next = self.block.gap_behind()?;
        let end = at + if next == at + 1 { 2 } else { 1 };
        let newlines = is_newline(self.chunk[at]) & is_newline(self.chunk[end - 1]);
        let free = if end == at + 1 { next >= end + FREE_BYTES } else { self.is_text(end) };
        (newlines && free && at >= LONG_BYTES && !self.seam(at, end)).then_some(end)
    }

    /// Notes that the gap at `at` ends the text.
    #[inline(always)]
    fn enter(&mut self, at: usize) {
        self.before_gap = at.saturating_sub(BACK_BYTES).max(self.text);
        if self.text <= self.tail {
            self.safe = at.min(self.tail);
        }
    }

    /// Looks at the gap that starts at `at`, and at those that follow it closely.
    #[inline(never)]
    fn gap(&mut self, at: usize) -> Option<Stop> {
        self.enter(at);
        if let Ok(end) = self.gap_end(at)
            && at >= LONG_BYTES
            && self.is_text(end)
        {
            if self.seam(at, end) {
                return Some(Stop { from: self.before_gap, until: end + KNOWN_BYTES });
            }
            (self.text, self.gaps) = (end, end);
            return None;
        }
        let before = self.before_gap;
        self.broken(at, before).map(|stop| self.with_samples(stop, before))
    }

    /// Where text goes on after the line ends and control sequences from `at`. An error says up to where the lanes must go instead: behind a
    /// backspace, which is their business, or to the end of the chunk.
    #[inline]
    fn gap_end(&self, mut at: usize) -> Result<usize, usize> {
        while let Some(&byte) = self.chunk.get(at) {
            if is_newline(byte) {
                at += 1;
            } else if byte == 0x1b {
                at = self.sequence_end(at)?;
            } else {
                return if byte == 0x08 { Err(at + 1) } else { Ok(at) };
            }
        }
        Err(at)
    }

    /// End of the control sequence at `at`. An error is the end of the chunk.
    #[inline]
    fn sequence_end(&self, at: usize) -> Result<usize, usize> {
        let rest = &self.chunk[at..];
        if let [_, b'[', parameters @ ..] = rest {
            // Nearly all of them: CSI. Its last byte belongs to it, one that does not fit does not.
            let length = parameters.iter().position(|byte| !(0x20..=0x3f).contains(byte)).ok_or(self.chunk.len())?;
            return Ok(at + 2 + length + usize::from((0x40..=0x7e).contains(&parameters[length])));
        }
        let mut parser = Parser::Ground;
        for (offset, &byte) in rest.iter().enumerate() {
            let (kind, next) = parser.classify(byte);
            match (kind, next) {
                (Kind::Text | Kind::Newline | Kind::Backspace, _) => return Ok(at + offset),
                (_, Parser::Ground) => return Ok(at + offset + 1),
                _ => parser = next,
            }
        }
        Err(self.chunk.len())
    }

    /// Whether enough text without a gap starts at `at`.
    #[inline]
    fn is_text(&self, at: usize) -> bool {
        let Some(text) = self.chunk.get(at..at + FREE_BYTES) else { return false };
        let eight = u64::from_le_bytes(text[..8].try_into().expect("8 bytes"));
        !is_gap(text[8]) && (!has_low_byte(eight) || !text.iter().any(|&byte| is_gap(byte)))
    }

    /// Tests windows of the text before `at` joined with that from `end`: of every stretch that is broken here, one of them is whole.
    #[inline]
    fn seam(&self, at: usize, end: usize) -> bool {
        let (Some(before), Some(behind)) = (long_at(self.chunk, at - LONG_BYTES), long_at(self.chunk, end)) else { return true };
        let joined = |back: u32| before >> (64 - 8 * back) | behind << (8 * back);
        let long = self.sieve.long.as_ref().is_some_and(|filter| filter.has(long_hash(joined(7))) | filter.has(long_hash(behind)));
        if long && (self.sieve.knows_long(joined(7)) || self.sieve.knows_long(behind)) {
            return true;
        }
        let Some(short) = &self.sieve.short else { return false };
        let backs: &[u32] = match short.stride {
            1 => &[3, 2, 1],
            2 => &[3, 1],
            _ => &[3],
        };
        backs.iter().any(|&back| self.sieve.knows_short(joined(back))) || self.sieve.knows_short(behind)
    }

    /// A stop in the middle of several gaps must not skip a match in the raw lane that begins among them: then the lanes go on at `before` them.
    fn with_samples(&self, stop: Stop, before: usize) -> Stop {
        let suspect = self.block.suspect().unwrap_or(self.block.end());
        if suspect < stop.until { Stop { from: before, ..stop } } else { stop }
    }

    /// Goes from the gap at `at` on, joining the text between gaps, until there is enough text without one.
    #[cold]
    fn broken(&mut self, mut at: usize, before: usize) -> Option<Stop> {
        let mut joined = Joined::new(before);
        joined.add(self.chunk, before, at);
        loop {
            let end = match self.gap_end(at) {
                Ok(end) => end,
                Err(until) => return Some(Stop { from: joined.before(joined.count), until }),
            };
            at = joined.add(self.chunk, end, self.chunk.len().min(end + MAX_STRETCH));
            if let Some(index) = joined.find(self.sieve) {
                return Some(Stop { from: joined.before(index), until: at });
            }
            if at == end + MAX_STRETCH {
                (self.text, self.gaps, self.before_gap) = (end, at, before);
                return None;
            }
        }
    }
}

/// Text with the gaps in it left out, and where it stands in the chunk. Bytes and pieces are counted from the start; the newest are kept.
struct Joined {
    bytes: [u8; Self::BYTES],
    /// Number and place of the first byte of each piece.
    pieces: [(usize, usize); Self::PIECES],
    piece: usize,
    count: usize,
    start: usize,
    /// Windows that start before it have been tested.
    tested: usize,
}

impl Joined {
    /// Twice the longest piece and the longest way back, and a power of two.
    const BYTES: usize = 64;
    /// There may be no more pieces than bytes.
    const PIECES: usize = 64;

    /// Text that begins at `start`.
    fn new(start: usize) -> Self {
        Self { bytes: [0; Self::BYTES], pieces: [(0, start); Self::PIECES], piece: 0, count: 0, start, tested: 0 }
    }

    /// Adds `chunk[from..to]` up to the first gap byte; answers where that is.
    #[inline]
    fn add(&mut self, chunk: &[u8], from: usize, to: usize) -> usize {
        if self.count > 0 {
            self.piece += 1;
        }
        self.pieces[self.piece % Self::PIECES] = (self.count, from);
        for (offset, &byte) in chunk[from..to].iter().enumerate() {
            if is_gap(byte) {
                return from + offset;
            }
            self.bytes[self.count % Self::BYTES] = byte;
            self.count += 1;
        }
        to
    }

    /// From where the lanes must go on for matches that begin in the stretch before byte `index`, one of the newest `MAX_STRETCH`.
    fn before(&self, index: usize) -> usize {
        let Some(index) = index.checked_sub(BACK_BYTES + 1) else { return self.start };
        let newest = (0..Self::PIECES.min(self.piece + 1)).map(|back| self.pieces[(self.piece - back) % Self::PIECES]);
        newest.filter(|&(first, _)| first <= index).map(|(first, place)| place + (index - first)).next().unwrap_or(self.start)
    }

    /// The first window not yet tested that the sieve knows; its number. Of every stretch in the text one window is tested.
    #[inline]
    fn find(&mut self, sieve: &Sieve) -> Option<usize> {
        let stride = sieve.short.as_ref().map_or(LONG_BYTES, |short| short.stride);
        while self.tested + LONG_BYTES <= self.count {
            let at = self.tested;
            self.tested += stride;
            let window = (0..LONG_BYTES).fold(0, |window, i| window | u64::from(self.bytes[(at + i) % Self::BYTES]) << (8 * i));
            if (at % LONG_BYTES == 0 && sieve.knows_long(window)) || sieve.knows_short(window) {
                return Some(at);
            }
        }
        None
    }
}
