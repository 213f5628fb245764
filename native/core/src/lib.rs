//! The matcher of logveil. Read `stream.rs` first (what one chunk goes through), then `automaton.rs`; the words are defined in
//! `src/core/README.md` of the package. No I/O, no JavaScript, no knowledge of secrets beyond their needles.

mod anchor_filter;
mod anchor_keys;
mod anchors;
mod automaton;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_anchors;
#[cfg(target_arch = "x86_64")]
mod avx2_encoded;
mod block;
mod dense;
mod encoded;
mod gaps;
mod grams;
mod kernel;
mod lane;
mod projection;
mod raw;
mod rows;
mod scanner;
mod search;
mod secret_buf;
mod set;
mod shape;
mod sieve;
mod sparse;
mod stream;

pub use anchors::{AnchorSet, AnchorStream, AnchorTable};
pub use encoded::EncodedStream;
pub use kernel::Simd;
pub use rows::{ROW_SIZE, RowKind};
pub use secret_buf::SecretBuf;
pub use set::{BuildError, NeedleSet, SPACED, TOKEN, WRAPPED};
pub use stream::{Head, Stream};
