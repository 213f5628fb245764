//! A set of needles: checked, and built into one or two automata. Immutable; streams share it.

use crate::automaton::Automaton;
use crate::dense::DenseSieve;
use crate::secret_buf::SecretBuf;
use crate::sieve::Sieve;

/// Flags of a needle; defined in `src/core/matcher.ts`.
pub const WRAPPED: u8 = 1;
pub const SPACED: u8 = 2;
pub const TOKEN: u8 = 4;

pub const MIN_NEEDLE_BYTES: usize = 4;
pub const MAX_TOKEN_BYTES: usize = 32;

/// What is wrong with a table of needles. Never holds bytes of it.
#[derive(Debug, PartialEq, Eq)]
pub enum BuildError {
    /// There must be one more offset than flags.
    Counts,
    /// Offsets must ascend from 0 to the number of bytes.
    Offsets,
    /// The needle of this number is shorter than 4 bytes.
    Short(usize),
    /// The token needle of this number is longer than 32 bytes.
    LongToken(usize),
    /// The flags of this number are unknown or exclude each other.
    Flags(usize),
    /// More than 2^31 bytes.
    Size,
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Counts => write!(f, "there must be one more offset than flags"),
            Self::Offsets => write!(f, "offsets must ascend from 0 to the number of bytes"),
            Self::Short(needle) => write!(f, "needle {needle} is shorter than {MIN_NEEDLE_BYTES} bytes"),
            Self::LongToken(needle) => write!(f, "token needle {needle} is longer than {MAX_TOKEN_BYTES} bytes"),
            Self::Flags(needle) => write!(f, "flags of needle {needle} are unknown or exclude each other"),
            Self::Size => write!(f, "needles of more than 2 GiB"),
        }
    }
}

impl std::error::Error for BuildError {}

pub struct NeedleSet {
    pub(crate) main: Option<Automaton>,
    pub(crate) spaced: Option<Automaton>,
    /// Of the main automaton's needles.
    pub(crate) sieve: Option<Sieve>,
    /// Of the spaced ones.
    pub(crate) dense: Option<DenseSieve>,
    needles: usize,
    needle_bytes: usize,
}

impl NeedleSet {
    /// Builds a set. Needle `i` is `bytes[offsets[i]..offsets[i + 1]]`.
    pub fn build(bytes: &SecretBuf<u8>, offsets: &[u32], flags: &[u8]) -> Result<Self, BuildError> {
        check(bytes, offsets, flags)?;
        let needle = |id: u32| (offsets[id as usize] as usize, offsets[id as usize + 1] as usize);
        let (spaced, main): (Vec<u32>, Vec<u32>) = (0..flags.len() as u32).partition(|&id| flags[id as usize] & SPACED != 0);
        let build = |order: &[u32]| (!order.is_empty()).then(|| Automaton::new(&needle, bytes, flags, order));
        let slice = |&id: &u32| &bytes[offsets[id as usize] as usize..offsets[id as usize + 1] as usize];
        let sieve = Sieve::new(main.iter().map(slice));
        let dense = DenseSieve::new(spaced.iter().map(slice));
        Ok(Self { main: build(&main), spaced: build(&spaced), sieve, dense, needles: flags.len(), needle_bytes: bytes.len() })
    }

    pub fn needles(&self) -> usize {
        self.needles
    }

    pub fn needle_bytes(&self) -> usize {
        self.needle_bytes
    }

    fn automata(&self) -> impl Iterator<Item = &Automaton> {
        self.main.iter().chain(&self.spaced)
    }

    fn filters(&self) -> impl Iterator<Item = &SecretBuf<u32>> {
        self.sieve.iter().flat_map(Sieve::buffers).chain(self.dense.iter().flat_map(DenseSieve::buffers))
    }

    pub fn memory_bytes(&self) -> usize {
        self.automata().map(Automaton::bytes).sum::<usize>() + self.filters().map(SecretBuf::bytes).sum::<usize>()
    }

    pub fn locked_bytes(&self) -> usize {
        self.automata().map(Automaton::locked_bytes).sum::<usize>() + self.filters().map(SecretBuf::locked_bytes).sum::<usize>()
    }
}

fn check(bytes: &[u8], offsets: &[u32], flags: &[u8]) -> Result<(), BuildError> {
    if offsets.len() != flags.len() + 1 {
        return Err(BuildError::Counts);
    }
    if bytes.len() > i32::MAX as usize {
        return Err(BuildError::Size);
    }
    if offsets[0] != 0 || offsets[flags.len()] as usize != bytes.len() || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(BuildError::Offsets);
    }
    for (i, &flag) in flags.iter().enumerate() {
        let length = (offsets[i + 1] - offsets[i]) as usize;
        if ![0, WRAPPED, SPACED, TOKEN].contains(&flag) {
            return Err(BuildError::Flags(i));
        }
        if length < MIN_NEEDLE_BYTES {
            return Err(BuildError::Short(i));
        }
        if flag == TOKEN && length > MAX_TOKEN_BYTES {
            return Err(BuildError::LongToken(i));
        }
    }
    Ok(())
}
