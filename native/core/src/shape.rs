//! What stands around an anchor: the shape of an assignment behind a word, and whether a token may begin there. The same as in `src/core/anchors.ts`, whose tests
//! compare both.

const NAME: u8 = 1;
const AROUND: u8 = 2;
const OPERATOR: u8 = 4;
const VALUE: u8 = 8;
const OPENER: u8 = 16;
const QUOTE: u8 = 32;

const NAME_BYTES: usize = 40;
const AROUND_BYTES: usize = 16;
const VALUE_BYTES: usize = 6;

/// What a byte can be in the shape of an assignment.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0x21;
    while byte < 256 {
        classes[byte] = VALUE;
        byte += 1;
    }
    const fn mark(mut classes: [u8; 256], bytes: &[u8], class: u8, on: bool) -> [u8; 256] {
        let mut i = 0;
        while i < bytes.len() {
            let entry = &mut classes[bytes[i] as usize];
            *entry = if on { *entry | class } else { *entry & !class };
            i += 1;
        }
        classes
    }
    classes = mark(classes, b"\"'`\x7f", VALUE, false);
    classes = mark(classes, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.-", NAME, true);
    classes = mark(classes, b" \t\"'`)]\\", AROUND, true);
    classes = mark(classes, b"=:>!,", OPERATOR, true);
    classes = mark(classes, b"$'\"`([ \t\\=:>!,\x1b", OPENER, true);
    mark(classes, b"\"'`", QUOTE, true)
};

/// Whether a token may begin at `at`: not inside a word, unless what stands before may be an escape or a control sequence. `mayStart` of `src/core/anchors.ts`.
pub fn may_start(text: &[u8], at: usize) -> bool {
    let before = &text[at.saturating_sub(LONGEST_ESCAPE)..at];
    match before.last() {
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' => {
            // The start of the chunk hides what came before.
            before.len() < LONGEST_ESCAPE || before.iter().any(|byte| matches!(byte, b'\\' | b'%' | b'=' | b'[' | b'^' | 0x1b | 0x9b))
        }
        _ => true,
    }
}

/// Longest escape that ends in word characters, `\u001b[38;5;200m` or so, in bytes.
const LONGEST_ESCAPE: usize = 24;

/// Whether an operator and a value may follow the word that ends at `at`: `hasShape` of `src/core/anchors.ts`.
pub fn has_shape(text: &[u8], at: usize) -> bool {
    let mut at = skip(text, at, NAME_BYTES, NAME);
    at = skip(text, at, AROUND_BYTES, AROUND);
    let Some(&operator) = text.get(at) else { return true };
    if operator == b'%' || operator == b'&' || (operator == b'u' && text[at - 1] == b'\\') || (operator == b'v' && text[at - 1] == b' ') {
        return true;
    }
    if CLASSES[usize::from(operator)] & OPERATOR == 0 {
        return false;
    }
    at = skip(text, at, AROUND_BYTES, OPENER);
    if at >= text.len() || text[at - 1] == 0x1b {
        return true;
    }
    let quote = Some(text[at - 1]).filter(|&byte| CLASSES[usize::from(byte)] & QUOTE != 0);
    let is_value = |at: usize| match quote {
        Some(quote) => text[at] >= 0x20 && (text[at] != quote || text[at - 1] == b'\\'),
        None => CLASSES[usize::from(text[at])] & VALUE != 0,
    };
    (at..text.len().min(at + VALUE_BYTES)).all(is_value)
}

fn skip(text: &[u8], from: usize, most: usize, class: u8) -> usize {
    let until = text.len().min(from + most);
    text[from..until].iter().position(|&byte| CLASSES[usize::from(byte)] & class == 0).map_or(until, |length| from + length)
}
