/**
 * Strings of a structured body, joined to one text (codec/draft.ts): between two stands LF, a byte that UTF-8 does not have, and CR. The matcher takes that as it
 * stands, so nothing matches over it; rules are shown what it means.
 */

/** The middle byte between two strings, and between a key and its value. */
export const STRINGS_END = 0xff;
export const KEY_END = 0xfe;

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const COLON = 0x3a;

/**
 * The same text as rules read it, a copy of the same length: `"`, LF, `"` between two strings, `":"` behind a key. Adds where the middle bytes stand to `joints`, counted
 * from `base`. Separators must be whole.
 */
export function spelled(text: Uint8Array, base: number, joints: number[]): Buffer {
  const copy = Buffer.from(text);
  for (let at = 1; at < copy.length - 1; at++) {
    const byte = copy[at]!;
    if (byte < KEY_END || text[at - 1] !== LF || text[at + 1] !== CR) continue;
    copy[at - 1] = QUOTE;
    copy[at] = byte === KEY_END ? COLON : LF;
    copy[at + 1] = QUOTE;
    joints.push(base + at);
  }
  return copy;
}
