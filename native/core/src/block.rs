//! What the sieve found in a stretch of a chunk, in order: windows that may begin a match, and gaps across which one may go. Nothing of it depends
//! on where the lanes stand.
//!
//! 1. The kernel marks windows that the filters know, and bytes that begin a gap.
//! 2. Of every gap the text before and after is joined, and windows of it are collected. A stretch that is broken there holds one of them whole.
//! 3. The kernel looks those up, many at once.

use crate::gaps::{BACK_BYTES, FREE_BYTES, Joined, gap_end, is_newline, is_text};
use crate::kernel::{self, BLOCK_BYTES, Bits, Simd, WORD_BYTES, is_gap};
use crate::sieve::{LONG_BYTES, MAX_STRETCH, Short, Sieve};

/// Gaps that lie close together, as one. Positions in the chunk.
#[derive(Clone, Copy)]
pub struct Gap {
    /// Text before it from which the lanes can go on, early enough for all that goes across.
    pub before: usize,
    pub at: usize,
    pub end: usize,
    /// Number of its first window.
    windows: usize,
    /// A match may go across.
    loud: bool,
}

#[derive(Clone, Copy)]
pub enum Event {
    /// A sampled window at this position may begin a match.
    Suspect(usize),
    Gap(Gap),
}

pub struct Block {
    simd: Simd,
    /// Deleted bytes in one place from which on the lanes must see them: half of what an unfinished match may span, since two places may share it.
    gap_bytes: usize,
    bits: Box<Bits>,
    /// The stretch.
    start: usize,
    end: usize,
    /// Gap bytes before it belong to gaps that have been looked at.
    resume: usize,
    /// Text in one piece starts here: the end of the last gap.
    text: usize,
    /// Positions of bytes that may begin a gap, as distances from `start`.
    marks: Box<Marks>,
    /// Positions of windows that may begin a match.
    suspects: Box<Marks>,
    gaps: Vec<Gap>,
    any_loud: bool,
    windows: Vec<u64>,
    hits: Vec<u8>,
    joined: Box<Joined>,
    events: Vec<Event>,
    /// Events before it have been dropped.
    event: usize,
}

impl Block {
    pub fn new() -> Self {
        Self {
            simd: Simd::Scalar,
            gap_bytes: 0,
            bits: Box::default(),
            start: 0,
            end: 0,
            resume: 0,
            text: 0,
            marks: Box::new(Marks::new()),
            suspects: Box::new(Marks::new()),
            gaps: Vec::new(),
            any_loud: false,
            windows: Vec::new(),
            hits: Vec::new(),
            joined: Box::new(Joined::new()),
            events: Vec::new(),
            event: 0,
        }
    }

    /// Begins a scan.
    pub fn begin(&mut self, simd: Simd, max_gap_bytes: u64) {
        self.simd = simd;
        self.gap_bytes = usize::try_from(max_gap_bytes.div_ceil(2)).unwrap_or(usize::MAX);
        self.clear();
    }

    /// Forgets the stretch: another chunk comes.
    pub fn clear(&mut self) {
        self.end = 0;
        self.gaps.clear();
    }

    /// Makes `position` part of the stretch, for lanes that stand at `at` in text that starts at `text`.
    pub fn reach(&mut self, sieve: &Sieve, chunk: &[u8], position: usize, at: usize, text: usize) {
        if position >= self.end || position < self.start {
            (self.resume, self.text) = (at, text);
            self.fill(sieve, chunk, position / WORD_BYTES * WORD_BYTES);
        }
    }

    /// Goes on to the next stretch. False if there is none.
    pub fn advance(&mut self, sieve: &Sieve, chunk: &[u8]) -> bool {
        let more = self.end < chunk.len();
        if more {
            self.fill(sieve, chunk, self.end);
        }
        more
    }

    pub fn event(&mut self) -> Option<Event> {
        let event = self.events.get(self.event).copied();
        self.event += 1;
        event
    }

    /// The last gap that starts before `position`.
    pub fn gap_before(&self, position: usize) -> Option<Gap> {
        let after = self.gaps.partition_point(|gap| gap.at < position);
        after.checked_sub(1).map(|index| self.gaps[index])
    }

    fn fill(&mut self, sieve: &Sieve, chunk: &[u8], start: usize) {
        let words = self.bits.fill(self.simd, sieve, chunk, start);
        (self.start, self.end) = (start, chunk.len().min(start + BLOCK_BYTES));
        self.gaps.clear();
        self.any_loud = false;
        self.windows.clear();
        self.events.clear();
        self.event = 0;
        self.marks.clear();
        for (word, &bits) in self.bits.gaps[..words].iter().enumerate() {
            self.marks.add(word * WORD_BYTES, 1, bits);
        }
        self.marks.close(self.end - start);
        self.look_at_gaps(sieve, chunk);
        self.find_suspects(sieve, chunk, words);
        self.test_windows(sieve);
        let mut gaps = if self.any_loud { self.gaps.as_slice() } else { &[] }.iter().filter(|gap| gap.loud).peekable();
        for &suspect in self.suspects.all() {
            let at = start + usize::from(suspect);
            while let Some(gap) = gaps.next_if(|gap| gap.at < at) {
                self.events.push(Event::Gap(*gap));
            }
            self.events.push(Event::Suspect(at));
        }
        self.events.extend(gaps.map(|gap| Event::Gap(*gap)));
    }

