/**
 * Reading what is encoded: a run of base64 or hex around the place where it decodes to text, or a word with escapes (`%2F`, `\u002f`, `\x2f`, `\057`, `&#47;`, `&amp;`).
 * Pure questions about the bytes of the stream; what is read is bounded.
 */
import { NIBBLES, SEXTETS } from "../core/encoded.js";
import { type ByteSet, byteSet } from "./bytes.js";
import type { StreamText } from "./text.js";

/** What stands encoded in `[start, end)` of a text. */
export interface Decoded {
  readonly encoding: "base64" | "hex" | "escaped";
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** For each decoded byte where its spelling begins, and the end. Absent: a finding in it hides all of the run. */
  readonly places?: readonly number[];
  /** The first line end that was read over: it moves the phase. Infinity: none. */
  readonly wrap: number;
  /** It goes on behind what was read: from here on it is to be read again. */
  readonly next?: number;
}

/** Most bytes that are read behind the place that was found, and before it: the run from its start on is hidden, if it does not begin earlier. */
export const AHEAD_BYTES = 4096;
export const BACK_BYTES = 4000;
/** Bytes of a long run that are read twice: a secret may stand across. */
const OVERLAP_BYTES = 1024;
/** Characters before the first whole group of text that may hold text too. */
const BEFORE_CHARS = 4;
/** Lengths of lines that encoders wrap at. */
const WRAPS = [64, 76];
const LF = 0x0a;
const CR = 0x0d;
const PAD = 0x3d;

/** What words consist of: everything visible but quotes and angle brackets. Encoded runs are parts of words. */
const WORD = byteSet("!#-&(-;=?-_a-~");

/** Whether a byte is part of a word; -1 is none. */
export const isWord = (byte: number): boolean => byte >= 0 && WORD[byte] === 1;

/** Where the word or run that holds `at` begins, at most `most` bytes before. */
export function wordStart(text: StreamText, at: number, most: number, isIn: (byte: number) => boolean = isWord): number {
  let start = at;
  while (start > at - most && isIn(text.at(start - 1))) start--;
  return start;
}

const isBase64 = (byte: number): boolean => byte >= 0 && SEXTETS[byte]! < 64;
const isHex = (byte: number): boolean => byte >= 0 && NIBBLES[byte]! < 16;

/** Reads the run of base64 or hex whose text begins at `at`. `more`: that depends on bytes to come. */
export function readRun(text: StreamText, at: number, encoding: "base64" | "hex"): Decoded | "more" {
  const isIn = encoding === "base64" ? isBase64 : isHex;
  const start = wordStart(text, at, BACK_BYTES, isIn);
  const limit = at + AHEAD_BYTES;
  let line = start;
  let end = at;
  let wrap = Infinity;
  for (;;) {
    while (end < limit && isIn(text.at(end))) end++;
    if (end === limit) break;
    const newline = lineEnd(text, end);
    if (newline === "more" || (newline > 0 && !text.ended && text.at(end + newline) < 0)) return "more";
    if (newline === 0 || !WRAPS.includes(end - line) || !isIn(text.at(end + newline))) break;
    wrap = Math.min(wrap, end);
    end += newline;
    line = end;
  }
  const from = Math.max(start, at - BEFORE_CHARS);
  const chars = text.latin1(from, end).replaceAll("\n", "").replaceAll("\r", "");
  const decoded = { encoding, bytes: Buffer.from(chars, encoding), start, wrap };
  if (end === limit) return { ...decoded, end, next: at + AHEAD_BYTES - OVERLAP_BYTES };
  let padding = 0;
  while (padding < 2 && text.at(end + padding) === PAD) padding++;
  return padding < 2 && text.at(end + padding) < 0 && !text.ended ? "more" : { ...decoded, end: end + padding };
}

/** Bytes of the line end at `at`; 0: none. */
function lineEnd(text: StreamText, at: number): number | "more" {
  const byte = text.at(at);
  if (byte < 0) return text.ended ? 0 : "more";
  if (byte === LF) return 1;
  if (byte !== CR) return 0;
  if (text.at(at + 1) < 0 && !text.ended) return "more";
  return text.at(at + 1) === LF ? 2 : 0;
}

