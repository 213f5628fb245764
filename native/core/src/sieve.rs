//! The sieve: tells which parts of a chunk the lanes need not look at, because no match of any lane can begin there. Most of a log.
//!
//! Every needle has a first stretch of `stride + 3` bytes. A match whose first stretch lies unbroken in the chunk holds, within it, a whole
//! 4-byte window at a multiple of `stride`: those windows are *sampled*, one of `stride` positions, against a bit filter of all
//! windows of all first stretches. A match whose first stretch is broken, by a line end or a control sequence, lies around that *gap*:
//! there every window of what the unwrapped lane would see is tested. Worked example and proof: native/README.md.
//!
//! What passes is a suspicion only. The lanes run from a little before it and decide; the sieve just says where.

use crate::grams::GramTable;
use crate::kernel::{Block, WORD_BYTES, is_gap};
use crate::projection::{Kind, Parser};
use crate::secret_buf::SecretBuf;

pub const WINDOW_BYTES: usize = 4;
/// Longest distance between two samples, so the longest first stretch is 7 bytes.
const MAX_STRIDE: usize = 4;
/// Text bytes before a gap in which a broken first stretch can begin.
const BEFORE_GAP: usize = WINDOW_BYTES + MAX_STRIDE - 2;
const FILTER_MIX: u32 = 0x9e37_79b1;
const CHECK_MIX: u64 = 0x9e37_79b9_7f4a_7c15;
const CHECK_BYTES: usize = 8;

/// Bits of the windows that may begin a match. Immutable.
pub struct Sieve {
    filter: SecretBuf<u32>,
    shift: u32,
    /// 8-byte windows that the sampled ones grow into; for shorter needles the 4-byte window again, by another hash.
    check: SecretBuf<u32>,
    check_shift: u32,
    stride: usize,
}

/// Where the lanes must go on: from `from` at least up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub from: usize,
    pub until: usize,
}

/// Hash of a window for the bit filter; its top bits are the index.
#[inline(always)]
pub fn filter_hash(window: u32) -> u32 {
    window.wrapping_mul(FILTER_MIX)
}

fn check_hash(window: u64) -> u64 {
    (window ^ window >> 29).wrapping_mul(CHECK_MIX)
}

/// A 4-byte window as an entry of the check table that no 8-byte window of text hashes like by design.
fn short_key(window: u32) -> u64 {
    u64::from(window) ^ 0xa5a5_5a5a_c3c3_3c3c
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + CHECK_BYTES).map(|window| u64::from_le_bytes(window.try_into().expect("8 bytes")))
}

fn is_newline(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

impl Sieve {
    /// None if a needle's first stretch holds a line end: such a match may be broken in ways that the gap rule does not cover.
    pub fn new<'a>(needles: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        let shortest = needles.clone().map(<[u8]>::len).min()?;
        let stride = match shortest {
            ..5 => 1,
            5..7 => 2,
            _ => MAX_STRIDE,
        };
        let stretch = stride + WINDOW_BYTES - 1;
        if needles.clone().any(|needle| needle[..stretch].iter().any(|&byte| is_newline(byte))) {
            return None;
        }
        let mut windows: Vec<u32> = needles.clone().flat_map(|needle| (0..stride).map(|at| word_at(needle, at))).collect();
        windows.sort_unstable();
        windows.dedup();
        // 8 to 16 bits a window keep false alarms at 6 to 12 %, in as little cache as that takes; the check sorts those out.
        let bits = (windows.len() * 8).next_power_of_two().trailing_zeros().clamp(13, 22);
        let mut sieve = Self {
            filter: SecretBuf::zeroed(1 << (bits - 5)),
            shift: 32 - bits,
            check: SecretBuf::zeroed(1 << (bits + 2 - 5)),
            check_shift: 64 - (bits + 2),
            stride,
        };
        for window in windows {
            let index = filter_hash(window) >> sieve.shift;
            sieve.filter[(index >> 5) as usize] |= 1 << (index & 31);
        }
        for needle in needles {
            for at in 0..stride {
                let hash = check_hash(long_at(needle, at).unwrap_or_else(|| short_key(word_at(needle, at))));
                let index = hash >> sieve.check_shift;
                sieve.check[(index >> 5) as usize] |= 1 << (index & 31);
            }
        }
        Some(sieve)
    }

    pub fn bytes(&self) -> usize {
        self.filter.bytes() + self.check.bytes()
    }

    pub fn locked_bytes(&self) -> usize {
        self.filter.locked_bytes() + self.check.locked_bytes()
    }

    pub fn filter(&self) -> (&[u32], u32) {
        (&self.filter, self.shift)
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    #[inline(always)]
    pub fn may_begin(&self, window: u32) -> bool {
        let index = filter_hash(window) >> self.shift;
        self.filter[(index >> 5) as usize] >> (index & 31) & 1 != 0
    }

    #[inline]
    fn checked(&self, key: u64) -> bool {
        let index = check_hash(key) >> self.check_shift;
        self.check[(index >> 5) as usize] >> (index & 31) & 1 != 0
    }
}

/// One pass over one chunk.
pub struct Search<'a> {
    sieve: &'a Sieve,
    /// The first four bytes of all needles.
    prefixes: &'a GramTable,
    chunk: &'a [u8],
    block: &'a mut Block,
    /// Text in one piece starts here: the end of the last gap, or where the pass starts.
    text: usize,
    /// Gaps that start before it have been looked at.
    gaps: usize,
    /// Samples before it have been looked at.
    samples: usize,
    /// Start of the text before the last gap that was looked at: from there the lanes can always go on.
    before_gap: usize,
}