    /// Of the windows that the filters know, those that the check knows too.
    fn find_suspects(&mut self, sieve: &Sieve, chunk: &[u8], words: usize) {
        let Self { suspects, bits, start, .. } = self;
        suspects.clear();
        if sieve.long.is_some() {
            for (index, eight) in bits.long[..words].chunks(8).enumerate() {
                let mut padded = [0; 8];
                padded[..eight.len()].copy_from_slice(eight);
                suspects.add(index * 8 * WORD_BYTES, LONG_BYTES, u64::from_le_bytes(padded));
            }
            suspects.retain(|offset| long_at(chunk, *start + offset).is_some_and(|window| sieve.checked(window)));
        }
        if let Some(short) = &sieve.short {
            let long = suspects.count;
            for (word, &bits) in bits.short[..words].iter().enumerate() {
                suspects.add_some(word * WORD_BYTES, bits, |offset| is_short_suspect(sieve, short, chunk, *start + offset));
            }
            if long > 0 {
                suspects.sort();
            }
        }
    }

    #[inline(always)]
    fn look_at_gaps(&mut self, sieve: &Sieve, chunk: &[u8]) {
        let mut index = 0;
        while index < self.marks.count {
            let [at, next, later] = self.marks.three(index, self.start);
            index += 1;
            if at < self.resume {
                continue;
            }
            let before = at.saturating_sub(BACK_BYTES).max(self.text);
            // Most gaps are one line end, by LF or CR LF, or one control sequence with enough text behind.
            let byte = chunk[at];
            let end = if is_newline(byte) && next >= at + 1 + FREE_BYTES {
                at + 1
            } else if is_newline(byte) && next == at + 1 && chunk.get(next).is_some_and(|&byte| is_newline(byte)) && later >= at + 2 + FREE_BYTES {
                index += 1;
                at + 2
            } else {
                match gap_end(chunk, at) {
                    Ok(end) if at >= LONG_BYTES && (next >= end + FREE_BYTES || is_text(chunk, end)) => end,
                    Ok(end) => {
                        self.add_close(sieve, chunk, before, at, end);
                        continue;
                    }
                    Err(until) => {
                        self.add(before, at, until, true, self.windows.len());
                        continue;
                    }
                }
            };
            self.add_simple(sieve, chunk, before, at, end);
        }
    }

    #[inline(always)]
    fn add(&mut self, before: usize, at: usize, end: usize, loud: bool, windows: usize) {
        (self.resume, self.text) = (end, end);
        self.any_loud |= loud;
        self.gaps.push(Gap { before, at, end, windows, loud });
    }

    /// A gap with enough text on both sides: two windows, or a few of a short needle.
    #[inline(always)]
    fn add_simple(&mut self, sieve: &Sieve, chunk: &[u8], before: usize, at: usize, end: usize) {
        let text = at.checked_sub(LONG_BYTES).and_then(|start| long_at(chunk, start));
        let (Some(text), Some(behind)) = (text, long_at(chunk, end)) else { return self.add_close(sieve, chunk, before, at, end) };
        let joined = |back: usize| text >> (64 - 8 * back) | behind << (8 * back);
        let windows = self.windows.len();
        if sieve.long.is_some() {
            self.windows.extend_from_slice(&[joined(LONG_BYTES - 1), behind]);
        }
        let mut loud = end - at >= self.gap_bytes;
        if let Some(Short { stride, width, .. }) = sieve.short {
            loud |= (1..width).rev().step_by(stride).any(|back| sieve.knows_short(joined(back))) || sieve.knows_short(behind);
        }
        self.add(before, at, end, loud, windows);
    }

    /// Gaps with little text between them: goes on, joining the text, until there is enough of it in one piece.
    #[inline(never)]
    fn add_close(&mut self, sieve: &Sieve, chunk: &[u8], mut before: usize, mut at: usize, mut end: usize) {
        self.joined.begin(chunk, before, at);
        let mut deleted = end - at;
        loop {
            let next = self.joined.add(chunk, end);
            let enough = next == end + MAX_STRETCH;
            if enough || self.joined.is_full() {
                let windows = self.windows.len();
                let loud = self.add_joined(sieve) || deleted >= self.gap_bytes;
                self.add(before, at, if enough { end } else { next }, loud, windows);
                if enough {
                    self.resume = next;
                    return;
                }
                (before, at, deleted) = (self.joined.keep_end(), next, 0);
            }
            match gap_end(chunk, next) {
                Ok(behind) => {
                    deleted += behind - next;
                    end = behind;
                }
                Err(until) => return self.add(before, at, until, true, self.windows.len()),
            }
        }
    }

