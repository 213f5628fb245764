//! The lanes that delete bytes: visible, unwrapped, spaced. Each runs an automaton over what it leaves and maps matches back to the stream.
//!
//! Worked example. Needle `hunter2-x`, stream `a hunter`, a colour sequence, `2-x`. Up to the sequence the visible lane sees what the raw lane
//! sees, so it is *attached*: it has no state of its own. At the sequence its prefix `hunter` would be lost to the raw lane, so it is *detached* with that
//! state and the segments `hunter` (visible) and the sequence (keep). It steps over `2-x` alone, finds the needle and walks its segments back
//! to the `h`. As soon as its state no longer reaches back over the gap, the raw lane knows the same again and it is attached once more.

use std::collections::VecDeque;

use crate::automaton::{Automaton, NONE, State};
use crate::projection::is_blank;
use crate::raw::RawLane;
use crate::rows::{Row, RowKind, Rows};

/// Depth from which on an unfinished match is masked rather than released when it is given up, in bytes.
pub const FRAGMENT_BYTES: u32 = 4;

/// Segments that are tried one after the other before the rest is searched.
const NEAR_SEGMENTS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneKind {
    Visible,
    Unwrapped,
    Spaced,
}

/// A range of the stream under an unfinished match: visible bytes or, between them, bytes to keep.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    end: u64,
    keep: bool,
    /// Visible bytes of the lane before it, counted as `Lane::counted` is: found by binary search, since an unfinished match may have many segments.
    before: u64,
}

/// What the lanes share in one stream: where rows go, and the limit on deleted bytes.
pub struct Shared<'a> {
    pub automaton: &'a Automaton,
    pub rows: &'a mut Rows,
    pub max_gap_bytes: u64,
}

pub struct Lane {
    kind: LaneKind,
    set: u32,
    /// No state of its own: the raw lane's, as far as it does not reach before `gap_end`. Never true for the spaced lane.
    pub attached: bool,
    /// Start of the bytes since the last gap, while attached. Moved on, it forgets what is before.
    pub gap_end: u64,
    state: State,
    /// State before the last byte, for a backspace.
    prev: State,
    /// Bytes since the last gap, while detached.
    since: u64,
    segments: VecDeque<Segment>,
    /// Sum of the lengths of visible segments.
    seen: u64,
    /// Visible bytes so far; only differences mean something.
    counted: u64,
    /// Kept segments before this offset have been reported. Each is once: a needle that repeats itself may match at every byte.
    told: u64,
    /// Start of what was given up at the gap limit and is still being matched.
    origin: Option<u64>,
    /// The spaced lane's own rule: the last text byte was whitespace, so a backspace takes nothing from it.
    blank_last: bool,
}

impl Lane {
    pub fn new(kind: LaneKind, set: u32) -> Self {
        Self {
            kind,
            set,
            attached: kind != LaneKind::Spaced,
            gap_end: 0,
            state: State::default(),
            prev: State::default(),
            since: 0,
            segments: VecDeque::new(),
            seen: 0,
            counted: 0,
            told: 0,
            origin: None,
            blank_last: false,
        }
    }

    fn wrapped(&self) -> bool {
        self.kind == LaneKind::Unwrapped
    }

    fn spaced(&self) -> bool {
        self.kind == LaneKind::Spaced
    }

    /// Whether nothing is under way in the spaced lane, not even if a backspace comes.
    pub fn is_quiet(&self) -> bool {
        self.state.depth == 0 && self.prev.depth == 0 && self.seen == 0
    }

    /// Deletes `[start, end)`. `raw` stands at `start`; the spaced lane has none.
    pub fn gap(&mut self, shared: &mut Shared, raw: Option<&RawLane>, start: u64, end: u64, keep: bool, can_pop: bool) {
        if self.attached && !raw.is_some_and(|raw| self.detach(shared.automaton, raw, start, can_pop)) {
            self.gap_end = end;
            return;
        }
        self.since = 0;
        self.prune(can_pop);
        self.extend_gap(shared, start, end, keep, can_pop);
    }

    /// Takes back the last byte, at `at`, and deletes the backspace after it, which ends at `end`.
    pub fn take_back(&mut self, shared: &mut Shared, raw: Option<&RawLane>, at: u64, end: u64) {
        if self.attached {
            let since = (at + 1).saturating_sub(self.gap_end);
            let mut state = raw.map_or(State::default(), |raw| if since > 0 { raw.prev } else { raw.state });
            shared.automaton.clip(&mut state, since.saturating_sub(1));
            if shared.automaton.pending_depth(&state, 0, self.wrapped()) == 0 {
                self.gap_end = end;
                return;
            }
            self.attached = false;
            self.state = state;
            self.begin(u64::from(state.depth), at);
        } else if !self.blank_last {
            self.state = self.prev;
            if let Some(last) = self.segments.iter().rposition(|segment| !segment.keep) {
                self.segments[last].end -= 1;
                self.seen -= 1;
                self.counted -= 1;
                for later in self.segments.iter_mut().skip(last + 1) {
                    later.before -= 1;
                }
                if self.segments[last].start == self.segments[last].end {
                    self.segments.remove(last);
                }
            }
        }
        self.since = 0;
        self.prune(false);
        self.extend_gap(shared, at, end, false, false);
    }

