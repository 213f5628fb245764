//! What a chunk goes through for one set: 1. the sieve says where a match may begin; the lanes skip what lies before, if nothing is under way.
//! 2. From there on the bytes, cut into runs of one kind, go through the lanes, until nothing is under way again.

use std::sync::Arc;

use crate::block::Block;
use crate::dense::Dense;
use crate::lane::{Lane, LaneKind, Shared};
use crate::projection::{Kind, Parser, Token, tokenize};
use crate::raw::RawLane;
use crate::rows::Rows;
use crate::search::{KNOWN_BYTES, Search};
use crate::set::NeedleSet;

/// How far the lanes go before they are asked again whether anything is under way, in bytes: this much at first, then twice as much each time.
const FIRST_STEP_BYTES: usize = 16;
const LAST_STEP_BYTES: usize = 1024;

/// Where lanes stand in the stream.
#[derive(Clone, Copy)]
struct Place {
    parser: Parser,
    /// A backspace would take back the byte at `last_text`.
    can_pop: bool,
    last_text: Option<u64>,
}

impl Place {
    fn new(parser: Parser) -> Self {
        Self { parser, can_pop: false, last_text: None }
    }

    /// Cuts `chunk[from..to]` into runs; `base` is the offset of `chunk[0]`.
    fn walk(&mut self, chunk: &[u8], from: usize, to: usize, base: u64, mut each: impl FnMut(&Feed)) {
        let piece = &chunk[from..to];
        let base = base + from as u64;
        self.parser = tokenize(piece, self.parser, |token| {
            each(&Feed { token, chunk: piece, base, place: *self });
            match token.kind {
                Kind::Text => {
                    self.can_pop = true;
                    self.last_text = Some(base + token.end as u64 - 1);
                }
                Kind::Newline | Kind::Backspace => self.can_pop = false,
                Kind::Sequence | Kind::Str => {}
            }
        });
    }
}

pub struct Scanner {
    set: Arc<NeedleSet>,
    raw: RawLane,
    /// Visible and unwrapped, over the set's main automaton.
    lanes: [Lane; 2],
    main: Place,
    spaced: Lane,
    spaced_place: Place,
}

impl Scanner {
    pub fn new(set: Arc<NeedleSet>, index: u32, parser: Parser) -> Self {
        Self {
            set,
            raw: RawLane::new(index),
            lanes: [Lane::new(LaneKind::Visible, index), Lane::new(LaneKind::Unwrapped, index)],
            main: Place::new(parser),
            spaced: Lane::new(LaneKind::Spaced, index),
            spaced_place: Place::new(parser),
        }
    }

    /// Scans the next bytes, which start at offset `base`.
    pub fn scan(&mut self, rows: &mut Rows, max_gap_bytes: u64, chunk: &[u8], base: u64, block: &mut Block, dense: &mut Dense) {
        if self.set.main.is_some() {
            self.scan_main(rows, max_gap_bytes, chunk, base, block);
        }
        if self.set.spaced.is_some() {
            self.scan_spaced(rows, max_gap_bytes, chunk, base, dense);
        }
    }

    fn scan_spaced(&mut self, rows: &mut Rows, max_gap_bytes: u64, chunk: &[u8], base: u64, dense: &mut Dense) {
        let set = self.set.clone();
        let Some(automaton) = &set.spaced else { return };
        let (mut at, mut until, mut step) = (0, 0, FIRST_STEP_BYTES);
        while at < chunk.len() {
            if let Some(sieve) = &set.dense
                && at >= until
                && self.spaced_place.parser == Parser::Ground
                && self.spaced.is_quiet()
            {
                let stop = dense.next(sieve, chunk, at);
                // Where stops are close, looking for the next one costs more than the lane: it goes further each time.
                step = if stop.from > at + LAST_STEP_BYTES { FIRST_STEP_BYTES } else { (step * 2).min(4 * LAST_STEP_BYTES) };
                if stop.from > at {
                    self.spaced_place = Place::new(Parser::Ground);
                    at = stop.from;
                }
                until = stop.until.max(at + step);
            }
            let end = if set.dense.is_none() { chunk.len() } else { until.max(at + FIRST_STEP_BYTES).min(chunk.len()) };
            let lane = &mut self.spaced;
            self.spaced_place.walk(chunk, at, end, base, |run| run.feed(&mut Shared { automaton, rows, max_gap_bytes }, lane, None, false));
            at = end;
        }
    }

