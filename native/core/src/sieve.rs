//! The sieve: bits of the windows that the lanes must look at closely; everything else in a log they skip. Built once per set, immutable.
//!
//! A needle's *stretch* is its first `stride + width - 1` bytes. Wherever a stretch lies unbroken, one whole window of `width` bytes at a multiple
//! of `stride` lies in it. So the log is *sampled*: one window every `stride` bytes is looked up among all windows of all stretches
//! (those that begin at the first `stride` offsets of a needle). Needles of 15 bytes and more are sampled by 8 bytes every 8; shorter ones, as
//! the shortest of them demands, by 5 bytes every 4, or 4 bytes every 4, 2 or 1. Worked example and proof: native/README.md; the pass over a chunk: search.rs.

use crate::secret_buf::SecretBuf;

/// Longest stretch, of long needles: 8 + 8 - 1.
pub const MAX_STRETCH: usize = 15;
pub const LONG_BYTES: usize = 8;
const MIX: [u32; 2] = [0x9e37_79b1, 0x85eb_ca77];
const CHECK_MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of an 8-byte window, little-endian.
#[inline(always)]
pub fn long_hash(window: u64) -> u32 {
    (window as u32).wrapping_mul(MIX[0]).wrapping_add(((window >> 32) as u32).wrapping_mul(MIX[1]))
}

/// Hash of a window of fewer bytes, the others being 0.
#[inline(always)]
pub fn short_hash(window: u64) -> u32 {
    let hash = long_hash(window);
    hash ^ hash >> 15
}

/// The multipliers of the hashes: of the low half of a window, and of the high one.
pub fn mix() -> [u32; 2] {
    MIX
}

/// A blocked Bloom filter: a hash names a 32-bit word and three bits in it, so a look-up is one load.
pub struct Filter {
    words: SecretBuf<u32>,
    shift: u32,
}

impl Filter {
    /// 12 to 24 bits a window make 0.5 to 2 % false alarms; a filter that is small all the same gets four times as many.
    pub fn new(windows: usize) -> Self {
        let bits = (windows * 12).next_power_of_two().trailing_zeros();
        let bits = if bits < 17 { bits + 2 } else { bits }.clamp(13, 25);
        Self { words: SecretBuf::zeroed(1 << (bits - 5)), shift: 32 - (bits - 5) }
    }

    #[inline(always)]
    fn place(&self, hash: u32) -> (usize, u32) {
        ((hash << 5 >> self.shift) as usize, 1 << (hash >> 27) | 1 << (hash >> 5 & 31) | 1 << (hash & 31))
    }

    pub fn insert(&mut self, hash: u32) {
        let (index, bits) = self.place(hash);
        self.words[index] |= bits;
    }

    #[inline(always)]
    pub fn has(&self, hash: u32) -> bool {
        let (index, bits) = self.place(hash);
        self.words[index] & bits == bits
    }

    pub fn buffer(&self) -> &SecretBuf<u32> {
        &self.words
    }

    /// Its words, and the shift that leaves the index of one in `hash << 5`.
    pub fn table(&self) -> (&[u32], u32) {
        (&self.words, self.shift)
    }
}

/// Windows of the stretches of short needles.
pub struct Short {
    pub filter: Filter,
    /// 1, 2 or 4.
    pub stride: usize,
    /// 4 or 5.
    pub width: usize,
}

impl Short {
    /// Stride and width for the shortest needle.
    fn shape(shortest: usize) -> (usize, usize) {
        match shortest {
            ..5 => (1, 4),
            5..7 => (2, 4),
            7 => (4, 4),
            _ => (4, 5),
        }
    }

    /// The bytes that count of an 8-byte window.
    #[inline(always)]
    pub fn of(&self, window: u64) -> u64 {
        window & !(!0 << (8 * self.width))
    }
}

pub struct Sieve {
    /// 8-byte windows of needles of 15 bytes and more, sampled every 8 bytes.
    pub long: Option<Filter>,
    /// Shorter windows of all others.
    pub short: Option<Short>,
    /// All 8-byte windows by another hash; where a short needle has less than 8 bytes left, its shorter window.
    check: Filter,
}

