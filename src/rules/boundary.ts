/**
 * Where a token may begin: at the start of the stream, behind a byte that is no part of a word, behind a terminal control sequence, and behind an escape
 * whose last character only looks like part of a word (`\n`, `\x1b`, `%0A`). Engine data, not `\b`: a token in colour or in a JSON string is one too.
 */
import { byteSet } from "./bytes.js";
import { lazyPattern } from "./re2.js";
import type { StreamText } from "./text.js";

const WORD = byteSet("0-9A-Za-z_");
const ESC = 0x1b;
const BACKSLASH = 0x5c;

/** Bytes that an escape or a control sequence may have: those before it need not be looked at. */
export const LONGEST_SEQUENCE = 40;

/** Ends of a text behind which a token may begin: escapes, and control sequences, real or spelled out (`\x1b[0m`, `\u001b[0m`, `\033[0m`, `^[[0m`, `\e[0m`). */
const OPENERS = lazyPattern(
  [
    String.raw`\\[nrtbfve0]`,
    String.raw`\\x[0-9A-Fa-f]{2}`,
    String.raw`\\u[0-9A-Fa-f]{4}`,
    String.raw`\\[0-3][0-7]{2}`,
    "%[0-9A-Fa-f]{2}",
    "=(?:0A|0D|20|22|3D)",
    String.raw`(?:\x1b|\\x1[bB]|\\u001[bB]|\\033|\^\[|\\e|\x9b)(?:\[[0-?]{0,24}[ -/]{0,4}[@-~]|[()][0-9A-Za-z]|[0-9=>A-Z])`,
  ]
    .map((source) => `(?:${source})$`)
    .join("|"),
);
const SEQUENCE = lazyPattern(String.raw`^(?:\x1b|\\x1[bB]|\\u001[bB]|\\033|\\e)(?:\[[0-?]{0,24}[ -/]{0,4}[@-~]|[()][0-9A-Za-z])`);

/** Whether a token may begin at `offset`. */
export function tokenMayStart(text: StreamText, offset: number): boolean {
  const before = text.at(offset - 1);
  if (before < 0 || WORD[before] === 0) return true;
  const tail = text.latin1(Math.max(text.start, offset - LONGEST_SEQUENCE), offset);
  return OPENERS().test(tail);
}

/** Whether a token may end before `offset`. */
export function tokenMayEnd(text: StreamText, offset: number): boolean {
  const next = text.at(offset);
  return next < 0 || WORD[next] === 0;
}

/** Behind the control sequence at `offset`, real or spelled out, if one stands there. */
export function skipSequence(text: StreamText, offset: number): number {
  const first = text.at(offset);
  if (first !== ESC && first !== BACKSLASH) return offset;
  const match = SEQUENCE().exec(text.latin1(offset, offset + LONGEST_SEQUENCE));
  return match === null ? offset : offset + match[0].length;
}
