//! Gaps: bytes that the unwrapped lane deletes, line ends and control sequences. Where they end, and which text they join.

use crate::kernel::{is_gap, low_bytes};
use crate::projection::{Kind, Parser};
use crate::sieve::{LONG_BYTES, MAX_STRETCH};

/// Text behind a gap up to which its windows must be free of gaps: a window, and a byte that keeps a backspace away from it.
pub const FREE_BYTES: usize = LONG_BYTES + 1;
/// Bytes of text from which the lanes go on before something suspicious: the rest of its stretch, and one byte by which a token is judged.
pub const BACK_BYTES: usize = MAX_STRETCH;

pub fn is_newline(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Where text goes on after the gap at `at`. An error says up to where it must be left to the lanes instead: behind a backspace, or to the end of the chunk.
#[inline(always)]
pub fn gap_end(chunk: &[u8], at: usize) -> Result<usize, usize> {
    match short_csi_end(chunk, at) {
        Some(end) if chunk.get(end).is_some_and(|&byte| !is_gap(byte)) => Ok(end),
        Some(end) => any_gap_end(chunk, end),
        None => any_gap_end(chunk, at),
    }
}

fn any_gap_end(chunk: &[u8], mut at: usize) -> Result<usize, usize> {
    while let Some(&byte) = chunk.get(at) {
        if !is_gap(byte) {
            return Ok(at);
        }
        at = match byte {
            0x1b => sequence_end(chunk, at)?,
            0x08 => return Err(at + 1),
            _ => at + 1,
        };
    }
    Err(at)
}

/// End of a CSI sequence of at most 8 bytes: most of all sequences.
#[inline(always)]
fn short_csi_end(chunk: &[u8], at: usize) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const START: u64 = u16::from_le_bytes(*b"\x1b[") as u64;
    let eight = u64::from_le_bytes(chunk.get(at..at + 8)?.try_into().expect("8 bytes"));
    // The first byte behind the start that is 0x40 or more; all between must be 0x20 or more.
    let length = ((eight | eight >> 1) & (EACH << 6) & !0xffff).trailing_zeros() / 8;
    let parameters = ((1 << (8 * (length & 7))) - 1) & !0xffff & (EACH << 5);
    let fits = eight & 0xffff == START && length < 8 && eight & parameters == parameters && (eight >> (8 * (length & 7))) as u8 <= 0x7e;
    fits.then(|| at + length as usize + 1)
}

/// End of the control sequence at `at`. An error is the end of the chunk.
#[inline]
pub fn sequence_end(chunk: &[u8], at: usize) -> Result<usize, usize> {
    match chunk.get(at + 1) {
        Some(b'[') => csi_end(chunk, at + 2),
        Some(b']' | b'P' | b'X' | b'^' | b'_') => string_end(chunk, at + 2),
        _ => other_end(chunk, at),
    }
}

/// End of a CSI sequence whose parameters start at `at`. Its last byte belongs to it, one that does not fit does not.
fn csi_end(chunk: &[u8], at: usize) -> Result<usize, usize> {
    let length = chunk.get(at..).and_then(|rest| rest.iter().position(|byte| !(0x20..=0x3f).contains(byte))).ok_or(chunk.len())?;
    Ok(at + length + usize::from((0x40..=0x7e).contains(&chunk[at + length])))
}

/// End of a control string whose text starts at `at`.
fn string_end(chunk: &[u8], at: usize) -> Result<usize, usize> {
    let length = chunk[at..].iter().position(|byte| matches!(byte, 0x07 | 0x18 | 0x1a | 0x1b | b'\n' | b'\r')).ok_or(chunk.len())?;
    let end = at + length;
    match (chunk[end], chunk.get(end + 1)) {
        (0x1b, Some(b'\\')) => Ok(end + 2),
        (0x1b, None) => Err(chunk.len()),
        (0x1b | b'\n' | b'\r', _) => Ok(end),
        _ => Ok(end + 1),
    }
}

#[cold]
fn other_end(chunk: &[u8], at: usize) -> Result<usize, usize> {
    let mut parser = Parser::Ground;
    for (offset, &byte) in chunk[at..].iter().enumerate() {
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
    !is_gap(text[8]) && (low_bytes(eight) == 0 || !text.iter().any(|&byte| is_gap(byte)))
}

/// Text around several gaps, with the gaps left out.
pub struct Joined {
    bytes: [u8; Self::BYTES + Self::STEP],
    /// For each piece how many bytes were there before it, and where it stands in the chunk.
    pieces: [(u32, u32); Self::BYTES],
    count: usize,
    length: usize,
}

impl Joined {
    /// What is joined at once; longer text is joined in parts that overlap.
    const BYTES: usize = 256;
    const OVERLAP: usize = BACK_BYTES + 1;
    /// Bytes are copied by this many, whether there are as many or not.
    const STEP: usize = 16;

    pub fn new() -> Self {
        Self { bytes: [0; Self::BYTES + Self::STEP], pieces: [(0, 0); Self::BYTES], count: 0, length: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Begins with the text `chunk[from..to]`, at most `MAX_STRETCH` bytes without a gap.
    pub fn begin(&mut self, chunk: &[u8], from: usize, to: usize) {
        self.bytes[..to - from].copy_from_slice(&chunk[from..to]);
        self.pieces[0] = (0, from as u32);
        (self.length, self.count) = (to - from, 1);
    }

    /// Whether more may not fit.
    pub fn is_full(&self) -> bool {
        self.length + MAX_STRETCH > Self::BYTES || self.count == Self::BYTES
    }

    /// Adds the text at `at` up to a gap, but at most `MAX_STRETCH` bytes; answers where that ends.
    #[inline]
    pub fn add(&mut self, chunk: &[u8], at: usize) -> usize {
        self.pieces[self.count] = (self.length as u32, at as u32);
        self.count += 1;
        let length = if let Some(text) = chunk.get(at..at + Self::STEP) {
            self.bytes[self.length..self.length + Self::STEP].copy_from_slice(text);
            text_length(text)
        } else {
            let text = &chunk[at..];
            self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
            text.iter().position(|&byte| is_gap(byte)).unwrap_or(text.len())
        };
        let length = length.min(MAX_STRETCH);
        self.length += length;
        at + length
    }

    /// Drops all but the end, in which matches may begin that go on; answers where in the chunk that starts.
    pub fn keep_end(&mut self) -> usize {
        let first = self.length.saturating_sub(Self::OVERLAP);
        let piece = self.pieces[..self.count].partition_point(|&(before, _)| before as usize <= first) - 1;
        let (before, place) = self.pieces[piece];
        let start = place + (first as u32 - before);
        self.pieces.copy_within(piece..self.count, 0);
        self.count -= piece;
        self.pieces[0] = (0, start);
        for (before, _) in &mut self.pieces[1..self.count] {
            *before -= first as u32;
        }
        self.bytes.copy_within(first..self.length, 0);
        self.length -= first;
        start as usize
    }
}

/// Bytes before the first gap.
#[inline(always)]
fn text_length(text: &[u8]) -> usize {
    for (i, eight) in text.chunks_exact(8).enumerate() {
        let low = low_bytes(u64::from_le_bytes(eight.try_into().expect("8 bytes")));
        if low != 0 {
            let first = i * 8 + low.trailing_zeros() as usize / 8;
            // Mostly a gap; else a tab.
            return if is_gap(text[first]) { first } else { text.iter().position(|&byte| is_gap(byte)).unwrap_or(text.len()) };
        }
    }
    text.len()
}