    /// Collects windows of joined text. True if one of a short needle is known.
    fn add_joined(&mut self, sieve: &Sieve) -> bool {
        let bytes = self.joined.bytes();
        if sieve.long.is_some() {
            for window in bytes.chunks_exact(LONG_BYTES) {
                self.windows.push(u64::from_le_bytes(window.try_into().expect("8 bytes")));
            }
        }
        let short = |stride: usize| {
            bytes.windows(LONG_BYTES).step_by(stride).any(|window| sieve.knows_short(u64::from_le_bytes(window.try_into().expect("8 bytes"))))
        };
        sieve.short.as_ref().is_some_and(|Short { stride, .. }| short(*stride))
    }

    /// Looks up the windows collected: a known one makes its gap loud.
    fn test_windows(&mut self, sieve: &Sieve) {
        let Some(filter) = &sieve.long else { return };
        let count = self.windows.len();
        // What fills the last eight up counts for nothing.
        self.windows.resize(count.next_multiple_of(8), 0);
        self.hits.resize(self.windows.len() / 8, 0);
        kernel::look_up(self.simd, filter, &self.windows, &mut self.hits);
        for (index, &hits) in self.hits.iter().enumerate().filter(|(_, hits)| **hits != 0) {
            for window in (index * 8..count).take(8).filter(|window| hits >> (window % 8) & 1 != 0) {
                if sieve.checked(self.windows[window]) {
                    let owner = self.gaps.partition_point(|gap| gap.windows <= window) - 1;
                    self.gaps[owner].loud = true;
                    self.any_loud = true;
                }
            }
        }
    }
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + LONG_BYTES).map(|window| u64::from_le_bytes(window.try_into().expect("8 bytes")))
}

/// Whether a match of a short needle may begin with the sampled window at `at`.
fn is_short_suspect(sieve: &Sieve, short: &Short, chunk: &[u8], at: usize) -> bool {
    let Some(behind) = chunk.get(at..=at + LONG_BYTES) else { return chunk.len() >= at + short.width };
    let window = u64::from_le_bytes(behind[..LONG_BYTES].try_into().expect("8 bytes"));
    // A gap behind the bytes that are sampled, or a byte that a backspace takes back, makes more of them say nothing.
    sieve.knows_short(window) || behind[short.width..].iter().any(|&byte| is_gap(byte))
}

/// A list of positions in a stretch, in order.
struct Marks {
    /// Entries from `count` on mean nothing, but for those that `close` writes.
    positions: [u16; Self::MOST + Self::SLACK],
    count: usize,
}

impl Marks {
    /// One for each byte, and one for each window of a long needle.
    const MOST: usize = BLOCK_BYTES + BLOCK_BYTES / LONG_BYTES;
    /// Entries are written by this many, whether there are as many or not.
    const SLACK: usize = 2;

    fn new() -> Self {
        Self { positions: [0; Self::MOST + Self::SLACK], count: 0 }
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    fn all(&self) -> &[u16] {
        &self.positions[..self.count]
    }

    /// Adds the positions of all `bits`, which are `unit` bytes apart. Mostly there is none or one: writing two takes no branch.
    #[inline(always)]
    fn add(&mut self, start: usize, unit: usize, mut bits: u64) {
        loop {
            let rest = bits & bits.wrapping_sub(1);
            self.positions[self.count] = (start + unit * bits.trailing_zeros() as usize) as u16;
            self.positions[self.count + 1] = (start + unit * rest.trailing_zeros() as usize) as u16;
            self.count += usize::from(bits != 0) + usize::from(rest != 0);
            bits = rest & rest.wrapping_sub(1);
            if bits == 0 {
                return;
            }
        }
    }

    fn add_some(&mut self, start: usize, mut bits: u64, wanted: impl Fn(usize) -> bool) {
        while bits != 0 {
            let offset = start + bits.trailing_zeros() as usize;
            self.positions[self.count] = offset as u16;
            self.count += usize::from(wanted(offset));
            bits &= bits - 1;
        }
    }

    #[inline(always)]
    fn retain(&mut self, wanted: impl Fn(usize) -> bool) {
        let count = std::mem::take(&mut self.count);
        for index in 0..count {
            let position = self.positions[index];
            self.positions[self.count] = position;
            self.count += usize::from(wanted(usize::from(position)));
        }
    }

    fn sort(&mut self) {
        self.positions[..self.count].sort_unstable();
    }

    /// Notes that nothing is known from `end` on.
    fn close(&mut self, end: usize) {
        self.positions[self.count..self.count + Self::SLACK].fill(end as u16);
    }

    /// Mark `index` and the two behind it, or how far it is known that there is none, in the chunk.
    #[inline(always)]
    fn three(&self, index: usize, start: usize) -> [usize; 3] {
        [0, 1, 2].map(|more| start + usize::from(self.positions[index + more]))
    }
}
