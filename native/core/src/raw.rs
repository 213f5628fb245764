//! The raw lane: every byte of the stream through the automaton, and the token rule. The only loop that sees all bytes; `lane.rs` borrows its state.

use crate::automaton::{Automaton, NONE, PREFIX, State, is_word};
use crate::lane::FRAGMENT_BYTES;
use crate::projection::{Kind, Token};
use crate::rows::{Row, RowKind, Rows};
use crate::set::MAX_TOKEN_BYTES;

const LEFT: u32 = 1;
const RIGHT: u32 = 2;
/// Word marks that a later run may ask for: the longest token and one neighbour.
const MARKS: usize = MAX_TOKEN_BYTES + 1;

struct PendingToken {
    needle: u32,
    start: u64,
    end: u64,
    sides: u32,
    /// The needle's last byte is a word byte, so the next byte decides.
    open: bool,
}

/// A run of one kind inside a chunk; `base` is the offset of `chunk[0]`.
#[derive(Clone, Copy)]
struct Run<'a> {
    chunk: &'a [u8],
    base: u64,
    start: usize,
    end: usize,
    /// Word bytes in it count as such.
    words: bool,
}

#[derive(Default)]
pub struct RawLane {
    pub state: State,
    /// State before the last byte. Only valid after a run that was not followed by a newline.
    pub prev: State,
    /// Whether the bytes before the run are word bytes outside control sequences; the newest is the lowest bit.
    marks: u64,
    /// Tokens that end at the end of the input: the next byte decides.
    pending: Vec<PendingToken>,
    set: u32,
}

impl RawLane {
    pub fn new(set: u32) -> Self {
        Self { set, ..Self::default() }
    }

    /// Steps over a run of one kind; `base` is the offset of `chunk[0]`.
    pub fn run(&mut self, automaton: &Automaton, rows: &mut Rows, chunk: &[u8], token: Token, base: u64) {
        let Token { kind, start, end } = token;
        let run = Run { chunk, base, start, end, words: kind != Kind::Sequence };
        if !self.pending.is_empty() {
            self.settle(rows, run.words && is_word(chunk[start]));
        }
        if matches!(chunk.get(end), Some(b'\n' | b'\r')) {
            self.advance(automaton, rows, run, start, end);
        } else {
            self.advance(automaton, rows, run, start, end - 1);
            self.prev = self.state;
            self.advance(automaton, rows, run, end - 1, end);
        }
        if automaton.has_tokens() {
            for &byte in &chunk[start.max(end.saturating_sub(MARKS))..end] {
                self.marks = self.marks << 1 | u64::from(run.words && is_word(byte));
            }
        }
    }

    /// Whether no more than `bytes` (3 or less) are under way.
    pub fn is_shallow(&self, bytes: u32) -> bool {
        self.state.node == NONE && self.state.depth <= bytes && self.pending.is_empty()
    }

    /// Forgets all bytes.
    pub fn restart(&mut self) {
        (self.state, self.prev, self.marks) = (State::default(), State::default(), 0);
    }

    /// Offset of the earliest byte that must stay back.
    pub fn hold_start(&self, automaton: &Automaton, end: u64) -> Option<u64> {
        let depth = automaton.pending_depth(&self.state, 0, false);
        let unfinished = (depth > 0).then(|| end - u64::from(depth));
        self.pending.iter().map(|token| token.start).chain(unfinished).min()
    }

    /// Reports what is unfinished at `end`: nothing may follow, or silence stands for it.
    pub fn give_up(&mut self, automaton: &Automaton, rows: &mut Rows, end: u64) {
        self.settle(rows, false);
        let depth = automaton.pending_depth(&self.state, 0, false);
        if depth >= FRAGMENT_BYTES {
            let needle = automaton.needle_below(&self.state, depth);
            rows.add(Row::new(RowKind::Fragment, self.set, needle, end - u64::from(depth), end, 1));
        }
    }

    fn settle(&mut self, rows: &mut Rows, word_follows: bool) {
        for token in std::mem::take(&mut self.pending) {
            let right = if token.open && word_follows { RIGHT } else { 0 };
            self.add_token(rows, token.needle, token.start, token.end, token.sides | right);
        }
    }

    fn add_token(&self, rows: &mut Rows, needle: u32, start: u64, end: u64, sides: u32) {
        if sides == 0 {
            rows.add_raw(self.set, needle, start, end);
        } else {
            rows.add(Row::new(RowKind::Token, self.set, needle, start, end, sides));
        }
    }

    /// 1. While nothing of 4+ bytes is under way, slide a window over the run: one filter look-up per byte. All starts before the window are dead.
    /// 2. A 4-byte prefix found: step from its node until the match under way is shorter again.
    /// 3. What remains of the run is shorter than 4 bytes: step exactly.
    fn advance(&mut self, automaton: &Automaton, rows: &mut Rows, run: Run, from: usize, to: usize) {
        let chunk = run.chunk;
        let mut state = self.state;
        let mut at = from;
        while at < to {
            if state.node == NONE && state.depth as usize <= at - from && to - at >= 4 {
                let first = at - state.depth as usize;
                let found = automaton.grams.find(&chunk[first..to]);
                let last = if let Some((i, node)) = found {
                    at = first + i + 4;
                    state.node = node;
                    state.depth = 4;
                    at
                } else {
                    at = to;
                    to
                };
                state.tail = u32::from(chunk[last - 3]) << 16 | u32::from(chunk[last - 2]) << 8 | u32::from(chunk[last - 1]);
                if found.is_none() {
                    state.depth = automaton.shallow_depth(state.tail, 3, PREFIX);
                }
            } else {
                automaton.step(&mut state, chunk[at]);
                at += 1;
            }
            if state.node != NONE && automaton.has_end(state.node) {
                self.report(automaton, rows, run, state.node, at);
            }
        }
        self.state = state;
    }

    /// Reports the needles that end at `chunk[at]`: every token up to the longest ordinary one.
    #[cold]
    fn report(&mut self, automaton: &Automaton, rows: &mut Rows, run: Run, node: u32, at: usize) {
        let end = run.base + at as u64;
        for (needle, length) in automaton.ends_at(node) {
            let start = end - u64::from(length);
            if !automaton.is_token(needle) {
                rows.add_raw(self.set, needle, start, end);
                return;
            }
            let edges = automaton.edges(needle);
            let left = edges & 1 != 0 && start > 0 && self.word_at(run, start - 1);
            let sides = if left { LEFT } else { 0 };
            let open = edges & 2 != 0;
            if at < run.end {
                let right = if open && self.word_at(run, end) { RIGHT } else { 0 };
                self.add_token(rows, needle, start, end, sides | right);
            } else {
                self.pending.push(PendingToken { needle, start, end, sides, open });
            }
        }
    }

    fn word_at(&self, run: Run, offset: u64) -> bool {
        if offset >= run.base + run.start as u64 {
            run.words && is_word(run.chunk[(offset - run.base) as usize])
        } else {
            let back = run.base + run.start as u64 - 1 - offset;
            back < MARKS as u64 && self.marks >> back & 1 == 1
        }
    }
}