    /// Steps over visible bytes `chunk[from..to]`; `base` is the offset of `chunk[0]`. An attached lane has nothing to do.
    pub fn text(&mut self, shared: &mut Shared, chunk: &[u8], from: usize, to: usize, base: u64, can_pop: bool) {
        for (at, &byte) in chunk.iter().enumerate().take(to).skip(from) {
            if self.attached {
                return;
            }
            let offset = base + at as u64;
            if self.spaced() {
                self.blank_last = is_blank(byte);
                if self.blank_last {
                    if self.state.depth > 0 || self.prev.depth > 0 {
                        self.prune(true);
                        self.extend_gap(shared, offset, offset + 1, false, true);
                    }
                    continue;
                }
                if self.state.depth == 0 && !shared.automaton.begins(byte) {
                    if self.seen > 0 || self.prev.depth > 0 {
                        self.forget();
                    }
                    continue;
                }
            }
            self.visible(shared, byte, offset, can_pop);
        }
    }

    fn visible(&mut self, shared: &mut Shared, byte: u8, offset: u64, can_pop: bool) {
        self.prev = self.state;
        shared.automaton.step(&mut self.state, byte);
        match self.segments.back_mut() {
            Some(last) if !last.keep && last.end == offset => last.end += 1,
            _ => self.segments.push_back(Segment { start: offset, end: offset + 1, keep: false, before: self.counted }),
        }
        self.seen += 1;
        self.counted += 1;
        self.since += 1;
        if self.state.node != NONE && shared.automaton.has_end(self.state.node) {
            self.report(shared, offset + 1);
        }
        if self.spaced() {
            if self.segments.len() == 1 && self.state.depth == 0 {
                self.trim_root();
            }
        } else if u64::from(self.state.depth) <= self.since && (!can_pop || u64::from(self.prev.depth) < self.since) {
            self.attached = true;
            self.gap_end = offset + 1 - self.since;
            self.forget();
        }
    }

    /// Forgets all bytes: no match is under way.
    fn forget(&mut self) {
        self.state = State::default();
        self.prev = State::default();
        self.segments.clear();
        self.seen = 0;
        self.origin = None;
    }

    /// In the spaced lane long runs without a match would grow one segment; a taken-back byte needs the last one only.
    fn trim_root(&mut self) {
        let needed = u64::from(self.prev.depth) + 1;
        if self.seen > needed {
            self.segments[0].start = self.segments[0].end - needed;
            self.segments[0].before = self.counted - needed;
            self.seen = needed;
        }
    }

    /// Starts a list of segments: the `length` visible bytes before `end`.
    fn begin(&mut self, length: u64, end: u64) {
        self.seen = length;
        self.counted = length;
        self.segments.clear();
        self.segments.push_back(Segment { start: end - length, end, keep: false, before: 0 });
        self.origin = None;
    }

    fn report(&mut self, shared: &mut Shared, end: u64) {
        for (needle, length) in shared.automaton.ends_at(self.state.node) {
            if !self.spaced() && u64::from(length) <= self.since {
                return;
            }
            if self.wrapped() && !shared.automaton.is_wrapped(needle) {
                continue;
            }
            self.emit(shared.rows, RowKind::Lane, needle, u64::from(length), end);
            return;
        }
    }

    /// Kept segments before the row's start may come along; they are kept bytes all the same.
    fn emit(&mut self, rows: &mut Rows, kind: RowKind, needle: u32, length: u64, end: u64) {
        let Some(start) = self.start_of(length) else { return };
        match kind {
            RowKind::Lane => rows.add_lane(1 + self.kind as usize, self.set, needle, start, end),
            _ => rows.add(Row::new(kind, self.set, needle, start, end, 0)),
        }
        let told = self.told;
        let news = self.segments.iter().rev().take_while(|segment| segment.start >= told);
        for segment in news.filter(|segment| segment.keep && segment.end <= end) {
            rows.add(Row::new(RowKind::Keep, 0, 0, segment.start, segment.end, 0));
        }
        self.told = end;
    }

    /// Offset of the byte `length` visible bytes back; the first one known if more were given up.
    fn start_of(&self, length: u64) -> Option<u64> {
        if length == 0 {
            return None;
        }
        let target = self.counted.saturating_sub(length);
        // Mostly it is one of the first: a search through thousands of segments costs a cache miss each step.
        let holds = |segment: &&Segment| !segment.keep && target >= segment.before && target - segment.before < segment.end - segment.start;
        if let Some(early) = self.segments.iter().take(NEAR_SEGMENTS).find(holds) {
            return Some(early.start + (target - early.before));
        }
        let after = self.segments.partition_point(|segment| segment.before <= target);
        match after.checked_sub(1).map(|index| self.segments[index]) {
            Some(segment) if !segment.keep => Some(segment.start + (target - segment.before)),
            _ => self.segments.iter().find(|segment| !segment.keep).map(|segment| segment.start),
        }
    }