/** Reads the word around the escape at `at`; undefined if there is none, or one of a byte that is not visible. */
export function readEscaped(text: StreamText, at: number): Decoded | "more" | undefined {
  const escape = escapeAt(text, at);
  if (escape === "more" || escape === undefined) return escape;
  if (escape.byte <= 0x20 || escape.byte >= 0x7f) return undefined;
  const start = wordStart(text, at, OVERLAP_BYTES);
  const limit = at + AHEAD_BYTES;
  const bytes: number[] = [];
  const places: number[] = [];
  let end = start;
  while (end < limit && isWord(text.at(end))) {
    const each = escapeAt(text, end);
    if (each === "more") return "more";
    bytes.push(each?.byte ?? text.at(end));
    places.push(end);
    end += each?.length ?? 1;
  }
  if (end < limit && text.at(end) < 0 && !text.ended) return "more";
  places.push(end);
  const decoded = { encoding: "escaped", bytes: Buffer.from(bytes), start, end, places, wrap: Infinity } as const;
  return end < limit ? decoded : { ...decoded, next: end - OVERLAP_BYTES };
}

interface Escape {
  readonly byte: number;
  readonly length: number;
}

const PERCENT = 0x25;
const BACKSLASH = 0x5c;
const AMPERSAND = 0x26;
/** Bytes that escapes begin with, each with those that may follow. */
export const ESCAPES: readonly { readonly first: number; readonly second: ByteSet }[] = [
  { first: PERCENT, second: byteSet("2-7") },
  { first: BACKSLASH, second: byteSet("ux01") },
  { first: AMPERSAND, second: byteSet("#qalgQALG") },
];

/** Entities by name, as far as they stand for ASCII. */
const ENTITIES: Readonly<Record<string, number>> = { quot: 0x22, amp: 0x26, apos: 0x27, lt: 0x3c, gt: 0x3e };
/** Bytes of the longest entity, `&#00047;` or so. */
const LONGEST_ENTITY = 10;

/** The escape of one byte at `at`. */
function escapeAt(text: StreamText, at: number): Escape | "more" | undefined {
  const byte = text.at(at);
  if (byte === PERCENT) return digits(text, at, 1, 2, 16);
  if (byte === AMPERSAND) return entityAt(text, at);
  if (byte !== BACKSLASH) return undefined;
  const kind = text.at(at + 1);
  if (kind < 0) return text.ended ? undefined : "more";
  if (kind === 0x75) return digits(text, at, 2, 4, 16);
  if (kind === 0x78) return digits(text, at, 2, 2, 16);
  // Octal: three digits, the first of them 0 or 1.
  return kind === 0x30 || kind === 0x31 ? digits(text, at, 1, 3, 8) : undefined;
}

/** An escape of `count` digits that stand `lead` bytes behind `at`. */
function digits(text: StreamText, at: number, lead: number, count: number, base: number): Escape | "more" | undefined {
  let value = 0;
  for (let next = at + lead; next < at + lead + count; next++) {
    const byte = text.at(next);
    if (byte < 0) return text.ended ? undefined : "more";
    if (NIBBLES[byte]! >= base) return undefined;
    value = value * base + NIBBLES[byte]!;
  }
  return value < 0x100 ? { byte: value, length: lead + count } : undefined;
}

function entityAt(text: StreamText, at: number): Escape | "more" | undefined {
  let end = at + 1;
  while (end < at + LONGEST_ENTITY && (text.at(end) === 0x23 || isBase64(text.at(end)))) end++;
  if (text.at(end) < 0 && !text.ended && end < at + LONGEST_ENTITY) return "more";
  if (text.at(end) !== 0x3b) return undefined;
  const name = text.latin1(at + 1, end).toLowerCase();
  const value = name.startsWith("#x") ? Number.parseInt(name.slice(2), 16) : name.startsWith("#") ? Number.parseInt(name.slice(1), 10) : ENTITIES[name];
  return value !== undefined && value < 0x80 ? { byte: value, length: end + 1 - at } : undefined;
}
