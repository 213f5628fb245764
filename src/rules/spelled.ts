/**
 * Text that stands in a string of JSON or of source code: `\"` for a quote, `\n` for a line end, `\u001b[32m` for a colour. An expression that knows none of that is
 * tried on what such text spells, and its match is mapped back. Forms: RFC 8259 §7, and those of C and shells. Runs of base64, hex and `%2F` are decode.ts's.
 */
import { NIBBLES } from "../core/encoded.js";
import { type ByteSet, byteSet, interned, union } from "./bytes.js";
import { StreamText } from "./text.js";

const BACKSLASH = 0x5c;
const QUOTE = 0x22;
const COLON = 0x3a;
const LF = 0x0a;
/** Bytes before an anchor in which the string that it stands in may begin. */
const STRING_BYTES = 400;
/** What a letter behind the backslash stands for. */
const LETTERS = new Map([..."\"'\\/"].map((char) => [char.charCodeAt(0), char.charCodeAt(0)]));
for (const [letter, char] of ["n\n", "r\r", "t\t", "b\b", "f\f", "e\x1b"].map((pair) => [...pair])) LETTERS.set(letter!.charCodeAt(0), char!.charCodeAt(0));
/** Digits behind a letter that begins a number: `\u001b`, `\x1b`. */
const NUMBERS = new Map([
  [0x75, 4],
  [0x78, 2],
]);
const LONGEST_ESCAPE = 6;

/** Bytes that strings spell by a letter only, and those that they may spell by digits. */
const BY_LETTER = byteSet("\"'\\\\/");
const BY_DIGITS = byteSet("\0-\x1f\x7f");
const DIGITS_BYTES = byteSet("\\\\0-9A-Fa-funrtx");

const known = new WeakMap<ByteSet, ByteSet>();

/** The bytes that the bytes of `set` are spelled with. */
export function spellings(set: ByteSet): ByteSet {
  let spelled = known.get(set);
  if (spelled === undefined) known.set(set, (spelled = spellBytes(set)));
  return spelled;
}

function spellBytes(set: ByteSet): ByteSet {
  const has = (some: ByteSet): boolean => some.some((member, byte) => member === 1 && set[byte] === 1);
  if (has(BY_DIGITS)) return interned(union(set, DIGITS_BYTES));
  return has(BY_LETTER) && set[BACKSLASH] === 0 ? interned(union(set, byteSet("\\\\"))) : set;
}

/** A literal as JSON spells it; undefined if that is no other. */
export function spelling(literal: string): string | undefined {
  const spelled = JSON.stringify(literal).slice(1, -1);
  return spelled === literal ? undefined : spelled;
}

/** What `[start, end)` of a text spells, and where each of its bytes is spelled there. */
export interface Spelled {
  readonly text: StreamText;
  readonly places: readonly number[];
  /** Where what stands at the place that was asked for begins. */
  readonly at: number;
}

/**
 * Reads what is spelled around the anchor at `at`, from `before` bytes before it on: `count` bytes from there, as far as they are there; of the string that begins at
 * `string`, if that is given, no more than that. Undefined if nothing is spelled, and if `at` is the middle of an escape.
 */
export function readSpelled(text: StreamText, at: number, before: number, count: number, string?: number): Spelled | undefined {
  let start = Math.max(text.start, at - before, string ?? 0);
  while (start > (string ?? text.start) && start > at - before - LONGEST_ESCAPE && text.at(start - 1) === BACKSLASH) start--;
  const bytes: number[] = [];
  const places: number[] = [];
  const limit = at + 2 * count + LONGEST_ESCAPE;
  let next = start;
  let index = -1;
  let isCut = false;
  while (next < limit && (index < 0 ? next <= at : bytes.length < index + count)) {
    const byte = text.at(next);
    const escape = byte === BACKSLASH ? escapeAt(text, next) : undefined;
    isCut = byte < 0 || escape === "more";
    if (byte < 0 || escape === "more" || (byte === QUOTE && string !== undefined)) break;
    if (next === at) index = bytes.length;
    bytes.push(escape?.byte ?? byte);
    places.push(next);
    next += escape?.length ?? 1;
  }
  if (index < 0 || (next - start === bytes.length && !isCut && string === undefined)) return undefined;
  places.push(next);
  const spelled = new StreamText();
  spelled.push(Buffer.from(bytes));
  spelled.ended = text.ended || !isCut;
  return { text: spelled, places, at: index };
}

/** Where the string begins that `at` stands in, if that is the value of a key: behind `":"`. */
export function stringStart(text: StreamText, at: number): number | undefined {
  for (let quote = at - 1; quote >= text.start && quote >= at - STRING_BYTES; quote--) {
    const byte = text.at(quote);
    if (byte === LF) return undefined;
    if (byte !== QUOTE) continue;
    let before = quote - 1;
    while (text.at(before) === BACKSLASH) before--;
    if ((quote - before) % 2 === 0) continue;
    while (text.at(before) === 0x20) before--;
    if (text.at(before) !== COLON) return undefined;
    do before--;
    while (text.at(before) === 0x20);
    return text.at(before) === QUOTE ? quote + 1 : undefined;
  }
  return undefined;
}

/** The escape that begins with the backslash at `at`; undefined for one that spells no single byte. */
function escapeAt(text: StreamText, at: number): { readonly byte: number; readonly length: number } | "more" | undefined {
  const kind = text.at(at + 1);
  if (kind < 0) return text.ended ? undefined : "more";
  const letter = LETTERS.get(kind);
  if (letter !== undefined) return { byte: letter, length: 2 };
  // `\033`: an escape in octal digits.
  const [lead, count, base] = kind === 0x30 ? [1, 3, 8] : [2, NUMBERS.get(kind) ?? 0, 16];
  if (count === 0) return undefined;
  let value = 0;
  for (let digit = at + lead; digit < at + lead + count; digit++) {
    const byte = text.at(digit);
    if (byte < 0) return text.ended ? undefined : "more";
    if (NIBBLES[byte]! >= base) return undefined;
    value = value * base + NIBBLES[byte]!;
  }
  return value < 0x80 ? { byte: value, length: lead + count } : undefined;
}

/** Whether what an expression may match around the anchor at `at` holds a backslash: `before` bytes before it, and behind it up to the first byte that is not of `set`. */
export function isSpelled(text: StreamText, at: number, before: number, until: number, set: ByteSet): boolean {
  for (let offset = Math.max(text.start, at - before); offset < at; offset++) if (text.at(offset) === BACKSLASH) return true;
  for (let offset = at; offset < until; offset++) {
    const byte = text.at(offset);
    if (byte === BACKSLASH) return true;
    if (byte < 0 || set[byte] === 0) return false;
  }
  return false;
}