/// Another hash of an 8-byte window.
pub fn check_hash(window: u64) -> u32 {
    ((window ^ window >> 29).wrapping_mul(CHECK_MIX) >> 32) as u32
}

/// A short window as a key of the check table that no 8-byte window of text hashes like by design.
fn short_key(window: u64) -> u64 {
    window ^ 0xa5a5_5a5a_c3c3_3c3c
}

/// Up to eight bytes from `at`, the missing ones 0.
pub fn window_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].iter().take(LONG_BYTES).rev().fold(0, |window, &byte| window << 8 | u64::from(byte))
}

/// Windows sorted, each once: they are parts of secrets, so their memory is wiped.
pub struct Windows {
    sorted: SecretBuf<u64>,
    count: usize,
}

impl Windows {
    pub fn new(most: usize, windows: impl Iterator<Item = u64>) -> Self {
        let mut sorted = SecretBuf::zeroed(most);
        let mut count = 0;
        for window in windows {
            sorted[count] = window;
            count += 1;
        }
        let filled: &mut [u64] = &mut sorted[..count];
        filled.sort_unstable();
        let mut distinct = 0;
        for index in 0..count {
            if distinct == 0 || filled[index] != filled[distinct - 1] {
                filled[distinct] = filled[index];
                distinct += 1;
            }
        }
        Self { sorted, count: distinct }
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        self.sorted[..self.count].iter().copied()
    }

    pub fn filter(&self, hash: impl Fn(u64) -> u32) -> Option<Filter> {
        let mut filter = Filter::new(self.count);
        self.all().for_each(|window| filter.insert(hash(window)));
        (self.count > 0).then_some(filter)
    }
}

impl Sieve {
    /// None if a needle holds a line end in its first 15 bytes: such a match may be broken in ways that the search does not cover.
    pub fn new<'a>(needles: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let (long, short): (Vec<&[u8]>, Vec<&[u8]>) = needles.partition(|needle| needle.len() >= MAX_STRETCH);
        let starts = long.iter().chain(&short).map(|needle| &needle[..needle.len().min(MAX_STRETCH)]);
        if starts.flatten().any(|&byte| byte == b'\n' || byte == b'\r') {
            return None;
        }
        let (stride, width) = Short::shape(short.iter().map(|needle| needle.len()).min().unwrap_or(MAX_STRETCH));
        let narrow = |window: u64| window & !(!0 << (8 * width));
        let key =
            |needle: &[u8], at: usize| if needle.len() >= at + LONG_BYTES { window_at(needle, at) } else { short_key(narrow(window_at(needle, at))) };
        let (many, few) = (long.len() * LONG_BYTES, short.len() * stride);
        let longs = Windows::new(many, long.iter().flat_map(|needle| (0..LONG_BYTES).map(|at| window_at(needle, at))));
        let shorts = Windows::new(few, short.iter().flat_map(|needle| (0..stride).map(move |at| narrow(window_at(needle, at)))));
        let keys = Windows::new(longs.count + few, longs.all().chain(short.iter().flat_map(|needle| (0..stride).map(move |at| key(needle, at)))));
        Some(Self {
            check: keys.filter(check_hash)?,
            long: longs.filter(long_hash),
            short: shorts.filter(short_hash).map(|filter| Short { filter, stride, width }),
        })
    }

    pub fn buffers(&self) -> impl Iterator<Item = &SecretBuf<u32>> {
        let filters = self.long.iter().chain(self.short.iter().map(|short| &short.filter));
        filters.chain([&self.check]).map(Filter::buffer)
    }

    /// Whether some short needle may begin with these bytes, or have them at one of its first offsets.
    #[inline(always)]
    pub fn knows_short(&self, window: u64) -> bool {
        self.short.as_ref().is_some_and(|short| {
            let narrow = short.of(window);
            short.filter.has(short_hash(narrow)) && (self.checked(window) || self.checked(short_key(narrow)))
        })
    }

    /// The second look-up, for 8-byte windows that a filter knows.
    #[inline]
    pub fn checked(&self, key: u64) -> bool {
        self.check.has(check_hash(key))
    }
}
