//! The sieve of the spaced lane, which deletes all whitespace: looks at the chunk without it, and tells where a match may begin.
//!
//! Stretches of the chunk are copied without whitespace and control sequences, and windows of that *dense* text looked up, one every `stride` bytes.
//! Backspaces are left to the lane. What is found is a suspicion; the lane decides.

use memchr::memchr2;

use crate::gaps::sequence_end;
use crate::kernel::{self, Simd};
use crate::projection::is_blank;
use crate::search::Stop;
use crate::secret_buf::SecretBuf;
use crate::sieve::{Filter, LONG_BYTES, Windows, check_hash, long_hash, window_at};

const STRETCH_BYTES: usize = 4096;
/// Dense bytes that a match may have before the first window that shows it, or before the end of what can show it.
const BACK_BYTES: usize = 2 * LONG_BYTES - 2;

/// Windows of the starts of spaced needles. Immutable.
pub struct DenseSieve {
    filter: Filter,
    check: Filter,
    /// 4 or 8.
    stride: usize,
}

impl DenseSieve {
    /// None if a needle is shorter than 11 bytes.
    pub fn new<'a>(needles: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        let shortest = needles.clone().map(<[u8]>::len).min()?;
        let stride = [LONG_BYTES, LONG_BYTES / 2].into_iter().find(|stride| shortest >= stride + LONG_BYTES - 1)?;
        let count = needles.clone().count();
        let windows = Windows::new(count * stride, needles.flat_map(|needle| (0..stride).map(move |at| window_at(needle, at))));
        Some(Self { filter: windows.filter(long_hash)?, check: windows.filter(check_hash)?, stride })
    }

    pub fn buffers(&self) -> impl Iterator<Item = &SecretBuf<u32>> {
        [&self.filter, &self.check].into_iter().map(Filter::buffer)
    }
}

/// Text without control sequences: the number of its first dense byte, and where it stands in the chunk.
#[derive(Clone, Copy)]
struct Piece {
    first: usize,
    start: usize,
    end: usize,
}

/// Dense text of a chunk, and where it stands. Its end is carried from one stretch to the next.
pub struct Dense {
    simd: Simd,
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    windows: Vec<u64>,
    hits: Vec<u8>,
    /// Whether an unfinished match may span so many deleted bytes that only sparse text can reach the limit.
    usable: bool,
}

impl Dense {
    pub fn new() -> Self {
        Self { simd: Simd::Scalar, usable: false, bytes: Vec::new(), pieces: Vec::new(), windows: Vec::new(), hits: Vec::new() }
    }

    /// Begins a scan.
    pub fn begin(&mut self, simd: Simd, max_gap_bytes: u64) {
        self.simd = simd;
        self.usable = max_gap_bytes >= 4 * STRETCH_BYTES as u64;
    }

    /// The next place to look at, for a lane that stands at `at` in text, with nothing under way.
    pub fn next(&mut self, sieve: &DenseSieve, chunk: &[u8], at: usize) -> Stop {
        if !self.usable {
            return Stop { from: at, until: chunk.len() };
        }
        self.bytes.clear();
        self.pieces.clear();
        let mut at = at;
        while at < chunk.len() {
            let before = self.bytes.len();
            let added = self.add(chunk, at, chunk.len().min(at + STRETCH_BYTES));
            let sparse = self.bytes.len() - before <= BACK_BYTES || added.is_ok_and(|end| end - at > 2 * STRETCH_BYTES);
            if let Some(index) = self.find(sieve) {
                return Stop { from: self.place(chunk, (index + 1).saturating_sub(sieve.stride)), until: self.place(chunk, index) + 1 };
            }
            self.drop(chunk, self.bytes.len().saturating_sub(BACK_BYTES));
            match added {
                // Sparse text may reach the limit on deleted bytes, where an unfinished match leaves a fragment.
                Ok(until) if sparse && until < chunk.len() => return Stop { from: self.pieces.first().map_or(at, |piece| piece.start), until },
                Ok(end) => at = end,
                Err(until) => return Stop { from: self.pieces.first().map_or(at, |piece| piece.start), until },
            }
        }
        Stop { from: self.pieces.first().map_or(at, |piece| piece.start), until: chunk.len() }
    }

    /// Adds `chunk[at..end]`, and of a control sequence at the end all; answers where that is. An error says up to where the lane must go instead.
    fn add(&mut self, chunk: &[u8], mut at: usize, end: usize) -> Result<usize, usize> {
        while at < end {
            let text_end = memchr2(0x1b, 0x08, &chunk[at..end]).map_or(end, |length| at + length);
            self.pieces.push(Piece { first: self.bytes.len(), start: at, end: text_end });
            kernel::despace(self.simd, &chunk[at..text_end], &mut self.bytes);
            at = match chunk.get(text_end).filter(|_| text_end < end) {
                Some(0x1b) => sequence_end(chunk, text_end)?,
                Some(_) => return Err(text_end + 1),
                None => end,
            };
        }
        Ok(at)
    }

    /// Where the dense byte `index` stands.
    fn place(&self, chunk: &[u8], index: usize) -> usize {
        let after = self.pieces.partition_point(|piece| piece.first <= index);
        let Piece { first, start, end } = self.pieces[after - 1];
        let behind = self.pieces.get(after).map_or(self.bytes.len(), |piece| piece.first) - index;
        let is_dense = |at: &usize| !is_blank(chunk[*at]);
        // From the nearer side.
        let place = if index - first < behind {
            (start..end).filter(is_dense).nth(index - first)
        } else {
            (start..end).rev().filter(is_dense).nth(behind - 1)
        };
        place.unwrap_or(end)
    }

    /// Drops the first `count` dense bytes.
    fn drop(&mut self, chunk: &[u8], count: usize) {
        let Some(kept) = self.bytes.len().checked_sub(count).filter(|&kept| kept > 0) else {
            self.bytes.clear();
            return self.pieces.clear();
        };
        let start = self.place(chunk, count);
        let inside = self.pieces.partition_point(|piece| piece.first <= count) - 1;
        self.pieces.drain(..inside);
        for piece in &mut self.pieces {
            piece.first = piece.first.saturating_sub(count);
        }
        self.pieces[0].start = start;
        self.bytes.drain(..count);
        debug_assert_eq!(self.bytes.len(), kept);
    }

    /// Number of the dense byte where the first known window starts.
    fn find(&mut self, sieve: &DenseSieve) -> Option<usize> {
        let Self { simd, bytes, windows, hits, .. } = self;
        windows.clear();
        let window = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        if sieve.stride == LONG_BYTES {
            windows.extend(bytes.chunks_exact(LONG_BYTES).map(window));
        } else {
            windows.extend(bytes.windows(LONG_BYTES).step_by(sieve.stride).map(window));
        }
        let count = windows.len();
        windows.resize(count.next_multiple_of(8), 0);
        hits.resize(windows.len() / 8, 0);
        kernel::look_up(*simd, &sieve.filter, windows, hits);
        for (word, &hit) in hits.iter().enumerate().filter(|(_, hit)| **hit != 0) {
            let known = |index: &usize| hit >> (index % 8) & 1 != 0 && sieve.check.has(check_hash(windows[*index]));
            if let Some(index) = (word * 8..count).take(8).find(known) {
                return Some(index * sieve.stride);
            }
        }
        None
    }
}