impl<'a> Search<'a> {
    pub fn new(sieve: &'a Sieve, prefixes: &'a GramTable, chunk: &'a [u8], block: &'a mut Block) -> Self {
        block.clear();
        Self { sieve, prefixes, chunk, block, text: 0, gaps: 0, samples: 0, before_gap: 0 }
    }

    /// The next place to look at, for lanes that stand at `at` with less than 4 bytes under way, none of them before `text`. At the latest
    /// the last bytes of the chunk, whose matches may go on in the next one.
    pub fn next(&mut self, at: usize, text: usize) -> Stop {
        let stop = self.find(at, text);
        // A match in bytes of a gap may begin so close to the end that it has no sample yet.
        let tail = self.chunk.len().saturating_sub(BEFORE_GAP + 1);
        if stop.from > tail && self.text > tail { Stop { from: stop.from.min(self.before_gap), ..stop } } else { stop }
    }

    fn find(&mut self, at: usize, text: usize) -> Stop {
        // What is under way has less than 4 bytes; in the raw lane it may begin in bytes of a gap.
        let raw = at.saturating_sub(WINDOW_BYTES - 1);
        (self.text, self.before_gap, self.gaps, self.samples) = (text.max(raw), raw, at, raw);
        let mut word = raw / WORD_BYTES;
        loop {
            let start = word * WORD_BYTES;
            if start >= self.chunk.len() {
                let tail = self.chunk.len().saturating_sub(BEFORE_GAP + 1);
                return Stop { from: tail.max(self.text), until: self.chunk.len() };
            }
            let (samples, gaps) = self.block.word(self.sieve, self.chunk, start);
            // Positions below a cursor have been looked at.
            let (samples, gaps) = (samples & above(self.samples, start), gaps & above(self.gaps, start));
            let Some(offset) = first(gaps | samples) else {
                word += 1;
                continue;
            };
            let position = start + offset;
            if samples >> offset & 1 != 0 {
                self.samples = position + 1;
                if self.suspect(position) {
                    return Stop { from: self.restart(position), until: position + WINDOW_BYTES };
                }
            } else if let Some(stop) = self.gap(position) {
                return self.with_samples(stop);
            }
        }
    }

    /// Whether a match may begin with the sampled window at `at`, by four bytes more. A gap among those says nothing.
    fn suspect(&self, at: usize) -> bool {
        // Nor does a byte that a backspace to come may take back.
        let (Some(window), Some(behind)) = (long_at(self.chunk, at), self.chunk.get(at + WINDOW_BYTES..=at + CHECK_BYTES)) else { return true };
        self.sieve.checked(window) || self.sieve.checked(short_key(window as u32)) || behind.iter().any(|&byte| is_gap(byte))
    }

    /// Where the lanes go on for a sampled window at `at`: before all matches that begin in its stretch or around a gap to come, and one byte more,
    /// by which a token match is judged.
    fn restart(&self, at: usize) -> usize {
        if at < self.text + MAX_STRIDE - 1 { self.before_gap } else { at.saturating_sub(BEFORE_GAP).max(self.text) }
    }

