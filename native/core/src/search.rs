//! One pass of the sieve over a chunk: where must the lanes go on, because a match may begin there?
//!
//! 1. *Samples*: windows at multiples of the stride that the sieve knows. They find every match whose stretch lies unbroken in the chunk.
//! 2. *Gaps*: a stretch that is broken lies around bytes that a lane deletes: line ends, control sequences. There the text before and after is joined
//!    and its windows are tested. Backspaces are left to the lanes.
//! 3. The last bytes of the chunk, whose matches may go on in the next one, are the lanes' too.
//!
//! What is found is a suspicion; the lanes run from a little before it and decide.

use crate::block::{Block, Event};
use crate::gaps::BACK_BYTES;
use crate::sieve::{LONG_BYTES, Sieve};

/// Depth of a match that lanes which have passed its start know of; less is lost when they stop.
pub const KNOWN_BYTES: usize = 4;

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
    /// Where the lanes stand.
    at: usize,
    /// Start of what may be under way in the raw lane.
    raw: usize,
    /// Text in one piece starts here: the end of the last gap, or where the pass starts.
    text: usize,
    /// A place in the text before the last gap from which the lanes can go on.
    before_gap: usize,
    /// Matches that begin before it have a sample in the chunk, or a gap that has been looked at.
    tail: usize,
}

impl<'a> Search<'a> {
    pub fn new(sieve: &'a Sieve, chunk: &'a [u8], block: &'a mut Block) -> Self {
        block.clear();
        Self { sieve, chunk, block, at: 0, raw: 0, text: 0, before_gap: 0, tail: chunk.len().saturating_sub(BACK_BYTES) }
    }

    /// The next place to look at, for lanes that stand at `at` with less than 4 bytes under way, none of them before `text`.
    pub fn next(&mut self, at: usize, text: usize) -> Stop {
        // What is under way may begin, in the raw lane, in bytes of a gap.
        let raw = at.saturating_sub(KNOWN_BYTES - 1);
        (self.at, self.raw, self.text, self.before_gap) = (at, raw, text.max(raw), raw);
        self.block.reach(self.sieve, self.chunk, raw, at, self.text);
        self.find()
    }

    fn find(&mut self) -> Stop {
        loop {
            while let Some(event) = self.block.event() {
                match event {
                    Event::Suspect(at) if at >= self.raw => {
                        self.enter(at);
                        return self.sample(at);
                    }
                    // The lanes may stand in the middle of it.
                    Event::Gap(gap) if gap.end > self.at => return Stop { from: gap.before, until: (gap.end + KNOWN_BYTES).min(self.chunk.len()) },
                    _ => {}
                }
            }
            self.enter(self.chunk.len());
            if !self.block.advance(self.sieve, self.chunk) {
                // A match that begins in the last gap and is too close to the end to have a sample shows in the window behind the gap.
                return Stop { from: self.tail.max(self.text), until: self.chunk.len() };
            }
        }
    }

    /// Notes the last gap before `position`.
    fn enter(&mut self, position: usize) {
        if let Some(gap) = self.block.gap_before(position).filter(|gap| gap.end > self.text) {
            (self.text, self.before_gap) = (gap.end, gap.before);
        }
    }

    /// Where the lanes go on for a sampled window at `at`.
    fn sample(&self, at: usize) -> Stop {
        // A match in the raw lane may begin in the bytes of the last gap, where the lanes cannot start.
        let from = if at < self.text + LONG_BYTES - 1 { self.before_gap } else { at.saturating_sub(BACK_BYTES).max(self.text) };
        Stop { from, until: at + KNOWN_BYTES }
    }
}
