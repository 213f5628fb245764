/**
 * Text that stands in a string of JSON or of source code: `\"` for a quote, `\n` for a line end, `\u001b[32m` for a colour. An expression that knows none of that is
 * tried on what such text spells, and its match is mapped back. Forms: RFC 8259 §7, and those of C and shells. Runs of base64, hex and `%2F` are decode.ts's.
 */
import { type ByteSet, byteSet, interned, union } from "./bytes.js";
import { StreamText } from "./text.js";

const BACKSLASH = 0x5c;
/** Bytes before an anchor in which the string that it stands in may begin. */
const STRING_BYTES = 400;
/** What a letter behind the backslash stands for. */
const LETTERS = new Map(['""', "''", "\\\\", "//", "n\n", "r\r", "t\t", "b\b", "f\f", "e\x1b"].map((pair) => [pair[0]!, pair[1]!]));
/** What begins a number, its digits, and their base: `\u001b`, `\x1b`, `\033`. */
const NUMBERS = [
  { lead: "\\u", digits: /^[0-9A-Fa-f]{4}/, base: 16 },
  { lead: "\\x", digits: /^[0-9A-Fa-f]{2}/, base: 16 },
  { lead: "\\0", digits: /^[0-7]{2}/, base: 8 },
];
/** Bytes of `\u001b`. */
export const LONGEST_ESCAPE = 6;

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

/** What a stretch of a text spells. */
export class Spelled {
  /** It begins where the text does that spells it. */
  readonly text = new StreamText();
  /** By part, an escape or what stands between two, where it begins here, and there. */
  private readonly starts: number[] = [];
  private readonly places: number[] = [];
  private spelled = "";
  /** It ends with the string that was asked for. */
  endsAtQuote = false;

  add(part: string, place: number): void {
    this.starts.push(this.spelled.length);
    this.places.push(place);
    this.spelled += part;
  }

  /** No more will be added; what follows begins at `place`. `ended`: nothing does. */
  close(place: number, ended: boolean): this {
    this.text.push(Buffer.from(this.spelled, "latin1"));
    this.text.ended = ended;
    this.add("", place);
    return this;
  }

  /** Where in the text the byte at `index` is spelled. */
  placeOf(index: number): number {
    const part = this.starts.findLastIndex((start) => start <= index);
    return this.places[part]! + index - this.starts[part]!;
  }

  /** Which byte is spelled at `place`; undefined for the middle of an escape, and where nothing is. */
  indexOf(place: number): number | undefined {
    const part = this.places.findLastIndex((start) => start <= place);
    if (part < 0) return undefined;
    const index = this.starts[part]! + place - this.places[part]!;
    return part + 1 < this.starts.length && index < this.starts[part + 1]! ? index : undefined;
  }

  /** Whether it says anything else than the text does. */
  get isOther(): boolean {
    return this.spelled.length !== this.places.at(-1)! - this.places[0]!;
  }
}

/**
 * Reads what is spelled around the anchor at `at`, from `before` bytes before it on and up to `until`, as far as that is there; of the string that begins at `string`, if
 * that is given, no more than that. Undefined if nothing is spelled.
 */
export function readSpelled(text: StreamText, at: number, before: number, until: number, string?: number): Spelled | undefined {
  let start = Math.max(text.start, at - before, string ?? 0);
  while (start > (string ?? text.start) && start > at - before - LONGEST_ESCAPE && text.at(start - 1) === BACKSLASH) start--;
  // An escape may reach over the end.
  const raw = text.latin1(start, until + LONGEST_ESCAPE);
  const mayGrow = start + raw.length < until + LONGEST_ESCAPE && !text.ended;
  const spelled = new Spelled();
  let quote = string === undefined ? -1 : raw.indexOf('"');
  let from = 0;
  let isCut = start + raw.length < until && !text.ended;
  while (from < raw.length && start + from < until) {
    const backslash = raw.indexOf("\\", from);
    if (quote >= 0 && quote < from) quote = raw.indexOf('"', from);
    spelled.endsAtQuote = quote >= 0 && (backslash < 0 || quote < backslash);
    const to = spelled.endsAtQuote ? quote : backslash < 0 ? raw.length : backslash;
    if (to > from) spelled.add(raw.slice(from, to), start + from);
    from = to;
    if (spelled.endsAtQuote) isCut = false;
    if (spelled.endsAtQuote || backslash < 0) break;
    const escape = escapeAt(raw, backslash);
    // It may be one of which the end is yet to come.
    if (escape === undefined && mayGrow && raw.length - backslash < LONGEST_ESCAPE) {
      isCut = true;
      break;
    }
    spelled.add(escape?.char ?? "\\", start + backslash);
    from += escape?.length ?? 1;
  }
  spelled.close(start + from, !isCut);
  return isCut || string !== undefined || spelled.isOther ? spelled : undefined;
}

/** Where the string begins that `at` stands in, if that is the value of a key: behind `":"`, no more than {@link STRING_BYTES} before it. */
export function stringStart(text: StreamText, at: number): number | undefined {
  const before = text.latin1(Math.max(text.start, at - STRING_BYTES), at);
  const line = before.lastIndexOf("\n") + 1;
  for (let quote = before.lastIndexOf('"'); quote > line; quote = before.lastIndexOf('"', quote - 1)) {
    let slashes = 0;
    while (before[quote - slashes - 1] === "\\") slashes++;
    if (slashes % 2 === 0) return OPENS_VALUE.test(before.slice(Math.max(line, quote - 10), quote)) ? at - before.length + quote + 1 : undefined;
  }
  return undefined;
}

/** What stands before the quote that begins a value. */
const OPENS_VALUE = /" {0,4}: {0,4}$/;

/** The escape that begins with the backslash at `at`; undefined for one that spells no single byte. */
function escapeAt(raw: string, at: number): { readonly char: string; readonly length: number } | undefined {
  const char = LETTERS.get(raw[at + 1] ?? "");
  if (char !== undefined) return { char, length: 2 };
  for (const { lead, digits, base } of NUMBERS) {
    const number = raw.startsWith(lead, at) ? digits.exec(raw.slice(at + lead.length, at + LONGEST_ESCAPE))?.[0] : undefined;
    const value = number === undefined ? NaN : Number.parseInt(number, base);
    if (value < 0x80) return { char: String.fromCharCode(value), length: lead.length + number!.length };
  }
  return undefined;
}

/** How a line of a container's log ends: with a line end, and its string. */
const STRING_ENDS = /^(?:\\r)?\\n"/;

/**
 * Whether what an expression may match around the anchor at `at` is spelled otherwise than it stands there: `before` bytes before it, and behind it up to `until` or the
 * first byte that is not of `set`, stands a backslash. One of the line end that the string ends with does not count for an expression that has no line end in it.
 */
export function isSpelled(text: StreamText, at: number, before: number, until: number, set: ByteSet, hasLineEnd: boolean): boolean {
  const first = text.nextBackslash(Math.max(text.start, at - before));
  if (first < at) return true;
  const limit = Math.min(first, until);
  for (let offset = at; offset < limit; offset++) if (set[text.at(offset)] !== 1) return false;
  return first < until && (hasLineEnd || !STRING_ENDS.test(text.latin1(first, first + 5)));
}