    /// A stop found around a gap must not skip a sampled window inside of it.
    fn with_samples(&mut self, stop: Stop) -> Stop {
        let mut at = self.samples;
        while at < stop.until {
            let start = at / WORD_BYTES * WORD_BYTES;
            let (samples, _) = self.block.word(self.sieve, self.chunk, start);
            match first(samples & above(at, start)) {
                Some(offset) if start + offset < stop.until => {
                    at = start + offset + 1;
                    if self.suspect(start + offset) {
                        return Stop { from: stop.from.min(self.before_gap), until: stop.until };
                    }
                }
                _ => at = start + WORD_BYTES,
            }
        }
        stop
    }

    /// Looks at the gap that starts at `at`, and at those that follow it closely.
    fn gap(&mut self, at: usize) -> Option<Stop> {
        self.before_gap = at.saturating_sub(BEFORE_GAP + 1).max(self.text);
        if at - self.before_gap > BEFORE_GAP
            && let Some(end) = self.line_end(at)
        {
            (self.text, self.gaps) = (end, end);
            return self.seam(at, end);
        }
        self.broken(at)
    }

    /// End of a gap that is just a line end with enough text behind it: the common case.
    #[inline]
    fn line_end(&self, at: usize) -> Option<usize> {
        let bytes = self.chunk.get(at..at + 2 + BEFORE_GAP)?;
        let end = if bytes[0] == b'\r' && bytes[1] == b'\n' { 2 } else { 1 };
        (is_newline(bytes[0]) && !bytes[end..end + BEFORE_GAP].iter().any(|&byte| is_gap(byte))).then_some(at + end)
    }

    /// Tests the windows that start in the last bytes before `at` and go on at `end`.
    #[inline]
    fn seam(&self, at: usize, end: usize) -> Option<Stop> {
        let mut window = u64::from(word_at(self.chunk, end));
        for back in 1..=BEFORE_GAP {
            window = window << 8 | u64::from(self.chunk[at - back]);
            if self.is_prefix(window as u32) {
                return Some(Stop { from: at - BEFORE_GAP - 1, until: end + WINDOW_BYTES });
            }
        }
        None
    }

    /// Passes gaps and the text between them byte by byte, until enough text without a gap follows.
    fn broken(&mut self, at: usize) -> Option<Stop> {
        let mut last = Recent::default();
        for position in self.before_gap..at {
            last.push(self.chunk[position]);
            if self.known(&last) {
                return Some(Stop { from: self.before_gap, until: at + 1 });
            }
        }
        let mut parser = Parser::Ground;
        let mut since = 0;
        for (position, &byte) in self.chunk.iter().enumerate().skip(at) {
            let (kind, next) = parser.classify(byte);
            parser = next;
            match kind {
                Kind::Text => {
                    last.push(byte);
                    since += 1;
                    if self.known(&last) {
                        return Some(Stop { from: self.before_gap, until: position + 1 });
                    }
                    if since == BEFORE_GAP {
                        (self.text, self.gaps) = (position + 1 - since, position + 1);
                        return None;
                    }
                }
                // What it takes back is the lanes' business.
                Kind::Backspace => return Some(Stop { from: self.before_gap, until: position + 1 }),
                Kind::Newline | Kind::Sequence | Kind::Str => since = 0,
            }
        }
        self.text = self.chunk.len();
        Some(Stop { from: self.before_gap, until: self.chunk.len() })
    }

    fn known(&self, last: &Recent) -> bool {
        last.count >= WINDOW_BYTES && self.is_prefix(last.window)
    }

    #[inline(always)]
    fn is_prefix(&self, window: u32) -> bool {
        self.sieve.may_begin(window) && self.prefixes.get(window).is_some()
    }
}

/// The last window of text, gaps left out.
#[derive(Default)]
struct Recent {
    count: usize,
    window: u32,
}

impl Recent {
    fn push(&mut self, byte: u8) {
        self.count += 1;
        self.window = self.window >> 8 | u32::from(byte) << 24;
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

#[inline(always)]
fn first(bits: u64) -> Option<usize> {
    (bits != 0).then(|| bits.trailing_zeros() as usize)
}
