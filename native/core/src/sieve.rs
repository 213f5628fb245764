//! The sieve: bits of the windows that the lanes must look at closely; everything else in a log they skip. Built once per set, immutable.
//!
//! A needle's *stretch* is its first `stride + width - 1` bytes. Wherever a stretch lies unbroken, one whole window of `width` bytes at a multiple
//! of `stride` lies in it. So the log is *sampled*: one window every `stride` bytes is looked up among all windows of all stretches
//! (those that begin at the first `stride` offsets of a needle). Needles of 15 bytes and more are sampled by 8 bytes every 8; shorter ones by 4 bytes
//! every 4, 2 or 1. Worked example and proof: native/README.md; the pass over a chunk: search.rs.

use crate::secret_buf::SecretBuf;

/// Longest stretch, of long needles: 8 + 8 - 1.
pub const MAX_STRETCH: usize = 15;
pub const LONG_BYTES: usize = 8;
pub const SHORT_BYTES: usize = 4;

const MIX: [u32; 2] = [0x9e37_79b1, 0x85eb_ca77];
const CHECK_MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of an 8-byte window, little-endian.
#[inline(always)]
pub fn long_hash(window: u64) -> u32 {
    (window as u32).wrapping_mul(MIX[0]).wrapping_add(((window >> 32) as u32).wrapping_mul(MIX[1]))
}

/// Hash of a 4-byte window, little-endian.
#[inline(always)]
pub fn short_hash(window: u32) -> u32 {
    let hash = window.wrapping_mul(MIX[0]);
    hash ^ hash >> 15
}

/// The multipliers of `long_hash`, the first of which is that of `short_hash` too.
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
    fn new(windows: usize) -> Self {
        let bits = (windows * 12).next_power_of_two().trailing_zeros();
        let bits = if bits < 17 { bits + 2 } else { bits }.clamp(13, 25);
        Self { words: SecretBuf::zeroed(1 << (bits - 5)), shift: 32 - (bits - 5) }
    }

    #[inline(always)]
    fn place(&self, hash: u32) -> (usize, u32) {
        ((hash << 5 >> self.shift) as usize, 1 << (hash >> 27) | 1 << (hash >> 5 & 31) | 1 << (hash & 31))
    }

    fn insert(&mut self, hash: u32) {
        let (index, bits) = self.place(hash);
        self.words[index] |= bits;
    }

    #[inline(always)]
    pub fn has(&self, hash: u32) -> bool {
        let (index, bits) = self.place(hash);
        self.words[index] & bits == bits
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
}

pub struct Sieve {
    /// 8-byte windows of needles of 15 bytes and more, sampled every 8 bytes.
    pub long: Option<Filter>,
    /// 4-byte windows of all others.
    pub short: Option<Short>,
    /// All 8-byte windows by another hash; where a short needle has less than 8 bytes left, its 4-byte window.
    check: SecretBuf<u32>,
    check_shift: u32,
}

fn check_hash(window: u64) -> u64 {
    (window ^ window >> 29).wrapping_mul(CHECK_MIX)
}

/// A 4-byte window as a key of the check table that no 8-byte window of text hashes like by design.
fn short_key(window: u32) -> u64 {
    u64::from(window) ^ 0xa5a5_5a5a_c3c3_3c3c
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn distinct<T: Ord>(mut windows: Vec<T>) -> Vec<T> {
    windows.sort_unstable();
    windows.dedup();
    windows
}

impl Sieve {
    /// None if a needle holds a line end in its first 15 bytes: such a match may be broken in ways that the search does not cover.
    pub fn new<'a>(needles: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let (long, short): (Vec<&[u8]>, Vec<&[u8]>) = needles.partition(|needle| needle.len() >= MAX_STRETCH);
        let stride = match short.iter().map(|needle| needle.len()).min() {
            Some(..5) => 1,
            Some(5..7) => 2,
            _ => 4,
        };
        let starts = long.iter().chain(&short).map(|needle| &needle[..needle.len().min(MAX_STRETCH)]);
        if starts.flatten().any(|&byte| byte == b'\n' || byte == b'\r') {
            return None;
        }
        let long_windows = |needle: &&[u8]| {
            (0..LONG_BYTES).map(|at| u64::from_le_bytes(needle[at..at + LONG_BYTES].try_into().expect("8 bytes"))).collect::<Vec<_>>()
        };
        let keys = |needle: &&[u8]| {
            let key = |at: usize| {
                needle
                    .get(at..at + LONG_BYTES)
                    .map_or_else(|| short_key(word_at(needle, at)), |window| u64::from_le_bytes(window.try_into().expect("8 bytes")))
            };
            (0..stride).map(key).collect::<Vec<_>>()
        };
        let windows = distinct(long.iter().flat_map(long_windows).collect());
        let words = distinct(short.iter().flat_map(|needle| (0..stride).map(|at| word_at(needle, at))).collect());
        let keys = distinct(short.iter().flat_map(keys).chain(windows.iter().copied()).collect());
        let filter = |hashes: &mut dyn ExactSizeIterator<Item = u32>| {
            let mut filter = Filter::new(hashes.len());
            hashes.for_each(|hash| filter.insert(hash));
            filter
        };
        let bits = (keys.len() * 16).next_power_of_two().trailing_zeros().clamp(13, 25);
        let mut sieve = Self {
            long: (!long.is_empty()).then(|| filter(&mut windows.iter().map(|&window| long_hash(window)))),
            short: (!short.is_empty()).then(|| Short { filter: filter(&mut words.iter().map(|&word| short_hash(word))), stride }),
            check: SecretBuf::zeroed(1 << (bits - 5)),
            check_shift: 64 - bits,
        };
        for key in keys {
            let index = check_hash(key) >> sieve.check_shift;
            sieve.check[(index >> 5) as usize] |= 1 << (index & 31);
        }
        Some(sieve)
    }

    fn buffers(&self) -> impl Iterator<Item = &SecretBuf<u32>> {
        let filters = self.long.iter().chain(self.short.iter().map(|short| &short.filter));
        filters.map(|filter| &filter.words).chain([&self.check])
    }

    pub fn bytes(&self) -> usize {
        self.buffers().map(SecretBuf::bytes).sum()
    }

    pub fn locked_bytes(&self) -> usize {
        self.buffers().map(SecretBuf::locked_bytes).sum()
    }

    /// Whether some short needle may begin with these bytes, or have them at one of its first offsets.
    #[inline(always)]
    pub fn knows_short(&self, window: u64) -> bool {
        let word = window as u32;
        self.short.as_ref().is_some_and(|short| short.filter.has(short_hash(word))) && (self.checked(window) || self.checked(short_key(word)))
    }

    /// The second look-up, for 8-byte windows that a filter knows.
    #[inline]
    pub fn checked(&self, key: u64) -> bool {
        let index = check_hash(key) >> self.check_shift;
        self.check[(index >> 5) as usize] >> (index & 31) & 1 != 0
    }
}
