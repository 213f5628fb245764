//! The sieve of the spaced lane, which deletes all whitespace: looks at the chunk without it, and tells where a match may begin.
//!
//! Stretches of the chunk are copied without whitespace, and windows of that *dense* text looked up, one every `stride` bytes. A stretch with
//! a backspace or control sequence in it goes through the lane. What is found is a suspicion; the lane decides.

use memchr::memchr2;

use crate::kernel::{self, Simd};
use crate::lane::is_blank;
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

/// Room for one pass over a chunk.
pub struct Dense {
    simd: Simd,
    bytes: Vec<u8>,
    windows: Vec<u64>,
    hits: Vec<u8>,
}

impl Dense {
    pub fn new(simd: Simd) -> Self {
        Self { simd, bytes: Vec::new(), windows: Vec::new(), hits: Vec::new() }
    }

    /// The next place to look at, for a lane that stands at `at` in text, with nothing under way.
    pub fn next(&mut self, sieve: &DenseSieve, chunk: &[u8], at: usize) -> Stop {
        self.bytes.clear();
        let mut start = at;
        while start < chunk.len() {
            let end = chunk.len().min(start + STRETCH_BYTES);
            let stretch = &chunk[start..end];
            if memchr2(0x1b, 0x08, stretch).is_some() {
                return Stop { from: back(chunk, at, start, BACK_BYTES), until: end };
            }
            let before = self.bytes.len();
            kernel::despace(self.simd, stretch, &mut self.bytes);
            if let Some(index) = self.find(sieve) {
                let from = (index + 1).saturating_sub(sieve.stride);
                let place = |index: usize| if index < before { back(chunk, at, start, before - index) } else { ahead(chunk, start, index - before) };
                return Stop { from: place(from), until: place(index) + 1 };
            }
            let keep = self.bytes.len().saturating_sub(BACK_BYTES);
            self.bytes.drain(..keep);
            start = end;
        }
        Stop { from: back(chunk, at, start, BACK_BYTES), until: chunk.len() }
    }

    /// Number of the dense byte where the first known window starts.
    fn find(&mut self, sieve: &DenseSieve) -> Option<usize> {
        let Self { simd, bytes, windows, hits } = self;
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

/// Place of the dense byte `count` before `at`, but not before `floor`.
fn back(chunk: &[u8], floor: usize, at: usize, count: usize) -> usize {
    let places = chunk[floor..at].iter().enumerate().rev().filter(|(_, byte)| !is_blank(**byte));
    places.take(count).last().map_or(at, |(place, _)| floor + place)
}

/// Place of the dense byte `index` from `at` on.
fn ahead(chunk: &[u8], at: usize, index: usize) -> usize {
    chunk[at..].iter().enumerate().filter(|(_, byte)| !is_blank(**byte)).nth(index).map_or(chunk.len(), |(place, _)| at + place)
}
