//! A naive reading of `src/core/README.md`: quadratic, no automata, no cleverness.

use logveil_core::{SPACED, TOKEN, WRAPPED};

#[derive(Clone, Debug, PartialEq)]
pub struct Needle {
    pub bytes: Vec<u8>,
    pub flags: u8,
}

pub fn needle(bytes: &str, flags: u8) -> Needle {
    Needle { bytes: bytes.into(), flags }
}

/// What a run of the stream leaves behind, byte by byte of the input.
#[derive(Debug, PartialEq)]
pub struct Marks {
    pub masked: Vec<bool>,
    pub raw: Vec<bool>,
    /// Bytes of sequences and strings inside a mask, to be kept.
    pub kept: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Text,
    Newline,
    Backspace,
    Sequence,
    Str,
}

/// The kinds of all bytes, by the table of the README.
fn kinds(input: &[u8]) -> Vec<Kind> {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Ground,
        Esc,
        Middle,
        Csi,
        Str,
        StrEsc,
    }
    let mut state = At::Ground;
    let mut out = Vec::new();
    for &byte in input {
        // An ESC inside a string ends it unless a backslash follows; either way it was classified as part of the string.
        let inside = if state == At::StrEsc && byte != b'\\' { At::Esc } else { state };
        let (kind, next) = match (inside, byte) {
            (At::Str, 7 | 0x18 | 0x1a) | (At::StrEsc, _) => (Kind::Str, At::Ground),
            (At::Str, 0x1b) => (Kind::Str, At::StrEsc),
            (_, b'\n' | b'\r') => (Kind::Newline, At::Ground),
            (At::Str, _) => (Kind::Str, At::Str),
            (_, 0x1b) => (Kind::Sequence, At::Esc),
            (At::Esc, b'[') => (Kind::Sequence, At::Csi),
            (At::Esc, b']' | b'P' | b'X' | b'^' | b'_') => (Kind::Str, At::Str),
            (At::Esc | At::Middle, 0x20..=0x2f) => (Kind::Sequence, At::Middle),
            (At::Esc | At::Middle, 0x30..=0x7e) => (Kind::Sequence, At::Ground),
            (At::Csi, 0x20..=0x3f) => (Kind::Sequence, At::Csi),
            (At::Csi, 0x40..=0x7e) => (Kind::Sequence, At::Ground),
            (_, 8) => (Kind::Backspace, At::Ground),
            _ => (Kind::Text, At::Ground),
        };
        out.push(kind);
        state = next;
    }
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

pub fn is_blank(byte: u8) -> bool {
    b" \t\n\r\x0b\x0c".contains(&byte)
}

#[derive(Clone, Copy)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub sides: u32,
    pub raw: bool,
}

/// Longest suffix of `seen`, of `least` bytes or more, that is a proper prefix of one of `wanted`: its length, or 0.
fn unfinished(seen: &[(u8, usize)], wanted: &[&Needle], least: usize) -> usize {
    (least.max(1)..=seen.len())
        .rev()
        .find(|&length| {
            let tail = &seen[seen.len() - length..];
            wanted.iter().any(|needle| needle.bytes.len() > length && tail.iter().zip(&needle.bytes).all(|(have, want)| have.0 == *want))
        })
        .unwrap_or(0)
}