    fn scan_main(&mut self, rows: &mut Rows, max_gap_bytes: u64, chunk: &[u8], base: u64, block: &mut Block) {
        let set = self.set.clone();
        let mut search = set.sieve.as_ref().map(|sieve| Search::new(sieve, chunk, block));
        let (mut at, mut until, mut step) = (0, 0, FIRST_STEP_BYTES);
        while at < chunk.len() {
            if let Some(search) = &mut search
                && at >= until
                && self.idle_at(at)
            {
                let gap_end = self.lanes[1].gap_end.saturating_sub(base) as usize;
                let stop = search.next(at, gap_end);
                if stop.from > at {
                    self.skip_to(base + stop.from as u64);
                    at = stop.from;
                }
                (until, step) = (stop.until, FIRST_STEP_BYTES);
            }
            let end = if search.is_none() { chunk.len() } else { until.max(at + step).min(chunk.len()) };
            step = (step * 2).min(LAST_STEP_BYTES);
            self.step(rows, max_gap_bytes, chunk, at, end, base);
            at = end;
        }
    }

    /// Whether all that is under way is less than 4 bytes, in one piece, and in the chunk: what the sieve can start from.
    fn idle_at(&self, at: usize) -> bool {
        self.main.parser == Parser::Ground && self.raw.is_shallow(at.min(KNOWN_BYTES - 1) as u32) && self.lanes.iter().all(|lane| lane.attached)
    }

    /// Goes on at `offset`: nothing that begins before it matters.
    fn skip_to(&mut self, offset: u64) {
        self.main = Place::new(Parser::Ground);
        self.raw.restart();
        for lane in &mut self.lanes {
            lane.gap_end = offset;
        }
    }

    /// Feeds `chunk[from..to]` to the lanes of the main automaton.
    fn step(&mut self, rows: &mut Rows, max_gap_bytes: u64, chunk: &[u8], from: usize, to: usize, base: u64) {
        let Self { set, raw, lanes, main, .. } = self;
        let Some(automaton) = &set.main else { return };
        let [visible, unwrapped] = lanes;
        main.walk(chunk, from, to, base, |run| {
            let mut shared = Shared { automaton, rows, max_gap_bytes };
            run.feed(&mut shared, visible, Some(raw), true);
            run.feed(&mut shared, unwrapped, Some(raw), false);
            raw.run(automaton, rows, run.chunk, run.token, run.base);
        });
    }

    /// Earliest offset to hold, and earliest that a successor needs.
    pub fn bounds(&self, end: u64) -> (Option<u64>, Option<u64>) {
        let mut holds = Vec::with_capacity(4);
        let mut origins = Vec::with_capacity(3);
        if let Some(automaton) = &self.set.main {
            holds.push(self.raw.hold_start(automaton, end));
            for lane in &self.lanes {
                holds.push(lane.hold_start(automaton, Some(&self.raw), self.main.can_pop, end, self.main.last_text));
                origins.push(lane.origin());
            }
        }
        if let Some(automaton) = &self.set.spaced {
            let Place { can_pop, last_text, .. } = self.spaced_place;
            holds.push(self.spaced.hold_start(automaton, None, can_pop, end, last_text));
            origins.push(self.spaced.origin());
        }
        (holds.into_iter().flatten().min(), origins.into_iter().flatten().min())
    }

    pub fn give_up(&mut self, rows: &mut Rows, end: u64) {
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
    place: Place,
}

impl Feed<'_> {
    fn feed(&self, shared: &mut Shared, lane: &mut Lane, raw: Option<&RawLane>, newlines_visible: bool) {
        let Token { kind, start, end } = self.token;
        let Place { can_pop, last_text, .. } = self.place;
        let (from, to) = (self.base + start as u64, self.base + end as u64);
        match kind {
            Kind::Text => lane.text(shared, self.chunk, start, end, self.base, true),
            Kind::Newline if newlines_visible => lane.text(shared, self.chunk, start, end, self.base, false),
            Kind::Newline => lane.gap(shared, raw, from, to, false, false),
            Kind::Backspace => match last_text.filter(|_| can_pop) {
                Some(last) => lane.take_back(shared, raw, last, to),
                None => lane.gap(shared, raw, from, to, false, can_pop),
            },
            Kind::Sequence | Kind::Str => lane.gap(shared, raw, from, to, true, can_pop),
        }
    }
}