    /// Gives the lane its own state if an unfinished match would be lost in a gap at `at`.
    fn detach(&mut self, automaton: &Automaton, raw: &RawLane, at: u64, can_pop: bool) -> bool {
        let since = at - self.gap_end;
        self.state = raw.state;
        automaton.clip(&mut self.state, since);
        let mut needed = if automaton.pending_depth(&self.state, 0, self.wrapped()) > 0 { u64::from(self.state.depth) } else { 0 };
        self.prev = State::default();
        if can_pop && since > 0 {
            self.prev = raw.prev;
            automaton.clip(&mut self.prev, since - 1);
            if automaton.pending_depth(&self.prev, 0, self.wrapped()) > 0 {
                needed = needed.max(u64::from(self.prev.depth) + 1);
            }
        }
        if needed == 0 {
            return false;
        }
        self.attached = false;
        // The prefix of the state itself may be longer than what counts; matches need its bytes too.
        self.begin(needed.max(u64::from(self.state.depth)), at);
        true
    }

    /// Drops segments that no unfinished match reaches.
    fn prune(&mut self, can_pop: bool) {
        let back = if can_pop && self.prev.depth > 0 { u64::from(self.prev.depth) + 1 } else { 0 };
        let needed = u64::from(self.state.depth).max(back);
        if self.seen <= needed {
            if needed == 0 {
                self.segments.clear();
            }
            return;
        }
        while let Some(&segment) = self.segments.front() {
            let length = if segment.keep { 0 } else { segment.end - segment.start };
            if self.seen - length < needed || (self.seen == needed && !segment.keep) {
                break;
            }
            self.seen -= length;
            self.segments.pop_front();
        }
        self.origin = None;
    }

    /// Adds deleted bytes; at the gap limit the unfinished match is given up.
    fn extend_gap(&mut self, shared: &mut Shared, start: u64, end: u64, keep: bool, can_pop: bool) {
        let Some((pending, seen)) = self.pending_start(shared.automaton, can_pop, 0) else { return };
        let limit = pending + seen + shared.max_gap_bytes;
        if end < limit {
            if keep {
                self.keep(start, end);
            }
            return;
        }
        if keep && limit > start {
            self.keep(start, limit);
        }
        self.give_up(shared.automaton, shared.rows, 0);
        self.origin = self.origin.or(Some(pending));
        self.segments.clear();
        self.seen = 0;
    }

    fn keep(&mut self, start: u64, end: u64) {
        match self.segments.back_mut() {
            Some(last) if last.keep && last.end == start => last.end = end,
            _ => self.segments.push_back(Segment { start, end, keep: true, before: self.counted }),
        }
    }

    /// Start of the earliest unfinished match, and how many visible bytes lie from there.
    fn pending_start(&self, automaton: &Automaton, can_pop: bool, above: u64) -> Option<(u64, u64)> {
        let depth = u64::from(automaton.pending_depth(&self.state, above, self.wrapped()));
        let back = if can_pop { u64::from(automaton.pending_depth(&self.prev, 0, self.wrapped())) } else { 0 };
        let seen = depth.max(if back > 0 { back + 1 } else { 0 }).min(self.seen);
        self.start_of(seen).map(|start| (start, seen))
    }

    /// Bytes below which an unfinished match is the raw lane's business too.
    fn above(&self) -> u64 {
        if self.spaced() { 0 } else { self.since }
    }

    /// Offset of the earliest byte that must stay back. `last_text` is the byte a backspace would take back.
    pub fn hold_start(&self, automaton: &Automaton, raw: Option<&RawLane>, can_pop: bool, end: u64, last_text: Option<u64>) -> Option<u64> {
        if !self.attached {
            return self.pending_start(automaton, can_pop && !self.blank_last, self.above()).map(|(start, _)| start);
        }
        let last = last_text.filter(|&last| can_pop && last >= self.gap_end && end == last + 1)?;
        let mut state = raw?.prev;
        automaton.clip(&mut state, last - self.gap_end);
        let depth = automaton.pending_depth(&state, 0, self.wrapped());
        (depth > 0).then(|| last - u64::from(depth))
    }

    /// Start of what was given up at the gap limit and is still being matched.
    pub fn origin(&self) -> Option<u64> {
        self.origin.filter(|_| !self.attached)
    }

    /// Reports an unfinished match of `FRAGMENT_BYTES` or more as a fragment.
    pub fn give_up_all(&mut self, automaton: &Automaton, rows: &mut Rows) {
        self.give_up(automaton, rows, self.above());
    }

    fn give_up(&mut self, automaton: &Automaton, rows: &mut Rows, above: u64) {
        if self.attached || self.seen == 0 {
            return;
        }
        let depth = automaton.pending_depth(&self.state, above, self.wrapped());
        if depth < FRAGMENT_BYTES {
            return;
        }
        let Some(last) = self.segments.iter().rfind(|segment| !segment.keep).copied() else { return };
        let needle = automaton.needle_below(&self.state, depth);
        self.emit(rows, RowKind::Fragment, needle, u64::from(depth).min(self.seen), last.end);
    }
}