/// The marks of the whole input after `end`, and what is held after each prefix of it.
pub fn oracle(input: &[u8], needles: &[Needle]) -> (Marks, Vec<u64>) {
    let kinds = kinds(input);
    let mut spans: Vec<Span> = Vec::new();
    let mut hold_starts: Vec<usize> = (0..=input.len()).collect();
    for lane in ["raw", "visible", "unwrapped", "spaced"] {
        let wanted: Vec<&Needle> = needles
            .iter()
            .filter(|needle| (lane == "spaced") == (needle.flags == SPACED) && (lane != "unwrapped" || needle.flags == WRAPPED))
            .collect();
        let mut seen: Vec<(u8, usize)> = Vec::new();
        let (mut can_pop, mut last_blank) = (false, false);
        for (at, &byte) in input.iter().enumerate() {
            let kind = kinds[at];
            let mut deleted = false;
            if lane != "raw" {
                if kind == Kind::Backspace && can_pop && !(lane == "spaced" && last_blank) {
                    seen.pop();
                }
                deleted = matches!(kind, Kind::Backspace | Kind::Sequence | Kind::Str)
                    || (lane == "unwrapped" && kind == Kind::Newline)
                    || (lane == "spaced" && is_blank(byte));
            }
            match kind {
                Kind::Text => (can_pop, last_blank) = (true, is_blank(byte)),
                Kind::Newline | Kind::Backspace => can_pop = false,
                _ => {}
            }
            if !deleted {
                seen.push((byte, at));
                let mut ordinary = 0;
                let mut token = 0;
                for needle in &wanted {
                    let length = needle.bytes.len();
                    if seen.len() < length || !seen[seen.len() - length..].iter().zip(&needle.bytes).all(|(have, want)| have.0 == *want) {
                        continue;
                    }
                    let start = seen[seen.len() - length].1;
                    let cut = at + 1 - start > length;
                    let whole_token = needle.flags == TOKEN && !cut;
                    if whole_token && lane != "raw" {
                        continue;
                    }
                    let glued = |edge: u8, next: Option<usize>| {
                        is_word(edge) && next.is_some_and(|next| next < input.len() && is_word(input[next]) && kinds[next] != Kind::Sequence)
                    };
                    let sides = if whole_token {
                        u32::from(glued(needle.bytes[0], start.checked_sub(1))) | u32::from(glued(needle.bytes[length - 1], Some(at + 1))) << 1
                    } else {
                        0
                    };
                    if whole_token {
                        token = token.max(length);
                    } else {
                        ordinary = ordinary.max(length);
                    }
                    spans.push(Span { start, end: at + 1, sides, raw: lane == "raw" });
                }
                if token > ordinary {
                    hold_starts[at + 1] = hold_starts[at + 1].min(at + 1 - token);
                }
            }
            let mut hold = |seen: &[(u8, usize)]| {
                let depth = unfinished(seen, &wanted, 1);
                if depth > 0 {
                    hold_starts[at + 1] = hold_starts[at + 1].min(seen[seen.len() - depth].1);
                }
            };
            hold(&seen);
            if lane != "raw" && can_pop && !(lane == "spaced" && last_blank) && !seen.is_empty() {
                hold(&seen[..seen.len() - 1]);
            }
        }
        let depth = unfinished(&seen, &wanted, 4);
        if depth > 0 {
            spans.push(Span { start: seen[seen.len() - depth].1, end: seen[seen.len() - 1].1 + 1, sides: 0, raw: lane == "raw" });
        }
    }
    let holds = hold_starts.iter().enumerate().map(|(end, start)| (end - start) as u64).collect();
    let sequences: Vec<bool> = kinds.iter().map(|kind| matches!(kind, Kind::Sequence | Kind::Str)).collect();
    (marks(&spans, &sequences), holds)
}

/// Masks all firm spans, and tokens whose doubtful sides are masked by firm ones.
pub fn marks(spans: &[Span], sequences: &[bool]) -> Marks {
    let length = sequences.len();
    let mut firm = vec![false; length];
    for span in spans.iter().filter(|span| span.sides == 0) {
        firm[span.start..span.end].fill(true);
    }
    let mut marks = Marks { masked: vec![false; length], raw: vec![false; length], kept: vec![] };
    for span in spans {
        if (span.sides & 1 != 0 && !firm[span.start - 1]) || (span.sides & 2 != 0 && !firm[span.end]) {
            continue;
        }
        marks.masked[span.start..span.end].fill(true);
        if span.raw {
            marks.raw[span.start..span.end].fill(true);
        }
    }
    marks.kept = (0..length).map(|at| sequences[at] && marks.masked[at] && !marks.raw[at]).collect();
    marks
}
