//! Gaps: bytes that the unwrapped lane deletes, line ends and control sequences. Where they end, and which text they join.

use crate::kernel::{has_low_byte, is_gap};
use crate::projection::{Kind, Parser};
use crate::sieve::{LONG_BYTES, MAX_STRETCH};

/// Text behind a gap up to which its windows must be free of gaps: a window, and a byte that keeps a backspace away from it.
pub const FREE_BYTES: usize = LONG_BYTES + 1;
/// Bytes of text from which the lanes go on before something suspicious: the rest of its stretch, and one byte by which a token is judged.
pub const BACK_BYTES: usize = MAX_STRETCH;

fn is_newline(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Where text goes on after the gap at `at`. An error says up to where it must be left to the lanes instead: behind a backspace, or to the end of the chunk.
#[inline]
pub fn gap_end(chunk: &[u8], mut at: usize) -> Result<usize, usize> {
    while let Some(&byte) = chunk.get(at) {
        if is_newline(byte) {
            at += 1;
        } else if byte == 0x1b {
            at = sequence_end(chunk, at)?;
        } else {
            return if byte == 0x08 { Err(at + 1) } else { Ok(at) };
        }
    }
    Err(at)
}

/// End of the control sequence at `at`. An error is the end of the chunk.
#[inline]
fn sequence_end(chunk: &[u8], at: usize) -> Result<usize, usize> {
    let rest = &chunk[at..];
    if let [_, b'[', parameters @ ..] = rest {
        // Nearly all of them: CSI. Its last byte belongs to it, one that does not fit does not.
        let mut length = 0;
        while (0x20..=0x3f).contains(parameters.get(length).ok_or(chunk.len())?) {
            length += 1;
        }
        return Ok(at + 2 + length + usize::from((0x40..=0x7e).contains(&parameters[length])));
    }
    let mut parser = Parser::Ground;
    for (offset, &byte) in rest.iter().enumerate() {
        let (kind, next) = parser.classify(byte);
        match (kind, next) {
            (Kind::Text | Kind::Newline | Kind::Backspace, _) => return Ok(at + offset),
            (_, Parser::Ground) => return Ok(at + offset + 1),
            _ => parser = next,
        }
    }
    Err(chunk.len())
}

/// Whether enough text without a gap starts at `at`.
#[inline]
pub fn is_text(chunk: &[u8], at: usize) -> bool {
    let Some(text) = chunk.get(at..at + FREE_BYTES) else { return false };
    let eight = u64::from_le_bytes(text[..8].try_into().expect("8 bytes"));
    !is_gap(text[8]) && (!has_low_byte(eight) || !text.iter().any(|&byte| is_gap(byte)))
}

/// Text around several gaps, with the gaps left out.
pub struct Joined {
    bytes: [u8; Self::BYTES],
    /// Where each byte stands in the chunk.
    places: [u32; Self::BYTES],
    length: usize,
}

impl Joined {
    /// What is joined at once; longer text is joined in parts that overlap.
    const BYTES: usize = 256;
    const OVERLAP: usize = BACK_BYTES + 1;

    pub fn new() -> Self {
        Self { bytes: [0; Self::BYTES], places: [0; Self::BYTES], length: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Begins with the text `chunk[from..to]`, which is short.
    pub fn begin(&mut self, chunk: &[u8], from: usize, to: usize) {
        self.length = 0;
        self.add(chunk, from, to);
    }

    /// Whether more text may not fit.
    pub fn is_full(&self) -> bool {
        self.length + MAX_STRETCH > Self::BYTES
    }

    /// Adds `chunk[from..to]`, at most `MAX_STRETCH` bytes, up to the first byte of a gap; answers where that is.
    #[inline]
    pub fn add(&mut self, chunk: &[u8], from: usize, to: usize) -> usize {
        for (at, &byte) in chunk.iter().enumerate().take(to).skip(from) {
            if is_gap(byte) {
                return at;
            }
            self.bytes[self.length] = byte;
            self.places[self.length] = at as u32;
            self.length += 1;
        }
        to
    }

    /// Drops all but the end, in which matches may begin that go on; answers where in the chunk that starts.
    pub fn keep_end(&mut self) -> usize {
        let first = self.length.saturating_sub(Self::OVERLAP);
        self.bytes.copy_within(first..self.length, 0);
        self.places.copy_within(first..self.length, 0);
        self.length -= first;
        self.places[0] as usize
    }
}
