//! One stream over several sets: what a chunk goes through. 1. It is cut into runs of one kind. 2. Each run goes through the lanes of each set.
//! 3. The lanes say what must stay back.

use std::sync::Arc;

use crate::lane::{Lane, LaneKind, Shared};
use crate::projection::{Kind, Parser, Token, tokenize};
use crate::raw::RawLane;
use crate::rows::Rows;
use crate::set::NeedleSet;

/// What a call answers besides rows; defined in `src/core/matcher.ts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub hold: u64,
    pub pending: u64,
    pub parser: u32,
}

/// The lanes of one set.
struct Scanner {
    set: Arc<NeedleSet>,
    raw: RawLane,
    /// Visible and unwrapped, over the set's main automaton.
    lanes: [Lane; 2],
    spaced: Lane,
}

pub struct Stream {
    scanners: Vec<Scanner>,
    rows: Rows,
    parser: Parser,
    max_gap_bytes: u64,
    total: u64,
    /// A backspace would take back the byte at `last_text`.
    can_pop: bool,
    last_text: Option<u64>,
}

impl Stream {
    /// `parser` is `Head::parser` of the stream that this one continues. None if it is no such number.
    pub fn new(sets: Vec<Arc<NeedleSet>>, parser: u32, max_gap_bytes: u64) -> Option<Self> {
        let rows = Rows::new(sets.len());
        let scanners = sets
            .into_iter()
            .enumerate()
            .map(|(index, set)| {
                let index = index as u32;
                Scanner {
                    set,
                    raw: RawLane::new(index),
                    lanes: [Lane::new(LaneKind::Visible, index), Lane::new(LaneKind::Unwrapped, index)],
                    spaced: Lane::new(LaneKind::Spaced, index),
                }
            })
            .collect();
        Some(Self { scanners, rows, parser: Parser::from_number(parser)?, max_gap_bytes, total: 0, can_pop: false, last_text: None })
    }

    /// Scans the next bytes. Returns the number of rows.
    pub fn scan(&mut self, chunk: &[u8]) -> usize {
        self.rows.clear();
        let Self { scanners, rows, can_pop, last_text, max_gap_bytes, total, .. } = self;
        self.parser = tokenize(chunk, self.parser, |token| {
            let run = Feed { token, chunk, base: *total, can_pop: *can_pop, last_text: *last_text };
            for scanner in scanners.iter_mut() {
                scanner.feed(rows, *max_gap_bytes, &run);
            }
            match token.kind {
                Kind::Text => {
                    *can_pop = true;
                    *last_text = Some(*total + token.end as u64 - 1);
                }
                Kind::Newline | Kind::Backspace => *can_pop = false,
                Kind::Sequence | Kind::Str => {}
            }
        });
        self.total += chunk.len() as u64;
        self.rows.len()
    }

    /// Gives up unfinished matches as fragments; all state is kept. Returns the number of rows.
    pub fn idle(&mut self) -> usize {
        self.rows.clear();
        for scanner in &mut self.scanners {
            scanner.give_up(&mut self.rows, self.total);
        }
        self.rows.len()
    }

    /// Number of rows of the last call.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Writes as many rows of the last call as fit.
    pub fn write_rows(&self, out: &mut [u32]) {
        self.rows.write(out, self.total);
    }

    pub fn head(&self) -> Head {
        let (mut hold, mut pending) = (self.total, self.total);
        for scanner in &self.scanners {
            let (held, origin) = scanner.bounds(self.total, self.can_pop, self.last_text);
            hold = hold.min(held.unwrap_or(self.total));
            pending = pending.min(origin.unwrap_or(self.total));
        }
        Head { hold: self.total - hold, pending: self.total - pending.min(hold), parser: self.parser as u32 }
    }
}

impl Scanner {
    fn feed(&mut self, rows: &mut Rows, max_gap_bytes: u64, run: &Feed) {
        let Self { set, raw, lanes, spaced } = self;
        if let Some(automaton) = &set.main {
            let mut shared = Shared { automaton, rows, max_gap_bytes };
            let [visible, unwrapped] = lanes;
            run.feed(&mut shared, visible, Some(raw), true);
            run.feed(&mut shared, unwrapped, Some(raw), false);
            raw.run(automaton, rows, run.chunk, run.token, run.base);
        }
        if let Some(automaton) = &set.spaced {
            run.feed(&mut Shared { automaton, rows, max_gap_bytes }, spaced, None, false);
        }
    }

    /// Earliest offset to hold, and earliest that a successor needs.
    fn bounds(&self, end: u64, can_pop: bool, last_text: Option<u64>) -> (Option<u64>, Option<u64>) {
        let mut holds = Vec::with_capacity(4);
        let mut origins = Vec::with_capacity(3);
        if let Some(automaton) = &self.set.main {
            holds.push(self.raw.hold_start(automaton, end));
            for lane in &self.lanes {
                holds.push(lane.hold_start(automaton, Some(&self.raw), can_pop, end, last_text));
                origins.push(lane.origin());
            }
        }
        if let Some(automaton) = &self.set.spaced {
            holds.push(self.spaced.hold_start(automaton, None, can_pop, end, last_text));
            origins.push(self.spaced.origin());
        }
        (holds.into_iter().flatten().min(), origins.into_iter().flatten().min())
    }

    fn give_up(&mut self, rows: &mut Rows, end: u64) {
        if let Some(automaton) = &self.set.main {
            self.raw.give_up(automaton, rows, end);
            for lane in &mut self.lanes {
                lane.give_up_all(automaton, rows);
            }
        }
        if let Some(automaton) = &self.set.spaced {
            self.spaced.give_up_all(automaton, rows);
        }
    }
}

/// A run on its way into a lane.
struct Feed<'a> {
    token: Token,
    chunk: &'a [u8],
    base: u64,
    can_pop: bool,
    last_text: Option<u64>,
}

impl Feed<'_> {
    fn feed(&self, shared: &mut Shared, lane: &mut Lane, raw: Option<&RawLane>, newlines_visible: bool) {
        let Token { kind, start, end } = self.token;
        let (from, to) = (self.base + start as u64, self.base + end as u64);
        match kind {
            Kind::Text => lane.text(shared, self.chunk, start, end, self.base, true),
            Kind::Newline if newlines_visible => lane.text(shared, self.chunk, start, end, self.base, false),
            Kind::Newline => lane.gap(shared, raw, from, to, false, false),
            Kind::Backspace => match self.last_text.filter(|_| self.can_pop) {
                Some(last) => lane.take_back(shared, raw, last, to),
                None => lane.gap(shared, raw, from, to, false, self.can_pop),
            },
            Kind::Sequence | Kind::Str => lane.gap(shared, raw, from, to, true, self.can_pop),
        }
    }
}
