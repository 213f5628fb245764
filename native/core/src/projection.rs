//! The byte classifier: tells text from newlines, backspaces and terminal control sequences, one byte at a time. The forms are defined in
//! `src/core/README.md` (after ECMA-48 and xterm's ctlseqs).

use memchr::{memchr2, memchr3, memrchr2};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    Newline,
    Backspace,
    Sequence,
    Str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Parser {
    #[default]
    Ground,
    Esc,
    EscIntermediate,
    Csi,
    Str,
    StrEsc,
}

impl Parser {
    /// From the number that crosses the boundary.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Ground, Self::Esc, Self::EscIntermediate, Self::Csi, Self::Str, Self::StrEsc].get(number as usize).copied()
    }

    /// Kind of `byte`, and the state after it.
    pub fn classify(self, byte: u8) -> (Kind, Parser) {
        match (self, byte) {
            (Parser::Esc, b'[') => (Kind::Sequence, Parser::Csi),
            (Parser::Esc, b']' | b'P' | b'X' | b'^' | b'_') => (Kind::Str, Parser::Str),
            (Parser::Esc | Parser::EscIntermediate, 0x20..=0x2f) => (Kind::Sequence, Parser::EscIntermediate),
            (Parser::Esc | Parser::EscIntermediate, 0x30..=0x7e) => (Kind::Sequence, Parser::Ground),
            (Parser::Csi, 0x20..=0x3f) => (Kind::Sequence, Parser::Csi),
            (Parser::Csi, 0x40..=0x7e) => (Kind::Sequence, Parser::Ground),
            (Parser::Str, 0x07 | 0x18 | 0x1a) => (Kind::Str, Parser::Ground),
            (Parser::Str, 0x1b) => (Kind::Str, Parser::StrEsc),
            (Parser::Str, b'\n' | b'\r') => (Kind::Newline, Parser::Ground),
            (Parser::Str, _) => (Kind::Str, Parser::Str),
            (Parser::StrEsc, b'\\') => (Kind::Str, Parser::Ground),
            (Parser::StrEsc, _) => Parser::Esc.classify(byte),
            (_, 0x1b) => (Kind::Sequence, Parser::Esc),
            (_, b'\n' | b'\r') => (Kind::Newline, Parser::Ground),
            (_, 0x08) => (Kind::Backspace, Parser::Ground),
            _ => (Kind::Text, Parser::Ground),
        }
    }
}

/// Whether the spaced lane deletes the byte as whitespace.
#[inline(always)]
pub fn is_blank(byte: u8) -> bool {
    byte == b' ' || (0x09..=0x0d).contains(&byte)
}

/// A run of bytes of one kind: `[start, end)` of the chunk. A backspace stands alone.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// Cuts `chunk` into runs and answers the state after it. Text, the common case, is passed at the speed of memchr.
pub fn tokenize(chunk: &[u8], mut state: Parser, mut each: impl FnMut(Token)) -> Parser {
    let mut at = 0;
    // The next ESC or backspace: looked for once, not once per line.
    let mut control = memchr2(0x1b, 0x08, chunk).unwrap_or(chunk.len());
    while at < chunk.len() {
        let start = at;
        if control < at {
            control = memchr2(0x1b, 0x08, &chunk[at..]).map_or(chunk.len(), |found| at + found);
        }
        let (kind, next) = state.classify(chunk[at]);
        if state == Parser::Ground && kind == Kind::Text {
            let line = memchr3(b'\n', b'\r', 0x1b, &chunk[at..control]).map_or(control, |found| at + found);
            at = line;
        } else {
            state = next;
            at += 1;
            while kind != Kind::Backspace && kind != Kind::Text && at < chunk.len() {
                let (same, next) = state.classify(chunk[at]);
                if same != kind {
                    break;
                }
                state = next;
                at += 1;
            }
        }
        each(Token { kind, start, end: at });
    }
    state
}

/// The state after `chunk`: line ends reset it, so only what follows the last one counts.
pub fn parser_after(chunk: &[u8], state: Parser) -> Parser {
    match memrchr2(b'\n', b'\r', chunk) {
        Some(at) => tokenize(&chunk[at..], Parser::Ground, |_| {}),
        None => tokenize(chunk, state, |_| {}),
    }
}
